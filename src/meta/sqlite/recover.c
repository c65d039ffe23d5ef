/* Opening a meta.db that may be damaged. Every step can be met again after a crash:
 *
 *   meta.db.new      being filled with what the damaged one still has; worth nothing
 *   meta.db.rebuilt  complete and durable: whatever is called meta.db is the damaged one
 *   meta.stale       the log was damaged: META_LSN_SETTING is to be deleted
 *
 * Damaged files go to quarantine/ and are never removed. */
#include "meta/sqlite/sqlite_int.h"
#include "meta/sqlite/wal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "vfs/vfs.h"

#include <stdio.h>

enum { PATH_BYTES = 4096, COPY_BYTES = 64 << 10, NUMBER_MAX = 1000000 };

struct place {
    struct vfs *vfs;
    const char *dir;
};

static void path_of(const struct place *p, const char *name, char ret[PATH_BYTES])
{
    int n = snprintf(ret, PATH_BYTES, "%s/%s", p->dir, name);
    SL_ASSERT(n > 0 && n < PATH_BYTES); /* longer ones were refused by the server */
}

static bool exists(const struct place *p, const char *name, int64_t size_min)
{
    char path[PATH_BYTES];
    struct vfs_stat st;
    path_of(p, name, path);
    return vfs_stat(p->vfs, path, &st) == SL_OK && st.size >= size_min;
}

static sl_err remove_file(const struct place *p, const char *name)
{
    char path[PATH_BYTES];
    path_of(p, name, path);
    sl_err err = vfs_unlink(p->vfs, path);
    return err == SL_ENOTFOUND ? SL_OK : err;
}

static sl_err rename_file(const struct place *p, const char *from, const char *to)
{
    char a[PATH_BYTES], b[PATH_BYTES];
    path_of(p, from, a);
    path_of(p, to, b);
    SL_TRY(vfs_rename(p->vfs, a, b));
    return vfs_sync_dir(p->vfs, p->dir);
}

/* ---- quarantine -------------------------------------------------------------------------- */

static sl_err free_name(const struct place *p, const char *name, char ret[PATH_BYTES])
{
    char dir[PATH_BYTES];
    struct vfs_stat st;
    path_of(p, "quarantine", dir);
    SL_TRY(vfs_ensure_dir(p->vfs, dir));
    for (int i = 1; i < NUMBER_MAX; i++) {
        int n = snprintf(ret, PATH_BYTES, "%s/quarantine/%s.%d", p->dir, name, i);
        SL_ASSERT(n > 0 && n < PATH_BYTES);
        sl_err err = vfs_stat(p->vfs, ret, &st);
        if (err == SL_ENOTFOUND)
            return SL_OK;
        SL_TRY(err);
    }
    return SL_ELIMIT;
}

static sl_err sync_both(const struct place *p)
{
    char dir[PATH_BYTES];
    path_of(p, "quarantine", dir);
    SL_TRY(vfs_sync_dir(p->vfs, dir));
    return vfs_sync_dir(p->vfs, p->dir);
}

/* Nothing to do when there is none. */
static sl_err move_aside(const struct place *p, const char *name)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    if (!exists(p, name, 0))
        return SL_OK;
    path_of(p, name, from);
    SL_TRY(free_name(p, name, to));
    SL_TRY(vfs_rename(p->vfs, from, to));
    SL_TRY(sync_both(p));
    LOG_WARN("metastore.set_aside", "a file is kept for people to look at", F_STR("file", name),
             F_STR("kept_as", to));
    return SL_OK;
}

static sl_err copy_bytes(struct vfs_file *from, struct vfs_file *to)
{
    uint8_t *bytes = sl_alloc(COPY_BYTES, 1);
    size_t n = COPY_BYTES;
    sl_err err = SL_OK;
    for (int64_t pos = 0; err == SL_OK && n == COPY_BYTES; pos += (int64_t)n) {
        err = vfs_pread(from, bytes, COPY_BYTES, pos, &n);
        if (err == SL_OK && n > 0)
            err = vfs_pwrite(to, bytes, n, pos);
    }
    sl_free(bytes);
    return err == SL_OK ? vfs_datasync(to) : err;
}

static sl_err copy_aside(const struct place *p, const char *name)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    SL_AUTO(vfs_close) struct vfs_file *in = NULL;
    SL_AUTO(vfs_close) struct vfs_file *out = NULL;
    path_of(p, name, from);
    SL_TRY(free_name(p, name, to));
    SL_TRY(vfs_open(p->vfs, from, VFS_READ, &in));
    SL_TRY(vfs_open(p->vfs, to, VFS_WRITE | VFS_CREATE, &out));
    SL_TRY(copy_bytes(in, out));
    return sync_both(p);
}

/* ---- a damaged meta.db ------------------------------------------------------------------- */

/* meta.db.rebuilt takes the place of meta.db. */
static sl_err swap(const struct place *p)
{
    if (!exists(p, "meta.db.rebuilt", 0))
        return SL_OK;
    SL_TRY(move_aside(p, "meta.db-wal")); /* first: it must never meet another meta.db */
    SL_TRY(move_aside(p, "meta.db-journal"));
    SL_TRY(move_aside(p, "meta.db"));
    return rename_file(p, "meta.db.rebuilt", "meta.db");
}

