/* Subscriptions: groups whose streams share a topic's messages by credit.
 *
 * A stream (struct subscription) is one member of a group on one topic. Nothing is delivered to it
 * without credit, and never more bytes than it has room for: its door says what it has sent, so a
 * slow peer holds at most its room (and one message). What is delivered is held by the stream until
 * it is settled: acknowledged, released (delivered again, maybe later, to anybody of the group),
 * rejected (dead letter), or its deadline passes. When a stream ends, what it holds is available at
 * once. Per (group, partition) a cursor says up to where everything is acknowledged; it is the
 * group's committed offset, the one that Kafka's OffsetCommit and OffsetFetch speak of.
 *
 * Written for gRPC's Subscribe and for Kafka's share groups (KIP-932): acquire = credit and
 * deliver, accept, release and reject = settle, acquisition lock = ack_deadline_ms. Order: what is
 * called here takes effect in the order of the calls, deliveries of one partition come in offset
 * order but for what is delivered again. Delivery is at least once.
 *
 * Threads. broker_subscribe is a call like all others. The functions on a subscription are called
 * on its home loop (the call's), events come there, never inside of a call to these functions. */
#ifndef SLUICE_BROKER_SUBSCRIBE_H
#define SLUICE_BROKER_SUBSCRIBE_H

#include "base/slice.h"
#include "broker/broker.h"

enum {
    SUBSCRIPTION_ID_BYTES_MAX = 256,      /* consumer ids */
    SUBSCRIPTION_CONDITIONS_MAX = 16,     /* of a filter */
    SUBSCRIPTION_FILTER_BYTES_MAX = 4096, /* names and values together */
    SHARE_RUNS_MAX = 10000,               /* ranges of a (group, partition): then delivery pauses */
};

/* A record with this header, wall time in ms since 1970 as decimal digits, is not delivered to
 * groups before that time. Others behind it are. A value that is no such number counts as 0. Tails
 * and re-reads show the log as it is. */
#define SUBSCRIPTION_DELIVER_AT "sluice-deliver-at"

/* Dead letters go to "<topic>.dlq" (or where the call says), made when it is missing, with the
 * original's key, value, headers and time, and these headers more (an earlier set of them is
 * replaced). Replaying one is publishing it to the topic it names, without them. */
#define DEAD_LETTER_SUFFIX     ".dlq"
#define DEAD_LETTER_REASON     "sluice-dlq-reason"    /* why, a sentence */
#define DEAD_LETTER_TOPIC      "sluice-dlq-topic"     /* where it was */
#define DEAD_LETTER_PARTITION  "sluice-dlq-partition" /* decimal digits, as the next three */
#define DEAD_LETTER_OFFSET     "sluice-dlq-offset"
#define DEAD_LETTER_DELIVERIES "sluice-dlq-deliveries"
#define DEAD_LETTER_TIME       "sluice-dlq-time" /* when it was given up; ms since 1970 */
#define DEAD_LETTER_GROUP      "sluice-dlq-group"

struct group;
struct subscription;

/* ---- events --------------------------------------------------------------------------------- */

struct delivery_header {
    struct slice name, value; /* value.data NULL: null */
};

/* One message. Slices point into the delivery's blocks and live as long as it; slice_ref keeps one
 * for longer. */
struct delivered {
    int64_t offset, timestamp_ms;
    struct slice key, value; /* data NULL: null */
    const struct delivery_header *headers;
    uint32_t n_headers;
    int32_t partition;
    uint32_t count; /* deliveries to the group, this one included; 0: tail or re-read, not held */
};

struct delivery {
    struct delivered *items; /* in order */
    uint32_t n_items;
    size_t room; /* what it took of the stream's room: give it back when it is sent */
};

/* Any thread; accepts NULL. */
void delivery_free(struct delivery *d);

struct subscription_events {
    /* The door owns d. */
    void (*deliver)(void *arg, struct delivery *d);
    /* No more deliveries will come; at most once. The subscription must still be closed.
     * SL_OK: drained, as asked. SL_EINSTANCE_FENCED: "consumer group takeover". SL_ETOPIC: the
     * topic is gone. SL_ECLOSED: the broker stops. SL_ECORRUPT, SL_EIO: the log cannot be read. */
    void (*ended)(void *arg, sl_err err, const char *reason);
};

/* ---- the call ------------------------------------------------------------------------------- */

/* Where a group without a cursor starts; with one LATEST and EARLIEST resume there. */
enum subscribe_from {
    SUBSCRIBE_LATEST,   /* at the end; that place is durable before the answer */
    SUBSCRIBE_EARLIEST, /* at the start of the log */
    /* At `offset` (for an exclusive sequence N: offset N), of one partition. Below the cursor: up
     * to it a private re-read, which takes credit, holds nothing and settles nothing. Above: the
     * first ack acknowledges all below `offset`, too; until then no other stream may open. */
    SUBSCRIBE_OFFSET,
};

enum subscribe_mode {
    SUBSCRIBE_SHARED,    /* beside others; takes over the stream with the same consumer id */
    SUBSCRIBE_EXCLUSIVE, /* takes over every stream of the group on this topic */
    SUBSCRIBE_TAIL,      /* reads only: no group, no cursor, settling does nothing */
};

