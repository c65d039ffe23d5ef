/* What goes: trim, retention by size and by time, and the rows of dropped topics. The start of the
 * log moves first, durably; rows are deleted behind it, a bounded number in one transaction.
 *
 * Time counts on two clocks: the partition's append clock (wall, never going back), and the
 * monotonic time since rows were seen by this process must both be past retention.ms, so that no
 * jump of a clock deletes anything (B26, P6). */
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum {
    TICK_MS = 1000,
    VISITS = 500, /* partitions in one turn of the core loop */
    EXPIRY_MS = 60000,
};

/* ---- rows below the log start --------------------------------------------------------------- */

struct oldest {
    int64_t below, bytes, n;
};

/* Walks the oldest rows while keeps() says that they go. */
static sl_err walk(struct sqlog_job *j, struct sqlog_db *db, int64_t before,
                   bool (*goes)(const struct sqlog_job *j, int64_t offset, int64_t append_ms,
                                int64_t bytes_left),
                   struct oldest *ret)
{
    struct sqlog_part *p = j->part;
    struct sqlog_out q = sqlog__out(db, ST_MESSAGES_OLDEST);
    sqlog__put_i64(&q, p->topic->row_id);
    sqlog__put_i64(&q, p->id.index);
    sqlog__put_i64(&q, before);
    sqlog__put_i64(&q, SWEEP_ROWS);
    int rc = q.rc;
    *ret = (struct oldest){.below = p->row.log_start};
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(q.stmt);
        int64_t offset = sqlite3_column_int64(q.stmt, 0);
        int64_t bytes = sqlite3_column_int64(q.stmt, 2) + ROW_BYTES_EXTRA;
        if (rc != SQLITE_ROW ||
            !goes(j, offset, sqlite3_column_int64(q.stmt, 1), p->row.bytes - ret->bytes - bytes))
            break;
        ret->below = SL_MAX(ret->below, offset + 1);
        ret->bytes += bytes;
        ret->n++;
    }
    sl_err err =
        rc == SQLITE_ROW || rc == SQLITE_DONE ? SL_OK : sqlog__error(db->db, rc, &j->fault);
    (void)sqlite3_reset(q.stmt); /* the step has said it */
    return err;
}

/* Readers that look between the deletion and its completion must know why they find nothing. */
static sl_err delete_oldest(struct sqlog_job *j, struct sqlog_db *db, const struct oldest *o)
{
    struct sqlog_part *p = j->part;
    if (o->n == 0)
        return SL_OK;
    sqlog__touch(j->engine, p);
    p->row.log_start = SL_MAX(p->row.log_start, o->below);
    p->row.bytes = SL_MAX(p->row.bytes - o->bytes, (int64_t)0);
    atomic_store(&p->deleted_below, SL_MAX(atomic_load(&p->deleted_below), o->below));
    struct sqlog_out q = sqlog__out(db, ST_MESSAGES_DELETE);
    sqlog__put_i64(&q, p->topic->row_id);
    sqlog__put_i64(&q, p->id.index);
    sqlog__put_i64(&q, o->below);
    j->number2 = o->bytes;
    return sqlog__put_end(&q, db, &j->fault);
}

static void apply_start(struct sqlog_job *j)
{
    struct sqlog_part *p = j->part;
    p->bytes = SL_MAX(p->bytes - j->number2, (int64_t)0);
    p->log_start = SL_MAX(p->log_start, j->number);
    SL_ASSERT(p->log_start <= p->high_watermark);
}

static bool is_gone(const struct sqlog_part *p)
{
    return atomic_load(&p->dropped);
}

/* ---- sweeps ---------------------------------------------------------------------------------- */

static bool below_start(const struct sqlog_job *j, int64_t offset, int64_t append_ms,
                        int64_t bytes_left)
{
    return true;
}

static sl_err sweep_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct oldest o;
    if (is_gone(j->part))
        return SL_ETOPIC;
    SL_TRY(walk(j, db, j->part->row.log_start, below_start, &o));
    j->user = o.n == SWEEP_ROWS ? j : NULL; /* there may be more */
    return delete_oldest(j, db, &o);
}

static void sweep_done(struct sqlog_job *j)
{
    struct sqlog_part *p = j->part;
    p->cleaning = false;
    p->needs_sweep = j->user != NULL || j->err != SL_OK;
    if (j->err == SL_OK)
        apply_start(j);
    if (j->err == SL_OK && p->needs_sweep && !j->engine->closing)
        sqlog__sweep(p);
    sqlog__job_free(j);
}

void sqlog__sweep(struct sqlog_part *p)
{
    if (p->cleaning || is_gone(p))
        return; /* the tick comes back */
    p->cleaning = true;
    sqlog__submit_job(p->engine, sqlog__job_new(p->engine, p, sweep_run, sweep_done));
}

