/* Produce and ProduceBatch of streamhouse.StreamHouse, Produce of streamhouse.producer. */
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/publisher.h"
#include "grpc/streamhouse.h"
#include "proto/producer.pb-c.h"
#include "proto/streamhouse.pb-c.h"

/* The two services have the same numbers. */
enum { ACK_BUFFERED, ACK_DURABLE, ACK_NONE };

struct produce_job {
    struct publish x;
    struct grpc_call *c;
    const char *topic;
    uint32_t partition;
    struct new_record *records;
};

static struct produce_job *job_of(struct grpc_call *c, const char *topic, uint32_t partition,
                                  size_t n_records)
{
    if (!*topic || n_records == 0) {
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "%s",
                  *topic ? "Records cannot be empty" : "Topic name cannot be empty");
        return NULL;
    }
    struct produce_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return NULL;
    job->c = c;
    job->topic = topic;
    job->partition = partition;
    job->records = grpc_alloc(c, n_records, sizeof *job->records);
    if (!job->records)
        return NULL;
    job->x = (struct publish){.who = c->who,
                              .topic = slice_str(topic),
                              .partition = (int32_t)SL_MIN(partition, (uint32_t)INT32_MAX),
                              .records = job->records,
                              .n_records = (uint32_t)n_records,
                              .own_batch = n_records > 1,
                              .producer = batch_producer_none,
                              .acks = 1};
    return job;
}

static int16_t acks_of(int ack_mode)
{
    switch (ack_mode) {
    case ACK_DURABLE:
        return -1;
    case ACK_NONE:
        return 0;
    default:
        return 1;
    }
}

struct producer_fields {
    const char *id; /* NULL: none */
    uint32_t epoch;
    int64_t sequence;
};

/* False: the call has been ended. */
static bool take_producer(struct produce_job *job, const struct producer_fields *p)
{
    int64_t id = -1;
    if (!p->id)
        return true;
    if (streamhouse__parse_producer(p->id, &id) != SL_OK) {
        grpc_fail(job->c, GRPC_FAILED_PRECONDITION, "Producer not found: %s", p->id);
        return false;
    }
    if (p->epoch > INT16_MAX || p->sequence < 0 || p->sequence > INT32_MAX) {
        grpc_fail(job->c, GRPC_INVALID_ARGUMENT, "producer_epoch or base_sequence is out of range");
        return false;
    }
    job->x.own_batch = true;
    job->x.producer = (struct batch_producer){id, (int16_t)p->epoch, (int32_t)p->sequence};
    return true;
}

/* A string map, a map of bytes: what differs is the type of an entry. */
#define PUT_RECORD(job, i, in, has_key)                                                            \
    put_record((job), (i), (has_key) ? grpc_bytes((in)->key) : (struct slice){0},                  \
               grpc_bytes((in)->value), (in)->n_headers)

static struct new_header *put_record(struct produce_job *job, size_t i, struct slice key,
                                     struct slice value, size_t n_headers)
{
    struct new_header *h = grpc_alloc(job->c, n_headers, sizeof *h);
    if (h)
        job->records[i] = (struct new_record){
            .key = key, .value = value, .headers = h, .n_headers = (uint32_t)n_headers};
    return h;
}

static void take_time(struct produce_job *job, size_t i, uint64_t timestamp)
{
    job->records[i].timestamp_ms = (int64_t)SL_MIN(timestamp, (uint64_t)INT64_MAX);
}

/* True: it was stored; else the call has been ended, or will be. */
static bool is_stored(struct produce_job *job)
{
    const struct publish *x = &job->x;
    if (x->err == SL_OK)
        return true;
    if (x->err == SL_EPARTITIONS || x->err == SL_ETOPIC || x->err == SL_ETOPIC_NAME)
        streamhouse__not_found(job->c, job->topic, job->partition);
    else
        streamhouse__fail(job->c, x->err, x->why, job->topic);
    return false;
}

static uint64_t offset_of(int64_t offset)
{
    return offset < 0 ? 0 : (uint64_t)offset; /* not known with ACK_NONE, or of an old repeat */
}

/* ---- StreamHouse/Produce --------------------------------------------------------------------- */

static void produced(struct publish *x)
{
    struct produce_job *job = SL_CONTAINER_OF(x, struct produce_job, x);
    Streamhouse__ProduceResponse out = STREAMHOUSE__PRODUCE_RESPONSE__INIT;
    if (!is_stored(job))
        return;
    out.offset = offset_of(x->first_offset);
    out.timestamp = (uint64_t)x->timestamp_ms;
    grpc_reply(job->c, &out.base);
}

