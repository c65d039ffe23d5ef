/* For tests of this folder: an engine on real files in a temporary folder, its core loop on a
 * thread of its own, and calls that wait. Only test files include it. */
#ifndef SLUICE_STORAGE_ENGINE_FOR_TEST_H
#define SLUICE_STORAGE_ENGINE_FOR_TEST_H

#include "base/alloc.h"
#include "record/batches_for_test.h"
#include "storage/local_int.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test_clock {
    struct clock clock; /* first */
    const struct clock *base;
    _Atomic int64_t wall_ms; /* 0: the base's */
};

/* The engine that the topics of a test are in: each suite that is about the contract runs on all.
 */
static enum log_engine_kind test_engine = LOG_ENGINE_LOCAL;

static inline bool is_local(void)
{
    return test_engine == LOG_ENGINE_LOCAL;
}

/* "sqlite" as the first argument; none: local. */
static inline void choose_engine(int argc, char **argv)
{
    if (argc > 1)
        test_engine = log_engine_by_name(argv[1]);
    SL_ASSERT(test_engine < LOG_ENGINE_COUNT);
}

struct world {
    char dir[64];
    struct vfs *vfs;
    struct rng *rng;
    struct metastore *meta;
    struct loop *loop;
    struct workers *workers;
    struct log_engine *engine;
    struct thread *thread;
    struct log_cfg cfg;
    struct test_clock clock;
    struct mutex *mutex;
    struct cond *cond;
    _Atomic bool fatal;
};

/* One call on the core loop that the test thread waits for. */
struct call {
    struct task task;
    struct world *w;
    void (*run)(struct call *c);
    bool finished;
    /* arguments and results, by kind */
    struct log_append append;
    struct log_batch batch;
    struct log_read read;
    struct log_lookup lookup;
    struct log_done done;
    struct log_part *part;
    struct log_part_id id;
    struct log_topic_cfg cfg;
    struct log_part_state state;
    struct log_topic_spec spec;
    struct log_watch watch;
    struct log_engine_counters counters;
    struct log_producer producers[8];
    int64_t number;
};

static const struct log_topic_cfg test_topic_cfg = {
    .segment_bytes = 1 << 30,
    .segment_ms = 7 * 24 * 3600 * INT64_C(1000),
    .retention_ms = -1,
    .retention_bytes = -1,
    .index_interval_bytes = 4096,
    .file_delete_delay_ms = 0,
    .delete_old = true,
};

static inline void call_finish(struct call *c)
{
    mutex_lock(c->w->mutex);
    c->finished = true;
    cond_broadcast(c->w->cond);
    mutex_unlock(c->w->mutex);
}

static inline void call_on_loop(struct task *t)
{
    struct call *c = SL_CONTAINER_OF(t, struct call, task);
    c->run(c);
}

static inline void call_start(struct world *w, struct call *c, void (*run)(struct call *c))
{
    c->w = w;
    c->run = run;
    c->finished = false;
    c->task.run = call_on_loop;
    loop_post(w->loop, &c->task);
}

static inline void call_wait(struct call *c)
{
    mutex_lock(c->w->mutex);
    while (!c->finished)
        cond_wait(c->w->cond, c->w->mutex);
    mutex_unlock(c->w->mutex);
}

static inline void call(struct world *w, struct call *c, void (*run)(struct call *c))
{
    call_start(w, c, run);
    call_wait(c);
}

/* ---- the world --------------------------------------------------------------------------- */

static inline int64_t test_monotonic_ns(const struct clock *c)
{
    return clock_monotonic_ns(((const struct test_clock *)(const void *)c)->base);
}

static inline int64_t test_wall_ms(const struct clock *c)
{
    const struct test_clock *t = (const void *)c;
    return t->wall_ms ? t->wall_ms : clock_wall_ms(t->base);
}

static inline void run_loop(void *arg)
{
    loop_run(((struct world *)arg)->loop);
}

static inline void on_fatal(void *arg)
{
    ((struct world *)arg)->fatal = true;
}

static inline sl_err try_open(struct world *w)
{
    struct sl_fault fault = {0};
    assert_int_equal(SL_OK, loop_new(&w->clock.clock, &w->loop));
    assert_int_equal(SL_OK, workers_start(2, &w->workers));
    sl_err opened = meta_sqlite_recover(w->vfs, w->dir, &fault, &w->meta);
    if (opened != SL_OK)
        print_message("# %s: %s\n", fault.where, fault.what);
    assert_int_equal(SL_OK, opened);
    const struct log_env env = {.clock = &w->clock.clock,
                                .rng = w->rng,
                                .vfs = w->vfs,
                                .meta = w->meta,
                                .loop = w->loop,
                                .workers = w->workers,
                                .fatal = on_fatal,
                                .fatal_arg = w};
    w->cfg.data_dir = w->dir;
    sl_err err = is_local() ? log_local_open(&w->cfg, &env, &fault, &w->engine)
                            : log_open(&w->cfg, &env, &fault, &w->engine);
    if (err != SL_OK)
        print_message("# %s: %s\n", fault.where, fault.what);
    else
        assert_int_equal(SL_OK, thread_start("core", run_loop, w, &w->thread));
    return err;
}

