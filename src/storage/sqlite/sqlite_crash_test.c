/* Crash states of the SQLite engine: at many changes of the disk the machine stops; what had been
 * acknowledged is there afterwards, whole, at its offset, and nothing that was deleted comes back.
 */
#include "storage/engine_for_test.h"

#include "base/log.h"
#include "record/records.h"
#include "sim/crash.h"

enum { PARTS = 3, APPENDS = 12, PRODUCER = 900 };

struct oracle_part {
    int64_t base[APPENDS]; /* -1: not acknowledged */
    int n[APPENDS];
    int64_t next, seen_hw;
    int64_t trim_asked, trimmed; /* asked for, acknowledged */
};

struct oracle {
    struct world *w;
    uint64_t seed;
    bool drops, fails;
    bool dropping, dropped;
    struct oracle_part parts[PARTS];
};

struct writer_arg {
    struct oracle *o;
    unsigned part;
};

/* Partition 0 has an idempotent producer: its batches have one record, its sequences are offsets.
 */
static struct slice batch_of(unsigned part, int append, int n)
{
    struct batch_builder *b = batch_builder_new(append % 2 ? CODEC_LZ4 : CODEC_NONE, 1 << 20);
    for (int i = 0; i < n; i++) {
        char value[200];
        memset(value, 'x', sizeof value);
        (void)snprintf(value, sizeof value, "part %u append %d record %d", part, append, i);
        struct new_header h = {slice_str("h"), slice_str("v")};
        struct new_record r = {.timestamp_ms = 1000 + append,
                               .value = slice_of(value, sizeof value),
                               .headers = &h,
                               .n_headers = append % 3 == 0};
        SL_ASSERT(batch_builder_add(b, &r) == SL_OK);
    }
    const struct batch_producer producer = {PRODUCER, 0, append};
    struct slice batch;
    SL_ASSERT(batch_builder_finish(b, part == 0 ? &producer : &batch_producer_none, &batch) ==
              SL_OK);
    batch_builder_free(b);
    return batch;
}

static void run_trim(struct call *c)
{
    c->done.done = on_done;
    log_trim(c->w->engine, c->part, c->number, &c->done);
}

static void trim_half(struct oracle *o, struct oracle_part *op, struct log_part *p)
{
    struct call c = {.part = p, .number = op->next / 2};
    op->trim_asked = c.number;
    call(o->w, &c, run_trim);
    if (c.done.err == SL_OK)
        op->trimmed = c.number;
}

static void append_some(void *arg)
{
    const struct writer_arg *a = arg;
    struct oracle *o = a->o;
    struct oracle_part *op = &o->parts[a->part];
    struct log_part *p = open_part(o->w, a->part + 1, test_topic_cfg);
    struct rng_seeded rng;
    rng_seeded_init(&rng, o->seed + a->part);
    for (int i = 0; i < APPENDS; i++) {
        struct call c = {0};
        op->n[i] = a->part == 0 ? 1 : 1 + (int)rng_below(&rng.rng, 5);
        append_start(o->w, &c, p, batch_of(a->part, i, op->n[i]),
                     rng_below(&rng.rng, 2) ? LOG_BUFFERED : LOG_DURABLE);
        if (append_finish(&c) != SL_OK) {
            SL_ASSERT(o->fails);
            return; /* of no known outcome: the process would end */
        }
        op->base[i] = c.append.base_offset;
        op->next = c.append.base_offset + op->n[i];
        op->seen_hw = state_of(o->w, p).high_watermark;
        if (a->part == 1 && i == APPENDS / 2)
            trim_half(o, op, p);
    }
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
    o->dropped = c.done.err == SL_OK;
    sim_sleep_ns(INT64_C(2000000000)); /* the rows go, too */
}

