/* The checkpoint thread: syncs what the journal holds, saves rows, moves CURRENT, frees journal
 * files; also rescues fenced segments, fills journal files and the ballast, and looks at the disk.
 */
#include "storage/checkpoint_int.h"
#include "storage/current_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum { TICK_MS = 1000 };

struct checkpoint {
    struct local_engine *engine;
    struct thread *thread;
    struct mutex *mutex;
    struct cond *wake;
    /* under the lock */
    bool requested, final, snapshot_ready;
    bool sweep; /* handles of segments go round faster than checkpoints clean them */
    struct list rescues;
    bool retrying; /* those in the list failed before: they wait for a tick */
    /* core loop, then the thread while snapshot_ready */
    struct snapshot snapshot;
    struct list taking; /* partitions not yet in the snapshot */
    struct task begin, finished;
    struct task
        finished_last; /* not merely a round that was under way when the end was asked for */
    uint64_t lsn;      /* core loop: of the last checkpoint */
    uint64_t count;
    void (*final_done)(struct local_engine *e, sl_err err);
    /* the thread's own */
    int64_t last_ms;
};

/* ---- core loop: snapshots ---------------------------------------------------------------- */

static void clear_saving(struct snapshot *s, bool saved)
{
    for (size_t i = 0; i < s->n_segments; i++) {
        struct snap_segment *ss = &s->segments[i];
        ss->segment->row_saving = false;
        if (saved)
            index_tail__drop(&ss->segment->index, ss->n_entries);
        else
            ss->segment->row_dirty = true;
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        s->parts[i].part->saving = false;
        if (!saved)
            part__mark_dirty(s->parts[i].part);
    }
}

/* A sync failed: find who it was, once the thread has let go of the files. */
static void rescue_fenced(struct checkpoint *c, struct snapshot *s)
{
    for (size_t i = 0; i < s->n_segments; i++) {
        struct segment *seg = s->segments[i].segment;
        if (seg->state != SEGMENT_FENCED && file_cache__fenced(c->engine->files, &seg->file))
            checkpoint__rescue(c, seg);
    }
}

static void end_round(struct checkpoint *c, bool is_last)
{
    struct local_engine *e = c->engine;
    sl_err err = c->snapshot.err;
    clear_saving(&c->snapshot, err == SL_OK);
    if (err == SL_OK) {
        c->lsn = c->snapshot.lsn;
        c->count++;
    } else if (err == SL_EIO &&
               !e->finishing) { /* at the end nobody runs it: the journal has all */
        rescue_fenced(c, &c->snapshot);
    }
    snapshot__free(&c->snapshot);
    if (err == SL_EUNKNOWN_OUTCOME)
        engine__die(e, "the metastore could not be written");
    else if (is_last)
        c->final_done(e, err);
    else
        engine__idle_check(e);
}

static void on_finished(struct task *t)
{
    end_round(SL_CONTAINER_OF(t, struct checkpoint, finished), false);
}

static void on_finished_last(struct task *t)
{
    end_round(SL_CONTAINER_OF(t, struct checkpoint, finished_last), true);
}

static void snapshot_is_ready(struct checkpoint *c)
{
    mutex_lock(c->mutex);
    c->snapshot_ready = true;
    cond_signal(c->wake);
    mutex_unlock(c->mutex);
}

/* A slice per turn: later partitions may be ahead of the LSN, which recovery allows. */
static void on_begin(struct task *t)
{
    struct checkpoint *c = SL_CONTAINER_OF(t, struct checkpoint, begin);
    struct local_engine *e = c->engine;
    /* The journal has what no file has, or there is none. Also between slices: the row of a
     * partition that was fenced since the first one would claim what only the journal holds. */
    if (e->unrescued > 0 || atomic_load(&e->needs_journal)) {
        c->snapshot.err = SL_EIO;
        if (e->rescues_waiting > 0) /* for appends, which may wait for a journal file */
            journal__spare(e->journal);
        snapshot_is_ready(c);
        return;
    }
    if (c->snapshot.lsn == 0) {
        c->snapshot.lsn = e->completed_lsn;
        e->direct_bytes = 0;
        list_splice(&c->taking, &e->dirty);
    }
    struct list *node;
    for (int n = 0; n < CHECKPOINT_SLICE && (node = list_pop_front(&c->taking)); n++)
        snapshot__add(&c->snapshot, SL_CONTAINER_OF(node, struct log_part, dirty_node));
    if (!list_empty(&c->taking)) {
        loop_post(e->env.loop, &c->begin);
        return;
    }
    snapshot_is_ready(c);
}

uint64_t checkpoint__lsn(const struct checkpoint *c)
{
    return c->lsn;
}

uint64_t checkpoint__count(const struct checkpoint *c)
{
    return c->count;
}

/* ---- the thread -------------------------------------------------------------------------- */

static sl_err save(struct checkpoint *c)
{
    struct local_engine *e = c->engine;
    struct snapshot *s = &c->snapshot;
    SL_TRY(snapshot__save(e, s));
    SL_TRY(snapshot__commit_lsn(e, s->lsn));
    SL_TRY(current__write(&e->current, s->lsn, false));
    journal__recycle(e->journal, e->current.older_lsn);
    return SL_OK;
}

