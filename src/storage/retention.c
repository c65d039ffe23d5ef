/* Retention, trim, and the files that go. By size and by append time, sealed segments only; row
 * first, then rename, unlink after a delay. Time counts on two clocks: the partition's append clock
 * (wall, never going back) and the monotonic time since the segment was sealed or the process
 * started must both be past retention.ms, so that no jump of a clock deletes anything (B26, P6). */
#include "storage/retention_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum {
    TICK_MS = 1000,
    TRIM_RETRY_MS = 10,
    TRIM_WAIT_MS = 5000, /* a checkpoint is long over by then; a rescue may never be */
};

struct retention {
    struct local_engine *engine;
    struct timer tick, retry;
    size_t cursor;      /* into the map of partitions */
    struct list doomed; /* of struct doomed, in the order they were renamed */
    struct list trims;  /* of struct removal, waiting for a checkpoint to let go of the rows */
    bool paused;
};

/* Files or a folder to unlink when the time has come. */
struct doomed {
    struct list node;
    struct work work;
    struct local_engine *engine;
    int64_t due_ms;
    bool is_topic;
    bool renamed; /* segments: not before their rows are gone, and on a worker */
    char *path;   /* without extension for a segment */
    char *mark;   /* file that is to exist first; NULL: none */
};

/* Rows of the first n segments, and the new log start. */
struct removal {
    struct list node;
    struct meta_txn txn;
    struct meta_op *ops;
    struct retention *retention;
    struct log_part *part; /* counted */
    struct log_done *done; /* of a trim, or NULL */
    int64_t log_start;
    int64_t deadline_ms; /* of a trim */
    uint32_t n;
};

/* ---- which ------------------------------------------------------------------------------- */

static bool removable(const struct segment *s)
{
    return s->state != SEGMENT_ACTIVE && s->bytes == s->plan_bytes && !s->row_dirty &&
           !s->row_saving;
}

static bool expired(const struct log_part *p, const struct segment *s,
                    const struct retention_time *now)
{
    return p->cfg.retention_ms >= 0 && now->append_ms - s->last_append_ms >= p->cfg.retention_ms &&
           now->monotonic_ms - s->sealed_mono_ms >= p->cfg.retention_ms;
}

/* Oldest first, never the active one: a slow reader may lose old segments, never see a hole. */
uint32_t retention__segments_to_drop(const struct log_part *p, const struct retention_time *now)
{
    int64_t bytes = part__bytes(p);
    uint32_t n = 0;
    if (!p->cfg.delete_old)
        return 0;
    for (; n < p->n_segments && removable(p->segments[n]); n++) {
        const struct segment *s = p->segments[n];
        bool too_much =
            p->cfg.retention_bytes >= 0 && bytes - (int64_t)s->bytes >= p->cfg.retention_bytes;
        if (!too_much && !expired(p, s, now))
            break;
        bytes -= (int64_t)s->bytes;
    }
    return n;
}

/* The last segment of a quiet partition is sealed when it is as old as segment.ms or retention.ms
 * say, so that it can go, too. */
static bool wants_seal(const struct log_part *p, const struct segment *s,
                       const struct retention_time *now)
{
    if (!s || s->state != SEGMENT_ACTIVE || s->bytes == 0 || p->inflight > 0)
        return false;
    bool old = p->cfg.segment_ms > 0 && now->append_ms - s->first_append_ms >= p->cfg.segment_ms;
    bool done = p->cfg.delete_old && p->cfg.retention_ms >= 0 &&
                now->append_ms - s->last_append_ms >= p->cfg.retention_ms;
    return old || done;
}

static void unlink_due(struct retention *r, bool all);

/* ---- unlink ------------------------------------------------------------------------------ */

static void unlink_ext(struct doomed *d, const char *ext)
{
    char path[PATH_BYTES];
    paths__concat(path, d->path, ext);
    sl_err err = vfs_unlink(d->engine->env.vfs, path);
    if (err != SL_OK && err != SL_ENOTFOUND)
        LOG_WARN("segment.unlink_failed", "a file of a deleted segment stays", F_STR("file", path),
                 F_ERR(err));
}

