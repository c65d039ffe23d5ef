/* What operators and tools ask of partitions, and producer ids.
 *
 * The door fills the request part, calls the initialiser and submits. Arrays of the answer live in
 * call memory that ..._fini frees, after the reply has been encoded. */
#ifndef SLUICE_BROKER_ADMIN_H
#define SLUICE_BROKER_ADMIN_H

#include "base/arena.h"
#include "base/list.h"
#include "base/slice.h"
#include "broker/broker.h"
#include "storage/log_engine.h"

/* ---- records: move the start of a log ------------------------------------------------------- */

struct broker_delete_records;

/* SL_ETOPIC, SL_EOFFSET (above the high watermark, or negative), SL_EDENIED, errors of the log. */
struct broker_trim {
    /* in */
    struct slice topic;
    int32_t partition;
    int64_t offset; /* records below it go; -1: the high watermark */
    /* out */
    sl_err err;
    int64_t low_watermark; /* -1 after an error */
    /* internal */
    struct broker_delete_records *call;
    struct log_done done;
    struct log_part *log;
};

struct broker_delete_records {
    struct broker_call call;
    struct broker_trim *trims;
    uint32_t n_trims;
    sl_err err;
    uint32_t left; /* internal */
};
void broker_delete_records_init(struct broker_delete_records *c);

/* ---- producers of a partition --------------------------------------------------------------- */

/* SL_ETOPIC, SL_EDENIED. */
struct broker_producers_part {
    struct slice topic;
    int32_t partition;
    sl_err err;
    struct log_producer *producers;
    uint32_t n_producers;
};

struct broker_describe_producers {
    struct broker_call call;
    struct broker_producers_part *parts;
    uint32_t n_parts;
    sl_err err;
    struct arena *arena; /* internal */
};
void broker_describe_producers_init(struct broker_describe_producers *c);
void broker_describe_producers_fini(struct broker_describe_producers *c);

/* ---- sizes on disk -------------------------------------------------------------------------- */

/* A topic that is not there has err SL_ETOPIC; a partition that is not there has bytes -1. */
struct broker_sizes_topic {
    struct slice name;         /* in; with `all` out */
    const int32_t *partitions; /* in; with `all` out: 0, 1, 2 and so on */
    uint32_t n_partitions;
    sl_err err;
    int64_t *bytes; /* n_partitions */
};

struct broker_describe_sizes {
    struct broker_call call;
    bool all;
    struct broker_sizes_topic *topics; /* in; with `all` out */
    uint32_t n_topics;
    struct log_space space; /* out */
    sl_err err;
    struct arena *arena; /* internal */
};
void broker_describe_sizes_init(struct broker_describe_sizes *c);
void broker_describe_sizes_fini(struct broker_describe_sizes *c);

/* ---- producer ids --------------------------------------------------------------------------- */

/* A producer id that no producer had before: its block is reserved durably before it is given.
 * Without a transactional id Kafka gives a new id whatever the producer had, and so does this.
 * SL_ETXN_DENIED: a transactional id. SL_EINVAL: an empty one. */
struct broker_init_producer {
    struct broker_call call;
    struct slice transactional_id; /* data NULL: none */
    sl_err err;
    int64_t producer_id;
    int16_t epoch;
    struct list node; /* internal */
};
void broker_init_producer_init(struct broker_init_producer *c);

#endif
