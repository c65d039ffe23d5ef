#include "broker/group_for_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int start(void **state)
{
    struct group_sim *s = calloc(1, sizeof *s);
    group_sim_init(s, 1);
    *state = s;
    return 0;
}

static int stop(void **state)
{
    group_sim_fini(*state);
    free(*state);
    return 0;
}

/* A stable group of two. */
struct pair {
    struct sim_join a, b;
    struct sim_sync ya, yb;
};

static void make_pair(struct group_sim *s, struct pair *p, const char *one, const char *two)
{
    s->cfg.group_initial_rebalance_delay_ms = 100;
    sim_join(s, &p->a, "", one, "A");
    sim_join(s, &p->b, "", two, "B");
    group_sim_pass(s, 250);
    sim_sync(s, &p->yb, &p->b);
    sim_sync(s, &p->ya, &p->a);
    assert_int_equal(GROUP_STABLE, s->g->life);
}

static void free_pair(struct pair *p)
{
    sim_join_free(&p->a);
    sim_join_free(&p->b);
    sim_sync_free(&p->ya);
    sim_sync_free(&p->yb);
}

static void to_hex(struct slice bytes, char *text, size_t size)
{
    for (size_t i = 0; i < bytes.len && 2 * i + 2 < size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes.data[i]);
}

static void the_stored_form_is_the_golden_one(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    char hex[2048] = "";
    make_pair(s, &p, "one", "two");
    to_hex(s->disk_state, hex, sizeof hex);
    assert_string_equal(
        "0103000000010000018bcfe56cb00008636f6e73756d6572000572616e676500286f6e652d633531"
        "30633730662d366461662d343262332d616134632d3336343739363535336238350000000200286f"
        "6e652d63353130633730662d366461662d343262332d616134632d33363437393635353362383500"
        "036f6e650003617070000a2f3132372e302e302e31000027100000ea6000000019000572616e6765"
        "00000001410006737469636b7900000001410000000141002874776f2d31343435326130382d3536"
        "39372d343839322d613761332d363663323762316332653634000374776f0003617070000a2f3132"
        "372e302e302e31000027100000ea6000000019000572616e676500000001420006737469636b7900"
        "0000014200000001425945bd5e",
        hex);
    free_pair(&p);
}

static void a_damaged_or_newer_row_is_not_loaded(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p, NULL, NULL);
    static const struct uuid org;
    uint8_t copy[1024];
    size_t len = s->disk_state.len;
    for (size_t i = 0; i < len; i++) {
        memcpy(copy, s->disk_state.data, len);
        copy[i] ^= 0x10;
        struct group *g = group_new(&s->host, &org, slice_str("x"));
        assert_int_equal(SL_ECORRUPT, group_image_load(g, slice_of(copy, len), 9, 0));
        group_free(g);
    }
    for (size_t n = 1; n < len; n++) {
        struct group *g = group_new(&s->host, &org, slice_str("x"));
        assert_int_equal(SL_ECORRUPT, group_image_load(g, slice_of(s->disk_state.data, n), 9, 0));
        group_free(g);
    }
    free_pair(&p);
}

static void subscriptions_are_read_with_bounds(void **state)
{
    static const uint8_t two[] = {0, 1, 0,   0,   0,    2,    0,    1,   'a',
                                  0, 2, 'b', 'c', 0xff, 0xff, 0xff, 0xff};
    struct slice whole = slice_of(two, sizeof two);
    assert_true(consumer_subscribes(whole, slice_str("a")));
    assert_true(consumer_subscribes(whole, slice_str("bc")));
    assert_false(consumer_subscribes(whole, slice_str("b")));
    for (size_t n = 0; n < sizeof two; n++)
        (void)consumer_subscribes(slice_of(two, n), slice_str("bc"));
    static const uint8_t lie[] = {0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 1, 'a'};
    assert_false(consumer_subscribes(slice_of(lie, sizeof lie), slice_str("a")));
}

static void offsets_are_kept_sorted_replaced_and_removed(void **state)
{
    struct group_offsets o = {0};
    struct uuid a = {{1}}, b = {{2}};
    for (int32_t i = 99; i >= 0; i--) {
        struct committed c = {.offset = i, .partition = i % 50};
        group_offsets_put(&o, i % 2 ? &a : &b, &c, slice_str("meta"));
    }
    assert_int_equal(50, o.count);
    assert_int_equal(200, o.bytes);
    assert_int_equal(7, group_offsets_find(&o, &a, 7)->offset);
    assert_null(group_offsets_find(&o, &a, 8));
    assert_true(slice_eq_str(committed_metadata(group_offsets_find(&o, &b, 8)), "meta"));
    group_offsets_remove(&o, &a, 7);
    assert_null(group_offsets_find(&o, &a, 7));
    group_offsets_remove_topic(&o, &b);
    assert_int_equal(24, o.count);
    assert_int_equal(96, o.bytes);
    group_offsets_clear(&o);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest list[] = {
        T(the_stored_form_is_the_golden_one),
        T(a_damaged_or_newer_row_is_not_loaded),
        T(subscriptions_are_read_with_bounds),
        T(offsets_are_kept_sorted_replaced_and_removed),
    };
    return cmocka_run_group_tests_name("group image", list, NULL, NULL);
}
