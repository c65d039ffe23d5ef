/* sluice.v1.Sluice/Publish and BatchPublish. */
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/publish_call.h"
#include "record/message_id.h"

enum { BATCH_MESSAGES_MAX = 1000 };

struct publish_job {
    struct publish x;
    struct grpc_call *call;
    struct new_record record; /* of Publish */
};

/* For the producer of an idempotent publish; false: the call has been ended. */
static bool take_producer(struct grpc_call *c, struct publish *x, int64_t id, uint32_t epoch,
                          int32_t sequence)
{
    if (id < 0 || epoch > INT16_MAX || sequence < 0) {
        grpc_fail(c, GRPC_INVALID_ARGUMENT,
                  "producer_id, producer_epoch or producer_sequence is out of range");
        return false;
    }
    x->own_batch = true;
    x->producer = (struct batch_producer){id, (int16_t)epoch, sequence};
    return true;
}

static bool take_partition(struct grpc_call *c, struct publish *x, uint32_t partition)
{
    if (partition > INT32_MAX)
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "the topic has no such partition");
    else
        x->partition = (int32_t)partition;
    return partition <= INT32_MAX;
}

static struct publish_job *job_of(struct grpc_call *c, const char *topic)
{
    struct publish_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return NULL;
    job->call = c;
    job->x = (struct publish){.who = c->who,
                              .topic = slice_str(topic),
                              .partition = -1,
                              .producer = batch_producer_none,
                              .acks = -1,
                              .create = true};
    return job;
}

static void print_id(const struct publish *x, uint32_t i, char ret[UUID_TEXT_BYTES])
{
    struct message_id id = {.timestamp_ms = x->timestamp_ms,
                            .topic_number = x->topic_number,
                            .partition = x->partition,
                            .offset = x->first_offset + i};
    message_id_format(&id, ret);
}

/* A repeat that is older than what the log remembers of its producer has no offset. */
static bool has_place(struct grpc_call *c, const struct publish *x)
{
    bool has = x->err == SL_OK && x->first_offset >= 0;
    if (x->err != SL_OK)
        publish__fail(c, x);
    else if (!has)
        grpc_fail(c, GRPC_ALREADY_EXISTS, "stored before; where is no longer known");
    return has; /* x may be gone */
}

/* ---- Publish --------------------------------------------------------------------------------- */

static void published(struct publish *x)
{
    struct publish_job *job = SL_CONTAINER_OF(x, struct publish_job, x);
    Sluice__V1__PublishResponse out = SLUICE__V1__PUBLISH_RESPONSE__INIT;
    char id[UUID_TEXT_BYTES];
    if (!has_place(job->call, x))
        return;
    print_id(x, 0, id);
    out.message_id = id;
    out.sequence = (uint64_t)x->first_offset + 1;
    out.timestamp = x->timestamp_ms;
    if (x->n_partitions > 1) {
        out._partition_case = SLUICE__V1__PUBLISH_RESPONSE___PARTITION_PARTITION;
        out.partition = (uint32_t)x->partition;
    }
    grpc_reply(job->call, &out.base);
}

void grpc_handle_publish(struct grpc_call *c)
{
    const Sluice__V1__PublishRequest *in = (const Sluice__V1__PublishRequest *)c->request;
    bool has_key = in->_key_case == SLUICE__V1__PUBLISH_REQUEST___KEY_KEY;
    struct publish_message m = {.payload = in->payload,
                                .key = has_key ? &in->key : NULL,
                                .tombstone = in->tombstone,
                                .attributes = (void **)in->attributes,
                                .n_attributes = in->n_attributes,
                                .headers = in->headers,
                                .n_headers = in->n_headers};
    if (!publish__topic_holds(c, in->topic) || !publish__payload_holds(c, in->payload.len))
        return;
    struct publish_job *job = job_of(c, in->topic);
    if (!job || !publish__record(c, &m, &job->record))
        return;
    job->x.records = &job->record;
    job->x.n_records = 1;
    job->x.done = published;
    if (in->_partition_case == SLUICE__V1__PUBLISH_REQUEST___PARTITION_PARTITION &&
        !take_partition(c, &job->x, in->partition))
        return;
    if (in->_producer_id_case == SLUICE__V1__PUBLISH_REQUEST___PRODUCER_ID_PRODUCER_ID &&
        !take_producer(c, &job->x, in->producer_id, in->producer_epoch, in->producer_sequence))
        return;
    publisher_take(c->shard->publisher, &job->x);
}

