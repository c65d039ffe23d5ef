/* Inside of the local engine: shared by the files of this folder only.
 *
 * Who owns what. Core loop: offsets planned and completed, high watermark, producers, index tails,
 * watches, the list of segments. Log-writer thread (writer.c): what is written to files and the
 * journal. Checkpoint thread (checkpoint.c): syncs, rows, CURRENT, rescue of fenced segments.
 * Fields below name their thread; file handles have the lock of file_cache.c. */
#ifndef SLUICE_STORAGE_LOCAL_INT_H
#define SLUICE_STORAGE_LOCAL_INT_H

#include "base/map.h"
#include "loop/loop.h"
#include "meta/metastore.h"
#include "storage/current_int.h"
#include "storage/file_cache_int.h"
#include "storage/index_int.h"
#include "storage/journal_int.h"
#include "storage/log_engine.h"
#include "storage/paths_int.h"
#include "storage/plan_int.h"
#include "storage/producers_int.h"

#include <stdatomic.h>

struct local_engine;

enum {
    /* Decision 0008: what a group must hold, in all and for each segment, to be written once only.
     */
    DIRECT_BYTES_MIN = 256 << 10,
    DIRECT_SEGMENT_BYTES_MIN = 64 << 10,
    DIRECT_SEGMENTS_MAX = 16,
    DIRECT_UNSYNCED_MAX = 16 << 20, /* direct bytes whose journal headers are not synced */
    JOURNAL_IDLE_MS = 100,
    CHECKPOINT_SLICE = 500, /* partitions per transaction and per turn of the core loop */
    READ_BYTES_MAX = 16 << 20,
    READ_HINTS = 4,
};
#define CHECKPOINT_JOURNAL_BYTES (UINT64_C(128) << 20)
#define CHECKPOINT_DIRECT_BYTES  (UINT64_C(256) << 20)

enum segment_state { SEGMENT_ACTIVE = 0, SEGMENT_SEALED = 1, SEGMENT_FENCED = 2 };

/* One append-only file of batches. Counted: the partition, appends under way, reads and the
 * checkpoint hold it. Owner file: segment.c. */
struct segment {
    atomic_uint refs;
    struct log_part *part; /* counted */
    int64_t base_offset;
    struct cached_file file; /* file cache's lock */
    /* core loop */
    int64_t plan_next, next_offset; /* planned, completed (readable) */
    uint64_t plan_bytes, bytes;
    int64_t first_append_ms, last_append_ms, max_timestamp_ms;
    int64_t sealed_mono_ms; /* when it was sealed, or the start of the process */
    struct index_tail index;
    enum segment_state state;
    bool row_dirty;            /* its row in meta.db is behind */
    bool row_saving;           /* a checkpoint is writing it */
    atomic_bool name_unsynced; /* its directory entry is not durable yet */
    /* log-writer thread */
    struct segment *after; /* counted until created: must be synced before this one exists */
    bool created;
    uint64_t group;
    sl_err group_err;
    uint64_t group_pos, group_end, writeback_pos;
    int64_t group_next;
    struct pending *group_first, **group_last;
};

struct read_hint {
    int64_t offset; /* 0 bytes of history: a reader that stopped here goes on at `pos` */
    int64_t segment_base;
    uint64_t pos;
};

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};

