/* D1, D8 for the local engine: what was acknowledged survives any crash at its level, nothing that
 * a reader saw is taken back, and opening succeeds from every state. */
#include "storage/engine_for_test.h"

#include "base/byteorder.h"
#include "base/log.h"
#include "sim/crash.h"

enum { PARTS = 3, APPENDS = 25 };

/* What one partition's writer knows. Record values say which append they belong to. */
struct oracle_part {
    int64_t durable_next;  /* behind the last acks=all that was acknowledged */
    int64_t buffered_next; /* behind the last acks=1 */
    int64_t seen_hw;
    int64_t log_start;
    uint32_t crc[APPENDS]; /* of the batch by number */
    int64_t base[APPENDS]; /* where it was acknowledged; -1: not */
};

struct oracle {
    struct world *w;
    struct oracle_part parts[PARTS];
    struct log_topic_cfg cfg;
    uint64_t seed;
    unsigned failing_calls; /* of segment files or their folders; 0: no faults */
    bool retains;           /* small retention.bytes: old segments go while all this happens */
    bool drops;             /* the topic is dropped at the end */
    bool drop_fails;        /* by a fault: then a checkpoint passes, and more is appended */
    bool dropping, dropped; /* asked for; acknowledged */
};

struct writer_arg {
    struct oracle *o;
    unsigned part;
};

static struct slice numbered_batch(unsigned part, int number, int n_records, size_t bytes)
{
    struct batch_builder *b = batch_builder_new(CODEC_NONE, 1 << 20);
    char *value = sl_alloc(1, bytes + 32);
    memset(value, 'a' + number % 26, bytes + 31);
    (void)snprintf(value, 32, "part %u append %d", part, number);
    for (int i = 0; i < n_records; i++) {
        struct new_record r = {.timestamp_ms = 1000 + number, .value = slice_of(value, bytes + 32)};
        SL_ASSERT(batch_builder_add(b, &r) == SL_OK);
    }
    struct slice batch;
    SL_ASSERT(batch_builder_finish(b, &batch_producer_none, &batch) == SL_OK);
    sl_free(value);
    batch_builder_free(b);
    return batch;
}

static size_t batch_size(struct rng *rng)
{
    uint64_t kind = rng_below(rng, 20);
    return kind == 0 ? 300000 : kind < 4 ? 20000 : 50 + rng_below(rng, 500); /* direct path, too */
}

static void append_from(const struct writer_arg *a, int first, int end)
{
    struct oracle *o = a->o;
    struct oracle_part *op = &o->parts[a->part];
    struct rng_seeded rng;
    rng_seeded_init(&rng, o->seed * 8 + a->part + (uint64_t)first * 1000);
    struct log_part *p = open_part(o->w, a->part + 1, o->cfg);
    for (int i = first; i < end; i++) {
        int n = 1 + (int)rng_below(&rng.rng, 3);
        struct slice batch = numbered_batch(a->part, i, n, batch_size(&rng.rng));
        enum log_durability level = rng_below(&rng.rng, 3) == 0 ? LOG_BUFFERED : LOG_DURABLE;
        op->crc[i] = get_be32(batch.data + BATCH_CRC);
        struct call c = {0};
        append_start(o->w, &c, p, batch, level);
        if (append_finish(&c) != SL_OK) { /* a fault: its outcome does not matter */
            sim_sleep_ns(400000000);
            continue;
        }
        /* acks=1 is answered before the direct path syncs: when that fails, its offset is given
         * again. It promises to survive a kill, not a disk that fails. */
        if (o->failing_calls && level == LOG_BUFFERED)
            continue;
        op->base[i] = c.append.base_offset;
        if (level == LOG_DURABLE)
            op->durable_next = c.append.base_offset + n;
        op->buffered_next = c.append.base_offset + n;
        op->seen_hw = state_of(o->w, p).high_watermark;
        if (rng_below(&rng.rng, 6) == 0)
            sim_sleep_ns((int64_t)rng_below(&rng.rng, 300) * 1000000);
    }
}

static void append_some(void *arg)
{
    const struct writer_arg *a = arg;
    append_from(a, 0, a->o->drop_fails ? APPENDS / 2 : APPENDS);
}

static void append_more(struct oracle *o)
{
    for (unsigned i = 0; i < PARTS; i++)
        append_from(&(struct writer_arg){o, i}, APPENDS / 2, APPENDS);
}

