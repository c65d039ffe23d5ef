#include "base/alloc.h"
#include "record/record_int.h"

enum {
    ZSTD_WINDOW_LOG_MAX = 27, /* what zstd's own streaming decoder accepts, and Kafka's */
    BOMB_RATIO = 1000,
    BOMB_FREE_BYTES = 16 << 20,
};

struct decoder *decoder_new(void)
{
    return sl_new(struct decoder);
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    if (d->has_gzip)
        (void)inflateEnd(&d->gzip); /* fails only for a stream that was never started */
    (void)LZ4F_freeDecompressionContext(d->lz4); /* says whether a frame was unfinished */
    (void)ZSTD_freeDCtx(d->zstd);
    decoder__snappy_fini(d);
    sl_free(d);
}

static sl_err read_none(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len)
{
    size_t n = SL_MIN(len, decoder__left(d));
    memcpy(out, d->in, n);
    d->in += n;
    *ret_len = n;
    return SL_OK;
}

/* Several members in a row are one stream, as in gunzip and Java. */
static sl_err read_gzip(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len)
{
    z_stream *z = &d->gzip;
    z->next_out = out;
    z->avail_out = (uInt)len;
    while (z->avail_out == len && d->in < d->in_end) {
        if (d->ended && inflateReset(z) != Z_OK)
            return SL_ECORRUPT;
        d->ended = false;
        z->next_in = (Bytef *)d->in; /* zlib does not write to its input */
        z->avail_in = (uInt)decoder__left(d);
        int status = inflate(z, Z_NO_FLUSH);
        d->in = z->next_in;
        d->ended = status == Z_STREAM_END;
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return SL_ECORRUPT;
    }
    *ret_len = len - z->avail_out;
    if (*ret_len == 0 && !d->ended) { /* the input is used up: what zlib still holds comes out */
        int status = inflate(z, Z_SYNC_FLUSH);
        *ret_len = len - z->avail_out;
        d->ended = status == Z_STREAM_END;
        if (status != Z_OK && status != Z_STREAM_END)
            return SL_ECORRUPT;
    }
    return SL_OK;
}

static sl_err read_lz4(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len)
{
    size_t done = 0;
    while (done == 0 && !d->ended) {
        size_t n_out = len, n_in = decoder__left(d);
        size_t hint = LZ4F_decompress(d->lz4, out, &n_out, d->in, &n_in, NULL);
        if (LZ4F_isError(hint) || (n_out == 0 && n_in == 0))
            return SL_ECORRUPT;
        d->in += n_in;
        done = n_out;
        d->ended = hint == 0;
    }
    *ret_len = done;
    return SL_OK;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): zstd writes to it */
static sl_err read_zstd(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len)
{
    ZSTD_outBuffer dst = {out, len, 0};
    ZSTD_inBuffer src = {d->in, decoder__left(d), 0};
    while (dst.pos == 0 && !(d->ended && src.pos == src.size)) {
        size_t in_before = src.pos;
        size_t hint = ZSTD_decompressStream(d->zstd, &dst, &src);
        if (ZSTD_isError(hint) || (dst.pos == 0 && src.pos == in_before && hint != 0))
            return SL_ECORRUPT;
        d->ended = hint == 0;
    }
    d->in += src.pos;
    *ret_len = dst.pos;
    return SL_OK;
}

static sl_err start_gzip(struct decoder *d)
{
    if (!d->has_gzip && inflateInit2(&d->gzip, MAX_WBITS + 16) != Z_OK)
        return SL_ENOMEM;
    d->has_gzip = true;
    return inflateReset(&d->gzip) == Z_OK ? SL_OK : SL_ENOMEM;
}

static sl_err start_lz4(struct decoder *d)
{
    if (!d->lz4 && LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION)))
        return SL_ENOMEM;
    LZ4F_resetDecompressionContext(d->lz4);
    return SL_OK;
}

/* In this order: in the middle of a stream, which the batch before may have left, zstd takes no
 * parameters. */
static sl_err start_zstd(struct decoder *d)
{
    if (!d->zstd)
        d->zstd = ZSTD_createDCtx();
    if (!d->zstd || ZSTD_isError(ZSTD_DCtx_reset(d->zstd, ZSTD_reset_session_only)) ||
        ZSTD_isError(ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
        return SL_ENOMEM;
    return SL_OK;
}

sl_err decoder_start(struct decoder *d, unsigned codec, struct slice in, uint64_t output_max)
{
    if (in.len > UINT32_MAX)
        return SL_EFULL;
    d->in = in.data ? in.data : (const uint8_t *)""; /* C17 knows no NULL + 0 */
    d->in_end = d->in + in.len;
    d->in_total = in.len;
    d->produced = 0;
    d->output_max = output_max;
    d->ended = false;
    switch (codec) {
    case CODEC_NONE:
        d->ended = true;
        d->read = read_none;
        return SL_OK;
    case CODEC_GZIP:
        d->read = read_gzip;
        return start_gzip(d);
    case CODEC_SNAPPY:
        d->read = decoder__snappy_read;
        decoder__snappy_start(d);
        return SL_OK;
    case CODEC_LZ4:
        d->read = read_lz4;
        return start_lz4(d);
    case CODEC_ZSTD:
        d->read = read_zstd;
        return start_zstd(d);
    default:
        return SL_ECODEC;
    }
}

static bool is_bomb(const struct decoder *d)
{
    return d->produced > BOMB_FREE_BYTES && d->produced / BOMB_RATIO > d->in_total;
}

sl_err decoder_read(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len)
{
    size_t n = 0;
    SL_ASSERT(len > 0);
    SL_TRY(d->read(d, out, len, &n));
    d->produced += n;
    if (d->produced > d->output_max || is_bomb(d))
        return SL_EFULL;
    if (n == 0 && (!d->ended || d->in < d->in_end))
        return SL_ECORRUPT; /* cut short, or followed by other bytes */
    *ret_len = n;
    return SL_OK;
}
