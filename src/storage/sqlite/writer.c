/* The writer thread: one transaction for all appends that wait (group commit, no timer: the next
 * group forms during the commit), one for each job, in the order of the queue. */
#include "storage/sqlite/files.h"
#include "storage/sqlite/message.h"
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/log.h"

enum { SPACE_CHECK_MS = 500 };

/* ---- rows that the transaction changes ------------------------------------------------------ */

void sqlog__touch(struct sqlog *e, struct sqlog_part *p)
{
    if (p->touched)
        return;
    p->touched = true;
    p->next_touched = e->writer.touched;
    e->writer.touched = p;
}

static sl_err put_partition(struct sqlog_db *db, const struct sqlog_part *p, struct sl_fault *fault)
{
    struct sqlog_out o = sqlog__out(db, ST_PARTITION_PUT);
    sqlog__put_i64(&o, p->topic->row_id);
    sqlog__put_i64(&o, p->id.index);
    sqlog__put_i64(&o, p->row.log_start);
    sqlog__put_i64(&o, p->row.next_offset);
    sqlog__put_i64(&o, p->row.bytes);
    sqlog__put_i64(&o, p->row.last_append_ms);
    sqlog__put_i64(&o, p->row.max_at);
    sqlog__put_crc(&o);
    return sqlog__put_end(&o, db, fault);
}

sl_err sqlog__put_touched(struct sqlog *e, struct sl_fault *fault)
{
    for (struct sqlog_part *p = e->writer.touched; p; p = p->next_touched)
        SL_TRY(put_partition(&e->writer.db, p, fault));
    return SL_OK;
}

void sqlog__forget_touched(struct sqlog *e, bool committed)
{
    for (struct sqlog_part *p = e->writer.touched, *next; p; p = next) {
        next = p->next_touched;
        p->touched = false;
        p->next_touched = NULL;
        if (committed)
            p->kept = p->row;
        else
            p->row = p->kept;
    }
    e->writer.touched = NULL;
}

/* ---- producers: the ring of the last batches, in the transaction of its messages ------------ */

enum { RING_BATCH_BYTES = 16 };

/* Oldest first: base sequence, last sequence, base offset, as stored. */
struct ring {
    uint8_t bytes[PRODUCER_WINDOW * RING_BATCH_BYTES];
    size_t len;
};

static sl_err get_ring(struct sqlog_db *db, const struct sqlog_part *p,
                       const struct batch_info *info, struct ring *ret, struct sl_fault *fault)
{
    struct sqlog_out key = sqlog__out(db, ST_PRODUCER_GET);
    sqlog__put_i64(&key, p->topic->row_id);
    sqlog__put_i64(&key, p->id.index);
    sqlog__put_i64(&key, info->producer_id);
    int rc = key.rc == SQLITE_OK ? sqlite3_step(key.stmt) : key.rc;
    sl_err err = rc == SQLITE_ROW || rc == SQLITE_DONE ? SL_OK : sqlog__error(db->db, rc, fault);
    ret->len = 0;
    if (rc == SQLITE_ROW && sqlite3_column_int64(key.stmt, 3) == info->producer_epoch) {
        struct sqlog_in in = {.stmt = key.stmt, .column = 6};
        struct slice ring = sqlog__get_blob(&in);
        if (ring.len <= sizeof ret->bytes && ring.len % RING_BATCH_BYTES == 0) {
            memcpy(ret->bytes, ring.data, ring.len);
            ret->len = ring.len;
        }
    }
    (void)sqlite3_reset(key.stmt); /* the step has said it */
    return err;
}

static void ring_push(struct ring *r, const struct batch_info *info)
{
    if (r->len == sizeof r->bytes) {
        memmove(r->bytes, r->bytes + RING_BATCH_BYTES, r->len - RING_BATCH_BYTES);
        r->len -= RING_BATCH_BYTES;
    }
    uint8_t *at = r->bytes + r->len;
    int32_t last = plan__sequence_add(info->base_sequence, info->last_offset_delta);
    put_be32(at, (uint32_t)info->base_sequence);
    put_be32(at + 4, (uint32_t)last);
    put_be64(at + 8, (uint64_t)info->base_offset);
    r->len += RING_BATCH_BYTES;
}