static void run_drop(struct call *c)
{
    struct uuid id = test_topic_id(1);
    c->done.done = on_done;
    log_topic_drop(c->w->engine, &id, &c->done);
}

static void drop_topic(struct oracle *o)
{
    struct call c = {0};
    o->dropping = true;
    call(o->w, &c, run_drop);
    SL_ASSERT(c.done.err == SL_OK || o->drop_fails);
    o->dropped = c.done.err == SL_OK;
    o->dropping = o->dropped;
    sim_sleep_ns(INT64_C(2000000000)); /* the files go, too */
}

/* A topic whose drop was refused goes on as if nobody had asked. */
static void drop_in_vain(struct oracle *o, struct simfs *fs, struct rng *rng)
{
    const bool mark = rng_below(rng, 2) == 0;
    const struct simfs_fault fault = {.calls =
                                          mark ? SIMFS_ALL & ~(unsigned)SIMFS_READ : SIMFS_WRITE,
                                      .n = 1 + rng_below(rng, mark ? 3 : 2),
                                      .err = mark ? SL_EIO : SL_ENOSPC,
                                      .path_part = mark ? "topic.meta" : "meta.db"};
    simfs_set_fault(fs, &fault);
    drop_topic(o);
    simfs_set_fault(fs, &(struct simfs_fault){0});
    if (!o->dropped)
        append_more(o);
}

static struct world *world_on(struct simfs *fs)
{
    struct world *w =
        new_world_on(simfs_vfs(fs), "/data", sim_clock(sim_current()), sim_rng(sim_current()));
    w->cfg.journal_file_bytes = 512 << 10;
    w->cfg.journal_files_max = 4;
    w->cfg.checkpoint_ms = 200;
    w->cfg.open_files_max = 3;
    return w;
}

static void run(struct crash_test *t, struct simfs *fs)
{
    struct oracle *o = t->user;
    struct thread *threads[PARTS];
    struct writer_arg args[PARTS];
    SL_ASSERT(vfs_ensure_dir(simfs_vfs(fs), "/data") == SL_OK);
    o->w = world_on(fs);
    open_world(o->w);
    make_topic(o->w, PARTS);
    struct rng_seeded rng;
    rng_seeded_init(&rng, o->seed);
    const uint64_t fault_calls_max = o->failing_calls == SIMFS_SYNC_DIR ? 8 : 40;
    const struct simfs_fault fault = {.calls = o->failing_calls,
                                      .n = 1 + rng_below(&rng.rng, fault_calls_max),
                                      .more = rng_below(&rng.rng, 3),
                                      .err = SL_EIO,
                                      .path_part =
                                          o->failing_calls == SIMFS_SYNC_DIR ? "/topics/" : ".log"};
    if (o->failing_calls)
        simfs_set_fault(fs, &fault);
    for (unsigned i = 0; i < PARTS; i++) {
        args[i] = (struct writer_arg){o, i};
        SL_ASSERT(thread_start("appender", append_some, &args[i], &threads[i]) == SL_OK);
    }
    for (unsigned i = 0; i < PARTS; i++)
        thread_join(threads[i]);
    if (o->retains)
        sim_sleep_ns(INT64_C(3000000000));
    if (o->drop_fails)
        drop_in_vain(o, fs, &rng.rng);
    else if (o->drops)
        drop_topic(o);
    sl_err err = close_world(o->w);
    SL_ASSERT(err == SL_OK || o->failing_calls); /* a rescue may be cut short: the journal has it */
    free_world(o->w);
}

static void start(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    *o = (struct oracle){.cfg = test_topic_cfg,
                         .seed = rng_u64(rng),
                         .failing_calls = o->failing_calls,
                         .retains = o->retains,
                         .drops = o->drops,
                         .drop_fails = o->drop_fails};
    o->cfg.segment_bytes = o->retains ? 20000 : 100000;
    o->cfg.retention_bytes = o->retains ? 30000 : -1;
    for (unsigned i = 0; i < PARTS; i++)
        for (int k = 0; k < APPENDS; k++)
            o->parts[i].base[k] = -1;
}

/* ---- recovery ------------------------------------------------------------------------------- */

