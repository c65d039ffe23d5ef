#include "base/byteorder.h"
#include "base/log.h"
#include "kafka/kafka_int.h"
#include "kafka_codec/errors.h"

enum { LENGTH_BYTES = 4 };

const int64_t kafka_latency_bounds_ns[KAFKA_LATENCY_BUCKETS] = {
    50000,       100000,      200000,       500000,      1000000,     2000000,
    5000000,     10000000,    20000000,     50000000,    100000000,   200000000,
    500000000,   1000000000,  2000000000,   5000000000,  10000000000, 20000000000,
    30000000000, 60000000000, 120000000000, 300000000000};

static struct kafka_pending *pending_of(struct kafka_request *r)
{
    return SL_CONTAINER_OF(r, struct kafka_pending, r);
}

static size_t bucket_of(int64_t ns)
{
    size_t i = 0;
    while (i < KAFKA_LATENCY_BUCKETS - 1 && ns > kafka_latency_bounds_ns[i])
        i++;
    return i;
}

static void count_answer(struct kafka_pending *p)
{
    struct kafka_shard *s = p->r.conn->shard;
    struct kafka_counters *counters = &s->counters[p->route - s->door->routes];
    int64_t ns = clock_monotonic_ns(loop_clock(s->loop)) - p->r.received_ns;
    kafka__count(&counters->errors, p->out.errors);
    kafka__count(&counters->response_bytes, p->out.bytes);
    kafka__count(&counters->latency_ns_sum, (uint64_t)SL_MAX(ns, 0));
    kafka__count(&counters->latency[bucket_of(ns)], 1);
}

/* One line for what was refused with an error code, too: which client, and why. */
static void tell_bad_input(const struct kafka_pending *p)
{
    char peer[ADDR_TEXT_BYTES];
    if (!kafka__is_bad_input(p->out.first_error) || !p->r.conn->tcp ||
        log_rate_limited("kafka.request_refused"))
        return;
    tcp_conn_peer(p->r.conn->tcp, peer);
    LOG_INFO("kafka.request_refused", "a request was answered with an error", F_STR("peer", peer),
             F_STR("reason", kafka_error_name(p->out.first_error)), F_STR("api", p->api->name),
             F_I64("api_version", p->r.api_version));
}

/* ---- the queue of answers ----------------------------------------------------------------------
 */

static void send_answer(struct kafka_conn *c, struct kafka_pending *p)
{
    if (!c->closing && p->out.n_pieces > 0) {
        tcp_conn_write(c->tcp, p->out.pieces, p->out.n_pieces);
        p->out.n_pieces = 0; /* the references went with them */
    }
    SL_ASSERT(c->answer_bytes >= p->out.bytes);
    c->answer_bytes -= p->out.bytes;
    kafka_out_fini(&p->out);
}

/* Sends what is answered, from the head. */
static void flush(struct kafka_conn *c)
{
    struct kafka_shard *s = c->shard;
    while (!list_empty(&c->pending)) {
        struct kafka_pending *p = SL_CONTAINER_OF(c->pending.next, struct kafka_pending, node);
        if (!p->is_answered)
            return;
        list_remove(&p->node);
        send_answer(c, p);
        kafka__count(&s->n_under_way, (uint64_t)-1);
        SL_ASSERT(s->n_pending > 0);
        SL_ASSERT(c->n_pending > 0);
        s->n_pending--;
        c->n_pending--;
        kafka__arena_put(s, p->r.arena);
    }
}

/* The answer is encoded, or there is none. c may be gone afterwards. */
static void finish(struct kafka_pending *p)
{
    struct kafka_conn *c = p->r.conn;
    SL_ASSERT(!p->is_answered);
    p->is_answered = true;
    count_answer(p);
    tell_bad_input(p);
    slice_unref(&p->r.frame);
    c->answer_bytes += p->out.bytes;
    SL_ASSERT(c->n_waiting <= c->n_pending);
    if (!(p->route->flags & KAFKA_CONCURRENT))
        c->n_waiting--;
    flush(c);
    if (!c->tcp)
        kafka__conn_check(c);
    else if (c->shard->stopping)
        kafka__conn_stop(c);
    else
        kafka__conn_pump(c);
}

static sl_err encode(struct kafka_pending *p, int16_t version, const void *msg)
{
    struct kafka_out *out = &p->out;
    kafka_out_init(out, INT32_MAX);
    uint8_t *length = kafka_out_room(out, LENGTH_BYTES);
    struct kafka_response_header header = {.correlation_id = p->r.correlation_id};
    kafka_response_header_message.encode(out, kafka_response_header_version(p->api, version),
                                         &header);
    p->api->response->encode(out, version, msg);
    SL_TRY(kafka_out_finish(out));
    put_be32(length, (uint32_t)(out->bytes - LENGTH_BYTES));
    return SL_OK;
}

void kafka__reply_with(struct kafka_pending *p, int16_t version, const void *msg)
{
    SL_ASSERT(loop_is_current(p->r.loop));
    struct kafka_conn *c = p->r.conn;
    if (!c->closing && encode(p, version, msg) != SL_OK) {
        LOG_ERROR("kafka.answer_failed", "an answer does not fit in memory, closing the connection",
                  F_STR("api", p->api->name), F_I64("bytes", p->out.bytes));
        kafka_out_fini(&p->out);
        kafka__conn_close(c);
    }
    finish(p);
}

void kafka_reply(struct kafka_request *r, const void *out)
{
    kafka__reply_with(pending_of(r), r->api_version, out);
}

void kafka_reply_none(struct kafka_request *r)
{
    SL_ASSERT(loop_is_current(r->loop));
    finish(pending_of(r));
}

void kafka_reply_close(struct kafka_request *r, const char *reason)
{
    SL_ASSERT(loop_is_current(r->loop));
    if (r->conn->tcp)
        kafka__conn_refuse(r->conn, reason);
    finish(pending_of(r));
}

/* ---- what handlers ask for
 * ----------------------------------------------------------------------- */

void *kafka_alloc(struct kafka_request *r, size_t n, size_t size)
{
    void *p = arena_alloc(r->arena, n, size);
    if (!p)
        kafka_reply_close(r, "the request needs more memory than it may have");
    return p;
}

const char *kafka_text(struct kafka_request *r, struct slice text)
{
    const char *copy = arena_strndup(r->arena, text.data, text.len);
    if (!copy)
        kafka_reply_close(r, "the request needs more memory than it may have");
    return copy;
}

void kafka_local_address(struct kafka_request *r, const char **ret_host, int32_t *ret_port)
{
    const struct kafka_door_cfg *cfg = &r->conn->shard->door->cfg;
    char host[ADDR_TEXT_BYTES] = "";
    uint16_t port = 0;
    if (r->conn->tcp)
        tcp_conn_local(r->conn->tcp, host, &port);
    const char *copy = arena_strndup(r->arena, host, strlen(host));
    *ret_host = cfg->advertised_host ? cfg->advertised_host : copy ? copy : "";
    *ret_port = cfg->advertised_port ? cfg->advertised_port : port;
}
