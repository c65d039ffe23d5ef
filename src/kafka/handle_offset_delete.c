#include "kafka/group_answer.h"

struct delete_job {
    struct broker_offset_delete call;
    struct kafka_request *r;
};

static bool put_topic(struct delete_job *job, const struct group_offset_topic *t,
                      struct kafka_offset_delete_response_topic *ret)
{
    ret->name = t->name;
    ret->n_partitions = t->n_partitions;
    ret->partitions = kafka_alloc(job->r, t->n_partitions, sizeof *ret->partitions);
    for (uint32_t k = 0; ret->partitions && k < t->n_partitions; k++) {
        ret->partitions[k].partition_index = t->partitions[k].partition;
        ret->partitions[k].error_code = kafka__group_partition_error(t->partitions[k].err);
    }
    return ret->partitions != NULL;
}

static void delete_done(struct broker_call *c)
{
    struct delete_job *job = SL_CONTAINER_OF(c, struct delete_job, call.head.call);
    struct kafka_offset_delete_response out = kafka_offset_delete_response_default;
    out.error_code = kafka__group_error(job->call.head.err);
    if (job->call.head.err == SL_OK) {
        out.topics = kafka_alloc(job->r, job->call.n_topics, sizeof *out.topics);
        if (!out.topics)
            return;
        out.n_topics = job->call.n_topics;
        for (uint32_t i = 0; i < out.n_topics; i++)
            if (!put_topic(job, &job->call.topics[i], &out.topics[i]))
                return;
    }
    kafka_reply(job->r, &out);
}

static bool fill_topic(struct kafka_request *r, const struct kafka_offset_delete_request_topic *in,
                       struct group_offset_topic *t)
{
    t->name = in->name;
    t->n_partitions = in->n_partitions;
    t->partitions = kafka_alloc(r, in->n_partitions, sizeof *t->partitions);
    for (uint32_t k = 0; t->partitions && k < in->n_partitions; k++)
        t->partitions[k].partition = in->partitions[k].partition_index;
    return t->partitions != NULL;
}

void kafka_handle_offset_delete(struct kafka_request *r)
{
    const struct kafka_offset_delete_request *in = r->in;
    struct delete_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.head.group = in->group_id;
    job->call.n_topics = in->n_topics;
    job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++)
        if (!fill_topic(r, &in->topics[i], &job->call.topics[i]))
            return;
    broker_offset_delete_init(&job->call);
    kafka_call(r, &job->call.head.call, delete_done);
}