/* A message passes when each condition holds for one of its headers. */
struct subscribe_condition {
    struct slice name, value;
    bool is_prefix; /* the header's value begins with `value` */
};

/* SL_ETOPIC, SL_EGROUP_ID, SL_EINVAL, SL_EDENIED, SL_ECLOSED, SL_ELIMIT; SL_EGROUP_NOT_EMPTY: the
 * group has Kafka members; SL_EGROUP_PROTOCOL: other streams of the group are open, and either has
 * OFFSET above the cursor, or their filters differ. `why` says more. */
struct broker_subscribe {
    struct broker_call call;
    /* in; slices are borrowed until done */
    struct slice topic, group, consumer_id; /* group: unless a tail; consumer id empty: its own */
    int32_t partition;                      /* -1: all */
    enum subscribe_from from;
    enum subscribe_mode mode;
    int64_t offset;                           /* with SUBSCRIBE_OFFSET */
    int64_t ack_deadline_ms;                  /* 0: none, held until the stream ends */
    uint32_t deliveries_max;                  /* then a dead letter; 0: no limit */
    struct slice dead_letter_topic;           /* empty: <topic>.dlq */
    const struct subscribe_condition *filter; /* of the whole group while it is open */
    uint32_t n_filter;
    size_t room; /* bytes that may be on their way to the door; at least 1 */
    const struct subscription_events *events; /* static */
    void *arg;                                /* of the events */
    /* out */
    sl_err err;
    const char *why;          /* static sentence, NULL: nothing beyond err */
    struct subscription *ret; /* to be closed */
    int32_t n_partitions;
    int64_t topic_number; /* for message ids */
    /* internal */
    struct list node;
    struct group *waits_for;
};
/* Makes it a call; zero the struct before, fill it before or after. partition is set to -1. */
void broker_subscribe_init(struct broker_subscribe *s);

/* ---- a stream ------------------------------------------------------------------------------- */

/* n more messages may be delivered; adds, and saturates at UINT32_MAX. */
void subscription_credit(struct subscription *s, uint32_t n);
/* `bytes` of delivered room were sent: as much may come again. */
void subscription_room(struct subscription *s, size_t bytes);

enum settle_kind {
    SETTLE_ACK,     /* [first, last] are done */
    SETTLE_RELEASE, /* deliver again, after delay_ms; the delivery counts */
    SETTLE_REJECT,  /* never again: dead letter, when the stream has deliveries_max or a dead letter
                       topic; else as done */
    SETTLE_EXTEND,  /* the deadline is delay_ms from now (0: the stream's own) */
};

/* Settles what the stream still holds of [first, last]: delivered here, and not settled, expired
 * or handed to another since. The rest is ignored, with a warning in the log (but not below the
 * cursor). Cumulative ack of N: first 0, last N; ignored as a whole when N was not delivered to
 * anybody yet. Durable soon: cursors with the next commit of metadata. */
struct settle {
    enum settle_kind kind;
    int32_t partition;
    int64_t first, last;
    int64_t delay_ms;
};
void subscription_settle(struct subscription *s, const struct settle *what);

static inline void subscription_ack(struct subscription *s, int32_t partition, int64_t offset,
                                    bool cumulative)
{
    subscription_settle(
        s, &(struct settle){SETTLE_ACK, partition, cumulative ? 0 : offset, offset, 0});
}
static inline void subscription_nack(struct subscription *s, int32_t partition, int64_t offset,
                                     int64_t delay_ms)
{
    subscription_settle(s, &(struct settle){SETTLE_RELEASE, partition, offset, offset, delay_ms});
}
static inline void subscription_reject(struct subscription *s, int32_t partition, int64_t offset)
{
    subscription_settle(s, &(struct settle){SETTLE_REJECT, partition, offset, offset, 0});
}
static inline void subscription_extend(struct subscription *s, int32_t partition, int64_t offset,
                                       int64_t delay_ms)
{
    subscription_settle(s, &(struct settle){SETTLE_EXTEND, partition, offset, offset, delay_ms});
}

/* The peer grants no more: delivers what is there for the credit it has, then ended(SL_OK). */
void subscription_drain(struct subscription *s);
/* No event comes from here on. What was settled before is durable when done is called, once, on
 * the home loop, later; the subscription is gone then. */
void subscription_close(struct subscription *s, void (*done)(void *arg), void *arg);

/* ---- what it looks like --------------------------------------------------------------------- */

struct broker_subscription_counters {
    uint64_t delivered, redelivered, acked, released, rejected, expired, dead_letters;
    uint64_t takeovers, ignored_acks, commits, reads, read_bytes;
    uint32_t streams, tails, groups;
    uint32_t blocked;    /* streams without credit whose group has messages for them */
    uint64_t lag;        /* messages above the cursors of groups that are open */
    size_t memory_bytes; /* of data read for delivery and not freed */
};
/* Since start, or now; on the core loop. */
void broker_subscription_counters(const struct broker *b, struct broker_subscription_counters *ret);

#endif
