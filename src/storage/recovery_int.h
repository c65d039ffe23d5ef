/* Inside of recovery: recovery.c decides what to do, recovery_replay.c applies the journal,
 * recovery_scan.c looks at segment files. One thread, before any other starts. */
#ifndef SLUICE_STORAGE_RECOVERY_INT_H
#define SLUICE_STORAGE_RECOVERY_INT_H

#include "storage/checkpoint_int.h"

/* What recovery knows of one partition. */
struct rec_part {
    struct log_part *part;
    int64_t row_next;   /* next offset of the checkpoint row: below it nothing is replayed */
    int64_t known_next; /* the highest next offset that a sync is known to have covered */
    int32_t epoch_max;  /* of any batch seen */
};

struct recovery {
    struct local_engine *engine;
    struct sl_fault *fault;
    struct map *parts; /* pid -> rec_part */
    uint64_t from_lsn;
    bool clean;
    int64_t now_ms;
    /* for the log */
    uint64_t replayed, skipped, unknown, cut_bytes, damaged;
};

struct rec_part *recovery__part(struct recovery *r, uint64_t pid);
/* The partition's segment with this base, made (in order) when there is none; *ret_new: it was. */
struct segment *recovery__segment(struct log_part *p, int64_t base_offset, bool *ret_new);

/* The folder of a partition that has rows but is not there. */
sl_err recovery__make_folder(struct recovery *r, const struct log_part *p) SL_CHECKED;
/* Writes the journal's records that no checkpoint row covers to their segments. */
sl_err recovery__replay(struct recovery *r) SL_CHECKED;
/* Finds the true end of one partition; cuts, or keeps and reports damage. */
sl_err recovery__scan(struct recovery *r, struct rec_part *rp) SL_CHECKED;
/* Segments follow one another; what is missing between two is noted as damage. The end. */
int64_t recovery__note_holes(struct log_part *p);

#endif
