/* rng, uuid, heap and clock: small things that others stand on. */
#include "base/clock.h"
#include "base/heap.h"
#include "base/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void the_same_seed_gives_the_same_numbers(void **state)
{
    struct rng_seeded a, b, c;
    rng_seeded_init(&a, 1);
    rng_seeded_init(&b, 1);
    rng_seeded_init(&c, 2);
    uint64_t first = rng_u64(&a.rng);
    assert_true(first == rng_u64(&b.rng));
    assert_true(first != rng_u64(&c.rng));
    assert_true(first != rng_u64(&a.rng));
}

/* The first number of the reference implementation with splitmix64 of seed 0. */
static void xoshiro_gives_the_published_numbers(void **state)
{
    struct rng_seeded r = {.state = {1, 2, 3, 4}};
    struct rng_seeded fresh;
    rng_seeded_init(&fresh, 0);
    assert_true(fresh.state[0] == 0xe220a8397b1dcdafu);
    r.rng = fresh.rng;
    assert_true(rng_u64(&r.rng) == 11520);
    assert_true(rng_u64(&r.rng) == 0);
    assert_true(rng_u64(&r.rng) == 1509978240);
}

static void rng_below_is_below_and_reaches_all(void **state)
{
    struct rng_seeded r;
    bool seen[7] = {false};
    rng_seeded_init(&r, 3);
    for (int i = 0; i < 1000; i++) {
        uint64_t v = rng_below(&r.rng, 7);
        assert_true(v < 7);
        seen[v] = true;
    }
    for (int i = 0; i < 7; i++)
        assert_true(seen[i]);
    assert_int_equal(0, rng_below(&r.rng, 1));
}

static void real_chance_does_not_repeat(void **state)
{
    assert_true(rng_u64(&rng_real) != rng_u64(&rng_real));
}

static void random_uuids_are_version_4_and_never_start_with_a_dash(void **state)
{
    struct rng_seeded r;
    char text[UUID_BASE64_BYTES];
    rng_seeded_init(&r, 4);
    for (int i = 0; i < 2000; i++) {
        struct uuid u = uuid_random(&r.rng);
        uuid_format_base64(&u, text);
        assert_int_not_equal('-', text[0]);
        assert_int_equal(0x40, u.bytes[6] & 0xf0);
        assert_int_equal(0x80, u.bytes[8] & 0xc0);
    }
}

static void both_texts_of_a_uuid_are_read_back(void **state)
{
    struct rng_seeded r;
    rng_seeded_init(&r, 5);
    for (int i = 0; i < 100; i++) {
        struct uuid u = uuid_random(&r.rng), back;
        char text[UUID_TEXT_BYTES], base64[UUID_BASE64_BYTES];
        uuid_format(&u, text);
        assert_int_equal(36, strlen(text));
        assert_int_equal(SL_OK, uuid_parse(text, &back));
        assert_true(uuid_equal(&u, &back));
        uuid_format_base64(&u, base64);
        assert_int_equal(22, strlen(base64));
        assert_int_equal(SL_OK, uuid_parse(base64, &back));
        assert_true(uuid_equal(&u, &back));
    }
}

static void a_known_uuid_has_its_known_texts(void **state)
{
    struct uuid u;
    char text[UUID_TEXT_BYTES], base64[UUID_BASE64_BYTES];
    assert_int_equal(SL_OK, uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &u));
    uuid_format(&u, text);
    assert_string_equal("00112233-4455-6677-8899-aabbccddeeff", text);
    uuid_format_base64(&u, base64);
    assert_string_equal("ABEiM0RVZneImaq7zN3u_w", base64);
    assert_false(uuid_is_zero(&u));
    assert_true(uuid_is_zero(&(struct uuid){{0}}));
}

static void texts_that_are_no_uuid_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "0011",
                                      "00112233-4455-6677-8899-aabbccddeef",
                                      "00112233-4455-6677-8899-aabbccddeefg",
                                      "001122334-455-6677-8899-aabbccddeeff",
                                      "ABEiM0RVZneImaq7zN3u/w",
                                      "ABEiM0RVZneImaq7zN3u_x"};
    struct uuid u = {{7}};
    for (size_t i = 0; i < SL_ARRAY_LEN(bad); i++)
        assert_int_equal(SL_EINVAL, uuid_parse(bad[i], &u));
    assert_int_equal(7, u.bytes[0]);
}

static void a_heap_gives_by_key_and_equal_keys_in_their_order(void **state)
{
    enum { NODES = 500 };
    static struct heap_node nodes[NODES];
    struct heap h;
    struct rng_seeded r;
    size_t removed = 0, left = 0;
    rng_seeded_init(&r, 6);
    heap_init(&h);
    assert_null(heap_first(&h));
    for (int i = 0; i < NODES; i++)
        heap_push(&h, &nodes[i], (int64_t)rng_below(&r.rng, 50));
    for (int i = 0; i < NODES; i += 3, removed++) {
        heap_remove(&h, &nodes[i]);
        heap_remove(&h, &nodes[i]);
        assert_false(heap_linked(&nodes[i]));
    }
    int64_t last_key = -1;
    uint64_t last_order = 0;
    for (struct heap_node *n; (n = heap_first(&h)); left++) {
        assert_true(n->key > last_key || (n->key == last_key && n->order > last_order));
        last_key = n->key;
        last_order = n->order;
        heap_remove(&h, n);
    }
    assert_int_equal(NODES, removed + left);
    heap_fini(&h);
}

static void the_real_clock_does_not_go_back(void **state)
{
    int64_t a = clock_monotonic_ns(&clock_real);
    int64_t b = clock_monotonic_ns(&clock_real);
    assert_true(b >= a);
    assert_true(clock_wall_ms(&clock_real) > 1600000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(xoshiro_gives_the_published_numbers),
        cmocka_unit_test(rng_below_is_below_and_reaches_all),
        cmocka_unit_test(real_chance_does_not_repeat),
        cmocka_unit_test(random_uuids_are_version_4_and_never_start_with_a_dash),
        cmocka_unit_test(both_texts_of_a_uuid_are_read_back),
        cmocka_unit_test(a_known_uuid_has_its_known_texts),
        cmocka_unit_test(texts_that_are_no_uuid_are_refused),
        cmocka_unit_test(a_heap_gives_by_key_and_equal_keys_in_their_order),
        cmocka_unit_test(the_real_clock_does_not_go_back),
    };
    return cmocka_run_group_tests_name("chance", tests, NULL, NULL);
}
