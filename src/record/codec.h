/* Compression of record batches: one-shot for what we send, streamed and bounded for what others
 * sent.
 *
 * A decoder is reusable scratch: at most one stream at a time, one thread at a time. It never holds
 * more than the codec's window (zstd: 128 MiB of address space, touched only as far as the output
 * goes; lz4 4 MiB; gzip 32 KiB; snappy one block), and never writes more than `output_max`. */
#ifndef SLUICE_RECORD_CODEC_H
#define SLUICE_RECORD_CODEC_H

#include "base/buf.h"

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

/* "none", "gzip", ...; NULL for a number that is no codec. */
const char *codec_name(unsigned codec);
/* The codec of this name; SL_ECODEC. */
sl_err codec_by_name(const char *name, enum codec *ret) SL_CHECKED;

struct decoder;

struct decoder *decoder_new(void); /* cheap; a codec's state is made when it is first used */
void decoder_free(struct decoder *d);
SL_DEFINE_AUTO(struct decoder *, decoder_free);

/* Begins a stream over `in` (borrowed until the last read). SL_ECODEC: unknown codec. SL_ENOMEM. */
sl_err decoder_start(struct decoder *d, unsigned codec, struct slice in,
                     uint64_t output_max) SL_CHECKED;
/* Up to `len` (> 0) more bytes; *ret_len is 0 only when the stream has ended and used all of its
 * input. SL_ECORRUPT: not what the codec writes, cut short or followed by other bytes. SL_EFULL:
 * more than output_max, or a bomb (1,000 times its input and above 16 MiB). */
sl_err decoder_read(struct decoder *d, uint8_t *out, size_t len, size_t *ret_len) SL_CHECKED;

/* Appends the compressed form of `in`: as Kafka's Java client writes it (snappy in xerial frames).
 * SL_EFULL: out is at its ceiling. */
sl_err codec_compress(enum codec codec, struct slice in, struct buf *out) SL_CHECKED;

#endif
