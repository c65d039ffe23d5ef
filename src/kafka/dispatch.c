#include "base/byteorder.h"
#include "kafka/kafka_int.h"

/* The first bytes of every request, whatever its version. */
enum { AT_KEY = 0, AT_VERSION = 2, AT_CORRELATION_ID = 4 };

static int16_t key_of(struct slice frame)
{
    return (int16_t)get_be16(frame.data + AT_KEY);
}

static int16_t version_of(struct slice frame)
{
    return (int16_t)get_be16(frame.data + AT_VERSION);
}

bool kafka__is_full(const struct kafka_conn *c)
{
    return c->answer_bytes + tcp_conn_queued_bytes(c->tcp) >= c->shard->door->cfg.answer_bytes_max;
}

bool kafka__may_dispatch(const struct kafka_conn *c)
{
    return c->n_waiting == 0 && c->n_pending < c->shard->door->cfg.pipelined_max &&
           !kafka__is_full(c);
}

static bool is_served(const struct kafka_route *route, int16_t version)
{
    return route && version >= route->first_version && version <= route->last_version;
}

/* Header and body into p; the text of what is wrong, or NULL. */
static const char *decode(struct kafka_pending *p)
{
    struct kafka_request *r = &p->r;
    struct reader in = reader_over(r->frame, r->arena, kafka_alloc_max(r->frame.len));
    struct kafka_request_header header;
    kafka_request_header_message.decode(&in, kafka_request_header_version(p->api, r->api_version),
                                        &header);
    r->client_id = header.client_id;
    void *body = arena_alloc(r->arena, 1, p->api->request->size);
    if (!body)
        return "no memory for the request";
    p->api->request->decode(&in, r->api_version, body);
    r->in = body;
    /* Bytes behind the last field are let be, as Kafka does: librdkafka 2.15 leaves some behind a
     * Metadata request of no topics. */
    return reader_ok(&in) ? NULL : in.err_what;
}

static struct kafka_pending *pending_new(struct kafka_conn *c, struct arena *arena,
                                         const struct kafka_route *route, struct slice frame)
{
    struct kafka_pending *p = arena_alloc(arena, 1, sizeof *p);
    if (!p)
        return NULL;
    p->r.conn = c;
    p->r.broker = c->shard->door->broker;
    p->r.loop = c->shard->loop;
    p->r.who = &principal_anonymous;
    p->r.arena = arena;
    p->r.frame = frame;
    p->r.api_key = route->key;
    p->r.api_version = version_of(frame);
    p->r.correlation_id = (int32_t)get_be32(frame.data + AT_CORRELATION_ID);
    p->r.received_ns = loop_now_ns(c->shard->loop);
    p->route = route;
    p->api = kafka_api(route->key);
    return p;
}

static void start(struct kafka_conn *c, struct kafka_pending *p)
{
    struct kafka_shard *s = c->shard;
    struct kafka_counters *counters = &s->counters[p->route - s->door->routes];
    kafka__count(&counters->requests, 1);
    kafka__count(&counters->request_bytes, p->r.frame.len);
    kafka__count(&s->n_under_way, 1);
    s->n_pending++;
    c->n_pending++;
    if (!(p->route->flags & KAFKA_CONCURRENT))
        c->n_waiting++;
    list_push_back(&c->pending, &p->node);
    if (p->r.api_key == KAFKA_API_PRODUCE && p->r.api_version < p->api->first_version)
        kafka__refuse_old_produce(&p->r);
    else
        p->route->handler(&p->r);
}

static void refuse(struct kafka_conn *c, struct arena *arena, struct slice frame,
                   const char *reason)
{
    int16_t key = key_of(frame), version = version_of(frame);
    kafka__arena_put(c->shard, arena);
    slice_unref(&frame);
    kafka__conn_refuse_request(c, key, version, reason);
}

void kafka__dispatch(struct kafka_conn *c, struct slice frame)
{
    SL_ASSERT(loop_is_current(c->shard->loop));
    SL_ASSERT(frame.len >= AT_CORRELATION_ID + sizeof(int32_t)); /* conn.c refuses less */
    SL_ASSERT(kafka__may_dispatch(c));
    const struct kafka_route *route = kafka__route(c->shard->door, key_of(frame));
    bool served = is_served(route, version_of(frame));
    if (!served && (!route || route->key != KAFKA_API_API_VERSIONS)) {
        refuse(c, NULL, frame, route ? "this version is not served" : "this API is not served");
        return;
    }
    struct arena *arena = kafka__arena_get(c->shard);
    struct kafka_pending *p = pending_new(c, arena, route, frame);
    /* ApiVersions of a version of the future has no `in`: its handler says what there is. */
    const char *wrong = !p ? "no memory for the request" : served ? decode(p) : NULL;
    if (wrong)
        refuse(c, arena, frame, wrong);
    else
        start(c, p);
}

void kafka__pending_cancel(struct kafka_conn *c)
{
    /* A canceled call may answer at once: the list is read anew, and the hold keeps c alive. */
    c->n_pending++;
    bool again = true;
    while (again) {
        again = false;
        LIST_FOREACH (node, &c->pending) {
            struct kafka_pending *p = SL_CONTAINER_OF(node, struct kafka_pending, node);
            if (!p->r.waiting || p->is_canceled)
                continue;
            p->is_canceled = true;
            broker_cancel(p->r.waiting);
            again = true;
            break;
        }
    }
    c->n_pending--;
}
