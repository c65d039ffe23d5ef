#include "broker/offsets.h"
#include "kafka/partition_error.h"
#include "kafka/request.h"
#include "kafka_codec/errors.h"

struct list_offsets_job {
    struct broker_list_offsets call;
    struct kafka_request *r;
};

/* Which version knows a special timestamp; below it, and for others, Kafka refuses the partition.
 */
static bool is_known(int64_t timestamp, int16_t version)
{
    switch (timestamp) {
    case OFFSET_LATEST:
    case OFFSET_EARLIEST:
        return true;
    case OFFSET_MAX_TIMESTAMP:
        return version >= 7;
    case OFFSET_EARLIEST_LOCAL:
        return version >= 8;
    case OFFSET_LATEST_TIERED:
        return version >= 9;
    case OFFSET_EARLIEST_PENDING_UPLOAD:
        return version >= 11;
    default:
        return timestamp >= 0;
    }
}

/* Kafka refuses a partition that is named twice. */
static bool is_repeated(const struct kafka_list_offsets_request_topic *topic, uint32_t at)
{
    enum { LOOK_BACK = 1000 }; /* bounded work; nobody names more of one topic twice */
    for (uint32_t i = at > LOOK_BACK ? at - LOOK_BACK : 0; i < at; i++)
        if (topic->partitions[i].partition_index == topic->partitions[at].partition_index)
            return true;
    return false;
}

static void put_partition(const struct kafka_request *r,
                          const struct kafka_list_offsets_request_topic *topic, uint32_t at,
                          const struct broker_offsets_part *part,
                          struct kafka_list_offsets_response_partition_response *ret)
{
    *ret = kafka_list_offsets_response_partition_response_default;
    ret->partition_index = part->index;
    if (is_repeated(topic, at)) {
        ret->error_code = KAFKA_ERR_INVALID_REQUEST;
        return;
    }
    if (!is_known(topic->partitions[at].timestamp, r->api_version)) {
        ret->error_code = KAFKA_ERR_UNSUPPORTED_VERSION;
        return;
    }
    ret->error_code = kafka__partition_error(part->err);
    ret->timestamp = part->found_timestamp_ms;
    ret->offset = part->offset;
    ret->leader_epoch = part->leader_epoch;
}

static void list_offsets_done(struct broker_call *c)
{
    struct list_offsets_job *job = SL_CONTAINER_OF(c, struct list_offsets_job, call.call);
    struct kafka_request *r = job->r;
    const struct kafka_list_offsets_request *in = r->in;
    const struct broker_offsets_part *part = job->call.parts;
    struct kafka_list_offsets_response out = kafka_list_offsets_response_default;
    out.n_topics = in->n_topics;
    out.topics = kafka_alloc(r, in->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        const struct kafka_list_offsets_request_topic *topic = &in->topics[i];
        struct kafka_list_offsets_response_topic_response *ret = &out.topics[i];
        ret->name = topic->name;
        ret->n_partitions = topic->n_partitions;
        ret->partitions = kafka_alloc(r, topic->n_partitions, sizeof *ret->partitions);
        if (!ret->partitions)
            return;
        for (uint32_t j = 0; j < topic->n_partitions; j++)
            put_partition(r, topic, j, part++, &ret->partitions[j]);
    }
    kafka_reply(r, &out);
}

static void fill_parts(const struct kafka_list_offsets_request *in,
                       struct broker_offsets_part *part)
{
    for (uint32_t i = 0; i < in->n_topics; i++)
        for (uint32_t j = 0; j < in->topics[i].n_partitions; j++, part++) {
            const struct kafka_list_offsets_request_partition *p = &in->topics[i].partitions[j];
            part->topic = in->topics[i].name;
            part->index = p->partition_index;
            part->current_leader_epoch = p->current_leader_epoch;
            part->timestamp_ms = p->timestamp;
        }
}

void kafka_handle_list_offsets(struct kafka_request *r)
{
    const struct kafka_list_offsets_request *in = r->in;
    struct list_offsets_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++)
        job->call.n_parts += in->topics[i].n_partitions;
    job->r = r;
    job->call.parts = kafka_alloc(r, job->call.n_parts, sizeof *job->call.parts);
    if (!job->call.parts)
        return;
    fill_parts(in, job->call.parts);
    broker_list_offsets_init(&job->call);
    kafka_call(r, &job->call.call, list_offsets_done);
}
