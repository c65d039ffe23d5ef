#include "broker/admin_for_test.h"

/* What DescribeConfigs says about one setting, or an entry without a name. */
static struct config_entry find(const struct broker_describe_resource *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_entries; i++) {
        if (strcmp(r->entries[i].name, name) == 0)
            return r->entries[i];
    }
    return (struct config_entry){0};
}

static struct broker_describe_configs describe(struct admin_world *w,
                                               struct broker_describe_resource *r)
{
    struct broker_describe_configs c = {.resources = r, .n_resources = 1};
    broker_describe_configs_init(&c);
    admin_call(w, &c.call);
    return c;
}

static void assert_setting(struct admin_world *w, const char *topic, const char *name,
                           const char *value, enum config_source source)
{
    struct broker_describe_resource r = {
        .type = CONFIG_TOPIC, .name = slice_str(topic), .all_names = true};
    struct broker_describe_configs c = describe(w, &r);
    struct config_entry e = find(&r, name);
    assert_int_equal(SL_OK, r.err);
    assert_string_equal(value, e.value);
    assert_int_equal(source, e.source);
    broker_describe_configs_fini(&c);
}

/* ---- describe ------------------------------------------------------------------------------- */

ADMIN_TEST(DescribeConfigs_is_never_empty)
{
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    struct broker_describe_resource topic = {
        .type = CONFIG_TOPIC, .name = slice_str("t"), .all_names = true};
    struct broker_describe_resource brokers[] = {
        {.type = CONFIG_BROKER, .name = slice_str("1"), .all_names = true},
        {.type = CONFIG_BROKER, .name = slice_str(""), .all_names = true},
    };
    struct broker_describe_configs c = describe(w, &topic);
    assert_int_equal(TOPIC_SETTING_COUNT, topic.n_entries);
    for (uint32_t i = 0; i < topic.n_entries; i++) {
        assert_true(topic.entries[i].n_synonyms >= 1);
        assert_true(strlen(topic.entries[i].help) > 10);
    }
    broker_describe_configs_fini(&c);
    for (size_t i = 0; i < SL_ARRAY_LEN(brokers); i++) {
        c = describe(w, &brokers[i]);
        assert_int_equal(SL_OK, brokers[i].err);
        assert_true(brokers[i].n_entries > 40);
        assert_string_equal("2", find(&brokers[i], "num.partitions").value);
        assert_string_equal("604800000", find(&brokers[i], "log.retention.ms").value);
        assert_true(find(&brokers[i], "node.id").read_only);
        broker_describe_configs_fini(&c);
    }
}

ADMIN_TEST(broker_settings_are_sorted_and_named_once)
{
    struct broker_describe_resource r = {
        .type = CONFIG_BROKER, .name = slice_str("1"), .all_names = true};
    struct broker_describe_configs c = describe(w, &r);
    for (uint32_t i = 1; i < r.n_entries; i++)
        assert_true(strcmp(r.entries[i - 1].name, r.entries[i].name) < 0);
    broker_describe_configs_fini(&c);
}

ADMIN_TEST(only_the_settings_that_were_asked_for_are_described)
{
    const struct slice names[] = {slice_str("retention.ms"), slice_str("no.such"),
                                  slice_str("segment.ms")};
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    struct broker_describe_resource r = {
        .type = CONFIG_TOPIC, .name = slice_str("t"), .names = names, .n_names = 3};
    struct broker_describe_configs c = describe(w, &r);
    assert_int_equal(2, r.n_entries);
    broker_describe_configs_fini(&c);
}

ADMIN_TEST(what_has_no_settings_is_refused_by_kind)
{
    static const struct {
        int8_t type;
        const char *name;
        sl_err expected;
    } cases[] = {
        {CONFIG_TOPIC, "missing", SL_ETOPIC},   {CONFIG_TOPIC, "a b", SL_ETOPIC_NAME},
        {CONFIG_BROKER, "2", SL_EINVAL},        {CONFIG_BROKER, "one", SL_EINVAL},
        {CONFIG_BROKER_LOGGER, "1", SL_EINVAL}, {99, "x", SL_EINVAL},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        struct broker_describe_resource r = {
            .type = cases[i].type, .name = slice_str(cases[i].name), .all_names = true};
        struct broker_describe_configs c = describe(w, &r);
        assert_int_equal(cases[i].expected, r.err);
        assert_int_equal(0, r.n_entries);
        broker_describe_configs_fini(&c);
    }
}

/* ---- alter ---------------------------------------------------------------------------------- */

