#include "record/partitioner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void keys_hash_as_in_the_java_client(void **state)
{
    static const struct {
        const char *key;
        int32_t hash;
    } known[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(known); i++)
        assert_int_equal(known[i].hash, (int32_t)partitioner_hash(slice_str(known[i].key)));
}

static void a_partition_is_always_one_that_exists(void **state)
{
    uint8_t key[2];
    for (unsigned i = 0; i < 65536; i++) {
        key[0] = (uint8_t)i;
        key[1] = (uint8_t)(i >> 8);
        assert_true(partitioner_choose(slice_of(key, 2), 7) < 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_hash_as_in_the_java_client),
        cmocka_unit_test(a_partition_is_always_one_that_exists),
    };
    return cmocka_run_group_tests_name("record/partitioner", tests, NULL, NULL);
}
