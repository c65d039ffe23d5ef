#include "sim/storage_rig.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "record/batch.h"

#include <stdio.h>

/* ---- answers -------------------------------------------------------------------------------- */

static void set_done(struct rig *r, bool *done)
{
    mutex_lock(r->lock);
    *done = true;
    mutex_unlock(r->lock);
    cond_broadcast(r->changed);
}

static void wait_done(struct rig *r, const bool *done)
{
    mutex_lock(r->lock);
    while (!*done)
        cond_wait(r->changed, r->lock);
    mutex_unlock(r->lock);
}

/* Something to run on the core loop, for a thread that waits. */
struct call {
    struct task task;
    struct rig *rig;
    bool done;
    sl_err err;
    struct log_done log_done;
    unsigned part;
    int64_t offset;
    struct log_part_state *state;
    struct log_read read;
};

static sl_err call_and_wait(struct rig *r, struct call *c, void (*run)(struct task *t))
{
    c->rig = r;
    c->task.run = run;
    loop_post(r->loop, &c->task);
    wait_done(r, &c->done);
    return c->err;
}

static void call_log_done(struct log_done *d)
{
    struct call *c = SL_CONTAINER_OF(d, struct call, log_done);
    c->err = d->err;
    set_done(c->rig, &c->done);
}

/* ---- open and close -------------------------------------------------------------------------- */

void rig_init(struct rig *r, struct simfs *fs)
{
    *r = (struct rig){.vfs = simfs_vfs(fs)};
    r->cfg = (struct log_cfg){.data_dir = "/data",
                              .open_files_max = 16,
                              .journal_file_bytes = 64 << 10,
                              .journal_files_max = 8,
                              .checkpoint_ms = 40,
                              .ballast_bytes = UINT64_MAX,
                              .reserve_bytes = 1};
    r->topic_cfg = (struct log_topic_cfg){.segment_bytes = 16 << 10,
                                          .segment_ms = 604800000,
                                          .retention_ms = -1,
                                          .retention_bytes = -1,
                                          .index_interval_bytes = 2048,
                                          .file_delete_delay_ms = 20,
                                          .delete_old = true};
    r->topic_id.bytes[0] = 0x71;
    r->topic_id.bytes[15] = 1;
}

static sl_err found_partition(void *arg, const struct meta_partition *row)
{
    struct rig *r = arg;
    if (row->index < 0 || row->index >= RIG_PARTS_MAX || !uuid_equal(&row->topic_id, &r->topic_id))
        return SL_ECORRUPT;
    r->n_parts = SL_MAX(r->n_parts, (unsigned)row->index + 1);
    return SL_OK;
}

static struct log_part_id part_id(const struct rig *r, unsigned i)
{
    return (struct log_part_id){.pid = i + 1, .topic_id = r->topic_id, .index = (int32_t)i};
}

static void open_parts(struct rig *r)
{
    for (unsigned i = 0; i < r->n_parts; i++) {
        struct log_part_id id = part_id(r, i);
        r->parts[i] = log_part_open(r->engine, &id, &r->topic_cfg);
    }
}

static void on_fatal(void *arg)
{
    sim_stop(sim_current()); /* the process ends here */
}

static sl_err open_engine(struct rig *r)
{
    struct sim *s = sim_current();
    struct meta_loader loader = {.arg = r, .partition = found_partition};
    SL_TRY(vfs_ensure_dir(r->vfs, r->cfg.data_dir));
    SL_TRY(loop_new(sim_clock(s), &r->loop));
    SL_TRY(workers_start(2, &r->workers));
    SL_TRY(meta_sqlite_recover(r->vfs, r->cfg.data_dir, &r->fault, &r->meta));
    struct log_env env = {.clock = sim_clock(s),
                          .rng = sim_rng(s),
                          .vfs = r->vfs,
                          .meta = r->meta,
                          .loop = r->loop,
                          .workers = r->workers,
                          .fatal = on_fatal};
    SL_TRY(log_local_open(&r->cfg, &env, &r->fault, &r->engine));
    SL_TRY(meta_load(r->meta, &loader, &r->fault));
    open_parts(r);
    return SL_OK;
}