/* Below `fixed` nothing may have changed; above, a lost batch may have made room for another. */
static const char *compare_batches(struct oracle_part *op, unsigned part, struct slice data,
                                   int64_t fixed, int64_t *next)
{
    for (size_t pos = 0; pos < data.len;) {
        struct batch_info info;
        if (batch_peek(slice_sub(data, pos, data.len - pos), &info) != SL_OK)
            return "a read gave half a batch";
        if (info.base_offset != *next)
            return crash_problem("part %u: offset %lld follows %lld", part,
                                 (long long)info.base_offset, (long long)*next);
        for (int i = 0; i < APPENDS; i++)
            if (op->base[i] == info.base_offset && info.base_offset < fixed &&
                op->crc[i] != info.crc)
                return crash_problem("part %u: another batch at offset %lld", part,
                                     (long long)info.base_offset);
        *next = batch_last_offset(&info) + 1;
        pos += info.bytes;
    }
    return NULL;
}

static const char *check_part(struct oracle *o, struct world *w, unsigned part,
                              enum simfs_crash crash)
{
    struct oracle_part *op = &o->parts[part];
    struct log_part *p = open_part(w, part + 1, o->cfg);
    int64_t hw = state_of(w, p).high_watermark;
    int64_t needed = SL_MAX(op->durable_next, op->seen_hw);
    if (crash == SIMFS_KILL)
        needed = SL_MAX(needed, op->buffered_next);
    if (hw < needed)
        return crash_problem("part %u: high watermark %lld, acknowledged %lld", part, (long long)hw,
                             (long long)needed);
    int64_t log_start = state_of(w, p).log_start;
    if (log_start > 0 && (!o->retains || log_start > hw))
        return crash_problem("part %u: log start %lld of %lld", part, (long long)log_start,
                             (long long)hw);
    for (int64_t next = log_start; next < hw;) {
        struct call c = {0};
        sl_err err = read_at(w, &c, p, next, 1 << 20);
        if (err != SL_OK || c.read.data.len == 0)
            return crash_problem("part %u: read at %lld of %lld: %s", part, (long long)next,
                                 (long long)hw, sl_err_name(err));
        const char *problem = compare_batches(op, part, c.read.data, needed, &next);
        slice_unref(&c.read.data);
        if (problem)
            return problem;
    }
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    sl_err err = append_finish(&c);
    if (err != SL_OK || c.append.base_offset != hw)
        return crash_problem("part %u: append behind recovery: %s at %lld, expected %lld", part,
                             sl_err_name(err), (long long)c.append.base_offset, (long long)hw);
    return NULL;
}

static sl_err take_lsn(void *arg, const struct meta_setting *row)
{
    if (strcmp(row->name, "storage.lsn") == 0 && row->value.len == 8)
        *(uint64_t *)arg = get_le64(row->value.data);
    return SL_OK;
}

/* The LSN row is committed last, but before CURRENT: at no state is it older than a slot. */
static const char *check_lsn_row(struct simfs *image)
{
    struct vfs *v = simfs_vfs(image);
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    struct metastore *m = NULL;
    struct uuid cluster = {{0}};
    uint64_t row = 0, newest = 0;
    const struct meta_loader loader = {.arg = &row, .setting = take_lsn};
    if (vfs_open(v, "/data/CURRENT", VFS_READ, &f) != SL_OK)
        return NULL; /* not that far yet */
    for (int64_t i = 0; i < 2; i++) {
        uint8_t slot[CURRENT_SLOT_BYTES];
        uint64_t counter, lsn;
        bool clean;
        if (vfs_pread_full(f, slot, sizeof slot, i * CURRENT_SLOT_STRIDE) == SL_OK &&
            current__parse(slot, sizeof slot, &cluster, &counter, &lsn, &clean) == SL_OK)
            newest = SL_MAX(newest, lsn);
    }
    if (meta_sqlite_open(v, "/data", NULL, &m) != SL_OK)
        return "the metastore cannot be opened";
    sl_err err = meta_load(m, &loader, NULL);
    meta_close(m);
    return err == SL_OK && row >= newest
               ? NULL
               : crash_problem("the LSN row says %llu, CURRENT %llu", (unsigned long long)row,
                               (unsigned long long)newest);
}

