#include "storage/sqlite/engine.h"
#include "storage/sqlite/files.h"
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "base/log.h"

/* ---- partitions ------------------------------------------------------------------------------ */

static struct log_part *part_open(struct log_engine *base, const struct log_part_id *id,
                                  const struct log_topic_cfg *cfg)
{
    struct sqlog_topic *t = sqlog__topic(sqlog__of(base), &id->topic_id);
    struct sqlog_part *p = sqlog__part_of(t, id->index);
    p->id.pid = id->pid;
    p->cfg = *cfg;
    return (struct log_part *)(void *)p;
}

static void part_configure(struct log_engine *base, struct log_part *part,
                           const struct log_topic_cfg *cfg)
{
    sqlog__part(part)->cfg = *cfg;
}

static void part_state(struct log_part *part, struct log_part_state *ret)
{
    const struct sqlog_part *p = sqlog__part(part);
    *ret = (struct log_part_state){
        .log_start = p->log_start,
        .high_watermark = p->high_watermark,
        .log_end = p->plan_next,
        .bytes = p->bytes,
        .leader_epoch = p->leader_epoch,
        .segments = 1,
        .damaged_from = -1,
        .damaged_to = -1,
    };
}

static sl_err epoch_end(struct log_part *part, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end)
{
    const struct sqlog_part *p = sqlog__part(part);
    if (epoch < 0 || epoch > p->leader_epoch)
        return SL_ELEADER_UNKNOWN;
    uint32_t n = 0;
    while (n < p->n_epochs && p->epochs[n].epoch <= epoch)
        n++;
    *ret_epoch = n > 0 ? p->epochs[n - 1].epoch : 0;
    *ret_end = n < p->n_epochs ? p->epochs[n].start_offset : p->high_watermark;
    return SL_OK;
}

static size_t list_producers(struct log_part *part, struct log_producer *ret, size_t max)
{
    size_t n = 0;
    const struct producer *producer;
    for (size_t i = 0; n < max && (producer = producers__next(sqlog__part(part)->producers, &i));) {
        const struct produced_window *w = &producer->done;
        if (w->n == 0)
            continue;
        ret[n++] = (struct log_producer){
            .producer_id = producer->id,
            .epoch = w->epoch,
            .last_sequence = w->batch[w->n - 1].last_sequence,
            .last_timestamp_ms = producer->last_append_ms,
            .current_txn_start_offset = -1,
        };
    }
    return n;
}

/* ---- watches --------------------------------------------------------------------------------- */

void sqlog__arm_turn_end(struct sqlog *e)
{
    if (e->handover_armed)
        return;
    e->handover_armed = true;
    loop_defer(e->env.loop, &e->handover);
}

static void watch(struct log_engine *base, struct log_part *part, struct log_watch *w)
{
    struct sqlog *e = sqlog__of(base);
    struct sqlog_part *p = sqlog__part(part);
    if (p->high_watermark <= w->above && !atomic_load(&p->dropped)) {
        list_push_back(&p->watches, &w->node);
        return;
    }
    list_push_back(&e->ripe, &w->node);
    sqlog__arm_turn_end(e);
}

/* ---- counters -------------------------------------------------------------------------------- */

static void counters(struct log_engine *base, struct log_engine_counters *ret)
{
    struct sqlog *e = sqlog__of(base);
    *ret = e->counters;
    ret->syncs = sqlog__files_syncs(e->files, &ret->sync_ns_total);
    ret->queued_bytes = e->queued_bytes;
    ret->refusing_appends = atomic_load(&e->writer.full);
}

static void space(struct log_engine *base, struct log_space *ret)
{
    struct vfs_space on_disk = {-1, -1};
    (void)vfs_space(sqlog__of(base)->env.vfs, sqlog__of(base)->dir, &on_disk); /* else unknown */
    *ret = (struct log_space){on_disk.total_bytes, on_disk.free_bytes};
}

/* ---- the end --------------------------------------------------------------------------------- */

void sqlog__die(struct sqlog *e, const char *why)
{
    e->dead = true;
    LOG_ERROR("storage.lost", "the process ends: what it may have lost cannot be told apart",
              F_STR("why", why));
    if (e->env.fatal)
        e->env.fatal(e->env.fatal_arg);
    else
        sl_assert_failed(why, __FILE__, __LINE__);
}

static void engine_free(struct sqlog *e)
{
    void *value = NULL;
    for (size_t i = 0; map_next(e->topics, &i, NULL, &value);) {
        struct sqlog_topic *t = value;
        LIST_FOREACH_SAFE(node, &t->parts)
        sqlog__part_unref(SL_CONTAINER_OF(node, struct sqlog_part, topic_node));
        sqlog__topic_unref(t);
    }
    sqlog__pool_free(e);
    sqlog__disconnect(&e->writer.db);
    sqlog__files_free(e->files);
    map_free(e->topics);
    map_free(e->parts);
    mutex_free(e->writer.lock);
    cond_free(e->writer.changed);
    mutex_free(e->pool_lock);
    buf_fini(&e->writer.scratch);
    sl_free(e->dir);
    sl_free(e);
}

