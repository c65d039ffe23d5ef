#include "broker/topic_config.h"

#include "storage/log_engine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum topic_setting find(const char *name)
{
    enum topic_setting s = TOPIC_SETTING_COUNT;
    assert_int_equal(SL_OK, topic_setting_find(slice_str(name), &s));
    return s;
}

static sl_err set(struct topic_config *c, const char *name, const char *text,
                  struct sl_fault *fault)
{
    return topic_config_set(c, find(name), slice_str(text), fault);
}

static void assert_text(const struct topic_config *c, const char *name, const char *expected)
{
    char text[SETTING_TEXT_BYTES];
    enum topic_setting s = find(name);
    topic_setting_format(s, c->values[s], text);
    assert_string_equal(expected, text);
}

/* What Kafka 4.4 says, so that a slip in the table is seen. */
static void every_setting_has_kafkas_default(void **state)
{
    static const char *const defaults[][2] = {
        {"cleanup.policy", "delete"},
        {"compression.gzip.level", "-1"},
        {"compression.lz4.level", "9"},
        {"compression.type", "producer"},
        {"compression.zstd.level", "3"},
        {"delete.retention.ms", "86400000"},
        {"errors.deadletterqueue.group.enable", "false"},
        {"file.delete.delay.ms", "60000"},
        {"flush.messages", "9223372036854775807"},
        {"flush.ms", "9223372036854775807"},
        {"follower.replication.throttled.replicas", ""},
        {"index.interval.bytes", "4096"},
        {"leader.replication.throttled.replicas", ""},
        {"local.retention.bytes", "-2"},
        {"local.retention.ms", "-2"},
        {"max.compaction.lag.ms", "9223372036854775807"},
        {"max.decompressed.message.bytes", "2147483647"},
        {"max.message.bytes", "1048588"},
        {"message.downconversion.enable", "true"},
        {"message.timestamp.after.max.ms", "3600000"},
        {"message.timestamp.before.max.ms", "9223372036854775807"},
        {"message.timestamp.type", "CreateTime"},
        {"min.cleanable.dirty.ratio", "0.5"},
        {"min.compaction.lag.ms", "0"},
        {"min.insync.replicas", "1"},
        {"preallocate", "false"},
        {"remote.copy.lag.bytes", "-1"},
        {"remote.copy.lag.ms", "-1"},
        {"remote.log.copy.disable", "false"},
        {"remote.log.delete.on.disable", "false"},
        {"remote.storage.enable", "false"},
        {"retention.bytes", "-1"},
        {"retention.ms", "604800000"},
        {"segment.bytes", "1073741824"},
        {"segment.index.bytes", "10485760"},
        {"segment.jitter.ms", "0"},
        {"segment.ms", "604800000"},
        {"storage.engine", "local"},
        {"unclean.leader.election.enable", "false"},
    };
    struct topic_config c;
    topic_config_init(&c);
    for (size_t i = 0; i < SL_ARRAY_LEN(defaults); i++)
        assert_text(&c, defaults[i][0], defaults[i][1]);
    assert_int_equal(TOPIC_SETTING_COUNT, SL_ARRAY_LEN(defaults));
}

/* Each setting is set here: to another value where it works, and where it does not, to one that
 * Kafka takes, which is refused with the reason. */
struct set_case {
    const char *name, *text;
};

static const struct set_case working[] = {
    {"file.delete.delay.ms", "1000"},
    {"index.interval.bytes", "8192"},
    {"max.message.bytes", "2000000"},
    {"message.timestamp.after.max.ms", "9223372036854775807"},
    {"message.timestamp.before.max.ms", "5"},
    {"message.timestamp.type", "LogAppendTime"},
    {"retention.bytes", "1000000000"},
    {"retention.ms", "-1"},
    {"segment.bytes", "1048576"},
    {"segment.jitter.ms", "10"},
    {"segment.ms", "60000"},
    {"storage.engine", "local"},
};

