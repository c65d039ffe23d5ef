#include "base/buf.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAP_FIRST = 64 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

sl_err buf_reserve(struct buf *b, size_t n)
{
    if (n <= b->cap - b->len)
        return SL_OK;
    if (b->failed || n > b->max - b->len) {
        b->failed = true;
        return SL_EFULL;
    }
    size_t cap = SL_MAX(b->cap * 2, SL_MAX(b->len + n, (size_t)CAP_FIRST));
    cap = SL_MIN(cap, b->max);
    uint8_t *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return SL_EFULL;
    }
    b->data = data;
    b->cap = cap;
    return SL_OK;
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
    if (b->failed || buf_reserve(b, n) != SL_OK)
        return NULL;
    uint8_t *p = b->data + b->len;
    b->len += n;
    return p;
}

sl_err buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return buf_check(b);
    uint8_t *p = buf_extend(b, len);
    if (!p)
        return SL_EFULL;
    memcpy(p, data, len);
    return SL_OK;
}

sl_err buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf writes a NUL behind the text: room for it is reserved, not counted */
    if (n >= 0 && buf_reserve(b, (size_t)n + 1) == SL_OK) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return buf_check(b);
}

sl_err buf_check(const struct buf *b)
{
    return b->failed ? SL_EFULL : SL_OK;
}

struct slice buf_take_slice(struct buf *b)
{
    struct slice s = slice_copy(b->data, b->len);
    buf_reset(b);
    return s;
}

void write_u8(struct buf *b, uint8_t v)
{
    (void)buf_append(b, &v, 1);
}

void write_i8(struct buf *b, int8_t v)
{
    (void)buf_append(b, &v, 1);
}

void write_bool(struct buf *b, bool v)
{
    write_u8(b, v ? 1 : 0);
}

void write_u16(struct buf *b, uint16_t v)
{
    uint8_t *p = buf_extend(b, sizeof v);
    if (p)
        put_be16(p, v);
}

void write_i16(struct buf *b, int16_t v)
{
    write_u16(b, (uint16_t)v);
}

void write_u32(struct buf *b, uint32_t v)
{
    uint8_t *p = buf_extend(b, sizeof v);
    if (p)
        put_be32(p, v);
}

void write_i32(struct buf *b, int32_t v)
{
    write_u32(b, (uint32_t)v);
}

void write_i64(struct buf *b, int64_t v)
{
    uint8_t *p = buf_extend(b, sizeof v);
    if (p)
        put_be64(p, (uint64_t)v);
}

void write_f64(struct buf *b, double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    write_i64(b, bits);
}

void write_uvarint(struct buf *b, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;
    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    (void)buf_append(b, bytes, n);
}

void write_varint(struct buf *b, int64_t v)
{
    write_uvarint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void write_bytes(struct buf *b, const void *data, size_t len)
{
    (void)buf_append(b, data, len);
}