ADMIN_TEST(a_setting_that_was_set_is_there_after_a_restart_until_it_is_deleted)
{
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, admin_set(w, "t", "retention.ms", "12345"));
    assert_setting(w, "t", "retention.ms", "12345", CONFIG_SOURCE_TOPIC);
    admin_reopen(w);
    assert_setting(w, "t", "retention.ms", "12345", CONFIG_SOURCE_TOPIC);
    assert_int_equal(SL_OK, admin_set(w, "t", "retention.ms", NULL));
    assert_setting(w, "t", "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    admin_reopen(w);
    assert_setting(w, "t", "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
}

ADMIN_TEST(defaults_of_the_broker_show_where_they_come_from)
{
    admin_close(w);
    w->cfg.topic_defaults = "retention.ms=99\nsegment.bytes=2000000\n";
    assert_int_equal(SL_OK, admin_open(w));
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_setting(w, "t", "retention.ms", "99", CONFIG_SOURCE_STATIC);
    assert_setting(w, "t", "segment.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    assert_int_equal(SL_OK, admin_set(w, "t", "retention.ms", "5"));
    struct broker_describe_resource r = {
        .type = CONFIG_TOPIC, .name = slice_str("t"), .all_names = true};
    struct broker_describe_configs c = describe(w, &r);
    struct config_entry e = find(&r, "retention.ms");
    assert_int_equal(3, e.n_synonyms);
    assert_string_equal("5", e.synonyms[0].value);
    assert_string_equal("log.retention.ms", e.synonyms[1].name);
    assert_string_equal("99", e.synonyms[1].value);
    assert_string_equal("604800000", e.synonyms[2].value);
    broker_describe_configs_fini(&c);
}

ADMIN_TEST(wrong_defaults_of_the_broker_are_refused_at_the_start)
{
    admin_close(w);
    w->cfg.topic_defaults = "retention.ms=soon\n";
    assert_int_equal(SL_ECONFIG, admin_open(w));
    assert_non_null(strstr(w->fault.what, "retention.ms"));
    admin_close(w);
    w->cfg.topic_defaults = NULL;
    assert_int_equal(SL_OK, admin_open(w));
}

static sl_err alter(struct admin_world *w, const char *topic, const struct config_change *changes,
                    uint32_t n, bool incremental, bool validate_only)
{
    struct broker_alter_resource r = {
        .type = CONFIG_TOPIC, .name = slice_str(topic), .changes = changes, .n_changes = n};
    struct broker_alter_configs c = {.incremental = incremental,
                                     .validate_only = validate_only,
                                     .resources = &r,
                                     .n_resources = 1};
    broker_alter_configs_init(&c);
    admin_call(w, &c.call);
    broker_alter_configs_fini(&c);
    return c.err != SL_OK ? c.err : r.err;
}

#define CHANGE(setting, what, text)                                                                \
    {                                                                                              \
        .name = slice_str(setting), .op = (what), .value = slice_str(text)                         \
    }

ADMIN_TEST(AlterConfigs_replaces_the_whole_config_and_incremental_only_what_it_names)
{
    const struct config_change first[] = {CHANGE("retention.ms", CONFIG_SET, "1"),
                                          CHANGE("segment.ms", CONFIG_SET, "2")};
    const struct config_change second[] = {CHANGE("retention.bytes", CONFIG_SET, "3")};
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, alter(w, "t", first, 2, true, false));
    assert_int_equal(SL_OK, alter(w, "t", second, 1, true, false));
    assert_setting(w, "t", "retention.ms", "1", CONFIG_SOURCE_TOPIC);
    assert_setting(w, "t", "segment.ms", "2", CONFIG_SOURCE_TOPIC);
    assert_setting(w, "t", "retention.bytes", "3", CONFIG_SOURCE_TOPIC);
    assert_int_equal(SL_OK, alter(w, "t", second, 1, false, false));
    assert_setting(w, "t", "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    assert_setting(w, "t", "segment.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    assert_setting(w, "t", "retention.bytes", "3", CONFIG_SOURCE_TOPIC);
}

ADMIN_TEST(K08_a_change_with_one_bad_part_changes_nothing)
{
    const struct config_change cases[][2] = {
        {CHANGE("retention.ms", CONFIG_SET, "1"), CHANGE("segment.ms", CONFIG_SET, "never")},
        {CHANGE("retention.ms", CONFIG_SET, "1"), CHANGE("no.such", CONFIG_SET, "1")},
        {CHANGE("retention.ms", CONFIG_SET, "1"), CHANGE("segment.ms", CONFIG_APPEND, "1")},
        {CHANGE("retention.ms", CONFIG_SET, "1"),
         CHANGE("cleanup.policy", CONFIG_APPEND, "compact")},
        {CHANGE("retention.ms", CONFIG_SET, "1"), CHANGE("segment.ms", 7, "1")},
        {CHANGE("retention.ms", CONFIG_SET, "1"), CHANGE("retention.ms", CONFIG_SET, "2")},
    };
    static const sl_err expected[] = {SL_ECONFIG, SL_ECONFIG, SL_ECONFIG,
                                      SL_ECONFIG, SL_EINVAL,  SL_EINVAL};
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        assert_int_equal(expected[i], alter(w, "t", cases[i], 2, true, true));
        assert_int_equal(expected[i], alter(w, "t", cases[i], 2, true, false));
        assert_setting(w, "t", "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    }
}

ADMIN_TEST(validate_only_changes_nothing)
{
    const struct config_change change = CHANGE("retention.ms", CONFIG_SET, "1");
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, alter(w, "t", &change, 1, true, true));
    assert_setting(w, "t", "retention.ms", "604800000", CONFIG_SOURCE_DEFAULT);
    assert_int_equal(SL_ETOPIC, alter(w, "missing", &change, 1, true, true));
}

ADMIN_TEST(settings_of_the_broker_are_not_changed_here_and_the_answer_says_where)
{
    const struct config_change change = CHANGE("log.retention.ms", CONFIG_SET, "1");
    struct broker_alter_resource r = {
        .type = CONFIG_BROKER, .name = slice_str("1"), .changes = &change, .n_changes = 1};
    struct broker_alter_configs c = {.incremental = true, .resources = &r, .n_resources = 1};
    broker_alter_configs_init(&c);
    admin_call(w, &c.call);
    assert_int_equal(SL_EPOLICY, r.err);
    assert_non_null(strstr(r.message, "configuration"));
    broker_alter_configs_fini(&c);
}

/* Settings that work and what they become for the log: one topic each, set at creation, read back.
 */
ADMIN_TEST(every_setting_that_works_can_be_set_at_creation_and_is_kept)
{
    static const struct {
        const char *name, *value;
    } cases[] = {
        {"file.delete.delay.ms", "1000"},
        {"index.interval.bytes", "8192"},
        {"max.message.bytes", "2000000"},
        {"message.timestamp.after.max.ms", "5"},
        {"message.timestamp.before.max.ms", "6"},
        {"message.timestamp.type", "LogAppendTime"},
        {"retention.bytes", "1000000000"},
        {"retention.ms", "-1"},
        {"segment.bytes", "1048576"},
        {"segment.jitter.ms", "10"},
        {"segment.ms", "60000"},
        {"storage.engine", "local"},
        {"cleanup.policy", "delete"},
        {"compression.type", "producer"},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "t%zu", i);
        const struct setting_text setting = {.name = slice_str(cases[i].name),
                                             .value = slice_str(cases[i].value)};
        struct broker_create_topic topic = {.name = slice_str(name),
                                            .n_partitions = 1,
                                            .replication_factor = 1,
                                            .settings = &setting,
                                            .n_settings = 1};
        struct broker_create_topics c = {.topics = &topic, .n_topics = 1};
        broker_create_topics_init(&c);
        admin_call(w, &c.call);
        broker_create_topics_fini(&c);
        assert_int_equal(SL_OK, topic.err);
    }
    admin_reopen(w);
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "t%zu", i);
        assert_setting(w, name, cases[i].name, cases[i].value, CONFIG_SOURCE_TOPIC);
    }
}

