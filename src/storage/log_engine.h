/* A storage engine: partitions of record batches, behind one table of functions.
 *
 * All calls are made on the core loop and complete on it. Contract (STORAGE.md a): completions of
 * one partition come in submit order and offsets are dense; success means that the level holds
 * now; an outcome that is not known is SL_EUNKNOWN_OUTCOME, never a definite error; nothing above
 * the high watermark is read; a failed append consumed no offset, and fails every later planned
 * append of its partition. The engine knows no names' rights and no protocol. */
#ifndef SLUICE_STORAGE_LOG_ENGINE_H
#define SLUICE_STORAGE_LOG_ENGINE_H

#include "base/clock.h"
#include "base/list.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "record/batch.h"

struct loop;
struct metastore;
struct vfs;
struct workers;
struct log_engine;
struct log_part; /* one open partition; the engine's, valid until the drop of its topic is done */

/* Where a topic keeps its records: storage.engine. Fixed when the topic is made. */
enum log_engine_kind { LOG_ENGINE_LOCAL, LOG_ENGINE_SQLITE, LOG_ENGINE_COUNT };

/* What struct log_part of every engine starts with. */
struct log_part_head {
    struct log_engine *engine; /* whose it is */
};

enum log_durability {
    LOG_NONE,     /* acks=0: done is called when queued */
    LOG_BUFFERED, /* acks=1: its group is written; survives kill -9 */
    LOG_DURABLE,  /* acks=all: its group is synced; survives power loss */
};

/* Where the engine gets time, chance, files, metadata and threads from. All borrowed. */
struct log_env {
    const struct clock *clock;
    struct rng *rng;
    struct vfs *vfs;
    struct metastore *meta;
    struct loop *loop; /* the core loop */
    struct workers *workers;
    /* The journal or the metastore is lost: waiters have got SL_EUNKNOWN_OUTCOME, the process must
     * end now. NULL: it aborts. */
    void (*fatal)(void *arg);
    void *fatal_arg;
};

/* Limits of the engine; zero fields take the default in brackets. */
struct log_cfg {
    const char *data_dir;
    struct uuid cluster_id;      /* of DIR/FORMAT, which the server owns */
    size_t open_files_max;       /* segment handles in the LRU [900] */
    uint64_t page_cache_bytes;   /* newest bytes left to the kernel's page cache [1 GiB] */
    uint64_t journal_file_bytes; /* [64 MiB] */
    uint32_t journal_files_max;  /* [8] */
    size_t group_bytes_max;      /* bytes drained into one commit group [16 MiB] */
    size_t queue_bytes_max;      /* appended and not written: beyond it SL_ELIMIT [48 MiB] */
    int64_t checkpoint_ms;       /* [30,000] */
    int64_t producer_expiry_ms;  /* silence after which a producer is forgotten [1 day] */
    uint64_t ballast_bytes;      /* [64 MiB]; UINT64_MAX: none (tests) */
    uint64_t reserve_bytes;      /* free space below which appends are refused [32 MiB] */
};

/* What a topic's settings mean to its log. Changes apply to the next roll or retention run. */
struct log_topic_cfg {
    int64_t segment_bytes, segment_ms, segment_jitter_ms;
    int64_t retention_ms, retention_bytes; /* -1: unlimited; bytes per partition */
    int64_t index_interval_bytes;
    int64_t file_delete_delay_ms;
    bool delete_old; /* cleanup.policy has "delete" */
    enum log_engine_kind engine;
};

struct log_part_id {
    uint64_t pid; /* number in the metastore, never reused */
    struct uuid topic_id;
    int32_t index;
};

/* One validated batch to append, and its header. */
struct log_batch {
    struct slice bytes; /* counted; base offset and leader epoch are patched in place */
    struct batch_info info;
};

/* One append to one partition. Owned by the caller until done is called. */
struct log_append {
    /* in */
    struct log_part *part;
    struct log_batch *batches; /* appended together, contiguous; the engine keeps references */
    uint32_t n_batches;
    enum log_durability durability;
    bool append_time; /* LogAppendTime: stamp with the engine's non-decreasing append clock */
    /* Called exactly once, on the core loop, never before log_append returns. */
    void (*done)(struct log_append *a);
    /* out: err SL_OK; SL_ESEQ, SL_ESEQ_OLD, SL_EPRODUCER_FENCED (planner); SL_ENOSPC, SL_ELIMIT,
     * SL_EIO (nothing happened); SL_EUNKNOWN_OUTCOME; SL_ETOPIC (dropped meanwhile) */
    sl_err err;
    bool duplicate;        /* every batch was a repeat: base_offset is the original's */
    int64_t base_offset;   /* of the first batch */
    int64_t log_append_ms; /* -1 unless append_time */
    /* internal */
    struct list node;
    void *engine_data;
    uint64_t engine_word[4];
};

