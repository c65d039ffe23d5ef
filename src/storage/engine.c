#include "storage/local_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum { PARTS_MAX = 10000000 };

/* ---- partitions -------------------------------------------------------------------------- */

static struct local_topic *topic_of(struct local_engine *e, const struct uuid *id)
{
    struct local_topic *t = map_get(e->topics, id->bytes, sizeof id->bytes);
    if (t)
        return t;
    t = sl_new(struct local_topic);
    t->id = *id;
    list_init(&t->parts);
    SL_ASSERT(map_put(e->topics, id->bytes, sizeof id->bytes, t, NULL) == SL_OK);
    return t;
}

struct log_part *engine__part(struct local_engine *e, const struct log_part_id *id)
{
    struct log_part *p = map_get(e->parts, &id->pid, sizeof id->pid);
    if (p)
        return p;
    p = part__new(e, id);
    SL_ASSERT(map_put(e->parts, &id->pid, sizeof id->pid, p, NULL) == SL_OK);
    list_push_back(&topic_of(e, &id->topic_id)->parts, &p->topic_node);
    return p;
}

void engine__forget_part(struct local_engine *e, struct log_part *p)
{
    SL_ASSERT(atomic_load(&p->dropped));
    atomic_store(&p->gone, true);
    (void)map_remove(e->parts, &p->id.pid, sizeof p->id.pid);
    list_remove(&p->topic_node);
    list_remove(&p->dirty_node);
    if (p->to_rescue) {
        e->unrescued--;
        e->rescues_waiting--;
    }
    segment__unref(SL_TAKE(p->to_rescue));
    part__shift_segments(p, p->n_segments);
}

static struct log_part *part_open(struct log_engine *base, const struct log_part_id *id,
                                  const struct log_topic_cfg *cfg)
{
    struct log_part *p = engine__part(engine__of(base), id);
    p->cfg = *cfg;
    return p;
}

static void part_configure(struct log_engine *base, struct log_part *p,
                           const struct log_topic_cfg *cfg)
{
    p->cfg = *cfg;
}

static void part_state(struct log_part *p, struct log_part_state *ret)
{
    *ret = (struct log_part_state){
        .log_start = p->log_start,
        .high_watermark = p->high_watermark,
        .log_end = p->plan_next,
        .bytes = part__bytes(p),
        .leader_epoch = p->leader_epoch,
        .segments = p->n_segments,
        .damaged_from = p->damaged_from,
        .damaged_to = p->damaged_to,
    };
}

static size_t list_producers(struct log_part *p, struct log_producer *ret, size_t max)
{
    size_t n = 0;
    const struct producer *producer;
    for (size_t i = 0; n < max && (producer = producers__next(p->producers, &i));) {
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

/* ---- watches ----------------------------------------------------------------------------- */

static void arm_turn_end(struct local_engine *e)
{
    if (e->handover_armed)
        return;
    e->handover_armed = true;
    loop_defer(e->env.loop, &e->handover);
}

static void watch(struct log_engine *base, struct log_part *p, struct log_watch *w)
{
    struct local_engine *e = engine__of(base);
    if (p->high_watermark <= w->above && !atomic_load(&p->dropped)) {
        list_push_back(&p->watches, &w->node);
        return;
    }
    list_push_back(&e->ripe, &w->node);
    arm_turn_end(e);
}

void engine__fire_ripe(struct local_engine *e)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &e->ripe);
    struct list *node;
    while ((node = list_pop_front(&now))) {
        struct log_watch *w = SL_CONTAINER_OF(node, struct log_watch, node);
        w->moved(w);
    }
}

/* ---- counters ---------------------------------------------------------------------------- */

static void counters(struct log_engine *base, struct log_engine_counters *ret)
{
    struct local_engine *e = engine__of(base);
    *ret = e->counters;
    ret->syncs = atomic_load(&e->syncs);
    ret->sync_ns_total = atomic_load(&e->sync_ns);
    ret->fenced_files = atomic_load(&e->fenced_files);
    ret->checkpoints = checkpoint__count(e->checkpoint);
    ret->open_files = file_cache__open_count(e->files);
    ret->refusing_appends = atomic_load(&e->refusing);
    ret->queued_bytes = e->queued_bytes;
}

static void space(struct log_engine *base, struct log_space *ret)
{
    struct vfs_space on_disk = {-1, -1};
    struct local_engine *e = engine__of(base);
    (void)vfs_space(e->env.vfs, e->data_dir, &on_disk); /* unknown stays -1 */
    *ret = (struct log_space){on_disk.total_bytes, on_disk.free_bytes};
}

/* ---- open -------------------------------------------------------------------------------- */

static void append(struct log_engine *base, struct log_append *a)
{
    append__submit(engine__of(base), a);
}

static void abandon(struct log_engine *base, struct log_append *a)
{
    append__abandon(engine__of(base), a);
}

static void close_engine(struct log_engine *base, struct log_done *d);

static const struct log_engine_ops local_ops = {
    .append = append,
    .abandon = abandon,
    .read = read__start,
    .lookup = lookup__start,
    .watch = watch,
    .topic_write = topic_files__write,
    .topic_drop = topic_files__drop,
    .part_open = part_open,
    .part_configure = part_configure,
    .trim = retention__trim,
    .part_state = part_state,
    .epoch_end = part__epoch_end,
    .producers = list_producers,
    .counters = counters,
    .space = space,
    .close = close_engine,
};