static struct world *world_on(struct simfs *fs)
{
    struct world *w =
        new_world_on(simfs_vfs(fs), "/data", sim_clock(sim_current()), sim_rng(sim_current()));
    w->cfg.journal_file_bytes = 256 << 10;
    w->cfg.journal_files_max = 4;
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
    if (o->fails) {
        struct rng_seeded rng;
        rng_seeded_init(&rng, o->seed);
        const struct simfs_fault fault = {.calls = SIMFS_WRITE | SIMFS_TRUNCATE,
                                          .n = 1 + rng_below(&rng.rng, 60),
                                          .err = SL_ENOSPC,
                                          .path_part = "sluice.db"};
        simfs_set_fault(fs, &fault);
    }
    for (unsigned i = 0; i < PARTS; i++) {
        args[i] = (struct writer_arg){o, i};
        SL_ASSERT(thread_start("appender", append_some, &args[i], &threads[i]) == SL_OK);
    }
    for (unsigned i = 0; i < PARTS; i++)
        thread_join(threads[i]);
    if (o->drops)
        drop_topic(o);
    sl_err err = close_world(o->w);
    SL_ASSERT(err == SL_OK || o->fails);
    free_world(o->w);
}

static void start(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    *o = (struct oracle){.seed = rng_u64(rng), .drops = o->drops, .fails = o->fails};
    for (unsigned i = 0; i < PARTS; i++)
        for (int k = 0; k < APPENDS; k++)
            o->parts[i].base[k] = -1;
}

/* ---- recovery ------------------------------------------------------------------------------- */

/* The bytes of an acknowledged record; NULL: whatever is at this offset was not acknowledged. */
static bool expected_at(const struct oracle_part *op, unsigned part, int64_t offset, char ret[64])
{
    for (int i = 0; i < APPENDS; i++)
        if (op->base[i] >= 0 && offset >= op->base[i] && offset < op->base[i] + op->n[i]) {
            (void)snprintf(ret, 64, "part %u append %d record %d", part, i,
                           (int)(offset - op->base[i]));
            return true;
        }
    return false;
}

static const char *compare_batch(const struct oracle_part *op, unsigned part, struct slice batch,
                                 int64_t *next)
{
    struct record_iterator it;
    struct record r;
    if (records_open(batch, NULL, &it) != SL_OK || !batch_crc_holds(batch.data, &it.info))
        return "a batch cannot be read";
    while (records_next(&it, &r) == SL_OK) {
        char text[64];
        if (r.offset != *next)
            return crash_problem("part %u: offset %lld follows %lld", part, (long long)r.offset,
                                 (long long)*next);
        ++*next;
        if (expected_at(op, part, r.offset, text) &&
            (r.value.len != 200 || strcmp((const char *)r.value.data, text) != 0))
            return crash_problem("part %u: another record at %lld", part, (long long)r.offset);
    }
    return NULL;
}

static const char *read_part(struct world *w, struct log_part *p, const struct oracle_part *op,
                             unsigned part, int64_t from, int64_t hw)
{
    for (int64_t next = from; next < hw;) {
        struct call c = {0};
        const char *problem = NULL;
        sl_err err = read_at(w, &c, p, next, 1 << 20);
        if (err != SL_OK || c.read.data.len == 0)
            return crash_problem("part %u: read at %lld of %lld: %s", part, (long long)next,
                                 (long long)hw, sl_err_name(err));
        for (size_t pos = 0; !problem && pos < c.read.data.len;) {
            struct slice rest = slice_sub(c.read.data, pos, c.read.data.len - pos);
            problem = compare_batch(op, part, rest, &next);
            pos += (size_t)batch_bytes(rest.data);
        }
        slice_unref(&c.read.data);
        if (problem)
            return problem;
    }
    return NULL;
}

/* A repeat of the last acknowledged batch must be known; then the log goes on where it ended. */
static const char *append_after(struct world *w, struct log_part *p, const struct oracle_part *op,
                                unsigned part, int64_t hw)
{
    int last = -1;
    for (int i = 0; i < APPENDS; i++)
        last = op->base[i] >= 0 ? i : last;
    if (part == 0 && last >= 0) {
        struct call c = {0};
        append_start(w, &c, p, batch_of(0, last, 1), LOG_DURABLE);
        sl_err err = append_finish(&c);
        if (err != SL_OK || !c.append.duplicate || c.append.base_offset != op->base[last])
            return crash_problem("a repeat of sequence %d: %s at %lld", last, sl_err_name(err),
                                 (long long)c.append.base_offset);
    }
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    sl_err err = append_finish(&c);
    if (err != SL_OK || c.append.base_offset != hw)
        return crash_problem("part %u: append behind recovery: %s at %lld, expected %lld", part,
                             sl_err_name(err), (long long)c.append.base_offset, (long long)hw);
    return NULL;
}