static sl_err put_producer(struct sqlog_db *db, const struct sqlog_part *p,
                           const struct batch_info *info, int64_t append_ms, struct sl_fault *fault)
{
    struct ring ring;
    SL_TRY(get_ring(db, p, info, &ring, fault));
    ring_push(&ring, info);
    struct sqlog_out o = sqlog__out(db, ST_PRODUCER_PUT);
    sqlog__put_i64(&o, p->topic->row_id);
    sqlog__put_i64(&o, p->id.index);
    sqlog__put_i64(&o, info->producer_id);
    sqlog__put_i64(&o, info->producer_epoch);
    sqlog__put_i64(&o, plan__sequence_add(info->base_sequence, info->last_offset_delta));
    sqlog__put_i64(&o, append_ms);
    sqlog__put_blob(&o, slice_of(ring.bytes, ring.len));
    sqlog__put_crc(&o);
    return sqlog__put_end(&o, db, fault);
}

/* ---- one append --------------------------------------------------------------------------- */

static void fail(struct sqlog_pending *p, sl_err err)
{
    p->err = err;
    if (!p->placed)
        return;
    p->part->bad_gen = p->gen; /* what was planned behind it fails, too */
    p->part->bad_err = err;
}

/* Before the transaction: one bad batch must not take its neighbours along. */
static void check(struct sqlog *e, struct sqlog_pending *p)
{
    if (p->err == SL_OK && p->part->bad_gen == p->gen)
        p->err = p->part->bad_err;
    for (uint32_t i = 0; p->err == SL_OK && p->placed && i < p->n_batches; i++) {
        sl_err err = message__check(p->batches[i].bytes, &e->writer.scratch);
        if (err != SL_OK)
            fail(p, err);
    }
}

static sl_err insert(struct sqlog *e, struct sqlog_pending *p, struct sl_fault *fault)
{
    struct sqlog_part *part = p->part;
    SL_ASSERT(part->row.next_offset == p->base_offset);
    sqlog__touch(e, part);
    struct message_sums sums = {.max_at = part->row.max_at};
    e->writer.unchecked_bytes += p->bytes;
    for (uint32_t i = 0; i < p->n_batches; i++) {
        const struct batch_info *info = &p->batches[i].info;
        const struct message_place place = {.topic_row = part->topic->row_id,
                                            .topic_number = part->topic->number,
                                            .partition = part->id.index,
                                            .base_offset = info->base_offset,
                                            .append_ms = p->append_ms,
                                            .append_time = p->append_time};
        SL_TRY(message__insert(&e->writer.db, p->batches[i].bytes, &e->writer.scratch, &place,
                               &sums, fault));
        if (info->producer_id >= 0)
            SL_TRY(put_producer(&e->writer.db, part, info, p->append_ms, fault));
    }
    p->row_bytes = sums.bytes;
    part->row.max_at = sums.max_at;
    part->row.next_offset = p->next_offset;
    part->row.bytes += p->row_bytes;
    part->row.last_append_ms = p->append_ms;
    return SL_OK;
}

/* ---- transactions -------------------------------------------------------------------------- */

/* The reserve of the disk is for the metadata, and to get out of a full disk. */
static bool has_space(struct sqlog *e)
{
    struct sqlog_writer *w = &e->writer;
    struct vfs_space space = {-1, -1};
    int64_t now_ms = clock_monotonic_ms(e->env.clock);
    if (now_ms - w->space_checked_ms < SPACE_CHECK_MS && w->unchecked_bytes < e->cfg.reserve_bytes)
        return !atomic_load(&w->full);
    w->space_checked_ms = now_ms;
    w->unchecked_bytes = 0;
    sl_err err = vfs_space(e->env.vfs, e->dir, &space);
    bool full =
        err == SL_OK && space.free_bytes >= 0 && (uint64_t)space.free_bytes < e->cfg.reserve_bytes;
    atomic_store(&w->full, full);
    return !full;
}

