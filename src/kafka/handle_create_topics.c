#include "broker/configs.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"

struct create_topics_job {
    struct broker_create_topics call;
    struct kafka_request *r;
};

/* ---- answer --------------------------------------------------------------------------------- */

static bool fill_configs(struct kafka_request *r, const struct broker_create_topics *call,
                         const struct broker_create_topic *topic,
                         struct kafka_create_topics_response_creatable_topic_result *ret)
{
    const struct config_entry *entries =
        topic_config_entries(&topic->config, &call->defaults, call->items.arena, &ret->n_configs);
    ret->configs = kafka_alloc(r, ret->n_configs, sizeof *ret->configs);
    if (!ret->configs)
        return false;
    ret->configs_is_null = false;
    for (uint32_t i = 0; i < ret->n_configs; i++) {
        struct kafka_create_topics_response_creatable_topic_configs *c = &ret->configs[i];
        *c = kafka_create_topics_response_creatable_topic_configs_default;
        c->name = slice_str(entries[i].name);
        c->value = slice_str(entries[i].value);
        c->config_source = (int8_t)entries[i].source;
    }
    return true;
}

static bool fill_topic(struct kafka_request *r, const struct broker_create_topics *call,
                       const struct broker_create_topic *topic,
                       struct kafka_create_topics_response_creatable_topic_result *ret)
{
    struct kafka_item_answer a = kafka__item_answer(call->err, topic->err, topic->message);
    *ret = kafka_create_topics_response_creatable_topic_result_default;
    ret->name = topic->name;
    ret->error_code = a.code;
    ret->error_message = a.message;
    ret->configs_is_null = true;
    if (a.err != SL_OK)
        return true;
    ret->topic_id = topic->topic_id;
    ret->num_partitions = topic->n_partitions;
    ret->replication_factor = 1;
    return r->api_version < 5 || fill_configs(r, call, topic, ret);
}

static void answer(struct kafka_request *r, const struct broker_create_topics *call)
{
    struct kafka_create_topics_response out = kafka_create_topics_response_default;
    out.n_topics = call->n_topics;
    out.topics = kafka_alloc(r, call->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < call->n_topics; i++) {
        if (!fill_topic(r, call, &call->topics[i], &out.topics[i]))
            return;
    }
    kafka_reply(r, &out);
}

static void create_topics_done(struct broker_call *c)
{
    struct create_topics_job *job = SL_CONTAINER_OF(c, struct create_topics_job, call.call);
    struct broker_create_topics call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_create_topics_fini(&call);
}

/* ---- request -------------------------------------------------------------------------------- */

static bool read_topic(struct kafka_request *r,
                       const struct kafka_create_topics_request_creatable_topic *in,
                       struct broker_create_topic *ret)
{
    struct replica_assignment *assignments = kafka_alloc(r, in->n_assignments, sizeof *assignments);
    if (!assignments)
        return false;
    struct setting_text *settings = kafka_alloc(r, in->n_configs, sizeof *settings);
    if (!settings)
        return false;
    for (uint32_t i = 0; i < in->n_assignments; i++)
        assignments[i] =
            (struct replica_assignment){.partition = in->assignments[i].partition_index,
                                        .broker_ids = in->assignments[i].broker_ids,
                                        .n_broker_ids = in->assignments[i].n_broker_ids};
    for (uint32_t i = 0; i < in->n_configs; i++)
        settings[i] = (struct setting_text){.name = in->configs[i].name,
                                            .value = in->configs[i].value,
                                            .value_is_null = !in->configs[i].value.data};
    *ret = (struct broker_create_topic){
        .name = in->name,
        .n_partitions = in->num_partitions,
        .replication_factor = in->replication_factor,
        .assignments = assignments,
        .n_assignments = in->n_assignments,
        .settings = settings,
        .n_settings = in->n_configs,
    };
    return true;
}

void kafka_handle_create_topics(struct kafka_request *r)
{
    const struct kafka_create_topics_request *in = r->in;
    struct create_topics_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.validate_only = in->validate_only;
    job->call.kafka_names = true;
    job->call.n_topics = in->n_topics;
    job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        if (!read_topic(r, &in->topics[i], &job->call.topics[i]))
            return;
    }
    broker_create_topics_init(&job->call);
    kafka_call(r, &job->call.call, create_topics_done);
}
