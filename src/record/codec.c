#include "record/codec.h"

#include "record/record_int.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

const char *codec_name(unsigned codec)
{
    static const char *const names[CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};
    return codec < CODEC_COUNT ? names[codec] : NULL;
}

sl_err codec_by_name(const char *name, enum codec *ret)
{
    for (unsigned i = 0; i < CODEC_COUNT; i++)
        if (strcmp(name, codec_name(i)) == 0) {
            *ret = (enum codec)i;
            return SL_OK;
        }
    return SL_ECODEC;
}

static sl_err compress_gzip(struct slice in, struct buf *out)
{
    z_stream z = {0};
    if (in.len > UINT32_MAX)
        return SL_EFULL;
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return SL_ENOMEM;
    size_t bound = deflateBound(&z, in.len);
    sl_err err = buf_reserve(out, bound);
    if (err == SL_OK) {
        z.next_in = (Bytef *)in.data; /* zlib does not write to its input */
        z.avail_in = (uInt)in.len;
        z.next_out = out->data + out->len;
        z.avail_out = (uInt)bound;
        int status = deflate(&z, Z_FINISH);
        SL_ASSERT(status == Z_STREAM_END); /* there is room for the bound */
        out->len += z.total_out;
    }
    (void)deflateEnd(&z); /* says only whether the stream was finished */
    return err;
}

/* Blocks of 32 KiB behind their length, as snappy-java frames them. */
static sl_err compress_snappy(struct slice in, struct buf *out)
{
    SL_TRY(buf_append(out, XERIAL_MAGIC, XERIAL_MAGIC_BYTES));
    write_u32(out, 1); /* version, and the oldest compatible one */
    write_u32(out, 1);
    for (size_t pos = 0; pos < in.len; pos += XERIAL_BLOCK_BYTES) {
        size_t len = SL_MIN((size_t)XERIAL_BLOCK_BYTES, in.len - pos);
        size_t n = snappy_max_compressed_length(len);
        SL_TRY(buf_reserve(out, sizeof(uint32_t) + n));
        uint8_t *at = out->data + out->len;
        char *block = (char *)at + sizeof(uint32_t);
        snappy_status status = snappy_compress((const char *)in.data + pos, len, block, &n);
        SL_ASSERT(status == SNAPPY_OK);
        put_be32(at, (uint32_t)n);
        out->len += sizeof(uint32_t) + n;
    }
    return buf_check(out);
}

static sl_err compress_lz4(struct slice in, struct buf *out)
{
    const LZ4F_preferences_t prefs = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};
    size_t bound = LZ4F_compressFrameBound(in.len, &prefs);
    SL_TRY(buf_reserve(out, bound));
    size_t n = LZ4F_compressFrame(out->data + out->len, bound, in.data, in.len, &prefs);
    if (LZ4F_isError(n))
        return SL_ENOMEM; /* nothing else can fail with room for the bound */
    out->len += n;
    return SL_OK;
}

static sl_err compress_zstd(struct slice in, struct buf *out)
{
    size_t bound = ZSTD_compressBound(in.len);
    SL_TRY(buf_reserve(out, bound));
    size_t n = ZSTD_compress(out->data + out->len, bound, in.data, in.len, ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(n))
        return SL_ENOMEM;
    out->len += n;
    return SL_OK;
}

sl_err codec_compress(enum codec codec, struct slice in, struct buf *out)
{
    switch (codec) {
    case CODEC_NONE:
        return buf_append(out, in.data, in.len);
    case CODEC_GZIP:
        return compress_gzip(in, out);
    case CODEC_SNAPPY:
        return compress_snappy(in, out);
    case CODEC_LZ4:
        return compress_lz4(in, out);
    case CODEC_ZSTD:
        return compress_zstd(in, out);
    case CODEC_COUNT:
        break;
    }
    return SL_ECODEC;
}
