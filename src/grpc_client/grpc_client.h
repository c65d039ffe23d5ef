/* A gRPC client on a loop: one connection, unary calls and streams over it.
 *
 * Connecting is tried again as the retry policy says; what a second attempt cannot change (a wrong
 * endpoint, a peer that is no HTTP/2 server) is not. Calls are never repeated in here: whether a
 * repetition is harmless is the caller's to know. Everything on the client's loop. */
#ifndef SLUICE_GRPC_CLIENT_GRPC_CLIENT_H
#define SLUICE_GRPC_CLIENT_GRPC_CLIENT_H

#include "base/err.h"
#include "proto/status.h"

#include <protobuf-c/protobuf-c.h>

struct grpc_client;
struct grpc_client_call;
struct loop;

/* The first attempt and max_retries more; before the k-th of them min(initial * multiplier^k, max)
 * passes. */
struct grpc_retry {
    uint32_t max_retries;
    int64_t initial_backoff_ms, max_backoff_ms;
    double multiplier;
};
extern const struct grpc_retry grpc_retry_default; /* 3, 100 ms, 10 s, 2.0 */
int64_t grpc_retry_backoff_ms(const struct grpc_retry *r, uint32_t attempt);

struct grpc_client_cfg {
    const char *endpoint;       /* http://host[:port], port 80 when it is left out; copied */
    int64_t connect_timeout_ms; /* of each attempt; 0: 5 s */
    struct grpc_retry retry;
    size_t message_bytes_max; /* that a peer may send; 0: 64 MiB */
};

struct grpc_client_ops {
    void (*on_ready)(void *arg);
    /* The last call: nobody answered, or the connection was lost and its calls have ended. fault
     * says what to do. SL_ECLOSED as well after grpc_client_close. */
    void (*on_close)(void *arg, sl_err why, const struct sl_fault *fault);
};

/* SL_EINVAL: the endpoint; SL_EUNSUPPORTED: https. on_ready or on_close follows, later. */
sl_err grpc_client_open(struct loop *l, const struct grpc_client_cfg *cfg,
                        const struct grpc_client_ops *ops, void *arg, struct sl_fault *fault,
                        struct grpc_client **ret) SL_CHECKED;
/* Says goodbye; on_close follows, later, if it has not come. */
void grpc_client_close(struct grpc_client *c);
void grpc_client_free(struct grpc_client *c); /* after on_close; accepts NULL */

struct grpc_client_call_ops {
    void (*on_message)(void *user, const ProtobufCMessage *m); /* valid until it returns */
    /* The last call; the call is gone. text is the server's, or ours. */
    void (*on_end)(void *user, enum grpc_status status, const char *text);
};

struct grpc_client_request {
    const char *path; /* "/sluice.v1.Sluice/Publish" */
    const ProtobufCMessageDescriptor *response;
    int64_t timeout_ms; /* 0: none */
    const struct grpc_client_call_ops *ops;
    void *user;
};

/* Begins a stream. NULL: the connection is gone or going (on_end is not called). */
struct grpc_client_call *grpc_client_stream(struct grpc_client *c,
                                            const struct grpc_client_request *r);
/* A stream with one message each way; an OK without an answer becomes INTERNAL. */
struct grpc_client_call *grpc_client_unary(struct grpc_client *c,
                                           const struct grpc_client_request *r,
                                           const ProtobufCMessage *m);
/* Copied. SL_EFULL: the peer does not take what waits. */
sl_err grpc_client_send(struct grpc_client_call *call, const ProtobufCMessage *m) SL_CHECKED;
void grpc_client_half_close(struct grpc_client_call *call);
/* on_end follows with CANCELLED, later, unless the peer was faster. */
void grpc_client_cancel(struct grpc_client_call *call);

const char *grpc_client_status_name(enum grpc_status status); /* "NOT_FOUND" */

#endif