static const char *check_part(struct oracle *o, struct world *w, unsigned part)
{
    const struct oracle_part *op = &o->parts[part];
    struct log_part *p = open_part(w, part + 1, test_topic_cfg);
    struct log_part_state s = state_of(w, p);
    if (s.high_watermark < SL_MAX(op->next, op->seen_hw))
        return crash_problem("part %u: high watermark %lld, acknowledged %lld", part,
                             (long long)s.high_watermark, (long long)op->next);
    if (s.log_start < op->trimmed || s.log_start > op->trim_asked)
        return crash_problem("part %u: log start %lld, trimmed to %lld of %lld", part,
                             (long long)s.log_start, (long long)op->trimmed,
                             (long long)op->trim_asked);
    const char *problem = read_part(w, p, op, part, s.log_start, s.high_watermark);
    return problem ? problem : append_after(w, p, op, part, s.high_watermark);
}

static sl_err see_topic(void *arg, const struct meta_topic *row)
{
    *(bool *)arg = true;
    return SL_OK;
}

static const char *check(struct crash_test *t, struct simfs *image, enum simfs_crash crash)
{
    struct oracle *o = t->user;
    if (vfs_ensure_dir(simfs_vfs(image), "/data") != SL_OK)
        return "no directory";
    struct world *w = world_on(image);
    sl_err err = try_open(w);
    if (err != SL_OK)
        return crash_problem("open: %s", sl_err_name(err));
    bool is_there = false, acked = false;
    const struct meta_loader loader = {.arg = &is_there, .topic = see_topic};
    const char *problem = meta_load(w->meta, &loader, NULL) == SL_OK ? NULL : "no metadata";
    for (unsigned i = 0; i < PARTS; i++)
        acked |= o->parts[i].next > 0;
    if (o->dropped && is_there)
        problem = "a dropped topic came back";
    if (!o->dropping && !is_there && acked)
        problem = "the topic is gone";
    for (unsigned i = 0; i < PARTS && !problem && is_there && acked; i++)
        problem = check_part(o, w, i);
    err = close_world(w);
    free_world(w);
    return problem ? problem : err != SL_OK ? crash_problem("close: %s", sl_err_name(err)) : NULL;
}

static void crash(struct oracle *o, const char *name, uint64_t states, unsigned depth_max)
{
    struct crash_test t = {.name = name,
                           .states = states,
                           .one_in = depth_max > 1 ? 30 : 10,
                           .depth_max = depth_max,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = o};
    crash_test(&t);
}

static void D1_acknowledged_records_survive_any_crash(void **state)
{
    struct oracle o = {0};
    crash(&o, "D1 sqlite", 1000, 1);
}

static void D8_also_when_it_crashes_again_while_it_recovers(void **state)
{
    struct oracle o = {0};
    crash(&o, "D8 sqlite", 500, 3);
}

static void B05_a_dropped_topic_never_comes_back(void **state)
{
    struct oracle o = {.drops = true};
    crash(&o, "B05 sqlite", 500, 2);
}

static void D5_a_full_disk_loses_nothing_acknowledged(void **state)
{
    struct oracle o = {.fails = true};
    crash(&o, "D5 sqlite", 500, 2);
}

int main(void)
{
    test_engine = LOG_ENGINE_SQLITE;
    if (!getenv("CRASH_LOG")) /* thousands of recoveries */
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D1_acknowledged_records_survive_any_crash),
        cmocka_unit_test(D8_also_when_it_crashes_again_while_it_recovers),
        cmocka_unit_test(B05_a_dropped_topic_never_comes_back),
        cmocka_unit_test(D5_a_full_disk_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
