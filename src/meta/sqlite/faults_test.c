/* The store on files that fail at a chosen call: a table of functions around the real one. */
#include "base/alloc.h"
#include "meta/metastore.h"
#include "vfs/vfs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum fault_call { FAULT_WRITE, FAULT_SYNC, FAULT_READ, FAULT_OPEN, FAULT_CALLS };

struct faulty_vfs {
    struct vfs base; /* first */
    struct vfs *real;
    sl_err err[FAULT_CALLS];     /* what the call answers */
    long countdown[FAULT_CALLS]; /* calls that still succeed; -1: all */
    unsigned long calls[FAULT_CALLS];
};

struct faulty_file {
    struct vfs_file base; /* first */
    struct vfs_file *real;
};

static struct faulty_vfs *vfs_of(struct vfs *v)
{
    return SL_CONTAINER_OF(v, struct faulty_vfs, base);
}

static struct vfs_file *real_of(struct vfs_file *f)
{
    return SL_CONTAINER_OF(f, struct faulty_file, base)->real;
}

static sl_err strike(struct faulty_vfs *v, enum fault_call call)
{
    v->calls[call]++;
    if (v->countdown[call] < 0)
        return SL_OK;
    if (v->countdown[call] > 0) {
        v->countdown[call]--;
        return SL_OK;
    }
    return v->err[call];
}

static sl_err f_open(struct vfs *v, const char *path, int flags, struct vfs_file **ret)
{
    struct vfs_file *real = NULL;
    SL_TRY(strike(vfs_of(v), FAULT_OPEN));
    SL_TRY(vfs_open(vfs_of(v)->real, path, flags, &real));
    struct faulty_file *f = sl_new(struct faulty_file);
    f->base.vfs = v;
    f->real = real;
    *ret = &f->base;
    return SL_OK;
}

static void f_close(struct vfs_file *f)
{
    vfs_close(real_of(f));
    sl_free(f);
}

static sl_err f_pread(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n)
{
    SL_TRY(strike(vfs_of(f->vfs), FAULT_READ));
    return vfs_pread(real_of(f), data, len, pos, ret_n);
}

static sl_err f_pwritev(struct vfs_file *f, struct iovec *iov, size_t n, int64_t pos)
{
    SL_TRY(strike(vfs_of(f->vfs), FAULT_WRITE));
    return vfs_pwritev(real_of(f), iov, n, pos);
}

static sl_err f_truncate(struct vfs_file *f, int64_t size)
{
    return vfs_truncate(real_of(f), size);
}

static sl_err f_datasync(struct vfs_file *f)
{
    SL_TRY(strike(vfs_of(f->vfs), FAULT_SYNC));
    return vfs_datasync(real_of(f));
}

static sl_err f_size(struct vfs_file *f, int64_t *ret)
{
    return vfs_file_size(real_of(f), ret);
}

static sl_err f_stat(struct vfs *v, const char *path, struct vfs_stat *ret)
{
    return vfs_stat(vfs_of(v)->real, path, ret);
}

static sl_err f_unlink(struct vfs *v, const char *path)
{
    return vfs_unlink(vfs_of(v)->real, path);
}

static sl_err f_sync_dir(struct vfs *v, const char *path)
{
    SL_TRY(strike(vfs_of(v), FAULT_SYNC));
    return vfs_sync_dir(vfs_of(v)->real, path);
}

static const struct vfs_ops faulty_ops = {
    .open = f_open,
    .close = f_close,
    .pread = f_pread,
    .pwritev = f_pwritev,
    .truncate = f_truncate,
    .datasync = f_datasync,
    .file_size = f_size,
    .stat = f_stat,
    .unlink = f_unlink,
    .sync_dir = f_sync_dir,
};

/* ---- world ---------------------------------------------------------------------------------- */

struct world {
    char dir[64];
    struct faulty_vfs vfs;
    struct metastore *meta;
};

static void heal(struct world *w)
{
    for (int i = 0; i < FAULT_CALLS; i++)
        w->vfs.countdown[i] = -1;
}

/* The call fails from its (n+1)-th use on, until heal(). */
static void fail_after(struct world *w, enum fault_call call, long n, sl_err err)
{
    w->vfs.countdown[call] = n;
    w->vfs.err[call] = err;
}

