#include "base/alloc.h"
#include "grpc_client/grpc_client_int.h"

#include <string.h>

enum { CONNECT_MS = 5000, MESSAGE_BYTES_MAX = 64 << 20 };

static void try_once(struct grpc_client *c);

static void end(struct grpc_client *c, sl_err why, const struct sl_fault *fault)
{
    SL_ASSERT(!c->closed);
    timer_stop(&c->timer);
    c->closed = true;
    c->ops->on_close(c->arg, why, fault);
}

/* ---- attempts -------------------------------------------------------------------------------- */

static void on_failed(struct grpc_client *c, sl_err why, const char *reason)
{
    struct sl_fault fault = {0};
    bool may_change = why != SL_EPROTO && why != SL_EINVAL && why != SL_EACCES;
    if (c->closing || !may_change || c->attempt >= c->cfg.retry.max_retries) {
        (void)sl_fault_set(&fault, why, "cannot connect to %.180s: %s", c->addr, reason);
        end(c, why, &fault);
        return;
    }
    timer_start(&c->timer, grpc_retry_backoff_ms(&c->cfg.retry, c->attempt++));
}

static void on_ready(void *arg)
{
    struct grpc_client *c = arg;
    timer_stop(&c->timer);
    c->ready = true;
    if (!c->closing)
        c->ops->on_ready(c->arg);
}

static void on_http2_close(void *arg, sl_err why)
{
    struct grpc_client *c = arg;
    struct sl_fault fault = {0};
    timer_stop(&c->timer);
    http2_client_free(SL_TAKE(c->http2));
    if (c->ready || c->closing) {
        (void)sl_fault_set(&fault, why, "the connection to %.180s was closed", c->addr);
        end(c, why, &fault);
    } else if (why == SL_EPROTO) {
        on_failed(c, why, "what answers there does not speak HTTP/2");
    } else {
        on_failed(c, why, "it closed the connection without a greeting");
    }
}

static const struct http2_client_ops http2_ops = {on_ready, on_http2_close};

static void on_connected(void *arg, struct tcp_conn *conn, sl_err err, int sys_errno)
{
    struct grpc_client *c = arg;
    c->connecting = false;
    if (!conn) {
        on_failed(c, err, sys_errno ? strerrordesc_np(sys_errno) : sl_err_text(err));
        return;
    }
    c->http2 = http2_client_new(conn, &http2_ops, c);
    if (c->closing)
        http2_client_close(c->http2);
    else
        timer_start(&c->timer, c->cfg.connect_timeout_ms);
}

static void on_timer(struct timer *t)
{
    struct grpc_client *c = SL_CONTAINER_OF(t, struct grpc_client, timer);
    if (c->http2)
        http2_client_close(c->http2); /* it does not greet */
    else
        try_once(c);
}

static void try_once(struct grpc_client *c)
{
    struct tcp_connect_opts opts = {
        .addr = c->addr, .timeout_ms = c->cfg.connect_timeout_ms, .arg = c, .done = on_connected};
    if (c->closing) {
        on_failed(c, SL_ECLOSED, "it was given up");
        return;
    }
    sl_err err = tcp_connect(c->loop, &opts);
    c->connecting = err == SL_OK;
    if (err != SL_OK)
        on_failed(c, err, err == SL_EINVAL ? "there is no such host or port" : sl_err_text(err));
}

/* ---- life ------------------------------------------------------------------------------------ */

sl_err grpc_client_open(struct loop *l, const struct grpc_client_cfg *cfg,
                        const struct grpc_client_ops *ops, void *arg, struct sl_fault *fault,
                        struct grpc_client **ret)
{
    char addr[GRPC_ADDR_BYTES];
    SL_ASSERT(loop_is_current(l));
    SL_TRY(grpc__endpoint(cfg->endpoint, fault, addr));
    struct grpc_client *c = sl_new(struct grpc_client);
    *c = (struct grpc_client){.loop = l, .cfg = *cfg, .ops = ops, .arg = arg};
    memcpy(c->addr, addr, sizeof addr);
    c->cfg.endpoint = NULL;
    if (!c->cfg.connect_timeout_ms)
        c->cfg.connect_timeout_ms = CONNECT_MS;
    if (!c->cfg.message_bytes_max)
        c->cfg.message_bytes_max = MESSAGE_BYTES_MAX;
    c->scratch = arena_new(NULL);
    buf_init(&c->out, MESSAGE_BYTES_MAX);
    timer_init(&c->timer, l, on_timer);
    timer_start(&c->timer, 0); /* so that no callback comes before this returns */
    *ret = c;
    return SL_OK;
}

void grpc_client_close(struct grpc_client *c)
{
    if (c->closed || c->closing)
        return;
    c->closing = true;
    if (c->http2)
        http2_client_close(c->http2);
    else if (!c->connecting)
        timer_start(&c->timer, 0);
}

void grpc_client_free(struct grpc_client *c)
{
    if (!c)
        return;
    SL_ASSERT(c->closed);
    SL_ASSERT(!c->http2);
    arena_free(c->scratch);
    buf_fini(&c->out);
    sl_free(c);
}
