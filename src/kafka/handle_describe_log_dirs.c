#include "broker/admin.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"

struct describe_log_dirs_job {
    struct broker_describe_sizes call;
    struct kafka_request *r;
};

/* Partitions that are not here are left out, as in Kafka: a log directory lists what it holds. */
static bool fill_topic(struct kafka_request *r, const struct broker_sizes_topic *topic,
                       struct kafka_describe_log_dirs_response_topic *ret)
{
    ret->name = topic->name;
    ret->partitions = kafka_alloc(r, topic->n_partitions, sizeof *ret->partitions);
    if (!ret->partitions)
        return false;
    for (uint32_t i = 0; i < topic->n_partitions; i++) {
        if (topic->bytes[i] < 0)
            continue;
        struct kafka_describe_log_dirs_response_partition *p =
            &ret->partitions[ret->n_partitions++];
        *p = kafka_describe_log_dirs_response_partition_default;
        p->partition_index = topic->partitions[i];
        p->partition_size = topic->bytes[i];
    }
    return true;
}

static bool fill_dir(struct kafka_request *r, const struct broker_describe_sizes *call,
                     struct kafka_describe_log_dirs_response_result *ret)
{
    const struct broker_cfg *cfg = broker_config(r->broker);
    *ret = kafka_describe_log_dirs_response_result_default;
    ret->log_dir = slice_str(cfg->data_dir ? cfg->data_dir : "data");
    ret->total_bytes = call->space.total_bytes;
    ret->usable_bytes = call->space.usable_bytes;
    ret->topics = kafka_alloc(r, call->n_topics, sizeof *ret->topics);
    if (!ret->topics)
        return false;
    for (uint32_t i = 0; i < call->n_topics; i++) {
        if (call->topics[i].err == SL_OK &&
            !fill_topic(r, &call->topics[i], &ret->topics[ret->n_topics++]))
            return false;
    }
    return true;
}

static void answer(struct kafka_request *r, const struct broker_describe_sizes *call)
{
    struct kafka_describe_log_dirs_response out = kafka_describe_log_dirs_response_default;
    struct kafka_describe_log_dirs_response_result dir;
    out.error_code = kafka__admin_error(call->err);
    if (call->err == SL_OK) {
        if (!fill_dir(r, call, &dir))
            return;
        out.n_results = 1;
        out.results = &dir;
    }
    kafka_reply(r, &out);
}

static void describe_log_dirs_done(struct broker_call *c)
{
    struct describe_log_dirs_job *job = SL_CONTAINER_OF(c, struct describe_log_dirs_job, call.call);
    struct broker_describe_sizes call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_describe_sizes_fini(&call);
}

void kafka_handle_describe_log_dirs(struct kafka_request *r)
{
    const struct kafka_describe_log_dirs_request *in = r->in;
    struct describe_log_dirs_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.all = in->topics_is_null;
    job->call.n_topics = in->n_topics;
    job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        job->call.topics[i].name = in->topics[i].topic;
        job->call.topics[i].partitions = in->topics[i].partitions;
        job->call.topics[i].n_partitions = in->topics[i].n_partitions;
    }
    broker_describe_sizes_init(&job->call);
    kafka_call(r, &job->call.call, describe_log_dirs_done);
}
