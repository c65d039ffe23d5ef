/* Inside of the SQLite engine: shared by the files of this folder only.
 *
 * Who owns what. Core loop: offsets planned and completed, producers, watches, references. Writer
 * thread (writer.c): the only connection that writes, and what it knows of each partition's row.
 * Workers: reads and look-ups, with a connection of the pool (read.c). */
#ifndef SLUICE_STORAGE_SQLITE_INT_H
#define SLUICE_STORAGE_SQLITE_INT_H

#include "base/map.h"
#include "loop/loop.h"
#include "meta/metastore.h"
#include "meta/sqlite_files.h"
#include "storage/log_engine.h"
#include "storage/plan_int.h"
#include "storage/producers_int.h"
#include "storage/sqlite/rows.h"
#include "vfs/vfs.h"

#include <stdatomic.h>

struct sqlog;
struct sqlog_files;

enum {
    GROUP_APPENDS_MAX = 10000,
    SWEEP_ROWS = 1000, /* deleted in one transaction */
    SAMPLES = 16,
    SCRATCH_BYTES_MAX = 128 << 20, /* decompressed records of one batch */
};

/* Counted by its partitions and by the engine's table; core loop. row_id is set before its first
 * partition is used. */
struct sqlog_topic {
    struct sqlog *engine;
    unsigned refs;
    struct uuid id;
    int64_t row_id, number;
    struct list parts;
    bool dropped;
};

/* Rows below `next_offset` were there at `mono_ms`: time that no wall clock can jump over (B26). */
struct sqlog_sample {
    int64_t mono_ms, next_offset;
};

struct sqlog_epoch {
    int32_t epoch;
    int64_t start_offset;
};

/* Owner file: part.c. */
struct sqlog_part {
    struct log_part_head head; /* first */
    struct sqlog *engine;
    struct sqlog_topic *topic; /* counted */
    struct log_part_id id;
    unsigned refs; /* core loop: the topic; appends, reads and jobs under way */
    /* core loop */
    struct log_topic_cfg cfg;
    int64_t log_start, high_watermark, plan_next, bytes;
    int64_t last_append_ms;
    uint32_t inflight;
    uint32_t gen; /* rises when an append fails: what was planned before fails too */
    struct producers *producers;
    struct list watches, topic_node;
    struct sqlog_epoch *epochs; /* fixed after the start; NULL: only epoch 0 from offset 0 */
    uint32_t n_epochs;
    int32_t leader_epoch;
    struct sqlog_sample samples[SAMPLES]; /* oldest first */
    uint32_t n_samples;
    int64_t retained_mono_ms; /* of the last retention job */
    bool cleaning;            /* a job of retention or a sweep is under way */
    bool needs_sweep;         /* rows below the log start are left */
    /* any thread */
    atomic_bool dropped;
    _Atomic int64_t deleted_below; /* set before rows go */
    /* writer thread */
    struct sqlog_row row, kept; /* in the open transaction; as committed */
    bool touched;
    struct sqlog_part *next_touched;
    uint32_t bad_gen;
    sl_err bad_err;
};

/* What the writer takes from its queue. */
struct sqlog_item {
    struct list node;
    bool is_append;
};

/* One append on its way. */
struct sqlog_pending {
    struct sqlog_item item;    /* first */
    struct log_append *append; /* NULL: answered or abandoned */
    struct sqlog_part *part;   /* counted */
    struct log_batch one, *batches;
    uint32_t n_batches, gen;
    size_t bytes;
    enum log_durability durability;
    bool append_time, duplicate, placed;
    int64_t base_offset, next_offset, append_ms;
    int64_t row_bytes; /* out of the writer */
    sl_err err;
};

/* Anything else that writes: a transaction of its own, in its place among the appends. */
struct sqlog_job {
    struct sqlog_item item; /* first */
    struct task task;
    struct sqlog *engine;
    struct sqlog_part *part; /* counted, or NULL */
    /* Writer thread, inside a transaction. */
    sl_err (*run)(struct sqlog_job *j, struct sqlog_db *db);
    void (*done)(struct sqlog_job *j); /* core loop; frees it */
    sl_err err;
    struct sl_fault fault;
    void *user;
    int64_t number, number2;
};

struct sqlog_group {
    struct task task;
    struct sqlog *engine;
    struct list pendings;
    bool fatal;
};

struct sqlog_writer {
    struct mutex *lock;
    struct cond *changed;
    struct list queue; /* of sqlog_item */
    bool stopping;
    struct thread *thread; /* NULL: not started */
    struct sqlog_db db;
    struct buf scratch;
    struct sqlog_part *touched; /* whose rows the open transaction changes */
    int64_t space_checked_ms;
    bool broken;              /* a commit of unknown outcome happened, nothing goes on */
    uint64_t unchecked_bytes; /* written since the free space was looked at */
    atomic_bool full;         /* the reserve of the disk is all that is left: no appends */
};

struct sqlog {
    struct log_engine base; /* first */
    struct log_cfg cfg;
    struct log_env env;
    char *dir;
    /* core loop */
    struct map *topics; /* by uuid */
    struct map *parts;  /* by uuid and index */
    struct list turn;   /* of sqlog_pending */
    struct list ripe;   /* watches to fire */
    struct task handover;
    bool handover_armed, dead, finishing;
    size_t queued_bytes;
    uint32_t inflight, jobs_pending;
    struct log_engine_counters counters;
    struct log_done *closing;
    sl_err close_err;
    struct timer tick;
    size_t cursor;
    int64_t expired_mono_ms;
    /* others */
    struct sqlog_files *files; /* VFS of SQLite */
    atomic_bool opened;        /* sluice.db; set by who has the connection */
    struct sqlog_writer writer;
    struct mutex *pool_lock;
    struct list pool; /* of connections that read */
};

