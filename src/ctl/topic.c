#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"
#include "kafka_codec/messages.h"

#include <stdio.h>

/* ---- list
 * ------------------------------------------------------------------------------------------ */

int ctl_topic_list(struct ctl *c)
{
    static const struct out_column columns[] = {
        {"topic", "TOPIC"}, {"partitions", "PARTITIONS"}, {"id", "ID"}, {0}};
    struct kafka_metadata_response answer;
    int failed = topic_metadata(c, NULL, 0, &answer);
    if (failed)
        return failed;
    json_t *rows = json_array();
    for (uint32_t i = 0; i < answer.n_topics; i++) {
        const struct kafka_metadata_response_topic *t = &answer.topics[i];
        if (t->is_internal && !ctl_flag(c, "internal"))
            continue;
        json_array_append_new(rows, json_pack("{s:o, s:I, s:o, s:b}", "topic", out_text(t->name),
                                              "partitions", (json_int_t)t->n_partitions, "id",
                                              out_uuid(&t->topic_id), "internal", t->is_internal));
    }
    out_rows(c, rows, columns, "there are no topics; make one with: topic create NAME");
    return CTL_OK;
}

/* ---- create
 * ---------------------------------------------------------------------------------------- */

static const char *broken_setting(const char *text)
{
    const char *equals = strchr(text, '=');
    return equals && equals != text ? NULL : text;
}

static int check_settings(const struct ctl *c)
{
    for (size_t i = 0; ctl_list(c, "config", i); i++)
        if (broken_setting(ctl_list(c, "config", i)))
            return ctl_usage(c, "--config %s: write it as KEY=VALUE", ctl_list(c, "config", i));
    return CTL_OK;
}

static size_t count_of(const struct ctl *c, const char *list)
{
    size_t n = 0;
    while (ctl_list(c, list, n))
        n++;
    return n;
}

static void split_setting(const char *text, struct slice *ret_name, struct slice *ret_value)
{
    size_t len = strcspn(text, "=");
    *ret_name = slice_of(text, len);
    *ret_value = slice_str(text[len] ? text + len + 1 : text + len);
}

static int say_created(struct ctl *c,
                       const struct kafka_create_topics_response_creatable_topic_result *t)
{
    static const struct out_column columns[] = {
        {"topic", "TOPIC"}, {"partitions", "PARTITIONS"}, {"id", "ID"}, {0}};
    json_t *rows = json_pack("[{s:o, s:I, s:o}]", "topic", out_text(t->name), "partitions",
                             (json_int_t)t->num_partitions, "id", out_uuid(&t->topic_id));
    out_rows(c, rows, columns, "");
    return CTL_OK;
}

int ctl_topic_create(struct ctl *c)
{
    int wrong = check_settings(c);
    if (wrong)
        return wrong;
    struct kafka_create_topics_request_creatable_topic topic =
        kafka_create_topics_request_creatable_topic_default;
    topic.name = slice_str(c->args[0]);
    topic.num_partitions = (int32_t)ctl_number(c, "partitions", -1);
    topic.replication_factor = (int16_t)ctl_number(c, "replication-factor", -1);
    topic.n_configs = (uint32_t)count_of(c, "config");
    topic.configs = ctl_alloc(c, topic.n_configs, sizeof *topic.configs);
    for (uint32_t i = 0; i < topic.n_configs; i++)
        split_setting(ctl_list(c, "config", i), &topic.configs[i].name, &topic.configs[i].value);
    struct kafka_create_topics_request request = kafka_create_topics_request_default;
    request.topics = &topic;
    request.n_topics = 1;
    request.timeout_ms = (int32_t)ctl_timeout_ms(c);
    request.validate_only = ctl_flag(c, "validate-only");
    struct kafka_create_topics_response answer;
    int failed = ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_CREATE_TOPICS, CLIENT_VERSION_NEWEST,
                         &request, &answer);
    if (failed)
        return failed;
    if (answer.n_topics != 1)
        return ctl_fail(c, "the broker answered for %u topics instead of one", answer.n_topics);
    const struct kafka_create_topics_response_creatable_topic_result *t = &answer.topics[0];
    if (t->error_code == KAFKA_ERR_TOPIC_ALREADY_EXISTS && ctl_flag(c, "if-not-exists"))
        return CTL_OK;
    if (t->error_code)
        return ctl_refused(c, c->args[0], t->error_code, t->error_message);
    return say_created(c, t);
}