/* Owner file: part.c. */
struct log_part {
    struct log_part_head head; /* first */
    atomic_uint refs;          /* the engine while it is open; segments; appends under way */
    struct local_engine *engine;
    struct log_part_id id;
    /* core loop */
    struct log_topic_cfg cfg;
    int64_t log_start, high_watermark, plan_next;
    int64_t last_append_ms;
    struct segment *
        *segments; /* counted, by base offset, never a gap between neighbours but damage */
    uint32_t n_segments, segments_cap;
    uint32_t inflight; /* appends handed to the writer and not completed */
    uint32_t gen;      /* rises when an append fails: what was planned before fails too */
    struct producers *producers;
    struct list watches;
    struct list topic_node, dirty_node;
    struct read_hint *hints;
    struct epoch_entry *epochs; /* NULL: only epoch 0 from offset 0 */
    uint32_t n_epochs, next_hint;
    int32_t leader_epoch;
    int64_t damaged_from, damaged_to;
    bool read_only;            /* a segment is fenced; its rescue is under way */
    bool cleaning;             /* rows of old segments are being removed */
    bool saving;               /* a checkpoint is writing its rows */
    struct segment *to_rescue; /* counted; waits until nothing is in flight */
    /* any thread */
    atomic_bool dropped; /* its drop is under way or done: appends and reads end with SL_ETOPIC */
    atomic_bool gone;    /* its rows are: nothing of it is saved any more. Set under rows_lock */
    /* log-writer thread */
    uint32_t bad_gen;
    sl_err bad_err;
    uint64_t failed_group;
};

/* One append on its way: planned, written, completed. Pooled. */
struct pending {
    struct list node;
    struct pending *next_in_segment;
    struct log_part *part;     /* counted */
    struct segment *segment;   /* counted; NULL: nothing to write, it only keeps its place */
    struct log_append *append; /* NULL: answered already */
    struct log_batch *batches; /* own references; &one when n_batches is 1 */
    struct log_batch one;
    uint32_t n_batches, gen;
    uint64_t pos;
    size_t bytes;
    int64_t base_offset, next_offset, append_ms;
    enum log_durability durability;
    sl_err err, written_err; /* written_err: as of the write, before the sync */
    bool duplicate, append_time;
};

/* What one turn of the writer commits together. */
struct group {
    struct task written, done; /* both posted to the core loop, in this order */
    struct local_engine *engine;
    struct list pendings;
    uint64_t end_lsn, bytes, direct_bytes;
    bool has_early; /* some wait only for the write */
    bool fatal;     /* the journal is lost: outcomes are unknown, the process ends */
};

struct local_topic {
    struct uuid id;
    struct list parts; /* log_part.topic_node */
};

struct writer;
struct checkpoint;
struct retention;

struct local_engine {
    struct log_engine base; /* first */
    struct log_cfg cfg;
    struct log_env env;
    char *data_dir;
    struct map *parts;  /* pid -> log_part */
    struct map *topics; /* uuid -> local_topic */
    struct file_cache *files;
    struct journal *journal;
    struct current current; /* open: before the threads start; then the checkpoint thread */
    struct writer *writer;
    struct checkpoint *checkpoint;
    struct retention *retention;
    int64_t started_mono_ms;
    uint64_t replayed_lsn; /* where the replay stopped; set before the threads start */
    struct {
        int64_t last_ms; /* log-writer thread */
        uint64_t bytes;
        atomic_bool has_ballast;
        bool told; /* checkpoint thread: there is a journal now, the core loop has been told */
    } space;
    struct {
        struct task task; /* to the core loop: there is a journal, or it is lost */
        uint64_t lsn;
        sl_err err;
    } healed;
    /* core loop */
    struct task handover;
    bool handover_armed;
    struct list turn;  /* pendings of this turn */
    struct list ripe;  /* watches that fire at the end of this turn */
    struct list dirty; /* partitions whose rows are behind */
    struct list pool;  /* free pendings */
    size_t n_pool;
    size_t queued_bytes;
    uint64_t completed_lsn; /* behind the last completed group */
    uint64_t direct_bytes;  /* since the last checkpoint */
    uint32_t jobs_pending;  /* on workers or in the metastore: close waits for them */
    struct log_engine_counters counters;
    uint32_t inflight;
    struct log_done *closing;
    bool finishing;     /* the last checkpoint is under way */
    uint32_t unrescued; /* fenced segments: until their bytes moved, no checkpoint may pass them */
    uint32_t rescues_waiting; /* of them, until nothing of their partition is in flight */
    bool dead;                /* journal or metastore lost */
    /* Held while rows of partitions are committed that a drop may be deleting: workers, checkpoint
     * thread. */
    struct mutex *rows_lock;
    struct mutex *names_lock; /* held while a segment's folder is synced */
    /* any thread */
    atomic_bool refusing;      /* disk full */
    atomic_bool stopping;      /* closing: nothing is tried again */
    atomic_bool needs_journal; /* no space for one at start: nothing is appended or saved */
    atomic_uint_fast64_t syncs, sync_ns, fenced_files;
};

