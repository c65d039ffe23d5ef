#include "broker/fetch.h"
#include "kafka/partition_error.h"
#include "kafka/request.h"

enum { FIRST_VERSION_WITH_IDS = 13 };

struct fetch_job {
    struct broker_fetch call;
    struct kafka_request *r;
};

/* ---- the answer -------------------------------------------------------------------------------
 */

static bool is_same_topic(const struct broker_fetch *f, const struct broker_fetch_result *a,
                          const struct broker_fetch_result *b)
{
    return f->by_id ? uuid_equal(&a->topic_id, &b->topic_id) : slice_eq(a->topic, b->topic);
}

static void put_partition(const struct kafka_request *r, struct broker_fetch_result *result,
                          struct kafka_fetch_response_partition_data *ret)
{
    const struct kafka_fetch_request *in = r->in;
    *ret = kafka_fetch_response_partition_data_default;
    ret->partition_index = result->index;
    ret->error_code = kafka__partition_error(result->err);
    ret->high_watermark = result->high_watermark;
    ret->last_stable_offset = result->high_watermark;
    ret->log_start_offset = result->log_start;
    ret->aborted_transactions_is_null = in->isolation_level == 0;
    ret->records.n = result->records.len > 0;
    ret->records.slices = &result->records;
}

/* The topics of the results, each with its partitions behind each other in `partitions`. */
static uint32_t group_by_topic(const struct fetch_job *job,
                               struct kafka_fetch_response_partition_data *partitions,
                               struct kafka_fetch_response_fetchable_topic_response *topics)
{
    const struct broker_fetch_results *results = job->call.results;
    uint32_t n = 0;
    for (uint32_t i = 0; i < results->n; i++) {
        struct broker_fetch_result *result = &results->items[i];
        put_partition(job->r, result, &partitions[i]);
        if (i == 0 || !is_same_topic(&job->call, result - 1, result)) {
            topics[n].topic = result->topic;
            topics[n].topic_id = result->topic_id;
            topics[n++].partitions = &partitions[i];
        }
        topics[n - 1].n_partitions++;
    }
    return n;
}

static void answer(struct fetch_job *job, struct kafka_fetch_response *out)
{
    struct kafka_request *r = job->r;
    uint32_t n = job->call.results->n;
    struct kafka_fetch_response_partition_data *partitions = kafka_alloc(r, n, sizeof *partitions);
    if (!partitions)
        return;
    out->responses = kafka_alloc(r, n, sizeof *out->responses);
    if (!out->responses)
        return;
    out->n_responses = group_by_topic(job, partitions, out->responses);
    kafka_reply(r, out);
}

static void fetch_done(struct broker_call *c)
{
    struct fetch_job *job = SL_CONTAINER_OF(c, struct fetch_job, call.call);
    struct broker_fetch_results *results = job->call.results;
    struct kafka_fetch_response out = kafka_fetch_response_default;
    out.error_code = kafka__partition_error(job->call.err);
    out.session_id = job->call.ret_session_id;
    if (results)
        answer(job, &out);
    else
        kafka_reply(job->r, &out);
    broker_fetch_results_free(results); /* the answer has references of its own */
}

/* ---- the request ------------------------------------------------------------------------------
 */

static bool fill_parts(struct kafka_request *r, struct broker_fetch *f)
{
    const struct kafka_fetch_request *in = r->in;
    for (uint32_t i = 0; i < in->n_topics; i++)
        f->n_parts += in->topics[i].n_partitions;
    struct broker_fetch_part *part = kafka_alloc(r, f->n_parts, sizeof *part);
    if (!part)
        return false;
    f->parts = part;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        const struct kafka_fetch_request_topic *topic = &in->topics[i];
        for (uint32_t j = 0; j < topic->n_partitions; j++) {
            const struct kafka_fetch_request_partition *p = &topic->partitions[j];
            *part++ = (struct broker_fetch_part){.topic = topic->topic,
                                                 .topic_id = topic->topic_id,
                                                 .index = p->partition,
                                                 .offset = p->fetch_offset,
                                                 .bytes_max = p->partition_max_bytes,
                                                 .leader_epoch = p->current_leader_epoch};
        }
    }
    return true;
}

static bool fill_forgotten(struct kafka_request *r, struct broker_fetch *f)
{
    const struct kafka_fetch_request *in = r->in;
    for (uint32_t i = 0; i < in->n_forgotten_topics_data; i++)
        f->n_forgotten += in->forgotten_topics_data[i].n_partitions;
    struct broker_fetch_forgotten *part = kafka_alloc(r, f->n_forgotten, sizeof *part);
    if (!part)
        return false;
    f->forgotten = part;
    for (uint32_t i = 0; i < in->n_forgotten_topics_data; i++) {
        const struct kafka_fetch_request_forgotten_topic *topic = &in->forgotten_topics_data[i];
        for (uint32_t j = 0; j < topic->n_partitions; j++)
            *part++ = (struct broker_fetch_forgotten){
                .topic = topic->topic, .topic_id = topic->topic_id, .index = topic->partitions[j]};
    }
    return true;
}

void kafka_handle_fetch(struct kafka_request *r)
{
    const struct kafka_fetch_request *in = r->in;
    struct fetch_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.max_wait_ms = in->max_wait_ms;
    job->call.min_bytes = in->min_bytes;
    job->call.max_bytes = in->max_bytes;
    job->call.by_id = r->api_version >= FIRST_VERSION_WITH_IDS;
    job->call.session_id = in->session_id;
    job->call.session_epoch = in->session_epoch;
    if (!fill_parts(r, &job->call) || !fill_forgotten(r, &job->call))
        return;
    broker_fetch_init(&job->call);
    r->waiting = &job->call.call; /* ends it when the peer goes */
    kafka_call(r, &job->call.call, fetch_done);
}