static void remove_files(struct world *w)
{
    static const char *const names[] = {"meta.db", "meta.db-wal", "meta.db-journal"};
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        (void)unlink(path);
    }
}

static int setup(void **state)
{
    struct world *w = sl_new(struct world);
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/sluice-meta-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->vfs.base.ops = &faulty_ops;
    w->vfs.real = vfs_real();
    heal(w);
    assert_int_equal(SL_OK, meta_sqlite_open(&w->vfs.base, w->dir, NULL, &w->meta));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    heal(w);
    meta_close(w->meta);
    remove_files(w);
    (void)rmdir(w->dir);
    sl_free(w);
    return 0;
}

static sl_err put_setting(struct world *w, const char *name, size_t value_bytes)
{
    char *value = sl_alloc(value_bytes ? value_bytes : 1, 1);
    struct meta_op op = {.kind = META_SETTING_PUT,
                         .setting = {.name = name, .value = slice_of(value, value_bytes)}};
    struct meta_txn t = {.ops = &op, .n_ops = 1};
    sl_err err = meta_commit(w->meta, &t);
    sl_free(value);
    return err;
}

static sl_err count_setting(void *arg, const struct meta_setting *s)
{
    ++*(int *)arg;
    return SL_OK;
}

static int count_settings(struct world *w)
{
    int n = 0;
    struct meta_loader l = {.arg = &n, .setting = count_setting};
    assert_int_equal(SL_OK, meta_load(w->meta, &l, NULL));
    return n;
}

static void reopen(struct world *w)
{
    meta_close(w->meta);
    w->meta = NULL;
    heal(w);
    assert_int_equal(SL_OK, meta_sqlite_open(&w->vfs.base, w->dir, NULL, &w->meta));
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void F04_a_full_disk_refuses_that_write_and_heals_by_itself(void **state)
{
    struct world *w = *state;
    assert_int_equal(SL_OK, put_setting(w, "a", 10));
    fail_after(w, FAULT_WRITE, 0, SL_ENOSPC);
    assert_int_equal(SL_ENOSPC, put_setting(w, "b", 10));
    assert_int_equal(1, count_settings(w));
    heal(w);
    assert_int_equal(SL_OK, put_setting(w, "c", 10));
    reopen(w);
    assert_int_equal(2, count_settings(w));
}

/* Larger than the page cache: the disk is full in the middle of the transaction, not at its end. */
static void F04_a_full_disk_in_the_middle_of_a_large_transaction_refuses_it(void **state)
{
    struct world *w = *state;
    assert_int_equal(SL_OK, put_setting(w, "a", 10));
    fail_after(w, FAULT_WRITE, 100, SL_ENOSPC);
    assert_int_equal(SL_ENOSPC, put_setting(w, "large", 8u << 20));
    heal(w);
    assert_int_equal(SL_OK, put_setting(w, "b", 10));
    reopen(w);
    assert_int_equal(2, count_settings(w));
}

enum { N_GROUP = 8 };

struct group {
    struct loop *loop;
    struct meta_txn txns[N_GROUP];
    struct meta_op ops[N_GROUP];
    char names[N_GROUP][8];
    size_t n_done;
};

static struct group *current;

static void group_done(struct meta_txn *t)
{
    if (++current->n_done == N_GROUP)
        loop_stop(current->loop);
}

/* One of the group needs 8 MiB that the disk does not have: whichever transactions share its
 * commit, only those that do not fit are refused. */
static void F04_the_neighbours_of_a_transaction_that_does_not_fit_are_kept(void **state)
{
    struct world *w = *state;
    struct group *g = current = sl_new(struct group);
    char *large = sl_alloc(8u << 20, 1);
    assert_int_equal(SL_OK, loop_new(&clock_real, &g->loop));
    fail_after(w, FAULT_WRITE, 500, SL_ENOSPC);
    for (size_t i = 0; i < N_GROUP; i++) {
        (void)snprintf(g->names[i], sizeof g->names[i], "s%zu", i);
        g->ops[i] = (struct meta_op){
            .kind = META_SETTING_PUT,
            .setting = {.name = g->names[i], .value = slice_of(large, i == 7 ? 8u << 20 : 8)}};
        g->txns[i] =
            (struct meta_txn){.ops = &g->ops[i], .n_ops = 1, .home = g->loop, .done = group_done};
        meta_submit(w->meta, &g->txns[i]);
    }
    loop_run(g->loop);
    assert_int_equal(SL_ENOSPC, g->txns[7].err);
    int kept = 0;
    for (size_t i = 0; i < N_GROUP; i++)
        kept += g->txns[i].err == SL_OK;
    reopen(w);
    assert_int_equal(kept, count_settings(w));
    loop_free(g->loop);
    sl_free(g);
    sl_free(large);
}

static void P5_after_a_failed_sync_nothing_is_synced_or_acknowledged_again(void **state)
{
    struct world *w = *state;
    assert_int_equal(SL_OK, put_setting(w, "a", 10));
    fail_after(w, FAULT_SYNC, 0, SL_EIO);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, put_setting(w, "b", 10));
    heal(w);
    unsigned long syncs = w->vfs.calls[FAULT_SYNC];
    assert_int_equal(SL_EUNKNOWN_OUTCOME, put_setting(w, "c", 10));
    int64_t first = 0;
    assert_int_equal(SL_EUNKNOWN_OUTCOME, meta_reserve(w->meta, "pid", 1, &first));
    assert_int_equal(syncs, w->vfs.calls[FAULT_SYNC]);
    reopen(w); /* a new process: what was acknowledged is there */
    assert_true(count_settings(w) >= 1);
    assert_int_equal(SL_OK, put_setting(w, "c", 10));
}

