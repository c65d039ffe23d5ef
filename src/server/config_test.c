#include "server/config.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char *no_env[] = {NULL};

static sl_err load(struct options **ret, struct sl_fault *fault, const char **env, int argc,
                   const char **argv)
{
    return config_load(argc, (char *const *)(void *)argv, (char *const *)(void *)env, fault, ret);
}
#define LOAD(ret, fault, env, ...)                                                                 \
    load(ret, fault, env, (int)SL_ARRAY_LEN(((const char *[]){__VA_ARGS__})),                      \
         (const char *[]){__VA_ARGS__})

static void expect_yaml(const char *text, const char *where, const char *what)
{
    struct sl_fault fault = {0};
    struct options *o = options_new(&config_table);
    assert_int_equal(SL_ECONFIG, config_read_yaml(o, slice_str(text), &fault));
    assert_string_equal(where, fault.where);
    if (what)
        assert_string_equal(what, fault.what);
    options_free(o);
}

static void every_row_of_the_table_makes_sense(void **state)
{
    for (size_t i = 0; i < config_table.n_rows; i++) {
        const struct option_row *row = &config_table.rows[i];
        char ours[96], flag[96];
        (void)snprintf(flag, sizeof flag, "--%s", row->name);
        for (char *p = flag; *p; p++)
            if (*p == '_')
                *p = '-';
        assert_int_equal(i, option_find(&config_table, OPTION_FLAG, flag, NULL));
        assert_int_equal(i, option_find(&config_table, OPTION_FILE, row->name, NULL));
        assert_true(strlen(row->help) > 10);
        if (row->type != OPTION_ENUM)
            assert_true(row->min <= row->max);
        if (!row->text)
            assert_true(row->number >= row->min && row->number <= row->max);
        for (const char *p = row->aliases; *p;) { /* no name means two options */
            size_t len = strcspn(p, " ");
            (void)snprintf(ours, sizeof ours, "%.*s", (int)len, p);
            p += len + strspn(p + len, " ");
            enum option_source source = *ours == '-'        ? OPTION_FLAG
                                        : strchr(ours, '.') ? OPTION_FILE
                                                            : OPTION_ENV;
            assert_int_equal(i, option_find(&config_table, source, ours, NULL));
        }
    }
}

static void names_of_the_contracts_work(void **state)
{
    const char *env[] = {
        "KAFKA_ADDR=0.0.0.0:1", "HTTP_ADDR=:2",  "GRPC_ADDR=[::]:3",         "DATA_DIR=/d",
        "LOG_FORMAT=text",      "RUST_LOG=warn", "SEGMENT_MAX_SIZE=2097152", NULL};
    struct options *o = NULL;
    char addr[CONFIG_ADDR_BYTES];
    assert_int_equal(SL_OK, load(&o, NULL, env, 0, NULL));
    config_listen_addr(o, CONFIG_kafka_addr, addr);
    assert_string_equal("0.0.0.0:1", addr);
    config_listen_addr(o, CONFIG_http_addr, addr);
    assert_string_equal("127.0.0.1:2", addr);
    config_listen_addr(o, CONFIG_grpc_addr, addr);
    assert_string_equal("[::]:3", addr);
    assert_string_equal("/d", option_text(o, CONFIG_data_dir));
    assert_int_equal(LOG_FORMAT_PRETTY, config_log_format(o));
    assert_int_equal(LOG_LEVEL_WARN, config_log_level(o));
    assert_int_equal(2097152, option_number(o, CONFIG_log_segment_bytes));
    options_free(o);
}

static void directives_of_another_logger_do_not_stop_the_server(void **state)
{
    const char *env[] = {"RUST_LOG=warn,h2=info", NULL};
    struct options *o = NULL;
    assert_int_equal(SL_OK, load(&o, NULL, env, 0, NULL));
    assert_int_equal(LOG_LEVEL_INFO, config_log_level(o));
    assert_int_equal(1, options_notice_count(o));
    options_free(o);
}

static void a_mistyped_variable_is_noticed(void **state)
{
    const char *env[] = {"SLUICE_KAFKA_ADR=:1", "SLUICE_ENDPOINT=x", NULL};
    struct options *o = NULL;
    assert_int_equal(SL_OK, load(&o, NULL, env, 0, NULL));
    assert_int_equal(1, options_notice_count(o));
    assert_string_equal("environment variable SLUICE_KAFKA_ADR is no setting of this server; did "
                        "you mean SLUICE_KAFKA_ADDR?",
                        options_notice(o, 0));
    options_free(o);
}

static void a_listener_without_host_binds_the_host_setting(void **state)
{
    struct options *o = NULL;
    char addr[CONFIG_ADDR_BYTES];
    assert_int_equal(SL_OK, LOAD(&o, NULL, no_env, "--host", "::", "--http-addr", "10.0.0.1"));
    config_listen_addr(o, CONFIG_kafka_addr, addr);
    assert_string_equal("[::]:9092", addr);
    assert_false(config_addr_is_local(addr));
    config_listen_addr(o, CONFIG_http_addr, addr);
    assert_string_equal("10.0.0.1:8080", addr);
    options_free(o);
    assert_int_equal(SL_OK, LOAD(&o, NULL, no_env, "--drain-ms", "1s"));
    config_listen_addr(o, CONFIG_kafka_addr, addr);
    assert_string_equal("127.0.0.1:9092", addr);
    assert_true(config_addr_is_local(addr));
    options_free(o);
}

static void O03_protection_that_does_not_exist_is_refused(void **state)
{
    struct options *o = NULL;
    struct sl_fault fault = {0};
    const char *env[] = {"STREAMHOUSE_AUTH_ENABLED=true", NULL};
    assert_int_equal(SL_ECONFIG, load(&o, &fault, env, 0, NULL));
    assert_null(o);
    assert_memory_equal("auth_enabled: true cannot be served yet", fault.what, 39);
}