/* One read from one partition. Results are whole batches, consecutive, the first one contains
 * `offset` (or is the first after it). */
struct log_read {
    /* in */
    struct log_part *part;
    int64_t offset;
    uint32_t bytes_max; /* soft: the first batch comes whole when at_least_one is set */
    bool at_least_one;
    void (*done)(struct log_read *r); /* only when log_read returned SL_PENDING */
    /* out; the caller unrefs the slice (it may hold several batches) */
    sl_err err; /* SL_OK, SL_EOFFSET, SL_ECORRUPT (that range only), SL_EIO, SL_ETOPIC */
    struct slice data;
    /* internal */
    void *engine_data;
};

enum log_lookup_kind { LOG_BY_TIMESTAMP, LOG_MAX_TIMESTAMP };

struct log_lookup {
    struct log_part *part;
    enum log_lookup_kind kind;
    int64_t timestamp_ms;
    void (*done)(struct log_lookup *l); /* only after SL_PENDING */
    sl_err err;
    int64_t offset, found_timestamp_ms; /* -1, -1: none */
    int32_t leader_epoch;
    void *engine_data;
};

/* One-shot: called on the core loop when the high watermark passes `above`, and on drop. */
struct log_watch {
    struct list node; /* not linked: not armed */
    int64_t above;
    void (*moved)(struct log_watch *w);
};

/* Completion of the rarer calls. Owned by the caller; done is called exactly once, later. */
struct log_done {
    void (*done)(struct log_done *d);
    sl_err err;
    struct sl_fault fault;
    void *engine_data;
};

struct log_part_state {
    int64_t log_start, high_watermark, log_end; /* start <= hw <= end */
    int64_t bytes;                              /* on disk */
    int32_t leader_epoch;
    uint32_t segments;
    int64_t damaged_from, damaged_to; /* -1, -1: none; readyz and doctor name it */
};

/* A producer as DescribeProducers shows it. */
struct log_producer {
    int64_t producer_id;
    int16_t epoch;
    int32_t last_sequence;
    int64_t last_timestamp_ms, current_txn_start_offset;
};

struct log_engine_counters {
    uint64_t groups, syncs, appended_batches, appended_bytes, sync_ns_total, read_bytes;
    uint64_t journal_groups, direct_groups, checkpoints, open_files, fenced_files;
    bool refusing_appends; /* disk full */
    bool metadata_rebuilt; /* this start found the metadata missing, damaged or old */
    uint64_t queued_bytes;
};

/* The file system of the data; -1: not known. */
struct log_space {
    int64_t total_bytes, usable_bytes;
};

/* What becomes of a topic.meta; names and config are opaque text here, kept so that meta.db can be
 * rebuilt (B04). */
struct log_topic_spec {
    struct uuid org, topic_id;
    int64_t number, created_ms; /* as in the row of the topic */
    const char *name;
    struct slice config_text;
    const struct log_part_id *parts;
    uint32_t n_parts;
    enum log_engine_kind engine; /* config_text says the same */
};

struct log_engine_ops {
    void (*append)(struct log_engine *e, struct log_append *a);
    void (*abandon)(struct log_engine *e, struct log_append *a);
    sl_err (*read)(struct log_engine *e, struct log_read *r);
    sl_err (*lookup)(struct log_engine *e, struct log_lookup *l);
    void (*watch)(struct log_engine *e, struct log_part *p, struct log_watch *w);
    void (*topic_write)(struct log_engine *e, const struct log_topic_spec *spec,
                        struct log_done *d);
    void (*topic_drop)(struct log_engine *e, const struct uuid *topic_id, struct log_done *d);
    struct log_part *(*part_open)(struct log_engine *e, const struct log_part_id *id,
                                  const struct log_topic_cfg *cfg);
    void (*part_configure)(struct log_engine *e, struct log_part *p,
                           const struct log_topic_cfg *cfg);
    void (*trim)(struct log_engine *e, struct log_part *p, int64_t offset, struct log_done *d);
    void (*part_state)(struct log_part *p, struct log_part_state *ret);
    sl_err (*epoch_end)(struct log_part *p, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end);
    size_t (*producers)(struct log_part *p, struct log_producer *ret, size_t max);
    void (*counters)(struct log_engine *e, struct log_engine_counters *ret);
    void (*space)(struct log_engine *e, struct log_space *ret);
    void (*close)(struct log_engine *e, struct log_done *d);
};

struct log_engine {
    const struct log_engine_ops *ops;
};

/* Opens the local engine: locks nothing (the server holds DIR/LOCK), recovers, and returns when
 * every acknowledged record is in place. Blocking; before the core loop runs. SL_EFORMAT: a newer
 * format. The metastore's partition rows must be loaded by the caller's broker afterwards. */
sl_err log_local_open(const struct log_cfg *cfg, const struct log_env *env, struct sl_fault *fault,
                      struct log_engine **ret) SL_CHECKED;

