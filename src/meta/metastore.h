/* The metadata store: small rows, durable before their completion, one table of functions.
 *
 * State is loaded once at start (the core keeps it in memory and owns it) and written as
 * transactions of typed rows. Every transaction is atomic; those that wait are committed together
 * by the metadata thread (group commit) and complete in submit order. A failed commit of unknown
 * outcome (SQLITE_IOERR) is SL_EUNKNOWN_OUTCOME and the process must end; SL_ENOSPC refuses that
 * one transaction. `org` is part of every key that holds a user's name. Implementations:
 * meta/sqlite (meta.db); PostgreSQL later. */
#ifndef SLUICE_META_METASTORE_H
#define SLUICE_META_METASTORE_H

#include "base/slice.h"
#include "base/uuid.h"
#include "loop/loop.h"

struct metastore;
struct vfs;

/* ---- rows: strings NUL-terminated and borrowed until the transaction is done ---------------- */

struct meta_topic {
    struct uuid topic_id, org;
    const char *name;
    int64_t number;     /* small unique number, never reused: message ids */
    int32_t partitions; /* count */
    int64_t created_ms;
    const char *engine;       /* "local" */
    struct slice config_text; /* "name=value\n" of the settings that differ from the default */
};

struct meta_partition {
    uint64_t pid; /* never reused */
    struct uuid topic_id;
    int32_t index;
};

/* A partition as of the last checkpoint (recovery trusts it; carries a crc32c in the store). */
struct meta_log_state {
    uint64_t pid;
    int64_t log_start, next_offset;
    int64_t last_append_ms;
    struct slice producers; /* snapshot blob of storage, versioned */
};

struct meta_segment {
    uint64_t pid;
    int64_t base_offset;
    int64_t synced_bytes; /* valid length known to be on disk */
    int64_t last_append_ms, max_timestamp_ms;
    int64_t next_offset; /* first offset behind the synced bytes */
    uint8_t state;       /* storage's: active, sealed, fenced */
};

struct meta_leader_epoch {
    uint64_t pid;
    int32_t epoch;
    int64_t start_offset;
};

struct meta_group {
    struct uuid org;
    const char *group;
    int64_t generation_ceiling; /* no generation above it has been told to anybody */
    struct slice state;         /* broker's blob, versioned: protocol, members, assignment */
};

struct meta_offset {
    struct uuid org;
    const char *group;
    struct uuid topic_id;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;
    struct slice metadata;        /* any bytes of the client, NUL included; kept as sent */
    int64_t commit_ms, expire_ms; /* expire -1: by the broker's retention */
};

/* What a group has of a partition beyond its committed offset: broker's blob, versioned. */
struct meta_share {
    struct uuid org;
    const char *group;
    struct uuid topic_id;
    int32_t partition;
    struct slice ranges;
};

enum meta_op_kind {
    META_TOPIC_PUT,        /* topic */
    META_TOPIC_DELETE,     /* topic.topic_id: with all rows of its partitions, offsets, shares */
    META_PARTITION_PUT,    /* partition */
    META_LOG_STATE_PUT,    /* log_state */
    META_LOG_START_PUT,    /* log_state.pid, log_state.log_start only */
    META_SEGMENT_PUT,      /* segment */
    META_SEGMENT_DELETE,   /* segment.pid, segment.base_offset */
    META_LEADER_EPOCH_PUT, /* leader_epoch; older ones that do not start before it go */
    META_GROUP_PUT,        /* group */
    META_GROUP_DELETE,     /* group.org, group.group: with its offsets and shares */
    META_OFFSET_PUT,       /* offset */
    META_OFFSET_DELETE,    /* offset's key; its share goes, too */
    META_SHARE_PUT,        /* share */
    META_SHARE_DELETE,     /* share's key */
    META_SETTING_PUT,      /* setting: org + name -> text (broker configs, cluster id, lsn) */
    META_SETTING_DELETE,   /* setting.org, setting.name */
    META_COUNTER_RAISE,    /* counter: numbers up to `at_least` count as given (rebuilt stores) */
    META_COUNTER_TAKE,     /* counter: what meta_reserve does */
};

struct meta_setting {
    const char *name;
    struct slice value;
    struct uuid org; /* zero: the broker's own */
};

struct meta_counter {
    const char *name;
    int64_t at_least;   /* RAISE */
    int64_t n;          /* TAKE: how many */
    int64_t *ret_first; /* TAKE: the first one, valid when the transaction succeeded */
};

