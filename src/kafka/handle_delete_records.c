#include "broker/admin.h"
#include "kafka/partition_error.h"
#include "kafka/request.h"

struct delete_records_job {
    struct broker_delete_records call;
    struct kafka_request *r;
};

static void delete_records_done(struct broker_call *c)
{
    struct delete_records_job *job = SL_CONTAINER_OF(c, struct delete_records_job, call.call);
    struct kafka_request *r = job->r;
    const struct kafka_delete_records_request *in = r->in;
    const struct broker_trim *trim = job->call.trims;
    sl_err whole = job->call.err;
    struct kafka_delete_records_response out = kafka_delete_records_response_default;
    out.n_topics = in->n_topics;
    out.topics = kafka_alloc(r, in->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        struct kafka_delete_records_response_topic_result *topic = &out.topics[i];
        topic->name = in->topics[i].name;
        topic->n_partitions = in->topics[i].n_partitions;
        topic->partitions = kafka_alloc(r, topic->n_partitions, sizeof *topic->partitions);
        if (!topic->partitions)
            return;
        for (uint32_t j = 0; j < topic->n_partitions; j++, trim++) {
            topic->partitions[j].partition_index = trim->partition;
            topic->partitions[j].low_watermark = whole == SL_OK ? trim->low_watermark : -1;
            topic->partitions[j].error_code =
                kafka__partition_error(whole == SL_OK ? trim->err : whole);
        }
    }
    kafka_reply(r, &out);
}

void kafka_handle_delete_records(struct kafka_request *r)
{
    const struct kafka_delete_records_request *in = r->in;
    struct delete_records_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    for (uint32_t i = 0; i < in->n_topics; i++)
        job->call.n_trims += in->topics[i].n_partitions;
    struct broker_trim *trim = kafka_alloc(r, job->call.n_trims, sizeof *trim);
    if (!trim)
        return;
    job->call.trims = trim;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        for (uint32_t j = 0; j < in->topics[i].n_partitions; j++, trim++) {
            trim->topic = in->topics[i].name;
            trim->partition = in->topics[i].partitions[j].partition_index;
            trim->offset = in->topics[i].partitions[j].offset;
        }
    }
    broker_delete_records_init(&job->call);
    kafka_call(r, &job->call.call, delete_records_done);
}