/* Opens the engines that this process has, behind one: each call goes to the engine of its topic
 * (log_topic_cfg.engine, log_topic_spec.engine), the rarer ones to all. As log_local_open, which it
 * calls. DIR/sluice.db is made with the first topic whose engine is sqlite. An error with *ret set:
 * only that it is closed is allowed. */
sl_err log_open(const struct log_cfg *cfg, const struct log_env *env, struct sl_fault *fault,
                struct log_engine **ret) SL_CHECKED;

/* "local", "sqlite": as in the rows of topics. */
static inline const char *log_engine_name(enum log_engine_kind kind)
{
    return kind == LOG_ENGINE_SQLITE ? "sqlite" : "local";
}
/* LOG_ENGINE_COUNT: none of ours. */
static inline enum log_engine_kind log_engine_by_name(const char *name)
{
    if (strcmp(name, "sqlite") == 0)
        return LOG_ENGINE_SQLITE;
    return strcmp(name, "local") == 0 ? LOG_ENGINE_LOCAL : LOG_ENGINE_COUNT;
}

static inline void log_append(struct log_engine *e, struct log_append *a)
{
    e->ops->append(e, a);
}
/* Nobody waits for this append any more: done is not called, `a` is the caller's again. The append
 * itself goes on, and a repeat of an idempotent batch finds it. Only while done is outstanding. */
static inline void log_abandon(struct log_engine *e, struct log_append *a)
{
    e->ops->abandon(e, a);
}
/* SL_OK or an error: finished, the results are in r; SL_PENDING: done will be called. */
static inline sl_err log_read(struct log_engine *e, struct log_read *r)
{
    return e->ops->read(e, r);
}
static inline sl_err log_lookup(struct log_engine *e, struct log_lookup *l)
{
    return e->ops->lookup(e, l);
}
/* Arms w; fires at once (in a later turn) when the watermark is above already.
 * list_remove(&w->node) disarms. */
static inline void log_watch(struct log_engine *e, struct log_part *p, struct log_watch *w)
{
    e->ops->watch(e, p, w);
}
/* Writes or rewrites topic.meta and makes the partition directories, durably: before the row of a
 * new topic or new partitions or new config is committed. */
static inline void log_topic_write(struct log_engine *e, const struct log_topic_spec *spec,
                                   struct log_done *d)
{
    e->ops->topic_write(e, spec, d);
}
/* Deletes a topic: marks its topic.meta deleted (synced), commits META_TOPIC_DELETE of its rows,
 * then renames its directory and unlinks later. Waiting appends and reads end with SL_ETOPIC at
 * once. SL_OK: the name is free and no restart brings the topic back. Accepts a topic that has a
 * topic.meta and no rows (a creation that failed half way). */
static inline void log_topic_drop(struct log_engine *e, const struct uuid *topic_id,
                                  struct log_done *d)
{
    e->ops->topic_drop(e, topic_id, d);
}
/* The handle of a partition whose row exists; cheap, opens no file. Never NULL. */
static inline struct log_part *log_part_open(struct log_engine *e, const struct log_part_id *id,
                                             const struct log_topic_cfg *cfg)
{
    return e->ops->part_open(e, id, cfg);
}
static inline void log_part_configure(struct log_engine *e, struct log_part *p,
                                      const struct log_topic_cfg *cfg)
{
    e->ops->part_configure(e, p, cfg);
}
/* Moves the log start to `offset` (DeleteRecords), durably, then removes whole segments below.
 * SL_ETIMEDOUT: a rescue that does not end held the partition; nothing happened. */
static inline void log_trim(struct log_engine *e, struct log_part *p, int64_t offset,
                            struct log_done *d)
{
    e->ops->trim(e, p, offset, d);
}
static inline void log_part_state(struct log_engine *e, struct log_part *p,
                                  struct log_part_state *ret)
{
    e->ops->part_state(p, ret);
}
/* OffsetForLeaderEpoch: the largest epoch <= `epoch` and the first offset after it. */
static inline sl_err log_epoch_end(struct log_engine *e, struct log_part *p, int32_t epoch,
                                   int32_t *ret_epoch, int64_t *ret_end)
{
    return e->ops->epoch_end(p, epoch, ret_epoch, ret_end);
}
static inline size_t log_producers(struct log_engine *e, struct log_part *p,
                                   struct log_producer *ret, size_t max)
{
    return e->ops->producers(p, ret, max);
}
static inline void log_counters(struct log_engine *e, struct log_engine_counters *ret)
{
    e->ops->counters(e, ret);
}
static inline void log_space(struct log_engine *e, struct log_space *ret)
{
    e->ops->space(e, ret);
}
/* Finishes what is queued, checkpoints, marks a clean shutdown, frees the engine, then done. */
static inline void log_engine_close(struct log_engine *e, struct log_done *d)
{
    e->ops->close(e, d);
}

#endif
