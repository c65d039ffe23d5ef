#include "storage/sqlite/rows.h"

#include "base/byteorder.h"
#include "base/crc32c.h"

#include <stdio.h>

static const char *const statement_sql[ST_COUNT] = {
#define STATEMENT(name, sql) [ST_##name] = (sql),
#include "storage/sqlite/statements.def"
#undef STATEMENT
};

static const char *const tables[] = {
#define TABLE(sql) sql,
#include "storage/sqlite/schema.def"
#undef TABLE
};

enum { SCHEMA_VERSION = 1 };

/* ---- connections ------------------------------------------------------------------------- */

static void explain(sqlite3 *db, int rc, struct sl_fault *fault, const char **ret_text)
{
    *ret_text = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    if (fault)
        (void)snprintf(fault->where, sizeof fault->where, "sluice.db");
}

sl_err sqlog__error(sqlite3 *db, int rc, struct sl_fault *fault)
{
    const char *text;
    explain(db, rc, fault, &text);
    int extended = db ? sqlite3_extended_errcode(db) : rc;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return sl_fault_set(fault, SL_ENOSPC, "the disk is full: free some space");
    case SQLITE_NOMEM:
        return sl_fault_set(fault, SL_ENOMEM, "%s", text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return sl_fault_set(fault, SL_ELIMIT, "another program has locked the file: %s", text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return sl_fault_set(fault, SL_ECORRUPT, "%s: restore a backup", text);
    case SQLITE_IOERR:
        return sl_fault_set(fault, SL_EUNKNOWN_OUTCOME, "%s (SQLite code %d)", text, extended);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return sl_fault_set(fault, SL_EIO, "%s", text);
    default:
        return sl_fault_set(fault, SL_EBUG, "%s (SQLite code %d)", text, extended);
    }
}

static sl_err execute(sqlite3 *db, const char *sql, struct sl_fault *fault)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SL_OK : sqlog__error(db, rc, fault);
}

/* SQLite keeps the old mode silently when it cannot have the new one: the answer is checked. */
static sl_err demand_wal(sqlite3 *db, struct sl_fault *fault)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sl_err err = SL_OK;
    if (rc != SQLITE_ROW)
        err = sqlog__error(db, rc, fault);
    else if (sqlite3_stricmp((const char *)sqlite3_column_text(stmt, 0), "wal") != 0)
        err = sl_fault_set(fault, SL_EUNSUPPORTED, "SQLite refused write-ahead logging");
    (void)sqlite3_finalize(stmt);
    return err;
}

static sl_err set_up_writer(sqlite3 *db, struct sl_fault *fault)
{
    SL_TRY(demand_wal(db, fault));
    return execute(db,
                   "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;"
                   "PRAGMA journal_size_limit=67108864; PRAGMA foreign_keys=OFF",
                   fault);
}

sl_err sqlog__connect(const char *path, const char *vfs_name, bool reads, sqlite3 **ret,
                      struct sl_fault *fault)
{
    sqlite3 *db = NULL;
    int flags = reads ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, vfs_name);
    sl_err err = rc == SQLITE_OK ? SL_OK : sqlog__error(db, rc, fault);
    if (err == SL_OK)
        err = execute(db,
                      "PRAGMA busy_timeout=5000; PRAGMA cache_size=-2000; PRAGMA temp_store=MEMORY;"
                      "PRAGMA trusted_schema=OFF",
                      fault);
    if (err == SL_OK && !reads)
        err = set_up_writer(db, fault);
    if (err == SL_OK)
        *ret = db;
    else
        (void)sqlite3_close(db);
    return err;
}

static sl_err schema_version(sqlite3 *db, int *ret, struct sl_fault *fault)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sl_err err = rc == SQLITE_ROW ? SL_OK : sqlog__error(db, rc, fault);
    if (err == SL_OK)
        *ret = sqlite3_column_int(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return err;
}

sl_err sqlog__migrate(sqlite3 *db, struct sl_fault *fault)
{
    int version = 0;
    SL_TRY(schema_version(db, &version, fault));
    if (version > SCHEMA_VERSION)
        return sl_fault_set(fault, SL_EFORMAT,
                            "made by a newer version: schema %d, this program knows %d", version,
                            SCHEMA_VERSION);
    if (version == SCHEMA_VERSION)
        return SL_OK;
    sl_err err = execute(db, "BEGIN IMMEDIATE", fault);
    for (size_t i = 0; err == SL_OK && i < SL_ARRAY_LEN(tables); i++)
        err = execute(db, tables[i], fault);
    if (err == SL_OK)
        err = execute(db, "COMMIT", fault);
    if (err != SL_OK)
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* may be rolled back already */
    return err;
}

