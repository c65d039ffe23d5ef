/* The log-writer thread: drains everything that is queued, writes it, completes it with one sync.
 *
 * Segments are written first, the journal after: an append whose segment write failed is cut off
 * again, does not enter the journal, and fails. There is no timer: the next group forms while this
 * one is being synced. */
#include "storage/local_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum { IOV_PER_CALL = 1024, WRITEBACK_BYTES = 8 << 20 };

/* A segment that a direct group synced: told to the journal with the next one. */
struct synced_note {
    uint64_t pid, base, length, next_offset;
};

struct writer {
    struct local_engine *engine;
    struct thread *thread;
    struct mutex *mutex;
    struct cond *work, *answered;
    /* under the lock */
    struct list queue;
    bool stopping;
    bool journal_asked;
    uint64_t journal_lsn;
    sl_err journal_err;
    /* the thread's own */
    uint64_t group_id;
    struct segment **touched;
    size_t n_touched, touched_cap;
    struct iovec *iov;
    size_t n_iov, iov_cap;
    struct journal_group records;
    struct synced_note notes[DIRECT_SEGMENTS_MAX + 1];
    size_t n_notes;
    uint64_t direct_unsynced;
    bool journal_lost;
};

/* ---- gathering --------------------------------------------------------------------------- */

static void touch(struct writer *w, struct segment *s)
{
    if (w->n_touched == w->touched_cap) {
        w->touched_cap = SL_MAX(w->touched_cap * 2, (size_t)64);
        w->touched = sl_realloc(w->touched, w->touched_cap, sizeof(struct segment *));
    }
    w->touched[w->n_touched++] = s;
    s->group = w->group_id;
    s->group_err = SL_OK;
    s->group_first = NULL;
    s->group_last = &s->group_first;
}

/* What is already known to fail keeps its place in the order and writes nothing. */
static void gather(struct writer *w, struct group *g)
{
    w->n_touched = 0;
    w->group_id++;
    LIST_FOREACH (node, &g->pendings) {
        struct pending *p = SL_CONTAINER_OF(node, struct pending, node);
        if (p->err == SL_OK && p->gen == p->part->bad_gen)
            p->err = p->part->bad_err;
        if (p->err == SL_OK && atomic_load_explicit(&p->part->dropped, memory_order_relaxed)) {
            p->err = p->part->bad_err = SL_ETOPIC; /* and all planned with it, if the drop fails */
            p->part->bad_gen = p->gen;
        }
        g->has_early |= p->durability != LOG_DURABLE;
        if (p->err != SL_OK || !p->segment)
            continue;
        struct segment *s = p->segment;
        if (s->group != w->group_id)
            touch(w, s);
        p->next_in_segment = NULL;
        *s->group_last = p;
        s->group_last = &p->next_in_segment;
        g->bytes += p->bytes;
    }
}

/* ---- segments ---------------------------------------------------------------------------- */

static sl_err create_file(struct local_engine *e, struct segment *s, bool sync)
{
    char path[PATH_BYTES];
    segment__path(s, ".log", path);
    struct vfs_file *f = NULL;
    SL_TRY(file_cache__pin(e->files, &s->file, path, VFS_WRITE | VFS_CREATE, &f));
    /* An append that failed may have left one; nothing in it was ever acknowledged. */
    sl_err err = vfs_truncate(f, 0);
    if (err == SL_OK && sync)
        err = vfs_datasync(f);
    file_cache__unpin(e->files, &s->file);
    return err;
}

/* A roll: old segment synced, new file created, file and directory synced, before any byte or
 * journal record of the new one. The first segment of a partition has nothing before it: replay
 * makes its file anew, so its directory waits for the direct sync or the checkpoint, or a thousand
 * new partitions would cost two thousand syncs. */
static sl_err create_segment(struct local_engine *e, struct segment *s)
{
    bool is_roll = s->after != NULL;
    if (is_roll) {
        /* Its name, too: the new file must not be found without the old one. */
        SL_TRY(segment__sync_name(s->after));
        SL_TRY(file_cache__sync(e->files, &s->after->file));
        segment__unref(SL_TAKE(s->after));
    }
    SL_TRY(create_file(e, s, is_roll));
    atomic_store(&s->name_unsynced, true);
    if (is_roll)
        SL_TRY(segment__sync_name(s));
    s->created = true;
    return SL_OK;
}

static void push_iov(struct writer *w, const uint8_t *data, size_t len)
{
    if (w->n_iov == w->iov_cap) {
        w->iov_cap = SL_MAX(w->iov_cap * 2, (size_t)IOV_PER_CALL);
        w->iov = sl_realloc(w->iov, w->iov_cap, sizeof w->iov[0]);
    }
    w->iov[w->n_iov++] = (struct iovec){.iov_base = (void *)data, .iov_len = len};
}

