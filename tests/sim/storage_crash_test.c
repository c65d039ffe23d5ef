/* D1, D8: the local engine after crashes at any change of its files.
 *
 * What was acknowledged at its level is there, at its offset, with its bytes; nothing is there that
 * nobody sent; offsets are dense; opening succeeds; a producer's retry is not written twice (B08);
 * and appending goes on. */
#include "base/alloc.h"
#include "base/byteorder.h"
#include "record/batch.h"
#include "sim/crash.h"
#include "sim/storage_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    PRODUCERS = 3,
    APPENDS_MAX = 4096,
    FIRST_RECOVERY_ID = 1 << 20, /* ids of what checks append */
};

/* One append as its sender sees it. */
struct sent {
    struct rig_append op; /* first */
    struct oracle *oracle;
    uint64_t id;
    uint32_t crc;
    unsigned part;
    int32_t n_records;
    size_t bytes;
    struct batch_producer producer;
    enum log_durability durability;
    bool acked;
    int64_t base_offset;
};

struct shape { /* of a run, by its seed */
    unsigned parts, restarts;
    size_t bytes_max;
    bool trims;
    bool loses_meta_in_crash; /* meta.db and its log are gone after a kill */
    bool loses_meta; /* meta.db is gone at each restart: a crash may come while it is rebuilt */
};

struct oracle {
    struct rig rig;
    struct shape shape;
    struct sent *sent; /* by id - 1 */
    size_t n_sent;
    bool topic_acked;
    int32_t next_sequence[PRODUCERS][RIG_PARTS_MAX];
    int64_t trim_asked[RIG_PARTS_MAX], trim_acked[RIG_PARTS_MAX];
    uint64_t next_recovery_id;
};

/* ---- the program ----------------------------------------------------------------------------- */

static void on_answer(struct rig_append *op)
{
    struct sent *s = (struct sent *)op;
    if (op->append.err != SL_OK)
        return;
    s->base_offset = op->append.base_offset;
    s->acked = true;
}

static struct slice batch_of(const struct sent *s)
{
    return rig_batch(s->id, s->n_records, s->bytes, &s->producer);
}

static struct sent *send_one(struct oracle *o, unsigned producer, struct rng *rng)
{
    if (o->n_sent == APPENDS_MAX)
        return NULL;
    struct sent *s = &o->sent[o->n_sent++];
    *s = (struct sent){.oracle = o, .id = o->n_sent, .base_offset = -1};
    s->part = (unsigned)rng_below(rng, o->shape.parts);
    s->n_records = 1 + (int32_t)rng_below(rng, 4);
    s->durability = (const enum log_durability[]){LOG_DURABLE, LOG_DURABLE, LOG_BUFFERED,
                                                  LOG_NONE}[rng_below(rng, 4)];
    s->op.answered = on_answer;
    s->bytes = 10 + (size_t)rng_below(rng, o->shape.bytes_max);
    int32_t *sequence = &o->next_sequence[producer][s->part];
    s->producer = (struct batch_producer){.producer_id = producer, .base_sequence = *sequence};
    *sequence += s->n_records;
    struct slice batch = batch_of(s);
    s->crc = get_be32(batch.data + BATCH_CRC);
    rig_append_start(&o->rig, &s->op, s->part, batch, s->durability);
    return s;
}

struct producer {
    struct oracle *oracle;
    unsigned number, rounds;
};

/* Up to four in flight, then their answers. */
static void produce(void *arg)
{
    const struct producer *p = arg;
    struct rng *rng = sim_rng(sim_current());
    for (unsigned i = 0; i < p->rounds; i++) {
        struct sent *flight[4];
        size_t n = 1 + (size_t)rng_below(rng, 4);
        for (size_t k = 0; k < n; k++)
            flight[k] = send_one(p->oracle, p->number, rng);
        for (size_t k = 0; k < n; k++)
            if (flight[k])
                (void)rig_append_wait(&flight[k]->op);
        if (rng_below(rng, 3) == 0)
            sim_sleep_ns((int64_t)rng_below(rng, 60000000));
    }
}

static void trim_some(struct oracle *o, struct rng *rng)
{
    struct log_part_state st;
    unsigned part = (unsigned)rng_below(rng, o->shape.parts);
    rig_state(&o->rig, part, &st);
    if (st.high_watermark == st.log_start)
        return;
    int64_t to =
        st.log_start + 1 + (int64_t)rng_below(rng, (uint64_t)(st.high_watermark - st.log_start));
    o->trim_asked[part] = SL_MAX(o->trim_asked[part], to);
    if (rig_trim(&o->rig, part, to) == SL_OK)
        o->trim_acked[part] = SL_MAX(o->trim_acked[part], to);
}

