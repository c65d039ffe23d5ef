#include "broker/admin_for_test.h"
#include "broker/topic_name.h"

/* ---- create --------------------------------------------------------------------------------- */

ADMIN_TEST(a_created_topic_is_there_with_its_partitions_after_a_restart)
{
    assert_int_equal(SL_OK, admin_create(w, "orders", 3));
    struct broker_topic_view before = admin_view(w, "orders");
    assert_int_equal(3, before.n_partitions);
    assert_false(uuid_is_zero(&before.topic_id));
    admin_reopen(w);
    struct broker_topic_view after = admin_view(w, "orders");
    assert_int_equal(SL_OK, after.err);
    assert_int_equal(3, after.n_partitions);
    assert_true(uuid_equal(&before.topic_id, &after.topic_id));
}

ADMIN_TEST(minus_one_means_the_brokers_number_of_partitions)
{
    assert_int_equal(SL_OK, admin_create(w, "orders", -1));
    assert_int_equal(2, admin_view(w, "orders").n_partitions);
}

ADMIN_TEST(K07_names_that_kafka_refuses_are_refused)
{
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    long_name[250] = '\0';
    const char *const names[] = {
        "",    ".",   "..",          "a/../../b", "a b",    "a\nb", "\xc3\xbc", "\xe2\x80\xae",
        "a:b", "a,b", "/etc/passwd", "a\\b",      long_name};
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++)
        assert_int_equal(SL_ETOPIC_NAME, admin_create(w, names[i], 1));
    long_name[249] = '\0';
    assert_int_equal(SL_OK, admin_create(w, long_name, 1));
}

static void K07_a_zero_byte_does_not_end_a_name(void **state)
{
    assert_int_equal(SL_ETOPIC_NAME, topic_name_check_kafka(slice_of("a\0b", 3), NULL));
    assert_int_equal(SL_ETOPIC_NAME, topic_name_check(slice_of("a\0b", 3), NULL));
}

ADMIN_TEST(K07_a_name_that_differs_only_in_dot_and_underscore_is_refused)
{
    assert_int_equal(SL_OK, admin_create(w, "a.b_c", 1));
    assert_int_equal(SL_ETOPIC_NAME, admin_create(w, "a_b.c", 1));
    assert_int_equal(SL_EEXISTS, admin_create(w, "a.b_c", 1));
    assert_int_equal(SL_OK, admin_delete(w, "a.b_c"));
    assert_int_equal(SL_OK, admin_create(w, "a_b.c", 1));
}

ADMIN_TEST(names_that_kafka_does_not_create_are_served_when_another_door_made_them)
{
    struct broker_create_topic topic = {
        .name = slice_str("white space"), .n_partitions = 1, .replication_factor = -1};
    struct broker_create_topics c = {.topics = &topic, .n_topics = 1};
    broker_create_topics_init(&c);
    admin_call(w, &c.call);
    broker_create_topics_fini(&c);
    assert_int_equal(SL_OK, topic.err);
    assert_true(admin_has(w, "white space"));
}

static sl_err create_with(struct admin_world *w, struct broker_create_topic *topic, bool validate)
{
    struct broker_create_topics c = {
        .kafka_names = true, .validate_only = validate, .topics = topic, .n_topics = 1};
    broker_create_topics_init(&c);
    admin_call(w, &c.call);
    broker_create_topics_fini(&c);
    topic->message = NULL;
    return topic->err;
}

#define COUNT(topic, count, factor)                                                                \
    {                                                                                              \
        .name = slice_str(topic), .n_partitions = (count), .replication_factor = (factor)          \
    }
#define ASSIGNED(topic, count, list)                                                               \
    {                                                                                              \
        .name = slice_str(topic), .n_partitions = (count), .replication_factor = -1,               \
        .assignments = (list), .n_assignments = SL_ARRAY_LEN(list)                                 \
    }
#define SET(topic, setting)                                                                        \
    {                                                                                              \
        .name = slice_str(topic), .n_partitions = 1, .replication_factor = 1,                      \
        .settings = &(setting), .n_settings = 1                                                    \
    }