static sl_err write_vectors(struct writer *w, struct vfs_file *f, uint64_t pos)
{
    for (size_t i = 0; i < w->n_iov;) {
        size_t n = SL_MIN(w->n_iov - i, (size_t)IOV_PER_CALL);
        uint64_t bytes = 0;
        for (size_t k = i; k < i + n; k++)
            bytes += w->iov[k].iov_len;
        SL_TRY(vfs_pwritev(f, w->iov + i, n, (int64_t)pos));
        pos += bytes;
        i += n;
    }
    return SL_OK;
}

/* Spreads what a checkpoint or a roll would otherwise have to wait for at once. */
static void start_writeback(struct segment *s, struct vfs_file *f)
{
    if (s->group_end - s->writeback_pos < WRITEBACK_BYTES)
        return;
    vfs_advise_writeback(f, (int64_t)s->writeback_pos, (int64_t)(s->group_end - s->writeback_pos));
    s->writeback_pos = s->group_end;
}

/* One call for everything this group has for the segment, straight from the slices. */
static sl_err write_file(struct writer *w, struct segment *s, struct vfs_file *f)
{
    s->group_pos = s->group_end = s->group_first->pos;
    w->n_iov = 0;
    for (struct pending *p = s->group_first; p; p = p->next_in_segment) {
        SL_ASSERT(p->pos == s->group_end);
        for (uint32_t i = 0; i < p->n_batches; i++)
            push_iov(w, p->batches[i].bytes.data, p->batches[i].bytes.len);
        s->group_end += p->bytes;
        s->group_next = p->next_offset;
    }
    sl_err err = write_vectors(w, f, s->group_pos);
    if (err == SL_OK) {
        file_cache__wrote(w->engine->files, &s->file, s->group_end, s->group_next);
        start_writeback(s, f);
        return SL_OK;
    }
    if (vfs_truncate(f, (int64_t)s->group_pos) != SL_OK)
        file_cache__fence(w->engine->files, &s->file);
    return err;
}

static sl_err write_segment(struct writer *w, struct segment *s)
{
    struct local_engine *e = w->engine;
    if (s->part->failed_group == w->group_id)
        return s->part->bad_err; /* an earlier segment of this partition failed just now */
    if (!s->created)
        SL_TRY(create_segment(e, s));
    if (file_cache__fenced(e->files, &s->file))
        return SL_EIO;
    char path[PATH_BYTES];
    segment__path(s, ".log", path);
    struct vfs_file *f = NULL;
    SL_TRY(file_cache__pin(e->files, &s->file, path, VFS_WRITE, &f));
    sl_err err = write_file(w, s, f);
    file_cache__unpin(e->files, &s->file);
    return err;
}

static void fail_segment(struct writer *w, struct segment *s, sl_err err)
{
    s->group_err = err;
    s->part->failed_group = w->group_id;
    s->part->bad_err = err;
}

static size_t write_segments(struct writer *w)
{
    size_t n_ok = 0;
    for (size_t i = 0; i < w->n_touched; i++) {
        sl_err err = write_segment(w, w->touched[i]);
        if (err != SL_OK)
            fail_segment(w, w->touched[i], err == SL_ENOSPC ? SL_ENOSPC : SL_EIO);
        else
            n_ok++;
    }
    return n_ok;
}

/* ---- journal path ------------------------------------------------------------------------ */

static void add_record(struct writer *w, const struct segment *s)
{
    const struct journal_record r = {
        .pid = s->part->id.pid,
        .seg_base = (uint64_t)s->base_offset,
        .seg_pos = s->group_pos,
        .base_offset = (uint64_t)s->group_first->base_offset,
        .type = JOURNAL_DATA,
        .len = (uint32_t)(s->group_end - s->group_pos),
    };
    journal_group__add(&w->records, &r);
    for (const struct pending *p = s->group_first; p; p = p->next_in_segment)
        for (uint32_t i = 0; i < p->n_batches; i++)
            journal_group__payload(&w->records, p->batches[i].bytes.data, p->batches[i].bytes.len);
}

static void build_records(struct writer *w)
{
    journal_group__reset(&w->records);
    for (size_t i = 0; i < w->n_touched; i++)
        if (w->touched[i]->group_err == SL_OK)
            add_record(w, w->touched[i]);
}

static bool wants_direct(const struct writer *w, const struct group *g, size_t n_ok)
{
    return n_ok <= DIRECT_SEGMENTS_MAX && g->bytes >= DIRECT_BYTES_MIN &&
           g->bytes / n_ok >= DIRECT_SEGMENT_BYTES_MIN;
}

/* ---- direct path ------------------------------------------------------------------------- */

