/* Produce: record batches of a producer, checked and appended.
 *
 * Order: requests of one `source` (connection) are submitted in arrival order, before anything is
 * checked. Large or expensive batches are checked by the workers; nevertheless the batches of one
 * source reach a partition in their order. Bytes are referenced, never copied: the log patches
 * base offset, leader epoch and (LogAppendTime) times in the request's own memory.
 *
 * An idempotent batch that was stored before is answered with its first offset and SL_OK.
 *
 * When the log takes longer than timeout_ms, what it has not answered ends with SL_ETIMEDOUT; it is
 * stored nevertheless, sooner or later, and a repeat of an idempotent batch waits for the same
 * outcome. */
#ifndef SLUICE_BROKER_PRODUCE_H
#define SLUICE_BROKER_PRODUCE_H

#include "broker/broker.h"
#include "record/validate.h"
#include "storage/log_engine.h"

struct broker_produce;
struct produce_queue;
struct topic;

/* One partition of a request. Plain memory of the door, untouched by it until done. */
struct broker_produce_part {
    /* in */
    struct slice topic;   /* name; used unless by_id */
    struct uuid topic_id; /* used when by_id */
    int32_t index;
    struct slice records; /* one batch, in a block; data NULL: none */
    /* out */
    sl_err err;
    const char *why;      /* static sentence, NULL: nothing to add to err */
    int32_t record_index; /* the record that was refused; -1: none in particular */
    int64_t base_offset, log_append_ms, log_start; /* -1: not known */
    int64_t topic_number;                          /* for message ids; -1: no such topic */
    /* internal */
    struct broker_produce *request;
    const struct topic *owner;   /* NULL: the topic is gone */
    struct produce_queue *queue; /* of its partition, while a check is under way there */
    struct list node;            /* in that queue */
    struct list check_node;      /* waiting for a worker */
    bool checked, in_log;
    struct batch_rules rules;
    struct batch_verdict verdict;
    struct batch_check *check;
    struct work work;
    struct log_batch batch;
    struct log_append append;
};

struct broker_produce {
    struct broker_call call;
    /* in */
    uint64_t source;      /* who keeps order: one number per connection */
    int16_t acks;         /* 0, 1, -1 */
    int32_t timeout_ms;   /* how long the log may take once it has all batches; see produce.c */
    bool by_id;           /* topics are named by id */
    bool old_codecs_only; /* the request's version does not know zstd */
    struct broker_produce_part *parts;
    uint32_t n_parts;
    /* internal */
    uint32_t left;     /* parts without a result */
    uint32_t n_in_log; /* of those, the ones that the log has */
    struct timer deadline;
};

/* Makes `p` a call; the other fields may be set before or after. Results are in the parts. */
void broker_produce_init(struct broker_produce *p);

struct broker_produce_counters {
    uint64_t batches, records, bytes, refused_batches, timed_out_batches, worker_checks;
};
/* Since start; on the core loop. */
void broker_produce_counters(const struct broker *b, struct broker_produce_counters *ret);

#endif