static void core_main(void *arg)
{
    struct rig *r = arg;
    r->err = open_engine(r);
    bool runs = r->err == SL_OK;
    set_done(r, &r->opened);
    if (runs)
        loop_run(r->loop);
}

sl_err rig_open(struct rig *r)
{
    r->lock = mutex_new();
    r->changed = cond_new();
    r->opened = false;
    r->n_parts = 0;
    SL_TRY(thread_start("core", core_main, r, &r->core));
    wait_done(r, &r->opened);
    return r->err;
}

static void on_engine_closed(struct log_done *d)
{
    struct rig *r = SL_CONTAINER_OF(d, struct rig, close_done);
    r->err = d->err;
    loop_stop(r->loop);
}

static void run_close(struct task *t)
{
    struct rig *r = SL_CONTAINER_OF(t, struct rig, close_task);
    r->close_done.done = on_engine_closed;
    log_engine_close(r->engine, &r->close_done);
}

sl_err rig_close(struct rig *r)
{
    r->close_task.run = run_close;
    loop_post(r->loop, &r->close_task);
    thread_join(r->core);
    workers_stop(r->workers);
    meta_close(r->meta);
    loop_free(r->loop);
    cond_free(r->changed);
    mutex_free(r->lock);
    return r->err;
}

/* ---- topics ---------------------------------------------------------------------------------- */

static void run_topic_write(struct task *t)
{
    struct call *c = SL_CONTAINER_OF(t, struct call, task);
    struct log_part_id parts[RIG_PARTS_MAX];
    for (unsigned i = 0; i < c->part; i++)
        parts[i] = part_id(c->rig, i);
    struct log_topic_spec spec = {.topic_id = c->rig->topic_id,
                                  .number = 1,
                                  .name = "topic",
                                  .config_text = slice_str(""),
                                  .parts = parts,
                                  .n_parts = c->part};
    c->log_done.done = call_log_done;
    log_topic_write(c->rig->engine, &spec, &c->log_done);
}

static sl_err commit_rows(struct rig *r, unsigned n_parts)
{
    struct meta_op ops[1 + RIG_PARTS_MAX] = {{.kind = META_TOPIC_PUT}};
    ops[0].topic = (struct meta_topic){.topic_id = r->topic_id,
                                       .name = "topic",
                                       .number = 1,
                                       .partitions = (int32_t)n_parts,
                                       .engine = "local",
                                       .config_text = slice_str("")};
    for (unsigned i = 0; i < n_parts; i++) {
        ops[1 + i] = (struct meta_op){.kind = META_PARTITION_PUT};
        ops[1 + i].partition =
            (struct meta_partition){.pid = i + 1, .topic_id = r->topic_id, .index = (int32_t)i};
    }
    struct meta_txn t = {.ops = ops, .n_ops = 1 + n_parts};
    return meta_commit(r->meta, &t);
}

static void run_open_parts(struct task *t)
{
    struct call *c = SL_CONTAINER_OF(t, struct call, task);
    open_parts(c->rig);
    set_done(c->rig, &c->done);
}

sl_err rig_create_topic(struct rig *r, unsigned n_parts)
{
    struct call write = {.part = n_parts}, open = {0};
    SL_TRY(call_and_wait(r, &write, run_topic_write));
    SL_TRY(commit_rows(r, n_parts));
    r->n_parts = n_parts;
    return call_and_wait(r, &open, run_open_parts);
}

/* ---- appends, reads, trims ------------------------------------------------------------------- */

static void on_appended(struct log_append *append)
{
    struct rig_append *a = SL_CONTAINER_OF(append, struct rig_append, append);
    slice_unref(&a->batch.bytes);
    if (a->answered)
        a->answered(a);
    set_done(a->rig, &a->done);
}

static void run_append(struct task *t)
{
    struct rig_append *a = SL_CONTAINER_OF(t, struct rig_append, task);
    log_append(a->rig->engine, &a->append);
}

