/* The machine of one (group, partition): runs, bounds, the stored form. */
#include "base/rng.h"
#include "broker/share_int.h"
#include "broker/subscribe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { OFFSETS = 200, STEPS = 400, SEEDS = 300 };

static const char a[] = "a", b[] = "b"; /* owners */

static void hold(struct share *s, int n, const void *owner)
{
    for (int i = 0; i < n; i++)
        (void)share_hold(s, s->next, owner, SHARE_NEVER, true);
}

/* ---- against an array -------------------------------------------------------------------------
 */

struct one {
    enum share_state state;
    const void *owner;
    int64_t at_ms;
    uint32_t count;
};

struct plain {
    struct one all[OFFSETS];
    int64_t next;
};

static void compare(const struct plain *p, const struct share *s)
{
    int64_t cursor = 0;
    share_check(s);
    while (cursor < p->next && p->all[cursor].state == SHARE_ACKED)
        cursor++;
    assert_int_equal(cursor, s->cursor);
    assert_int_equal(p->next, s->next);
    for (int64_t i = cursor; i < p->next; i++) {
        const struct share_run *run = share_run_of(s, i);
        const struct one *x = &p->all[i];
        assert_int_equal(x->state, run->state);
        assert_ptr_equal(x->owner, run->owner);
        if (x->state != SHARE_ACKED)
            assert_true(x->at_ms == run->at_ms && x->count == run->count);
    }
}

static void pick_and_hold(struct plain *p, struct share *s, const void *owner, int64_t now_ms)
{
    int64_t o = share_pick(s, now_ms);
    for (int64_t i = 0; i < SL_MIN(o, p->next); i++) /* the lowest that is due */
        assert_false(p->all[i].state == SHARE_AVAILABLE && p->all[i].at_ms <= now_ms);
    if (o >= OFFSETS)
        return;
    struct one *x = &p->all[o];
    *x = (struct one){SHARE_HELD, owner, now_ms + 10, x->count + 1};
    p->next = SL_MAX(p->next, o + 1);
    assert_int_equal(x->count, share_hold(s, o, owner, now_ms + 10, true));
}

static void settle(struct plain *p, struct share *s, struct rng *rng, const void *owner,
                   int64_t now_ms)
{
    int64_t first = (int64_t)rng_below(rng, OFFSETS), last = first + (int64_t)rng_below(rng, 20);
    bool acks = rng_below(rng, 2);
    int64_t at_ms = now_ms + (int64_t)rng_below(rng, 20);
    uint64_t n = 0;
    for (int64_t i = first; i <= last && i < p->next; i++) {
        struct one *x = &p->all[i];
        if (x->state != SHARE_HELD || x->owner != owner)
            continue;
        *x = acks ? (struct one){SHARE_ACKED, NULL, 0, 0}
                  : (struct one){SHARE_AVAILABLE, NULL, at_ms, x->count};
        n++;
    }
    assert_int_equal(n, acks ? share_ack(s, first, last, owner)
                             : share_release(s, first, last, owner, at_ms, false));
}

static void expire(struct plain *p, struct share *s, int64_t now_ms)
{
    (void)share_expire(s, now_ms);
    for (int64_t i = 0; i < p->next; i++)
        if (p->all[i].state == SHARE_HELD && p->all[i].at_ms <= now_ms)
            p->all[i] = (struct one){SHARE_AVAILABLE, NULL, 0, p->all[i].count};
}

static void run_seed(uint64_t seed)
{
    struct plain p = {0};
    struct share s;
    struct rng_seeded rng;
    rng_seeded_init(&rng, seed);
    share_init(&s, 0);
    for (int64_t now_ms = 1; now_ms < STEPS; now_ms++) {
        const void *owner = rng_below(&rng.rng, 2) ? a : b;
        uint64_t what = rng_below(&rng.rng, 10);
        if (what < 6)
            pick_and_hold(&p, &s, owner, now_ms);
        else if (what < 9)
            settle(&p, &s, &rng.rng, owner, now_ms);
        else
            expire(&p, &s, now_ms);
        compare(&p, &s);
    }
    share_fini(&s);
}

static void every_offset_is_in_exactly_one_state(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(seed);
}

/* ---- bounds -----------------------------------------------------------------------------------
 */

static void delivery_pauses_at_the_bound_and_goes_on(void **state)
{
    struct share s;
    share_init(&s, 0);
    while (share_may_hold(&s, s.next, s.n % 2 ? a : b, SHARE_NEVER))
        hold(&s, 1, s.n % 2 ? a : b);
    assert_int_equal(SHARE_RUNS_MAX, s.n);
    assert_false(share_may_delay(&s, s.next));
    assert_int_equal(1, share_ack(&s, 0, 0, b));
    assert_true(share_may_hold(&s, s.next, b, SHARE_NEVER));
    share_check(&s);
    share_fini(&s);
}

static void settling_never_takes_more_than_the_ceiling(void **state)
{
    struct share s;
    share_init(&s, 0);
    hold(&s, 100000, a);
    for (int64_t i = 1; i < 100000; i += 2)
        (void)share_ack(&s, i, i, a);
    assert_true(s.n <= SHARE_RUNS_CEILING);
    share_check(&s);
    uint64_t left = s.n_held; /* a cumulative one still can */
    assert_int_equal(left, share_ack(&s, 0, 99999, a));
    assert_int_equal(100000, s.cursor);
    share_fini(&s);
}

