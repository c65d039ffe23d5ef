#include "base/alloc.h"
#include "http/http2_int.h"

/* ---- loops ----------------------------------------------------------------------------------- */

static void loop_release(struct http2_loop *l)
{
    timer_stop(&l->drain);
    sl_free(l->in);
    sl_free(l->out);
    sl_free(l->spare_head);
    l->in = l->out = NULL;
    l->spare_head = NULL;
}

/* On loops[0]. */
static void on_loop_stopped(struct task *t)
{
    struct http2_server *s = SL_CONTAINER_OF(t, struct http2_loop, stopped_task)->server;
    if (++s->n_stopped == s->opts.n_loops)
        s->on_stopped(s->on_stopped_arg);
}

void http2__loop_check(struct http2_loop *l)
{
    if (!l->stopping || l->reported || l->n_conns > 0)
        return;
    l->reported = true;
    loop_release(l);
    loop_post(l->server->loops[0].loop, &l->stopped_task);
}

static void on_drain_over(struct timer *t)
{
    struct http2_loop *l = SL_CONTAINER_OF(t, struct http2_loop, drain);
    LIST_FOREACH_SAFE(node, &l->conns)
    http2__conn_close(SL_CONTAINER_OF(node, struct http2_conn, node));
}

static void on_stop(struct task *t)
{
    struct http2_loop *l = SL_CONTAINER_OF(t, struct http2_loop, stop_task);
    l->stopping = true;
    timer_start(&l->drain, l->server->drain_ms);
    LIST_FOREACH_SAFE(node, &l->conns)
    http2__conn_drain(SL_CONTAINER_OF(node, struct http2_conn, node));
    http2__loop_check(l);
}

static void loop_init(struct http2_server *s, size_t index)
{
    struct http2_loop *l = &s->loops[index];
    l->server = s;
    l->loop = s->opts.loops[index];
    l->index = index;
    l->in = sl_alloc(1, HTTP2_IO_BYTES);
    l->out = sl_alloc(1, HTTP2_IO_BYTES);
    list_init(&l->conns);
    timer_init(&l->drain, l->loop, on_drain_over);
    l->stop_task.run = on_stop;
    l->stopped_task.run = on_loop_stopped;
}

/* ---- accepting ------------------------------------------------------------------------------- */

static struct loop *pick_loop(void *arg)
{
    struct http2_server *s = arg;
    return s->loops[s->next_loop++ % s->opts.n_loops].loop;
}

static struct http2_loop *loop_of(struct http2_server *s, const struct loop *loop)
{
    for (size_t i = 0; i < s->opts.n_loops; i++)
        if (s->loops[i].loop == loop)
            return &s->loops[i];
    SL_UNREACHABLE();
}

static void on_accept(void *arg, struct tcp_conn *tcp)
{
    struct http2_server *s = arg;
    struct http2_loop *l = loop_of(s, tcp_conn_loop(tcp));
    size_t max = SL_MAX(s->opts.connections_max / s->opts.n_loops, (size_t)1);
    if (!l->stopping && l->n_conns < max) {
        http2__conn_accept(l, tcp);
        return;
    }
    http2__count(&l->refused, 1);
    tcp_conn_close(tcp);
}

/* ---- start and stop -------------------------------------------------------------------------- */

sl_err http2_server_start(const struct http2_server_opts *opts, struct sl_fault *fault,
                          struct http2_server **ret)
{
    SL_ASSERT(opts->n_loops > 0);
    SL_ASSERT(opts->streams_max > 0);
    struct http2_server *s = sl_new(struct http2_server);
    s->opts = *opts;
    s->callbacks = http2__callbacks();
    s->option = http2__option();
    s->loops = sl_new_array(struct http2_loop, opts->n_loops);
    for (size_t i = 0; i < opts->n_loops; i++)
        loop_init(s, i);
    struct tcp_listen_opts listen = {.addr = opts->addr,
                                     .backlog = opts->backlog,
                                     .arg = s,
                                     .on_accept = on_accept,
                                     .pick_loop = pick_loop};
    sl_err err = tcp_listen(opts->loops[0], &listen, fault, &s->listener);
    if (err != SL_OK) {
        for (size_t i = 0; i < opts->n_loops; i++)
            loop_release(&s->loops[i]);
        http2_server_free(s);
        return err;
    }
    s->port = tcp_listener_port(s->listener);
    *ret = s;
    return SL_OK;
}

uint16_t http2_server_port(const struct http2_server *s)
{
    return s->port;
}

void http2_server_stop(struct http2_server *s, int64_t drain_ms, void (*done)(void *arg), void *arg)
{
    SL_ASSERT(loop_is_current(s->loops[0].loop));
    SL_ASSERT(!s->on_stopped);
    s->on_stopped = done;
    s->on_stopped_arg = arg;
    s->drain_ms = drain_ms;
    tcp_listener_close(s->listener);
    s->listener = NULL;
    for (size_t i = 0; i < s->opts.n_loops; i++)
        loop_post(s->loops[i].loop, &s->loops[i].stop_task);
}

void http2_server_free(struct http2_server *s)
{
    if (!s)
        return;
    nghttp2_session_callbacks_del(s->callbacks);
    nghttp2_option_del(s->option);
    sl_free(s->loops);
    sl_free(s);
}

static uint64_t peek(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void http2_server_metrics(const struct http2_server *s, struct http2_metrics *ret)
{
    *ret = (struct http2_metrics){0};
    for (size_t i = 0; i < s->opts.n_loops; i++) {
        const struct http2_loop *l = &s->loops[i];
        ret->connections += peek(&l->conns_now);
        ret->connections_total += peek(&l->conns_total);
        ret->refused += peek(&l->refused);
        ret->streams += peek(&l->streams_now);
        ret->streams_total += peek(&l->streams_total);
        ret->goaways += peek(&l->goaways);
    }
}
