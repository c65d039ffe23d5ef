#include "server/signals.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void F20_the_first_signal_begins_a_stop(void **state)
{
    struct stop_requests by_term = {0}, by_int = {0};
    assert_int_equal(STOP_BEGIN, stop_request(&by_term, SIGTERM, 5));
    assert_int_equal(STOP_BEGIN, stop_request(&by_int, SIGINT, 5));
}

static void F20_SIGTERM_and_SIGINT_together_keep_the_drain(void **state)
{
    struct stop_requests r = {0}, other_way = {0};
    assert_int_equal(STOP_BEGIN, stop_request(&r, SIGTERM, 5));
    assert_int_equal(STOP_GO_ON, stop_request(&r, SIGINT, 5));
    assert_int_equal(STOP_BEGIN, stop_request(&other_way, SIGINT, 5));
    assert_int_equal(STOP_GO_ON, stop_request(&other_way, SIGTERM, 4000));
}

static void F20_SIGTERM_x_2_ends_it_when_a_second_is_between(void **state)
{
    struct stop_requests r = {0};
    assert_int_equal(STOP_BEGIN, stop_request(&r, SIGTERM, 5));
    assert_int_equal(STOP_GO_ON, stop_request(&r, SIGTERM, 5));
    assert_int_equal(STOP_GO_ON, stop_request(&r, SIGTERM, 1004));
    assert_int_equal(STOP_NOW, stop_request(&r, SIGTERM, 1005));
}

static void F20_a_second_SIGINT_ends_it(void **state)
{
    struct stop_requests r = {0};
    assert_int_equal(STOP_BEGIN, stop_request(&r, SIGTERM, 5));
    assert_int_equal(STOP_GO_ON, stop_request(&r, SIGINT, 6));
    assert_int_equal(STOP_NOW, stop_request(&r, SIGINT, 7));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F20_the_first_signal_begins_a_stop),
        cmocka_unit_test(F20_SIGTERM_and_SIGINT_together_keep_the_drain),
        cmocka_unit_test(F20_SIGTERM_x_2_ends_it_when_a_second_is_between),
        cmocka_unit_test(F20_a_second_SIGINT_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