static inline struct sqlog *sqlog__of(struct log_engine *base)
{
    return SL_CONTAINER_OF(base, struct sqlog, base);
}
static inline struct sqlog_part *sqlog__part(struct log_part *p)
{
    return (struct sqlog_part *)(void *)p;
}

/* ---- engine.c ---- */
void sqlog__die(struct sqlog *e, const char *why);
void sqlog__idle_check(struct sqlog *e);
void sqlog__arm_turn_end(struct sqlog *e);

/* ---- part.c ---- */
struct sqlog_topic *sqlog__topic(struct sqlog *e, const struct uuid *id);
void sqlog__topic_unref(struct sqlog_topic *t);
struct sqlog_part *sqlog__part_of(struct sqlog_topic *t, int32_t index); /* made when absent */
struct sqlog_part *sqlog__part_ref(struct sqlog_part *p);
void sqlog__part_unref(struct sqlog_part *p);
void sqlog__part_wake(struct sqlog_part *p);
void sqlog__set_epoch(struct sqlog_part *p, int32_t epoch, int64_t start_offset);
/* The epoch of an offset, and the first offset of the next one (INT64_MAX: none). */
int32_t sqlog__epoch_at(const struct sqlog_part *p, int64_t offset, int64_t *ret_end);

/* ---- append.c ---- */
void sqlog__append(struct log_engine *base, struct log_append *a);
void sqlog__abandon(struct log_engine *base, struct log_append *a);
void sqlog__handover(struct task *t);
void sqlog__group_done(struct task *t);

/* ---- writer.c ---- */
sl_err sqlog__writer_start(struct sqlog *e) SL_CHECKED;
void sqlog__writer_stop(struct sqlog *e);
void sqlog__submit_appends(struct sqlog *e, struct list *pendings);
/* Takes the job; done is called on the core loop, later. */
void sqlog__submit_job(struct sqlog *e, struct sqlog_job *j);
struct sqlog_job *sqlog__job_new(struct sqlog *e, struct sqlog_part *part_or_null,
                                 sl_err (*run)(struct sqlog_job *j, struct sqlog_db *db),
                                 void (*done)(struct sqlog_job *j));
void sqlog__job_free(struct sqlog_job *j);
/* The partition's row is going to change in this transaction. */
void sqlog__touch(struct sqlog *e, struct sqlog_part *p);
/* The row of every partition that was touched. */
sl_err sqlog__put_touched(struct sqlog *e, struct sl_fault *fault) SL_CHECKED;
/* The transaction ended: its rows are what is there, or those before it. */
void sqlog__forget_touched(struct sqlog *e, bool committed);

/* ---- load.c: what sluice.db has, at the start ---- */
sl_err sqlog__load(struct sqlog *e, struct sl_fault *fault) SL_CHECKED;
/* Opens or makes the database for writing. */
sl_err sqlog__open_db(struct sqlog *e, struct sl_fault *fault) SL_CHECKED;

/* Whether the file was left in good order: as long as it runs, it was not. */
sl_err sqlog__put_clean(struct sqlog_db *db, bool clean, struct sl_fault *fault) SL_CHECKED;

/* ---- read.c, lookup.c ---- */
struct sqlog_reader {
    struct list node;
    sqlite3 *db;
    sqlite3_stmt *statements[READ_COUNT];
};
sl_err sqlog__read(struct log_engine *base, struct log_read *r);
sl_err sqlog__lookup(struct log_engine *base, struct log_lookup *l);
/* Workers: a connection for one job. */
sl_err sqlog__reader_take(struct sqlog *e, struct sqlog_reader **ret) SL_CHECKED;
void sqlog__reader_give(struct sqlog *e, struct sqlog_reader *r);
void sqlog__pool_free(struct sqlog *e);

/* ---- retention.c: trim, retention, sweeps ---- */
void sqlog__trim(struct log_engine *base, struct log_part *p, int64_t offset, struct log_done *d);
void sqlog__sweep(struct sqlog_part *p);
void sqlog__sweep_topic(struct sqlog *e, int64_t topic_row);
void sqlog__retention_start(struct sqlog *e);
void sqlog__retention_stop(struct sqlog *e);

/* ---- topics.c ---- */
/* Inside a transaction. */
sl_err sqlog__topic_put(struct sqlog_db *db, const struct log_topic_spec *spec, int64_t *ret_row,
                        struct sl_fault *fault) SL_CHECKED;
/* All but its messages, which sqlog__sweep_topic deletes. */
sl_err sqlog__topic_delete(struct sqlog_db *db, int64_t row_id, struct sl_fault *fault) SL_CHECKED;
void sqlog__topic_write(struct log_engine *base, const struct log_topic_spec *spec,
                        struct log_done *d);
void sqlog__topic_drop(struct log_engine *base, const struct uuid *topic_id, struct log_done *d);
/* Before the rows of the topic go: its appends and reads end. After a drop that failed: they may go
 * on. */
void sqlog__topic_block(struct sqlog *e, const struct uuid *topic_id, bool blocked);

#endif
