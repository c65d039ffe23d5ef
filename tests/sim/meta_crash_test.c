/* D1, D8 for meta.db: what was committed is there after any crash, whole, and opening succeeds. */
#include "meta/metastore.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "sim/crash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WRITERS = 3, COMMITS = 12 };

/* Two settings of each writer, always written together with the same number. */
struct writer {
    struct oracle *oracle;
    unsigned number;
    uint64_t submitted, acked;
};

struct oracle {
    struct metastore *meta;
    struct writer writers[WRITERS];
    int64_t numbers_taken;
};

static void setting_name(char ret[16], unsigned writer, unsigned half)
{
    (void)snprintf(ret, 16, "w%u.%u", writer, half);
}

static void commit_numbers(void *arg)
{
    struct writer *w = arg;
    for (unsigned i = 0; i < COMMITS; i++) {
        char names[2][16];
        uint8_t value[512] = {0}; /* so that commits take several pages */
        struct meta_op ops[2];
        put_be64(value, ++w->submitted);
        for (unsigned half = 0; half < 2; half++) {
            setting_name(names[half], w->number, half);
            ops[half] = (struct meta_op){.kind = META_SETTING_PUT};
            ops[half].setting.name = names[half];
            ops[half].setting.value = slice_of(value, sizeof value);
        }
        struct meta_txn t = {.ops = ops, .n_ops = 2};
        assert_int_equal(SL_OK, meta_commit(w->oracle->meta, &t));
        w->acked = w->submitted;
        int64_t first;
        assert_int_equal(SL_OK, meta_reserve(w->oracle->meta, "pid", 2, &first));
        w->oracle->numbers_taken = SL_MAX(w->oracle->numbers_taken, first + 1);
    }
}

static void run(struct crash_test *t, struct simfs *fs)
{
    struct oracle *o = t->user;
    struct thread *threads[WRITERS];
    assert_int_equal(SL_OK, vfs_ensure_dir(simfs_vfs(fs), "/data"));
    assert_int_equal(SL_OK, meta_sqlite_open(simfs_vfs(fs), "/data", NULL, &o->meta));
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(SL_OK,
                         thread_start("writer", commit_numbers, &o->writers[i], &threads[i]));
    for (unsigned i = 0; i < WRITERS; i++)
        thread_join(threads[i]);
    meta_close(o->meta);
}

static void start(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    *o = (struct oracle){0};
    for (unsigned i = 0; i < WRITERS; i++)
        o->writers[i] = (struct writer){.oracle = o, .number = i};
}

/* ---- recovery ------------------------------------------------------------------------------- */

static sl_err load_setting(void *arg, const struct meta_setting *row)
{
    uint64_t(*found)[2] = arg;
    unsigned writer = (unsigned)(row->name[1] - '0'), half = (unsigned)(row->name[3] - '0');
    if (row->name[0] == 'w' && writer < WRITERS && half < 2 && row->value.len == 512)
        found[writer][half] = get_be64(row->value.data);
    return SL_OK;
}

static const char *compare(const struct oracle *o, uint64_t found[WRITERS][2], int64_t next_number)
{
    for (unsigned i = 0; i < WRITERS; i++) {
        const struct writer *w = &o->writers[i];
        if (found[i][0] != found[i][1])
            return crash_problem("writer %u: half a transaction", i);
        if (found[i][0] < w->acked)
            return crash_problem("writer %u: %llu was acknowledged, %llu is there", i,
                                 (unsigned long long)w->acked, (unsigned long long)found[i][0]);
        if (found[i][0] > w->submitted)
            return crash_problem("writer %u: invented", i);
    }
    if (next_number <= o->numbers_taken)
        return crash_problem("number %lld was given twice", (long long)next_number);
    return NULL;
}

static const char *check(struct crash_test *t, struct simfs *image, enum simfs_crash crash)
{
    const struct oracle *o = t->user;
    uint64_t found[WRITERS][2] = {{0}};
    struct metastore *m;
    struct sl_fault fault = {0};
    struct meta_loader loader = {.arg = found, .setting = load_setting};
    int64_t next_number = 0;
    if (vfs_ensure_dir(simfs_vfs(image), "/data") != SL_OK)
        return "no directory";
    sl_err err = meta_sqlite_recover(simfs_vfs(image), "/data", &fault, &m);
    if (err != SL_OK)
        return crash_problem("open: %s: %s: %s", sl_err_name(err), fault.where, fault.what);
    err = meta_load(m, &loader, &fault);
    if (err == SL_OK)
        err = meta_reserve(m, "pid", 1, &next_number);
    meta_close(m);
    if (err != SL_OK)
        return crash_problem("load: %s: %s: %s", sl_err_name(err), fault.where, fault.what);
    struct vfs_stat st;
    if (vfs_stat(simfs_vfs(image), "/data/quarantine", &st) == SL_OK)
        return "a torn end was taken for damage";
    return compare(o, found, next_number);
}

static void D1_meta_db_keeps_what_was_committed_whole(void **state)
{
    struct oracle o;
    struct crash_test t = {.name = "D1 meta",
                           .states = 3000,
                           .one_in = 8,
                           .depth_max = 1,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void D8_also_when_it_crashes_again_while_it_opens(void **state)
{
    struct oracle o;
    struct crash_test t = {.name = "D8 meta",
                           .states = 1500,
                           .one_in = 12,
                           .depth_max = 3,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D1_meta_db_keeps_what_was_committed_whole),
        cmocka_unit_test(D8_also_when_it_crashes_again_while_it_opens),
    };
    return cmocka_run_group_tests_name("meta crash", tests, NULL, NULL);
}
