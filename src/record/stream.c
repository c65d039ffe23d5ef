#include "record/record_int.h"

enum { VARINT32_BYTES_MAX = 5, VARINT64_BYTES_MAX = 10 };

void stream__over(struct record_stream *s, struct slice payload)
{
    *s =
        (struct record_stream){.p = payload.data, .end = slice_end(payload), .start = payload.data};
}

/* NOLINTNEXTLINE(readability-non-const-parameter): refill() writes to it */
sl_err stream__start(struct record_stream *s, struct decoder *d, uint8_t *window, unsigned codec,
                     struct slice payload, uint64_t output_max)
{
    SL_TRY(decoder_start(d, codec, payload, output_max));
    *s = (struct record_stream){
        .p = window, .end = window, .start = window, .decoder = d, .window = window};
    return SL_OK;
}

/* Makes at least one more byte available behind what is at hand; false at the end or on error. */
static bool refill(struct record_stream *s)
{
    if (!s->decoder || s->err != SL_OK)
        return false;
    SL_ASSERT(s->start <= s->p && s->p <= s->end);
    size_t keep = (size_t)(s->end - s->p), n = 0;
    SL_ASSERT(keep < STREAM_WINDOW_BYTES);
    s->consumed = stream__position(s);
    memmove(s->window, s->p, keep);
    s->p = s->start = s->window;
    s->err = decoder_read(s->decoder, s->window + keep, STREAM_WINDOW_BYTES - keep, &n);
    SL_ASSERT(n <= STREAM_WINDOW_BYTES - keep);
    s->end = s->window + keep + n;
    return n > 0;
}

/* True when n bytes (at most 16) are at hand. */
static inline bool at_hand(struct record_stream *s, size_t n)
{
    while (__builtin_expect((size_t)(s->end - s->p) < n, 0))
        if (!refill(s))
            return false;
    return true;
}

static inline bool fail(struct record_stream *s, const char *why)
{
    if (!s->why)
        s->why = why;
    return false;
}

/* The unsigned value of a varint of at most bytes_max bytes. */
static bool read_varint_slow(struct record_stream *s, int bytes_max, uint64_t *ret)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes_max; i++) {
        if (!at_hand(s, 1))
            return fail(s, "a record ends in the middle of a number");
        uint8_t byte = *s->p++;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret = v;
            return true;
        }
    }
    return fail(s, "a number of a record is too long");
}

static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static inline bool next_varint32(struct record_stream *s, int32_t *ret)
{
    uint64_t v = 0;
    if (__builtin_expect(s->p < s->end && *s->p < 0x80, 1))
        v = *s->p++;
    else if (!read_varint_slow(s, VARINT32_BYTES_MAX, &v))
        return false;
    if (v > UINT32_MAX)
        return fail(s, "a number of a record is too large");
    *ret = (int32_t)unzigzag(v);
    return true;
}

static inline bool next_varint64(struct record_stream *s, int64_t *ret)
{
    uint64_t v = 0;
    if (__builtin_expect(s->p < s->end && *s->p < 0x80, 1))
        v = *s->p++;
    else if (!read_varint_slow(s, VARINT64_BYTES_MAX, &v))
        return false;
    *ret = unzigzag(v);
    return true;
}

static inline bool skip(struct record_stream *s, uint64_t n)
{
    while (__builtin_expect((uint64_t)(s->end - s->p) < n, 0)) {
        n -= (uint64_t)(s->end - s->p);
        s->p = s->end;
        if (!refill(s))
            return fail(s, "a record is longer than its batch");
    }
    s->p += n;
    return true;
}

/* A length and that many bytes, all within the record; -1 means null where that is allowed. */
static inline bool skip_bytes(struct record_stream *s, uint64_t record_end, int32_t least,
                              int32_t *ret_len)
{
    int32_t len = 0;
    if (!next_varint32(s, &len))
        return false;
    if (len < least)
        return fail(s, "a length in a record is negative");
    *ret_len = len;
    if (len <= 0)
        return true;
    uint64_t position = stream__position(s);
    if (position > record_end || (uint64_t)len > record_end - position)
        return fail(s, "a field is longer than its record");
    return skip(s, (uint64_t)len);
}

static bool skip_headers(struct record_stream *s, uint64_t record_end)
{
    int32_t count, len;
    if (!next_varint32(s, &count))
        return false;
    /* each header takes two bytes at least, so the count is bounded before it is walked */
    uint64_t position = stream__position(s);
    if (count < 0 || position > record_end || (uint64_t)count > (record_end - position) / 2)
        return count == 0 || fail(s, "a record has a header count that it cannot hold");
    for (int32_t i = 0; i < count; i++)
        if (!skip_bytes(s, record_end, 0, &len) || !skip_bytes(s, record_end, -1, &len))
            return false;
    return true;
}

static bool read_record(struct record_stream *s, struct record_head *ret)
{
    int32_t length, key_len, value_len;
    if (!next_varint32(s, &length))
        return false;
    if (length < 0)
        return fail(s, "a record has a negative length");
    uint64_t end = stream__position(s) + (uint64_t)length;
    if (!skip(s, 1)) /* attributes: no bit is in use */
        return false;
    if (!next_varint64(s, &ret->timestamp_delta) || !next_varint32(s, &ret->offset_delta))
        return false;
    if (!skip_bytes(s, end, -1, &key_len) || !skip_bytes(s, end, -1, &value_len))
        return false;
    ret->has_key = key_len >= 0;
    if (!skip_headers(s, end))
        return false;
    return stream__position(s) == end || fail(s, "a record's length is not that of its fields");
}

sl_err stream__next(struct record_stream *s, struct record_head *ret)
{
    if (read_record(s, ret))
        return SL_OK;
    return s->err != SL_OK ? s->err : SL_ERECORD;
}

sl_err stream__finish(struct record_stream *s)
{
    if (s->p == s->end && !refill(s))
        return s->err;
    (void)fail(s, "there are bytes behind the last record");
    return SL_ERECORD;
}