ADMIN_TEST(K08_validate_only_answers_as_the_real_call_and_creates_nothing)
{
    static const int32_t here[] = {1}, elsewhere[] = {2}, two[] = {1, 2};
    const struct replica_assignment good[] = {{0, here, 1}, {1, here, 1}};
    const struct replica_assignment gap[] = {{0, here, 1}, {2, here, 1}};
    const struct replica_assignment foreign[] = {{0, elsewhere, 1}};
    const struct replica_assignment twice[] = {{0, two, 2}};
    const struct setting_text unknown = {.name = slice_str("no.such"), .value = slice_str("1")};
    const struct setting_text absurd = {.name = slice_str("retention.ms"),
                                        .value = slice_str("-7")};
    const struct setting_text null = {.name = slice_str("retention.ms"), .value_is_null = true};
    const struct {
        struct broker_create_topic topic;
        sl_err expected;
    } cases[] = {
        {COUNT("a", 0, 1), SL_EPARTITIONS},
        {COUNT("b", -2, 1), SL_EPARTITIONS},
        {COUNT("c", 1, 2), SL_EREPLICATION},
        {COUNT("d", 1, 0), SL_EREPLICATION},
        {COUNT("e", 1001, 1), SL_EPOLICY},
        {ASSIGNED("f", -1, gap), SL_EASSIGNMENT},
        {ASSIGNED("g", -1, foreign), SL_EASSIGNMENT},
        {ASSIGNED("h", -1, twice), SL_EASSIGNMENT},
        {ASSIGNED("i", 2, good), SL_EINVAL},
        {SET("j", unknown), SL_ECONFIG},
        {SET("k", absurd), SL_ECONFIG},
        {SET("l", null), SL_ECONFIG},
        {ASSIGNED("m", -1, good), SL_OK},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        struct broker_create_topic once = cases[i].topic, again = cases[i].topic;
        char name[2] = {(char)once.name.data[0], '\0'};
        assert_int_equal(cases[i].expected, create_with(w, &once, true));
        assert_false(admin_has(w, name));
        assert_int_equal(cases[i].expected, create_with(w, &again, false));
        assert_int_equal(cases[i].expected == SL_OK, admin_has(w, name));
    }
}

ADMIN_TEST(K08_more_partitions_than_the_broker_may_have_are_refused_until_some_go)
{
    assert_int_equal(SL_OK, admin_create(w, "most", 998));
    assert_int_equal(SL_EPOLICY, admin_create(w, "many", 3));
    assert_int_equal(SL_EPOLICY, admin_grow(w, "most", 1001));
    assert_int_equal(SL_OK, admin_create(w, "few", 2));
    assert_int_equal(SL_EPOLICY, admin_create(w, "one", 1));
    assert_int_equal(SL_OK, admin_delete(w, "most"));
    assert_int_equal(SL_OK, admin_create(w, "one", 1));
}

ADMIN_TEST(K08_a_hundred_thousand_topics_in_a_request_are_refused_together)
{
    enum { N = 100000 };
    char *names = sl_alloc(N, 8);
    struct broker_create_topic *topics = sl_new_array(struct broker_create_topic, N);
    for (int i = 0; i < N; i++) {
        int len = snprintf(names + 8 * (size_t)i, 8, "t%d", i);
        topics[i] =
            (struct broker_create_topic){.name = slice_of(names + 8 * (size_t)i, (size_t)len),
                                         .n_partitions = 1,
                                         .replication_factor = 1};
    }
    struct broker_create_topics c = {.kafka_names = true, .topics = topics, .n_topics = N};
    broker_create_topics_init(&c);
    admin_call(w, &c.call);
    broker_create_topics_fini(&c);
    for (int i = 0; i < N; i++)
        assert_int_equal(SL_EPOLICY, topics[i].err);
    sl_free(topics);
    sl_free(names);
    assert_false(admin_has(w, "t0"));
}