static sl_err sweep_topic_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct sqlog_out q = sqlog__out(db, ST_MESSAGES_OF_TOPIC);
    sqlog__put_i64(&q, j->number);
    sqlog__put_i64(&q, SWEEP_ROWS);
    SL_TRY(sqlog__put_end(&q, db, &j->fault));
    if (sqlite3_changes(db->db) == SWEEP_ROWS) {
        j->user = j;
        return SL_OK;
    }
    struct sqlog_out all = sqlog__out(db, ST_DROPPED_DELETE);
    sqlog__put_i64(&all, j->number);
    return sqlog__put_end(&all, db, &j->fault);
}

static void sweep_topic_done(struct sqlog_job *j)
{
    if (j->user && j->err == SL_OK && !j->engine->closing)
        sqlog__sweep_topic(j->engine, j->number);
    sqlog__job_free(j);
}

void sqlog__sweep_topic(struct sqlog *e, int64_t topic_row)
{
    if (e->closing)
        return; /* the next start goes on */
    struct sqlog_job *j = sqlog__job_new(e, NULL, sweep_topic_run, sweep_topic_done);
    j->number = topic_row;
    sqlog__submit_job(e, j);
}

/* ---- trim ------------------------------------------------------------------------------------ */

static sl_err trim_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct sqlog_part *p = j->part;
    if (is_gone(p))
        return SL_ETOPIC;
    sqlog__touch(j->engine, p);
    SL_ASSERT(j->number <= p->row.next_offset);
    p->row.log_start = SL_MAX(p->row.log_start, j->number);
    return SL_OK;
}

static void trim_done(struct sqlog_job *j)
{
    struct log_done *d = j->user;
    struct sqlog_part *p = j->part;
    d->err = is_gone(p) ? SL_ETOPIC : j->err;
    d->fault = j->fault;
    if (d->err == SL_OK) {
        apply_start(j);
        p->needs_sweep = true;
        if (!j->engine->closing)
            sqlog__sweep(p);
    }
    sqlog__job_free(j);
    d->done(d);
}

void sqlog__trim(struct log_engine *base, struct log_part *part, int64_t offset, struct log_done *d)
{
    struct sqlog_part *p = sqlog__part(part);
    struct sqlog_job *j = sqlog__job_new(sqlog__of(base), p, trim_run, trim_done);
    j->user = d;
    j->number = SL_MIN(offset, p->high_watermark); /* the caller has checked: never beyond */
    sqlog__submit_job(p->engine, j);
}

/* ---- retention ------------------------------------------------------------------------------- */

struct retain_job {
    struct sqlog_job job; /* first */
    int64_t retention_bytes, retention_ms, now_ms;
    int64_t old_below; /* offsets that this process has known for retention_ms */
    bool more;
};

static bool is_due(const struct sqlog_job *j, int64_t offset, int64_t append_ms, int64_t bytes_left)
{
    const struct retain_job *r = SL_CONTAINER_OF(j, const struct retain_job, job);
    if (r->retention_bytes >= 0 && bytes_left >= r->retention_bytes)
        return true;
    return r->retention_ms >= 0 && offset < r->old_below &&
           r->now_ms - append_ms >= r->retention_ms;
}

static sl_err retain_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct retain_job *r = SL_CONTAINER_OF(j, struct retain_job, job);
    struct oldest o;
    if (is_gone(j->part))
        return SL_ETOPIC;
    SL_TRY(walk(j, db, j->part->row.next_offset, is_due, &o));
    r->more = o.n == SWEEP_ROWS;
    j->number = o.below;
    return delete_oldest(j, db, &o);
}

static void retain_done(struct sqlog_job *j)
{
    struct retain_job *r = SL_CONTAINER_OF(j, struct retain_job, job);
    struct sqlog_part *p = j->part;
    p->cleaning = false;
    if (j->err == SL_OK)
        apply_start(j);
    else if (j->err != SL_ETOPIC)
        LOG_WARN("sqlite.retention_failed", "old messages stay for now", F_ERR(j->err),
                 F_STR("what", j->fault.what));
    if (r->more)
        p->retained_mono_ms = 0; /* at the next tick */
    sqlog__part_unref(p);
    sl_free(r);
}

static void take_sample(struct sqlog_part *p, int64_t mono_ms)
{
    int64_t interval_ms = SL_MAX(p->cfg.retention_ms / (SAMPLES / 2), (int64_t)TICK_MS);
    if (p->n_samples > 0 && mono_ms - p->samples[p->n_samples - 1].mono_ms < interval_ms)
        return;
    if (p->n_samples == SAMPLES) {
        memmove(p->samples, p->samples + 1, sizeof p->samples[0] * (SAMPLES - 1));
        p->n_samples--;
    }
    p->samples[p->n_samples++] = (struct sqlog_sample){mono_ms, p->high_watermark};
}

