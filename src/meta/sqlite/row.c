#include "base/byteorder.h"
#include "base/crc32c.h"
#include "meta/sqlite/sqlite_int.h"

#include <string.h>

/* ---- checksum: the table's name, then each column as its length and bytes ------------------- */

static uint32_t crc_of_table(const char *table)
{
    return crc32c(0, table, strlen(table));
}

static uint32_t crc_i64(uint32_t crc, int64_t v)
{
    uint8_t bytes[8];
    put_le64(bytes, (uint64_t)v);
    return crc32c(crc, bytes, sizeof bytes);
}

static uint32_t crc_bytes(uint32_t crc, const void *data, size_t len)
{
    crc = crc_i64(crc, (int64_t)len);
    return len ? crc32c(crc, data, len) : crc;
}

/* ---- writing -------------------------------------------------------------------------------- */

struct row_out meta__row_out(struct sqlite_meta *m, enum statement st, const char *table)
{
    return (struct row_out){.stmt = m->statements[st], .crc = crc_of_table(table)};
}

static void note(struct row_out *r, int rc)
{
    if (r->rc == SQLITE_OK)
        r->rc = rc;
}

void meta__put_i64(struct row_out *r, int64_t v)
{
    note(r, sqlite3_bind_int64(r->stmt, ++r->column, v));
    r->crc = crc_i64(r->crc, v);
}

void meta__put_blob(struct row_out *r, const void *data, size_t len)
{
    const void *bytes = len ? data : ""; /* a NULL pointer would bind NULL */
    note(r, sqlite3_bind_blob64(r->stmt, ++r->column, bytes, len, SQLITE_STATIC));
    r->crc = crc_bytes(r->crc, data, len);
}

void meta__put_uuid(struct row_out *r, const struct uuid *u)
{
    meta__put_blob(r, u->bytes, sizeof u->bytes);
}

void meta__put_text(struct row_out *r, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    note(r, sqlite3_bind_text64(r->stmt, ++r->column, text ? text : "", len, SQLITE_STATIC,
                                SQLITE_UTF8));
    r->crc = crc_bytes(r->crc, text, len);
}

sl_err meta__put_end_plain(struct row_out *r, struct sqlite_meta *m, struct sl_fault *fault)
{
    int rc = r->rc == SQLITE_OK ? sqlite3_step(r->stmt) : r->rc;
    sl_err err = rc == SQLITE_DONE || rc == SQLITE_ROW ? SL_OK : meta__error(m, rc, fault);
    (void)sqlite3_reset(r->stmt); /* repeats the result of the step */
    (void)sqlite3_clear_bindings(r->stmt);
    return err;
}

sl_err meta__put_end(struct row_out *r, struct sqlite_meta *m, struct sl_fault *fault)
{
    note(r, sqlite3_bind_int64(r->stmt, ++r->column, r->crc));
    return meta__put_end_plain(r, m, fault);
}

/* ---- reading -------------------------------------------------------------------------------- */

struct row_in meta__row_in(sqlite3_stmt *stmt, const char *table)
{
    return (struct row_in){.stmt = stmt, .crc = crc_of_table(table)};
}

int64_t meta__get_i64(struct row_in *r)
{
    int64_t v = sqlite3_column_int64(r->stmt, r->column++);
    r->crc = crc_i64(r->crc, v);
    return v;
}

struct slice meta__get_blob(struct row_in *r)
{
    const void *data = sqlite3_column_blob(r->stmt, r->column);
    size_t len = data ? (size_t)sqlite3_column_bytes(r->stmt, r->column) : 0;
    r->column++;
    r->crc = crc_bytes(r->crc, data, len);
    return slice_of(data, len);
}

struct uuid meta__get_uuid(struct row_in *r)
{
    struct uuid u = {0};
    struct slice bytes = meta__get_blob(r);
    if (bytes.len == sizeof u.bytes)
        memcpy(u.bytes, bytes.data, sizeof u.bytes);
    return u;
}

const char *meta__get_text(struct row_in *r)
{
    const char *text = (const char *)sqlite3_column_text(r->stmt, r->column);
    size_t len = text ? (size_t)sqlite3_column_bytes(r->stmt, r->column) : 0;
    r->column++;
    r->crc = crc_bytes(r->crc, text, len);
    return text ? text : "";
}

bool meta__get_end(struct row_in *r)
{
    return sqlite3_column_int64(r->stmt, r->column) == (int64_t)r->crc;
}

bool meta__row_holds(sqlite3_stmt *stmt, const char *table)
{
    struct row_in r = meta__row_in(stmt, table);
    int n = sqlite3_column_count(stmt) - 1;
    SL_ASSERT(n > 0);
    while (r.column < n) {
        if (sqlite3_column_type(stmt, r.column) == SQLITE_INTEGER)
            (void)meta__get_i64(&r);
        else
            (void)meta__get_blob(&r);
    }
    return meta__get_end(&r);
}