static void settings_that_contradict_each_other_are_refused(void **state)
{
    struct options *o = NULL;
    struct sl_fault fault = {0};
    assert_int_equal(SL_ECONFIG, LOAD(&o, &fault, no_env, "--group-session-min-ms=2h"));
    assert_string_equal("group_session_min_ms: is above group_session_max_ms", fault.what);
    assert_int_equal(SL_ECONFIG, LOAD(&o, &fault, no_env, "--message-bytes-max=200MiB"));
}

static void yaml_sets_options_under_any_of_their_keys(void **state)
{
    struct options *o = options_new(&config_table);
    static const char text[] = "# comment\n---\nkafka-addr: 0.0.0.0:19092\n"
                               "log.retention.ms: \"1h\"\nauto_create_topics: no\n";
    assert_int_equal(SL_OK, config_read_yaml(o, slice_str(text), NULL));
    assert_string_equal("0.0.0.0:19092", option_text(o, CONFIG_kafka_addr));
    assert_int_equal(3600000, option_number(o, CONFIG_log_retention_ms));
    assert_int_equal(0, option_number(o, CONFIG_auto_create_topics));
    assert_int_equal(SL_OK, config_read_yaml(o, slice_str(""), NULL));
    assert_int_equal(SL_OK, config_read_yaml(o, slice_str("# nothing\n"), NULL));
    options_free(o);
}

static void O03_yaml_errors_name_the_line(void **state)
{
    expect_yaml("host: a\nkafka_adr: x\n", "line 2",
                "unknown setting kafka_adr; did you mean kafka_addr?");
    expect_yaml("host: a\n\nhost: b\n", "line 3", "host is set on line 1 already");
    expect_yaml("log.retention.ms: 1\nlog_retention_ms: 1\n", "line 2",
                "log_retention_ms is set on line 1 already");
    expect_yaml("log_segment_bytes: 12\n", "line 1",
                "log_segment_bytes: 12 is below 1 MiB; allowed: 1 MiB to 2147483647 bytes");
    expect_yaml("log:\n  retention: 1\n", "line 1", "unknown setting log");
    expect_yaml("host:\n  retention: 1\n", "line 2",
                "a nested mapping is not allowed here; settings are a flat list of \"key: value\"");
    expect_yaml("host: [a]\n", "line 1", NULL);
    expect_yaml("- host\n", "line 1", NULL);
    expect_yaml("host: &a b\n", "line 1", "anchors are not allowed");
    expect_yaml("host: *a\n", "line 1", "aliases are not allowed");
    expect_yaml("host: !!int 5\n", "line 1", "tags are not allowed");
    expect_yaml("host: a\n---\nnode_id: 1\n", "line 2", "a second document is not allowed");
    expect_yaml("host: \"a\\0b\"\n", "line 1", "NUL characters are not allowed");
    expect_yaml("host: \"a\n", "line 2", NULL);
    expect_yaml("just words\n", "line 1", NULL);
}

static void O03_deeply_nested_yaml_is_refused_at_its_first_level(void **state)
{
    enum { DEPTH = 100000 };
    char *text = malloc(DEPTH + 8);
    assert_non_null(text);
    memcpy(text, "host: ", 6);
    memset(text + 6, '[', DEPTH);
    text[6 + DEPTH] = '\0';
    expect_yaml(text, "line 1", NULL);
    free(text);
}

static void O03_a_huge_file_is_refused_without_reading_it(void **state)
{
    char path[] = "/tmp/sluice-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(0, ftruncate(fd, (off_t)1 << 30));
    struct sl_fault fault = {0};
    struct options *o = options_new(&config_table);
    assert_int_equal(SL_ECONFIG, config_read_file(o, path, &fault));
    assert_string_equal("is larger than 1 MiB; no settings need that much", fault.what);
    assert_int_equal(SL_ECONFIG, config_read_file(o, "/dev/zero", &fault));
    assert_int_equal(SL_ECONFIG, config_read_file(o, "/no/such/file", &fault));
    assert_string_equal("/no/such/file", fault.where);
    assert_string_equal("cannot be read: No such file or directory", fault.what);
    options_free(o);
    (void)close(fd);
    (void)unlink(path);
}

static void the_committed_page_is_the_one_made_from_the_table(void **state)
{
    struct buf page;
    buf_init(&page, 1 << 20);
    config_print_page(&page);
    FILE *f = fopen("docs/configuration.md", "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    (void)fclose(f);
    write_u8(&page, 0);
    if (n != page.len - 1 || memcmp(text, page.data, n) != 0)
        fail_msg("docs/configuration.md is out of date: build/sluice config-docs "
                 ">docs/configuration.md");
    free(text);
    buf_fini(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table_makes_sense),
        cmocka_unit_test(names_of_the_contracts_work),
        cmocka_unit_test(directives_of_another_logger_do_not_stop_the_server),
        cmocka_unit_test(a_mistyped_variable_is_noticed),
        cmocka_unit_test(a_listener_without_host_binds_the_host_setting),
        cmocka_unit_test(O03_protection_that_does_not_exist_is_refused),
        cmocka_unit_test(settings_that_contradict_each_other_are_refused),
        cmocka_unit_test(yaml_sets_options_under_any_of_their_keys),
        cmocka_unit_test(O03_yaml_errors_name_the_line),
        cmocka_unit_test(O03_deeply_nested_yaml_is_refused_at_its_first_level),
        cmocka_unit_test(O03_a_huge_file_is_refused_without_reading_it),
        cmocka_unit_test(the_committed_page_is_the_one_made_from_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
