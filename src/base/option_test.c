#include "base/option.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DIR, SEGMENT_BYTES, RETENTION_MS, HTTP_ADDR, FORMAT, AUTO_CREATE, THREADS };

static const struct option_row rows[] = {
    OPTION_ROW("Files", data_dir, STR, "./data", 1, 64, START, "-d", "directory"),
    OPTION_ROW("Files", log_segment_bytes, BYTES, GiB(1), MiB(1), GiB(2), LIVE,
               "SEGMENT_MAX_SIZE log.segment.bytes", "size that starts a segment"),
    OPTION_ROW("Files", log_retention_ms, MS, DAYS(7), -1, INT64_MAX, LIVE, "", "drop after"),
    OPTION_ROW("Doors", http_addr, ADDR, "8080", 0, 255, START,
               "HTTP_ADDR --metrics-port SLUICE_METRICS_PORT", "where"),
    OPTION_ROW("Doors", log_format, ENUM, "auto", "auto|pretty=text|json", 0, START, "LOG_FORMAT",
               "form of log lines"),
    OPTION_ROW("Doors", auto_create, BOOL, true, 0, 1, LIVE, "", "create topics"),
    OPTION_ROW("Doors", io_threads, COUNT, 0, 0, 256, START, "", "loops"),
};
static const struct option_table table = {rows, SL_ARRAY_LEN(rows), "SLUICE_"};

static int setup(void **state)
{
    *state = options_new(&table);
    return 0;
}

static int teardown(void **state)
{
    options_free(*state);
    return 0;
}

static sl_err read_flags(struct options *o, struct sl_fault *fault, int argc, const char **argv)
{
    return options_read_flags(o, argc, (char *const *)(void *)argv, fault);
}
#define FLAGS(o, fault, ...)                                                                       \
    read_flags(o, fault, (int)SL_ARRAY_LEN(((const char *[]){__VA_ARGS__})),                       \
               (const char *[]){__VA_ARGS__})
#define ENV(o, fault, ...)                                                                         \
    options_read_env(o, (char *const *)(void *)(const char *[]){__VA_ARGS__, NULL}, fault)

static void defaults_come_from_the_table(void **state)
{
    struct options *o = *state;
    assert_string_equal("./data", option_text(o, DIR));
    assert_int_equal(GiB(1), option_number(o, SEGMENT_BYTES));
    assert_int_equal(604800000, option_number(o, RETENTION_MS));
    assert_string_equal("auto", option_text(o, FORMAT));
    assert_int_equal(1, option_number(o, AUTO_CREATE));
    assert_int_equal(OPTION_DEFAULT, option_source(o, DIR));
}

static void flags_are_read_in_every_spelling(void **state)
{
    struct options *o = *state;
    assert_int_equal(SL_OK, FLAGS(o, NULL, "-d", "/a", "--log-segment-bytes=64MiB",
                                  "--no-auto-create", "--log-retention-ms", "-1", "--io-threads",
                                  "3", "--log-format=text", "--metrics-port", "9090"));
    assert_string_equal("/a", option_text(o, DIR));
    assert_int_equal(64 << 20, option_number(o, SEGMENT_BYTES));
    assert_int_equal(0, option_number(o, AUTO_CREATE));
    assert_int_equal(-1, option_number(o, RETENTION_MS));
    assert_int_equal(3, option_number(o, THREADS));
    assert_string_equal("pretty", option_text(o, FORMAT));
    assert_int_equal(1, option_number(o, FORMAT));
    assert_string_equal("9090", option_text(o, HTTP_ADDR));
}

static struct option_origin from_line(int line, const char *key)
{
    return (struct option_origin){OPTION_FILE, key, line};
}

static void a_flag_beats_the_environment_and_that_beats_the_file_in_any_order(void **state)
{
    struct options *o = *state;
    assert_int_equal(SL_OK, FLAGS(o, NULL, "--io-threads", "3"));
    assert_int_equal(SL_OK, ENV(o, NULL, "SLUICE_IO_THREADS=2", "SLUICE_DATA_DIR=/env"));
    assert_int_equal(SL_OK, option_set(o, THREADS, from_line(1, "io_threads"), "1", NULL));
    assert_int_equal(SL_OK, option_set(o, DIR, from_line(2, "data_dir"), "/file", NULL));
    assert_int_equal(3, option_number(o, THREADS));
    assert_string_equal("/env", option_text(o, DIR));
    assert_int_equal(0, options_notice_count(o));
}