void grpc_streamhouse_produce(struct grpc_call *c)
{
    const Streamhouse__ProduceRequest *in = (const Streamhouse__ProduceRequest *)c->request;
    struct produce_job *job = job_of(c, in->topic, in->partition, 1);
    if (!job)
        return;
    struct new_header *h = PUT_RECORD(job, 0, in, in->key.len > 0);
    if (!h)
        return;
    for (size_t i = 0; i < in->n_headers; i++)
        h[i] =
            (struct new_header){slice_str(in->headers[i]->key), slice_str(in->headers[i]->value)};
    job->x.acks = -1; /* no mode to ask for: answered when it is durable, and so to be consumed */
    job->x.done = produced;
    publisher_take(c->shard->publisher, &job->x);
}

/* ---- StreamHouse/ProduceBatch ---------------------------------------------------------------- */

static void batch_produced(struct publish *x)
{
    struct produce_job *job = SL_CONTAINER_OF(x, struct produce_job, x);
    Streamhouse__ProduceBatchResponse out = STREAMHOUSE__PRODUCE_BATCH_RESPONSE__INIT;
    if (!is_stored(job))
        return;
    out.first_offset = offset_of(x->first_offset);
    out.last_offset = x->first_offset < 0 ? 0 : out.first_offset + x->n_records - 1;
    out.count = x->n_records;
    out.duplicates_filtered = x->duplicate;
    grpc_reply(job->c, &out.base);
}

static bool put_batch(struct produce_job *job, const Streamhouse__ProduceBatchRequest *in)
{
    for (size_t i = 0; i < in->n_records; i++) {
        const Streamhouse__Record *r = in->records[i];
        struct new_header *h = PUT_RECORD(job, i, r, r->key.len > 0);
        if (!h)
            return false;
        for (size_t k = 0; k < r->n_headers; k++)
            h[k] =
                (struct new_header){slice_str(r->headers[k]->key), slice_str(r->headers[k]->value)};
        take_time(job, i, r->timestamp);
    }
    return true;
}

static bool refuse_transaction(struct grpc_call *c, bool has)
{
    if (has)
        grpc_fail(c, GRPC_UNIMPLEMENTED, "transactions are not supported yet");
    return has;
}

void grpc_streamhouse_produce_batch(struct grpc_call *c)
{
    const Streamhouse__ProduceBatchRequest *in =
        (const Streamhouse__ProduceBatchRequest *)c->request;
    bool has_id =
        in->_producer_id_case == STREAMHOUSE__PRODUCE_BATCH_REQUEST___PRODUCER_ID_PRODUCER_ID;
    struct producer_fields producer = {
        .id = has_id ? in->producer_id : NULL,
        .epoch = in->_producer_epoch_case ? in->producer_epoch : 0,
        .sequence = in->_base_sequence_case ? in->base_sequence : 0,
    };
    if (refuse_transaction(c, in->_transaction_id_case != 0))
        return;
    struct produce_job *job = job_of(c, in->topic, in->partition, in->n_records);
    if (!job || !put_batch(job, in) || !take_producer(job, &producer))
        return;
    job->x.acks = acks_of((int)in->ack_mode);
    job->x.done = batch_produced;
    publisher_take(c->shard->publisher, &job->x);
}

/* ---- ProducerService/Produce ----------------------------------------------------------------- */

static void service_produced(struct publish *x)
{
    struct produce_job *job = SL_CONTAINER_OF(x, struct produce_job, x);
    Streamhouse__Producer__ProduceResponse out = STREAMHOUSE__PRODUCER__PRODUCE_RESPONSE__INIT;
    if (!is_stored(job))
        return;
    out.base_offset = offset_of(x->first_offset);
    out.record_count = x->n_records;
    out.duplicates_filtered = x->duplicate;
    grpc_reply(job->c, &out.base);
}

static bool put_service_batch(struct produce_job *job,
                              const Streamhouse__Producer__ProduceRequest *in)
{
    for (size_t i = 0; i < in->n_records; i++) {
        const Streamhouse__Producer__ProduceRequest__Record *r = in->records[i];
        struct new_header *h = PUT_RECORD(job, i, r, r->_key_case != 0);
        if (!h)
            return false;
        for (size_t k = 0; k < r->n_headers; k++)
            h[k] = (struct new_header){slice_str(r->headers[k]->key),
                                       grpc_bytes(r->headers[k]->value)};
        take_time(job, i, r->timestamp);
    }
    return true;
}

void grpc_producer_produce(struct grpc_call *c)
{
    const Streamhouse__Producer__ProduceRequest *in =
        (const Streamhouse__Producer__ProduceRequest *)c->request;
    struct producer_fields producer = {
        .id = in->_producer_id_case ? in->producer_id : NULL,
        .epoch = in->_producer_epoch_case ? in->producer_epoch : 0,
        .sequence = in->_base_sequence_case ? in->base_sequence : 0,
    };
    if (refuse_transaction(c, in->_transaction_id_case != 0))
        return;
    struct produce_job *job = job_of(c, in->topic, in->partition, in->n_records);
    if (!job || !put_service_batch(job, in) || !take_producer(job, &producer))
        return;
    job->x.acks = acks_of((int)in->ack_mode);
    job->x.done = service_produced;
    publisher_take(c->shard->publisher, &job->x);
}
