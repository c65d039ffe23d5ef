/* Snappy, in the two forms that Kafka clients send: the blocks of snappy-java ("xerial"), and one
 * raw block (librdkafka). The library decodes only whole blocks, so a block is the scratch; its
 * size is what the block claims, refused when its compressed bytes cannot hold as much. */
#include "base/alloc.h"
#include "record/record_int.h"

#include <snappy-c.h>

enum {
    SNAPPY_EXPANSION_MAX = 64,  /* a copy element: at least 2 bytes for at most 64 */
    BLOCK_KEEP_BYTES = 1 << 20, /* a larger block is given back at the next start */
};

void decoder__snappy_fini(struct decoder *d)
{
    sl_free(d->block.data);
    d->block = (struct snappy_block){0};
}

void decoder__snappy_start(struct decoder *d)
{
    if (d->block.cap > BLOCK_KEEP_BYTES)
        decoder__snappy_fini(d);
    d->block.len = d->block.pos = 0;
    d->xerial = decoder__left(d) >= XERIAL_HEADER_BYTES &&
                memcmp(d->in, XERIAL_MAGIC, XERIAL_MAGIC_BYTES) == 0;
    if (d->xerial)
        d->in += XERIAL_HEADER_BYTES;
}

static sl_err reserve_block(struct snappy_block *b, size_t len)
{
    if (len <= b->cap)
        return SL_OK;
    uint8_t *data = sl_try_alloc(1, len);
    if (!data)
        return SL_ENOMEM;
    sl_free(b->data);
    *b = (struct snappy_block){.data = data, .cap = len};
    return SL_OK;
}

static sl_err decode_block(struct decoder *d, size_t compressed_len)
{
    const char *in = (const char *)d->in;
    size_t len;
    if (snappy_uncompressed_length(in, compressed_len, &len) != SNAPPY_OK ||
        len / SNAPPY_EXPANSION_MAX > compressed_len)
        return SL_ECORRUPT;
    if (len > d->output_max - d->produced)
        return SL_EFULL;
    SL_TRY(reserve_block(&d->block, SL_MAX(len, (size_t)XERIAL_BLOCK_BYTES)));
    if (snappy_uncompress(in, compressed_len, (char *)d->block.data, &len) != SNAPPY_OK)
        return SL_ECORRUPT;
    d->block.len = len;
    d->block.pos = 0;
    d->in += compressed_len;
    return SL_OK;
}

static sl_err next_block(struct decoder *d)
{
    if (!d->xerial)
        return decode_block(d, decoder__left(d));
    if (decoder__left(d) < sizeof(uint32_t))
        return SL_ECORRUPT;
    uint32_t len = get_be32(d->in);
    d->in += sizeof(uint32_t);
    if (len > decoder__left(d))
        return SL_ECORRUPT;
    return decode_block(d, len);
}

sl_err decoder__snappy_read(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len)
{
    struct snappy_block *b = &d->block;
    while (b->pos == b->len && d->in < d->in_end)
        SL_TRY(next_block(d));
    size_t n = SL_MIN(len, b->len - b->pos);
    if (n)
        memcpy(out, b->data + b->pos, n);
    b->pos += n;
    d->ended = b->pos == b->len;
    *ret_len = n;
    return SL_OK;
}