static void of_two_names_for_one_option_its_own_counts_and_a_notice_says_so(void **state)
{
    struct options *o = *state;
    assert_int_equal(SL_OK, ENV(o, NULL, "HTTP_ADDR=:1", "SLUICE_HTTP_ADDR=:2"));
    assert_string_equal(":2", option_text(o, HTTP_ADDR));
    assert_int_equal(1, options_notice_count(o));
    assert_string_equal("SLUICE_HTTP_ADDR and HTTP_ADDR disagree: SLUICE_HTTP_ADDR counts",
                        options_notice(o, 0));
    assert_int_equal(SL_OK, FLAGS(o, NULL, "--metrics-port=3", "--http-addr=4"));
    assert_string_equal("4", option_text(o, HTTP_ADDR));
    assert_int_equal(2, options_notice_count(o));
}

static void two_names_with_the_same_value_need_no_notice(void **state)
{
    struct options *o = *state;
    assert_int_equal(SL_OK, ENV(o, NULL, "HTTP_ADDR=:1", "SLUICE_HTTP_ADDR=:1"));
    assert_int_equal(0, options_notice_count(o));
}

static void O03_a_wrong_value_is_refused_with_key_value_and_what_is_allowed(void **state)
{
    static const struct {
        const char *flag, *what;
    } cases[] = {
        {"--log-segment-bytes=12", "log_segment_bytes: 12 is below 1 MiB; allowed: 1 MiB to 2 GiB"},
        {"--log-segment-bytes=3GiB",
         "log_segment_bytes: 3GiB is above 2 GiB; allowed: 1 MiB to 2 GiB"},
        {"--log-segment-bytes=9999999999999999999",
         "log_segment_bytes: 9999999999999999999 is not a size such as 64MiB; allowed: "
         "1 MiB to 2 GiB"},
        {"--log-retention-ms=7x", "log_retention_ms: 7x is not a time such as 500ms, 30s or 7d; "
                                  "allowed: -1 and more"},
        {"--log-retention-ms=-2", "log_retention_ms: -2 is below -1; allowed: -1 and more"},
        {"--http-addr=a:b:c:99999/x", "http_addr: a:b:c:99999/x is not an address; allowed: "
                                      "host:port, [IPv6]:port, host or port"},
        {"--http-addr=:65536",
         "http_addr: :65536 is not an address; allowed: host:port, [IPv6]:port, host or port"},
        {"--log-format=xml", "log_format: xml is not one of the choices; allowed: auto, pretty or "
                             "json"},
        {"--auto-create=maybe",
         "auto_create: maybe is neither true nor false; allowed: true or false"},
        {"--io-threads=1e3", "io_threads: 1e3 is not a number; allowed: 0 to 256"},
        {"--data-dir=", "data_dir: an empty value is not allowed; allowed: text of up to 64 bytes"},
        {"--data-dir=a\nb",
         "data_dir: a?b has control characters; allowed: text of up to 64 bytes"},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        struct sl_fault fault = {0};
        assert_int_equal(SL_ECONFIG, FLAGS(*state, &fault, cases[i].flag));
        assert_string_equal(cases[i].what, fault.what);
        assert_memory_equal(cases[i].flag, fault.where, strlen(fault.where));
    }
    assert_int_equal(GiB(1), option_number(*state, SEGMENT_BYTES));
}

static void O03_an_unknown_flag_is_refused_with_the_nearest_one(void **state)
{
    struct sl_fault fault = {0};
    assert_int_equal(SL_ECONFIG, FLAGS(*state, &fault, "--htp-addr", "x"));
    assert_string_equal("--htp-addr", fault.where);
    assert_string_equal("unknown option; did you mean --http-addr?", fault.what);
    assert_int_equal(SL_ECONFIG, FLAGS(*state, &fault, "--zzzzzzzz"));
    assert_string_equal("unknown option; --help lists them all", fault.what);
    assert_int_equal(SL_ECONFIG, FLAGS(*state, &fault, "stray"));
    assert_int_equal(SL_ECONFIG, FLAGS(*state, &fault, "--data-dir"));
    assert_string_equal("needs a value", fault.what);
    assert_int_equal(SL_ECONFIG, FLAGS(*state, &fault, "--no-io-threads"));
}

