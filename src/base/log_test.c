#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2];
static char line[16384];

static int open_pipe(void **state)
{
    return pipe(ends);
}

static int close_pipe(void **state)
{
    log_configure(STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    return close(ends[0]) | close(ends[1]);
}

/* What was written since the last call. Each line is one write, so one read per line is enough. */
static const char *written(void)
{
    (void)!write(ends[1], "", 1); /* an end mark, so that nothing blocks */
    ssize_t n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    return line;
}

static void a_json_line_has_event_sentence_and_typed_fields(void **state)
{
    log_configure(ends[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    LOG_INFO("server.ready", "serving", F_STR("kafka", "127.0.0.1:9092"), F_I64("pid", -7),
             F_BOOL("clean", true), F_F64("load", 0.5), F_BYTES("id", slice_of("ab\0c", 4)),
             F_STR("none", NULL));
    const char *text = written();
    assert_non_null(strstr(text,
                           "\"level\":\"info\",\"event\":\"server.ready\",\"msg\":\"serving\","
                           "\"kafka\":\"127.0.0.1:9092\",\"pid\":-7,\"clean\":true,"
                           "\"load\":0.5,\"id\":\"ab\\u0000c\",\"none\":null}\n"));
    assert_int_equal('{', text[0]);
}

static void O07_text_of_peers_cannot_make_lines_or_move_the_cursor(void **state)
{
    static const char evil[] = "a\nb\r\033[2J\"\\\x9b\xc2\x9b\xe2\x80\xae\xff\xc3\xa9";
    log_configure(ends[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    LOG_WARN("peer.odd", "odd name", F_STR("client", evil));
    const char *text = written();
    assert_non_null(strstr(text, "\"a\\nb\\u000d\\u001b[2J\\\"\\\\\\u009b\\u00c2\\u009b"
                                 "\\u00e2\\u0080\\u00ae\\u00ff\xc3\xa9\""));
    log_configure(ends[1], LOG_LEVEL_INFO, LOG_FORMAT_PRETTY);
    LOG_WARN("peer.odd", "odd name", F_STR("client", evil));
    text = written();
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_null(strchr(text, '\033'));
    assert_non_null(strstr(text, "client=\"a\\nb"));
}

static void a_pretty_line_is_for_people(void **state)
{
    log_configure(ends[1], LOG_LEVEL_INFO, LOG_FORMAT_PRETTY);
    LOG_ERROR("disk.full", "the disk is full", F_STR("dir", "/data"), F_STR("why", "no space"));
    assert_non_null(
        strstr(written(), " ERROR the disk is full  disk.full  dir=/data  why=\"no space\"\n"));
}

static void lines_below_the_level_are_not_written(void **state)
{
    log_configure(ends[1], LOG_LEVEL_WARN, LOG_FORMAT_JSON);
    LOG_INFO("x", "not this one");
    LOG_WARN("y", "this one");
    const char *text = written();
    assert_null(strstr(text, "not this one"));
    assert_non_null(strstr(text, "this one"));
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
}

static unsigned count_quotes(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '"'; /* none is inside a value here */
    return n;
}

static void a_line_that_is_too_long_is_cut_and_stays_json(void **state)
{
    char *big = malloc(20001);
    log_configure(ends[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (size_t len = 7900; len < 8300; len++) { /* around the limit, escapes at each place */
        memset(big, len % 2 ? 'x' : '\001', len);
        big[len] = '\0';
        LOG_INFO("big", "cut", F_STR("a", big), F_I64("b", 1), F_STR("c", big));
        const char *text = written();
        size_t n = strlen(text);
        assert_true(n <= 8192);
        assert_string_equal(",\"cut\":true}\n", text + n - 13);
        assert_int_equal(0, count_quotes(text) % 2);
    }
    free(big);
}

static void floods_of_one_event_are_limited_and_counted(void **state)
{
    log_configure(ends[1], LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    assert_false(log_rate_limited("flood"));
    for (int i = 0; i < 10; i++)
        assert_true(log_rate_limited("flood"));
    assert_false(log_rate_limited("another"));
    LOG_WARN("flood", "again");
    assert_non_null(strstr(written(), "\"left_out\":10"));
    LOG_WARN("flood", "again");
    assert_null(strstr(written(), "left_out"));
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, open_pipe, close_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_json_line_has_event_sentence_and_typed_fields),
        LOG_TEST(O07_text_of_peers_cannot_make_lines_or_move_the_cursor),
        LOG_TEST(a_pretty_line_is_for_people),
        LOG_TEST(lines_below_the_level_are_not_written),
        LOG_TEST(a_line_that_is_too_long_is_cut_and_stays_json),
        LOG_TEST(floods_of_one_event_are_limited_and_counted),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