static const struct set_case refused[] = {
    {"cleanup.policy", "compact"},
    {"compression.gzip.level", "6"},
    {"compression.lz4.level", "1"},
    {"compression.type", "zstd"},
    {"compression.zstd.level", "10"},
    {"delete.retention.ms", "1"},
    {"errors.deadletterqueue.group.enable", "true"},
    {"flush.messages", "1"},
    {"flush.ms", "1000"},
    {"follower.replication.throttled.replicas", "*"},
    {"leader.replication.throttled.replicas", "0:1"},
    {"local.retention.bytes", "1"},
    {"local.retention.ms", "1"},
    {"max.compaction.lag.ms", "1"},
    {"max.decompressed.message.bytes", "1"},
    {"message.downconversion.enable", "false"},
    {"min.cleanable.dirty.ratio", "0.25"},
    {"min.compaction.lag.ms", "1"},
    {"min.insync.replicas", "2"},
    {"preallocate", "true"},
    {"remote.copy.lag.bytes", "1"},
    {"remote.copy.lag.ms", "1"},
    {"remote.log.copy.disable", "true"},
    {"remote.log.delete.on.disable", "true"},
    {"remote.storage.enable", "true"},
    {"segment.index.bytes", "4096"},
    {"unclean.leader.election.enable", "true"},
};

static void every_setting_that_works_can_be_set(void **state)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(working); i++) {
        struct topic_config c;
        topic_config_init(&c);
        assert_int_equal(SL_OK, set(&c, working[i].name, working[i].text, NULL));
        assert_text(&c, working[i].name, working[i].text);
        assert_true(topic_config_has(&c, find(working[i].name)));
    }
    assert_int_equal(TOPIC_SETTING_COUNT, SL_ARRAY_LEN(working) + SL_ARRAY_LEN(refused));
}

static void every_setting_that_does_not_work_is_refused_with_its_reason(void **state)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(refused); i++) {
        const struct topic_setting_info *info = topic_setting_info(find(refused[i].name));
        struct topic_config c;
        struct sl_fault fault = {0};
        char by_default[SETTING_TEXT_BYTES];
        topic_config_init(&c);
        assert_int_equal(SL_ECONFIG, set(&c, refused[i].name, refused[i].text, &fault));
        assert_non_null(strstr(fault.what, refused[i].name));
        assert_non_null(strstr(fault.what, info->refused));
        topic_setting_format(find(refused[i].name), info->value_default, by_default);
        assert_int_equal(SL_OK, set(&c, refused[i].name, by_default, NULL));
    }
}

static void K08_absurd_values_are_refused_and_change_nothing(void **state)
{
    static const struct set_case cases[] = {
        {"retention.ms", ""},
        {"retention.ms", "-2"},
        {"retention.ms", "seven days"},
        {"retention.ms", "9223372036854775808"},
        {"retention.ms", "99999999999999999999999999999999999999999999999999"},
        {"retention.ms", "12abc"},
        {"retention.ms", "0x10"},
        {"retention.ms", "1.5"},
        {"segment.bytes", "12"},
        {"segment.bytes", "2147483648"},
        {"segment.ms", "0"},
        {"max.message.bytes", "-1"},
        {"min.cleanable.dirty.ratio", "1.5"},
        {"min.cleanable.dirty.ratio", "."},
        {"min.cleanable.dirty.ratio", "-0.5"},
        {"preallocate", "yes"},
        {"message.timestamp.type", "createtime"},
        {"cleanup.policy", ""},
        {"cleanup.policy", "delete,,"},
        {"cleanup.policy", "shred"},
        {"compression.type", "none"},
        {"storage.engine", "tape"},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        struct topic_config c, before;
        struct sl_fault fault = {0};
        topic_config_init(&c);
        before = c;
        assert_int_equal(SL_ECONFIG, set(&c, cases[i].name, cases[i].text, &fault));
        assert_non_null(strstr(fault.what, cases[i].name));
        assert_memory_equal(&before, &c, sizeof c);
    }
}

