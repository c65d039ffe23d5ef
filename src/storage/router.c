/* One log engine over those that a process has: calls about a partition go to its engine, calls
 * about a topic to the engine of that topic, the rest to all. Topics of every engine have their
 * topic.meta and their rows in meta.db through the local engine. Core loop. */
#include "storage/log_engine.h"
#include "storage/sqlite/engine.h"

#include "base/alloc.h"

struct router {
    struct log_engine base; /* first */
    struct log_engine *engines[LOG_ENGINE_COUNT];
    struct log_done closed;
    struct log_done *closing;
    enum log_engine_kind n_closed;
    sl_err close_err;
};

static struct router *router_of(struct log_engine *base)
{
    return SL_CONTAINER_OF(base, struct router, base);
}

static struct log_engine *engine_of(const struct log_part *p)
{
    return ((const struct log_part_head *)(const void *)p)->engine;
}

/* ---- partitions ------------------------------------------------------------------------------ */

static void append(struct log_engine *base, struct log_append *a)
{
    struct log_engine *e = engine_of(a->part);
    e->ops->append(e, a);
}

static void abandon(struct log_engine *base, struct log_append *a)
{
    struct log_engine *e = engine_of(a->part);
    e->ops->abandon(e, a);
}

static sl_err read_part(struct log_engine *base, struct log_read *r)
{
    struct log_engine *e = engine_of(r->part);
    return e->ops->read(e, r);
}

static sl_err lookup(struct log_engine *base, struct log_lookup *l)
{
    struct log_engine *e = engine_of(l->part);
    return e->ops->lookup(e, l);
}

static void watch(struct log_engine *base, struct log_part *p, struct log_watch *w)
{
    struct log_engine *e = engine_of(p);
    e->ops->watch(e, p, w);
}

static struct log_part *part_open(struct log_engine *base, const struct log_part_id *id,
                                  const struct log_topic_cfg *cfg)
{
    SL_ASSERT(cfg->engine < LOG_ENGINE_COUNT);
    struct log_engine *e = router_of(base)->engines[cfg->engine];
    return e->ops->part_open(e, id, cfg);
}

static void part_configure(struct log_engine *base, struct log_part *p,
                           const struct log_topic_cfg *cfg)
{
    struct log_engine *e = engine_of(p);
    SL_ASSERT(e == router_of(base)->engines[cfg->engine]); /* it never changes */
    e->ops->part_configure(e, p, cfg);
}

static void trim(struct log_engine *base, struct log_part *p, int64_t offset, struct log_done *d)
{
    struct log_engine *e = engine_of(p);
    e->ops->trim(e, p, offset, d);
}

static void part_state(struct log_part *p, struct log_part_state *ret)
{
    engine_of(p)->ops->part_state(p, ret);
}

static sl_err epoch_end(struct log_part *p, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end)
{
    return engine_of(p)->ops->epoch_end(p, epoch, ret_epoch, ret_end);
}

static size_t producers(struct log_part *p, struct log_producer *ret, size_t max)
{
    return engine_of(p)->ops->producers(p, ret, max);
}

/* ---- topics: the local engine first, then the topic's own --------------------------------------
 */

struct topic_call {
    struct log_done inner;
    struct log_done *outer;
    struct router *router;
    struct uuid topic_id, org;
    struct log_topic_spec spec; /* a write: with a name of its own */
    char *name;
};

static struct topic_call *call_new(struct router *r, const struct uuid *id, struct log_done *outer,
                                   void (*done)(struct log_done *d))
{
    struct topic_call *c = sl_new(struct topic_call);
    c->router = r;
    c->topic_id = *id;
    c->outer = outer;
    c->inner.done = done;
    return c;
}

static struct topic_call *call_of(struct log_done *inner)
{
    return SL_CONTAINER_OF(inner, struct topic_call, inner);
}

static void call_end(struct log_done *inner)
{
    struct topic_call *c = call_of(inner);
    struct log_done *outer = c->outer;
    outer->err = inner->err;
    outer->fault = inner->fault;
    sl_free(c->name);
    sl_free(c);
    outer->done(outer);
}

static void meta_written(struct log_done *inner)
{
    struct topic_call *c = call_of(inner);
    struct log_engine *e = c->router->engines[c->spec.engine];
    if (inner->err != SL_OK) {
        call_end(inner);
        return;
    }
    inner->done = call_end;
    e->ops->topic_write(e, &c->spec, inner);
}

