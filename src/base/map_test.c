#include "base/map.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int one = 1, two = 2;

static void put_get_replace_remove(void **state)
{
    struct map *m = map_new(10);
    void *old = &two;
    assert_null(map_get_str(m, "a"));
    assert_null(map_remove(m, "a", 1));
    assert_int_equal(SL_OK, map_put(m, "a", 1, &one, &old));
    assert_null(old);
    assert_ptr_equal(&one, map_get_str(m, "a"));
    assert_int_equal(SL_OK, map_put(m, "a", 1, &two, &old));
    assert_ptr_equal(&one, old);
    assert_int_equal(1, map_count(m));
    assert_int_equal(SL_OK, map_put(m, "", 0, &one, NULL));
    assert_ptr_equal(&one, map_get(m, "", 0));
    assert_ptr_equal(&two, map_remove(m, "a", 1));
    assert_null(map_get_str(m, "a"));
    assert_int_equal(1, map_count(m));
    map_free(m);
    map_free(NULL);
}

static void keys_are_copied(void **state)
{
    struct map *m = map_new(10);
    char key[4] = "key";
    assert_int_equal(SL_OK, map_put(m, key, 3, &one, NULL));
    key[0] = 'x';
    assert_ptr_equal(&one, map_get_str(m, "key"));
    assert_null(map_get_str(m, "xey"));
    map_free(m);
}

static void at_the_ceiling_new_keys_are_refused_and_old_ones_replaced(void **state)
{
    struct map *m = map_new(2);
    void *old = &two;
    assert_int_equal(SL_OK, map_put(m, "a", 1, &one, NULL));
    assert_int_equal(SL_OK, map_put(m, "b", 1, &one, NULL));
    assert_int_equal(SL_EFULL, map_put(m, "c", 1, &one, &old));
    assert_ptr_equal(&two, old); /* a failed call changes nothing */
    assert_int_equal(SL_OK, map_put(m, "b", 1, &two, NULL));
    assert_ptr_equal(&one, map_remove(m, "a", 1));
    assert_int_equal(SL_OK, map_put(m, "c", 1, &one, NULL));
    map_free(m);
}

/* Against a plain array, with a seed that a failure can be repeated with. */
static void random_calls_agree_with_an_array(void **state)
{
    enum { KEYS = 300, CALLS = 50000 };
    static char values[KEYS];
    bool present[KEYS] = {false};
    size_t count = 0;
    struct rng_seeded r;
    rng_seeded_init(&r, 42);
    map_seed(rng_u64(&r.rng), rng_u64(&r.rng));
    struct map *m = map_new(KEYS);
    for (int i = 0; i < CALLS; i++) {
        uint32_t k = (uint32_t)rng_below(&r.rng, KEYS);
        if (rng_below(&r.rng, 2)) {
            assert_int_equal(SL_OK, map_put(m, &k, sizeof k, &values[k], NULL));
            count += !present[k];
            present[k] = true;
        } else {
            assert_ptr_equal(present[k] ? &values[k] : NULL, map_remove(m, &k, sizeof k));
            count -= present[k];
            present[k] = false;
        }
        assert_int_equal(count, map_count(m));
    }
    for (uint32_t k = 0; k < KEYS; k++)
        assert_ptr_equal(present[k] ? &values[k] : NULL, map_get(m, &k, sizeof k));
    map_free(m);
}

static void iteration_sees_each_entry_once_while_some_are_removed(void **state)
{
    enum { KEYS = 1000 };
    static char values[KEYS];
    unsigned seen[KEYS] = {0};
    struct map *m = map_new(KEYS);
    for (uint32_t k = 0; k < KEYS; k++)
        assert_int_equal(SL_OK, map_put(m, &k, sizeof k, &values[k], NULL));
    struct slice key;
    void *value;
    for (size_t i = 0; map_next(m, &i, &key, &value);) {
        uint32_t k;
        assert_int_equal(sizeof k, key.len);
        memcpy(&k, key.data, sizeof k);
        assert_ptr_equal(&values[k], value);
        seen[k]++;
        if (k % 3 == 0)
            assert_ptr_equal(value, map_remove(m, &k, sizeof k));
    }
    for (uint32_t k = 0; k < KEYS; k++)
        assert_int_equal(1, seen[k]);
    assert_int_equal(KEYS - (KEYS + 2) / 3, map_count(m));
    size_t n = 0;
    for (size_t i = 0; map_next(m, &i, NULL, &value);)
        n++;
    assert_int_equal(map_count(m), n);
    map_free(m);
}

static void an_empty_map_has_nothing_to_iterate(void **state)
{
    struct map *m = map_new(1);
    size_t i = 0;
    void *value;
    assert_false(map_next(m, &i, NULL, &value));
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_get_replace_remove),
        cmocka_unit_test(keys_are_copied),
        cmocka_unit_test(at_the_ceiling_new_keys_are_refused_and_old_ones_replaced),
        cmocka_unit_test(random_calls_agree_with_an_array),
        cmocka_unit_test(iteration_sees_each_entry_once_while_some_are_removed),
        cmocka_unit_test(an_empty_map_has_nothing_to_iterate),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
