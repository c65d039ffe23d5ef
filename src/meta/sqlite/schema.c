#include "meta/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "vfs/vfs.h"

#include <stdio.h>

static const struct {
    int version;
    const char *name;
    const char *sql;
} migrations[] = {
#define MIGRATION(version, name, sql) {version, name, sql},
#include "meta/sqlite/migrations.def"
#undef MIGRATION
};

static const char *const statement_sql[ST_COUNT] = {
#define STATEMENT(name, sql) [ST_##name] = (sql),
#include "meta/sqlite/statements.def"
#undef STATEMENT
};

enum { PATH_BYTES = 4096 };

static sl_err execute(struct sqlite_meta *m, const char *sql, struct sl_fault *fault)
{
    int rc = sqlite3_exec(m->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SL_OK : meta__error(m, rc, fault);
}

/* The first column of the first row; 0 when there is none. */
static sl_err query_i64(struct sqlite_meta *m, const char *sql, int64_t *ret,
                        struct sl_fault *fault)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(m->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sl_err err = rc == SQLITE_ROW || rc == SQLITE_DONE ? SL_OK : meta__error(m, rc, fault);
    if (err == SL_OK)
        *ret = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    (void)sqlite3_finalize(stmt);
    return err;
}

/* SQLite keeps the old mode silently when it cannot have the new one: the answer is checked. */
static sl_err demand_wal(struct sqlite_meta *m, struct sl_fault *fault)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(m->db, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW) {
        sl_err err = meta__error(m, rc, fault);
        (void)sqlite3_finalize(stmt);
        return err;
    }
    const char *mode = (const char *)sqlite3_column_text(stmt, 0);
    bool is_wal = mode && strcmp(mode, "wal") == 0;
    (void)sqlite3_finalize(stmt);
    if (!is_wal)
        return sl_fault_set(fault, SL_EUNSUPPORTED, "SQLite refused write-ahead logging");
    return SL_OK;
}

static sl_err set_up(struct sqlite_meta *m, struct sl_fault *fault)
{
    int reserved = META_PAGE_RESERVED_BYTES; /* of a new file: room for the checksum of a page */
    int rc = sqlite3_file_control(m->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    if (rc != SQLITE_OK)
        return meta__error(m, rc, fault);
    SL_TRY(execute(m, "PRAGMA locking_mode=EXCLUSIVE", fault)); /* first: WAL without xShm */
    SL_TRY(demand_wal(m, fault));
    return execute(m,
                   "PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-2000;"
                   "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=8388608;"
                   "PRAGMA trusted_schema=OFF; PRAGMA foreign_keys=OFF",
                   fault);
}

static sl_err schema_version(struct sqlite_meta *m, int64_t *ret, struct sl_fault *fault)
{
    int64_t tables = 0;
    SL_TRY(
        query_i64(m, "SELECT count(*) FROM sqlite_schema WHERE name='migration'", &tables, fault));
    if (tables == 0) {
        *ret = 0;
        return SL_OK;
    }
    return query_i64(m, "SELECT max(version) FROM migration", ret, fault);
}

static sl_err migrate_one(struct sqlite_meta *m, size_t i, struct sl_fault *fault)
{
    char record[160];
    (void)snprintf(record, sizeof record,
                   "INSERT INTO migration(version,name) VALUES(%d,'%s'); COMMIT",
                   migrations[i].version, migrations[i].name);
    SL_TRY(execute(m, "BEGIN IMMEDIATE", fault));
    sl_err err = execute(
        m, "CREATE TABLE IF NOT EXISTS migration(version INTEGER PRIMARY KEY,name TEXT NOT NULL)",
        fault);
    if (err == SL_OK)
        err = execute(m, migrations[i].sql, fault);
    if (err == SL_OK)
        err = execute(m, record, fault);
    if (err != SL_OK)
        (void)sqlite3_exec(m->db, "ROLLBACK", NULL, NULL, NULL); /* may be rolled back already */
    return err;
}

static sl_err migrate(struct sqlite_meta *m, struct sl_fault *fault)
{
    int64_t version = 0;
    SL_TRY(schema_version(m, &version, fault));
    int newest = migrations[SL_ARRAY_LEN(migrations) - 1].version;
    if (version > newest)
        return sl_fault_set(fault, SL_EFORMAT,
                            "made by a newer version: schema %lld, this program knows %d",
                            (long long)version, newest);
    for (size_t i = 0; i < SL_ARRAY_LEN(migrations); i++) {
        if (migrations[i].version > version)
            SL_TRY(migrate_one(m, i, fault));
    }
    return SL_OK;
}

static sl_err prepare_all(struct sqlite_meta *m, struct sl_fault *fault)
{
    for (size_t i = 0; i < ST_COUNT; i++) {
        int rc = sqlite3_prepare_v3(m->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &m->statements[i], NULL);
        if (rc != SQLITE_OK)
            return meta__error(m, rc, fault);
    }
    return SL_OK;
}

void meta__leave_log(struct sqlite_meta *m, bool leave)
{
    (void)sqlite3_db_config(m->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, (int)leave, NULL);
}

sl_err meta__connect(struct sqlite_meta *m, const char *dir, const char *name,
                     struct sl_fault *fault)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return sl_fault_set(fault, SL_EINVAL, "the data directory's path is too long");
    sl_err err = sqlite_files_keep_wal(m->files.vfs, dir, name);
    if (err != SL_OK)
        return sl_fault_set(fault, err, "meta.db-wal could not be read or synced");
    int rc = sqlite3_open_v2(path, &m->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                             m->files.name);
    if (rc != SQLITE_OK)
        return meta__error(m, rc, fault);
    meta__leave_log(m, true);
    SL_TRY(set_up(m, fault));
    SL_TRY(migrate(m, fault));
    SL_TRY(prepare_all(m, fault));
    meta__leave_log(m, false);
    return SL_OK;
}

void meta__disconnect(struct sqlite_meta *m)
{
    for (size_t i = 0; i < ST_COUNT; i++)
        (void)sqlite3_finalize(m->statements[i]);
    if (m->db)
        (void)sqlite3_close(m->db);
    m->db = NULL;
}