static void P5_a_failed_sync_of_a_checkpoint_ends_the_store_too(void **state)
{
    struct world *w = *state;
    int acknowledged = 0;
    fail_after(w, FAULT_SYNC, 2, SL_EIO); /* the log of the large one; then the file itself */
    char name[16];
    sl_err err = SL_OK;
    for (int i = 0; i < 20 && err == SL_OK; i++) {
        (void)snprintf(name, sizeof name, "n%d", i);
        err = put_setting(w, name, 2u << 20);
        acknowledged += err == SL_OK;
    }
    assert_int_equal(SL_EUNKNOWN_OUTCOME, err);
    heal(w);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, put_setting(w, "later", 10));
    reopen(w);
    assert_true(count_settings(w) >= acknowledged);
}

/* D5 in miniature: every write and every sync of creating a store and writing to it fails once. */
static void D5_any_failing_call_loses_nothing_acknowledged(void **state)
{
    struct world *w = *state;
    static const struct {
        enum fault_call call;
        sl_err err;
    } kinds[] = {{FAULT_WRITE, SL_EIO}, {FAULT_WRITE, SL_ENOSPC}, {FAULT_SYNC, SL_EIO},
                 {FAULT_READ, SL_EIO},  {FAULT_OPEN, SL_EIO},     {FAULT_OPEN, SL_ENOSPC}};
    for (size_t k = 0; k < SL_ARRAY_LEN(kinds); k++) {
        bool reached = true;
        for (long n = 0; reached && n < 200; n++) {
            meta_close(w->meta);
            w->meta = NULL;
            remove_files(w);
            unsigned long before = w->vfs.calls[kinds[k].call];
            fail_after(w, kinds[k].call, n, kinds[k].err);
            int acknowledged = 0;
            if (meta_sqlite_open(&w->vfs.base, w->dir, NULL, &w->meta) == SL_OK) {
                for (int i = 0; i < 3; i++) {
                    char name[2] = {(char)('a' + i), '\0'};
                    acknowledged += put_setting(w, name, 5000) == SL_OK;
                }
            }
            reached = w->vfs.calls[kinds[k].call] - before > (unsigned long)n;
            reopen(w);
            assert_true(count_settings(w) >= acknowledged);
        }
        assert_false(reached);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(F04_a_full_disk_refuses_that_write_and_heals_by_itself),
        TEST(F04_a_full_disk_in_the_middle_of_a_large_transaction_refuses_it),
        TEST(F04_the_neighbours_of_a_transaction_that_does_not_fit_are_kept),
        TEST(P5_after_a_failed_sync_nothing_is_synced_or_acknowledged_again),
        TEST(P5_a_failed_sync_of_a_checkpoint_ends_the_store_too),
        TEST(D5_any_failing_call_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