static const char *check(struct crash_test *t, struct simfs *image, enum simfs_crash crash)
{
    struct oracle *o = t->user;
    if (vfs_ensure_dir(simfs_vfs(image), "/data") != SL_OK)
        return "no directory";
    const char *problem = t->done % 4 == 0 ? check_lsn_row(image) : NULL;
    if (problem)
        return problem;
    struct world *w = world_on(image);
    sl_err err = try_open(w);
    if (err != SL_OK)
        return crash_problem("open: %s", sl_err_name(err));
    bool is_there = map_count(engine__of(w->engine)->parts) > 0;
    if (o->dropped && is_there)
        problem = "a dropped topic came back";
    if (!o->dropping && !is_there && o->parts[0].buffered_next > 0)
        problem = "the topic is gone";
    for (unsigned i = 0; i < PARTS && !problem && is_there; i++)
        if (o->parts[i].buffered_next > 0)
            problem = check_part(o, w, i, crash);
    err = close_world(w);
    free_world(w);
    return problem ? problem : err != SL_OK ? crash_problem("close: %s", sl_err_name(err)) : NULL;
}

static void D1_acknowledged_batches_survive_any_crash(void **state)
{
    struct oracle o = {0};
    struct crash_test t = {.name = "D1 storage",
                           .states = 2000,
                           .one_in = 10,
                           .depth_max = 1,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void D8_also_when_it_crashes_again_while_it_recovers(void **state)
{
    struct oracle o = {0};
    struct crash_test t = {.name = "D8 storage",
                           .states = 1000,
                           .one_in = 20,
                           .depth_max = 3,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void D1_retention_and_crashes_take_whole_old_segments_only(void **state)
{
    struct oracle o = {.retains = true};
    struct crash_test t = {.name = "D1 retention",
                           .states = 1000,
                           .one_in = 12,
                           .depth_max = 2,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void B05_a_dropped_topic_never_comes_back_and_no_other_goes(void **state)
{
    struct oracle o = {.drops = true};
    struct crash_test t = {.name = "B05 drop",
                           .states = 1000,
                           .one_in = 8,
                           .depth_max = 2,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void B05_a_drop_that_fails_loses_nothing_acknowledged(void **state)
{
    struct oracle o = {.drop_fails = true};
    struct crash_test t = {.name = "B05 failed drop",
                           .states = 1000,
                           .one_in = 15,
                           .depth_max = 2,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void with_fault(unsigned calls, const char *name)
{
    struct oracle o = {.failing_calls = calls};
    struct crash_test t = {.name = name,
                           .states = 1000,
                           .one_in = 15,
                           /* a name that only the cache has outlives a kill: known limit */
                           .depth_max = calls == SIMFS_SYNC_DIR ? 1 : 2,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void D7_a_failed_sync_of_a_segment_loses_nothing_acknowledged(void **state)
{
    with_fault(SIMFS_SYNC, "D7 sync");
}

static void D7_a_failed_sync_of_a_folder_loses_nothing_acknowledged(void **state)
{
    with_fault(SIMFS_SYNC_DIR, "D7 folder");
}

static void D5_a_failed_write_of_a_segment_loses_nothing_acknowledged(void **state)
{
    with_fault(SIMFS_WRITE, "D5 write");
}

static void D5_a_segment_that_cannot_be_made_or_cut_loses_nothing_acknowledged(void **state)
{
    with_fault(SIMFS_OPEN | SIMFS_TRUNCATE | SIMFS_WRITE, "D5 open");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!getenv("CRASH_LOG")) /* thousands of recoveries */
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D1_acknowledged_batches_survive_any_crash),
        cmocka_unit_test(D8_also_when_it_crashes_again_while_it_recovers),
        cmocka_unit_test(D1_retention_and_crashes_take_whole_old_segments_only),
        cmocka_unit_test(B05_a_dropped_topic_never_comes_back_and_no_other_goes),
        cmocka_unit_test(B05_a_drop_that_fails_loses_nothing_acknowledged),
        cmocka_unit_test(D7_a_failed_sync_of_a_segment_loses_nothing_acknowledged),
        cmocka_unit_test(D7_a_failed_sync_of_a_folder_loses_nothing_acknowledged),
        cmocka_unit_test(D5_a_failed_write_of_a_segment_loses_nothing_acknowledged),
        cmocka_unit_test(D5_a_segment_that_cannot_be_made_or_cut_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