static void K08_an_unknown_setting_is_not_found(void **state)
{
    enum topic_setting s;
    assert_int_equal(SL_ENOTFOUND, topic_setting_find(slice_str("retention.min"), &s));
    assert_int_equal(SL_ENOTFOUND, topic_setting_find(slice_str(""), &s));
}

static void spaces_around_a_value_and_capital_booleans_are_read_as_kafka_does(void **state)
{
    struct topic_config c;
    topic_config_init(&c);
    assert_int_equal(SL_OK, set(&c, "retention.ms", " 42 ", NULL));
    assert_int_equal(42, c.retention_ms);
    assert_int_equal(SL_OK, set(&c, "preallocate", "FALSE", NULL));
    assert_int_equal(SL_OK, set(&c, "min.cleanable.dirty.ratio", "0.500000", NULL));
    assert_int_equal(SL_OK, set(&c, "cleanup.policy", " delete , delete", NULL));
}

static void a_list_grows_and_shrinks_word_by_word(void **state)
{
    struct topic_config c;
    struct sl_fault fault = {0};
    enum topic_setting policy = find("cleanup.policy");
    topic_config_init(&c);
    assert_int_equal(SL_OK, topic_config_append(&c, policy, slice_str("delete"), NULL));
    assert_int_equal(SL_ECONFIG, topic_config_append(&c, policy, slice_str("compact"), &fault));
    assert_int_equal(SL_OK, topic_config_subtract(&c, policy, slice_str("compact"), NULL));
    assert_int_equal(SL_ECONFIG, topic_config_subtract(&c, policy, slice_str("delete"), NULL));
    assert_int_equal(1, c.cleanup_policy);
    assert_int_equal(SL_ECONFIG,
                     topic_config_append(&c, find("retention.ms"), slice_str("1"), &fault));
    assert_non_null(strstr(fault.what, "not a list"));
}

static void what_was_written_is_read_again(void **state)
{
    struct topic_config c, again;
    struct buf text;
    buf_init(&text, 4096);
    topic_config_init(&c);
    for (size_t i = 0; i < SL_ARRAY_LEN(working); i++)
        assert_int_equal(SL_OK, set(&c, working[i].name, working[i].text, NULL));
    topic_config_write(&c, &text);
    assert_int_equal(SL_OK, buf_check(&text));
    topic_config_init(&again);
    assert_int_equal(SL_OK, topic_config_read(&again, slice_of(text.data, text.len), NULL));
    assert_memory_equal(&c, &again, sizeof c);
    assert_int_equal(SL_ECONFIG, topic_config_read(&again, slice_str("nonsense\n"), NULL));
    assert_int_equal(SL_ECONFIG, topic_config_read(&again, slice_str("no.such=1\n"), NULL));
    buf_fini(&text);
}

static void a_removed_setting_falls_back_to_the_brokers_default(void **state)
{
    struct topic_config broker, c;
    topic_config_init(&broker);
    assert_int_equal(SL_OK, set(&broker, "retention.ms", "77", NULL));
    c = topic_config_from(&broker);
    assert_int_equal(77, c.retention_ms);
    assert_false(topic_config_has(&c, TOPIC_SETTING_retention_ms));
    assert_int_equal(SL_OK, set(&c, "retention.ms", "5", NULL));
    topic_config_unset(&c, TOPIC_SETTING_retention_ms, &broker);
    assert_int_equal(77, c.retention_ms);
    assert_int_equal(0, c.overridden);
}

static void the_log_gets_the_settings_that_concern_it(void **state)
{
    struct topic_config c;
    struct log_topic_cfg log;
    topic_config_init(&c);
    assert_int_equal(SL_OK, set(&c, "segment.bytes", "2000000", NULL));
    assert_int_equal(SL_OK, set(&c, "retention.ms", "-1", NULL));
    topic_config_to_log(&c, &log);
    assert_int_equal(2000000, log.segment_bytes);
    assert_int_equal(-1, log.retention_ms);
    assert_int_equal(-1, log.retention_bytes);
    assert_int_equal(604800000, log.segment_ms);
    assert_int_equal(4096, log.index_interval_bytes);
    assert_int_equal(60000, log.file_delete_delay_ms);
    assert_true(log.delete_old);
}