struct meta_op {
    enum meta_op_kind kind;
    union {
        struct meta_topic topic;
        struct meta_partition partition;
        struct meta_log_state log_state;
        struct meta_segment segment;
        struct meta_leader_epoch leader_epoch;
        struct meta_group group;
        struct meta_offset offset;
        struct meta_share share;
        struct meta_setting setting;
        struct meta_counter counter;
    };
};

/* One transaction. Owned by the submitter until done; ops and what they point to stay untouched. */
struct meta_txn {
    struct task task; /* internal: queue, then completion */
    const struct meta_op *ops;
    size_t n_ops;
    struct loop *home; /* where done is called; NULL with meta_commit */
    void (*done)(struct meta_txn *t);
    sl_err err;
    struct sl_fault fault;
    bool finished; /* internal: meta_commit waits for it */
};

/* Calls of each row at load; a non-OK result stops the load and is returned. */
struct meta_loader {
    void *arg;
    sl_err (*topic)(void *arg, const struct meta_topic *row);
    sl_err (*partition)(void *arg, const struct meta_partition *row);
    sl_err (*log_state)(void *arg, const struct meta_log_state *row);
    sl_err (*segment)(void *arg, const struct meta_segment *row); /* by pid, base_offset */
    sl_err (*leader_epoch)(void *arg, const struct meta_leader_epoch *row); /* by pid, epoch */
    sl_err (*group)(void *arg, const struct meta_group *row);
    sl_err (*offset)(void *arg, const struct meta_offset *row);
    sl_err (*share)(void *arg, const struct meta_share *row);
    sl_err (*setting)(void *arg, const struct meta_setting *row);
};

struct metastore_ops {
    void (*submit)(struct metastore *m, struct meta_txn *t);
    sl_err (*commit)(struct metastore *m, struct meta_txn *t);
    sl_err (*load)(struct metastore *m, const struct meta_loader *loader, struct sl_fault *fault);
    sl_err (*reserve)(struct metastore *m, const char *counter, int64_t n, int64_t *ret_first);
    void (*close)(struct metastore *m);
};

struct metastore {
    const struct metastore_ops *ops;
};

/* Opens or creates <dir>/meta.db and migrates it. Rows that fail their checksum: SL_ECORRUPT, the
 * file is left as found. SL_EFORMAT: made by a newer version. Starts the metadata thread. */
sl_err meta_sqlite_open(struct vfs *v, const char *dir, struct sl_fault *fault,
                        struct metastore **ret) SL_CHECKED;

/* The setting by which a store proves that it belongs to the log beside it: the LSN of the last
 * checkpoint. What is put together from the rows of a damaged store does not have it. */
#define META_LSN_SETTING "storage.lsn"

/* As meta_sqlite_open, but damage refuses no start (B04): a damaged meta.db and its log are moved
 * to <dir>/quarantine and a new one is made of every row that still holds; a log whose end is
 * damaged is copied there. In both cases META_LSN_SETTING is missing afterwards: the storage engine
 * then scans its files and brings the topics back. What happened is logged. Any crash on the way is
 * gone on from at the next call. */
sl_err meta_sqlite_recover(struct vfs *v, const char *dir, struct sl_fault *fault,
                           struct metastore **ret) SL_CHECKED;

/* Any thread; t->done is posted to t->home once it is durable (or refused). */
static inline void meta_submit(struct metastore *m, struct meta_txn *t)
{
    m->ops->submit(m, t);
}
/* Blocking form, for threads that may block and for start. Joins the same group commit. */
static inline sl_err meta_commit(struct metastore *m, struct meta_txn *t)
{
    return m->ops->commit(m, t);
}
/* Blocking, at start: NULL members of the loader are skipped. May be called several times. */
static inline sl_err meta_load(struct metastore *m, const struct meta_loader *loader,
                               struct sl_fault *fault)
{
    return m->ops->load(m, loader, fault);
}
/* Blocking, at start or on a worker: n numbers from a counter ("pid", "topic", "producer"),
 * durable before they are returned, never given twice. The first number is 1. */
static inline sl_err meta_reserve(struct metastore *m, const char *counter, int64_t n,
                                  int64_t *ret_first)
{
    return m->ops->reserve(m, counter, n, ret_first);
}
/* Finishes what was submitted, joins the thread, frees. Accepts NULL. */
static inline void meta_close(struct metastore *m)
{
    if (m)
        m->ops->close(m);
}

#endif