/* What the direct group before this one synced; an empty header covers it when it is the last. */
static sl_err append_notes(struct writer *w)
{
    journal_group__reset(&w->records);
    for (size_t i = 0; i < w->n_notes; i++) {
        const struct synced_note *n = &w->notes[i];
        const struct journal_record r = {.pid = n->pid,
                                         .seg_base = n->base,
                                         .seg_pos = n->length,
                                         .base_offset = n->next_offset,
                                         .type = JOURNAL_SYNCED};
        journal_group__add(&w->records, &r);
    }
    w->n_notes = 0;
    return journal__append(w->engine->journal, &w->records);
}

static void note_synced(struct writer *w, const struct segment *s)
{
    if (w->n_notes == SL_ARRAY_LEN(w->notes))
        return; /* only hints: recovery accepts what validates without them */
    w->notes[w->n_notes++] = (struct synced_note){
        .pid = s->part->id.pid,
        .base = (uint64_t)s->base_offset,
        .length = s->group_end,
        .next_offset = (uint64_t)s->group_next,
    };
}

/* Write-back of all is started first: their blocks are allocated together, and the syncs find most
 * of the work done. */
static void sync_segments(struct writer *w)
{
    for (size_t i = 0; w->n_touched > 1 && i < w->n_touched; i++)
        file_cache__start_writeback(w->engine->files, &w->touched[i]->file);
    for (size_t i = 0; i < w->n_touched; i++) {
        struct segment *s = w->touched[i];
        if (s->group_err != SL_OK)
            continue;
        if (segment__sync_name(s) != SL_OK ||
            file_cache__sync_group(w->engine->files, &s->file) != SL_OK)
            fail_segment(w, s, SL_EUNKNOWN_OUTCOME);
        else
            note_synced(w, s);
    }
}

/* ---- one group --------------------------------------------------------------------------- */

static void post_written(struct writer *w, struct group *g)
{
    if (!g->has_early)
        return;
    LIST_FOREACH (node, &g->pendings) {
        struct pending *p = SL_CONTAINER_OF(node, struct pending, node);
        p->written_err = p->err != SL_OK ? p->err : p->segment ? p->segment->group_err : SL_OK;
    }
    loop_post(w->engine->env.loop, &g->written);
}

/* In order: from the first failure of a partition on, everything planned with it fails too. */
static void settle(struct writer *w, struct group *g)
{
    LIST_FOREACH (node, &g->pendings) {
        struct pending *p = SL_CONTAINER_OF(node, struct pending, node);
        struct log_part *part = p->part;
        if (g->fatal && p->err == SL_OK)
            p->err = SL_EUNKNOWN_OUTCOME;
        if (p->err == SL_OK && p->gen == part->bad_gen)
            p->err = part->bad_err;
        if (p->err != SL_OK || !p->segment || p->segment->group_err == SL_OK)
            continue;
        p->err = p->segment->group_err;
        part->bad_gen = p->gen;
        part->bad_err = p->err;
    }
    /* Without a journal everything was refused, and there is no position to ask for. */
    if (!atomic_load(&w->engine->needs_journal))
        g->end_lsn = journal__end_lsn(w->engine->journal);
    loop_post(w->engine->env.loop, &g->done);
}

static sl_err timed_sync(struct writer *w)
{
    struct local_engine *e = w->engine;
    int64_t start = clock_monotonic_ns(e->env.clock);
    sl_err err = journal__sync(e->journal);
    atomic_fetch_add(&e->sync_ns, (uint64_t)(clock_monotonic_ns(e->env.clock) - start));
    atomic_fetch_add(&e->syncs, 1);
    w->direct_unsynced = 0;
    return err;
}

static sl_err commit_journal(struct writer *w, struct group *g)
{
    SL_TRY(journal__append(w->engine->journal, &w->records));
    post_written(w, g);
    return timed_sync(w);
}

static sl_err commit_direct(struct writer *w, struct group *g)
{
    struct local_engine *e = w->engine;
    SL_TRY(append_notes(w));
    post_written(w, g);
    int64_t start = clock_monotonic_ns(e->env.clock);
    sync_segments(w);
    atomic_fetch_add(&e->sync_ns, (uint64_t)(clock_monotonic_ns(e->env.clock) - start));
    atomic_fetch_add(&e->syncs, w->n_touched);
    g->direct_bytes = g->bytes;
    w->direct_unsynced += g->bytes;
    return w->direct_unsynced >= DIRECT_UNSYNCED_MAX ? timed_sync(w) : SL_OK;
}

static void commit(struct writer *w, struct group *g)
{
    gather(w, g);
    size_t n_ok = write_segments(w);
    sl_err err = SL_OK;
    if (w->journal_lost) {
        err = SL_EIO;
    } else if (n_ok > 0) {
        build_records(w);
        bool direct = wants_direct(w, g, n_ok) || !journal__fits(w->engine->journal, &w->records);
        err = direct ? commit_direct(w, g) : commit_journal(w, g);
    } else {
        post_written(w, g);
    }
    if (err != SL_OK)
        g->fatal = w->journal_lost = true;
    space__check(w->engine, g->bytes);
    settle(w, g); /* the group belongs to the core loop from here on */
}

