#include "storage/scan_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"

enum { CHUNK_BYTES = 64 << 10 };

void scan__init(struct scan *s, struct vfs_file *file, uint64_t pos, uint64_t end)
{
    *s = (struct scan){.file = file, .pos = pos, .end = end};
}

void scan__fini(struct scan *s)
{
    sl_free(s->buf);
    s->buf = NULL;
}

/* Bytes [pos, pos+need) into the buffer; SL_EEND when the range or the file ends before. */
static sl_err fill(struct scan *s, size_t need)
{
    if (s->pos > s->end || need > s->end - s->pos)
        return SL_EEND;
    if (s->pos >= s->buf_pos && s->pos + need <= s->buf_pos + s->len)
        return SL_OK;
    size_t want = (size_t)SL_MIN(s->end - s->pos, (uint64_t)SL_MAX(need, (size_t)CHUNK_BYTES));
    if (want > s->cap) {
        uint8_t *bigger = sl_try_alloc(want, 1);
        if (!bigger)
            return SL_ENOMEM;
        sl_free(s->buf);
        s->buf = bigger;
        s->cap = want;
    }
    s->len = 0;
    size_t n = 0;
    SL_TRY(vfs_pread(s->file, s->buf, want, (int64_t)s->pos, &n));
    s->buf_pos = s->pos;
    s->len = n;
    return n >= need ? SL_OK : SL_EEND;
}

static const uint8_t *here(const struct scan *s)
{
    return s->buf + (s->pos - s->buf_pos);
}

/* A length is believed only when the range has that many bytes. */
static sl_err peek_header(struct scan *s, struct batch_info *ret)
{
    SL_TRY(fill(s, BATCH_HEADER_BYTES));
    uint64_t total = batch_bytes(here(s));
    if (total < BATCH_HEADER_BYTES || total > s->end - s->pos || here(s)[BATCH_MAGIC] != 2)
        return SL_ECORRUPT;
    struct slice claimed = slice_of(here(s), (size_t)total); /* only the header of it is read */
    if (batch_peek(claimed, ret) != SL_OK || ret->last_offset_delta < 0 || ret->base_offset < 0)
        return SL_ECORRUPT;
    return SL_OK;
}

sl_err scan__peek(struct scan *s, bool with_bytes, struct batch_info *ret_info,
                  const uint8_t **ret_bytes)
{
    if (s->pos >= s->end)
        return SL_EEND;
    struct batch_info info;
    sl_err err = peek_header(s, &info);
    if (err == SL_OK && with_bytes)
        err = fill(s, info.bytes);
    if (err == SL_EEND)
        return SL_ECORRUPT; /* bytes are left, but fewer than a batch */
    SL_TRY(err);
    if (with_bytes && !batch_crc_holds(here(s), &info))
        return SL_ECORRUPT;
    if (ret_bytes)
        *ret_bytes = here(s);
    *ret_info = info;
    return SL_OK;
}

sl_err scan__hunt(struct scan *s, int64_t base_min, int64_t base_max, struct batch_info *ret_info)
{
    for (s->pos++; s->pos + BATCH_HEADER_BYTES <= s->end; s->pos++) {
        sl_err err = fill(s, BATCH_HEADER_BYTES);
        if (err == SL_EEND)
            return SL_EEND;
        SL_TRY(err);
        int64_t base = (int64_t)get_be64(here(s) + BATCH_BASE_OFFSET);
        if (base < base_min || base > base_max)
            continue;
        err = scan__peek(s, true, ret_info, NULL);
        if (err != SL_ECORRUPT)
            return err;
    }
    return SL_EEND;
}
