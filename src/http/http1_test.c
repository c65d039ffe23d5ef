#include "http/http1.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BODY_MAX = 1000 };

/* Feeds text in pieces of `step` bytes; returns how many were taken. */
static size_t feed(struct http1 *p, const char *text, size_t len, size_t step)
{
    size_t pos = 0;
    while (pos < len) {
        size_t used = 0, n = SL_MIN(step, len - pos);
        enum http1_state state = http1_feed(p, (const uint8_t *)text + pos, n, &used);
        pos += used;
        if (state == HTTP1_DONE || state == HTTP1_FAILED)
            break;
        assert_int_equal(n, used);
    }
    return pos;
}

/* Status of a request however its bytes are cut: 0 complete, -1 incomplete, else the refusal. */
static int status_of_bytes(const char *text, size_t len)
{
    static const size_t steps[] = {1, 2, 7, 100000};
    int first = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(steps); i++) {
        SL_AUTO(http1_free) struct http1 *p = http1_new(BODY_MAX);
        (void)feed(p, text, len, steps[i]);
        int status = http1_state(p) == HTTP1_DONE     ? 0
                     : http1_state(p) == HTTP1_FAILED ? http1_status(p)
                                                      : -1;
        if (status > 0)
            assert_true(strlen(http1_reason(p)) > 3);
        if (i > 0)
            assert_int_equal(first, status);
        first = status;
    }
    return first;
}

static int status_of(const char *text)
{
    return status_of_bytes(text, strlen(text));
}

#define HOST "Host: a\r\n"

static void a_request_is_taken_apart(void **state)
{
    static const char text[] =
        "POST /a%20b/c?x=1%2f2 HTTP/1.1\r\nHost: example.org:8080\r\n"
        "X-Empty:\r\nContent-Length: 5 \r\nExpect: 100-continue\r\n\r\nhelloGET";
    SL_AUTO(http1_free) struct http1 *p = http1_new(BODY_MAX);
    assert_true(http1_is_idle(p));
    assert_int_equal(sizeof text - 1 - 3, feed(p, text, sizeof text - 1, 10));
    const struct http1_request *r = http1_request(p);
    assert_true(slice_eq_str(r->method, "POST"));
    assert_true(slice_eq_str(r->path, "/a b/c"));
    assert_true(slice_eq_str(r->query, "x=1%2f2"));
    assert_true(slice_eq_str(r->body, "hello"));
    assert_true(slice_eq_str(http1_header(r, "hOST"), "example.org:8080"));
    assert_true(slice_eq_str(http1_header(r, "X-Empty"), ""));
    assert_true(slice_eq_str(http1_header(r, "Content-Length"), "5"));
    assert_null(http1_header(r, "X-Other").data);
    assert_int_equal(4, r->n_headers);
    assert_true(r->keep_alive);
    assert_true(r->expects_continue);
    http1_next(p);
    assert_true(http1_is_idle(p));
}

static void keep_alive_follows_version_and_connection(void **state)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", true},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        SL_AUTO(http1_free) struct http1 *p = http1_new(BODY_MAX);
        assert_int_equal(strlen(cases[i].text), feed(p, cases[i].text, strlen(cases[i].text), 3));
        assert_int_equal(HTTP1_DONE, http1_state(p));
        assert_int_equal(cases[i].keep_alive, http1_request(p)->keep_alive);
    }
}

static void chunks_are_joined_and_trailers_skipped(void **state)
{
    static const char text[] =
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\nZ: 1\r\n\r\nrest";
    for (size_t step = 1; step < 30; step++) {
        SL_AUTO(http1_free) struct http1 *p = http1_new(BODY_MAX);
        assert_int_equal(sizeof text - 1 - 4, feed(p, text, sizeof text - 1, step));
        assert_int_equal(HTTP1_DONE, http1_state(p));
        assert_true(slice_eq_str(http1_request(p)->body, "abc0123456789"));
    }
}