static inline void open_world(struct world *w)
{
    assert_int_equal(SL_OK, try_open(w));
}

static inline void stop_loop(struct call *c)
{
    loop_stop(c->w->loop);
    call_finish(c);
}

static inline void close_rest(struct world *w)
{
    struct call c = {0};
    if (w->thread)
        call(w, &c, stop_loop);
    thread_join(w->thread);
    workers_stop(w->workers);
    meta_close(w->meta);
    loop_free(w->loop);
    w->thread = NULL;
    w->engine = NULL;
}

static inline void on_engine_closed(struct log_done *d)
{
    call_finish(SL_CONTAINER_OF(d, struct call, done));
}

static inline void run_close(struct call *c)
{
    c->done.done = on_engine_closed;
    log_engine_close(c->w->engine, &c->done);
}

static inline sl_err close_world(struct world *w)
{
    struct call c = {0};
    call(w, &c, run_close);
    close_rest(w);
    return c.done.err;
}

/* On any files, clock and chance: dir exists. */
static inline struct world *new_world_on(struct vfs *vfs, const char *dir, const struct clock *base,
                                         struct rng *rng)
{
    struct world *w = sl_new(struct world);
    (void)snprintf(w->dir, sizeof w->dir, "%s", dir);
    w->vfs = vfs;
    w->rng = rng;
    w->clock.clock = (struct clock){test_monotonic_ns, test_wall_ms};
    w->clock.base = base;
    w->mutex = mutex_new();
    w->cond = cond_new();
    w->cfg = (struct log_cfg){
        .journal_file_bytes = 1 << 20, .ballast_bytes = UINT64_MAX, .reserve_bytes = 1 << 20};
    return w;
}

static inline struct world *new_world(void)
{
    char dir[] = "/tmp/sluice-log-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct world *w = new_world_on(vfs_real(), dir, &clock_real, &rng_real);
    w->clock.wall_ms = 1700000000000;
    return w;
}

static inline int unlink_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

static inline void free_world(struct world *w)
{
    if (w->vfs == vfs_real())
        (void)nftw(w->dir, unlink_entry, 16, FTW_DEPTH | FTW_PHYS);
    mutex_free(w->mutex);
    cond_free(w->cond);
    sl_free(w);
}

/* A copy of the data folder as it is now, while the engine runs: what kill -9 would leave. The
 * world continues in the copy. */
static inline void crash_and_reopen(struct world *w)
{
    char copy[64], command[256];
    (void)snprintf(copy, sizeof copy, "/tmp/sluice-log-XXXXXX");
    assert_non_null(mkdtemp(copy));
    (void)snprintf(command, sizeof command, "cp -r %s/. %s/ && rm -f %s/LOCK", w->dir, copy, copy);
    assert_int_equal(0, system(command)); /* NOLINT: fixed text and our own temporary names */
    char old[64];
    memcpy(old, w->dir, sizeof old);
    (void)close_world(w);
    (void)nftw(old, unlink_entry, 16, FTW_DEPTH | FTW_PHYS);
    memcpy(w->dir, copy, sizeof copy);
    open_world(w);
}

/* ---- calls ------------------------------------------------------------------------------- */

static inline struct uuid test_topic_id(uint8_t n)
{
    return (struct uuid){.bytes = {n, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10}};
}

static inline void on_done(struct log_done *d)
{
    call_finish(SL_CONTAINER_OF(d, struct call, done));
}

static inline void run_topic_write(struct call *c)
{
    c->done.done = on_done;
    log_topic_write(c->w->engine, &c->spec, &c->done);
}

static inline void run_part_open(struct call *c)
{
    c->part = log_part_open(c->w->engine, &c->id, &c->cfg);
    call_finish(c);
}

static inline struct log_part *open_part(struct world *w, uint64_t pid, struct log_topic_cfg cfg)
{
    struct call c = {.id = {.pid = pid, .topic_id = test_topic_id(1), .index = (int32_t)pid - 1},
                     .cfg = cfg};
    c.cfg.engine = test_engine;
    call(w, &c, run_part_open);
    return c.part;
}

/* Topic 1 with partitions 0..n-1 (pid = index + 1): files, then rows. */
static inline void make_topic(struct world *w, uint32_t n)
{
    struct log_part_id *ids = sl_new_array(struct log_part_id, n);
    struct meta_op *ops = sl_new_array(struct meta_op, n + 1);
    ops[0] = (struct meta_op){.kind = META_TOPIC_PUT,
                              .topic = {.topic_id = test_topic_id(1),
                                        .name = "t",
                                        .number = 1,
                                        .partitions = (int32_t)n,
                                        .engine = log_engine_name(test_engine)}};
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = (struct log_part_id){i + 1, test_topic_id(1), (int32_t)i};
        ops[i + 1] = (struct meta_op){.kind = META_PARTITION_PUT,
                                      .partition = {i + 1, test_topic_id(1), (int32_t)i}};
    }
    struct call c = {.spec = {.topic_id = test_topic_id(1),
                              .number = 1,
                              .name = "t",
                              .parts = ids,
                              .n_parts = n,
                              .engine = test_engine}};
    call(w, &c, run_topic_write);
    assert_int_equal(SL_OK, c.done.err);
    struct meta_txn txn = {.ops = ops, .n_ops = n + 1};
    assert_int_equal(SL_OK, meta_commit(w->meta, &txn));
    sl_free(ids);
    sl_free(ops);
}

