/* grpc.health.v1.Health. A service is SERVING until the server stops. */
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "proto/health.pb-c.h"

typedef Grpc__Health__V1__HealthCheckResponse health_response;

static const char *service_of(const struct grpc_call *c)
{
    return ((const Grpc__Health__V1__HealthCheckRequest *)c->request)->service;
}

static health_response answer_of(const struct grpc_call *c, bool known)
{
    health_response out = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!known)
        out.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    else if (c->shard->stopping)
        out.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    else
        out.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    return out;
}

void grpc_handle_health_check(struct grpc_call *c)
{
    if (!grpc__serves(slice_str(service_of(c)))) {
        grpc_fail(c, GRPC_NOT_FOUND, "unknown service");
        return;
    }
    health_response out = answer_of(c, true);
    grpc_reply(c, &out.base);
}

/* The last thing that a watcher hears. */
static void watch_stop(struct grpc_call *c)
{
    health_response out = answer_of(c, grpc__serves(slice_str(service_of(c))));
    (void)grpc_send(c, &out.base);
    grpc_fail(c, GRPC_UNAVAILABLE, "server is shutting down");
}

static void watch_cancel(struct grpc_call *c)
{
    grpc_fail(c, GRPC_CANCELLED, "canceled");
}

void grpc_handle_health_watch(struct grpc_call *c)
{
    static const struct grpc_stream_ops ops = {.on_stop = watch_stop};
    health_response out = answer_of(c, grpc__serves(slice_str(service_of(c))));
    c->stream_ops = &ops;
    c->on_cancel = watch_cancel;
    (void)grpc_send(c, &out.base);
}