static void remove_topic(struct doomed *d)
{
    sl_err err = paths__remove_tree(d->engine->env.vfs, d->path);
    if (err != SL_OK && err != SL_ENOTFOUND)
        LOG_WARN("topic.unlink_failed", "a folder of a deleted topic stays", F_STR("dir", d->path),
                 F_ERR(err));
}

/* An empty segment where the log goes on: without one, a meta.db that is rebuilt from the files
 * would give its offsets again. The next append uses it. */
static sl_err leave_mark(struct doomed *d)
{
    struct vfs_file *f = NULL;
    char dir[PATH_BYTES];
    if (!d->mark)
        return SL_OK;
    SL_TRY(vfs_open(d->engine->env.vfs, d->mark, VFS_WRITE | VFS_CREATE, &f));
    vfs_close(f);
    paths__concat(dir, d->mark, "");
    *strrchr(dir, '/') = '\0';
    return vfs_sync_dir(d->engine->env.vfs, dir);
}

static void rename_segment(struct doomed *d)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    paths__concat(from, d->path, ".log");
    paths__concat(to, d->path, ".log.deleted");
    sl_err err = leave_mark(d);
    if (err == SL_OK)
        err = vfs_rename(d->engine->env.vfs, from, to);
    if (err != SL_OK)
        LOG_WARN("segment.rename_failed", "recovery will remove it", F_STR("file", from),
                 F_ERR(err));
}

static void doomed_run(struct work *w)
{
    struct doomed *d = SL_CONTAINER_OF(w, struct doomed, work);
    if (d->is_topic) {
        remove_topic(d);
    } else if (!d->renamed) {
        rename_segment(d);
    } else {
        unlink_ext(d, ".log.deleted");
        unlink_ext(d, ".idx");
        unlink_ext(d, ".tix");
        unlink_ext(d, ".fence");
    }
}

static void submit_doomed(struct doomed *d)
{
    d->engine->jobs_pending++;
    workers_submit(d->engine->env.workers, d->engine->env.loop, &d->work);
}

static void doomed_done(struct work *w)
{
    struct doomed *d = SL_CONTAINER_OF(w, struct doomed, work);
    struct local_engine *e = d->engine;
    e->jobs_pending--;
    if (!d->is_topic && !d->renamed) {
        d->renamed = true;
        list_push_back(&e->retention->doomed, &d->node);
        if (e->retention->paused)
            unlink_due(e->retention, true);
    } else {
        sl_free(d->path);
        sl_free(d->mark);
        sl_free(d);
    }
    engine__idle_check(e);
}

static void doom(struct retention *r, const char *path, const char *mark, bool is_topic,
                 int64_t delay_ms)
{
    struct doomed *d = sl_new(struct doomed);
    d->engine = r->engine;
    d->path = sl_strdup(path);
    d->mark = mark ? sl_strdup(mark) : NULL;
    d->is_topic = is_topic;
    d->due_ms = loop_now_ms(r->engine->env.loop) + SL_MAX(delay_ms, (int64_t)0);
    d->work.run = doomed_run;
    d->work.done = doomed_done;
    if (is_topic)
        list_push_back(&r->doomed, &d->node);
    else
        submit_doomed(d);
}

/* Due ones; all of them when the engine closes, since nobody reads them any more. */
static void unlink_due(struct retention *r, bool all)
{
    int64_t now_ms = loop_now_ms(r->engine->env.loop);
    LIST_FOREACH_SAFE(node, &r->doomed)
    {
        struct doomed *d = SL_CONTAINER_OF(node, struct doomed, node);
        if (!all && d->due_ms > now_ms)
            continue;
        list_remove(node);
        submit_doomed(d);
    }
}

void retention__unlink_later(struct local_engine *e, const struct uuid *topic_id, int64_t delay_ms)
{
    char path[PATH_BYTES];
    paths__deleted_topic_dir(path, e->data_dir, topic_id);
    doom(e->retention, path, NULL, true, delay_ms);
    if (e->closing)
        unlink_due(e->retention, true);
}

