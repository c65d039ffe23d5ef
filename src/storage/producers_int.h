/* Idempotent producers of one partition: what was written, what is planned, who is a duplicate.
 *
 * Every engine shares it. An entry holds the last five completed batches and the last five planned
 * ones: a batch is planned when it is queued and completed when its group is (STORAGE.md b). When
 * an append fails, producers__reset_planned returns all entries to their last completed batch.
 * Compact: open addressing, nothing allocated until the first idempotent batch. Owner's thread. */
#ifndef SLUICE_STORAGE_PRODUCERS_INT_H
#define SLUICE_STORAGE_PRODUCERS_INT_H

#include "base/buf.h"
#include "record/batch.h"

enum { PRODUCER_WINDOW = 5 };

/* One batch that a producer wrote. */
struct produced {
    int32_t base_sequence, last_sequence;
    int64_t base_offset;
};

/* Newest last; at most PRODUCER_WINDOW. */
struct produced_window {
    struct produced batch[PRODUCER_WINDOW];
    int16_t epoch;
    uint8_t n;
};

struct producer {
    int64_t id; /* -1: free slot */
    int64_t last_append_ms;
    uint32_t planned_count; /* queued and not completed; 0: `planned` means nothing */
    struct produced_window done, planned;
};

struct producers;

/* The entry of a producer, or NULL. Accepts NULL. */
struct producer *producers__find(const struct producers *t, int64_t id);
/* Plans a batch that plan__sequence accepted. *t is made when NULL. */
void producers__plan(struct producers **t, const struct batch_info *info, int64_t base_offset);
/* The batch's group is synced. `info` as it was planned. */
void producers__complete(struct producers *t, const struct batch_info *info, int64_t base_offset,
                         int64_t append_ms);
/* Recovery: a batch read back from the log; *t is made when NULL. */
void producers__apply(struct producers **t, const struct batch_info *info, int64_t append_ms);
/* Every planned batch failed. Accepts NULL. */
void producers__reset_planned(struct producers *t);
/* Forgets producers without planned batches that wrote last before `before_ms`. Accepts NULL. */
void producers__expire(struct producers *t, int64_t before_ms);
size_t producers__count(const struct producers *t); /* accepts NULL */
/* Iterates in table order: for (size_t i = 0; (p = producers__next(t, &i));). Accepts NULL. */
const struct producer *producers__next(const struct producers *t, size_t *iterator);
void producers__free(struct producers *t); /* accepts NULL */

/* Snapshot of the completed batches (docs/formats/producer-snapshot.md). SL_EFULL at b's ceiling.
 */
sl_err producers__save(const struct producers *t, struct buf *b) SL_CHECKED;
/* SL_EFORMAT: a newer version; SL_ECORRUPT: not a snapshot. *ret may become NULL: nobody. */
sl_err producers__load(struct slice blob, struct producers **ret) SL_CHECKED;

#endif
