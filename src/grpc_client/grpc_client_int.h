/* Inside of the gRPC client: connection.c (connecting, retries), call.c (messages, status),
 * endpoint.c (texts). */
#ifndef SLUICE_GRPC_CLIENT_GRPC_CLIENT_INT_H
#define SLUICE_GRPC_CLIENT_GRPC_CLIENT_INT_H

#include "base/arena.h"
#include "base/buf.h"
#include "grpc_client/grpc_client.h"
#include "http/http2_client.h"
#include "loop/socket.h"

enum { GRPC_ADDR_BYTES = 280 };

struct grpc_client {
    struct loop *loop;
    struct grpc_client_cfg cfg;
    const struct grpc_client_ops *ops;
    void *arg;
    char addr[GRPC_ADDR_BYTES];
    struct http2_client *http2; /* NULL: not connected */
    struct timer timer;         /* backoff, or the deadline of the greeting */
    uint32_t attempt;
    bool connecting, ready, closing, closed;
    struct arena *scratch; /* of one message */
    struct buf out;
};

/* "http://host:port" -> "host:port". SL_EINVAL, SL_EUNSUPPORTED with a fault. */
sl_err grpc__endpoint(const char *endpoint, struct sl_fault *fault,
                      char ret_addr[GRPC_ADDR_BYTES]) SL_CHECKED;
/* Percent-decodes in place of `out`, cut to its size. */
void grpc__status_text(struct slice value, char *out, size_t size);
/* "100m", the largest unit that is exact enough. */
void grpc__timeout_text(int64_t timeout_ms, char ret_text[24]);
enum grpc_status grpc__status_of_http(int http_status);
enum grpc_status grpc__status_of_reset(uint32_t error);

#endif