static void H01_what_two_servers_could_frame_differently_is_refused(void **state)
{
    static const char *const requests[] = {
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 1 2\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" HOST " Transfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: empty name\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\x01: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n",
        "GET  / HTTP/1.1\r\n" HOST "\r\n",
        "GET / x HTTP/1.1\r\n" HOST "\r\n",
        "GET /\r\n" HOST "\r\n",
        "GET HTTP/1.1\r\n" HOST "\r\n",
        "GET /  HTTP/1.1\r\n" HOST "\r\n",
        " GET / HTTP/1.1\r\n" HOST "\r\n",
        "GET / HTTP/1.1 \r\n" HOST "\r\n",
        "get / http/1.1\r\n" HOST "\r\n",
        "GET\t/ HTTP/1.1\r\n" HOST "\r\n",
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(requests); i++) {
        int status = status_of(requests[i]);
        if (status != 400)
            fail_msg("%zu: %d for %s", i, status, requests[i]);
    }
    static const char with_nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    assert_int_equal(400, status_of_bytes(with_nul, sizeof with_nul - 1));
}

static void H01_chunks_that_could_be_read_in_two_ways_are_refused(void **state)
{
    static const char *const bodies[] = {
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "fffffffffffffffff\r\n",
        "3\rabc\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "0\r\nX: a\nY: b\r\n\r\n",
        "0\r\n\rX\r\n\r\n",
        ";a=b\r\n",
    };
    char text[4096];
    for (size_t i = 0; i < SL_ARRAY_LEN(bodies); i++) {
        (void)snprintf(text, sizeof text,
                       "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n%s",
                       bodies[i]);
        int status = status_of(text);
        if (status != 400)
            fail_msg("%zu: %d for %s", i, status, bodies[i]);
    }
}

static char *repeat(const char *head, const char *unit, size_t n, const char *tail)
{
    size_t len = strlen(unit);
    char *text = malloc(strlen(head) + n * len + strlen(tail) + 1), *p = text;
    assert_non_null(text);
    p = (char *)memcpy(p, head, strlen(head)) + strlen(head);
    for (size_t i = 0; i < n; i++)
        p = (char *)memcpy(p, unit, len) + len;
    memcpy(p, tail, strlen(tail) + 1);
    return text;
}

static void expect_repeated(int status, const char *head, const char *unit, size_t n,
                            const char *tail)
{
    char *text = repeat(head, unit, n, tail);
    assert_int_equal(status, status_of(text));
    free(text);
}

static void H01_floods_of_chunk_extensions_and_trailers_are_refused(void **state)
{
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";
    char *text = repeat(head, "", 0, "1;");
    expect_repeated(400, text, "a", 100000, "");
    free(text);
    text = repeat(head, "", 0, "0\r\n");
    expect_repeated(431, text, "X: y\r\n", 10000, "\r\n");
    free(text);
}

static void H02_heads_are_bounded(void **state)
{
    static const char end[] = " HTTP/1.1\r\n" HOST "\r\n";
    expect_repeated(0, "GET /", "a", 8191, end);
    expect_repeated(414, "GET /", "a", 8192, end);
    expect_repeated(414, "GET /", "a", 1000000, "");
    expect_repeated(400, "", "A", 65536, " / HTTP/1.1\r\n");
    expect_repeated(0, "GET / HTTP/1.1\r\n" HOST, "X: y\r\n", 99, "\r\n");
    expect_repeated(431, "GET / HTTP/1.1\r\n" HOST, "X: y\r\n", 100, "\r\n");
    expect_repeated(431, "GET / HTTP/1.1\r\n" HOST "X: ", "a", 16384, "\r\n\r\n");
    expect_repeated(431, "GET / HTTP/1.1\r\n" HOST "X: ", "a", 1000000, "");
    expect_repeated(431, "GET / HTTP/1.1\r\n" HOST, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 50000,
                    "");
    expect_repeated(0, "GET / HTTP/1.1\r\n" HOST "X: ", "a", 16000, "\r\n\r\n");
}

