/* One Kafka request on its way through the door's single pipeline.
 *
 * frame -> header -> table row (api_keys.def) -> version and size checks -> decode (generated) ->
 * handler -> broker calls -> kafka_reply -> encode (generated) -> in-order queue of the connection.
 * Handlers never parse, never encode, never see the socket; they map errors with kafka_error().
 * Everything a handler allocates comes from r->arena and lives until the reply has been encoded. */
#ifndef SLUICE_KAFKA_REQUEST_H
#define SLUICE_KAFKA_REQUEST_H

#include "base/arena.h"
#include "broker/broker.h"
#include "kafka_codec/messages.h" /* generated: every struct kafka_<name>_request / _response */

struct kafka_conn;

struct kafka_request {
    struct kafka_conn *conn;
    struct broker *broker;
    struct loop *loop; /* the connection's */
    const struct principal *who;
    struct arena *arena;
    struct slice frame; /* counted: batches inside it are referenced, not copied */
    int16_t api_key, api_version;
    int32_t correlation_id;
    struct slice client_id; /* borrowed from frame; data NULL: none */
    const void *in;         /* the decoded struct of the request */
    int64_t received_ns;
    struct broker_call *waiting; /* set while a call may wait long: canceled when the peer goes */
};

/* Submits a call whose own initialiser was called. done comes on r->loop, perhaps before this
 * returns: r may be gone then. */
void kafka_call(struct kafka_request *r, struct broker_call *c,
                void (*done)(struct broker_call *c));

/* Answers: `out` is the generated response struct of r's API, in arena memory or static. The
 * request is gone afterwards. Exactly once per request, on r->loop. */
void kafka_reply(struct kafka_request *r, const void *out);
/* No answer at all (Produce with acks=0). */
void kafka_reply_none(struct kafka_request *r);
/* Closes the connection instead of answering (what cannot be answered). */
void kafka_reply_close(struct kafka_request *r, const char *reason);

/* Kafka's error code for a result; a switch without default, so every sl_err is decided. */
int16_t kafka_error(sl_err err);
/* Zeroed array in the request's arena. Never NULL: when the budget is exhausted the request has
 * been answered by closing and NULL is returned: return at once. */
void *kafka_alloc(struct kafka_request *r, size_t n, size_t size);

/* What clients of this connection are told as our address (advertised-addr, else local address). */
void kafka_local_address(struct kafka_request *r, const char **ret_host, int32_t *ret_port);
/* NUL-terminated copy in the arena. */
const char *kafka_text(struct kafka_request *r, struct slice text);

/* One for each row of the table. */
#define API(key, name, first, last, handler, flags) void handler(struct kafka_request *r);
#include "kafka/api_keys.def"
#undef API

#endif