void rig_append_start(struct rig *r, struct rig_append *a, unsigned part, struct slice batch,
                      enum log_durability durability)
{
    void (*answered)(struct rig_append * a) = a->answered;
    *a = (struct rig_append){.rig = r, .task = {.run = run_append}, .answered = answered};
    a->batch.bytes = batch;
    sl_err err = batch_peek(batch, &a->batch.info);
    SL_ASSERT(err == SL_OK);
    a->append = (struct log_append){.part = r->parts[part],
                                    .batches = &a->batch,
                                    .n_batches = 1,
                                    .durability = durability,
                                    .done = on_appended};
    loop_post(r->loop, &a->task);
}

sl_err rig_append_wait(struct rig_append *a)
{
    wait_done(a->rig, &a->done);
    return a->append.err;
}

static void run_state(struct task *t)
{
    struct call *c = SL_CONTAINER_OF(t, struct call, task);
    log_part_state(c->rig->engine, c->rig->parts[c->part], c->state);
    set_done(c->rig, &c->done);
}

void rig_state(struct rig *r, unsigned part, struct log_part_state *ret)
{
    struct call c = {.part = part, .state = ret};
    (void)call_and_wait(r, &c, run_state); /* there is no error */
}

static void on_read(struct log_read *read)
{
    struct call *c = SL_CONTAINER_OF(read, struct call, read);
    c->err = read->err;
    set_done(c->rig, &c->done);
}

static void run_read(struct task *t)
{
    struct call *c = SL_CONTAINER_OF(t, struct call, task);
    sl_err err = log_read(c->rig->engine, &c->read);
    if (err == SL_PENDING)
        return;
    c->err = err;
    set_done(c->rig, &c->done);
}

sl_err rig_read(struct rig *r, unsigned part, int64_t offset, uint32_t bytes_max, struct slice *ret)
{
    struct call c = {0};
    c.read = (struct log_read){.part = r->parts[part],
                               .offset = offset,
                               .bytes_max = bytes_max,
                               .at_least_one = true,
                               .done = on_read};
    SL_TRY(call_and_wait(r, &c, run_read));
    *ret = c.read.data;
    return SL_OK;
}

static void run_trim(struct task *t)
{
    struct call *c = SL_CONTAINER_OF(t, struct call, task);
    c->log_done.done = call_log_done;
    log_trim(c->rig->engine, c->rig->parts[c->part], c->offset, &c->log_done);
}

sl_err rig_trim(struct rig *r, unsigned part, int64_t offset)
{
    struct call c = {.part = part, .offset = offset};
    return call_and_wait(r, &c, run_trim);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* The id is in the base timestamp, the CRC covers it, and the value follows from it. */
struct slice rig_batch(uint64_t id, int32_t n, size_t bytes, const struct batch_producer *producer)
{
    size_t value_bytes = bytes / (size_t)n;
    struct batch_builder *b = batch_builder_new(CODEC_NONE, 16 << 20);
    uint8_t *value = sl_alloc(value_bytes ? value_bytes : 1, 1);
    struct rng_seeded r;
    struct slice batch;
    rng_seeded_init(&r, id);
    for (int32_t i = 0; i < n; i++) {
        r.rng.fill(&r.rng, value, value_bytes);
        struct new_record record = {.timestamp_ms = (int64_t)id,
                                    .value = slice_of(value, value_bytes)};
        sl_err err = batch_builder_add(b, &record);
        SL_ASSERT(err == SL_OK);
    }
    sl_err err = batch_builder_finish(b, producer ? producer : &batch_producer_none, &batch);
    SL_ASSERT(err == SL_OK);
    sl_free(value);
    batch_builder_free(b);
    return batch;
}

uint64_t rig_batch_id(struct slice batch)
{
    struct batch_info info;
    if (batch_peek(batch, &info) != SL_OK || !batch_crc_holds(batch.data, &info))
        return 0;
    return (uint64_t)info.base_timestamp;
}