/* ---- the page for users ---------------------------------------------------------------------- */

static const char page_path[] = "docs/topic-settings.md";

static const char page_head[] = "# Settings of topics\n"
                                "\n"
                                "Every setting of Kafka 4.4's topics has a row. What works can be "
                                "set with CreateTopics, AlterConfigs and\n"
                                "IncrementalAlterConfigs; what does not is refused unless it has "
                                "its default, with the reason given here. Defaults\n"
                                "of the broker for some of them: docs/configuration.md. Made from "
                                "`src/broker/topic_config.def` by its test\n"
                                "(`UPDATE_DOCS=1` writes this page).\n"
                                "\n"
                                "| setting | default | allowed | meaning |\n"
                                "|---|---|---|---|\n";

static void write_allowed(struct buf *page, enum topic_setting s)
{
    const struct topic_setting_info *info = topic_setting_info(s);
    char min[SETTING_TEXT_BYTES], max[SETTING_TEXT_BYTES];
    if (info->refused) {
        (void)buf_printf(page, "only the default: %s", info->refused);
        return;
    }
    topic_setting_format(s, info->value_min, min);
    topic_setting_format(s, info->value_max, max);
    if (info->type == SETTING_INT || info->type == SETTING_LONG)
        (void)buf_printf(page, "%s to %s", min, max);
    else if (strcmp(min, max) != 0)
        (void)buf_printf(page, "%s, %s", min, max);
    else
        (void)buf_printf(page, "%s", min);
}

static void write_page(struct buf *page)
{
    (void)buf_append(page, page_head, strlen(page_head));
    for (enum topic_setting s = 0; s < TOPIC_SETTING_COUNT; s++) {
        const struct topic_setting_info *info = topic_setting_info(s);
        char by_default[SETTING_TEXT_BYTES];
        topic_setting_format(s, info->value_default, by_default);
        (void)buf_printf(page, "| `%s` | %s | ", info->name, by_default);
        write_allowed(page, s);
        (void)buf_printf(page, " | %s |\n", info->help);
    }
    assert_int_equal(SL_OK, buf_check(page));
}

static void the_page_of_topic_settings_says_what_the_table_says(void **state)
{
    enum { PAGE_BYTES_MAX = 65536 };
    static char found[PAGE_BYTES_MAX];
    struct buf page;
    buf_init(&page, PAGE_BYTES_MAX);
    write_page(&page);
    bool update = getenv("UPDATE_DOCS") != NULL;
    FILE *f = fopen(page_path, update ? "wb" : "rb");
    assert_non_null(f);
    if (update)
        assert_int_equal(page.len, fwrite(page.data, 1, page.len, f));
    else
        assert_int_equal(page.len, fread(found, 1, sizeof found, f));
    assert_int_equal(0, fclose(f));
    if (!update)
        assert_memory_equal(page.data, found, page.len);
    buf_fini(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_has_kafkas_default),
        cmocka_unit_test(every_setting_that_works_can_be_set),
        cmocka_unit_test(every_setting_that_does_not_work_is_refused_with_its_reason),
        cmocka_unit_test(K08_absurd_values_are_refused_and_change_nothing),
        cmocka_unit_test(K08_an_unknown_setting_is_not_found),
        cmocka_unit_test(spaces_around_a_value_and_capital_booleans_are_read_as_kafka_does),
        cmocka_unit_test(a_list_grows_and_shrinks_word_by_word),
        cmocka_unit_test(what_was_written_is_read_again),
        cmocka_unit_test(a_removed_setting_falls_back_to_the_brokers_default),
        cmocka_unit_test(the_log_gets_the_settings_that_concern_it),
        cmocka_unit_test(the_page_of_topic_settings_says_what_the_table_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
