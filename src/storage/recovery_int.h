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
    bool in_journal;    /* some record of it is in the part that is replayed */
    int64_t first_file; /* base offset of its first segment file; -1: none was seen */
};

struct recovery {
    struct local_engine *engine;
    struct sl_fault *fault;
    struct map *parts;   /* pid -> rec_part */
    struct map *foreign; /* topics of other engines, by uuid */
    uint64_t from_lsn;
    bool clean;
    bool stale; /* meta.db is older than the log, or new: the files decide */
    bool lost;  /* stale, and nothing of it is known: new, rebuilt, or parts of it lost */
    int64_t now_ms;
    /* the highest numbers seen anywhere */
    uint64_t pid_max;
    int64_t topic_max, producer_max;
    /* for the log */
    uint64_t replayed, skipped, unknown, cut_bytes, damaged, restored;
};

struct rec_part *recovery__part(struct recovery *r, uint64_t pid);
/* The partition's segment with this base, made (in order) when there is none; *ret_new: it was. */
struct segment *recovery__segment(struct log_part *p, int64_t base_offset, bool *ret_new);

/* Rows of topics and their folders are made to agree; deletions under way are finished. */
sl_err recovery__topics(struct recovery *r) SL_CHECKED;
/* Stale: no number that was ever given is given again. After all logs were scanned. */
sl_err recovery__raise_counters(struct recovery *r) SL_CHECKED;
/* Stale, before the journal is read: the log starts where its files do. */
sl_err recovery__find_start(struct recovery *r, struct rec_part *rp) SL_CHECKED;

/* The folder of a partition that has rows but is not there. */
sl_err recovery__make_folder(struct recovery *r, const struct log_part *p) SL_CHECKED;
/* Writes the journal's records that no checkpoint row covers to their segments. */
sl_err recovery__replay(struct recovery *r) SL_CHECKED;
/* Finds the true end of one partition; cuts, or keeps and reports damage. */
sl_err recovery__scan(struct recovery *r, struct rec_part *rp) SL_CHECKED;
/* Segments follow one another; what is missing between two is noted as damage. The end. */
int64_t recovery__note_holes(struct log_part *p);

#endif