/* ---- removal: rows, then files ----------------------------------------------------------- */

static void doom_segments(struct removal *m)
{
    const struct log_part *p = m->part;
    for (uint32_t i = 0; i < m->n; i++) {
        char stem[PATH_BYTES], next[PATH_BYTES];
        segment__path(p->segments[i], "", stem);
        paths__segment(next, p->engine->data_dir, &p->id.topic_id, p->id.index, m->log_start,
                       ".log");
        bool is_last = i + 1 == p->n_segments; /* nothing else tells where the log goes on */
        doom(m->retention, stem, is_last ? next : NULL, false, p->cfg.file_delete_delay_ms);
    }
}

static void removal_free(struct removal *m)
{
    part__unref(m->part);
    sl_free(m->ops);
    sl_free(m);
}

static void removal_end(struct removal *m, sl_err err)
{
    struct local_engine *e = m->retention->engine;
    struct log_done *d = m->done;
    removal_free(m);
    if (d) {
        d->err = err;
        d->done(d);
    }
    engine__idle_check(e);
}

static void on_rows_gone(struct meta_txn *t)
{
    struct removal *m = SL_CONTAINER_OF(t, struct removal, txn);
    struct local_engine *e = m->retention->engine;
    e->jobs_pending--;
    m->part->cleaning = false;
    sl_err err = t->err;
    if (atomic_load(&m->part->gone)) {
        err = SL_ETOPIC;
    } else if (err == SL_OK) {
        doom_segments(m);
        part__shift_segments(m->part, m->n);
        if (e->closing)
            unlink_due(m->retention, true);
    }
    if (err == SL_EUNKNOWN_OUTCOME)
        engine__die(e, "the metastore could not be written");
    removal_end(m, err);
}

/* Memory first: no reader and no checkpoint may see the older start once the row is on its way. */
static void submit(struct removal *m)
{
    struct log_part *p = m->part;
    uint32_t k = 0;
    m->log_start = SL_MAX(m->log_start, p->log_start);
    m->ops = sl_new_array(struct meta_op, m->n + 1);
    for (; k < m->n; k++)
        m->ops[k] = (struct meta_op){
            .kind = META_SEGMENT_DELETE,
            .segment = {.pid = p->id.pid, .base_offset = p->segments[k]->base_offset}};
    m->ops[k] = (struct meta_op){.kind = META_LOG_START_PUT,
                                 .log_state = {.pid = p->id.pid, .log_start = m->log_start}};
    m->txn = (struct meta_txn){.ops = m->ops,
                               .n_ops = m->n + 1,
                               .home = m->retention->engine->env.loop,
                               .done = on_rows_gone};
    p->log_start = m->log_start;
    p->cleaning = true;
    m->retention->engine->jobs_pending++;
    meta_submit(m->retention->engine->env.meta, &m->txn);
}

static struct removal *removal_new(struct retention *r, struct log_part *p)
{
    struct removal *m = sl_new(struct removal);
    m->retention = r;
    m->part = part__ref(p);
    return m;
}

static bool is_free(const struct log_part *p)
{
    return !p->saving && !p->cleaning && !p->read_only && !atomic_load(&p->dropped);
}

/* ---- trim -------------------------------------------------------------------------------- */

static void start_trims(struct retention *r)
{
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &r->trims);
    struct list *node;
    while ((node = list_pop_front(&waiting))) {
        struct removal *m = SL_CONTAINER_OF(node, struct removal, node);
        struct log_part *p = m->part;
        if (atomic_load(&p->dropped) || r->paused) {
            removal_end(m, r->paused ? SL_ECLOSED : SL_ETOPIC);
            continue;
        }
        if (!is_free(p) && loop_now_ms(r->engine->env.loop) >= m->deadline_ms) {
            removal_end(m, SL_ETIMEDOUT); /* nothing happened, it may be tried again */
            continue;
        }
        if (!is_free(p)) {
            list_push_back(&r->trims, node);
            continue;
        }
        while (m->n < p->n_segments && removable(p->segments[m->n]) &&
               p->segments[m->n]->next_offset <= m->log_start)
            m->n++;
        submit(m);
    }
    if (!list_empty(&r->trims))
        timer_start(&r->retry, TRIM_RETRY_MS);
}

