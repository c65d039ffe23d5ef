/* Inside of the checkpoint: what the core loop hands to its thread. checkpoint.c takes and finishes
 * snapshots, checkpoint_save.c makes them durable, rescue.c moves bytes of fenced segments. */
#ifndef SLUICE_STORAGE_CHECKPOINT_INT_H
#define SLUICE_STORAGE_CHECKPOINT_INT_H

#include "storage/local_int.h"

struct snap_segment {
    struct segment *segment; /* counted */
    struct meta_segment row;
    struct index_entry *entries; /* owned copy */
    uint32_t n_entries;
};

/* One partition as it was when its groups up to the snapshot's LSN were complete. */
struct snap_part {
    struct log_part *part; /* counted */
    struct meta_log_state row;
    struct buf producers;
    uint32_t first_segment, n_segments; /* in snapshot.segments */
};

struct snapshot {
    struct snap_part *parts;
    struct snap_segment *segments;
    size_t n_parts, parts_cap, n_segments, segments_cap;
    uint64_t lsn;
    sl_err err;
};

/* A fenced segment whose journal-only bytes need a new home. */
struct rescue {
    struct list node;
    struct task finished;
    struct local_engine *engine;
    struct segment *segment; /* counted */
    struct segment *fresh;   /* made on the core loop, filled by the thread; counted */
    struct snapshot rows;    /* of the one partition */
    int64_t from, to;        /* offsets to copy */
    uint64_t fresh_bytes;
    unsigned tries;
    bool old_aside; /* the old file has been renamed */
    sl_err err;
};

/* ---- core loop ---- */
void snapshot__add(struct snapshot *s, struct log_part *p);
void snapshot__free(struct snapshot *s);

/* ---- checkpoint thread ---- */
/* Syncs the segments, writes the indexes, commits the rows, the LSN row last (unless lsn is 0). */
sl_err snapshot__save(struct local_engine *e, struct snapshot *s) SL_CHECKED;
/* What the segment's row will claim becomes true. SL_EIO: it is fenced. */
sl_err snapshot__sync_segment(struct local_engine *e, const struct snap_segment *ss) SL_CHECKED;
sl_err snapshot__commit_lsn(struct local_engine *e, uint64_t lsn) SL_CHECKED;
/* Reads the LSN row at start; 0: none. */
sl_err snapshot__load_lsn(struct local_engine *e, uint64_t *ret_lsn) SL_CHECKED;
void rescue__run(struct local_engine *e, struct rescue *r, uint64_t from_lsn);
/* ---- core loop ---- */
void checkpoint__submit_rescue(struct checkpoint *c, struct rescue *r);
void rescue__finished(struct task *t);

#endif
