/* CURRENT: the LSN from which recovery replays, in two slots that are written alternately.
 *
 * Format: docs/formats/data-directory.md. Both slots are valid from creation on; the newest valid
 * one counts. Blocking; open: before the threads start, then the checkpoint thread. */
#ifndef SLUICE_STORAGE_CURRENT_INT_H
#define SLUICE_STORAGE_CURRENT_INT_H

#include "base/uuid.h"
#include "vfs/vfs.h"

enum {
    CURRENT_MAGIC = 0x52434c53, /* "SLCR" */
    CURRENT_VERSION = 1,
    CURRENT_SLOT_BYTES = 64,
    CURRENT_SLOT_STRIDE = 4096,
};

struct current {
    struct vfs_file *file;
    struct uuid cluster_id;
    uint64_t counter;        /* of the newest slot */
    uint64_t lsn, older_lsn; /* of the newest and of the other slot */
    bool clean;              /* shut down cleanly, and both slots are valid */
    bool found;              /* a valid slot existed */
};

/* SL_EFORMAT: a slot of a newer version or of another cluster. */
sl_err current__open(struct vfs *v, const char *data_dir, const struct uuid *cluster_id,
                     struct current *ret) SL_CHECKED;
/* Durable when it returns; the other slot is untouched. */
sl_err current__write(struct current *c, uint64_t lsn, bool clean) SL_CHECKED;
void current__close(struct current *c);

/* One slot; SL_ECORRUPT. For the fuzz target, too. */
sl_err current__parse(const uint8_t *slot, size_t len, const struct uuid *cluster_id,
                      uint64_t *ret_counter, uint64_t *ret_lsn, bool *ret_clean) SL_CHECKED;

#endif