/* ---- records, producers, sizes, producer ids ------------------------------------------------ */

ADMIN_TEST(DeleteRecords_knows_partitions_and_bounds)
{
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    struct broker_trim trims[] = {
        {.topic = slice_str("t"), .partition = 0, .offset = -1},
        {.topic = slice_str("t"), .partition = 0, .offset = 0},
        {.topic = slice_str("t"), .partition = 0, .offset = 1},
        {.topic = slice_str("t"), .partition = 0, .offset = -2},
        {.topic = slice_str("t"), .partition = 1, .offset = 0},
        {.topic = slice_str("x"), .partition = 0, .offset = 0},
    };
    static const sl_err expected[] = {SL_OK, SL_OK, SL_EOFFSET, SL_EOFFSET, SL_ETOPIC, SL_ETOPIC};
    struct broker_delete_records c = {.trims = trims, .n_trims = SL_ARRAY_LEN(trims)};
    broker_delete_records_init(&c);
    admin_call(w, &c.call);
    for (size_t i = 0; i < SL_ARRAY_LEN(trims); i++) {
        assert_int_equal(expected[i], trims[i].err);
        assert_int_equal(expected[i] == SL_OK ? 0 : -1, trims[i].low_watermark);
    }
    struct broker_delete_records none = {.n_trims = 0};
    broker_delete_records_init(&none);
    admin_call(w, &none.call);
    assert_int_equal(SL_OK, none.err);
}

