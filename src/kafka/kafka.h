/* The Kafka door: a listener, its connections, and one pipeline from frame to answer.
 *
 * Started and stopped on the loop of the listener (loops[0]); connections are spread over all
 * loops. Promises: memory for requests stays below request_bytes_max plus one frame; a connection
 * that does nothing holds no buffer; answers leave in the order of the requests; what breaks the
 * protocol is closed with one rate-limited log line. Sources: KIP-482, KIP-511, Kafka's protocol
 * guide. */
#ifndef SLUICE_KAFKA_KAFKA_H
#define SLUICE_KAFKA_KAFKA_H

#include "base/err.h"

struct broker;
struct kafka_door;
struct loop;

/* 0 or NULL in a field: the default in brackets. Texts are borrowed for the door's life. */
struct kafka_door_cfg {
    const char *addr;            /* "127.0.0.1:9092", port 0: a free one */
    const char *advertised_host; /* what clients are told [the local address they reached] */
    int32_t advertised_port;     /* [the local port] */
    const char *cluster_id;      /* checked by ApiVersions 5 and up [not checked] */
    int32_t node_id;             /* likewise */
    size_t frame_bytes_max;      /* [100 MiB] */
    size_t request_bytes_max;    /* of all connections together [48 MiB] */
    size_t answer_bytes_max;     /* waiting in one connection before it is read again [4 MiB] */
    uint32_t pipelined_max;      /* requests under way in one connection [1,000] */
    int64_t request_timeout_ms;  /* to send a request that was begun [10,000] */
    uint32_t connections_max;    /* beyond: one that never sent anything goes, or none comes in
                                    [no limit] */
};

/* Listens and serves. SL_EADDRINUSE and the like with a fault that names the address. */
sl_err kafka_door_start(const struct kafka_door_cfg *cfg, struct broker *broker,
                        struct loop *const *loops, size_t n_loops, struct sl_fault *fault,
                        struct kafka_door **ret) SL_CHECKED;
uint16_t kafka_door_port(const struct kafka_door *door);
/* Takes no more connections or requests, finishes what is under way for at most timeout_ms, then
 * closes; done comes on loops[0] when no connection and no request is left. Once. */
void kafka_door_stop(struct kafka_door *door, int64_t timeout_ms, void (*done)(void *arg),
                     void *arg);
void kafka_door_free(struct kafka_door *door); /* after done; accepts NULL */

enum { KAFKA_LATENCY_BUCKETS = 22, KAFKA_APIS_MAX = 64 };
/* Upper bounds of the buckets in ns; what is above the last one is in the last bucket as well. */
extern const int64_t kafka_latency_bounds_ns[KAFKA_LATENCY_BUCKETS];

struct kafka_api_metrics {
    const char *name;
    int16_t key;
    uint64_t requests, errors; /* errors: error codes in answers that are not NONE */
    uint64_t request_bytes, response_bytes;
    uint64_t latency_ns_sum;
    uint64_t latency[KAFKA_LATENCY_BUCKETS]; /* not cumulative */
};

struct kafka_door_metrics {
    uint64_t connections;       /* open */
    uint64_t connections_total; /* accepted since the start */
    uint64_t refused;           /* closed because of what the peer sent or did not send */
    uint64_t requests_under_way;
    uint64_t request_bytes; /* held now */
    size_t n_apis;
    struct kafka_api_metrics apis[KAFKA_APIS_MAX];
};
/* A consistent enough copy. Any thread. */
void kafka_door_metrics(const struct kafka_door *door, struct kafka_door_metrics *ret);

#endif