static void set_default(uint64_t *field, uint64_t value)
{
    if (*field == 0)
        *field = value;
}

static void fill_defaults(struct log_cfg *c)
{
    if (c->open_files_max == 0)
        c->open_files_max = 900;
    if (c->page_cache_bytes == 0)
        c->page_cache_bytes = UINT64_C(1) << 30;
    if (c->journal_files_max == 0)
        c->journal_files_max = 8;
    if (c->group_bytes_max == 0)
        c->group_bytes_max = 16 << 20;
    if (c->queue_bytes_max == 0)
        c->queue_bytes_max = 48 << 20;
    if (c->checkpoint_ms == 0)
        c->checkpoint_ms = 30000;
    if (c->producer_expiry_ms == 0)
        c->producer_expiry_ms = (int64_t)24 * 3600 * 1000; /* as in Kafka */
    set_default(&c->journal_file_bytes, UINT64_C(64) << 20);
    set_default(&c->ballast_bytes, UINT64_C(64) << 20);
    set_default(&c->reserve_bytes, UINT64_C(32) << 20);
}

static struct local_engine *engine_new(const struct log_cfg *cfg, const struct log_env *env)
{
    struct local_engine *e = sl_new(struct local_engine);
    e->base.ops = &local_ops;
    e->cfg = *cfg;
    e->env = *env;
    fill_defaults(&e->cfg);
    e->data_dir = sl_strdup(cfg->data_dir);
    e->cfg.data_dir = e->data_dir;
    e->parts = map_new(PARTS_MAX);
    e->topics = map_new(PARTS_MAX);
    e->rows_lock = mutex_new();
    e->names_lock = mutex_new();
    e->files = file_cache__new(env->vfs, e->cfg.open_files_max, e->cfg.page_cache_bytes);
    file_cache__on_path(e->files, segment__file_path);
    e->started_mono_ms = clock_monotonic_ms(env->clock);
    e->handover.run = append__handover;
    e->healed.task.run = space__healed;
    list_init(&e->turn);
    list_init(&e->ripe);
    list_init(&e->dirty);
    list_init(&e->pool);
    return e;
}

static void engine_free(struct local_engine *e)
{
    void *value = NULL;
    for (size_t i = 0; map_next(e->parts, &i, NULL, &value);) {
        struct log_part *p = value;
        segment__unref(SL_TAKE(p->to_rescue));
        part__shift_segments(p, p->n_segments);
        part__unref(p);
    }
    for (size_t i = 0; map_next(e->topics, &i, NULL, &value);)
        sl_free(value);
    append__free_pool(e);
    mutex_free(e->rows_lock);
    mutex_free(e->names_lock);
    map_free(e->parts);
    map_free(e->topics);
    file_cache__free(e->files);
    journal__close(e->journal);
    current__close(&e->current);
    sl_free(e->data_dir);
    sl_free(e);
}

static sl_err start_threads(struct local_engine *e)
{
    SL_TRY(writer__start(e, &e->writer)); /* before who may ask it for a journal */
    SL_TRY(checkpoint__start(e, &e->checkpoint));
    return retention__start(e, &e->retention);
}

sl_err log_local_open(const struct log_cfg *cfg, const struct log_env *env, struct sl_fault *fault,
                      struct log_engine **ret)
{
    if (strlen(cfg->data_dir) > PATH_BYTES / 2)
        return sl_fault_set(fault, SL_EINVAL, "the path of the data directory is too long");
    struct local_engine *e = engine_new(cfg, env);
    sl_err err = recovery__run(e, fault);
    if (err != SL_OK) {
        engine_free(e);
        return err;
    }
    /* Threads that do not start leave the process without an engine: it ends, so nothing is freed.
     */
    SL_TRY(start_threads(e));
    *ret = &e->base;
    return SL_OK;
}

/* ---- the end ----------------------------------------------------------------------------- */

void engine__die(struct local_engine *e, const char *why)
{
    e->dead = true;
    LOG_ERROR("storage.lost", "the process ends: what it may have lost cannot be told apart",
              F_STR("why", why));
    if (e->env.fatal)
        e->env.fatal(e->env.fatal_arg);
    else
        sl_assert_failed(why, __FILE__, __LINE__);
}

static bool is_idle(const struct local_engine *e)
{
    return list_empty(&e->turn) && !e->handover_armed && e->queued_bytes == 0 && e->inflight == 0 &&
           e->jobs_pending == 0;
}

static void on_closed(struct local_engine *e, sl_err err)
{
    struct log_done *d = e->closing;
    checkpoint__stop(e->checkpoint);
    writer__stop(e->writer);
    retention__stop(e->retention);
    engine_free(e);
    d->err = err;
    d->done(d);
}

/* Nothing is under way any more: the last checkpoint begins, and ends with on_closed. */
void engine__idle_check(struct local_engine *e)
{
    if (!e->closing || e->finishing || e->dead || !is_idle(e))
        return;
    e->finishing = true;
    checkpoint__finish(e->checkpoint, on_closed);
}

static void close_engine(struct log_engine *base, struct log_done *d)
{
    struct local_engine *e = engine__of(base);
    SL_ASSERT(!e->closing);
    e->closing = d;
    atomic_store(&e->stopping, true);
    retention__pause(e->retention);
    arm_turn_end(e); /* looks at it at the end of this turn, never inside of this call */
}
