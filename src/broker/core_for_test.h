/* For the tests of produce, fetch and offsets: a core in a simulated world, over a log in memory
 * whose commits and slow reads happen when the test says so. Only test files include it. */
#ifndef SLUICE_BROKER_CORE_FOR_TEST_H
#define SLUICE_BROKER_CORE_FOR_TEST_H

#include "base/alloc.h"
#include "broker/broker_int.h"
#include "record/batches_for_test.h"
#include "record/records.h"
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FAKE_BATCHES_MAX = 4096, TEST_PARTITIONS = 8 };

/* ---- a log in memory --------------------------------------------------------------------------
 */

struct log_part {
    struct slice batches[FAKE_BATCHES_MAX];
    int n, n_visible; /* appended, and below the high watermark */
    int n_abandoned;  /* of those, the ones that nobody waits for any more */
    int64_t log_start, log_end, high_watermark, bytes;
    int32_t leader_epoch;
    struct list watches;
};

struct fake_log {
    struct log_engine engine;
    struct list appends; /* queued, log_append.node */
    sl_err append_err;   /* what the next commits end with */
    bool slow_reads;     /* reads are answered by fake_finish_reads */
    struct log_read *slow[64];
    int n_slow, n_reads;
};

static inline void fake_append(struct log_engine *e, struct log_append *a)
{
    struct fake_log *f = SL_CONTAINER_OF(e, struct fake_log, engine);
    for (uint32_t i = 0; i < a->n_batches; i++) {
        struct log_batch *b = &a->batches[i];
        batch_set_base_offset(test_batch_bytes(b->bytes), a->part->log_end);
        if (i == 0)
            a->base_offset = a->part->log_end;
        if (f->append_err == SL_OK) {
            a->part->batches[a->part->n++] = slice_copy(b->bytes.data, b->bytes.len);
            a->part->log_end += b->info.record_count;
            a->part->bytes += (int64_t)b->bytes.len;
        }
    }
    a->err = f->append_err;
    a->log_append_ms = a->append_time ? 4711 : -1;
    list_push_back(&f->appends, &a->node);
}

static inline void fake_abandon(struct log_engine *e, struct log_append *a)
{
    struct log_part *p = a->part;
    list_remove(&a->node);
    p->n_abandoned++;
}

/* Everything queued becomes visible and is acknowledged. */
static inline void fake_commit(struct fake_log *f)
{
    struct list done;
    list_init(&done);
    list_splice(&done, &f->appends);
    for (struct list *node; (node = list_pop_front(&done));) {
        struct log_append *a = SL_CONTAINER_OF(node, struct log_append, node);
        struct log_part *p = a->part;
        p->n_visible = p->n;
        p->high_watermark = p->log_end;
        LIST_FOREACH_SAFE(w, &p->watches)
        {
            struct log_watch *watch = SL_CONTAINER_OF(w, struct log_watch, node);
            if (watch->above >= p->high_watermark)
                continue;
            list_remove(w);
            watch->moved(watch);
        }
        a->done(a);
    }
}

static inline void fake_fill(struct log_read *r)
{
    const struct log_part *p = r->part;
    struct buf out;
    buf_init(&out, 64 << 20);
    for (int i = 0; i < p->n_visible; i++) {
        struct batch_info info;
        assert_int_equal(SL_OK, batch_peek(p->batches[i], &info));
        if (batch_last_offset(&info) < r->offset)
            continue;
        if (out.len + info.bytes > r->bytes_max && !(r->at_least_one && out.len == 0))
            break;
        assert_int_equal(SL_OK, buf_append(&out, p->batches[i].data, p->batches[i].len));
    }
    r->err = SL_OK;
    r->data = (struct slice){0};
    if (out.len)
        r->data = buf_take_slice(&out);
    buf_fini(&out);
}

static inline sl_err fake_read(struct log_engine *e, struct log_read *r)
{
    struct fake_log *f = SL_CONTAINER_OF(e, struct fake_log, engine);
    f->n_reads++;
    if (f->slow_reads) {
        f->slow[f->n_slow++] = r;
        return SL_PENDING;
    }
    fake_fill(r);
    return SL_OK;
}

static inline void fake_finish_reads(struct fake_log *f)
{
    int n = f->n_slow;
    struct log_read *reads[64];
    memcpy(reads, f->slow, sizeof reads);
    f->n_slow = 0;
    for (int i = 0; i < n; i++) {
        fake_fill(reads[i]);
        reads[i]->done(reads[i]);
    }
}

static inline sl_err fake_lookup(struct log_engine *e, struct log_lookup *l)
{
    int64_t latest_ms = -1;
    l->offset = l->found_timestamp_ms = l->leader_epoch = -1;
    for (int i = 0; i < l->part->n_visible; i++) {
        struct batch_info info;
        SL_TRY(batch_peek(l->part->batches[i], &info));
        latest_ms = SL_MAX(latest_ms, info.max_timestamp);
    }
    int64_t wanted_ms = l->kind == LOG_MAX_TIMESTAMP ? latest_ms : l->timestamp_ms;
    for (int i = 0; i < l->part->n_visible; i++)
        if (records_find_timestamp(l->part->batches[i], wanted_ms, &l->offset,
                                   &l->found_timestamp_ms) == SL_OK) {
            l->leader_epoch = l->part->leader_epoch;
            break;
        }
    return SL_OK;
}

static inline void fake_watch(struct log_engine *e, struct log_part *p, struct log_watch *w)
{
    list_push_back(&p->watches, &w->node);
}

