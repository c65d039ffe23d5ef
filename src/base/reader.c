#include "base/reader.h"

#include "base/byteorder.h"

struct reader reader_over(struct slice bytes, struct arena *arena, size_t alloc_max)
{
    return (struct reader){.data = bytes.data,
                           .len = bytes.len,
                           .arena = arena,
                           .alloc_left = alloc_max,
                           .block = bytes.block};
}

void reader_fail(struct reader *in, sl_err err, const char *what)
{
    if (in->err != SL_OK)
        return;
    in->err = err;
    in->err_pos = in->pos;
    in->err_what = what;
}

sl_err reader_finish(struct reader *in)
{
    if (in->err == SL_OK && in->pos != in->len)
        reader_fail(in, SL_EPROTO, "bytes are left behind the last field");
    return in->err;
}

const uint8_t *read_raw(struct reader *in, size_t n)
{
    if (in->err != SL_OK)
        return NULL;
    if (n > in->len - in->pos) {
        reader_fail(in, SL_EPROTO, "a field ends behind the last byte");
        return NULL;
    }
    const uint8_t *p = in->data + in->pos;
    in->pos += n;
    return p;
}

struct slice read_slice(struct reader *in, size_t n)
{
    const uint8_t *p = read_raw(in, n);
    return (struct slice){.data = p, .len = p ? n : 0, .block = p ? in->block : NULL};
}

void read_skip(struct reader *in, size_t n)
{
    (void)read_raw(in, n);
}

uint8_t read_u8(struct reader *in)
{
    const uint8_t *p = read_raw(in, 1);
    return p ? *p : 0;
}

int8_t read_i8(struct reader *in)
{
    return (int8_t)read_u8(in);
}

bool read_bool(struct reader *in)
{
    return read_u8(in) != 0;
}

uint16_t read_u16(struct reader *in)
{
    const uint8_t *p = read_raw(in, 2);
    return p ? get_be16(p) : 0;
}

int16_t read_i16(struct reader *in)
{
    return (int16_t)read_u16(in);
}

uint32_t read_u32(struct reader *in)
{
    const uint8_t *p = read_raw(in, 4);
    return p ? get_be32(p) : 0;
}

int32_t read_i32(struct reader *in)
{
    return (int32_t)read_u32(in);
}

int64_t read_i64(struct reader *in)
{
    const uint8_t *p = read_raw(in, 8);
    return p ? (int64_t)get_be64(p) : 0;
}

double read_f64(struct reader *in)
{
    int64_t bits = read_i64(in);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint64_t uvarint(struct reader *in, unsigned bits)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        uint8_t byte = read_u8(in);
        if (shift + 7 > bits && (byte & 0x7f) >> (bits - shift)) {
            reader_fail(in, SL_EPROTO, "a varint exceeds its width");
            return 0;
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return reader_ok(in) ? v : 0;
    }
    reader_fail(in, SL_EPROTO, "a varint is too long");
    return 0;
}

uint32_t read_uvarint32(struct reader *in)
{
    return (uint32_t)uvarint(in, 32);
}

uint64_t read_uvarint64(struct reader *in)
{
    return uvarint(in, 64);
}

int32_t read_varint32(struct reader *in)
{
    uint32_t v = read_uvarint32(in);
    return (int32_t)((v >> 1) ^ (0 - (v & 1)));
}

int64_t read_varint64(struct reader *in)
{
    uint64_t v = read_uvarint64(in);
    return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

uint32_t read_count(struct reader *in, int64_t n, size_t element_bytes_min, bool *is_null)
{
    if (is_null)
        *is_null = n == -1;
    if (n == -1 && is_null)
        return 0;
    if (n < 0) {
        reader_fail(in, SL_EPROTO, "an array length is negative");
        return 0;
    }
    if ((uint64_t)n > reader_left(in) / element_bytes_min) {
        reader_fail(in, SL_EPROTO, "an array is longer than the bytes that are left");
        return 0;
    }
    return (uint32_t)n;
}

uint32_t read_array_len(struct reader *in, size_t element_bytes_min)
{
    return read_count(in, read_i32(in), element_bytes_min, NULL);
}

void *read_alloc(struct reader *in, size_t n, size_t size)
{
    size_t bytes;
    if (in->err != SL_OK || n == 0)
        return NULL;
    if (!in->arena || __builtin_mul_overflow(n, size, &bytes) || bytes > in->alloc_left) {
        reader_fail(in, SL_EFULL, "the request describes more than its budget");
        return NULL;
    }
    void *p = arena_alloc(in->arena, n, size);
    if (!p) {
        reader_fail(in, SL_EFULL, "the request needs more memory than it may have");
        return NULL;
    }
    in->alloc_left -= bytes;
    return p;
}
