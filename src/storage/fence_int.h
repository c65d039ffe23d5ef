/* `<base>.fence`: beside a segment that a failed sync fenced, how much of it counts.
 *
 * Format: docs/formats/index.md. Written when the segment that goes on behind it is complete and
 * synced, before the rows that say the same: with a meta.db from before, or none, the files tell a
 * finished rescue from one that a crash interrupted. Blocking. */
#ifndef SLUICE_STORAGE_FENCE_INT_H
#define SLUICE_STORAGE_FENCE_INT_H

#include "storage/local_int.h"

/* Durable when it returns. */
sl_err fence__write(const struct segment *s, uint64_t bytes, int64_t next_offset) SL_CHECKED;
/* Durable when it returns, also when there is none: before the segment behind is filled again. */
sl_err fence__remove(const struct segment *s) SL_CHECKED;
/* SL_ENOTFOUND; SL_ECORRUPT. */
sl_err fence__read(const struct segment *s, uint64_t *ret_bytes, int64_t *ret_next) SL_CHECKED;

#endif