/* ---- the thread -------------------------------------------------------------------------- */

/* The last direct group is covered by an empty header when nothing follows it. */
static void sync_idle(struct writer *w)
{
    sl_err err = w->n_notes > 0 ? append_notes(w) : SL_OK;
    if (err == SL_OK)
        err = timed_sync(w);
    if (err != SL_OK)
        w->journal_lost = true; /* nobody waits for it: the next group reports it */
}

static bool has_idle_work(const struct writer *w)
{
    return !w->journal_lost && (w->n_notes > 0 || journal__has_unsynced(w->engine->journal));
}

/* Takes what is queued, up to group_bytes_max; NULL: nothing came within the idle time. */
static struct group *take_group(struct writer *w)
{
    if (list_empty(&w->queue))
        return NULL;
    struct group *g = sl_new(struct group);
    g->engine = w->engine;
    g->written.run = append__written;
    g->done.run = append__done;
    list_init(&g->pendings);
    size_t bytes = 0;
    while (!list_empty(&w->queue)) {
        struct pending *p = SL_CONTAINER_OF(w->queue.next, struct pending, node);
        if (bytes > 0 && bytes + p->bytes > w->engine->cfg.group_bytes_max)
            break;
        bytes += p->bytes;
        list_remove(&p->node);
        list_push_back(&g->pendings, &p->node);
    }
    return g;
}

/* Called and left with the lock held. While there is no journal everything is refused, so nothing
 * else waits for this thread. */
static void start_journal(struct writer *w)
{
    struct local_engine *e = w->engine;
    uint64_t lsn = 0;
    mutex_unlock(w->mutex);
    sl_err err = journal__start(e->journal, e->replayed_lsn, &lsn);
    mutex_lock(w->mutex);
    w->journal_err = err;
    w->journal_lsn = lsn;
    w->journal_asked = false;
    cond_broadcast(w->answered);
}

static struct group *next_group(struct writer *w, bool *ret_idle)
{
    *ret_idle = false;
    mutex_lock(w->mutex);
    while (list_empty(&w->queue) && !w->stopping && !*ret_idle) {
        if (w->journal_asked)
            start_journal(w);
        else if (has_idle_work(w))
            *ret_idle = !cond_wait_for(w->work, w->mutex, JOURNAL_IDLE_MS);
        else
            cond_wait(w->work, w->mutex);
    }
    struct group *g = take_group(w);
    mutex_unlock(w->mutex);
    return g;
}

static void run(void *arg)
{
    struct writer *w = arg;
    for (;;) {
        bool idle;
        struct group *g = next_group(w, &idle);
        if (g)
            commit(w, g);
        else if (idle)
            sync_idle(w);
        else
            break; /* stopping, and nothing is queued */
    }
    if (has_idle_work(w))
        sync_idle(w);
}

void writer__submit(struct writer *w, struct list *pendings)
{
    if (list_empty(pendings))
        return;
    mutex_lock(w->mutex);
    list_splice(&w->queue, pendings);
    mutex_unlock(w->mutex);
    cond_signal(w->work); /* behind the lock, or the thread would wake up only to wait for it */
}

sl_err writer__start_journal(struct writer *w, uint64_t *ret_lsn)
{
    mutex_lock(w->mutex);
    w->journal_asked = true;
    cond_signal(w->work);
    while (w->journal_asked)
        cond_wait(w->answered, w->mutex);
    sl_err err = w->journal_err;
    if (err == SL_OK)
        *ret_lsn = w->journal_lsn;
    mutex_unlock(w->mutex);
    return err;
}

sl_err writer__start(struct local_engine *e, struct writer **ret)
{
    struct writer *w = sl_new(struct writer);
    w->engine = e;
    w->mutex = mutex_new();
    w->work = cond_new();
    w->answered = cond_new();
    list_init(&w->queue);
    sl_err err = thread_start("log-writer", run, w, &w->thread);
    if (err != SL_OK) {
        mutex_free(w->mutex);
        cond_free(w->work);
        cond_free(w->answered);
        sl_free(w);
        return err;
    }
    *ret = w;
    return SL_OK;
}

void writer__stop(struct writer *w)
{
    if (!w)
        return;
    mutex_lock(w->mutex);
    w->stopping = true;
    cond_signal(w->work);
    mutex_unlock(w->mutex);
    thread_join(w->thread);
    journal_group__fini(&w->records);
    mutex_free(w->mutex);
    cond_free(w->work);
    cond_free(w->answered);
    sl_free(w->touched);
    sl_free(w->iov);
    sl_free(w);
}