static void on_retry(struct timer *t)
{
    start_trims(SL_CONTAINER_OF(t, struct retention, retry));
}

void retention__trim(struct log_engine *base, struct log_part *p, int64_t offset,
                     struct log_done *d)
{
    struct local_engine *e = engine__of(base);
    struct removal *m = removal_new(e->retention, p);
    m->done = d;
    m->deadline_ms = loop_now_ms(e->env.loop) + TRIM_WAIT_MS;
    m->log_start = SL_MIN(offset, p->high_watermark); /* the caller has checked: never beyond */
    list_push_back(&e->retention->trims, &m->node);
    timer_start(&e->retention->retry, 0); /* never calls back before it returns */
}

/* ---- the slow walk over all partitions --------------------------------------------------- */

static void visit(struct retention *r, struct log_part *p, int64_t wall_ms)
{
    const struct retention_time now = {
        .append_ms = SL_MAX(wall_ms, p->last_append_ms),
        .monotonic_ms = loop_now_ms(r->engine->env.loop),
    };
    struct segment *active = part__active(p);
    if (!is_free(p))
        return;
    if (wants_seal(p, active, &now)) {
        part__seal(active);
        part__mark_dirty(p);
    }
    uint32_t n = retention__segments_to_drop(p, &now);
    if (n == 0)
        return;
    struct removal *m = removal_new(r, p);
    m->n = n;
    m->log_start = p->segments[n - 1]->next_offset;
    if (n < p->n_segments)
        m->log_start = p->segments[n]->base_offset;
    submit(m);
}

static void on_tick(struct timer *t)
{
    struct retention *r = SL_CONTAINER_OF(t, struct retention, tick);
    int64_t wall_ms = clock_wall_ms(r->engine->env.clock);
    void *value = NULL;
    int n = 0;
    while (n++ < CHECKPOINT_SLICE && map_next(r->engine->parts, &r->cursor, NULL, &value))
        visit(r, value, wall_ms);
    if (n <= CHECKPOINT_SLICE)
        r->cursor = 0;
    unlink_due(r, false);
    timer_start(&r->tick, TICK_MS);
}

/* ---- life -------------------------------------------------------------------------------- */

static sl_err visit_leftover(void *arg, const char *name)
{
    struct retention *r = arg;
    char topics[PATH_BYTES], path[PATH_BYTES];
    const char *dot = strrchr(name, '.');
    if (!dot || strcmp(dot, ".deleted") != 0)
        return SL_OK;
    paths__join(topics, r->engine->data_dir, "topics");
    paths__join(path, topics, name);
    doom(r, path, NULL, true, 0);
    return SL_OK;
}

sl_err retention__start(struct local_engine *e, struct retention **ret)
{
    struct retention *r = sl_new(struct retention);
    char topics[PATH_BYTES];
    r->engine = e;
    list_init(&r->doomed);
    list_init(&r->trims);
    timer_init(&r->tick, e->env.loop, on_tick);
    timer_init(&r->retry, e->env.loop, on_retry);
    timer_start(&r->tick, TICK_MS);
    paths__join(topics, e->data_dir, "topics");
    *ret = r;
    return vfs_list_dir(e->env.vfs, topics, visit_leftover, r);
}

void retention__pause(struct retention *r)
{
    r->paused = true;
    timer_stop(&r->tick);
    timer_stop(&r->retry);
    unlink_due(r, true);
    start_trims(r);
}

void retention__stop(struct retention *r)
{
    if (!r)
        return;
    timer_stop(&r->tick);
    timer_stop(&r->retry);
    SL_ASSERT(list_empty(&r->trims));
    sl_free(r);
}
