#include "base/alloc.h"
#include "grpc/grpc_int.h"
#include "grpc/publisher.h"

enum { BACKLOG = 1024, ARENA_KEPT_BYTES_MAX = 16384, CALLS_KEPT = 1024 };

/* ---- calls and their memory ------------------------------------------------------------------ */

struct arena *grpc__arena_get(struct grpc_shard *s)
{
    if (s->n_arenas > 0)
        return s->arenas[--s->n_arenas];
    return arena_new(&s->budget);
}

void grpc__arena_put(struct grpc_shard *s, struct arena *a)
{
    if (!a)
        return;
    if (s->n_arenas < SL_ARRAY_LEN(s->arenas) && arena_used(a) <= ARENA_KEPT_BYTES_MAX) {
        arena_reset(a);
        s->arenas[s->n_arenas++] = a;
    } else {
        arena_free(a);
    }
}

static struct grpc_call *take_call(struct grpc_shard *s)
{
    if (s->n_idle_calls == 0)
        return sl_new(struct grpc_call);
    s->n_idle_calls--;
    struct grpc_call *c = SL_CONTAINER_OF(list_pop_front(&s->idle_calls), struct grpc_call, node);
    *c = (struct grpc_call){0};
    return c;
}

struct grpc_call *grpc__call_new(struct grpc_shard *s)
{
    struct grpc_call *c = take_call(s);
    c->broker = s->door->broker;
    c->loop = s->loop;
    c->shard = s;
    c->arena = grpc__arena_get(s);
    c->own_who = principal_anonymous;
    c->who = &principal_anonymous;
    c->started_ns = loop_now_ns(s->loop);
    list_push_back(&s->calls, &c->node);
    s->n_calls++;
    grpc__count(&s->door->n_under_way, 1);
    return c;
}

