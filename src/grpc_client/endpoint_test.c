#include "grpc_client/grpc_client_int.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check_endpoint(const char *endpoint, sl_err expected, const char *addr)
{
    char got[GRPC_ADDR_BYTES] = "";
    struct sl_fault fault = {0};
    assert_int_equal(expected, grpc__endpoint(endpoint, &fault, got));
    assert_string_equal(addr, got);
    assert_true(expected == SL_OK || fault.what[0]);
}

static void an_endpoint_is_a_url_with_a_host_and_maybe_a_port(void **state)
{
    check_endpoint("http://localhost:50051", SL_OK, "localhost:50051");
    check_endpoint("http://localhost:50051/", SL_OK, "localhost:50051");
    check_endpoint("http://a", SL_OK, "a:80");
    check_endpoint("http://[::1]", SL_OK, "[::1]:80");
    check_endpoint("http://[::1]:7", SL_OK, "[::1]:7");
    check_endpoint("localhost:50051", SL_EINVAL, "");
    check_endpoint("http://", SL_EINVAL, "");
    check_endpoint("http://:5", SL_EINVAL, "");
    check_endpoint("http://a:5/path", SL_EINVAL, "");
    check_endpoint("https://a:5", SL_EUNSUPPORTED, "");
}

static void W25_waits_between_attempts_double_up_to_the_maximum(void **state)
{
    const struct grpc_retry *r = &grpc_retry_default;
    assert_int_equal(3, r->max_retries);
    assert_int_equal(100, grpc_retry_backoff_ms(r, 0));
    assert_int_equal(200, grpc_retry_backoff_ms(r, 1));
    assert_int_equal(400, grpc_retry_backoff_ms(r, 2));
    assert_int_equal(10000, grpc_retry_backoff_ms(r, 7));
    assert_int_equal(10000, grpc_retry_backoff_ms(r, UINT32_MAX));
}

static void a_status_text_is_percent_decoded_and_cut(void **state)
{
    char text[6];
    grpc__status_text(slice_str("a%20b"), text, sizeof text);
    assert_string_equal("a b", text);
    grpc__status_text(slice_str("%zz%2"), text, sizeof text);
    assert_string_equal("%zz%2", text);
    grpc__status_text(slice_str("123456789"), text, sizeof text);
    assert_string_equal("12345", text);
}

static void a_timeout_has_at_most_eight_digits(void **state)
{
    char text[24];
    grpc__timeout_text(99999999, text);
    assert_string_equal("99999999m", text);
    grpc__timeout_text(100000000, text);
    assert_string_equal("100000S", text);
    grpc__timeout_text(INT64_MAX, text);
    assert_string_equal("99999999S", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_is_a_url_with_a_host_and_maybe_a_port),
        cmocka_unit_test(W25_waits_between_attempts_double_up_to_the_maximum),
        cmocka_unit_test(a_status_text_is_percent_decoded_and_cut),
        cmocka_unit_test(a_timeout_has_at_most_eight_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