static sl_err remove_unfinished(const struct place *p)
{
    SL_TRY(remove_file(p, "meta.db.new-wal"));
    SL_TRY(remove_file(p, "meta.db.new-journal"));
    return remove_file(p, "meta.db.new");
}

static sl_err rebuild(const struct place *p, const struct sl_fault *why, struct sl_fault *fault)
{
    struct salvaged saved;
    LOG_ERROR("metastore.damaged", "meta.db is damaged: it is kept aside, and a new one is made",
              F_STR("where", why->where), F_STR("why", why->what));
    SL_TRY(remove_unfinished(p));
    SL_TRY(meta__salvage(p->vfs, p->dir, "meta.db", "meta.db.new", &saved, fault));
    if (exists(p, "meta.db.new-wal", 1)) /* closing could not move it into the file */
        return sl_fault_set(fault, SL_EIO, "meta.db.new could not be completed");
    SL_TRY(rename_file(p, "meta.db.new", "meta.db.rebuilt"));
    SL_TRY(swap(p));
    LOG_WARN("metastore.salvaged",
             saved.whole
                 ? "every row that holds was kept, committed offsets too"
                 : "rows on damaged pages are lost: some committed offsets and groups may be",
             F_I64("rows", saved.rows), F_I64("damaged_rows", saved.lost));
    return SL_OK;
}

/* ---- a damaged log ----------------------------------------------------------------------- */

/* Without its meta.db, SQLite would remove it. */
static sl_err set_lone_log_aside(const struct place *p)
{
    if (exists(p, "meta.db", 1) || !exists(p, "meta.db-wal", 1))
        return SL_OK;
    LOG_ERROR("metastore.missing", "meta.db is gone or empty, its log is not");
    return move_aside(p, "meta.db-wal");
}

static sl_err check_log(const struct place *p, struct sl_fault *fault)
{
    char db[PATH_BYTES], wal[PATH_BYTES], mark[PATH_BYTES];
    bool damaged = false;
    path_of(p, "meta.db", db);
    path_of(p, "meta.db-wal", wal);
    path_of(p, "meta.stale", mark);
    sl_err err = meta__wal_check(p->vfs, db, wal, &damaged);
    if (err != SL_OK)
        return sl_fault_set(fault, err, "meta.db-wal could not be read");
    if (!damaged)
        return SL_OK;
    LOG_ERROR("metastore.log_damaged",
              "meta.db-wal is damaged before its end: commits behind the damage are lost, among "
              "them perhaps committed offsets and groups; it is kept aside, every log is scanned");
    SL_TRY(copy_aside(p, "meta.db-wal"));
    return vfs_replace_file(p->vfs, mark, "the log of meta.db was damaged\n", 31);
}

static sl_err empty_log(struct sqlite_meta *m, struct sl_fault *fault)
{
    mutex_lock(m->db_lock);
    int rc = sqlite3_exec(m->db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    sl_err err = rc == SQLITE_OK ? SL_OK : meta__error(m, rc, fault);
    mutex_unlock(m->db_lock);
    return err;
}

/* The frames behind the damage go, so that they prove nothing again. */
static sl_err forget_proof(const struct place *p, struct metastore *m, struct sl_fault *fault)
{
    if (!exists(p, "meta.stale", 0))
        return SL_OK;
    const struct meta_op op = {.kind = META_SETTING_DELETE, .setting = {.name = META_LSN_SETTING}};
    struct meta_txn txn = {.ops = &op, .n_ops = 1};
    SL_TRY(meta_commit(m, &txn));
    SL_TRY(empty_log(meta__of(m), fault));
    SL_TRY(remove_file(p, "meta.stale"));
    return vfs_sync_dir(p->vfs, p->dir);
}

/* ---- the whole --------------------------------------------------------------------------- */

static sl_err open_verified(const struct place *p, struct sl_fault *fault, struct metastore **ret)
{
    struct metastore *m = NULL;
    SL_TRY(meta_sqlite_open(p->vfs, p->dir, fault, &m));
    struct sqlite_meta *s = meta__of(m);
    mutex_lock(s->db_lock);
    sl_err err = meta__verify(s, fault);
    if (err != SL_OK)
        meta__leave_log(s, true);
    mutex_unlock(s->db_lock);
    if (err != SL_OK) {
        meta_close(m);
        return err;
    }
    *ret = m;
    return SL_OK;
}

sl_err meta_sqlite_recover(struct vfs *v, const char *dir, struct sl_fault *fault,
                           struct metastore **ret)
{
    const struct place p = {v, dir};
    struct sl_fault why = {0};
    struct metastore *m = NULL;
    SL_TRY(swap(&p));
    SL_TRY(set_lone_log_aside(&p));
    SL_TRY(check_log(&p, fault));
    sl_err err = open_verified(&p, &why, &m);
    if (err == SL_ECORRUPT) {
        SL_TRY(rebuild(&p, &why, fault));
        err = open_verified(&p, &why, &m);
    }
    if (err != SL_OK) {
        if (fault)
            *fault = why;
        return err;
    }
    err = forget_proof(&p, m, fault);
    if (err != SL_OK) {
        meta_close(m);
        return err;
    }
    *ret = m;
    return SL_OK;
}
