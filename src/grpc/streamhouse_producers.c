/* Producers of both StreamHouse services: InitProducer, Heartbeat, and transactions, which are
 * refused. Ids are the core's, the ones that Kafka producers get, too. */
#include "base/byteorder.h"
#include "broker/admin.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/streamhouse.h"
#include "proto/producer.pb-c.h"
#include "proto/streamhouse.pb-c.h"

#include <stdio.h>

/* "sluice" and version 8, the one for what people make up themselves; variant 2. */
static const uint64_t id_high = 0x736c756963658000, id_variant = UINT64_C(2) << 62;

void streamhouse__print_producer(int64_t id, char ret[UUID_TEXT_BYTES])
{
    struct uuid u;
    SL_ASSERT(id >= 0 && ((uint64_t)id & (UINT64_C(3) << 62)) == 0);
    put_be64(u.bytes, id_high);
    put_be64(u.bytes + 8, id_variant | (uint64_t)id);
    uuid_format(&u, ret);
}

sl_err streamhouse__parse_producer(const char *text, int64_t *ret)
{
    struct uuid u;
    if (strlen(text) != UUID_TEXT_BYTES - 1)
        return SL_EINVAL;
    SL_TRY(uuid_parse(text, &u));
    uint64_t low = get_be64(u.bytes + 8);
    if (get_be64(u.bytes) != id_high || (low & (UINT64_C(3) << 62)) != id_variant)
        return SL_EINVAL;
    *ret = (int64_t)(low ^ id_variant);
    return SL_OK;
}

/* ---- InitProducer ---------------------------------------------------------------------------- */

struct init_job {
    struct broker_init_producer call;
    struct grpc_call *c;
};

static bool is_of_service(const struct grpc_call *c)
{
    return c->method->response == &streamhouse__producer__init_producer_response__descriptor;
}

static void reply_init(struct grpc_call *c, char *id, uint32_t epoch)
{
    Streamhouse__InitProducerResponse ours = STREAMHOUSE__INIT_PRODUCER_RESPONSE__INIT;
    Streamhouse__Producer__InitProducerResponse theirs =
        STREAMHOUSE__PRODUCER__INIT_PRODUCER_RESPONSE__INIT;
    ours.producer_id = theirs.producer_id = id;
    ours.epoch = theirs.epoch = epoch;
    grpc_reply(c, is_of_service(c) ? &theirs.base : &ours.base);
}

static void initialised(struct broker_call *b)
{
    struct init_job *job = SL_CONTAINER_OF(b, struct init_job, call.call);
    char id[UUID_TEXT_BYTES];
    if (job->call.err != SL_OK) {
        grpc_fail_err(job->c, job->call.err, NULL);
        return;
    }
    streamhouse__print_producer(job->call.producer_id, id);
    reply_init(job->c, id, (uint32_t)job->call.epoch);
}

static void init_producer(struct grpc_call *c, const char *transactional_id)
{
    if (transactional_id && *transactional_id) {
        grpc_fail(c, GRPC_UNIMPLEMENTED, "transactional producers are not supported yet");
        return;
    }
    struct init_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    broker_init_producer_init(&job->call);
    grpc_submit(c, &job->call.call, initialised);
}

void grpc_streamhouse_init_producer(struct grpc_call *c)
{
    const Streamhouse__InitProducerRequest *in =
        (const Streamhouse__InitProducerRequest *)c->request;
    init_producer(c, in->_transactional_id_case ? in->transactional_id : NULL);
}

void grpc_producer_init_producer(struct grpc_call *c)
{
    const Streamhouse__Producer__InitProducerRequest *in =
        (const Streamhouse__Producer__InitProducerRequest *)c->request;
    init_producer(c, in->_transactional_id_case ? in->transactional_id : NULL);
}

/* ---- Heartbeat ------------------------------------------------------------------------------- */

enum { HEARTBEAT_TEXT_BYTES = 128 };

/* A producer without transactions has no session that could expire and keeps its first epoch. True:
 * valid; else ret_text says why not. */
static bool judge(const char *id_text, uint32_t epoch, char ret_text[HEARTBEAT_TEXT_BYTES])
{
    int64_t id;
    if (streamhouse__parse_producer(id_text, &id) != SL_OK) {
        (void)snprintf(ret_text, HEARTBEAT_TEXT_BYTES, "Producer not found: %.64s", id_text);
        return false;
    }
    if (epoch != 0)
        (void)snprintf(ret_text, HEARTBEAT_TEXT_BYTES,
                       "Producer epoch mismatch: expected 0, got %u", epoch);
    return epoch == 0;
}

void grpc_streamhouse_heartbeat(struct grpc_call *c)
{
    const Streamhouse__HeartbeatRequest *in = (const Streamhouse__HeartbeatRequest *)c->request;
    Streamhouse__HeartbeatResponse out = STREAMHOUSE__HEARTBEAT_RESPONSE__INIT;
    char text[HEARTBEAT_TEXT_BYTES];
    out.valid = judge(in->producer_id, in->producer_epoch, text);
    if (!out.valid) {
        out._error_case = STREAMHOUSE__HEARTBEAT_RESPONSE___ERROR_ERROR;
        out.error = grpc_text(c, slice_str(text));
    }
    grpc_reply(c, &out.base);
}

void grpc_producer_heartbeat(struct grpc_call *c)
{
    const Streamhouse__Producer__HeartbeatRequest *in =
        (const Streamhouse__Producer__HeartbeatRequest *)c->request;
    Streamhouse__Producer__HeartbeatResponse out = STREAMHOUSE__PRODUCER__HEARTBEAT_RESPONSE__INIT;
    char text[HEARTBEAT_TEXT_BYTES];
    out.valid = judge(in->producer_id, in->producer_epoch, text);
    if (!out.valid) {
        out._error_case = STREAMHOUSE__PRODUCER__HEARTBEAT_RESPONSE___ERROR_ERROR;
        out.error = grpc_text(c, slice_str(text));
    }
    grpc_reply(c, &out.base);
}

void grpc_streamhouse_transaction(struct grpc_call *c)
{
    grpc_fail(c, GRPC_UNIMPLEMENTED, "transactions are not supported yet");
}
