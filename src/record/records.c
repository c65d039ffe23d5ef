#include "record/records.h"

#include "base/alloc.h"
#include "record/record_int.h"

enum { OUTPUT_STEP_BYTES = 64 * 1024, LOOKUP_OUTPUT_BYTES_MAX = 64 << 20 };

static struct slice payload_of(struct slice batch, const struct batch_info *info)
{
    SL_ASSERT(info->bytes >= BATCH_HEADER_BYTES && info->bytes <= batch.len);
    struct slice s = slice_sub(batch, BATCH_HEADER_BYTES, info->bytes - BATCH_HEADER_BYTES);
    s.block = batch.block;
    return s;
}

static sl_err decompress(struct slice payload, unsigned codec, struct buf *out)
{
    SL_AUTO(decoder_free) struct decoder *d = decoder_new();
    buf_reset(out);
    SL_TRY(decoder_start(d, codec, payload, out->max));
    for (;;) {
        size_t n = 0, room = SL_MIN((size_t)OUTPUT_STEP_BYTES, out->max - out->len);
        uint8_t last;
        if (room == 0) /* full: fine when this was all */
            return decoder_read(d, &last, 1, &n);
        SL_TRY(buf_reserve(out, room));
        SL_TRY(decoder_read(d, out->data + out->len, room, &n));
        if (n == 0)
            return SL_OK;
        SL_ASSERT(n <= room);
        out->len += n;
    }
}

sl_err records_open(struct slice batch, struct buf *scratch, struct record_iterator *ret)
{
    struct batch_info info;
    SL_TRY(batch_peek(batch, &info));
    struct slice payload = payload_of(batch, &info);
    unsigned codec = info.attributes & BATCH_CODEC_MASK;
    if (codec != CODEC_NONE) {
        if (!scratch)
            return SL_ECODEC;
        SL_TRY(decompress(payload, codec, scratch));
        payload = slice_of(scratch->data, scratch->len);
    }
    *ret = (struct record_iterator){
        .info = info, .in = reader_over(payload, NULL, 0), .left = info.record_count};
    return SL_OK;
}

/* A length and that many bytes; -1: null. */
static struct slice read_nullable(struct reader *in)
{
    int32_t len = read_varint32(in);
    if (len >= 0)
        return read_slice(in, (size_t)len);
    if (len < -1)
        reader_fail(in, SL_ERECORD, "a length is negative");
    return (struct slice){0};
}

static void read_fields(struct reader *in, const struct batch_info *info, struct record *ret)
{
    (void)read_i8(in); /* attributes: no bit is in use */
    ret->timestamp_ms = (int64_t)((uint64_t)info->base_timestamp + (uint64_t)read_varint64(in));
    if (info->attributes & BATCH_LOG_APPEND_TIME)
        ret->timestamp_ms = info->max_timestamp;
    ret->offset = info->base_offset + read_varint32(in);
    ret->key = read_nullable(in);
    ret->value = read_nullable(in);
    int32_t n = read_varint32(in);
    ret->n_headers = n > 0 ? (uint32_t)n : 0;
    ret->headers = *in;
    if (n < 0)
        reader_fail(in, SL_ERECORD, "a header count is negative");
}

sl_err records_next(struct record_iterator *it, struct record *ret)
{
    if (it->left <= 0)
        return SL_EEND;
    int32_t length = read_varint32(&it->in);
    if (length < 0)
        return SL_ERECORD;
    struct slice bytes = read_slice(&it->in, (size_t)length);
    if (!reader_ok(&it->in))
        return SL_ERECORD;
    struct reader in = reader_over(bytes, NULL, 0);
    read_fields(&in, &it->info, ret);
    if (!reader_ok(&in))
        return SL_ERECORD;
    SL_ASSERT(it->in.pos <= it->in.len);
    it->left--;
    return SL_OK;
}

sl_err record_next_header(struct record *r, struct record_header *ret)
{
    if (r->n_headers == 0)
        return SL_EEND;
    int32_t len = read_varint32(&r->headers);
    if (len < 0)
        return SL_ERECORD;
    ret->name = read_slice(&r->headers, (size_t)len);
    ret->value = read_nullable(&r->headers);
    if (!reader_ok(&r->headers))
        return SL_ERECORD;
    r->n_headers--;
    return SL_OK;
}

/* What is looked for among the records from offset_min on: the first at or behind a time, or the
 * highest time. */
struct time_search {
    int64_t offset_min, timestamp_ms;
    bool wants_max, found;
    int64_t offset, found_ms;
};

static sl_err search_stream(struct record_stream *s, const struct batch_info *info,
                            struct time_search *t)
{
    struct record_head head;
    for (int32_t i = 0; i < info->record_count; i++) {
        SL_TRY(stream__next(s, &head));
        int64_t offset = info->base_offset + head.offset_delta;
        int64_t time_ms =
            (int64_t)((uint64_t)info->base_timestamp + (uint64_t)head.timestamp_delta);
        if (offset < t->offset_min)
            continue;
        if (t->wants_max ? t->found && time_ms <= t->found_ms : time_ms < t->timestamp_ms)
            continue;
        t->found = true;
        t->offset = offset;
        t->found_ms = time_ms;
        if (!t->wants_max)
            break;
    }
    return t->found ? SL_OK : SL_EEND;
}

static sl_err search_batch(struct slice batch, struct time_search *t)
{
    struct batch_info info;
    struct record_stream s;
    SL_TRY(batch_peek(batch, &info));
    if (batch_last_offset(&info) < t->offset_min ||
        (!t->wants_max && info.max_timestamp < t->timestamp_ms))
        return SL_EEND;
    if (info.attributes & BATCH_LOG_APPEND_TIME) {
        t->offset = SL_MAX(info.base_offset, t->offset_min);
        t->found_ms = info.max_timestamp;
        return SL_OK;
    }
    struct slice payload = payload_of(batch, &info);
    unsigned codec = info.attributes & BATCH_CODEC_MASK;
    if (codec == CODEC_NONE) {
        stream__over(&s, payload);
        return search_stream(&s, &info, t);
    }
    SL_AUTO(decoder_free) struct decoder *d = decoder_new();
    uint8_t *window = sl_new_array(uint8_t, STREAM_WINDOW_BYTES);
    sl_err err = stream__start(&s, d, window, codec, payload, LOOKUP_OUTPUT_BYTES_MAX);
    if (err == SL_OK)
        err = search_stream(&s, &info, t);
    sl_free(window);
    return err;
}

sl_err records_find_timestamp(struct slice batch, int64_t timestamp_ms, int64_t *ret_offset,
                              int64_t *ret_timestamp_ms)
{
    return records_find_timestamp_from(batch, 0, timestamp_ms, ret_offset, ret_timestamp_ms);
}

sl_err records_find_timestamp_from(struct slice batch, int64_t offset_min, int64_t timestamp_ms,
                                   int64_t *ret_offset, int64_t *ret_timestamp_ms)
{
    struct time_search t = {.offset_min = offset_min, .timestamp_ms = timestamp_ms};
    SL_TRY(search_batch(batch, &t));
    *ret_offset = t.offset;
    *ret_timestamp_ms = t.found_ms;
    return SL_OK;
}

sl_err records_max_timestamp_from(struct slice batch, int64_t offset_min, int64_t *ret_timestamp_ms)
{
    struct time_search t = {.offset_min = offset_min, .wants_max = true};
    SL_TRY(search_batch(batch, &t));
    *ret_timestamp_ms = t.found_ms;
    return SL_OK;
}
