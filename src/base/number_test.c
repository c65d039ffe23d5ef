#include "base/number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int64_t parsed(const char *text)
{
    int64_t v = 77;
    assert_int_equal(SL_OK, number_parse(text, strlen(text), INT64_MIN, INT64_MAX, &v));
    return v;
}

static void numbers_are_read_up_to_both_ends_of_their_type(void **state)
{
    assert_true(parsed("0") == 0);
    assert_true(parsed("-0") == 0);
    assert_true(parsed("007") == 7);
    assert_true(parsed("9223372036854775807") == INT64_MAX);
    assert_true(parsed("-9223372036854775808") == INT64_MIN);
}

static void what_is_not_wholly_a_number_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "-",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1a",
                                        "0x1",
                                        "1.0",
                                        "--1",
                                        "9223372036854775808",
                                        "-9223372036854775809"};
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        int64_t v = 77;
        assert_int_equal(SL_EINVAL,
                         number_parse(texts[i], strlen(texts[i]), INT64_MIN, INT64_MAX, &v));
        assert_true(v == 77);
    }
}

static void numbers_outside_their_bounds_are_refused(void **state)
{
    int64_t v;
    assert_int_equal(SL_EINVAL, number_parse("0", 1, 1, 10, &v));
    assert_int_equal(SL_EINVAL, number_parse("11", 2, 1, 10, &v));
    assert_int_equal(SL_OK, number_parse("10", 2, 1, 10, &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_up_to_both_ends_of_their_type),
        cmocka_unit_test(what_is_not_wholly_a_number_is_refused),
        cmocka_unit_test(numbers_outside_their_bounds_are_refused),
    };
    return cmocka_run_group_tests_name("base/number", tests, NULL, NULL);
}
