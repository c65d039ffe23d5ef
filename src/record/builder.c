#include "record/builder.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"

const struct batch_producer batch_producer_none = {
    .producer_id = -1, .producer_epoch = -1, .base_sequence = -1};

struct batch_builder {
    enum codec codec;
    size_t bytes_max;
    struct buf records; /* uncompressed */
    int32_t count;
    int64_t base_timestamp_ms, max_timestamp_ms;
};

struct batch_builder *batch_builder_new(enum codec codec, size_t bytes_max)
{
    struct batch_builder *b = sl_new(struct batch_builder);
    b->codec = codec;
    b->bytes_max = bytes_max;
    buf_init(&b->records, bytes_max);
    return b;
}

void batch_builder_free(struct batch_builder *b)
{
    if (!b)
        return;
    buf_fini(&b->records);
    sl_free(b);
}

static size_t varint_bytes(int64_t v)
{
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    size_t n = 1;
    while (z >= 0x80) {
        z >>= 7;
        n++;
    }
    return n;
}

static size_t field_bytes(struct slice s)
{
    return varint_bytes(s.data ? (int64_t)s.len : -1) + s.len;
}

static int64_t timestamp_delta(const struct batch_builder *b, const struct new_record *r)
{
    return (int64_t)((uint64_t)r->timestamp_ms - (uint64_t)b->base_timestamp_ms);
}

static size_t body_bytes(const struct batch_builder *b, const struct new_record *r)
{
    size_t n = 1 + varint_bytes(timestamp_delta(b, r)) + varint_bytes(b->count) +
               field_bytes(r->key) + field_bytes(r->value) + varint_bytes(r->n_headers);
    for (uint32_t i = 0; i < r->n_headers; i++)
        n += varint_bytes((int64_t)r->headers[i].name.len) + r->headers[i].name.len +
             field_bytes(r->headers[i].value);
    return n;
}

static void write_field(struct buf *out, struct slice s)
{
    write_varint(out, s.data ? (int64_t)s.len : -1);
    write_bytes(out, s.data, s.len);
}

static void write_record(struct batch_builder *b, const struct new_record *r, size_t body)
{
    struct buf *out = &b->records;
    write_varint(out, (int64_t)body);
    write_u8(out, 0);
    write_varint(out, timestamp_delta(b, r));
    write_varint(out, b->count);
    write_field(out, r->key);
    write_field(out, r->value);
    write_varint(out, r->n_headers);
    for (uint32_t i = 0; i < r->n_headers; i++) {
        write_varint(out, (int64_t)r->headers[i].name.len);
        write_bytes(out, r->headers[i].name.data, r->headers[i].name.len);
        write_field(out, r->headers[i].value);
    }
}

sl_err batch_builder_add(struct batch_builder *b, const struct new_record *r)
{
    if (b->count == 0) {
        b->base_timestamp_ms = r->timestamp_ms;
        b->max_timestamp_ms = r->timestamp_ms;
    }
    size_t body = body_bytes(b, r);
    size_t room = b->bytes_max - b->records.len;
    if (body > INT32_MAX || varint_bytes((int64_t)body) + body > room || b->count == INT32_MAX)
        return SL_EFULL;
    size_t before = b->records.len;
    write_record(b, r, body);
    SL_TRY(buf_check(&b->records));
    SL_ASSERT(b->records.len == before + varint_bytes((int64_t)body) + body);
    b->count++;
    b->max_timestamp_ms = SL_MAX(b->max_timestamp_ms, r->timestamp_ms);
    return SL_OK;
}

int32_t batch_builder_count(const struct batch_builder *b)
{
    return b->count;
}

size_t batch_builder_bytes(const struct batch_builder *b)
{
    return BATCH_HEADER_BYTES + b->records.len;
}

static void write_batch_header(uint8_t *p, const struct batch_builder *b, size_t total,
                               const struct batch_producer *producer)
{
    SL_ASSERT(total >= BATCH_HEADER_BYTES && total <= INT32_MAX);
    SL_ASSERT(b->count > 0);
    put_be64(p + BATCH_BASE_OFFSET, 0);
    put_be32(p + BATCH_LENGTH, (uint32_t)(total - BATCH_LENGTH_OVERHEAD));
    put_be32(p + BATCH_LEADER_EPOCH, UINT32_MAX); /* -1: the broker sets it */
    p[BATCH_MAGIC] = 2;
    put_be16(p + BATCH_ATTRIBUTES, (uint16_t)b->codec);
    put_be32(p + BATCH_LAST_OFFSET_DELTA, (uint32_t)(b->count - 1));
    put_be64(p + BATCH_BASE_TIMESTAMP, (uint64_t)b->base_timestamp_ms);
    put_be64(p + BATCH_MAX_TIMESTAMP, (uint64_t)b->max_timestamp_ms);
    put_be64(p + BATCH_PRODUCER_ID, (uint64_t)producer->producer_id);
    put_be16(p + BATCH_PRODUCER_EPOCH, (uint16_t)producer->producer_epoch);
    put_be32(p + BATCH_BASE_SEQUENCE, (uint32_t)producer->base_sequence);
    put_be32(p + BATCH_RECORD_COUNT, (uint32_t)b->count);
    put_be32(p + BATCH_CRC, crc32c(0, p + BATCH_ATTRIBUTES, total - BATCH_ATTRIBUTES));
}

static void reset(struct batch_builder *b)
{
    buf_reset(&b->records);
    b->count = 0;
}

sl_err batch_builder_finish(struct batch_builder *b, const struct batch_producer *producer,
                            struct slice *ret)
{
    if (b->count == 0)
        return SL_EEND;
    struct buf out;
    buf_init(&out, INT32_MAX);
    sl_err err = SL_ENOMEM;
    if (buf_extend(&out, BATCH_HEADER_BYTES) &&
        codec_compress(b->codec, slice_of(b->records.data, b->records.len), &out) == SL_OK) {
        write_batch_header(out.data, b, out.len, producer);
        struct slice batch = buf_take_slice(&out);
        if (batch.data) {
            *ret = batch;
            err = SL_OK;
        }
    }
    buf_fini(&out);
    reset(b);
    return err;
}