static void H02_paths_cannot_climb_or_hide(void **state)
{
    static const struct {
        const char *target;
        int status;
        const char *path;
    } cases[] = {
        {"/%2e%2e%2fetc", 400, NULL},
        {"/a/../b", 400, NULL},
        {"/..", 400, NULL},
        {"/.", 400, NULL},
        {"/a%00b", 400, NULL},
        {"/%", 400, NULL},
        {"/%4", 400, NULL},
        {"/%zz", 400, NULL},
        {"a", 400, NULL},
        {"*", 405, NULL},
        {"/%252e%252e", 0, "/%2e%2e"},
        {"/a..b", 0, "/a..b"},
        {"http://a/metrics", 0, "/metrics"},
        {"http://a", 0, "/"},
        {"https://a/x", 400, NULL},
        {"/a?../..", 0, "/a"},
    };
    char text[256];
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", cases[i].target);
        SL_AUTO(http1_free) struct http1 *p = http1_new(BODY_MAX);
        (void)feed(p, text, strlen(text), 1000);
        if (http1_status(p) != cases[i].status)
            fail_msg("%d for %s", http1_status(p), cases[i].target);
        if (cases[i].path)
            assert_true(slice_eq_str(http1_request(p)->path, cases[i].path));
    }
}

static void H05_host_is_needed_once_and_must_look_like_one(void **state)
{
    assert_int_equal(400, status_of("GET / HTTP/1.1\r\n\r\n"));
    assert_int_equal(400, status_of("GET / HTTP/1.1\r\n" HOST HOST "\r\n"));
    assert_int_equal(400, status_of("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"));
    assert_int_equal(400, status_of("GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n"));
    assert_int_equal(400, status_of("GET / HTTP/1.1\r\nHost: <script>\r\n\r\n"));
    assert_int_equal(0, status_of("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"));
    assert_int_equal(0, status_of("GET / HTTP/1.0\r\n\r\n"));
    assert_int_equal(405, status_of("CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n"));
    assert_int_equal(505, status_of("GET / HTTP/2.0\r\n" HOST "\r\n"));
    assert_int_equal(505, status_of("GET / HTTP/1.2\r\n" HOST "\r\n"));
    assert_int_equal(505, status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
}

static void bodies_beyond_the_limit_are_refused_before_they_come(void **state)
{
    assert_int_equal(-1, status_of("POST / HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n"));
    assert_int_equal(413, status_of("POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n"));
    assert_int_equal(
        413, status_of("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551615\r\n\r\n"));
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";
    expect_repeated(413, head, "2\r\nab\r\n", 501, "0\r\n\r\n");
    expect_repeated(0, head, "2\r\nab\r\n", 500, "0\r\n\r\n");
    expect_repeated(413, head, "ffffffffffffff\r\naaa", 400, "");
}

static void empty_lines_before_a_request_are_skipped(void **state)
{
    assert_int_equal(0, status_of("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"));
    assert_int_equal(400, status_of("\rGET / HTTP/1.1\r\n" HOST "\r\n"));
    assert_int_equal(400, status_of("\nGET / HTTP/1.1\r\n" HOST "\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(chunks_are_joined_and_trailers_skipped),
        cmocka_unit_test(H01_what_two_servers_could_frame_differently_is_refused),
        cmocka_unit_test(H01_chunks_that_could_be_read_in_two_ways_are_refused),
        cmocka_unit_test(H01_floods_of_chunk_extensions_and_trailers_are_refused),
        cmocka_unit_test(H02_heads_are_bounded),
        cmocka_unit_test(H02_paths_cannot_climb_or_hide),
        cmocka_unit_test(H05_host_is_needed_once_and_must_look_like_one),
        cmocka_unit_test(bodies_beyond_the_limit_are_refused_before_they_come),
        cmocka_unit_test(empty_lines_before_a_request_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