ADMIN_TEST(a_name_that_comes_twice_in_a_request_is_refused_and_the_others_are_created)
{
    struct broker_create_topic topics[] = {
        {.name = slice_str("a"), .n_partitions = 1, .replication_factor = 1},
        {.name = slice_str("b"), .n_partitions = 1, .replication_factor = 1},
        {.name = slice_str("a"), .n_partitions = 1, .replication_factor = 1},
    };
    struct broker_create_topics c = {.topics = topics, .n_topics = 3};
    broker_create_topics_init(&c);
    admin_call(w, &c.call);
    broker_create_topics_fini(&c);
    assert_int_equal(SL_EINVAL, topics[0].err);
    assert_int_equal(SL_OK, topics[1].err);
    assert_int_equal(SL_EINVAL, topics[2].err);
    assert_false(admin_has(w, "a"));
}

ADMIN_TEST(of_two_that_create_a_topic_at_once_one_succeeds)
{
    struct broker_create_topic topics[2];
    struct broker_create_topics calls[2];
    for (int i = 0; i < 2; i++) {
        topics[i] = (struct broker_create_topic){
            .name = slice_str("race"), .n_partitions = i + 1, .replication_factor = 1};
        calls[i] = (struct broker_create_topics){.topics = &topics[i], .n_topics = 1};
        broker_create_topics_init(&calls[i]);
        admin_submit(w, &calls[i].call);
    }
    admin_wait(w);
    for (int i = 0; i < 2; i++)
        broker_create_topics_fini(&calls[i]);
    assert_int_equal(SL_OK, topics[0].err);
    assert_int_equal(SL_EEXISTS, topics[1].err);
    assert_int_equal(1, admin_view(w, "race").n_partitions);
}

/* ---- looking, creating on demand ------------------------------------------------------------ */

ADMIN_TEST(a_topic_that_many_ask_for_at_once_is_created_once)
{
    struct broker_topic_view views[5];
    struct broker_metadata calls[5];
    for (int i = 0; i < 5; i++) {
        views[i] = (struct broker_topic_view){.name = slice_str("wanted")};
        calls[i] =
            (struct broker_metadata){.allow_create = true, .topics = &views[i], .n_topics = 1};
        broker_metadata_init(&calls[i]);
        admin_submit(w, &calls[i].call);
    }
    admin_wait(w);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SL_OK, views[i].err);
        assert_int_equal(2, views[i].n_partitions);
        assert_true(uuid_equal(&views[0].topic_id, &views[i].topic_id));
        broker_metadata_fini(&calls[i]);
    }
}

static sl_err ask(struct admin_world *w, const char *name, bool allow_create)
{
    struct broker_topic_view view = {.name = slice_str(name)};
    struct broker_metadata c = {.allow_create = allow_create, .topics = &view, .n_topics = 1};
    broker_metadata_init(&c);
    admin_call(w, &c.call);
    broker_metadata_fini(&c);
    return view.err;
}

ADMIN_TEST(a_missing_topic_is_created_only_when_client_and_broker_want_it)
{
    assert_int_equal(SL_ETOPIC, ask(w, "a", false));
    assert_int_equal(SL_ETOPIC_NAME, ask(w, "a b", true));
    w->b->cfg.auto_create_topics = false;
    assert_int_equal(SL_ETOPIC, ask(w, "a", true));
    w->b->cfg.auto_create_topics = true;
    assert_int_equal(SL_OK, ask(w, "a", true));
    assert_int_equal(SL_OK, ask(w, "a", false));
}

ADMIN_TEST(K08_asking_for_very_many_missing_topics_creates_a_bounded_number)
{
    enum { N = 3000 };
    char *names = sl_alloc(N, 8);
    struct broker_topic_view *views = sl_new_array(struct broker_topic_view, N);
    int created = 0;
    w->b->cfg.num_partitions = 1;
    w->b->cfg.partitions_max = 10000;
    for (int i = 0; i < N; i++) {
        int len = snprintf(names + 8 * (size_t)i, 8, "t%d", i);
        views[i].name = slice_of(names + 8 * (size_t)i, (size_t)len);
    }
    struct broker_metadata c = {.allow_create = true, .topics = views, .n_topics = N};
    broker_metadata_init(&c);
    admin_call(w, &c.call);
    broker_metadata_fini(&c);
    for (int i = 0; i < N; i++) {
        created += views[i].err == SL_OK;
        assert_true(views[i].err == SL_OK || views[i].err == SL_ELIMIT);
    }
    assert_int_equal(1000, created);
    sl_free(views);
    sl_free(names);
}

