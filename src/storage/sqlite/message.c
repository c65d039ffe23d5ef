#include "storage/sqlite/message.h"

#include "base/alloc.h"
#include "base/reader.h"
#include "record/message_id.h"
#include "record/records.h"

#include <string.h>

enum {
    RECORD_BYTES_EXTRA = 40, /* varints and lengths of one record, at most */
    COLUMN_BYTES_MAX = 1 << 30,
};

/* ---- headers: count, then name and value with their lengths; -1: null ---------------------- */

static void write_field(struct buf *b, struct slice s)
{
    write_varint(b, s.data ? (int64_t)s.len : -1);
    write_bytes(b, s.data, s.len);
}

static sl_err write_headers(struct record *r, struct buf *b)
{
    struct record_header h;
    write_varint(b, (int64_t)r->n_headers);
    while (r->n_headers > 0) {
        SL_TRY(record_next_header(r, &h));
        write_field(b, h.name);
        write_field(b, h.value);
    }
    return buf_check(b);
}

static struct slice read_field(struct reader *in)
{
    int64_t len = read_varint64(in);
    if (len == -1)
        return (struct slice){0};
    if (len < 0 || (uint64_t)len > reader_left(in)) {
        reader_fail(in, SL_ECORRUPT, "a length is out of range");
        return (struct slice){0};
    }
    return read_slice(in, (size_t)len);
}

/* ---- the readable copy of headers: a JSON object ------------------------------------------ */

/* Bytes of the UTF-8 character that starts here; 0: it is none. */
static size_t utf8_bytes(const uint8_t *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    bool is_surrogate = c >= 0xd800 && c < 0xe000;
    return c < least[n] || c > 0x10ffff || is_surrogate ? 0 : n;
}

static void write_json_text(struct buf *b, struct slice s)
{
    write_u8(b, '"');
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_bytes(s.data + i, s.len - i);
        uint8_t c = s.data[i];
        if (n == 0)
            write_bytes(b, "\xef\xbf\xbd", 3); /* as readers of text show what is none */
        else if (c == '"' || c == '\\')
            (void)buf_printf(b, "\\%c", c);
        else if (c < 0x20)
            (void)buf_printf(b, "\\u%04x", c);
        else
            write_bytes(b, s.data + i, n);
        i += n ? n : 1;
    }
    write_u8(b, '"');
}

static sl_err write_json(struct slice headers, struct buf *b)
{
    struct reader in = reader_over(headers, NULL, 0);
    int64_t n = read_varint64(&in);
    write_u8(b, '{');
    for (int64_t i = 0; i < n && reader_ok(&in); i++) {
        if (i > 0)
            write_u8(b, ',');
        write_json_text(b, read_field(&in));
        write_u8(b, ':');
        struct slice value = read_field(&in);
        if (value.data)
            write_json_text(b, value);
        else
            write_bytes(b, "null", 4);
    }
    write_u8(b, '}');
    return buf_check(b);
}

/* ---- writing ----------------------------------------------------------------------------- */

sl_err message__check(struct slice batch, struct buf *scratch)
{
    struct record_iterator it;
    struct record r;
    SL_TRY(records_open(batch, scratch, &it));
    sl_err err;
    int64_t expected = it.info.base_offset;
    while ((err = records_next(&it, &r)) == SL_OK) {
        struct record_header h;
        if (r.offset != expected++)
            return SL_ERECORD;
        while (r.n_headers > 0)
            SL_TRY(record_next_header(&r, &h));
    }
    if (err != SL_EEND)
        return err;
    return expected == batch_last_offset(&it.info) + 1 ? SL_OK : SL_ERECORD;
}

struct extra {
    struct buf headers, json;
};

static void extra_fini(struct extra *x)
{
    buf_fini(&x->headers);
    buf_fini(&x->json);
}

static sl_err make_extra(struct record *r, struct extra *x)
{
    buf_reset(&x->headers);
    buf_reset(&x->json);
    if (r->n_headers == 0)
        return SL_OK;
    SL_TRY(write_headers(r, &x->headers));
    return write_json(slice_of(x->headers.data, x->headers.len), &x->json);
}

static struct slice nullable(const struct buf *b)
{
    return b->len ? slice_of(b->data, b->len) : (struct slice){0};
}

