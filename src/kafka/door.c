#include "base/alloc.h"
#include "base/log.h"
#include "kafka/kafka_int.h"

enum {
    BACKLOG = 1024,
    SCRATCH_BYTES = 65536,
    ARENA_BYTES_MAX = 64 << 20, /* of one shard's requests, decoded */
    ARENA_KEPT_BYTES_MAX = 16384,
};

/* ---- what is served ----------------------------------------------------------------------------
 */

const struct kafka_route *kafka__route(const struct kafka_door *door, int16_t key)
{
    if (key < 0 || (size_t)key >= SL_ARRAY_LEN(door->by_key))
        return NULL;
    return door->by_key[key];
}

static void index_routes(struct kafka_door *door)
{
    for (size_t i = 0; i < door->n_routes; i++) {
        const struct kafka_route *route = &door->routes[i];
        const struct kafka_api *api = kafka_api(route->key);
        SL_ASSERT(api);
        SL_ASSERT(route->first_version >= api->request->first_version);
        SL_ASSERT(route->last_version <= api->last_version);
        SL_ASSERT((size_t)route->key < SL_ARRAY_LEN(door->by_key));
        door->by_key[route->key] = route;
    }
}

/* ---- shards
 * --------------------------------------------------------------------------------------- */

struct arena *kafka__arena_get(struct kafka_shard *s)
{
    if (s->n_arenas > 0)
        return s->arenas[--s->n_arenas];
    return arena_new(&s->arena_budget);
}

void kafka__arena_put(struct kafka_shard *s, struct arena *a)
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

static void shard_release(struct kafka_shard *s)
{
    kafka__memory_unwatch(s);
    timer_stop(&s->stop_timer);
    timer_stop(&s->starved_timer);
    block_unref(s->spare);
    sl_free(s->scratch);
    while (s->n_arenas > 0)
        arena_free(s->arenas[--s->n_arenas]);
    s->spare = NULL;
    s->scratch = NULL;
}

/* On the listener's loop. */
static void on_shard_stopped(struct task *t)
{
    struct kafka_shard *s = SL_CONTAINER_OF(t, struct kafka_shard, stopped_task);
    struct kafka_door *door = s->door;
    if (++door->n_stopped == door->n_shards)
        door->on_stopped(door->on_stopped_arg);
}

void kafka__shard_check(struct kafka_shard *s)
{
    if (!s->stopping || s->is_reported || s->n_pending > 0 || !list_empty(&s->conns))
        return;
    s->is_reported = true;
    shard_release(s);
    loop_post(s->door->shards[0].loop, &s->stopped_task);
}

static void for_all_conns(struct kafka_shard *s, void (*fn)(struct kafka_conn *c))
{
    LIST_FOREACH_SAFE(node, &s->conns)
    fn(SL_CONTAINER_OF(node, struct kafka_conn, node));
}

static void on_stop_timeout(struct timer *t)
{
    for_all_conns(SL_CONTAINER_OF(t, struct kafka_shard, stop_timer), kafka__conn_close);
}

static void on_stop(struct task *t)
{
    struct kafka_shard *s = SL_CONTAINER_OF(t, struct kafka_shard, stop_task);
    s->stopping = true;
    timer_start(&s->stop_timer, s->door->stop_timeout_ms);
    for_all_conns(s, kafka__conn_stop);
    kafka__shard_check(s);
}

static void shard_init(struct kafka_door *door, struct kafka_shard *s, struct loop *loop)
{
    s->door = door;
    s->loop = loop;
    list_init(&s->conns);
    list_init(&s->silent);
    list_init(&s->unfinished);
    list_init(&s->stalled);
    s->scratch = sl_alloc(1, SCRATCH_BYTES);
    s->arena_budget.max = ARENA_BYTES_MAX;
    s->stop_task.run = on_stop;
    s->stopped_task.run = on_shard_stopped;
    timer_init(&s->stop_timer, loop, on_stop_timeout);
    timer_init(&s->starved_timer, loop, kafka__conn_on_starved);
    s->counters = sl_new_array(struct kafka_counters, door->n_routes);
    kafka__memory_watch(door->memory, s);
}

/* ---- accepting
 * ------------------------------------------------------------------------------------- */

static struct loop *pick_loop(void *arg)
{
    struct kafka_door *door = arg;
    return door->shards[door->next_shard++ % door->n_shards].loop;
}

static struct kafka_shard *shard_of(struct kafka_door *door, const struct loop *loop)
{
    for (size_t i = 0; i < door->n_shards; i++)
        if (door->shards[i].loop == loop)
            return &door->shards[i];
    SL_UNREACHABLE();
}

/* Full: the oldest connection that never sent anything makes room (K13). */
static bool make_room(struct kafka_shard *s)
{
    size_t max = s->door->cfg.connections_max / s->door->n_shards;
    if (s->door->cfg.connections_max == 0 || atomic_load(&s->n_conns) < SL_MAX(max, (size_t)1))
        return true;
    if (list_empty(&s->silent))
        return false;
    kafka__conn_refuse(SL_CONTAINER_OF(s->silent.next, struct kafka_conn, silent_node),
                       "made room for another connection: it had sent nothing");
    return true;
}

