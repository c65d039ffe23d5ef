#include "broker/offsets.h"
#include "kafka/partition_error.h"
#include "kafka/request.h"

struct epoch_ends_job {
    struct broker_epoch_ends call;
    struct kafka_request *r;
};

static void put_partition(const struct broker_epoch_part *part,
                          struct kafka_offset_for_leader_epoch_response_epoch_end_offset *ret)
{
    *ret = kafka_offset_for_leader_epoch_response_epoch_end_offset_default;
    ret->error_code = kafka__partition_error(part->err);
    ret->partition = part->index;
    ret->leader_epoch = part->ret_epoch;
    ret->end_offset = part->end_offset;
}

static void epoch_ends_done(struct broker_call *c)
{
    struct epoch_ends_job *job = SL_CONTAINER_OF(c, struct epoch_ends_job, call.call);
    struct kafka_request *r = job->r;
    const struct kafka_offset_for_leader_epoch_request *in = r->in;
    const struct broker_epoch_part *part = job->call.parts;
    struct kafka_offset_for_leader_epoch_response out =
        kafka_offset_for_leader_epoch_response_default;
    out.n_topics = in->n_topics;
    out.topics = kafka_alloc(r, in->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        uint32_t n = in->topics[i].n_partitions;
        out.topics[i].topic = in->topics[i].topic;
        out.topics[i].n_partitions = n;
        out.topics[i].partitions = kafka_alloc(r, n, sizeof *out.topics[i].partitions);
        if (!out.topics[i].partitions)
            return;
        for (uint32_t j = 0; j < n; j++)
            put_partition(part++, &out.topics[i].partitions[j]);
    }
    kafka_reply(r, &out);
}

static void fill_parts(const struct kafka_offset_for_leader_epoch_request *in,
                       struct broker_epoch_part *part)
{
    for (uint32_t i = 0; i < in->n_topics; i++)
        for (uint32_t j = 0; j < in->topics[i].n_partitions; j++, part++) {
            part->topic = in->topics[i].topic;
            part->index = in->topics[i].partitions[j].partition;
            part->current_leader_epoch = in->topics[i].partitions[j].current_leader_epoch;
            part->epoch = in->topics[i].partitions[j].leader_epoch;
        }
}

void kafka_handle_offset_for_leader_epoch(struct kafka_request *r)
{
    const struct kafka_offset_for_leader_epoch_request *in = r->in;
    struct epoch_ends_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++)
        job->call.n_parts += in->topics[i].n_partitions;
    job->r = r;
    job->call.parts = kafka_alloc(r, job->call.n_parts, sizeof *job->call.parts);
    if (!job->call.parts)
        return;
    fill_parts(in, job->call.parts);
    broker_epoch_ends_init(&job->call);
    kafka_call(r, &job->call.call, epoch_ends_done);
}