/* An empty payload is NULL, as the table has always had it: is_null tells it from a tombstone. */
static sl_err put_row(struct sqlog_db *db, const struct record *r, const struct extra *x,
                      const struct message_place *place, int64_t max_at, struct sl_fault *fault)
{
    char id[UUID_TEXT_BYTES];
    const struct message_id names = {.timestamp_ms = r->timestamp_ms,
                                     .topic_number = place->topic_number,
                                     .partition = place->partition,
                                     .offset = r->offset};
    message_id_format(&names, id);
    struct sqlog_out o = sqlog__out(db, ST_MESSAGE_PUT);
    sqlog__put_i64(&o, place->topic_row);
    sqlog__put_i64(&o, place->partition);
    sqlog__put_i64(&o, r->offset);
    sqlog__put_i64(&o, r->timestamp_ms);
    sqlog__put_i64(&o, place->append_time);
    sqlog__put_i64(&o, place->append_ms);
    sqlog__put_i64(&o, max_at);
    sqlog__put_i64(&o, r->value.data == NULL);
    sqlog__put_text(&o, slice_str(id));
    sqlog__put_blob(&o, r->key);
    sqlog__put_blob(&o, r->value.len ? r->value : (struct slice){0});
    sqlog__put_blob(&o, nullable(&x->headers));
    sqlog__put_readable(&o, nullable(&x->json));
    sqlog__put_crc(&o);
    return sqlog__put_end(&o, db, fault);
}

static sl_err put_record(struct sqlog_db *db, struct record *r, struct extra *x,
                         const struct message_place *place, struct message_sums *sums,
                         struct sl_fault *fault)
{
    if (place->append_time)
        r->timestamp_ms = place->append_ms;
    sums->max_at = SL_MAX(sums->max_at, r->timestamp_ms);
    SL_TRY(make_extra(r, x));
    sums->bytes += (int64_t)(r->key.len + r->value.len + x->headers.len) + ROW_BYTES_EXTRA;
    return put_row(db, r, x, place, sums->max_at, fault);
}

sl_err message__insert(struct sqlog_db *db, struct slice batch, struct buf *scratch,
                       const struct message_place *place, struct message_sums *sums,
                       struct sl_fault *fault)
{
    struct record_iterator it;
    struct record r;
    struct extra x;
    SL_TRY(records_open(batch, scratch, &it));
    buf_init(&x.headers, COLUMN_BYTES_MAX);
    buf_init(&x.json, COLUMN_BYTES_MAX);
    sl_err err;
    while ((err = records_next(&it, &r)) == SL_OK) {
        r.offset += place->base_offset - it.info.base_offset;
        err = put_record(db, &r, &x, place, sums, fault);
        if (err != SL_OK)
            break;
    }
    extra_fini(&x);
    return err == SL_EEND ? SL_OK : err;
}

/* ---- reading ----------------------------------------------------------------------------- */

sl_err message__get(sqlite3_stmt *stmt, struct message_row *ret)
{
    struct sqlog_in in = sqlog__in(stmt);
    (void)sqlog__get_i64(&in); /* topic_id */
    (void)sqlog__get_i64(&in); /* part */
    ret->offset = sqlog__get_i64(&in);
    ret->timestamp_ms = sqlog__get_i64(&in);
    ret->append_time = sqlog__get_i64(&in) != 0;
    (void)sqlog__get_i64(&in); /* appended_at */
    (void)sqlog__get_i64(&in); /* max_at */
    bool is_null = sqlog__get_i64(&in) != 0;
    (void)sqlog__get_blob(&in); /* message_id */
    ret->key = sqlog__get_blob(&in);
    ret->value = sqlog__get_blob(&in);
    ret->headers = sqlog__get_blob(&in);
    if (!sqlog__get_end(&in))
        return SL_ECORRUPT;
    if (!ret->value.data && !is_null)
        ret->value = slice_of("", 0);
    return SL_OK;
}

size_t message__bytes(const struct message_row *row)
{
    return row->key.len + row->value.len + row->headers.len + RECORD_BYTES_EXTRA;
}

sl_err message__add(struct batch_builder *b, const struct message_row *row)
{
    struct reader in = reader_over(row->headers, NULL, 0);
    int64_t n = row->headers.len ? read_varint64(&in) : 0;
    if (n < 0 || (uint64_t)n > row->headers.len)
        return SL_ECORRUPT;
    struct new_header *headers = n ? sl_try_alloc((size_t)n, sizeof *headers) : NULL;
    if (n && !headers)
        return SL_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        headers[i].name = read_field(&in);
        headers[i].value = read_field(&in);
    }
    const struct new_record r = {.timestamp_ms = row->timestamp_ms,
                                 .key = row->key,
                                 .value = row->value,
                                 .headers = headers,
                                 .n_headers = (uint32_t)n};
    sl_err err = reader_finish(&in) == SL_OK ? batch_builder_add(b, &r) : SL_ECORRUPT;
    sl_free(headers);
    return err;
}