static void nothing_is_stuck_with_many_ranges_and_nobody_holding(void **state)
{
    struct share s;
    share_init(&s, 0);
    hold(&s, 40000, a);
    for (int64_t i = 1; i < 40000; i += 2)
        (void)share_ack(&s, i, i, a);
    (void)share_release_all(&s, a);
    while (s.cursor < 40000) {
        int64_t o = share_pick(&s, 1);
        assert_true(o < 40000 && share_may_hold(&s, o, b, SHARE_NEVER));
        (void)share_hold(&s, o, b, SHARE_NEVER, true);
        assert_int_equal(1, share_ack(&s, o, o, b));
    }
    share_fini(&s);
}

/* ---- the stored form --------------------------------------------------------------------------
 */

static void the_stored_form_is_the_golden_one(void **state)
{
    static const uint8_t golden[] = {1, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 1, 1, 1, 128, 1, 0, 0, 1, 2};
    struct share s;
    struct slice image;
    share_init(&s, 2);
    hold(&s, 130, a); /* 2 to 131 */
    assert_int_equal(128, share_ack(&s, 3, 130, a));
    (void)share_release(&s, 131, 131, a, 77, false);
    (void)share_hold(&s, 131, b, 99, true);
    assert_int_equal(SL_OK, share_image_encode(&s, &image));
    assert_int_equal(sizeof golden, image.len);
    assert_memory_equal(golden, image.data, image.len);
    share_fini(&s);
    share_init(&s, 2);
    assert_int_equal(SL_OK, share_image_load(&s, image));
    share_check(&s);
    assert_int_equal(132, s.next);
    assert_int_equal(2, share_run_of(&s, 131)->count);
    assert_int_equal(2, share_pick(&s, 0));
    share_fini(&s);
    share_init(&s, 50); /* ranges below the cursor are ignored */
    assert_int_equal(SL_OK, share_image_load(&s, image));
    assert_int_equal(131, s.cursor);
    share_fini(&s);
    slice_unref(&image);
}

static void a_stored_form_that_is_broken_is_refused(void **state)
{
    static const uint8_t good[] = {1, 0, 0, 0, 0, 0, 0, 0, 2, 2, 0, 1, 1, 1, 4, 0};
    struct share s;
    share_init(&s, 2);
    for (size_t n = 0; n < sizeof good; n++)
        assert_int_equal(SL_ECORRUPT, share_image_load(&s, slice_of(good, n)));
    for (size_t i = 0; i < sizeof good; i++)
        for (int bit = 0; bit < 8; bit++) { /* whatever it says: no run is out of place */
            uint8_t bad[sizeof good];
            memcpy(bad, good, sizeof good);
            bad[i] ^= (uint8_t)(1 << bit);
            if (share_image_load(&s, slice_of(bad, sizeof bad)) == SL_OK)
                share_check(&s);
            share_fini(&s);
            share_init(&s, 2);
        }
    uint8_t newer[sizeof good];
    memcpy(newer, good, sizeof good);
    newer[0] = 2;
    assert_int_equal(SL_EFORMAT, share_image_load(&s, slice_of(newer, sizeof newer)));
    share_fini(&s);
}

static void a_jump_beyond_the_end_can_be_stored(void **state)
{
    struct share s;
    struct slice image;
    share_init(&s, 0);
    hold(&s, 4, a);
    (void)share_release_all(&s, a);
    share_jump(&s, INT64_MAX);
    assert_true(share_pick(&s, 1) == INT64_MAX);
    assert_int_equal(SL_OK, share_image_encode(&s, &image));
    share_fini(&s);
    share_init(&s, 0);
    assert_int_equal(SL_OK, share_image_load(&s, image));
    assert_int_equal(4, s.next);
    share_check(&s);
    slice_unref(&image);
    share_fini(&s);
}

static void a_jump_counts_with_the_first_ack_only(void **state)
{
    struct share s;
    share_init(&s, 0);
    hold(&s, 4, a);
    (void)share_release_all(&s, a);
    share_jump(&s, 10);
    assert_int_equal(10, share_pick(&s, 1));
    hold(&s, 2, a);
    assert_int_equal(0, s.cursor);
    share_check(&s);
    assert_int_equal(1, share_ack(&s, 11, 11, a));
    assert_int_equal(10, s.cursor); /* 10 itself is held */
    share_check(&s);
    share_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_offset_is_in_exactly_one_state),
        cmocka_unit_test(delivery_pauses_at_the_bound_and_goes_on),
        cmocka_unit_test(settling_never_takes_more_than_the_ceiling),
        cmocka_unit_test(nothing_is_stuck_with_many_ranges_and_nobody_holding),
        cmocka_unit_test(the_stored_form_is_the_golden_one),
        cmocka_unit_test(a_stored_form_that_is_broken_is_refused),
        cmocka_unit_test(a_jump_beyond_the_end_can_be_stored),
        cmocka_unit_test(a_jump_counts_with_the_first_ack_only),
    };
    return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