static inline void on_appended(struct log_append *a)
{
    call_finish(SL_CONTAINER_OF(a, struct call, append));
}

static inline void run_append(struct call *c)
{
    c->append.done = on_appended;
    log_append(c->w->engine, &c->append);
}

/* Takes the slice. */
static inline void append_start(struct world *w, struct call *c, struct log_part *p,
                                struct slice batch, enum log_durability durability)
{
    c->batch.bytes = batch;
    assert_int_equal(SL_OK, batch_peek(batch, &c->batch.info));
    c->append.part = p;
    c->append.batches = &c->batch;
    c->append.n_batches = 1;
    c->append.durability = durability;
    call_start(w, c, run_append);
}

static inline sl_err append_finish(struct call *c)
{
    call_wait(c);
    slice_unref(&c->batch.bytes);
    return c->append.err;
}

static inline int64_t append_batch(struct world *w, struct log_part *p, struct slice batch,
                                   enum log_durability durability)
{
    struct call c = {0};
    append_start(w, &c, p, batch, durability);
    assert_int_equal(SL_OK, append_finish(&c));
    return c.append.base_offset;
}

/* n records of `bytes` bytes, acks=all; the base offset. */
static inline int64_t append_records(struct world *w, struct log_part *p, int n, size_t bytes)
{
    return append_batch(w, p, test_batch(CODEC_NONE, n, bytes), LOG_DURABLE);
}

static inline void on_read(struct log_read *r)
{
    call_finish(SL_CONTAINER_OF(r, struct call, read));
}

static inline void run_read(struct call *c)
{
    c->read.done = on_read;
    if (log_read(c->w->engine, &c->read) != SL_PENDING)
        call_finish(c);
}

/* The caller unrefs c->read.data. */
static inline sl_err read_at(struct world *w, struct call *c, struct log_part *p, int64_t offset,
                             uint32_t bytes_max)
{
    c->read = (struct log_read){
        .part = p, .offset = offset, .bytes_max = bytes_max, .at_least_one = true};
    call(w, c, run_read);
    return c->read.err;
}

/* Reads from `from` to the high watermark; checks that offsets are dense; the number of records. */
static inline int64_t read_all(struct world *w, struct log_part *p, int64_t from,
                               uint32_t bytes_max)
{
    int64_t next = from;
    for (;;) {
        struct call c = {0};
        assert_int_equal(SL_OK, read_at(w, &c, p, next, bytes_max));
        size_t pos = 0;
        while (pos < c.read.data.len) {
            struct batch_info info;
            struct slice rest = slice_sub(c.read.data, pos, c.read.data.len - pos);
            assert_int_equal(SL_OK, batch_peek(rest, &info));
            assert_true(batch_crc_holds(rest.data, &info));
            if (pos > 0 || next > from)
                assert_int_equal(next, info.base_offset);
            next = batch_last_offset(&info) + 1;
            pos += info.bytes;
        }
        slice_unref(&c.read.data);
        if (pos == 0)
            return next - from;
    }
}

static inline void run_state(struct call *c)
{
    log_part_state(c->w->engine, c->part, &c->state);
    log_counters(c->w->engine, &c->counters);
    call_finish(c);
}

static inline struct log_part_state state_of(struct world *w, struct log_part *p)
{
    struct call c = {.part = p};
    call(w, &c, run_state);
    return c.state;
}

static inline struct log_engine_counters counters_of(struct world *w, struct log_part *p)
{
    struct call c = {.part = p};
    call(w, &c, run_state);
    return c.counters;
}

static inline void segment_file(struct world *w, uint64_t pid, int64_t base, const char *ext,
                                char ret[PATH_BYTES])
{
    struct uuid id = test_topic_id(1);
    paths__segment(ret, w->dir, &id, (int32_t)pid - 1, base, ext);
}

static inline int world_setup(void **state)
{
    struct world *w = new_world();
    open_world(w);
    make_topic(w, 4);
    *state = w;
    return 0;
}

static inline int world_teardown(void **state)
{
    struct world *w = *state;
    if (w->engine)
        (void)close_world(w);
    free_world(w);
    return 0;
}

/* The last n_of_local of the tests are about the local engine's files and nothing else. */
static inline int run_suite(const struct CMUnitTest *tests, size_t n, size_t n_of_local)
{
    return _cmocka_run_group_tests(is_local() ? "local" : "other", tests,
                                   is_local() ? n : n - n_of_local, NULL, NULL);
}

#endif
