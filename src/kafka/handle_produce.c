#include "broker/produce.h"
#include "kafka/partition_error.h"
#include "kafka/request.h"

enum { FIRST_VERSION_WITH_ZSTD = 7, FIRST_VERSION_WITH_IDS = 13 };

struct produce_job {
    struct broker_produce call;
    struct kafka_request *r;
};

/* ---- the answer -------------------------------------------------------------------------------
 */

/* False: memory was short and the request has been answered. */
static bool put_record_error(struct kafka_request *r, const struct broker_produce_part *part,
                             struct kafka_produce_response_partition_produce_response *ret)
{
    struct kafka_produce_response_batch_index_and_error_message *e = kafka_alloc(r, 1, sizeof *e);
    if (!e)
        return false;
    e->batch_index = part->record_index;
    e->batch_index_error_message = slice_str(part->why);
    ret->record_errors = e;
    ret->n_record_errors = 1;
    return true;
}

static bool put_partition(struct kafka_request *r, const struct broker_produce_part *part,
                          struct kafka_produce_response_partition_produce_response *ret)
{
    *ret = kafka_produce_response_partition_produce_response_default;
    ret->index = part->index;
    ret->error_code = kafka__partition_error(part->err);
    ret->base_offset = part->base_offset;
    ret->log_append_time_ms = part->log_append_ms;
    ret->log_start_offset = part->log_start;
    if (!part->why)
        return true;
    ret->error_message = slice_str(part->why);
    return part->record_index < 0 || put_record_error(r, part, ret);
}

static bool put_topic(struct kafka_request *r,
                      const struct kafka_produce_request_topic_produce_data *in,
                      const struct broker_produce_part *parts,
                      struct kafka_produce_response_topic_produce_response *ret)
{
    ret->name = in->name;
    ret->topic_id = in->topic_id;
    ret->n_partition_responses = in->n_partition_data;
    ret->partition_responses =
        kafka_alloc(r, in->n_partition_data, sizeof *ret->partition_responses);
    if (!ret->partition_responses)
        return false;
    for (uint32_t i = 0; i < in->n_partition_data; i++)
        if (!put_partition(r, &parts[i], &ret->partition_responses[i]))
            return false;
    return true;
}

static void answer(struct produce_job *job)
{
    struct kafka_request *r = job->r;
    const struct kafka_produce_request *in = r->in;
    const struct broker_produce_part *part = job->call.parts;
    struct kafka_produce_response out = kafka_produce_response_default;
    out.n_responses = in->n_topic_data;
    out.responses = kafka_alloc(r, in->n_topic_data, sizeof *out.responses);
    if (!out.responses)
        return;
    for (uint32_t i = 0; i < in->n_topic_data; i++) {
        if (!put_topic(r, &in->topic_data[i], part, &out.responses[i]))
            return;
        part += in->topic_data[i].n_partition_data;
    }
    kafka_reply(r, &out);
}

/* Nobody waits for an answer with acks=0: an error is told by closing, as Kafka does. */
static void answer_nothing(struct produce_job *job)
{
    for (uint32_t i = 0; i < job->call.n_parts; i++)
        if (job->call.parts[i].err != SL_OK) {
            kafka_reply_close(job->r, "a produce request with acks=0 failed");
            return;
        }
    kafka_reply_none(job->r);
}

static void produce_done(struct broker_call *c)
{
    struct produce_job *job = SL_CONTAINER_OF(c, struct produce_job, call.call);
    if (job->call.acks == 0)
        answer_nothing(job);
    else
        answer(job);
}

/* ---- the request ------------------------------------------------------------------------------
 */

static uint32_t count_parts(const struct kafka_produce_request *in)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n_topic_data; i++)
        n += in->topic_data[i].n_partition_data;
    return n;
}

static void fill_parts(const struct kafka_produce_request *in, struct broker_produce_part *part)
{
    for (uint32_t i = 0; i < in->n_topic_data; i++) {
        const struct kafka_produce_request_topic_produce_data *topic = &in->topic_data[i];
        for (uint32_t j = 0; j < topic->n_partition_data; j++, part++) {
            part->topic = topic->name;
            part->topic_id = topic->topic_id;
            part->index = topic->partition_data[j].index;
            part->records = topic->partition_data[j].records;
        }
    }
}

void kafka_handle_produce(struct kafka_request *r)
{
    const struct kafka_produce_request *in = r->in;
    struct produce_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    uint32_t n = count_parts(in);
    job->r = r;
    job->call.parts = kafka_alloc(r, n, sizeof *job->call.parts);
    if (!job->call.parts)
        return;
    job->call.n_parts = n;
    job->call.source = (uint64_t)(uintptr_t)r->conn;
    job->call.acks = in->acks;
    job->call.timeout_ms = in->timeout_ms;
    job->call.by_id = r->api_version >= FIRST_VERSION_WITH_IDS;
    job->call.old_codecs_only = r->api_version < FIRST_VERSION_WITH_ZSTD;
    fill_parts(in, job->call.parts);
    broker_produce_init(&job->call);
    kafka_call(r, &job->call.call, produce_done);
}
