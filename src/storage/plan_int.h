/* plan(): which offsets and sequences a batch gets. Pure: no clock, no disk, no loop.
 *
 * Shared by every engine. The caller keeps the partition's planned end and applies a verdict with
 * producers__plan. Rules: STORAGE.md (b), "Producer state". */
#ifndef SLUICE_STORAGE_PLAN_INT_H
#define SLUICE_STORAGE_PLAN_INT_H

#include "storage/producers_int.h"

struct plan_verdict {
    sl_err err;          /* SL_OK, SL_ESEQ, SL_ESEQ_OLD, SL_EPRODUCER_FENCED */
    bool duplicate;      /* with SL_OK: write nothing, answer base_offset */
    int64_t base_offset; /* of the batch, or of the original */
};

/* Sequences wrap at 2^31: the one `n` behind `sequence`. */
int32_t plan__sequence_add(int32_t sequence, int32_t n);
/* What a batch may become when the partition's planned end is `next_offset`. `p`: the entry of its
 * producer or NULL. Batches without a producer id always get next_offset. */
struct plan_verdict plan__batch(const struct producer *p, const struct batch_info *info,
                                int64_t next_offset);

#endif