ADMIN_TEST(sizes_and_producers_of_new_partitions)
{
    static const int32_t indexes[] = {0, 5};
    assert_int_equal(SL_OK, admin_create(w, "t", 2));
    struct broker_sizes_topic topics[] = {
        {.name = slice_str("t"), .partitions = indexes, .n_partitions = 2},
        {.name = slice_str("x"), .partitions = indexes, .n_partitions = 1}};
    struct broker_describe_sizes named = {.topics = topics, .n_topics = 2}, all = {.all = true};
    broker_describe_sizes_init(&named);
    admin_call(w, &named.call);
    assert_true(topics[0].bytes[0] >= 0);
    assert_int_equal(-1, topics[0].bytes[1]);
    assert_int_equal(SL_ETOPIC, topics[1].err);
    broker_describe_sizes_fini(&named);
    broker_describe_sizes_init(&all);
    admin_call(w, &all.call);
    assert_int_equal(1, all.n_topics);
    assert_int_equal(2, all.topics[0].n_partitions);
    assert_true(all.space.total_bytes > 0);
    assert_in_range(all.space.usable_bytes, 1, all.space.total_bytes);
    broker_describe_sizes_fini(&all);
    struct broker_producers_part parts[] = {{.topic = slice_str("t"), .partition = 1},
                                            {.topic = slice_str("t"), .partition = 2}};
    struct broker_describe_producers c = {.parts = parts, .n_parts = 2};
    broker_describe_producers_init(&c);
    admin_call(w, &c.call);
    assert_int_equal(SL_OK, parts[0].err);
    assert_int_equal(0, parts[0].n_producers);
    assert_int_equal(SL_ETOPIC, parts[1].err);
    broker_describe_producers_fini(&c);
}

enum { N_PRODUCERS = 2500 }; /* more than two blocks */

ADMIN_TEST(producer_ids_are_never_given_twice_also_after_a_restart)
{
    struct broker_init_producer *c = sl_new_array(struct broker_init_producer, N_PRODUCERS);
    int64_t highest = -1;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N_PRODUCERS; i++) {
            c[i] = (struct broker_init_producer){0};
            broker_init_producer_init(&c[i]);
            admin_submit(w, &c[i].call);
        }
        admin_wait(w);
        for (int i = 0; i < N_PRODUCERS; i++) {
            assert_int_equal(SL_OK, c[i].err);
            assert_int_equal(0, c[i].epoch);
            assert_true(c[i].producer_id > highest);
            highest = c[i].producer_id;
        }
        admin_reopen(w);
    }
    sl_free(c);
}

ADMIN_TEST(a_transactional_id_is_denied_until_transactions_work)
{
    struct broker_init_producer named = {.transactional_id = slice_str("tx")};
    struct broker_init_producer empty = {.transactional_id = slice_str("")};
    broker_init_producer_init(&named);
    broker_init_producer_init(&empty);
    admin_call(w, &named.call);
    admin_call(w, &empty.call);
    assert_int_equal(SL_ETXN_DENIED, named.err);
    assert_int_equal(-1, named.producer_id);
    assert_int_equal(SL_EINVAL, empty.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(DescribeConfigs_is_never_empty),
        cmocka_unit_test(broker_settings_are_sorted_and_named_once),
        cmocka_unit_test(only_the_settings_that_were_asked_for_are_described),
        cmocka_unit_test(what_has_no_settings_is_refused_by_kind),
        cmocka_unit_test(a_setting_that_was_set_is_there_after_a_restart_until_it_is_deleted),
        cmocka_unit_test(defaults_of_the_broker_show_where_they_come_from),
        cmocka_unit_test(wrong_defaults_of_the_broker_are_refused_at_the_start),
        cmocka_unit_test(AlterConfigs_replaces_the_whole_config_and_incremental_only_what_it_names),
        cmocka_unit_test(K08_a_change_with_one_bad_part_changes_nothing),
        cmocka_unit_test(validate_only_changes_nothing),
        cmocka_unit_test(settings_of_the_broker_are_not_changed_here_and_the_answer_says_where),
        cmocka_unit_test(every_setting_that_works_can_be_set_at_creation_and_is_kept),
        cmocka_unit_test(DeleteRecords_knows_partitions_and_bounds),
        cmocka_unit_test(sizes_and_producers_of_new_partitions),
        cmocka_unit_test(producer_ids_are_never_given_twice_also_after_a_restart),
        cmocka_unit_test(a_transactional_id_is_denied_until_transactions_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
