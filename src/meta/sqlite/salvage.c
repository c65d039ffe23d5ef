/* What a damaged meta.db still has. A damaged page hides the rows in it; the others are reached
 * from both ends of their table, and each row has its own checksum. */
#include "meta/sqlite/sqlite_int.h"

#include "base/alloc.h"

#include <stdio.h>

enum { SQL_BYTES = 700, PATH_BYTES = 4096 };

/* In this order: the storage engine scans from the length that a segment's row names, so those rows
 * are worth nothing without all of what else was known then. */
static const struct salvage_table {
    const char *name, *columns, *up, *down;
    bool segments_need;
} tables[] = {
    {"topic", "topic_id,org,name,number,partitions,created_ms,engine,config", "topic_id",
     "topic_id DESC", false},
    {"partition", "pid,topic_id,part", "pid", "pid DESC", false},
    {"log_state", "pid,log_start,next_offset,last_append_ms,producers", "pid", "pid DESC", true},
    {"leader_epoch", "pid,epoch,start_offset", "pid,epoch", "pid DESC,epoch DESC", true},
    {"counter", "name,next", "name", "name DESC", true},
    {"segment", "pid,base_offset,synced_bytes,last_append_ms,max_timestamp_ms,next_offset,state",
     "pid,base_offset", "pid DESC,base_offset DESC", false},
    {"consumer_group", "org,name,generation_ceiling,state", "rowid", "rowid DESC", false},
    {"group_offset", "org,grp,topic_id,part,offset,leader_epoch,metadata,commit_ms,expire_ms",
     "org,grp,topic_id,part", "org DESC,grp DESC,topic_id DESC,part DESC", false},
    {"setting", "org,name,value", "org,name", "org DESC,name DESC", false},
};

static sqlite3_stmt *prepare(struct sqlite_meta *m, const char *sql, int *ret_rc)
{
    sqlite3_stmt *stmt = NULL;
    *ret_rc = sqlite3_prepare_v2(m->db, sql, -1, &stmt, NULL);
    return stmt;
}

static sqlite3_stmt *select_all(struct sqlite_meta *m, const struct salvage_table *t, bool up,
                                int *ret_rc)
{
    char sql[SQL_BYTES];
    (void)snprintf(sql, sizeof sql, "SELECT %s,crc FROM %s ORDER BY %s", t->columns, t->name,
                   up ? t->up : t->down);
    return prepare(m, sql, ret_rc);
}

/* ---- verify ------------------------------------------------------------------------------ */

static sl_err check_pages(struct sqlite_meta *m, struct sl_fault *fault)
{
    int rc;
    sqlite3_stmt *stmt = prepare(m, "PRAGMA quick_check(1)", &rc);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    sl_err err = rc == SQLITE_ROW ? SL_OK : meta__error(m, rc, fault);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (text && strcmp(text, "ok") != 0)
        err = sl_fault_set(fault, SL_ECORRUPT, "meta.db: %.200s", text);
    (void)sqlite3_finalize(stmt);
    return err;
}

static sl_err check_table(struct sqlite_meta *m, const struct salvage_table *t,
                          struct sl_fault *fault)
{
    int rc;
    sl_err err = SL_OK;
    sqlite3_stmt *stmt = select_all(m, t, true, &rc);
    while (rc == SQLITE_OK && err == SL_OK) {
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW)
            break;
        if (!meta__row_holds(stmt, t->name))
            err = sl_fault_set(fault, SL_ECORRUPT, "a row of table %s fails its checksum", t->name);
        rc = SQLITE_OK;
    }
    if (err == SL_OK && rc != SQLITE_DONE)
        err = meta__error(m, rc, fault);
    (void)sqlite3_finalize(stmt);
    return err;
}

sl_err meta__verify(struct sqlite_meta *m, struct sl_fault *fault)
{
    SL_TRY(check_pages(m, fault));
    for (size_t i = 0; i < SL_ARRAY_LEN(tables); i++)
        SL_TRY(check_table(m, &tables[i], fault));
    return SL_OK;
}

/* ---- copy -------------------------------------------------------------------------------- */

struct copy {
    struct sqlite_meta *from, *to;
    struct salvaged *result;
    struct sl_fault *fault;
    bool segments_whole; /* nothing is lost that their rows need */
};

static bool is_proof(const struct salvage_table *t, sqlite3_stmt *row)
{
    const char *name = (const char *)sqlite3_column_text(row, 1);
    return strcmp(t->name, "setting") == 0 && name && strcmp(name, META_LSN_SETTING) == 0;
}

