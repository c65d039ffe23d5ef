/* Compressed bytes of others: the first byte names the codec. Output is bounded, and whatever comes
 * out survives compressing and decompressing again. */
#include "record/codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT_BYTES_MAX = 1 << 20, STEP_BYTES = 4096 };

static sl_err decode(struct decoder *d, unsigned codec, struct slice in, struct buf *out)
{
    buf_reset(out);
    SL_TRY(decoder_start(d, codec, in, OUTPUT_BYTES_MAX));
    for (;;) {
        uint8_t piece[STEP_BYTES];
        size_t n = 0;
        SL_TRY(decoder_read(d, piece, sizeof piece, &n));
        if (n == 0)
            return SL_OK;
        SL_TRY(buf_append(out, piece, n));
        SL_ASSERT(out->len <= OUTPUT_BYTES_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out, packed, again;
    if (size == 0)
        return 0;
    buf_init(&out, OUTPUT_BYTES_MAX);
    buf_init(&packed, (size_t)2 * OUTPUT_BYTES_MAX);
    buf_init(&again, OUTPUT_BYTES_MAX);
    struct decoder *d = decoder_new();
    unsigned codec = data[0] % CODEC_COUNT;
    if (decode(d, codec, slice_of(data + 1, size - 1), &out) == SL_OK) {
        sl_err err = codec_compress((enum codec)codec, slice_of(out.data, out.len), &packed);
        SL_ASSERT(err == SL_OK);
        err = decode(d, codec, slice_of(packed.data, packed.len), &again);
        SL_ASSERT(err == SL_OK && again.len == out.len);
        SL_ASSERT(out.len == 0 || memcmp(out.data, again.data, out.len) == 0);
    }
    decoder_free(d);
    buf_fini(&out);
    buf_fini(&packed);
    buf_fini(&again);
    return 0;
}
