/* The gRPC door: its listener and one pipeline from HTTP/2 stream to answer.
 *
 * Services: methods.def. Every method passes the same way: headers, row of the table, message,
 * check and decode, handler, encode, trailers. Started and stopped on loops[0]; connections are
 * spread over all loops. Promises: memory of requests stays below request_bytes_max for each loop,
 * nothing is allocated because a length on the wire says so, a call ends with a status whatever
 * happens, and at a stop every call ends. Source: the gRPC project's PROTOCOL-HTTP2. */
#ifndef SLUICE_GRPC_GRPC_H
#define SLUICE_GRPC_GRPC_H

#include "base/err.h"

struct broker;
struct grpc_door;
struct loop;

/* 0 in a field: the default in brackets. addr is borrowed for the door's life. */
struct grpc_door_cfg {
    const char *addr;
    size_t message_bytes_max;     /* one message of a peer, after decompression [5 MiB] */
    size_t payload_bytes_max;     /* of one record that is published [4 MiB] */
    size_t request_bytes_max;     /* of all calls of a loop [48 MiB] */
    uint32_t connections_max;     /* [10,000] */
    uint32_t streams_max;         /* calls at a time on one connection [1,000] */
    uint32_t stream_window_bytes; /* [1 MiB] */
    uint32_t conn_window_bytes;   /* [4 MiB] */
    int64_t keepalive_ms;         /* silence after which a peer is pinged [never] */
    int64_t keepalive_timeout_ms; /* [20 s] */
};

/* Errors as tcp_listen. On SL_OK the caller owns *ret. */
sl_err grpc_door_start(const struct grpc_door_cfg *cfg, struct broker *broker,
                       struct loop *const *loops, size_t n_loops, struct sl_fault *fault,
                       struct grpc_door **ret) SL_CHECKED;
uint16_t grpc_door_port(const struct grpc_door *door);
/* On loops[0]. New calls are refused, health says NOT_SERVING, streams end with UNAVAILABLE, other
 * calls get drain_ms; done comes there when no call is left. Once. */
void grpc_door_stop(struct grpc_door *door, int64_t drain_ms, void (*done)(void *arg), void *arg);
void grpc_door_free(struct grpc_door *door); /* after done; accepts NULL */

enum { GRPC_METHODS_MAX = 64, GRPC_STATUSES = 17 };

/* "INVALID_ARGUMENT"; static text. */
const char *grpc_status_name(unsigned status);

struct grpc_method_metrics {
    const char *service, *method;
    uint64_t calls[GRPC_STATUSES]; /* ended, by status */
    uint64_t latency_ns_sum;
};

struct grpc_door_metrics {
    uint64_t connections, connections_total, refused, calls_under_way;
    size_t n_methods;
    struct grpc_method_metrics methods[GRPC_METHODS_MAX];
};
void grpc_door_metrics(const struct grpc_door *door,
                       struct grpc_door_metrics *ret); /* any thread */

#endif