static void one_generation(struct oracle *o)
{
    struct thread *threads[PRODUCERS];
    struct producer producers[PRODUCERS];
    struct rng *rng = sim_rng(sim_current());
    sl_err err = rig_open(&o->rig);
    SL_ASSERT(err == SL_OK);
    if (!o->topic_acked) {
        err = rig_create_topic(&o->rig, o->shape.parts);
        SL_ASSERT(err == SL_OK);
        o->topic_acked = true;
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){o, i, 4 + (unsigned)rng_below(rng, 6)};
        err = thread_start("producer", produce, &producers[i], &threads[i]);
        SL_ASSERT(err == SL_OK);
    }
    for (int i = 0; o->shape.trims && i < 3; i++) {
        sim_sleep_ns((int64_t)rng_below(rng, 50000000));
        trim_some(o, rng);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        thread_join(threads[i]);
    err = rig_close(&o->rig);
    SL_ASSERT(err == SL_OK);
    if (!o->shape.loses_meta)
        return;
    err = vfs_unlink(o->rig.vfs, "/data/meta.db");
    SL_ASSERT(err == SL_OK);
    err = vfs_sync_dir(o->rig.vfs, "/data");
    SL_ASSERT(err == SL_OK);
}

static void run(struct crash_test *t, struct simfs *fs)
{
    struct oracle *o = t->user;
    rig_init(&o->rig, fs);
    for (unsigned i = 0; i <= o->shape.restarts; i++)
        one_generation(o);
}

static void start(struct crash_test *t, struct rng *rng)
{
    /* Groups of the largest do not fit a journal file: they take the direct path. */
    static const size_t sizes[] = {200, 200, 3000, 3000, 12000, 12000, 90000};
    struct oracle *o = t->user;
    struct sent *memory = o->sent;
    *o = (struct oracle){.sent = memory, .next_recovery_id = FIRST_RECOVERY_ID};
    o->shape = (struct shape){.parts = 1 + (unsigned)rng_below(rng, 3),
                              .restarts = (unsigned)rng_below(rng, 3),
                              .bytes_max = sizes[rng_below(rng, SL_ARRAY_LEN(sizes))],
                              .trims = rng_below(rng, 2)};
}

/* ---- the comparison -------------------------------------------------------------------------- */

/* What a partition reads as: one entry for each batch, by offset. */
struct found {
    int64_t base_offset;
    uint64_t id;
    uint32_t crc;
    int32_t n_records;
};

struct partition {
    struct log_part_state st;
    struct found *batches;
    size_t n, cap;
};

static const char *add_batch(struct partition *p, struct slice bytes, size_t *ret_len)
{
    struct batch_info info;
    if (batch_peek(bytes, &info) != SL_OK)
        return "a read returned half a batch";
    struct slice batch = slice_sub(bytes, 0, info.bytes);
    uint64_t id = rig_batch_id(batch);
    if (id == 0)
        return crash_problem("offset %lld: served with a wrong checksum",
                             (long long)info.base_offset);
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->batches = sl_realloc(p->batches, p->cap, sizeof p->batches[0]);
    }
    p->batches[p->n++] = (struct found){info.base_offset, id, info.crc, info.record_count};
    *ret_len = info.bytes;
    return NULL;
}

static const char *add_batches(struct partition *p, struct slice data, int64_t *offset)
{
    for (size_t pos = 0, len = 0; pos < data.len; pos += len) {
        const char *problem = add_batch(p, slice_sub(data, pos, data.len - pos), &len);
        if (problem)
            return problem;
        const struct found *f = &p->batches[p->n - 1];
        *offset = f->base_offset + f->n_records;
    }
    return NULL;
}

static const char *read_partition(struct rig *r, unsigned part, struct partition *p)
{
    rig_state(r, part, &p->st);
    if (p->st.damaged_from != -1)
        return crash_problem("partition %u: damage at %lld", part, (long long)p->st.damaged_from);
    for (int64_t offset = p->st.log_start; offset < p->st.high_watermark;) {
        struct slice data;
        int64_t before = offset;
        sl_err err = rig_read(r, part, offset, 8192, &data);
        if (err != SL_OK)
            return crash_problem("partition %u offset %lld of %lld..%lld: %s", part,
                                 (long long)offset, (long long)p->st.log_start,
                                 (long long)p->st.high_watermark, sl_err_name(err));
        const char *problem = add_batches(p, data, &offset);
        slice_unref(&data);
        if (problem)
            return problem;
        if (offset == before)
            return crash_problem("partition %u: nothing at %lld below the watermark", part,
                                 (long long)offset);
    }
    return NULL;
}