/* ---- alter
 * ----------------------------------------------------------------------------------------- */

static int grow(struct ctl *c)
{
    struct kafka_create_partitions_request_topic topic = {
        .name = slice_str(c->args[0]),
        .count = (int32_t)ctl_number(c, "partitions", 0),
        .assignments_is_null = true};
    struct kafka_create_partitions_request request = {
        .topics = &topic, .n_topics = 1, .timeout_ms = (int32_t)ctl_timeout_ms(c)};
    struct kafka_create_partitions_response answer;
    int failed = ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_CREATE_PARTITIONS, CLIENT_VERSION_NEWEST,
                         &request, &answer);
    if (!failed && answer.n_results == 1 && answer.results[0].error_code)
        failed = ctl_refused(c, c->args[0], answer.results[0].error_code,
                             answer.results[0].error_message);
    return failed;
}

enum { OPERATION_SET = 0, OPERATION_DELETE = 1, RESOURCE_TOPIC = 2 };

static int change_settings(struct ctl *c)
{
    uint32_t n_set = (uint32_t)count_of(c, "config");
    uint32_t n = n_set + (uint32_t)count_of(c, "delete-config");
    struct kafka_incremental_alter_configs_request_alterable_config *changes =
        ctl_alloc(c, n, sizeof *changes);
    for (uint32_t i = 0; i < n; i++) {
        if (i < n_set) {
            changes[i].config_operation = OPERATION_SET;
            split_setting(ctl_list(c, "config", i), &changes[i].name, &changes[i].value);
        } else {
            changes[i].config_operation = OPERATION_DELETE;
            changes[i].name = slice_str(ctl_list(c, "delete-config", i - n_set));
        }
    }
    struct kafka_incremental_alter_configs_request_alter_configs_resource resource = {
        .resource_type = RESOURCE_TOPIC,
        .resource_name = slice_str(c->args[0]),
        .n_configs = n,
        .configs = changes};
    struct kafka_incremental_alter_configs_request request = {.n_resources = 1,
                                                              .resources = &resource};
    struct kafka_incremental_alter_configs_response answer;
    int failed = ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_INCREMENTAL_ALTER_CONFIGS,
                         CLIENT_VERSION_NEWEST, &request, &answer);
    if (!failed && answer.n_responses == 1 && answer.responses[0].error_code)
        failed = ctl_refused(c, c->args[0], answer.responses[0].error_code,
                             answer.responses[0].error_message);
    return failed;
}

int ctl_topic_alter(struct ctl *c)
{
    bool grows = ctl_flag(c, "partitions");
    bool changes = ctl_flag(c, "config") || ctl_flag(c, "delete-config");
    if (!grows && !changes)
        return ctl_usage(c, "topic alter: say what to change: --partitions, --config or "
                            "--delete-config");
    int wrong = check_settings(c);
    if (!wrong && changes)
        wrong = change_settings(c);
    if (!wrong && grows)
        wrong = grow(c);
    return wrong;
}

/* ---- delete
 * ---------------------------------------------------------------------------------------- */

enum { DELETE_BY_NAME_VERSION = 5 };

int ctl_topic_delete(struct ctl *c)
{
    struct kafka_delete_topics_request request = kafka_delete_topics_request_default;
    request.timeout_ms = (int32_t)ctl_timeout_ms(c);
    request.n_topic_names = (uint32_t)c->n_args;
    request.topic_names = ctl_alloc(c, request.n_topic_names, sizeof *request.topic_names);
    for (int i = 0; i < c->n_args; i++)
        request.topic_names[i] = slice_str(c->args[i]);
    struct kafka_delete_topics_response answer;
    int status = ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_DELETE_TOPICS, DELETE_BY_NAME_VERSION,
                         &request, &answer);
    for (uint32_t i = 0; status != CTL_UNREACHABLE && i < answer.n_responses; i++) {
        const struct kafka_delete_topics_response_deletable_topic_result *t = &answer.responses[i];
        bool is_missing = t->error_code == KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        if (!t->error_code || (is_missing && ctl_flag(c, "if-exists")))
            continue;
        char name[256];
        (void)snprintf(name, sizeof name, "%.*s", (int)t->name.len, (const char *)t->name.data);
        status = ctl_refused(c, name, t->error_code, t->error_message);
    }
    return status;
}
