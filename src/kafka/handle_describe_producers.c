#include "broker/admin.h"
#include "kafka/partition_error.h"
#include "kafka/request.h"

struct describe_producers_job {
    struct broker_describe_producers call;
    struct kafka_request *r;
};

static bool fill_partition(struct kafka_request *r, const struct broker_producers_part *part,
                           sl_err whole,
                           struct kafka_describe_producers_response_partition_response *ret)
{
    *ret = kafka_describe_producers_response_partition_response_default;
    ret->partition_index = part->partition;
    ret->error_code = kafka__partition_error(whole == SL_OK ? part->err : whole);
    ret->n_active_producers = part->n_producers;
    ret->active_producers = kafka_alloc(r, part->n_producers, sizeof *ret->active_producers);
    if (!ret->active_producers)
        return false;
    for (uint32_t i = 0; i < part->n_producers; i++) {
        const struct log_producer *p = &part->producers[i];
        struct kafka_describe_producers_response_producer_state *state = &ret->active_producers[i];
        *state = kafka_describe_producers_response_producer_state_default;
        state->producer_id = p->producer_id;
        state->producer_epoch = p->epoch;
        state->last_sequence = p->last_sequence;
        state->last_timestamp = p->last_timestamp_ms;
        state->coordinator_epoch = -1;
        state->current_txn_start_offset = p->current_txn_start_offset;
    }
    return true;
}

static void answer(struct kafka_request *r, const struct broker_describe_producers *call)
{
    const struct kafka_describe_producers_request *in = r->in;
    const struct broker_producers_part *part = call->parts;
    struct kafka_describe_producers_response out = kafka_describe_producers_response_default;
    out.n_topics = in->n_topics;
    out.topics = kafka_alloc(r, in->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        struct kafka_describe_producers_response_topic_response *topic = &out.topics[i];
        topic->name = in->topics[i].name;
        topic->n_partitions = in->topics[i].n_partition_indexes;
        topic->partitions = kafka_alloc(r, topic->n_partitions, sizeof *topic->partitions);
        if (!topic->partitions)
            return;
        for (uint32_t j = 0; j < topic->n_partitions; j++) {
            if (!fill_partition(r, part++, call->err, &topic->partitions[j]))
                return;
        }
    }
    kafka_reply(r, &out);
}

static void describe_producers_done(struct broker_call *c)
{
    struct describe_producers_job *job =
        SL_CONTAINER_OF(c, struct describe_producers_job, call.call);
    struct broker_describe_producers call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_describe_producers_fini(&call);
}

void kafka_handle_describe_producers(struct kafka_request *r)
{
    const struct kafka_describe_producers_request *in = r->in;
    struct describe_producers_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    for (uint32_t i = 0; i < in->n_topics; i++)
        job->call.n_parts += in->topics[i].n_partition_indexes;
    struct broker_producers_part *part = kafka_alloc(r, job->call.n_parts, sizeof *part);
    if (!part)
        return;
    job->call.parts = part;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        for (uint32_t j = 0; j < in->topics[i].n_partition_indexes; j++, part++) {
            part->topic = in->topics[i].name;
            part->partition = in->topics[i].partition_indexes[j];
        }
    }
    broker_describe_producers_init(&job->call);
    kafka_call(r, &job->call.call, describe_producers_done);
}