ADMIN_TEST(all_topics_are_listed_by_name)
{
    static const char *const names[] = {"c", "a", "b10", "b1"};
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++)
        assert_int_equal(SL_OK, admin_create(w, names[i], 1));
    struct broker_metadata c = {.all = true};
    broker_metadata_init(&c);
    admin_call(w, &c.call);
    static const char *const sorted[] = {"a", "b1", "b10", "c"};
    assert_int_equal(4, c.n_topics);
    for (size_t i = 0; i < SL_ARRAY_LEN(sorted); i++)
        assert_true(slice_eq_str(c.topics[i].name, sorted[i]));
    broker_metadata_fini(&c);
}

/* ---- delete --------------------------------------------------------------------------------- */

static sl_err look_by_id(struct admin_world *w, struct uuid id)
{
    struct broker_topic_view view = {.topic_id = id};
    struct broker_metadata c = {.topics = &view, .n_topics = 1};
    broker_metadata_init(&c);
    admin_call(w, &c.call);
    broker_metadata_fini(&c);
    return view.err;
}

ADMIN_TEST(a_topic_deleted_and_created_again)
{
    assert_int_equal(SL_OK, admin_create(w, "orders", 2));
    struct uuid old_id = admin_view(w, "orders").topic_id;
    uint64_t old_pid =
        w->b ? broker__topic(w->b, &principal_anonymous.org, slice_str("orders"))->partitions[0].pid
             : 0;
    assert_int_equal(SL_OK, look_by_id(w, old_id));
    assert_int_equal(SL_OK, admin_delete(w, "orders"));
    assert_int_equal(SL_ETOPIC, admin_view(w, "orders").err);
    assert_int_equal(SL_ETOPIC, admin_delete(w, "orders"));
    assert_int_equal(SL_OK, admin_create(w, "orders", 1));
    struct broker_topic_view again = admin_view(w, "orders");
    struct topic *t = broker__topic(w->b, &principal_anonymous.org, slice_str("orders"));
    assert_int_equal(1, again.n_partitions);
    assert_false(uuid_equal(&old_id, &again.topic_id));
    assert_int_equal(SL_ETOPIC_ID, look_by_id(w, old_id));
    assert_true(t->partitions[0].pid > old_pid);
    admin_reopen(w);
    assert_int_equal(SL_ETOPIC_ID, look_by_id(w, old_id));
    assert_int_equal(SL_OK, look_by_id(w, again.topic_id));
}

ADMIN_TEST(a_topic_is_deleted_by_its_id)
{
    assert_int_equal(SL_OK, admin_create(w, "orders", 1));
    struct broker_delete_topic topics[] = {{.topic_id = admin_view(w, "orders").topic_id},
                                           {.topic_id = {.bytes = {1, 2, 3}}}};
    struct broker_delete_topics c = {.topics = topics, .n_topics = 2};
    broker_delete_topics_init(&c);
    admin_call(w, &c.call);
    assert_int_equal(SL_OK, topics[0].err);
    assert_string_equal("orders", topics[0].ret_name);
    assert_int_equal(SL_ETOPIC_ID, topics[1].err);
    broker_delete_topics_fini(&c);
    assert_false(admin_has(w, "orders"));
}