/* A row that is there already, met from the other end, stays. */
static sl_err copy_row(struct copy *c, sqlite3_stmt *row, sqlite3_stmt *insert)
{
    int n = sqlite3_column_count(row);
    for (int i = 0; i < n; i++) {
        int rc = sqlite3_bind_value(insert, i + 1, sqlite3_column_value(row, i));
        if (rc != SQLITE_OK)
            return meta__error(c->to, rc, c->fault);
    }
    int rc = sqlite3_step(insert);
    sl_err err = rc == SQLITE_DONE ? SL_OK : meta__error(c->to, rc, c->fault);
    c->result->rows += err == SL_OK && sqlite3_changes(c->to->db) > 0;
    (void)sqlite3_reset(insert);
    return err;
}

/* *ret_end: the other end was reached. */
static sl_err copy_from_one_end(struct copy *c, const struct salvage_table *t, bool up,
                                sqlite3_stmt *insert, bool *ret_end)
{
    int rc;
    int64_t lost = 0;
    sl_err err = SL_OK;
    sqlite3_stmt *rows = select_all(c->from, t, up, &rc);
    while (rc == SQLITE_OK && err == SL_OK && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        if (!meta__row_holds(rows, t->name))
            lost++;
        else if (!is_proof(t, rows))
            err = copy_row(c, rows, insert);
    }
    (void)sqlite3_finalize(rows);
    *ret_end = rc == SQLITE_DONE;
    if (up || *ret_end)
        c->result->lost += lost;
    if (lost > 0 && t->segments_need)
        c->segments_whole = false;
    return err;
}

static sqlite3_stmt *prepare_insert(struct copy *c, const struct salvage_table *t, int *ret_rc)
{
    char sql[SQL_BYTES], marks[64] = "?";
    size_t len = 1;
    for (const char *p = t->columns; *p; p++) {
        if (*p != ',')
            continue;
        SL_ASSERT(len + 2 < sizeof marks);
        marks[len++] = ',';
        marks[len++] = '?';
    }
    (void)snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO %s(%s,crc) VALUES(%s,?)", t->name,
                   t->columns, marks);
    return prepare(c->to, sql, ret_rc);
}

static sl_err copy_table(struct copy *c, const struct salvage_table *t)
{
    int rc;
    bool whole = false, end = false;
    sqlite3_stmt *insert = prepare_insert(c, t, &rc);
    if (rc != SQLITE_OK)
        return meta__error(c->to, rc, c->fault);
    sl_err err = copy_from_one_end(c, t, true, insert, &whole);
    if (err == SL_OK && !whole)
        err = copy_from_one_end(c, t, false, insert, &end);
    (void)sqlite3_finalize(insert);
    c->result->whole &= whole;
    if (!whole && t->segments_need)
        c->segments_whole = false;
    return err;
}

static sl_err copy_tables(struct copy *c)
{
    SL_TRY(meta__run(c->to, ST_BEGIN, c->fault));
    for (size_t i = 0; i < SL_ARRAY_LEN(tables); i++)
        if (c->segments_whole || strcmp(tables[i].name, "segment") != 0)
            SL_TRY(copy_table(c, &tables[i]));
    return meta__run(c->to, ST_COMMIT, c->fault);
}

/* For reading what there is: nothing is set up, migrated or moved. */
static void open_damaged(struct sqlite_meta *m, const char *dir, const char *name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (sqlite3_open_v2(path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, m->files.name) !=
        SQLITE_OK)
        return;
    meta__leave_log(m, true);
    (void)sqlite3_exec(m->db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL);
}

sl_err meta__salvage(struct vfs *v, const char *dir, const char *from, const char *to,
                     struct salvaged *ret, struct sl_fault *fault)
{
    struct sqlite_meta *source = sl_new(struct sqlite_meta), *target = sl_new(struct sqlite_meta);
    struct copy c = {source, target, ret, fault, true};
    *ret = (struct salvaged){.whole = true};
    sl_err err = sqlite_files_register(&source->files, v);
    if (err == SL_OK)
        err = sqlite_files_register(&target->files, v);
    if (err == SL_OK)
        err = meta__connect(target, dir, to, fault);
    if (err == SL_OK) {
        open_damaged(source, dir, from);
        err = copy_tables(&c);
    }
    meta__disconnect(source);
    meta__disconnect(target);
    sqlite_files_unregister(&source->files);
    sqlite_files_unregister(&target->files);
    if (err == SL_OK && target->files.sync_failed)
        err = SL_EUNKNOWN_OUTCOME;
    sl_free(source);
    sl_free(target);
    return err;
}