static void refuse_new(struct kafka_shard *s, struct tcp_conn *tcp)
{
    kafka__count(&s->n_refused, 1);
    if (!log_rate_limited("kafka.refused_new")) {
        char peer[ADDR_TEXT_BYTES];
        tcp_conn_peer(tcp, peer);
        LOG_WARN("kafka.refused_new", "closed a new connection of the Kafka listener",
                 F_STR("peer", peer),
                 F_STR("reason", s->stopping ? "the server stops" : "as many are open as may be"));
    }
    tcp_conn_close(tcp);
}

static void on_accept(void *arg, struct tcp_conn *tcp)
{
    struct kafka_shard *s = shard_of(arg, tcp_conn_loop(tcp));
    if (!s->stopping && make_room(s)) {
        kafka__conn_accept(s, tcp);
    } else {
        refuse_new(s, tcp);
    }
}

/* ---- start and stop
 * ---------------------------------------------------------------------------------- */

static struct kafka_door_cfg with_defaults(const struct kafka_door_cfg *given)
{
    struct kafka_door_cfg cfg = *given;
    cfg.frame_bytes_max = cfg.frame_bytes_max ? cfg.frame_bytes_max : 100 << 20;
    cfg.request_bytes_max = cfg.request_bytes_max ? cfg.request_bytes_max : 48 << 20;
    cfg.answer_bytes_max = cfg.answer_bytes_max ? cfg.answer_bytes_max : 4 << 20;
    cfg.pipelined_max = cfg.pipelined_max ? cfg.pipelined_max : 1000;
    cfg.request_timeout_ms = cfg.request_timeout_ms ? cfg.request_timeout_ms : 10000;
    return cfg;
}

/* NOLINTNEXTLINE(readability-function-size): see kafka_int.h */
sl_err kafka__door_start(const struct kafka_door_cfg *cfg, const struct kafka_route *routes,
                         size_t n_routes, struct broker *broker, struct loop *const *loops,
                         size_t n_loops, struct sl_fault *fault, struct kafka_door **ret)
{
    SL_ASSERT(n_loops > 0);
    SL_ASSERT(n_routes <= KAFKA_APIS_MAX);
    struct kafka_door *door = sl_new(struct kafka_door);
    door->cfg = with_defaults(cfg);
    door->broker = broker;
    door->routes = routes;
    door->n_routes = n_routes;
    index_routes(door);
    door->memory = kafka__memory_new(door->cfg.request_bytes_max);
    door->n_shards = n_loops;
    door->shards = sl_new_array(struct kafka_shard, n_loops);
    for (size_t i = 0; i < n_loops; i++)
        shard_init(door, &door->shards[i], loops[i]);
    struct tcp_listen_opts opts = {.addr = door->cfg.addr,
                                   .backlog = BACKLOG,
                                   .arg = door,
                                   .on_accept = on_accept,
                                   .pick_loop = pick_loop};
    sl_err err = tcp_listen(loops[0], &opts, fault, &door->listener);
    if (err != SL_OK) {
        for (size_t i = 0; i < n_loops; i++)
            shard_release(&door->shards[i]);
        kafka_door_free(door);
        return err;
    }
    door->port = tcp_listener_port(door->listener);
    *ret = door;
    return SL_OK;
}

uint16_t kafka_door_port(const struct kafka_door *door)
{
    return door->port;
}

void kafka_door_stop(struct kafka_door *door, int64_t timeout_ms, void (*done)(void *arg),
                     void *arg)
{
    SL_ASSERT(loop_is_current(door->shards[0].loop));
    SL_ASSERT(!door->on_stopped);
    door->on_stopped = done;
    door->on_stopped_arg = arg;
    door->stop_timeout_ms = timeout_ms;
    tcp_listener_close(door->listener);
    door->listener = NULL;
    for (size_t i = 0; i < door->n_shards; i++)
        loop_post(door->shards[i].loop, &door->shards[i].stop_task);
}

void kafka_door_free(struct kafka_door *door)
{
    if (!door)
        return;
    for (size_t i = 0; i < door->n_shards; i++)
        sl_free(door->shards[i].counters);
    sl_free(door->shards);
    kafka__memory_unref(door->memory);
    sl_free(door);
}

/* ---- metrics
 * -------------------------------------------------------------------------------------------- */

static uint64_t peek(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_counters(struct kafka_api_metrics *ret, const struct kafka_counters *c)
{
    ret->requests += peek(&c->requests);
    ret->errors += peek(&c->errors);
    ret->request_bytes += peek(&c->request_bytes);
    ret->response_bytes += peek(&c->response_bytes);
    ret->latency_ns_sum += peek(&c->latency_ns_sum);
    for (size_t i = 0; i < KAFKA_LATENCY_BUCKETS; i++)
        ret->latency[i] += peek(&c->latency[i]);
}

void kafka_door_metrics(const struct kafka_door *door, struct kafka_door_metrics *ret)
{
    *ret = (struct kafka_door_metrics){.n_apis = door->n_routes,
                                       .request_bytes = kafka__memory_used(door->memory)};
    for (size_t i = 0; i < door->n_routes; i++) {
        ret->apis[i].key = door->routes[i].key;
        ret->apis[i].name = kafka_api(door->routes[i].key)->name;
    }
    for (size_t k = 0; k < door->n_shards; k++) {
        const struct kafka_shard *s = &door->shards[k];
        ret->connections += peek(&s->n_conns);
        ret->connections_total += peek(&s->n_accepted);
        ret->refused += peek(&s->n_refused);
        ret->requests_under_way += peek(&s->n_under_way);
        for (size_t i = 0; i < door->n_routes; i++)
            add_counters(&ret->apis[i], &s->counters[i]);
    }
}
