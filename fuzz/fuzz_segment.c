/* A segment file: a walk over its batches and the hunt behind damage stay inside, make progress,
 * and give only batches whose checksum holds. */
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "storage/scan_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory; only reads. */
struct memory_file {
    struct vfs_file file; /* first */
    const uint8_t *data;
    size_t len;
};

static sl_err memory_pread(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n)
{
    const struct memory_file *m = (const void *)f;
    size_t left = (uint64_t)pos < m->len ? m->len - (size_t)pos : 0;
    *ret_n = SL_MIN(left, len);
    memcpy(data, m->data + pos, *ret_n);
    return SL_OK;
}

static const struct vfs_ops memory_ops = {.pread = memory_pread};
static struct vfs memory_vfs = {.ops = &memory_ops};

/* Makes the batch that starts at pos whole, when its length fits. */
static size_t seal(uint8_t *p, size_t len, size_t pos)
{
    if (len - pos < BATCH_HEADER_BYTES)
        return len;
    uint64_t total = batch_bytes(p + pos);
    if (total < BATCH_HEADER_BYTES || total > len - pos)
        return len;
    p[pos + BATCH_MAGIC] = 2;
    put_be32(p + pos + BATCH_CRC, crc32c(0, p + pos + BATCH_ATTRIBUTES, total - BATCH_ATTRIBUTES));
    return pos + (size_t)total;
}

static void walk(struct memory_file *m)
{
    struct scan s;
    scan__init(&s, &m->file, 0, m->len);
    for (;;) {
        struct batch_info info;
        const uint8_t *bytes = NULL;
        uint64_t before = s.pos;
        sl_err err = scan__peek(&s, true, &info, &bytes);
        if (err == SL_OK)
            SL_ASSERT(batch_crc_holds(bytes, &info));
        else if (err == SL_ECORRUPT)
            err = scan__hunt(&s, 0, INT64_MAX, &info);
        if (err != SL_OK)
            break;
        SL_ASSERT(s.pos + info.bytes <= m->len);
        scan__skip(&s, &info);
        SL_ASSERT(s.pos > before);
    }
    scan__fini(&s);
}

/* Byte 0: whether checksums are put right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 16)
        return 0;
    size_t len = size - 1;
    uint8_t *copy = malloc(len + 1);
    SL_ASSERT(copy);
    memcpy(copy, data + 1, len);
    for (size_t pos = 0; (data[0] & 1) && pos < len;)
        pos = seal(copy, len, pos);
    struct memory_file m = {.file = {.vfs = &memory_vfs}, .data = copy, .len = len};
    walk(&m);
    free(copy);
    return 0;
}
