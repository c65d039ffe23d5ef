/* Fetch: batches for consumers, with fetch sessions (KIP-227) and long polls woken by events.
 *
 * Data is referenced, not copied: results hold counted slices of whole batches. The first batch of
 * a response comes whole even when it exceeds the limits. A fetch that has not min_bytes yet waits
 * for its partitions' high watermarks, with one timer and no polling, and holds no data meanwhile.
 * An incremental fetch costs what changed since the one before, not what the session holds. */
#ifndef SLUICE_BROKER_FETCH_H
#define SLUICE_BROKER_FETCH_H

#include "base/slice.h"
#include "broker/broker.h"

enum { FETCH_WAIT_MS_MAX = 5 * 60 * 1000 };

struct broker_fetch_part {
    struct slice topic;   /* name; used unless by_id */
    struct uuid topic_id; /* used when by_id */
    int32_t index;
    int64_t offset;
    int32_t bytes_max;
    int32_t leader_epoch; /* the client's; -1: unknown */
};

struct broker_fetch_forgotten {
    struct slice topic;
    struct uuid topic_id;
    int32_t index;
};

/* What a fetch answers for one partition. */
struct broker_fetch_result {
    struct slice topic; /* borrowed: from the request, or from the results */
    struct uuid topic_id;
    int32_t index;
    sl_err err;
    int64_t high_watermark, log_start; /* -1: not known. The last stable offset is the watermark */
    struct slice records;              /* counted; data NULL: none */
};

struct broker_fetch_results {
    struct broker_fetch_result *items; /* partitions of a topic follow each other */
    uint32_t n, cap;
    struct arena *names;
};

struct fetch_run;

struct broker_fetch {
    struct broker_call call;
    /* in */
    int32_t max_wait_ms, min_bytes, max_bytes;
    bool by_id;
    int32_t session_id, session_epoch; /* 0, -1: no session */
    const struct broker_fetch_part *parts;
    uint32_t n_parts;
    const struct broker_fetch_forgotten *forgotten;
    uint32_t n_forgotten;
    /* out */
    sl_err err; /* of the whole request: SL_EFETCH_SESSION, SL_EFETCH_EPOCH, SL_EFETCH_IDS */
    int32_t ret_session_id;
    struct broker_fetch_results *results; /* the door frees it; NULL with an error */
    /* internal */
    struct fetch_run *run;
};

/* Makes `f` a call. Cancel it when the peer goes: it ends with what there is. */
void broker_fetch_init(struct broker_fetch *f);
void broker_fetch_results_free(struct broker_fetch_results *r); /* accepts NULL */

struct broker_fetch_counters {
    uint64_t fetches, parked, sessions_made, sessions_evicted, bytes;
    uint32_t sessions, session_partitions; /* now */
    uint64_t memory_bytes;                 /* now: read, and not with a socket yet */
};
/* On the core loop. */
void broker_fetch_counters(const struct broker *b, struct broker_fetch_counters *ret);

#endif