static void names_are_found_in_their_own_source_only(void **state)
{
    bool alias = false;
    assert_int_equal(SEGMENT_BYTES, option_find(&table, OPTION_ENV, "SEGMENT_MAX_SIZE", &alias));
    assert_true(alias);
    assert_int_equal(SEGMENT_BYTES, option_find(&table, OPTION_FILE, "log.segment.bytes", &alias));
    assert_int_equal(SEGMENT_BYTES, option_find(&table, OPTION_FILE, "log-segment-bytes", &alias));
    assert_false(alias);
    assert_int_equal(-1, option_find(&table, OPTION_FLAG, "log_segment_bytes", NULL));
    assert_int_equal(-1, option_find(&table, OPTION_FILE, "SEGMENT_MAX_SIZE", NULL));
}

static void sizes_and_times_take_the_usual_units(void **state)
{
    int64_t n = 0;
    assert_int_equal(SL_OK, option_parse_bytes("64k", &n));
    assert_int_equal(65536, n);
    assert_int_equal(SL_OK, option_parse_bytes("2 GB", &n));
    assert_int_equal(2000000000, n);
    assert_int_equal(SL_OK, option_parse_bytes("7", &n));
    assert_int_equal(7, n);
    assert_int_equal(SL_EINVAL, option_parse_bytes("64 Mib/s", &n));
    assert_int_equal(SL_EINVAL, option_parse_bytes("9223372036854775807k", &n));
    assert_int_equal(SL_OK, option_parse_ms("7d", &n));
    assert_int_equal(604800000, n);
    assert_int_equal(SL_OK, option_parse_ms("1h", &n));
    assert_int_equal(3600000, n);
    assert_int_equal(SL_OK, option_parse_ms("3m", &n));
    assert_int_equal(180000, n);
    assert_int_equal(SL_EINVAL, option_parse_ms("h", &n));
    assert_int_equal(SL_EINVAL, option_parse_ms("", &n));
}

static void addresses_are_split(void **state)
{
    static const struct {
        const char *text, *host;
        int port;
    } good[] = {
        {"127.0.0.1:9092", "127.0.0.1", 9092},
        {":0", "", 0},
        {"9092", "", 9092},
        {"[::1]:80", "::1", 80},
        {"::1", "::1", -1},
        {"[::1]", "::1", -1},
        {"broker.example.org", "broker.example.org", -1},
        {"localhost:1", "localhost", 1},
        {"[fe80::1%eth0]:9", "fe80::1%eth0", 9},
    };
    static const char *const bad[] = {"[::1:80", "[]:80", "a:",     "a:-1",
                                      "a:65536", "a b:1", "[::1]x", "99999"};
    char host[OPTION_HOST_BYTES];
    int port = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(good); i++) {
        assert_int_equal(SL_OK, option_parse_addr(good[i].text, host, &port));
        assert_string_equal(good[i].host, host);
        assert_int_equal(good[i].port, port);
    }
    for (size_t i = 0; i < SL_ARRAY_LEN(bad); i++)
        assert_int_equal(SL_EINVAL, option_parse_addr(bad[i], host, &port));
}

static void help_and_page_have_a_line_for_each_option(void **state)
{
    struct buf help, page;
    buf_init(&help, 65536);
    buf_init(&page, 65536);
    options_print_help(&table, &help);
    options_print_markdown(&table, &page);
    write_u8(&help, 0);
    write_u8(&page, 0);
    assert_non_null(strstr((char *)help.data, "  --log-segment-bytes SIZE"));
    assert_non_null(strstr((char *)help.data, "drop after [7 d]"));
    assert_non_null(strstr((char *)page.data,
                           "| `log_format` | auto | auto, pretty or json | start | "
                           "`SLUICE_LOG_FORMAT`, `LOG_FORMAT` | form of log lines |\n"));
    buf_fini(&help);
    buf_fini(&page);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(defaults_come_from_the_table),
        T(flags_are_read_in_every_spelling),
        T(a_flag_beats_the_environment_and_that_beats_the_file_in_any_order),
        T(of_two_names_for_one_option_its_own_counts_and_a_notice_says_so),
        T(two_names_with_the_same_value_need_no_notice),
        T(O03_a_wrong_value_is_refused_with_key_value_and_what_is_allowed),
        T(O03_an_unknown_flag_is_refused_with_the_nearest_one),
        T(names_are_found_in_their_own_source_only),
        T(sizes_and_times_take_the_usual_units),
        T(addresses_are_split),
        T(help_and_page_have_a_line_for_each_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
