/* Walks the batches of a segment file. Blocking; one thread. */
#ifndef SLUICE_STORAGE_SCAN_INT_H
#define SLUICE_STORAGE_SCAN_INT_H

#include "record/batch.h"
#include "vfs/vfs.h"

struct scan {
    struct vfs_file *file; /* borrowed */
    uint64_t pos, end;
    uint8_t *buf;
    size_t len, cap;
    uint64_t buf_pos; /* of buf[0] in the file */
};

/* Over bytes [pos, end) of the file. */
void scan__init(struct scan *s, struct vfs_file *file, uint64_t pos, uint64_t end);
void scan__fini(struct scan *s);
/* The batch at the position, which stays: scan__skip moves on. with_bytes: the CRC is checked and
 * *ret_bytes (may be NULL) are its bytes until the next call. SL_EEND: at the end; SL_ECORRUPT: no
 * valid batch here; SL_EIO. */
sl_err scan__peek(struct scan *s, bool with_bytes, struct batch_info *ret_info,
                  const uint8_t **ret_bytes) SL_CHECKED;
static inline void scan__skip(struct scan *s, const struct batch_info *info)
{
    s->pos += info->bytes;
}
/* Moves behind damage: to the next position with a batch whose CRC holds and whose base offset is
 * in [base_min, base_max]. SL_EEND: none. */
sl_err scan__hunt(struct scan *s, int64_t base_min, int64_t base_max,
                  struct batch_info *ret_info) SL_CHECKED;

#endif