static sl_err begin(struct sqlog *e, struct sl_fault *fault)
{
    struct sqlog_writer *w = &e->writer;
    if (w->broken)
        return sl_fault_set(fault, SL_EUNKNOWN_OUTCOME,
                            "an earlier commit of sluice.db has an unknown outcome: restart");
    if (!e->opened)
        SL_TRY(sqlog__open_db(e, fault));
    return sqlog__run(&w->db, ST_BEGIN, fault);
}

/* Commits, or undoes everything. */
static sl_err end(struct sqlog *e, sl_err err, struct sl_fault *fault)
{
    struct sqlog_writer *w = &e->writer;
    if (err == SL_OK)
        err = sqlog__put_touched(e, fault);
    if (err == SL_OK)
        err = sqlog__run(&w->db, ST_COMMIT, fault);
    if (err != SL_OK && e->opened && sqlite3_get_autocommit(w->db.db) == 0)
        (void)sqlog__run(&w->db, ST_ROLLBACK, NULL); /* what it cannot undo, BEGIN reports */
    sqlog__forget_touched(e, err == SL_OK);
    if (err == SL_ENOSPC)
        atomic_store(&w->full, true); /* until somebody looks and finds some */
    if (err == SL_EUNKNOWN_OUTCOME || sqlog__files_broken(e->files))
        w->broken = true;
    return err;
}

static sl_err append_error(sl_err err)
{
    switch (err) {
    case SL_ENOSPC:
    case SL_ELIMIT:
    case SL_ENOMEM:
    case SL_EUNKNOWN_OUTCOME:
        return err;
    default:
        return SL_EIO;
    }
}

static sl_err write_group(struct sqlog *e, struct sqlog_group *g, struct sl_fault *fault)
{
    if (!has_space(e))
        return sl_fault_set(fault, SL_ENOSPC, "less than the reserve of the disk is free");
    sl_err err = begin(e, fault);
    LIST_FOREACH (node, &g->pendings) {
        struct sqlog_pending *p = SL_CONTAINER_OF(node, struct sqlog_pending, item.node);
        if (err == SL_OK && p->err == SL_OK && p->placed)
            err = insert(e, p, fault);
    }
    return end(e, err, fault);
}

static void report(const struct sl_fault *fault, sl_err err)
{
    if (err != SL_OK && !log_rate_limited("sqlite.append_failed"))
        LOG_ERROR("sqlite.append_failed", "records were not written to sluice.db", F_ERR(err),
                  F_STR("what", fault->what));
}

static bool writes_anything(const struct sqlog_group *g)
{
    LIST_FOREACH (node, &g->pendings) {
        const struct sqlog_pending *p = SL_CONTAINER_OF(node, struct sqlog_pending, item.node);
        if (p->err == SL_OK && p->placed)
            return true;
    }
    return false;
}