/* Create, delete, create and delete again, all submitted before the first has ended. */
ADMIN_TEST(changes_of_a_name_that_overlap_happen_one_after_another)
{
    struct broker_create_topic created[2];
    struct broker_create_topics create[2];
    struct broker_delete_topic deleted[2];
    struct broker_delete_topics delete[2];
    for (int i = 0; i < 2; i++) {
        created[i] = (struct broker_create_topic){
            .name = slice_str("t"), .n_partitions = 1, .replication_factor = 1};
        create[i] = (struct broker_create_topics){.topics = &created[i], .n_topics = 1};
        deleted[i] = (struct broker_delete_topic){.name = slice_str("t")};
        delete[i] = (struct broker_delete_topics){.topics = &deleted[i], .n_topics = 1};
        broker_create_topics_init(&create[i]);
        broker_delete_topics_init(&delete[i]);
    }
    admin_submit(w, &create[0].call);
    admin_submit(w, &delete[0].call);
    admin_wait(w);
    assert_int_equal(SL_OK, created[0].err);
    assert_int_equal(SL_OK, deleted[0].err);
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    struct broker_topic_view view = {.name = slice_str("t")};
    struct broker_metadata look = {.topics = &view, .n_topics = 1};
    broker_metadata_init(&look);
    admin_submit(w, &delete[1].call);
    admin_submit(w, &look.call);
    admin_submit(w, &create[1].call);
    admin_wait(w);
    broker_metadata_fini(&look);
    assert_int_equal(SL_ETOPIC, view.err); /* out of sight at once */
    assert_int_equal(SL_OK, deleted[1].err);
    assert_int_equal(SL_OK, created[1].err);
    assert_true(admin_has(w, "t"));
    for (int i = 0; i < 2; i++) {
        broker_create_topics_fini(&create[i]);
        broker_delete_topics_fini(&delete[i]);
    }
}

/* ---- partitions ----------------------------------------------------------------------------- */

ADMIN_TEST(CreatePartitions_adds_partitions_that_stay)
{
    assert_int_equal(SL_OK, admin_create(w, "orders", 2));
    struct topic *t = broker__topic(w->b, &principal_anonymous.org, slice_str("orders"));
    struct partition *held = broker__partition(t, 1); /* as a call under way would */
    uint64_t pid = held->pid;
    assert_int_equal(SL_OK, admin_grow(w, "orders", 5));
    assert_int_equal(5, admin_view(w, "orders").n_partitions);
    assert_int_equal(pid, held->pid);
    assert_ptr_equal(held->log, broker__partition(t, 1)->log);
    admin_reopen(w);
    assert_int_equal(5, admin_view(w, "orders").n_partitions);
    t = broker__topic(w->b, &principal_anonymous.org, slice_str("orders"));
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            assert_true(t->partitions[i].pid != t->partitions[j].pid);
}

ADMIN_TEST(CreatePartitions_refuses_fewer_the_same_and_unknown)
{
    assert_int_equal(SL_OK, admin_create(w, "orders", 3));
    assert_int_equal(SL_EPARTITIONS, admin_grow(w, "orders", 3));
    assert_int_equal(SL_EPARTITIONS, admin_grow(w, "orders", 2));
    assert_int_equal(SL_EPARTITIONS, admin_grow(w, "orders", -1));
    assert_int_equal(SL_ETOPIC, admin_grow(w, "other", 4));
    assert_int_equal(3, admin_view(w, "orders").n_partitions);
}

ADMIN_TEST(CreatePartitions_checks_assignments_and_validate_only)
{
    static const int32_t here[] = {1}, elsewhere[] = {7};
    const struct replica_assignment good = {0, here, 1}, bad = {0, elsewhere, 1};
    struct broker_grow_topic topics[] = {
        {slice_str("a"), 2, &good, 1, true, SL_OK, NULL},
        {slice_str("b"), 2, &bad, 1, true, SL_OK, NULL},
        {slice_str("c"), 3, &good, 1, true, SL_OK, NULL},
    };
    for (const char *name = "abc"; *name; name++)
        assert_int_equal(SL_OK, admin_create(w, (char[]){*name, '\0'}, 1));
    struct broker_grow_topics c = {.validate_only = true, .topics = topics, .n_topics = 3};
    broker_grow_topics_init(&c);
    admin_call(w, &c.call);
    broker_grow_topics_fini(&c);
    assert_int_equal(SL_OK, topics[0].err);
    assert_int_equal(SL_EASSIGNMENT, topics[1].err);
    assert_int_equal(SL_EASSIGNMENT, topics[2].err);
    assert_int_equal(1, admin_view(w, "a").n_partitions);
}