static void topic_write(struct log_engine *base, const struct log_topic_spec *spec,
                        struct log_done *d)
{
    struct router *r = router_of(base);
    struct log_engine *local = r->engines[LOG_ENGINE_LOCAL];
    if (spec->engine == LOG_ENGINE_LOCAL) {
        local->ops->topic_write(local, spec, d);
        return;
    }
    struct topic_call *c = call_new(r, &spec->topic_id, d, meta_written);
    c->name = sl_strdup(spec->name);
    c->spec = *spec;
    c->spec.name = c->name;
    c->spec.config_text = (struct slice){0}; /* the caller's; topic.meta has them */
    c->spec.parts = NULL;
    c->spec.n_parts = 0;
    local->ops->topic_write(local, spec, &c->inner);
}

static void meta_dropped(struct log_done *inner)
{
    struct topic_call *c = call_of(inner);
    struct log_engine *e = c->router->engines[LOG_ENGINE_SQLITE];
    if (inner->err != SL_OK) {
        sqlog_topic_block(e, &c->topic_id, false);
        call_end(inner);
        return;
    }
    inner->done = call_end;
    e->ops->topic_drop(e, &c->topic_id, inner);
}

static void topic_drop(struct log_engine *base, const struct uuid *topic_id, struct log_done *d)
{
    struct router *r = router_of(base);
    struct log_engine *local = r->engines[LOG_ENGINE_LOCAL];
    struct log_engine *sqlite = r->engines[LOG_ENGINE_SQLITE];
    if (!sqlog_topic_is_known(sqlite, topic_id)) {
        local->ops->topic_drop(local, topic_id, d);
        return;
    }
    struct topic_call *c = call_new(r, topic_id, d, meta_dropped);
    sqlog_topic_block(sqlite, topic_id, true);
    local->ops->topic_drop(local, topic_id, &c->inner);
}

/* ---- all of them ------------------------------------------------------------------------------
 */

static void counters(struct log_engine *base, struct log_engine_counters *ret)
{
    struct router *r = router_of(base);
    struct log_engine_counters other;
    r->engines[LOG_ENGINE_LOCAL]->ops->counters(r->engines[LOG_ENGINE_LOCAL], ret);
    r->engines[LOG_ENGINE_SQLITE]->ops->counters(r->engines[LOG_ENGINE_SQLITE], &other);
    ret->groups += other.groups;
    ret->syncs += other.syncs;
    ret->sync_ns_total += other.sync_ns_total;
    ret->appended_batches += other.appended_batches;
    ret->appended_bytes += other.appended_bytes;
    ret->read_bytes += other.read_bytes;
    ret->queued_bytes += other.queued_bytes;
    ret->refusing_appends |= other.refusing_appends;
}

static void space(struct log_engine *base, struct log_space *ret)
{
    struct log_engine *local = router_of(base)->engines[LOG_ENGINE_LOCAL];
    local->ops->space(local, ret);
}

/* Last opened, first closed. The first error is the result. */
static void close_next(struct log_done *d)
{
    struct router *r = SL_CONTAINER_OF(d, struct router, closed);
    if (r->close_err == SL_OK && r->n_closed > 0)
        r->close_err = d->err;
    if (r->n_closed < LOG_ENGINE_COUNT) {
        struct log_engine *e = r->engines[LOG_ENGINE_COUNT - 1 - r->n_closed];
        r->n_closed++;
        e->ops->close(e, &r->closed);
        return;
    }
    struct log_done *outer = r->closing;
    outer->err = r->close_err;
    sl_free(r);
    outer->done(outer);
}

static void close_all(struct log_engine *base, struct log_done *d)
{
    struct router *r = router_of(base);
    SL_ASSERT(!r->closing);
    r->closing = d;
    r->closed.done = close_next;
    close_next(&r->closed);
}

static const struct log_engine_ops router_ops = {
    .append = append,
    .abandon = abandon,
    .read = read_part,
    .lookup = lookup,
    .watch = watch,
    .topic_write = topic_write,
    .topic_drop = topic_drop,
    .part_open = part_open,
    .part_configure = part_configure,
    .trim = trim,
    .part_state = part_state,
    .epoch_end = epoch_end,
    .producers = producers,
    .counters = counters,
    .space = space,
    .close = close_all,
};

sl_err log_open(const struct log_cfg *cfg, const struct log_env *env, struct sl_fault *fault,
                struct log_engine **ret)
{
    struct log_engine *local = NULL, *sqlite = NULL;
    SL_TRY(log_local_open(cfg, env, fault, &local));
    sl_err err = sqlog_open(cfg, env, fault, &sqlite);
    if (err != SL_OK) {
        *ret = local; /* its threads run: closing it needs the loop */
        return err;
    }
    struct router *r = sl_new(struct router);
    r->base.ops = &router_ops;
    r->engines[LOG_ENGINE_LOCAL] = local;
    r->engines[LOG_ENGINE_SQLITE] = sqlite;
    *ret = &r->base;
    return SL_OK;
}
