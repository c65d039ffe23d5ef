/* A call as handlers see it: messages in and out, a status at its end. No frames, no sockets.
 *
 * A handler has a call from its start until it ends it with grpc_reply or grpc_fail, exactly once,
 * on the call's loop, now or later. When the peer goes or the deadline passes, `canceled` is set
 * and on_cancel is called (if set); the handler still ends the call, and nothing is sent. All of a
 * handler's memory comes from the call's arena. */
#ifndef SLUICE_GRPC_CALL_H
#define SLUICE_GRPC_CALL_H

#include "base/arena.h"
#include "base/slice.h"
#include "broker/broker.h"
#include "loop/loop.h"
#include "proto/status.h"

#include <protobuf-c/protobuf-c.h>

struct grpc_call;
struct grpc_shard;
struct grpc_method;
struct http2_stream;

/* Of streaming methods; set by the handler when it starts. */
struct grpc_stream_ops {
    void (*on_message)(struct grpc_call *c, const ProtobufCMessage *m); /* valid until it returns */
    void (*on_half_close)(struct grpc_call *c); /* the peer has sent its last message */
    void (*on_room)(struct grpc_call *c);       /* grpc_send may go on */
    void (*on_stop)(struct grpc_call *c);       /* the server stops: end it */
};

struct grpc_call {
    /* for handlers */
    struct broker *broker;
    struct loop *loop;
    struct grpc_shard *shard;
    struct arena *arena;
    const ProtobufCMessage *request; /* of methods with one request */
    const struct principal *who;
    void *job; /* the handler's own */
    const struct grpc_stream_ops *stream_ops;
    void (*on_cancel)(struct grpc_call *c);
    bool canceled;
    sl_err why; /* of the end, for the details of its status; SL_OK: nothing to add */
    /* internal */
    struct list node;
    struct http2_stream *stream; /* NULL: gone */
    const struct grpc_method *method;
    struct principal own_who;
    struct timer deadline;
    struct arena *scratch; /* messages of a stream, one at a time */
    uint8_t *in;           /* a message that has not come whole */
    size_t in_len, in_cap;
    uint32_t in_bytes; /* its length, as its prefix says */
    uint8_t prefix[5], prefix_len;
    int refused; /* HTTP status of what is no gRPC call: said when its request has come; 0: none */
    const char *refusal; /* static text */
    bool *gone;          /* set when the call is freed; NULL: nobody has to know */
    bool gzip_in, gzip_out;
    bool started, responded, answered, has_request, half_closed;
    int64_t started_ns;
    enum grpc_status status;
};

/* Zeroed; NULL: the call has been ended with RESOURCE_EXHAUSTED. */
void *grpc_alloc(struct grpc_call *c, size_t count, size_t size);
/* Copies text into the call's arena for an answer; NULL: no memory. What is no UTF-8 becomes '?'.
 */
char *grpc_text(struct grpc_call *c, struct slice text);
/* Fills in who asks and submits. */
void grpc_submit(struct grpc_call *c, struct broker_call *b, void (*done)(struct broker_call *b));

/* Ends a unary call with its answer. c is gone. */
void grpc_reply(struct grpc_call *c, const ProtobufCMessage *answer_message);
/* Ends the call. c is gone. GRPC_OK ends a stream well. */
void grpc_fail(struct grpc_call *c, enum grpc_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Ends the call with the status of an error; why: what to say instead of err's sentence, or NULL.
 */
void grpc_fail_err(struct grpc_call *c, sl_err err, const char *why);
enum grpc_status grpc_status_of(sl_err err);

/* Streams: sends the response headers now, not with the first message. */
void grpc_open(struct grpc_call *c);
/* Streams: one message; returns how many bytes wait to be sent. Go on in on_room when that is
 * GRPC_ROOM_BYTES or more. */
size_t grpc_send(struct grpc_call *c, const ProtobufCMessage *m);
enum { GRPC_ROOM_BYTES = 64 << 10 };
bool grpc_is_utf8(struct slice text);
size_t grpc_queued_bytes(const struct grpc_call *c);

static inline struct slice grpc_bytes(ProtobufCBinaryData b)
{
    /* An empty value is there, too: only a missing one has no address. */
    return slice_of(b.data ? (const void *)b.data : (const void *)"", b.len);
}

#endif