static void on_closed(struct sqlog *e, sl_err err)
{
    struct log_done *d = e->closing;
    sqlog__writer_stop(e);
    engine_free(e);
    d->err = err;
    d->done(d);
}

static sl_err clean_run(struct sqlog_job *j, struct sqlog_db *db)
{
    return sqlog__put_clean(db, true, &j->fault);
}

/* The idle check behind it ends the engine. */
static void clean_done(struct sqlog_job *j)
{
    j->engine->close_err = j->err;
    sqlog__job_free(j);
}

static bool is_idle(const struct sqlog *e)
{
    return list_empty(&e->turn) && !e->handover_armed && e->inflight == 0 && e->jobs_pending == 0;
}

/* Nothing is under way any more: the last transaction says so. */
void sqlog__idle_check(struct sqlog *e)
{
    if (!e->closing || e->dead || !is_idle(e))
        return;
    if (!e->finishing && e->opened) {
        e->finishing = true;
        sqlog__submit_job(e, sqlog__job_new(e, NULL, clean_run, clean_done));
        return;
    }
    on_closed(e, e->close_err);
}

static void close_engine(struct log_engine *base, struct log_done *d)
{
    struct sqlog *e = sqlog__of(base);
    SL_ASSERT(!e->closing);
    e->closing = d;
    sqlog__retention_stop(e);
    sqlog__arm_turn_end(e); /* looks at it at the end of this turn, never inside of this call */
}

/* ---- open ------------------------------------------------------------------------------------ */

static const struct log_engine_ops sqlite_ops = {
    .append = sqlog__append,
    .abandon = sqlog__abandon,
    .read = sqlog__read,
    .lookup = sqlog__lookup,
    .watch = watch,
    .topic_write = sqlog__topic_write,
    .topic_drop = sqlog__topic_drop,
    .part_open = part_open,
    .part_configure = part_configure,
    .trim = sqlog__trim,
    .part_state = part_state,
    .epoch_end = epoch_end,
    .producers = list_producers,
    .counters = counters,
    .space = space,
    .close = close_engine,
};

static void fill_defaults(struct log_cfg *c)
{
    if (c->group_bytes_max == 0)
        c->group_bytes_max = 16 << 20;
    if (c->queue_bytes_max == 0)
        c->queue_bytes_max = 48 << 20;
    if (c->producer_expiry_ms == 0)
        c->producer_expiry_ms = (int64_t)24 * 3600 * 1000; /* as in Kafka */
    if (c->reserve_bytes == 0)
        c->reserve_bytes = UINT64_C(32) << 20;
}

static struct sqlog *engine_new(const struct log_cfg *cfg, const struct log_env *env)
{
    struct sqlog *e = sl_new(struct sqlog);
    e->base.ops = &sqlite_ops;
    e->cfg = *cfg;
    e->env = *env;
    fill_defaults(&e->cfg);
    e->dir = sl_strdup(cfg->data_dir);
    e->cfg.data_dir = e->dir;
    e->topics = map_new(SIZE_MAX);
    e->parts = map_new(SIZE_MAX);
    e->handover.run = sqlog__handover;
    list_init(&e->turn);
    list_init(&e->ripe);
    e->writer.lock = mutex_new();
    e->writer.changed = cond_new();
    list_init(&e->writer.queue);
    e->writer.space_checked_ms = INT64_MIN / 2;
    buf_init(&e->writer.scratch, SCRATCH_BYTES_MAX);
    e->pool_lock = mutex_new();
    list_init(&e->pool);
    return e;
}

sl_err sqlog_open(const struct log_cfg *cfg, const struct log_env *env, struct sl_fault *fault,
                  struct log_engine **ret)
{
    struct sqlog *e = engine_new(cfg, env);
    sl_err err = sqlog__files_new(env->vfs, env->clock, &e->files);
    if (err == SL_OK)
        err = sqlog__writer_start(e);
    if (err == SL_OK)
        err = sqlog__load(e, fault);
    if (err != SL_OK && fault && fault->what[0] == 0)
        (void)sl_fault_set(fault, err, "sluice.db could not be opened: %s", sl_err_text(err));
    if (err != SL_OK) {
        sqlog__writer_stop(e);
        engine_free(e);
        return err;
    }
    sqlog__retention_start(e);
    *ret = &e->base;
    return SL_OK;
}

void sqlog_topic_block(struct log_engine *base, const struct uuid *topic_id, bool blocked)
{
    sqlog__topic_block(sqlog__of(base), topic_id, blocked);
}

bool sqlog_topic_is_known(struct log_engine *base, const struct uuid *topic_id)
{
    return map_get(sqlog__of(base)->topics, topic_id->bytes, sizeof topic_id->bytes) != NULL;
}