ADMIN_TEST(changes_of_one_topic_that_overlap_are_all_made)
{
    struct broker_grow_topic grown[3];
    struct broker_grow_topics calls[3];
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    for (int i = 0; i < 3; i++) {
        grown[i] = (struct broker_grow_topic){.name = slice_str("t"), .count = 2 + i};
        calls[i] = (struct broker_grow_topics){.topics = &grown[i], .n_topics = 1};
        broker_grow_topics_init(&calls[i]);
        admin_submit(w, &calls[i].call);
    }
    admin_wait(w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SL_OK, grown[i].err);
        broker_grow_topics_fini(&calls[i]);
    }
    assert_int_equal(4, admin_view(w, "t").n_partitions);
}

/* ---- faults --------------------------------------------------------------------------------- */

ADMIN_TEST(F04_a_topic_that_does_not_fit_on_the_disk_is_refused_and_leaves_nothing)
{
    assert_int_equal(SL_OK, admin_create(w, "before", 1));
    simfs_set_fault(w->fs, &(struct simfs_fault){.calls = SIMFS_OPEN | SIMFS_WRITE,
                                                 .n = 1,
                                                 .more = UINT64_MAX / 2,
                                                 .err = SL_ENOSPC,
                                                 .path_part = "topic.meta"});
    assert_int_equal(SL_ENOSPC, admin_create(w, "full", 1));
    simfs_set_fault(w->fs, &(struct simfs_fault){0});
    assert_false(admin_has(w, "full"));
    assert_int_equal(SL_OK, admin_create(w, "full", 2));
    admin_reopen(w);
    assert_int_equal(1, admin_view(w, "before").n_partitions);
    assert_int_equal(2, admin_view(w, "full").n_partitions);
}

ADMIN_TEST(what_comes_while_the_broker_stops_is_refused)
{
    w->b->closing = true;
    assert_int_equal(SL_ECLOSED, admin_create(w, "a", 1));
    assert_int_equal(SL_ECLOSED, admin_delete(w, "a"));
    assert_int_equal(SL_ECLOSED, admin_grow(w, "a", 2));
    assert_int_equal(SL_ECLOSED, admin_set(w, "a", "retention.ms", "1"));
    w->b->closing = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_created_topic_is_there_with_its_partitions_after_a_restart),
        cmocka_unit_test(minus_one_means_the_brokers_number_of_partitions),
        cmocka_unit_test(K07_names_that_kafka_refuses_are_refused),
        cmocka_unit_test(K07_a_zero_byte_does_not_end_a_name),
        cmocka_unit_test(K07_a_name_that_differs_only_in_dot_and_underscore_is_refused),
        cmocka_unit_test(names_that_kafka_does_not_create_are_served_when_another_door_made_them),
        cmocka_unit_test(K08_validate_only_answers_as_the_real_call_and_creates_nothing),
        cmocka_unit_test(K08_more_partitions_than_the_broker_may_have_are_refused_until_some_go),
        cmocka_unit_test(K08_a_hundred_thousand_topics_in_a_request_are_refused_together),
        cmocka_unit_test(
            a_name_that_comes_twice_in_a_request_is_refused_and_the_others_are_created),
        cmocka_unit_test(of_two_that_create_a_topic_at_once_one_succeeds),
        cmocka_unit_test(a_topic_that_many_ask_for_at_once_is_created_once),
        cmocka_unit_test(a_missing_topic_is_created_only_when_client_and_broker_want_it),
        cmocka_unit_test(K08_asking_for_very_many_missing_topics_creates_a_bounded_number),
        cmocka_unit_test(all_topics_are_listed_by_name),
        cmocka_unit_test(a_topic_deleted_and_created_again),
        cmocka_unit_test(a_topic_is_deleted_by_its_id),
        cmocka_unit_test(changes_of_a_name_that_overlap_happen_one_after_another),
        cmocka_unit_test(CreatePartitions_adds_partitions_that_stay),
        cmocka_unit_test(CreatePartitions_refuses_fewer_the_same_and_unknown),
        cmocka_unit_test(CreatePartitions_checks_assignments_and_validate_only),
        cmocka_unit_test(changes_of_one_topic_that_overlap_are_all_made),
        cmocka_unit_test(F04_a_topic_that_does_not_fit_on_the_disk_is_refused_and_leaves_nothing),
        cmocka_unit_test(what_comes_while_the_broker_stops_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
