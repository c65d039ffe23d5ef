#include "kafka_codec/wire.h"

#include "base/alloc.h"

enum { BLOCK_FIRST = 256, BLOCK_LAST = 65536, SPLICE_BYTES_MIN = 1024 };

/* ---- reading ------------------------------------------------------------------------------- */

/* Length of a string or of bytes; -1: null. */
static int64_t compact_len(struct reader *in)
{
    return (int64_t)read_uvarint32(in) - 1;
}

static struct slice read_sized(struct reader *in, int64_t len, int64_t len_max, bool may_be_null)
{
    if (len == -1 && may_be_null)
        return (struct slice){0};
    if (len < 0 || len > len_max) {
        reader_fail(in, SL_EPROTO, "the length of a string or of bytes is not allowed");
        return (struct slice){0};
    }
    return read_slice(in, (size_t)len);
}

struct slice kafka_read_string(struct reader *in, bool flexible, bool may_be_null)
{
    int64_t len = flexible ? compact_len(in) : read_i16(in);
    return read_sized(in, len, KAFKA_STRING_BYTES_MAX, may_be_null);
}

struct slice kafka_read_bytes(struct reader *in, bool flexible, bool may_be_null)
{
    int64_t len = flexible ? compact_len(in) : read_i32(in);
    return read_sized(in, len, INT32_MAX, may_be_null);
}

struct kafka_records kafka_read_records(struct reader *in, bool flexible, bool may_be_null)
{
    struct slice bytes = kafka_read_bytes(in, flexible, may_be_null);
    struct kafka_records r = {.is_null = !bytes.data};
    if (bytes.len == 0)
        return r;
    r.slices = read_alloc(in, 1, sizeof *r.slices);
    if (!r.slices)
        return r;
    r.slices[0] = bytes;
    r.n = 1;
    return r;
}

struct uuid kafka_read_uuid(struct reader *in)
{
    struct uuid u = {{0}};
    const uint8_t *p = read_raw(in, sizeof u.bytes);
    if (p)
        memcpy(u.bytes, p, sizeof u.bytes);
    return u;
}

uint32_t kafka_read_count(struct reader *in, bool flexible, size_t element_bytes_min, bool *is_null)
{
    int64_t n = flexible ? compact_len(in) : read_i32(in);
    return read_count(in, n, element_bytes_min, is_null);
}

static void close_tag(struct reader *in, struct kafka_tags *tags)
{
    if (!tags->open)
        return;
    tags->open = false;
    in->len = tags->outer_len;
    if (!reader_ok(in))
        return;
    if (tags->is_known && in->pos != tags->end)
        reader_fail(in, SL_EPROTO, "a tagged field is shorter than its length");
    else
        in->pos = tags->end;
}

bool kafka_next_tag(struct reader *in, struct kafka_tags *tags)
{
    if (!tags->started) {
        tags->left = read_uvarint32(in);
        if (tags->left > KAFKA_TAGS_MAX)
            reader_fail(in, SL_EPROTO, "too many tagged fields");
    }
    close_tag(in, tags);
    if (!reader_ok(in) || tags->left == 0)
        return false;
    tags->left--;
    uint32_t tag = read_uvarint32(in);
    uint32_t len = read_uvarint32(in);
    if (tags->started && tag <= tags->tag)
        reader_fail(in, SL_EPROTO, "tags do not rise");
    if (len > reader_left(in))
        reader_fail(in, SL_EPROTO, "a tagged field is longer than the bytes that are left");
    if (!reader_ok(in))
        return false;
    *tags = (struct kafka_tags){.left = tags->left,
                                .tag = tag,
                                .end = in->pos + len,
                                .outer_len = in->len,
                                .started = true,
                                .open = true};
    in->len = tags->end;
    return true;
}

void kafka_skip_tags(struct reader *in)
{
    struct kafka_tags tags = {0};
    while (kafka_next_tag(in, &tags))
        ;
}

/* ---- writing ------------------------------------------------------------------------------- */

void kafka_out_init(struct kafka_out *out, size_t bytes_max)
{
    *out = (struct kafka_out){
        .bytes_max = bytes_max, .cap_pieces = KAFKA_OUT_INLINE, .block_bytes = BLOCK_FIRST};
}

static struct slice *pieces_of(struct kafka_out *out)
{
    return out->pieces ? out->pieces : out->inline_pieces;
}

void kafka_out_fini(struct kafka_out *out)
{
    for (uint32_t i = 0; i < out->n_pieces; i++)
        slice_unref(&pieces_of(out)[i]);
    if (out->pieces != out->inline_pieces)
        sl_free(out->pieces);
    block_unref(out->block);
    *out = (struct kafka_out){0};
}

/* Takes over the reference that the piece carries. */
static void add_piece(struct kafka_out *out, struct slice piece)
{
    if (out->n_pieces == out->cap_pieces) {
        struct slice *more = sl_try_alloc((size_t)out->cap_pieces * 2, sizeof *more);
        if (!more) {
            out->failed = true;
            slice_unref(&piece);
            return;
        }
        memcpy(more, pieces_of(out), out->n_pieces * sizeof *more);
        sl_free(out->pieces);
        out->pieces = more;
        out->cap_pieces *= 2;
    }
    pieces_of(out)[out->n_pieces++] = piece;
}

/* What was written since the last cut becomes a piece. */
static void cut_piece(struct kafka_out *out)
{
    if (!out->block || out->pos == out->cut)
        return;
    size_t from = (size_t)(out->cut - block_data(out->block));
    add_piece(out, slice_of_block(out->block, from, (size_t)(out->pos - out->cut)));
    out->cut = out->pos;
}