static void one_checkpoint(struct checkpoint *c, bool final)
{
    loop_post(c->engine->env.loop, &c->begin);
    mutex_lock(c->mutex);
    while (!c->snapshot_ready)
        cond_wait(c->wake, c->mutex);
    c->snapshot_ready = false;
    mutex_unlock(c->mutex);
    if (c->snapshot.err == SL_OK)
        c->snapshot.err = save(c);
    if (final && c->snapshot.err == SL_OK)
        c->snapshot.err = current__write(&c->engine->current, c->snapshot.lsn, true);
    if (c->snapshot.err != SL_OK)
        LOG_WARN("checkpoint.failed", "a checkpoint did not finish and will be repeated",
                 F_ERR(c->snapshot.err));
    loop_post(c->engine->env.loop, final ? &c->finished_last : &c->finished);
}

static struct rescue *next_rescue(struct checkpoint *c)
{
    mutex_lock(c->mutex);
    struct list *node = list_pop_front(&c->rescues);
    mutex_unlock(c->mutex);
    return node ? SL_CONTAINER_OF(node, struct rescue, node) : NULL;
}

static void housekeeping(struct checkpoint *c)
{
    struct local_engine *e = c->engine;
    sl_err err;
    do {
        err = SL_EEND;
        if (space__has(e, e->cfg.journal_file_bytes + e->cfg.reserve_bytes))
            err = journal__grow(e->journal);
    } while (err == SL_OK);
    if (err != SL_EEND && log_rate_limited("journal.grow_failed"))
        LOG_WARN("journal.grow_failed", "no further journal file could be made", F_ERR(err));
    space__tick(e);
    struct list again;
    list_init(&again);
    struct rescue *r;
    while ((r = next_rescue(c))) {
        rescue__run(e, r, e->current.older_lsn);
        if (r->err != SL_OK && r->err != SL_EUNKNOWN_OUTCOME && r->err != SL_ETOPIC &&
            !atomic_load(&e->stopping))
            list_push_back(&again, &r->node); /* at the next tick */
        else
            loop_post(e->env.loop, &r->finished);
    }
    mutex_lock(c->mutex);
    c->retrying = !list_empty(&again);
    list_splice(&c->rescues, &again);
    mutex_unlock(c->mutex);
}

/* True when a checkpoint is due; false after a tick, or for a sweep. */
static bool wait_for_work(struct checkpoint *c, bool *ret_final, bool *ret_sweep)
{
    mutex_lock(c->mutex);
    if (!c->requested && !c->sweep && (list_empty(&c->rescues) || c->retrying))
        (void)cond_wait_for(c->wake, c->mutex, TICK_MS);
    int64_t now_ms = clock_monotonic_ms(c->engine->env.clock);
    bool due = c->requested || now_ms - c->last_ms >= c->engine->cfg.checkpoint_ms;
    if (due) {
        c->requested = false;
        c->last_ms = now_ms;
    }
    *ret_final = c->final;
    *ret_sweep = c->sweep;
    c->sweep = false;
    mutex_unlock(c->mutex);
    return due;
}

static void run(void *arg)
{
    struct checkpoint *c = arg;
    for (bool final = false, sweep; !final;) {
        bool due = wait_for_work(c, &final, &sweep);
        if (sweep)
            file_cache__sweep(c->engine->files);
        if (sweep && !due && !final)
            continue;
        if (!final)
            housekeeping(c);
        if (due || final)
            one_checkpoint(c, final);
    }
}

/* ---- interface --------------------------------------------------------------------------- */

void checkpoint__request(struct checkpoint *c)
{
    mutex_lock(c->mutex);
    if (!c->requested) {
        c->requested = true;
        cond_signal(c->wake);
    }
    mutex_unlock(c->mutex);
}

void checkpoint__finish(struct checkpoint *c, void (*done)(struct local_engine *e, sl_err err))
{
    c->final_done = done;
    mutex_lock(c->mutex);
    c->final = true;
    c->requested = true;
    cond_signal(c->wake);
    mutex_unlock(c->mutex);
}

void checkpoint__submit_rescue(struct checkpoint *c, struct rescue *r)
{
    mutex_lock(c->mutex);
    list_push_back(&c->rescues, &r->node);
    c->retrying = false;
    cond_signal(c->wake);
    mutex_unlock(c->mutex);
}

static void request_from_any(void *arg)
{
    struct local_engine *e = arg;
    checkpoint__request(e->checkpoint);
}

static void sweep_from_any(void *arg)
{
    struct checkpoint *c = ((struct local_engine *)arg)->checkpoint;
    mutex_lock(c->mutex);
    c->sweep = true;
    cond_signal(c->wake);
    mutex_unlock(c->mutex);
}

sl_err checkpoint__start(struct local_engine *e, struct checkpoint **ret)
{
    struct checkpoint *c = sl_new(struct checkpoint);
    c->engine = e;
    c->mutex = mutex_new();
    c->wake = cond_new();
    c->begin.run = on_begin;
    c->finished.run = on_finished;
    c->finished_last.run = on_finished_last;
    c->lsn = e->completed_lsn;
    c->last_ms = clock_monotonic_ms(e->env.clock);
    list_init(&c->rescues);
    list_init(&c->taking);
    journal__on_full(e->journal, request_from_any, e);
    file_cache__on_dirty(e->files, sweep_from_any, e);
    *ret = c; /* the callbacks above may need it as soon as the thread runs */
    sl_err err = thread_start("checkpoint", run, c, &c->thread);
    if (err == SL_OK)
        return SL_OK;
    *ret = NULL;
    mutex_free(c->mutex);
    cond_free(c->wake);
    sl_free(c);
    return err;
}

void checkpoint__stop(struct checkpoint *c)
{
    if (!c)
        return;
    thread_join(c->thread);
    mutex_free(c->mutex);
    cond_free(c->wake);
    sl_free(c);
}
