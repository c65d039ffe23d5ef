/* Reads bytes that others sent: bounds, budget, and a first error that sticks.
 *
 * Decoding reads straight down and is checked once at the end with reader_finish. After an error
 * every read returns zero and moves nothing. No read allocates more than the bytes that are left
 * can describe. One thread at a time. */
#ifndef SLUICE_BASE_READER_H
#define SLUICE_BASE_READER_H

#include "base/arena.h"
#include "base/slice.h"

struct reader {
    const uint8_t *data;
    size_t len, pos;
    struct arena *arena; /* borrowed; NULL: reads that allocate fail */
    size_t alloc_left;   /* bytes that read_alloc may still hand out */
    struct block *block; /* borrowed: owner of data, referenced by read_slice results; or NULL */
    sl_err err;
    size_t err_pos;
    const char *err_what; /* static text: which rule was broken */
};

/* A reader over `bytes` (borrowed for its life). `alloc_max` bounds what read_alloc gives. */
struct reader reader_over(struct slice bytes, struct arena *arena, size_t alloc_max);
static inline bool reader_ok(const struct reader *in)
{
    return in->err == SL_OK;
}
static inline size_t reader_left(const struct reader *in)
{
    return in->len - in->pos;
}
/* Records the first error and where it was. */
void reader_fail(struct reader *in, sl_err err, const char *what);
/* SL_OK when no error happened and every byte was read; SL_EPROTO names byte and rule. */
sl_err reader_finish(struct reader *in);

uint8_t read_u8(struct reader *in);
int8_t read_i8(struct reader *in);
bool read_bool(struct reader *in); /* any byte but 0 is true, as Kafka reads it */
int16_t read_i16(struct reader *in);
uint16_t read_u16(struct reader *in);
int32_t read_i32(struct reader *in);
uint32_t read_u32(struct reader *in);
int64_t read_i64(struct reader *in);
double read_f64(struct reader *in);
/* Unsigned and zigzag varints. 32-bit: at most 5 bytes; 64-bit: at most 10. Non-minimal forms
 * within that length are accepted, as Kafka does; bits beyond the width are refused. */
uint32_t read_uvarint32(struct reader *in);
uint64_t read_uvarint64(struct reader *in);
int32_t read_varint32(struct reader *in);
int64_t read_varint64(struct reader *in);
/* n raw bytes, borrowed from the input; NULL on error. n may be 0. */
const uint8_t *read_raw(struct reader *in, size_t n);
/* n bytes as a borrowed slice that carries the input's block, uncounted: slice_ref() to keep it. */
struct slice read_slice(struct reader *in, size_t n);
void read_skip(struct reader *in, size_t n);
/* Checks an array length: -1 gives 0 and sets *is_null (an error when is_null is NULL); more than
 * bytes left / element_bytes_min is an error. element_bytes_min >= 1. */
uint32_t read_count(struct reader *in, int64_t n, size_t element_bytes_min, bool *is_null);
/* int32 length then the check of read_count. */
uint32_t read_array_len(struct reader *in, size_t element_bytes_min);
/* Zeroed memory from the arena, charged to the reader's budget; NULL on error (or when n is 0). */
void *read_alloc(struct reader *in, size_t n, size_t size);

#endif