static bool next_block(struct kafka_out *out, size_t n)
{
    cut_piece(out);
    block_unref(out->block);
    out->block = block_new(SL_MAX(n, out->block_bytes));
    if (!out->block) {
        out->failed = true;
        out->pos = out->end = out->cut = NULL;
        return false;
    }
    out->pos = out->cut = block_data(out->block);
    out->end = out->pos + block_size(out->block);
    if (out->block_bytes < BLOCK_LAST)
        out->block_bytes *= 4;
    return true;
}

/* Counts n bytes; false when they are not to be written. */
static bool count(struct kafka_out *out, size_t n)
{
    if (out->failed || n > out->bytes_max - out->bytes) {
        out->failed = true;
        return false;
    }
    out->bytes += n;
    return !out->measuring;
}

uint8_t *kafka_out_room(struct kafka_out *out, size_t n)
{
    if (!count(out, n))
        return NULL;
    if ((size_t)(out->end - out->pos) < n && !next_block(out, n))
        return NULL;
    uint8_t *p = out->pos;
    out->pos += n;
    return p;
}

sl_err kafka_out_finish(struct kafka_out *out)
{
    cut_piece(out);
    if (!out->pieces)
        out->pieces = out->inline_pieces;
    return out->failed ? SL_EFULL : SL_OK;
}

void kafka_put_raw(struct kafka_out *out, const void *data, size_t len)
{
    if (len == 0)
        return;
    SL_ASSERT(data);
    uint8_t *p = kafka_out_room(out, len);
    if (p)
        memcpy(p, data, len);
}

void kafka_put_u8(struct kafka_out *out, uint8_t v)
{
    uint8_t *p = kafka_out_room(out, sizeof v);
    if (p)
        *p = v;
}

void kafka_put_u16(struct kafka_out *out, uint16_t v)
{
    uint8_t *p = kafka_out_room(out, sizeof v);
    if (p)
        put_be16(p, v);
}

void kafka_put_error_code(struct kafka_out *out, int16_t code)
{
    out->errors += code != 0;
    if (out->first_error == 0)
        out->first_error = code;
    kafka_put_u16(out, (uint16_t)code);
}

void kafka_put_u32(struct kafka_out *out, uint32_t v)
{
    uint8_t *p = kafka_out_room(out, sizeof v);
    if (p)
        put_be32(p, v);
}

void kafka_put_u64(struct kafka_out *out, uint64_t v)
{
    uint8_t *p = kafka_out_room(out, sizeof v);
    if (p)
        put_be64(p, v);
}

void kafka_put_uvarint(struct kafka_out *out, uint32_t v)
{
    uint8_t bytes[5];
    size_t n = 0;
    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    kafka_put_raw(out, bytes, n);
}

/* The length of nullable bytes; false when nothing follows. */
static bool put_len(struct kafka_out *out, size_t len, bool is_null, bool flexible)
{
    if (len >= INT32_MAX) {
        out->failed = true;
        return false;
    }
    if (flexible)
        kafka_put_uvarint(out, is_null ? 0 : (uint32_t)len + 1);
    else
        kafka_put_u32(out, is_null ? UINT32_MAX : (uint32_t)len);
    return !is_null;
}

void kafka_put_string(struct kafka_out *out, struct slice s, bool flexible, bool null_ok)
{
    if (s.len > KAFKA_STRING_BYTES_MAX) {
        out->failed = true;
        return;
    }
    bool is_null = null_ok && !s.data;
    if (flexible)
        kafka_put_uvarint(out, is_null ? 0 : (uint32_t)s.len + 1);
    else
        kafka_put_u16(out, is_null ? UINT16_MAX : (uint16_t)s.len);
    kafka_put_raw(out, s.data, s.len);
}

void kafka_put_bytes(struct kafka_out *out, struct slice s, bool flexible, bool null_ok)
{
    if (put_len(out, s.len, null_ok && !s.data, flexible))
        kafka_put_raw(out, s.data, s.len);
}

static void splice(struct kafka_out *out, struct slice s)
{
    if (!s.block || s.len < SPLICE_BYTES_MIN) {
        kafka_put_raw(out, s.data, s.len);
        return;
    }
    if (!count(out, s.len))
        return;
    cut_piece(out);
    add_piece(out, slice_ref(s, 0, s.len));
}

void kafka_put_records(struct kafka_out *out, const struct kafka_records *r, bool flexible,
                       bool null_ok)
{
    size_t len = 0;
    for (uint32_t i = 0; i < r->n; i++)
        len += r->slices[i].len;
    if (!put_len(out, len, null_ok && r->is_null, flexible))
        return;
    for (uint32_t i = 0; i < r->n; i++)
        splice(out, r->slices[i]);
}

void kafka_put_record_bytes(struct kafka_out *out, struct slice s, bool flexible, bool null_ok)
{
    if (put_len(out, s.len, null_ok && !s.data, flexible))
        splice(out, s);
}

void kafka_put_uuid(struct kafka_out *out, const struct uuid *u)
{
    kafka_put_raw(out, u->bytes, sizeof u->bytes);
}

void kafka_put_count(struct kafka_out *out, uint32_t n, bool is_null, bool flexible)
{
    (void)put_len(out, n, is_null, flexible);
}

void kafka_put_tagged(struct kafka_out *out, uint32_t tag,
                      void (*put)(struct kafka_out *out, int16_t version, const void *owner),
                      int16_t version, const void *owner)
{
    struct kafka_out measure = {.bytes_max = out->bytes_max, .measuring = true};
    put(&measure, version, owner);
    if (measure.failed)
        out->failed = true;
    kafka_put_uvarint(out, tag);
    kafka_put_uvarint(out, (uint32_t)measure.bytes);
    if (!out->failed)
        put(out, version, owner);
}