/* Dense, from a batch that holds the log start to the watermark, and all of it was sent. */
static const char *check_log(const struct oracle *o, unsigned part, const struct partition *p)
{
    int64_t next = -1;
    for (size_t i = 0; i < p->n; i++) {
        const struct found *f = &p->batches[i];
        if (next >= 0 && f->base_offset != next)
            return crash_problem("partition %u: a hole from %lld to %lld", part, (long long)next,
                                 (long long)f->base_offset);
        next = f->base_offset + f->n_records;
        if (f->id >= FIRST_RECOVERY_ID)
            continue;
        if (f->id > o->n_sent || o->sent[f->id - 1].part != part ||
            o->sent[f->id - 1].crc != f->crc)
            return crash_problem("partition %u offset %lld: nobody sent that", part,
                                 (long long)f->base_offset);
    }
    if (next >= 0 && next != p->st.high_watermark)
        return crash_problem("partition %u: ends at %lld, not at its watermark %lld", part,
                             (long long)next, (long long)p->st.high_watermark);
    return NULL;
}

static const struct found *find_offset(const struct partition *p, int64_t base_offset)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->batches[i].base_offset == base_offset)
            return &p->batches[i];
    return NULL;
}

static bool must_survive(const struct sent *s, enum simfs_crash crash)
{
    if (!s->acked || s->durability == LOG_NONE)
        return false;
    return s->durability == LOG_DURABLE || crash == SIMFS_KILL;
}

static const char *check_acked(const struct oracle *o, unsigned part, const struct partition *p,
                               enum simfs_crash crash)
{
    for (size_t i = 0; i < o->n_sent; i++) {
        const struct sent *s = &o->sent[i];
        if (s->part != part || !must_survive(s, crash) ||
            s->base_offset + s->n_records <= p->st.log_start)
            continue;
        const struct found *f = find_offset(p, s->base_offset);
        if (!f)
            return crash_problem("partition %u: acked batch %llu at %lld is lost (%lld..%lld)",
                                 part, (unsigned long long)s->id, (long long)s->base_offset,
                                 (long long)p->st.log_start, (long long)p->st.high_watermark);
        if (f->id != s->id)
            return crash_problem("partition %u: at %lld is batch %llu, acked was %llu", part,
                                 (long long)s->base_offset, (unsigned long long)f->id,
                                 (unsigned long long)s->id);
    }
    return NULL;
}

static const char *check_start(const struct oracle *o, unsigned part, const struct partition *p)
{
    if (p->st.log_start < o->trim_acked[part])
        return crash_problem("partition %u: deleted records are back: start %lld, trimmed to %lld",
                             part, (long long)p->st.log_start, (long long)o->trim_acked[part]);
    if (p->st.log_start > o->trim_asked[part])
        return crash_problem("partition %u: the log starts at %lld, nobody trimmed above %lld",
                             part, (long long)p->st.log_start, (long long)o->trim_asked[part]);
    return NULL;
}

static const char *check_partition(struct oracle *o, struct rig *r, unsigned part,
                                   enum simfs_crash crash)
{
    struct partition p = {0};
    const char *problem = read_partition(r, part, &p);
    if (!problem)
        problem = check_log(o, part, &p);
    if (!problem)
        problem = check_start(o, part, &p);
    if (!problem)
        problem = check_acked(o, part, &p, crash);
    sl_free(p.batches);
    return problem;
}

/* The last batch of a producer that must have survived, sent again. It may also be older than the
 * window by now: what came after it without being acknowledged may have survived, too. */
static const char *check_retry(struct rig *r, const struct sent *s)
{
    struct rig_append a = {0};
    rig_append_start(r, &a, s->part, batch_of(s), LOG_DURABLE);
    sl_err err = rig_append_wait(&a);
    if (err == SL_ESEQ_OLD)
        return NULL;
    if (err != SL_OK)
        return crash_problem("partition %u: batch %llu again: %s", s->part,
                             (unsigned long long)s->id, sl_err_name(err));
    if (!a.append.duplicate || a.append.base_offset != s->base_offset)
        return crash_problem("partition %u: batch %llu again was written at %lld, not only at %lld",
                             s->part, (unsigned long long)s->id, (long long)a.append.base_offset,
                             (long long)s->base_offset);
    return NULL;
}

static const char *check_retries(struct oracle *o, struct rig *r, unsigned part,
                                 enum simfs_crash crash)
{
    struct log_part_state st;
    const struct sent *last[PRODUCERS] = {0};
    rig_state(r, part, &st);
    for (size_t i = 0; i < o->n_sent; i++) {
        const struct sent *s = &o->sent[i];
        if (s->part == part && must_survive(s, crash))
            last[s->producer.producer_id] = s;
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        /* what was deleted may have taken its producer with it */
        const char *problem =
            last[i] && last[i]->base_offset >= st.log_start ? check_retry(r, last[i]) : NULL;
        if (problem)
            return problem;
    }
    return NULL;
}

