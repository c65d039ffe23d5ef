/* Inside of src/record: the decoder's parts and the stream of records that validation and look-ups
 * read. Owners: decoder.c and decoder_snappy.c (decoder), stream.c (record_stream). */
#ifndef SLUICE_RECORD_RECORD_INT_H
#define SLUICE_RECORD_RECORD_INT_H

#include "record/codec.h"

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

/* Framing of snappy-java: 8 bytes of magic, two versions, then {be32 length, snappy block}. */
#define XERIAL_MAGIC "\x82SNAPPY\0"
enum { XERIAL_MAGIC_BYTES = 8, XERIAL_HEADER_BYTES = 16, XERIAL_BLOCK_BYTES = 32 * 1024 };

struct snappy_block {
    uint8_t *data; /* owned */
    size_t len, pos, cap;
};

struct decoder {
    const uint8_t *in, *in_end; /* borrowed */
    uint64_t in_total, produced, output_max;
    sl_err (*read)(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len);
    bool ended; /* at a place where the stream may end */
    bool has_gzip;
    z_stream gzip;
    LZ4F_dctx *lz4;
    ZSTD_DCtx *zstd;
    bool xerial;
    struct snappy_block block;
};

static inline size_t decoder__left(const struct decoder *d)
{
    return (size_t)(d->in_end - d->in);
}

/* decoder_snappy.c */
void decoder__snappy_start(struct decoder *d);
sl_err decoder__snappy_read(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len);
void decoder__snappy_fini(struct decoder *d);

enum { STREAM_WINDOW_BYTES = 64 * 1024 };

/* Bytes of records, at hand as a whole (no compression) or window by window. */
struct record_stream {
    const uint8_t *p, *end;  /* what is at hand and not read yet */
    uint64_t consumed;       /* bytes of the stream before the current window */
    const uint8_t *start;    /* of the current window */
    struct decoder *decoder; /* NULL: everything is at hand */
    uint8_t *window;         /* STREAM_WINDOW_BYTES, borrowed */
    sl_err err;              /* of the decoder; sticks */
    const char *why;         /* static text: which rule was broken, NULL while none is */
};

struct record_head {
    int64_t timestamp_delta;
    int32_t offset_delta;
    bool has_key;
};

void stream__over(struct record_stream *s, struct slice payload);
/* Over compressed bytes; window and decoder stay borrowed. */
sl_err stream__start(struct record_stream *s, struct decoder *d, uint8_t *window, unsigned codec,
                     struct slice payload, uint64_t output_max) SL_CHECKED;
/* Reads one record, checking that each of its bytes is accounted for. SL_ERECORD: it is not (s->why
 * says which rule); else the decoder's error. */
sl_err stream__next(struct record_stream *s, struct record_head *ret) SL_CHECKED;
/* SL_OK when nothing is left, else SL_ERECORD or the decoder's error. */
sl_err stream__finish(struct record_stream *s) SL_CHECKED;
static inline uint64_t stream__position(const struct record_stream *s)
{
    return s->consumed + (uint64_t)(s->p - s->start);
}

#endif
