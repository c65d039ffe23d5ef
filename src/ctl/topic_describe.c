#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"

#include <stdio.h>

enum { RESOURCE_TOPIC = 2, SOURCE_TOPIC = 1, SOURCES = 7 };

static json_t *numbers(const int32_t *values, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(array, json_integer(values[i]));
    return array;
}

static const struct kafka_metadata_response_partition *
partition_of(const struct kafka_metadata_response_topic *t, int32_t index)
{
    for (uint32_t i = 0; i < t->n_partitions; i++)
        if (t->partitions[i].partition_index == index)
            return &t->partitions[i];
    return NULL;
}

/* One object a partition, with its first and next offset. */
static int describe_partitions(struct ctl *c, const struct kafka_metadata_response_topic *t,
                               json_t *ret)
{
    struct ctl_partition *starts, *ends;
    size_t n;
    const char *name = text_of(c, t->name);
    int failed = topic_partitions(c, name, &starts, &n);
    if (!failed)
        failed = topic_partitions(c, name, &ends, &n);
    if (!failed)
        failed = list_offsets(c, starts, n, OFFSET_EARLIEST);
    if (!failed)
        failed = list_offsets(c, ends, n, OFFSET_LATEST);
    for (size_t i = 0; !failed && i < n; i++) {
        const struct kafka_metadata_response_partition *p = partition_of(t, ends[i].index);
        if (p)
            json_array_append_new(ret, json_pack("{s:i, s:i, s:o, s:o, s:I, s:I, s:I}", "partition",
                                                 ends[i].index, "leader", p->leader_id, "replicas",
                                                 numbers(p->replica_nodes, p->n_replica_nodes),
                                                 "isr", numbers(p->isr_nodes, p->n_isr_nodes),
                                                 "start", (json_int_t)starts[i].offset, "end",
                                                 (json_int_t)ends[i].offset, "records",
                                                 (json_int_t)(ends[i].offset - starts[i].offset)));
    }
    return failed;
}

static const char *source_name(int8_t source)
{
    static const char *const names[SOURCES] = {
        "unknown", "topic", "broker", "default-broker", "static", "default", "broker-logger"};
    return source >= 0 && source < SOURCES ? names[source] : names[0];
}

static int describe_settings(struct ctl *c, struct slice topic, json_t *ret)
{
    struct kafka_describe_configs_request_resource resource = {.resource_type = RESOURCE_TOPIC,
                                                               .resource_name = topic,
                                                               .configuration_keys_is_null = true};
    struct kafka_describe_configs_request request = {.n_resources = 1, .resources = &resource};
    struct kafka_describe_configs_response answer;
    int failed = ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_DESCRIBE_CONFIGS, CLIENT_VERSION_NEWEST,
                         &request, &answer);
    if (failed)
        return failed;
    if (answer.n_results != 1)
        return ctl_fail(c, "the broker answered for %u topics instead of one", answer.n_results);
    const struct kafka_describe_configs_response_result *r = &answer.results[0];
    if (r->error_code)
        return ctl_refused(c, text_of(c, topic), r->error_code, r->error_message);
    for (uint32_t i = 0; i < r->n_configs; i++) {
        if (r->configs[i].config_source != SOURCE_TOPIC && !ctl_flag(c, "all-configs"))
            continue;
        json_array_append_new(ret, json_pack("{s:o, s:o, s:s, s:b}", "name",
                                             out_text(r->configs[i].name), "value",
                                             out_text(r->configs[i].value), "source",
                                             source_name(r->configs[i].config_source), "read_only",
                                             r->configs[i].read_only));
    }
    return CTL_OK;
}

static int describe(struct ctl *c, const struct kafka_metadata_response_topic *t, json_t *ret)
{
    if (t->error_code)
        return ctl_refused(c, text_of(c, t->name), t->error_code, (struct slice){0});
    json_t *partitions = json_array(), *configs = json_array();
    json_array_append_new(ret, json_pack("{s:o, s:o, s:b, s:o, s:o}", "topic", out_text(t->name),
                                         "id", out_uuid(&t->topic_id), "internal", t->is_internal,
                                         "partitions", partitions, "configs", configs));
    int failed = describe_partitions(c, t, partitions);
    return failed ? failed : describe_settings(c, t->name, configs);
}

static void print(const struct ctl *c, const json_t *topics)
{
    static const struct out_column partitions[] = {{"partition", "PARTITION"}, {"leader", "LEADER"},
                                                   {"start", "START"},         {"end", "END"},
                                                   {"records", "RECORDS"},     {0}};
    static const struct out_column configs[] = {
        {"name", "SETTING"}, {"value", "VALUE"}, {"source", "SOURCE"}, {0}};
    for (size_t i = 0; i < json_array_size(topics); i++) {
        const json_t *t = json_array_get(topics, i);
        const json_t *id = json_object_get(t, "id");
        printf("%sTopic %s, id %s\n\n", i ? "\n" : "",
               json_string_value(json_object_get(t, "topic")),
               json_is_string(id) ? json_string_value(id) : "-");
        out_table(json_object_get(t, "partitions"), partitions, "no partitions");
        printf("\n");
        out_table(json_object_get(t, "configs"), configs,
                  ctl_flag(c, "all-configs") ? "no settings" : "all settings have their default");
    }
}

int ctl_topic_describe(struct ctl *c)
{
    struct kafka_metadata_response answer;
    int status = topic_metadata(c, c->args, (size_t)c->n_args, &answer);
    if (status)
        return status;
    json_t *topics = json_array();
    for (uint32_t i = 0; i < answer.n_topics; i++) {
        int failed = describe(c, &answer.topics[i], topics);
        status = failed ? failed : status;
    }
    if (!out_json(c, topics))
        print(c, topics);
    json_decref(topics);
    return status;
}
