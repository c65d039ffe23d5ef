/* A growable byte buffer born with a ceiling, and the writer of wire integers on top of it.
 *
 * Appending past the ceiling returns SL_EFULL and sets `failed`, which sticks: a sequence of
 * appends is checked once at its end. One thread at a time. */
#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H

#include "base/byteorder.h"
#include "base/slice.h"

struct buf {
    uint8_t *data;
    size_t len, cap, max;
    bool failed;
};

void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);
void buf_reset(struct buf *b); /* empties it, keeps the memory, forgets a failure */
/* Room for n more bytes, or SL_EFULL. */
sl_err buf_reserve(struct buf *b, size_t n);
sl_err buf_append(struct buf *b, const void *data, size_t len);
/* Adds n bytes of unspecified content and returns where they start; NULL when full. */
uint8_t *buf_extend(struct buf *b, size_t n);
sl_err buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* SL_OK, or SL_EFULL when any append since the last reset failed. */
sl_err buf_check(const struct buf *b);
/* Moves the bytes into a counted block (one copy); the buffer is empty afterwards. */
struct slice buf_take_slice(struct buf *b);

/* Big-endian integers, Kafka's varints and strings; failures stick in `failed`. */
void write_u8(struct buf *b, uint8_t v);
void write_i8(struct buf *b, int8_t v);
void write_bool(struct buf *b, bool v);
void write_i16(struct buf *b, int16_t v);
void write_u16(struct buf *b, uint16_t v);
void write_i32(struct buf *b, int32_t v);
void write_u32(struct buf *b, uint32_t v);
void write_i64(struct buf *b, int64_t v);
void write_f64(struct buf *b, double v);
void write_uvarint(struct buf *b, uint64_t v);
void write_varint(struct buf *b, int64_t v); /* zigzag */
void write_bytes(struct buf *b, const void *data, size_t len);

#endif