static inline void fake_part_state(struct log_part *p, struct log_part_state *ret)
{
    *ret = (struct log_part_state){.log_start = p->log_start,
                                   .high_watermark = p->high_watermark,
                                   .log_end = p->log_end,
                                   .bytes = p->bytes,
                                   .leader_epoch = p->leader_epoch};
}

static inline sl_err fake_epoch_end(struct log_part *p, int32_t epoch, int32_t *ret_epoch,
                                    int64_t *ret_end)
{
    *ret_epoch = SL_MIN(epoch, p->leader_epoch);
    *ret_end = epoch >= p->leader_epoch ? p->high_watermark : 10 * (epoch + 1);
    return SL_OK;
}

static const struct log_engine_ops fake_ops = {.append = fake_append,
                                               .abandon = fake_abandon,
                                               .read = fake_read,
                                               .lookup = fake_lookup,
                                               .watch = fake_watch,
                                               .part_state = fake_part_state,
                                               .epoch_end = fake_epoch_end};

/* ---- a core with one topic ----------------------------------------------------------------------
 */

struct core {
    struct sim *sim;
    struct loop *loop;
    struct timer stop;
    struct workers *workers;
    struct fake_log log;
    struct broker broker;
    struct topic topic;
    struct partition partitions[TEST_PARTITIONS];
    void (*body)(struct core *c);
};

/* Lets `ms` of simulated time pass on the loop. */
static inline void core_stop_turning(struct timer *t)
{
    loop_stop(t->loop);
}
static inline void core_run(struct core *c, int64_t ms)
{
    timer_start(&c->stop, ms);
    loop_run(c->loop);
}

static inline void core_add_topic(struct core *c, const char *name)
{
    struct topic *t = &c->topic;
    t->name = sl_strdup(name);
    t->id.bytes[0] = 7;
    t->life = TOPIC_LIVE;
    topic_config_init(&t->config);
    t->partitions = c->partitions;
    t->n_partitions = TEST_PARTITIONS;
    for (int32_t i = 0; i < TEST_PARTITIONS; i++) {
        c->partitions[i] = (struct partition){
            .topic = t, .index = i, .pid = 100 + (uint64_t)i, .log = sl_new(struct log_part)};
        list_init(&c->partitions[i].log->watches);
    }
    uint8_t key[64];
    memcpy(key, t->org.bytes, sizeof t->org.bytes);
    memcpy(key + sizeof t->org.bytes, name, strlen(name));
    assert_int_equal(
        SL_OK, map_put(c->broker.topics_by_name, key, sizeof t->org.bytes + strlen(name), t, NULL));
    assert_int_equal(SL_OK,
                     map_put(c->broker.topics_by_id, t->id.bytes, sizeof t->id.bytes, t, NULL));
}

static inline void core_start(struct core *c)
{
    struct broker *b = &c->broker;
    assert_int_equal(SL_OK, loop_new(sim_clock(c->sim), &c->loop));
    assert_int_equal(SL_OK, workers_start(2, &c->workers));
    timer_init(&c->stop, c->loop, core_stop_turning);
    c->log.engine.ops = &fake_ops;
    list_init(&c->log.appends);
    b->cfg = (struct broker_cfg){.fetch_sessions_max = 3, .fetch_bytes_max = 50 << 20};
    b->env = (struct broker_env){.clock = sim_clock(c->sim),
                                 .rng = sim_rng(c->sim),
                                 .loop = c->loop,
                                 .log = &c->log.engine,
                                 .workers = c->workers};
    b->topics_by_name = map_new(10);
    b->topics_by_id = map_new(10);
    assert_int_equal(SL_OK, produce__open(b));
    assert_int_equal(SL_OK, fetch__open(b));
    core_add_topic(c, "t");
}

static inline void core_end(struct core *c)
{
    c->broker.closing = c->broker.closed = true; /* and nobody is to be told */
    fetch__close(&c->broker);
    core_run(c, 100);
    assert_true(produce__idle(&c->broker));
    assert_true(fetch__idle(&c->broker));
    for (int32_t i = 0; i < TEST_PARTITIONS; i++) {
        assert_true(list_empty(&c->partitions[i].log->watches)); /* the log is closed next */
        for (int j = 0; j < c->partitions[i].log->n; j++)
            slice_unref(&c->partitions[i].log->batches[j]);
        sl_free(c->partitions[i].log);
    }
    produce__free(&c->broker);
    fetch__free(&c->broker);
    map_free(c->broker.topics_by_name);
    map_free(c->broker.topics_by_id);
    sl_free(c->topic.name);
    workers_stop(c->workers);
    loop_free(c->loop);
}

static inline void core_main(void *arg)
{
    struct core *c = arg;
    core_start(c);
    c->body(c);
    core_end(c);
}

static inline void in_core(void (*body)(struct core *c))
{
    const struct sim_opts opts = {.seed = 1};
    struct core *c = sl_new(struct core);
    c->sim = sim_new(&opts);
    c->body = body;
    assert_int_equal(SIM_RETURNED, sim_run(c->sim, core_main, c));
    sim_free(c->sim);
    sl_free(c);
}

/* A row of a test list: the body runs in a core of its own. */
static inline void core_test_run(void **state)
{
    in_core((void (*)(struct core * c))(uintptr_t)*state);
}
#define CORE_TEST(test_body)                                                                       \
    {                                                                                              \
        .name = #test_body, .test_func = core_test_run,                                            \
        .initial_state = (void *)(uintptr_t)(test_body)                                            \
    }

static inline void core_submit(struct core *c, struct broker_call *call)
{
    call->broker = &c->broker;
    call->home = c->loop;
    call->who = &principal_anonymous;
    broker_submit(call);
}

#endif