/* ---- part.c: core loop --------------------------------------------------------------------- */

struct log_part *part__new(struct local_engine *e, const struct log_part_id *id);
struct log_part *part__ref(struct log_part *p);
void part__unref(struct log_part *p);                           /* any thread; accepts NULL */
void part__push_segment(struct log_part *p, struct segment *s); /* takes the reference */
/* Removes the first n segments, dropping the list's references. */
void part__shift_segments(struct log_part *p, uint32_t n);
/* The last one, or NULL. */
struct segment *part__active(const struct log_part *p);
/* The segment that holds `offset` or starts behind it; NULL: none. */
struct segment *part__segment_for(const struct log_part *p, int64_t offset);
void part__seal(struct segment *s); /* nothing more is appended to it */
void part__mark_dirty(struct log_part *p);
/* Fires what waits below the high watermark. */
void part__wake(struct log_part *p);
int64_t part__bytes(const struct log_part *p);
void part__set_epoch(struct log_part *p, int32_t epoch, int64_t start_offset);
sl_err part__epoch_end(struct log_part *p, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end);
void part__damage(struct log_part *p, int64_t from, int64_t to);

/* ---- segment.c ----------------------------------------------------------------------------- */

struct segment *segment__new(struct log_part *p, int64_t base_offset);
struct segment *segment__ref(struct segment *s);
void segment__unref(struct segment *s); /* any thread; accepts NULL */
void segment__path(const struct segment *s, const char *ext, char ret[PATH_BYTES]);
/* The same for the file cache, which knows only the file. */
void segment__file_path(const struct cached_file *f, char ret[PATH_BYTES]);
/* Syncs the directory when the file's name is not durable. Writer, checkpoint. SL_EIO: it failed,
 * now or before. It is not tried again: a second sync would succeed and the name be gone all the
 * same. The file is fenced with nothing in it known to be on disk, so its bytes move to a file with
 * an entry of its own, which another sync can save. */
sl_err segment__sync_name(struct segment *s) SL_CHECKED;
/* Seed of the index pages' checksums. */
uint32_t segment__seed(const struct segment *s);

/* ---- append.c: core loop ------------------------------------------------------------------- */

void append__submit(struct local_engine *e, struct log_append *a);
void append__abandon(struct local_engine *e, struct log_append *a);
void append__handover(struct task *t);
void append__written(struct task *t); /* tasks of a group */
void append__done(struct task *t);
/* Fails what was planned and not completed: offsets, sequences and segments go back. */
void append__reset_planned(struct log_part *p);
void append__free_pool(struct local_engine *e);

/* ---- writer.c: the log-writer thread ------------------------------------------------------- */

sl_err writer__start(struct local_engine *e, struct writer **ret) SL_CHECKED;
/* Core loop: hands pendings over. */
void writer__submit(struct writer *w, struct list *pendings);
/* Checkpoint thread: begins the journal, which there was no space for at start, on the thread that
 * owns it, and waits for that. As journal__start. */
sl_err writer__start_journal(struct writer *w, uint64_t *ret_lsn) SL_CHECKED;
/* Ends the thread after what is queued, and frees. Blocking, brief; accepts NULL. */
void writer__stop(struct writer *w);
/* ---- read.c, lookup.c ---------------------------------------------------------------------- */

