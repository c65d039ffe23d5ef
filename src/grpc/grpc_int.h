/* Inside of the gRPC door: door.c (life), request.c (headers), message.c (framing, decoding),
 * call.c (answers, deadlines), check.c (bytes of messages), publisher.c (appends). */
#ifndef SLUICE_GRPC_GRPC_INT_H
#define SLUICE_GRPC_GRPC_INT_H

#include "grpc/call.h"
#include "grpc/grpc.h"
#include "http/http2.h"
#include "record/codec.h"

#include <stdatomic.h>

enum grpc_kind { GRPC_UNARY, GRPC_SERVER_STREAM, GRPC_BIDI };

struct grpc_method {
    const char *service, *name;
    enum grpc_kind kind;
    const ProtobufCMessageDescriptor *request, *response;
    /* A unary or server-streaming method finds c->request; it ends the call, now or later. */
    void (*handle)(struct grpc_call *c);
};
extern const struct grpc_method grpc__methods[];
extern const size_t grpc__n_methods;
/* "/service/method"; NULL: not served. */
const struct grpc_method *grpc__method(struct slice path);
/* A service of the table (or "": the server). */
bool grpc__serves(struct slice service);

enum { GRPC_ARENAS_KEPT = 256, GRPC_PREFIX_BYTES = 5, GRPC_FIELDS_MAX = 100000 };

struct grpc_counters {
    atomic_uint_fast64_t calls[GRPC_STATUSES];
    atomic_uint_fast64_t latency_ns_sum;
};

struct publisher;

/* What belongs to one loop. */
struct grpc_shard {
    struct grpc_door *door;
    struct loop *loop;
    struct list calls, idle_calls; /* struct grpc_call: node */
    size_t n_calls, n_idle_calls;
    struct budget budget;
    struct arena *arenas[GRPC_ARENAS_KEPT];
    size_t n_arenas;
    struct decoder *decoder; /* gzip */
    struct publisher *publisher;
    struct grpc_counters *counters; /* by method */
    struct task stop_task;
    bool stopping;
};

struct grpc_door {
    struct grpc_door_cfg cfg;
    struct broker *broker;
    struct http2_server *http2;
    struct grpc_shard *shards;
    size_t n_shards;
    atomic_uint_fast64_t n_under_way;
};

static inline void grpc__count(atomic_uint_fast64_t *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* door.c */
struct arena *grpc__arena_get(struct grpc_shard *s);
void grpc__arena_put(struct grpc_shard *s, struct arena *a); /* accepts NULL */
struct grpc_call *grpc__call_new(struct grpc_shard *s);
void grpc__call_free(struct grpc_call *c);

/* request.c: what HTTP/2 calls. */
extern const struct http2_ops grpc__http2_ops;

/* message.c */
void grpc__receive(struct grpc_call *c, struct slice data);
void grpc__end_of_input(struct grpc_call *c);
void grpc__drop_input(struct grpc_call *c);

/* check.c: whether bytes are a message of this kind, as far as protobuf-c does not look: UTF-8,
 * depth, lengths, counts. SL_EPROTO, SL_ELIMIT; *ret_why: a sentence. */
sl_err grpc__check(const ProtobufCMessageDescriptor *d, struct slice bytes,
                   const char **ret_why) SL_CHECKED;
/* Decodes into the arena after that check. SL_ENOMEM as well. */
sl_err grpc__decode(const ProtobufCMessageDescriptor *d, struct slice bytes, struct arena *arena,
                    ProtobufCMessage **ret, const char **ret_why) SL_CHECKED;

/* call.c */
void grpc__end(struct grpc_call *c, enum grpc_status status, const char *message);
void grpc__deadline_start(struct grpc_call *c, int64_t timeout_ms);
void grpc__peer_gone(struct grpc_call *c);
/* For what is no gRPC call: answers when the request has come, or took too long. */
void grpc__refuse_later(struct grpc_call *c, int http_status, const char *message);
void grpc__refuse_now(struct grpc_call *c);
void grpc__refuse(struct http2_stream *stream, enum grpc_status status, const char *message);

#endif