/* Appending goes on where the log ends, and is durable. */
static const char *check_append(struct oracle *o, struct rig *r, unsigned part)
{
    struct log_part_state before, after;
    struct rig_append a = {0};
    rig_state(r, part, &before);
    rig_append_start(r, &a, part, rig_batch(o->next_recovery_id++, 2, 100, NULL), LOG_DURABLE);
    sl_err err = rig_append_wait(&a);
    if (err != SL_OK)
        return crash_problem("partition %u: append after recovery: %s", part, sl_err_name(err));
    rig_state(r, part, &after);
    if (a.append.base_offset != before.log_end || after.high_watermark != before.log_end + 2)
        return crash_problem("partition %u: append at %lld, the log ended at %lld", part,
                             (long long)a.append.base_offset, (long long)before.log_end);
    return NULL;
}

static const char *check(struct crash_test *t, struct simfs *image, enum simfs_crash crash)
{
    struct oracle *o = t->user;
    struct rig r;
    rig_init(&r, image);
    /* What power loss tore looks like damage when no row and no journal knows it (decision 0010).
     */
    if (o->shape.loses_meta_in_crash && crash == SIMFS_KILL) {
        (void)vfs_unlink(r.vfs, "/data/meta.db-wal"); /* there may be none yet */
        (void)vfs_unlink(r.vfs, "/data/meta.db");
    }
    sl_err err = rig_open(&r);
    if (err != SL_OK)
        return crash_problem("open: %s: %s: %s", sl_err_name(err), r.fault.where, r.fault.what);
    if (o->topic_acked && r.n_parts != o->shape.parts)
        return crash_problem("%u partitions of %u are there", r.n_parts, o->shape.parts);
    const char *problem = NULL;
    for (unsigned i = 0; i < r.n_parts && !problem; i++)
        problem = check_partition(o, &r, i, crash);
    for (unsigned i = 0; i < r.n_parts && !problem; i++)
        problem = check_retries(o, &r, i, crash);
    for (unsigned i = 0; i < r.n_parts && !problem; i++)
        problem = check_append(o, &r, i);
    err = rig_close(&r);
    if (!problem && err != SL_OK)
        problem = crash_problem("close: %s", sl_err_name(err));
    return problem;
}

static void crash_states(const char *name, uint64_t states, unsigned one_in, unsigned depth_max)
{
    struct oracle o = {.sent = sl_new_array(struct sent, APPENDS_MAX)};
    struct crash_test t = {.name = name,
                           .states = states,
                           .one_in = one_in,
                           .depth_max = depth_max,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
    sl_free(o.sent);
}

static void D1_what_was_acknowledged_is_there_after_any_crash(void **state)
{
    crash_states("D1 storage", 10000, 16, 1);
}

static void start_without_meta(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    start(t, rng);
    o->shape.restarts = SL_MAX(o->shape.restarts, 1U);
    o->shape.trims = false; /* where a log starts is known to meta.db only */
    o->shape.loses_meta = true;
}

static void B04_a_crash_while_meta_db_is_rebuilt_loses_nothing(void **state)
{
    struct oracle o = {.sent = sl_new_array(struct sent, APPENDS_MAX)};
    struct crash_test t = {.name = "B04 rebuild",
                           .states = 3000,
                           .one_in = 40,
                           .depth_max = 2,
                           .run = run,
                           .check = check,
                           .start = start_without_meta,
                           .user = &o};
    crash_test(&t);
    sl_free(o.sent);
}

static void start_to_lose_meta(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    start(t, rng);
    o->shape.trims = false;
    o->shape.loses_meta_in_crash = true;
}

static void B04_a_kill_that_takes_meta_db_along_loses_nothing_acknowledged(void **state)
{
    struct oracle o = {.sent = sl_new_array(struct sent, APPENDS_MAX)};
    struct crash_test t = {.name = "B04 lost with a kill",
                           .states = 3000,
                           .one_in = 16,
                           .depth_max = 1,
                           .run = run,
                           .check = check,
                           .start = start_to_lose_meta,
                           .user = &o};
    crash_test(&t);
    sl_free(o.sent);
}

static void D8_also_after_crashes_while_it_recovers(void **state)
{
    crash_states("D8 storage", 5000, 40, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D1_what_was_acknowledged_is_there_after_any_crash),
        cmocka_unit_test(D8_also_after_crashes_while_it_recovers),
        cmocka_unit_test(B04_a_crash_while_meta_db_is_rebuilt_loses_nothing),
        cmocka_unit_test(B04_a_kill_that_takes_meta_db_along_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests_name("storage crash", tests, NULL, NULL);
}