/* ---- BatchPublish ---------------------------------------------------------------------------- */

struct batch_result {
    Sluice__V1__PublishResult result;
    char id[UUID_TEXT_BYTES];
};

static void batch_published(struct publish *x)
{
    struct grpc_call *c = SL_CONTAINER_OF(x, struct publish_job, x)->call;
    Sluice__V1__BatchPublishResponse out = SLUICE__V1__BATCH_PUBLISH_RESPONSE__INIT;
    if (!has_place(c, x))
        return;
    struct batch_result *results = grpc_alloc(c, x->n_records, sizeof *results);
    if (!results)
        return;
    out.results = grpc_alloc(c, x->n_records, sizeof(void *));
    if (!out.results)
        return;
    for (uint32_t i = 0; i < x->n_records; i++) {
        sluice__v1__publish_result__init(&results[i].result);
        print_id(x, i, results[i].id);
        results[i].result.message_id = results[i].id;
        results[i].result.sequence = (uint64_t)x->first_offset + i + 1;
        out.results[i] = &results[i].result;
    }
    out.n_results = x->n_records;
    out.timestamp = x->timestamp_ms;
    if (x->n_partitions > 1) {
        out._partition_case = SLUICE__V1__BATCH_PUBLISH_RESPONSE___PARTITION_PARTITION;
        out.partition = (uint32_t)x->partition;
    }
    grpc_reply(c, &out.base);
}

static bool take_messages(struct grpc_call *c, const Sluice__V1__BatchPublishRequest *in,
                          struct new_record *ret)
{
    for (size_t i = 0; i < in->n_messages; i++) {
        const Sluice__V1__BatchMessage *b = in->messages[i];
        bool has_key = b->_key_case == SLUICE__V1__BATCH_MESSAGE___KEY_KEY;
        struct publish_message m = {.payload = b->payload,
                                    .key = has_key ? &b->key : NULL,
                                    .tombstone = b->tombstone,
                                    .attributes = (void **)b->attributes,
                                    .n_attributes = b->n_attributes,
                                    .headers = b->headers,
                                    .n_headers = b->n_headers};
        if (!publish__payload_holds(c, b->payload.len) || !publish__record(c, &m, &ret[i]))
            return false;
    }
    return true;
}

static bool batch_size_holds(struct grpc_call *c, size_t n)
{
    if (n == 0)
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "batch must contain at least one message");
    else if (n > BATCH_MESSAGES_MAX)
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "batch too large: %zu messages (max %d messages)", n,
                  BATCH_MESSAGES_MAX);
    return n > 0 && n <= BATCH_MESSAGES_MAX;
}

void grpc_handle_batch_publish(struct grpc_call *c)
{
    const Sluice__V1__BatchPublishRequest *in = (const Sluice__V1__BatchPublishRequest *)c->request;
    if (!publish__topic_holds(c, in->topic) || !batch_size_holds(c, in->n_messages))
        return;
    struct publish_job *job = job_of(c, in->topic);
    if (!job)
        return;
    job->x.records = grpc_alloc(c, in->n_messages, sizeof *job->x.records);
    if (!job->x.records || !take_messages(c, in, job->x.records))
        return;
    job->x.n_records = (uint32_t)in->n_messages;
    job->x.own_batch = true;
    job->x.done = batch_published;
    if (in->_partition_case == SLUICE__V1__BATCH_PUBLISH_REQUEST___PARTITION_PARTITION &&
        !take_partition(c, &job->x, in->partition))
        return;
    if (in->_producer_id_case == SLUICE__V1__BATCH_PUBLISH_REQUEST___PRODUCER_ID_PRODUCER_ID &&
        !take_producer(c, &job->x, in->producer_id, in->producer_epoch, in->producer_sequence))
        return;
    publisher_take(c->shard->publisher, &job->x);
}