static void commit_group(struct sqlog *e, struct sqlog_group *g)
{
    struct sl_fault fault = {0};
    LIST_FOREACH (node, &g->pendings)
        check(e, SL_CONTAINER_OF(node, struct sqlog_pending, item.node));
    sl_err err = writes_anything(g) ? write_group(e, g, &fault) : SL_OK;
    report(&fault, err);
    LIST_FOREACH (failed, &g->pendings) {
        struct sqlog_pending *p = SL_CONTAINER_OF(failed, struct sqlog_pending, item.node);
        if (err != SL_OK && p->err == SL_OK)
            fail(p, append_error(err));
    }
    g->fatal = e->writer.broken;
    g->task.run = sqlog__group_done;
    loop_post(e->env.loop, &g->task);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static void job_done(struct task *t)
{
    struct sqlog_job *j = SL_CONTAINER_OF(t, struct sqlog_job, task);
    struct sqlog *e = j->engine;
    bool fatal = j->err == SL_EUNKNOWN_OUTCOME;
    e->jobs_pending--;
    j->done(j);
    if (fatal)
        sqlog__die(e, "sluice.db could not be written or synced");
    sqlog__idle_check(e);
}

static void run_job(struct sqlog *e, struct sqlog_job *j)
{
    j->err = begin(e, &j->fault);
    if (j->err == SL_OK)
        j->err = end(e, j->run(j, &e->writer.db), &j->fault);
    j->task.run = job_done;
    loop_post(e->env.loop, &j->task);
}

struct sqlog_job *sqlog__job_new(struct sqlog *e, struct sqlog_part *part,
                                 sl_err (*run)(struct sqlog_job *j, struct sqlog_db *db),
                                 void (*done)(struct sqlog_job *j))
{
    struct sqlog_job *j = sl_new(struct sqlog_job);
    j->engine = e;
    j->part = part ? sqlog__part_ref(part) : NULL;
    j->run = run;
    j->done = done;
    return j;
}

void sqlog__job_free(struct sqlog_job *j)
{
    sqlog__part_unref(j->part);
    sl_free(j);
}

/* ---- the queue ----------------------------------------------------------------------------- */

static void wake(struct sqlog_writer *w)
{
    mutex_unlock(w->lock);
    cond_signal(w->changed);
}

void sqlog__submit_appends(struct sqlog *e, struct list *pendings)
{
    mutex_lock(e->writer.lock);
    SL_ASSERT(!e->writer.stopping);
    list_splice(&e->writer.queue, pendings);
    wake(&e->writer);
}

void sqlog__submit_job(struct sqlog *e, struct sqlog_job *j)
{
    SL_ASSERT(loop_is_current(e->env.loop));
    SL_ASSERT(e->writer.thread);
    e->jobs_pending++;
    mutex_lock(e->writer.lock);
    SL_ASSERT(!e->writer.stopping);
    list_push_back(&e->writer.queue, &j->item.node);
    wake(&e->writer);
}

static struct sqlog_item *first_of(struct list *queue)
{
    return list_empty(queue) ? NULL : SL_CONTAINER_OF(queue->next, struct sqlog_item, node);
}

/* Appends in front of the queue: up to the bytes of a group, at least one. With the lock. */
static void take_group(struct sqlog *e, struct sqlog_group *g)
{
    size_t bytes = 0;
    struct sqlog_item *item;
    for (int n = 0; n < GROUP_APPENDS_MAX && bytes < e->cfg.group_bytes_max; n++) {
        item = first_of(&e->writer.queue);
        if (!item || !item->is_append)
            return;
        list_remove(&item->node);
        list_push_back(&g->pendings, &item->node);
        bytes += SL_CONTAINER_OF(item, struct sqlog_pending, item)->bytes;
    }
}

static void run_thread(void *arg)
{
    struct sqlog *e = arg;
    struct sqlog_writer *w = &e->writer;
    struct sqlog_item *item;
    for (;;) {
        mutex_lock(w->lock);
        while (!(item = first_of(&w->queue)) && !w->stopping)
            cond_wait(w->changed, w->lock);
        struct sqlog_group *g = NULL;
        if (item && item->is_append) {
            g = sl_new(struct sqlog_group);
            g->engine = e;
            list_init(&g->pendings);
            take_group(e, g);
        } else if (item) {
            list_remove(&item->node);
        }
        mutex_unlock(w->lock);
        if (!item)
            return;
        if (g)
            commit_group(e, g);
        else
            run_job(e, SL_CONTAINER_OF(item, struct sqlog_job, item));
    }
}

sl_err sqlog__writer_start(struct sqlog *e)
{
    return thread_start("sluice-writer", run_thread, e, &e->writer.thread);
}

void sqlog__writer_stop(struct sqlog *e)
{
    if (!e->writer.thread)
        return;
    mutex_lock(e->writer.lock);
    SL_ASSERT(list_empty(&e->writer.queue));
    e->writer.stopping = true;
    wake(&e->writer);
    thread_join(SL_TAKE(e->writer.thread));
}
