/* ListOffsets and OffsetForLeaderEpoch: where a log starts and ends, which offset has a time, where
 * a leader epoch ended. Answers are linearizable: they count everything acknowledged before. */
#ifndef SLUICE_BROKER_OFFSETS_H
#define SLUICE_BROKER_OFFSETS_H

#include "base/slice.h"
#include "broker/broker.h"
#include "storage/log_engine.h"

struct broker_list_offsets;

/* Instead of a timestamp; numbers as on Kafka's wire. */
enum offset_spec {
    OFFSET_LATEST = -1,
    OFFSET_EARLIEST = -2,
    OFFSET_MAX_TIMESTAMP = -3,
    OFFSET_EARLIEST_LOCAL = -4,          /* the same as earliest: nothing is tiered */
    OFFSET_LATEST_TIERED = -5,           /* none */
    OFFSET_EARLIEST_PENDING_UPLOAD = -6, /* none */
};

struct broker_offsets_part {
    /* in */
    struct slice topic;
    int32_t index;
    int32_t current_leader_epoch; /* -1: unknown */
    int64_t timestamp_ms;         /* or an offset_spec */
    /* out */
    sl_err err;
    int64_t offset, found_timestamp_ms; /* -1: none */
    int32_t leader_epoch;               /* -1: none */
    /* internal */
    struct broker_list_offsets *request;
    struct log_lookup lookup;
};

struct broker_list_offsets {
    struct broker_call call;
    struct broker_offsets_part *parts;
    uint32_t n_parts;
    uint32_t left; /* internal */
};
void broker_list_offsets_init(struct broker_list_offsets *l);

struct broker_epoch_part {
    struct slice topic;
    int32_t index;
    int32_t current_leader_epoch; /* -1: unknown */
    int32_t epoch;                /* asked for */
    sl_err err;
    int32_t ret_epoch;  /* the largest epoch up to it, -1: none */
    int64_t end_offset; /* first offset behind ret_epoch, -1: none */
};

struct broker_epoch_ends {
    struct broker_call call;
    struct broker_epoch_part *parts;
    uint32_t n_parts;
};
void broker_epoch_ends_init(struct broker_epoch_ends *e);

#endif