static void count_call(const struct grpc_call *c)
{
    if (!c->method)
        return;
    struct grpc_counters *n = &c->shard->counters[c->method - grpc__methods];
    grpc__count(&n->calls[c->status], 1);
    grpc__count(&n->latency_ns_sum, (uint64_t)(loop_now_ns(c->loop) - c->started_ns));
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_RECYCLING 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define NO_RECYCLING 1
#endif
#ifdef NO_RECYCLING
enum { KEEPS_CALLS = 0 }; /* use after the end would be hidden */
#else
enum { KEEPS_CALLS = CALLS_KEPT };
#endif

static void keep_call(struct grpc_shard *s, struct grpc_call *c)
{
    if (s->n_idle_calls >= (size_t)KEEPS_CALLS) {
        sl_free(c);
        return;
    }
    s->n_idle_calls++;
    list_push_front(&s->idle_calls, &c->node);
}

void grpc__call_free(struct grpc_call *c)
{
    struct grpc_shard *s = c->shard;
    SL_ASSERT(c->answered);
    SL_ASSERT(!timer_running(&c->deadline));
    if (c->gone)
        *c->gone = true;
    count_call(c);
    grpc__drop_input(c);
    list_remove(&c->node);
    grpc__arena_put(s, c->arena);
    grpc__arena_put(s, c->scratch);
    http2_stream_free(c->stream);
    keep_call(s, c);
    s->n_calls--;
    grpc__count(&s->door->n_under_way, (uint64_t)-1);
}

/* ---- shards ---------------------------------------------------------------------------------- */

static void shard_release(struct grpc_shard *s)
{
    while (s->n_arenas > 0)
        arena_free(s->arenas[--s->n_arenas]);
    for (struct list *node; (node = list_pop_front(&s->idle_calls));)
        sl_free(SL_CONTAINER_OF(node, struct grpc_call, node));
    decoder_free(s->decoder);
    publisher_free(s->publisher);
    sl_free(s->counters);
}

static void on_stop(struct task *t)
{
    struct grpc_shard *s = SL_CONTAINER_OF(t, struct grpc_shard, stop_task);
    s->stopping = true;
    /* A handler may end its call, no other. */
    LIST_FOREACH_SAFE(node, &s->calls)
    {
        struct grpc_call *c = SL_CONTAINER_OF(node, struct grpc_call, node);
        if (c->started && c->stream_ops && c->stream_ops->on_stop && !c->answered)
            c->stream_ops->on_stop(c);
    }
}

static void shard_init(struct grpc_door *door, struct grpc_shard *s, struct loop *loop)
{
    s->door = door;
    s->loop = loop;
    list_init(&s->calls);
    list_init(&s->idle_calls);
    s->budget.max = door->cfg.request_bytes_max;
    s->decoder = decoder_new();
    s->publisher = publisher_new(door->broker, loop);
    s->counters = sl_new_array(struct grpc_counters, grpc__n_methods);
    s->stop_task.run = on_stop;
}

/* ---- start and stop -------------------------------------------------------------------------- */

static struct grpc_door_cfg with_defaults(const struct grpc_door_cfg *given)
{
    struct grpc_door_cfg cfg = *given;
    cfg.message_bytes_max = cfg.message_bytes_max ? cfg.message_bytes_max : 5 << 20;
    cfg.payload_bytes_max = cfg.payload_bytes_max ? cfg.payload_bytes_max : 4 << 20;
    cfg.request_bytes_max = cfg.request_bytes_max ? cfg.request_bytes_max : 48 << 20;
    cfg.connections_max = cfg.connections_max ? cfg.connections_max : 10000;
    cfg.streams_max = cfg.streams_max ? cfg.streams_max : 1000;
    cfg.stream_window_bytes = cfg.stream_window_bytes ? cfg.stream_window_bytes : 1 << 20;
    cfg.conn_window_bytes = cfg.conn_window_bytes ? cfg.conn_window_bytes : 4 << 20;
    cfg.keepalive_timeout_ms = cfg.keepalive_timeout_ms ? cfg.keepalive_timeout_ms : 20000;
    return cfg;
}

sl_err grpc_door_start(const struct grpc_door_cfg *cfg, struct broker *broker,
                       struct loop *const *loops, size_t n_loops, struct sl_fault *fault,
                       struct grpc_door **ret)
{
    SL_ASSERT(n_loops > 0);
    struct grpc_door *door = sl_new(struct grpc_door);
    door->cfg = with_defaults(cfg);
    door->broker = broker;
    door->n_shards = n_loops;
    door->shards = sl_new_array(struct grpc_shard, n_loops);
    for (size_t i = 0; i < n_loops; i++)
        shard_init(door, &door->shards[i], loops[i]);
    struct http2_server_opts opts = {
        .addr = door->cfg.addr,
        .backlog = BACKLOG,
        .loops = loops,
        .n_loops = n_loops,
        .ops = &grpc__http2_ops,
        .arg = door,
        .connections_max = door->cfg.connections_max,
        .streams_max = door->cfg.streams_max,
        .stream_window_bytes = door->cfg.stream_window_bytes,
        .conn_window_bytes = door->cfg.conn_window_bytes,
        .keepalive_ms = door->cfg.keepalive_ms,
        .keepalive_timeout_ms = door->cfg.keepalive_timeout_ms,
    };
    sl_err err = http2_server_start(&opts, fault, &door->http2);
    if (err != SL_OK) {
        grpc_door_free(door);
        return err;
    }
    *ret = door;
    return SL_OK;
}

uint16_t grpc_door_port(const struct grpc_door *door)
{
    return http2_server_port(door->http2);
}

void grpc_door_stop(struct grpc_door *door, int64_t drain_ms, void (*done)(void *arg), void *arg)
{
    SL_ASSERT(loop_is_current(door->shards[0].loop));
    for (size_t i = 0; i < door->n_shards; i++)
        loop_post(door->shards[i].loop, &door->shards[i].stop_task);
    http2_server_stop(door->http2, drain_ms, done, arg);
}

void grpc_door_free(struct grpc_door *door)
{
    if (!door)
        return;
    for (size_t i = 0; i < door->n_shards; i++)
        shard_release(&door->shards[i]);
    http2_server_free(door->http2);
    sl_free(door->shards);
    sl_free(door);
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void add_counters(struct grpc_method_metrics *ret, const struct grpc_counters *n)
{
    for (size_t i = 0; i < GRPC_STATUSES; i++)
        ret->calls[i] += atomic_load_explicit(&n->calls[i], memory_order_relaxed);
    ret->latency_ns_sum += atomic_load_explicit(&n->latency_ns_sum, memory_order_relaxed);
}

void grpc_door_metrics(const struct grpc_door *door, struct grpc_door_metrics *ret)
{
    struct http2_metrics h;
    http2_server_metrics(door->http2, &h);
    *ret = (struct grpc_door_metrics){.connections = h.connections,
                                      .connections_total = h.connections_total,
                                      .refused = h.refused,
                                      .calls_under_way = atomic_load(&door->n_under_way),
                                      .n_methods = grpc__n_methods};
    for (size_t i = 0; i < grpc__n_methods; i++) {
        ret->methods[i].service = grpc__methods[i].service;
        ret->methods[i].method = grpc__methods[i].name;
        for (size_t k = 0; k < door->n_shards; k++)
            add_counters(&ret->methods[i], &door->shards[k].counters[i]);
    }
}
