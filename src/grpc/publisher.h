/* Appends of doors that speak single records: what one turn of the loop publishes to a partition
 * becomes one record batch, answered once it is stored.
 *
 * Makes missing topics (one partition, max.message.bytes of 8 MiB) unless auto_create_topics is
 * off. One publisher a loop; its memory is that of the requests it borrows, one batch and a bounded
 * table of topics. */
#ifndef SLUICE_GRPC_PUBLISHER_H
#define SLUICE_GRPC_PUBLISHER_H

#include "base/list.h"
#include "base/slice.h"
#include "broker/broker.h"
#include "record/builder.h"

struct publisher;

struct publish {
    /* in; everything is borrowed until done */
    const struct principal *who;
    struct slice topic;
    int32_t partition;          /* -1: by the first record's key, in turn without one */
    struct new_record *records; /* times are set when there is none (0) */
    uint32_t n_records;
    bool own_batch;                  /* all or nothing, in a batch of their own */
    struct batch_producer producer;  /* own_batch when there is one */
    int16_t acks;                    /* -1: on stable storage; 1: as Kafka's; 0: none */
    bool create;                     /* the topic when it is missing */
    void (*done)(struct publish *x); /* once; x may be gone when it returns */
    /* out */
    sl_err err;
    const char *why; /* NULL: nothing beyond err */
    int64_t first_offset, timestamp_ms, topic_number;
    int32_t n_partitions;
    bool duplicate; /* of an idempotent producer: first_offset is the original's */
    /* internal */
    struct list node;
    uint32_t attempts;
};

struct publisher *publisher_new(struct broker *b, struct loop *loop);
void publisher_free(struct publisher *p); /* nothing is under way; accepts NULL */
/* Takes x: done comes later, never before this returns. */
void publisher_take(struct publisher *p, struct publish *x);

#endif
