/* SQLite's unix files, watched: on a real folder, because there the locks and the memory are real.
 */
#include "storage/sqlite/files.h"
#include "storage/sqlite/rows.h"
#include "vfs/vfs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct scene {
    char dir[32], path[64];
    struct sqlog_files *files;
    sqlite3 *db;
};

static int setup(void **state)
{
    static struct scene s;
    s = (struct scene){.dir = "/tmp/sluice-sql-XXXXXX"};
    assert_non_null(mkdtemp(s.dir));
    (void)snprintf(s.path, sizeof s.path, "%s/sluice.db", s.dir);
    assert_int_equal(SL_OK, sqlog__files_new(vfs_real(), &clock_real, &s.files));
    assert_int_equal(SL_OK, sqlog__connect(s.path, sqlog__files_name(s.files), false, &s.db, NULL));
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    static const char *const ends[] = {"", "-wal", "-shm"};
    (void)sqlite3_close(s->db);
    sqlog__files_free(s->files);
    for (size_t i = 0; i < SL_ARRAY_LEN(ends); i++) {
        char path[80];
        (void)snprintf(path, sizeof path, "%s%s", s->path, ends[i]);
        (void)unlink(path); /* a clean close has removed two */
    }
    (void)rmdir(s->dir);
    return 0;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static void each_commit_is_synced_and_counted(void **state)
{
    struct scene *s = *state;
    uint64_t ns = 0;
    assert_int_equal(SQLITE_OK, run(s->db, "CREATE TABLE t(x)"));
    uint64_t before = sqlog__files_syncs(s->files, &ns);
    for (int i = 0; i < 10; i++)
        assert_int_equal(SQLITE_OK, run(s->db, "INSERT INTO t VALUES(1)"));
    assert_true(sqlog__files_syncs(s->files, &ns) >= before + 10);
    assert_true(ns > 0);
}

static void P5_after_a_failed_sync_nothing_is_written_or_synced_again(void **state)
{
    struct scene *s = *state;
    assert_int_equal(SQLITE_OK, run(s->db, "CREATE TABLE t(x)"));
    sqlog__files_fail_sync(s->files, 1);
    assert_int_equal(SQLITE_IOERR, run(s->db, "INSERT INTO t VALUES(1)") & 0xff);
    assert_true(sqlog__files_broken(s->files));
    for (int i = 0; i < 3; i++)
        assert_int_equal(SQLITE_IOERR, run(s->db, "INSERT INTO t VALUES(2)") & 0xff);
}

/* SQLite says nothing when the sync of a checkpoint fails, and would try it again. */
static void P5_a_failed_sync_of_a_checkpoint_is_remembered(void **state)
{
    struct scene *s = *state;
    assert_int_equal(SQLITE_OK, run(s->db, "CREATE TABLE t(x)"));
    assert_int_equal(SQLITE_OK, run(s->db, "INSERT INTO t VALUES(1)"));
    sqlog__files_fail_sync(s->files, 2);       /* the log, then the database */
    (void)run(s->db, "PRAGMA wal_checkpoint"); /* its result is a row */
    assert_true(sqlog__files_broken(s->files));
    assert_int_equal(SQLITE_IOERR, run(s->db, "INSERT INTO t VALUES(2)") & 0xff);
}

/* The shell waits for our lock instead of writing between our pages. */
static void locks_are_seen_by_other_programs(void **state)
{
    struct scene *s = *state;
    sqlite3 *other = NULL;
    assert_int_equal(SQLITE_OK, run(s->db, "CREATE TABLE t(x)"));
    assert_int_equal(SQLITE_OK, sqlite3_open(s->path, &other)); /* with SQLite's own VFS */
    assert_int_equal(SQLITE_OK, run(s->db, "BEGIN IMMEDIATE"));
    assert_int_equal(SQLITE_BUSY, run(other, "INSERT INTO t VALUES(1)"));
    assert_int_equal(SQLITE_OK, run(s->db, "COMMIT"));
    assert_int_equal(SQLITE_OK, run(other, "INSERT INTO t VALUES(1)"));
    assert_int_equal(SQLITE_OK, sqlite3_close(other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(each_commit_is_synced_and_counted),
        CASE(P5_after_a_failed_sync_nothing_is_written_or_synced_again),
        CASE(P5_a_failed_sync_of_a_checkpoint_is_remembered),
        CASE(locks_are_seen_by_other_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