sl_err read__start(struct log_engine *base, struct log_read *r);
sl_err lookup__start(struct log_engine *base, struct log_lookup *l);
void read__set_hint(struct log_part *p, int64_t offset, const struct segment *s, uint64_t pos);

/* ---- checkpoint.c -------------------------------------------------------------------------- */

sl_err checkpoint__start(struct local_engine *e, struct checkpoint **ret) SL_CHECKED;
/* Any thread: soon, please. */
void checkpoint__request(struct checkpoint *c);
/* Core loop. Runs until nothing is dirty, marks a clean shutdown, then calls done. */
void checkpoint__finish(struct checkpoint *c, void (*done)(struct local_engine *e, sl_err err));
void checkpoint__stop(struct checkpoint *c); /* joins and frees; accepts NULL */
/* Core loop: the segment's bytes above its synced length move from the journal to a new one. */
void checkpoint__rescue(struct checkpoint *c, struct segment *s);
/* Core loop, when nothing of the partition is in flight any more. */
void checkpoint__start_rescue(struct checkpoint *c, struct log_part *p);
uint64_t checkpoint__count(const struct checkpoint *c);
/* Core loop: the journal is not needed below it. */
uint64_t checkpoint__lsn(const struct checkpoint *c);

/* ---- space.c ------------------------------------------------------------------------------- */

/* Log-writer thread, after `bytes` were written: refuses appends before the disk is full. */
void space__check(struct local_engine *e, uint64_t bytes);
/* Checkpoint thread, and at open: gives the ballast up, or takes it back and heals. */
void space__tick(struct local_engine *e);
void space__healed(struct task *t); /* core loop */
/* True when the disk has as much left; also when that is not known. */
bool space__has(struct local_engine *e, uint64_t bytes);
void space__release_ballast(struct local_engine *e);

/* ---- topic_files.c: core loop, the work on workers ------------------------------------------- */

void topic_files__write(struct log_engine *base, const struct log_topic_spec *spec,
                        struct log_done *d);
void topic_files__drop(struct log_engine *base, const struct uuid *topic_id, struct log_done *d);

/* ---- retention.c: core loop ------------------------------------------------------------------ */

sl_err retention__start(struct local_engine *e, struct retention **ret) SL_CHECKED;
void retention__pause(struct retention *r); /* closing: waiting trims end, nothing new begins */
void retention__stop(struct retention *r);  /* accepts NULL */
/* The renamed folder of a dropped topic goes after the delay. */
void retention__unlink_later(struct local_engine *e, const struct uuid *topic_id, int64_t delay_ms);
void retention__trim(struct log_engine *base, struct log_part *p, int64_t offset,
                     struct log_done *d);

/* ---- recovery.c: before the threads start -------------------------------------------------- */

/* The LSN row and both CURRENT slots of a journal that begins at lsn. Also the checkpoint thread's,
 * when there was no space for it at start. */
sl_err recovery__publish_journal(struct local_engine *e, uint64_t lsn) SL_CHECKED;
sl_err recovery__run(struct local_engine *e, struct sl_fault *fault) SL_CHECKED;

/* The partition of a pid, made when it is new; adds it to its topic's list. */
struct log_part *engine__part(struct local_engine *e, const struct log_part_id *id);
/* Takes a partition whose rows are gone out of the maps. The caller gets the reference. */
void engine__forget_part(struct local_engine *e, struct log_part *p);

/* ---- engine.c ------------------------------------------------------------------------------ */

/* The journal or the metastore is lost: what waits gets "unknown", then the process ends. */
void engine__die(struct local_engine *e, const char *why);
/* To be called when something under way has ended while the engine is closing. */
void engine__idle_check(struct local_engine *e);
/* Calls the watches that log_watch found above their mark already. */
void engine__fire_ripe(struct local_engine *e);
static inline struct local_engine *engine__of(struct log_engine *base)
{
    return (struct local_engine *)(void *)base;
}

#endif