sl_err sqlog__prepare(struct sqlog_db *db, struct sl_fault *fault)
{
    for (size_t i = 0; i < ST_COUNT; i++) {
        int rc = sqlite3_prepare_v3(db->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->statements[i], NULL);
        if (rc != SQLITE_OK)
            return sqlog__error(db->db, rc, fault);
    }
    return SL_OK;
}

void sqlog__disconnect(struct sqlog_db *db)
{
    for (size_t i = 0; i < ST_COUNT; i++) {
        (void)sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    (void)sqlite3_close(db->db);
    db->db = NULL;
}

sl_err sqlog__run(struct sqlog_db *db, enum sqlog_statement st, struct sl_fault *fault)
{
    int rc = sqlite3_step(db->statements[st]);
    sl_err err = rc == SQLITE_DONE || rc == SQLITE_ROW ? SL_OK : sqlog__error(db->db, rc, fault);
    (void)sqlite3_reset(db->statements[st]); /* repeats the result of the step */
    return err;
}

/* ---- columns ----------------------------------------------------------------------------- */

static uint32_t crc_i64(uint32_t crc, int64_t v)
{
    uint8_t bytes[8];
    put_le64(bytes, (uint64_t)v);
    return crc32c(crc, bytes, sizeof bytes);
}

static uint32_t crc_bytes(uint32_t crc, struct slice s)
{
    crc = crc_i64(crc, s.data ? (int64_t)s.len : -1);
    return s.len ? crc32c(crc, s.data, s.len) : crc;
}

struct sqlog_out sqlog__out(struct sqlog_db *db, enum sqlog_statement st)
{
    return (struct sqlog_out){.stmt = db->statements[st]};
}

static void note(struct sqlog_out *o, int rc)
{
    if (o->rc == SQLITE_OK)
        o->rc = rc;
}

void sqlog__put_i64(struct sqlog_out *o, int64_t v)
{
    note(o, sqlite3_bind_int64(o->stmt, ++o->column, v));
    o->crc = crc_i64(o->crc, v);
}

void sqlog__put_blob(struct sqlog_out *o, struct slice bytes)
{
    note(o, sqlite3_bind_blob64(o->stmt, ++o->column, bytes.data, bytes.len, SQLITE_STATIC));
    o->crc = crc_bytes(o->crc, bytes);
}

void sqlog__put_readable(struct sqlog_out *o, struct slice text)
{
    note(o, sqlite3_bind_text64(o->stmt, ++o->column, (const char *)text.data, text.len,
                                SQLITE_STATIC, SQLITE_UTF8));
}

void sqlog__put_text(struct sqlog_out *o, struct slice text)
{
    sqlog__put_readable(o, text);
    o->crc = crc_bytes(o->crc, text);
}

void sqlog__put_crc(struct sqlog_out *o)
{
    note(o, sqlite3_bind_int64(o->stmt, ++o->column, o->crc));
}

sl_err sqlog__put_end(struct sqlog_out *o, struct sqlog_db *db, struct sl_fault *fault)
{
    int rc = o->rc == SQLITE_OK ? sqlite3_step(o->stmt) : o->rc;
    sl_err err = rc == SQLITE_DONE || rc == SQLITE_ROW ? SL_OK : sqlog__error(db->db, rc, fault);
    (void)sqlite3_reset(o->stmt); /* repeats the result of the step */
    (void)sqlite3_clear_bindings(o->stmt);
    return err;
}

struct sqlog_in sqlog__in(sqlite3_stmt *stmt)
{
    return (struct sqlog_in){.stmt = stmt};
}

int64_t sqlog__get_i64(struct sqlog_in *in)
{
    int64_t v = sqlite3_column_int64(in->stmt, in->column++);
    in->crc = crc_i64(in->crc, v);
    return v;
}

/* SQLite gives no address for an empty blob. */
struct slice sqlog__get_blob(struct sqlog_in *in)
{
    int column = in->column++;
    struct slice s = {0};
    if (sqlite3_column_type(in->stmt, column) != SQLITE_NULL) {
        const void *data = sqlite3_column_blob(in->stmt, column);
        s = slice_of(data ? data : "", (size_t)sqlite3_column_bytes(in->stmt, column));
    }
    in->crc = crc_bytes(in->crc, s);
    return s;
}

bool sqlog__get_end(struct sqlog_in *in)
{
    return sqlite3_column_int64(in->stmt, in->column) == (int64_t)in->crc;
}
