#include "ctl/grpc.h"

#include "ctl/output.h"

#include <stdlib.h>

static int open_client(struct ctl_grpc *g);

static const char *endpoint_of(const struct ctl *c)
{
    const char *environment = secure_getenv("SLUICE_ENDPOINT");
    return ctl_text(c, "endpoint", environment ? environment : "http://localhost:50051");
}

int ctl_grpc_refused(const struct ctl *c, const char *what, enum grpc_status status,
                     const char *text)
{
    (void)ctl_fail(c, "%s: %s%s%s", what, grpc_client_status_name(status), *text ? ": " : "", text);
    return status == GRPC_UNAVAILABLE ? CTL_UNREACHABLE : CTL_FAILED;
}

int ctl_pairs(struct ctl *c, const char *option, struct ctl_pair **ret, size_t *ret_n)
{
    size_t n = 0;
    while (ctl_list(c, option, n))
        n++;
    struct ctl_pair *pairs = ctl_alloc(c, n + 1, sizeof *pairs);
    for (size_t i = 0; i < n; i++) {
        const char *text = ctl_list(c, option, i);
        size_t len = strcspn(text, "=");
        if (!text[len] || len == 0)
            return ctl_usage(c, "--%s %s: write it as NAME=VALUE", option, text);
        pairs[i].name = arena_strndup(c->arena, text, len);
        pairs[i].value = arena_strndup(c->arena, text + len + 1, strlen(text + len + 1));
    }
    *ret = pairs;
    *ret_n = n;
    return CTL_OK;
}

/* ---- connection ------------------------------------------------------------------------------ */

static void on_ready(void *arg)
{
    struct ctl_grpc *g = arg;
    if (!g->finished)
        g->on_ready(g);
}

static void on_retry(struct timer *t)
{
    struct ctl_grpc *g = SL_CONTAINER_OF(t, struct ctl_grpc, retry);
    if (g->finished || open_client(g) != CTL_OK)
        loop_stop(g->loop);
}

static void on_close(void *arg, sl_err why, const struct sl_fault *fault)
{
    struct ctl_grpc *g = arg;
    grpc_client_free(SL_TAKE(g->client));
    if (g->finished) {
        loop_stop(g->loop);
        return;
    }
    (void)ctl_fail(g->c, "%s%s", fault->what, g->follows ? "; trying again" : "");
    if (g->follows && why != SL_EPROTO && why != SL_EINVAL) {
        timer_start(&g->retry, grpc_retry_backoff_ms(&grpc_retry_default, g->n_lost++));
        return;
    }
    g->finished = true;
    g->status = CTL_UNREACHABLE;
    loop_stop(g->loop);
}

static const struct grpc_client_ops ops = {on_ready, on_close};

static int open_client(struct ctl_grpc *g)
{
    struct sl_fault fault = {0};
    struct grpc_client_cfg cfg = {.endpoint = endpoint_of(g->c),
                                  .connect_timeout_ms = ctl_number(g->c, "timeout", 0),
                                  .retry = grpc_retry_default};
    if (grpc_client_open(g->loop, &cfg, &ops, g, &fault, &g->client) == SL_OK)
        return CTL_OK;
    g->finished = true;
    g->status = ctl_usage(g->c, "--endpoint %s: %s", cfg.endpoint, fault.what);
    return g->status;
}

/* ---- life ------------------------------------------------------------------------------------ */

void ctl_grpc_finish(struct ctl_grpc *g, int status)
{
    if (g->status == CTL_OK)
        g->status = status;
    if (g->finished)
        return;
    g->finished = true;
    if (g->client)
        grpc_client_close(g->client);
}

int ctl_grpc_run(struct ctl *c, struct ctl_grpc *g)
{
    g->c = c;
    if (loop_new(&clock_real, &g->loop) != SL_OK)
        return ctl_fail(c, "no event loop can be made here");
    timer_init(&g->retry, g->loop, on_retry);
    int failed = open_client(g);
    if (!failed)
        loop_run(g->loop);
    loop_free(g->loop);
    return g->status;
}