static int64_t known_for(const struct sqlog_part *p, int64_t mono_ms, int64_t age_ms)
{
    int64_t below = 0;
    for (uint32_t i = 0; i < p->n_samples; i++)
        if (mono_ms - p->samples[i].mono_ms >= age_ms)
            below = p->samples[i].next_offset;
    return below;
}

static bool wants_retention(const struct sqlog_part *p, int64_t mono_ms)
{
    if (!p->cfg.delete_old || p->log_start == p->high_watermark)
        return false;
    if (p->cfg.retention_bytes >= 0 && p->bytes > p->cfg.retention_bytes)
        return true;
    int64_t every_ms = SL_MIN(SL_MAX(p->cfg.retention_ms / SAMPLES, (int64_t)TICK_MS), 60000);
    return p->cfg.retention_ms >= 0 && known_for(p, mono_ms, p->cfg.retention_ms) > p->log_start &&
           mono_ms - p->retained_mono_ms >= every_ms;
}

static void retain(struct sqlog_part *p, int64_t mono_ms)
{
    struct retain_job *r = sl_new(struct retain_job);
    int64_t wall_ms = clock_wall_ms(p->engine->env.clock);
    r->job.engine = p->engine;
    r->job.part = sqlog__part_ref(p);
    r->job.run = retain_run;
    r->job.done = retain_done;
    r->retention_bytes = p->cfg.retention_bytes;
    r->retention_ms = p->cfg.retention_ms;
    r->now_ms = SL_MAX(wall_ms, p->last_append_ms);
    r->old_below = p->cfg.retention_ms >= 0 ? known_for(p, mono_ms, p->cfg.retention_ms) : 0;
    p->retained_mono_ms = mono_ms;
    p->cleaning = true;
    sqlog__submit_job(p->engine, &r->job);
}

static void visit(struct sqlog_part *p, int64_t mono_ms)
{
    if (is_gone(p) || p->cleaning)
        return;
    if (p->cfg.retention_ms >= 0)
        take_sample(p, mono_ms);
    if (p->needs_sweep)
        sqlog__sweep(p);
    else if (wants_retention(p, mono_ms))
        retain(p, mono_ms);
}

/* ---- producers that have been silent ----------------------------------------------------------
 */

static sl_err expire_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct sqlog_out q = sqlog__out(db, ST_PRODUCERS_EXPIRE);
    sqlog__put_i64(&q, j->number);
    return sqlog__put_end(&q, db, &j->fault);
}

static void expire(struct sqlog *e, int64_t mono_ms)
{
    void *value = NULL;
    if (mono_ms - e->expired_mono_ms < EXPIRY_MS)
        return;
    e->expired_mono_ms = mono_ms;
    int64_t before_ms = clock_wall_ms(e->env.clock) - e->cfg.producer_expiry_ms;
    for (size_t i = 0; map_next(e->parts, &i, NULL, &value);)
        producers__expire(((struct sqlog_part *)value)->producers, before_ms);
    struct sqlog_job *j = sqlog__job_new(e, NULL, expire_run, sqlog__job_free);
    j->number = before_ms;
    sqlog__submit_job(e, j);
}

/* ---- the slow walk over all partitions ---------------------------------------------------------
 */

/* While it is full nobody may append, so that the writer would find out. */
static void look_at_space(struct sqlog *e)
{
    struct log_space s = {-1, -1};
    if (!atomic_load(&e->writer.full))
        return;
    log_space(&e->base, &s);
    if (s.usable_bytes < 0 || (uint64_t)s.usable_bytes >= e->cfg.reserve_bytes)
        atomic_store(&e->writer.full, false);
}

static void on_tick(struct timer *t)
{
    struct sqlog *e = SL_CONTAINER_OF(t, struct sqlog, tick);
    int64_t mono_ms = loop_now_ms(e->env.loop);
    void *value = NULL;
    int n = 0;
    while (n++ < VISITS && map_next(e->parts, &e->cursor, NULL, &value))
        visit(value, mono_ms);
    if (n <= VISITS)
        e->cursor = 0;
    if (e->opened)
        expire(e, mono_ms);
    look_at_space(e);
    timer_start(&e->tick, TICK_MS);
}

void sqlog__retention_start(struct sqlog *e)
{
    e->expired_mono_ms = loop_now_ms(e->env.loop);
    timer_init(&e->tick, e->env.loop, on_tick);
    timer_start(&e->tick, TICK_MS);
}

void sqlog__retention_stop(struct sqlog *e)
{
    timer_stop(&e->tick);
}
