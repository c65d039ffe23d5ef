/* A fenced segment: its acknowledged bytes above the last sync are safe only in the journal. They
 * are copied from there, never from the page cache, into a new segment; one transaction then names
 * both, and only after that may CURRENT pass the journal's records. */
#include "base/alloc.h"
#include "base/log.h"
#include "storage/checkpoint_int.h"
#include "storage/fence_int.h"

/* ---- core loop: begin -------------------------------------------------------------------- */

void checkpoint__rescue(struct checkpoint *c, struct segment *s)
{
    struct log_part *p = s->part;
    if (s->state == SEGMENT_FENCED || p->to_rescue || atomic_load(&p->gone))
        return;
    LOG_ERROR("segment.fenced", "a file could not be written or synced: it is not used any more",
              F_I64("pid", p->id.pid), F_I64("base_offset", s->base_offset));
    atomic_fetch_add(&p->engine->fenced_files, 1);
    s->state = SEGMENT_FENCED;
    s->sealed_mono_ms = loop_now_ms(p->engine->env.loop);
    p->read_only = true;
    p->engine->unrescued++;
    p->to_rescue = segment__ref(s);
    p->engine->rescues_waiting++;
    if (p->inflight == 0)
        checkpoint__start_rescue(c, p);
    else
        checkpoint__request(c); /* the journal may be full of what is in flight */
}

/* The old segment ends where its last sync ended; what is above belongs to the new one. */
void checkpoint__start_rescue(struct checkpoint *c, struct log_part *p)
{
    struct rescue *r = sl_new(struct rescue);
    struct segment *s = SL_TAKE(p->to_rescue);
    p->engine->rescues_waiting--;
    uint64_t bytes = 0;
    r->engine = p->engine;
    r->segment = s;
    r->finished.run = rescue__finished;
    file_cache__synced(p->engine->files, &s->file, &bytes, &r->from);
    r->to = s->next_offset;
    r->from = SL_MIN(r->from, r->to);
    s->bytes = s->plan_bytes = SL_MIN(s->bytes, bytes);
    s->next_offset = s->plan_next = r->from;
    s->row_dirty = true;
    r->fresh = segment__new(p, r->from);
    r->fresh->last_append_ms = r->fresh->first_append_ms = s->last_append_ms;
    r->fresh->max_timestamp_ms = s->max_timestamp_ms;
    snapshot__add(&r->rows, p);
    p->engine->jobs_pending++;
    checkpoint__submit_rescue(c, r);
}

/* ---- checkpoint thread ------------------------------------------------------------------- */

struct copy {
    struct rescue *r;
    struct vfs_file *file;
    int64_t next;
    uint64_t bytes;
};

/* Whole batches of the range, in order, each once. */
static sl_err copy_record(void *arg, const struct journal_record *rec, const uint8_t *payload)
{
    struct copy *c = arg;
    if (rec->type != JOURNAL_DATA || rec->pid != c->r->segment->part->id.pid)
        return SL_OK;
    for (size_t pos = 0; pos < rec->len;) {
        struct batch_info info;
        if (batch_peek(slice_of(payload + pos, rec->len - pos), &info) != SL_OK)
            return SL_OK;
        if (info.base_offset == c->next && c->next < c->r->to) {
            SL_TRY(vfs_pwrite(c->file, payload + pos, info.bytes, (int64_t)c->bytes));
            c->bytes += info.bytes;
            c->next = batch_last_offset(&info) + 1;
        }
        pos += info.bytes;
    }
    return SL_OK;
}

/* Nothing of the old file was ever synced: its name goes to the new one, its bytes are kept. */
static sl_err set_old_aside(struct local_engine *e, struct segment *old)
{
    char path[PATH_BYTES], aside[PATH_BYTES];
    segment__path(old, ".log", path);
    segment__path(old, ".fenced", aside);
    return vfs_rename(e->env.vfs, path, aside);
}

static sl_err fill_fresh(struct local_engine *e, struct rescue *r, uint64_t from_lsn)
{
    char path[PATH_BYTES], dir[PATH_BYTES];
    segment__path(r->fresh, ".log", path);
    struct copy c = {.r = r, .next = r->from};
    const struct journal_visitor visitor = {.arg = &c, .record = copy_record};
    struct journal_replay result;
    if (r->tries++ > 0) { /* only copies were in it, and a failed sync is not tried again */
        file_cache__renew(e->files, &r->fresh->file, r->from);
        sl_err gone = vfs_unlink(e->env.vfs, path);
        if (gone != SL_OK && gone != SL_ENOTFOUND)
            return gone;
    }
    SL_TRY(file_cache__pin(e->files, &r->fresh->file, path, VFS_WRITE | VFS_CREATE, &c.file));
    sl_err err = vfs_truncate(c.file, 0);
    if (err == SL_OK)
        err = journal__replay(e->journal, from_lsn, &visitor, &result);
    if (err == SL_OK && c.next != r->to)
        err = SL_ECORRUPT;
    if (err == SL_OK)
        file_cache__wrote(e->files, &r->fresh->file, c.bytes, r->to);
    file_cache__unpin(e->files, &r->fresh->file);
    if (err == SL_OK)
        err = file_cache__sync(e->files, &r->fresh->file);
    SL_TRY(err);
    r->fresh_bytes = c.bytes;
    const struct log_part_id *id = &r->fresh->part->id;
    paths__part_dir(dir, e->data_dir, &id->topic_id, id->index);
    return vfs_sync_dir(e->env.vfs, dir);
}

static struct meta_segment row_of_old(const struct rescue *r)
{
    const struct segment *old = r->segment;
    return (struct meta_segment){.pid = old->part->id.pid,
                                 .base_offset = old->base_offset,
                                 .synced_bytes = (int64_t)old->bytes,
                                 .last_append_ms = old->last_append_ms,
                                 .max_timestamp_ms = old->max_timestamp_ms,
                                 .next_offset = r->from,
                                 .state = SEGMENT_FENCED};
}

static struct meta_segment row_of_fresh(const struct rescue *r)
{
    const struct segment *fresh = r->fresh;
    return (struct meta_segment){.pid = fresh->part->id.pid,
                                 .base_offset = r->from,
                                 .synced_bytes = (int64_t)r->fresh_bytes,
                                 .last_append_ms = fresh->last_append_ms,
                                 .max_timestamp_ms = fresh->max_timestamp_ms,
                                 .next_offset = r->to,
                                 .state = SEGMENT_ACTIVE};
}

/* One transaction. The partition's row now claims everything below `to`: so its other segments
 * that no checkpoint has saved yet come along. */
static sl_err commit(struct local_engine *e, struct rescue *r)
{
    struct meta_op *ops = sl_new_array(struct meta_op, r->rows.n_segments + 3);
    size_t n = 0;
    sl_err err = SL_OK;
    ops[n] = (struct meta_op){.kind = META_LOG_STATE_PUT, .log_state = r->rows.parts[0].row};
    ops[n++].log_state.next_offset = r->to;
    for (size_t i = 0; err == SL_OK && i < r->rows.n_segments; i++) {
        const struct snap_segment *ss = &r->rows.segments[i];
        if (ss->segment == r->segment)
            continue;
        err = snapshot__sync_segment(e, ss);
        ops[n++] = (struct meta_op){.kind = META_SEGMENT_PUT, .segment = ss->row};
    }
    if (r->fresh->base_offset != r->segment->base_offset)
        ops[n++] = (struct meta_op){.kind = META_SEGMENT_PUT, .segment = row_of_old(r)};
    ops[n++] = (struct meta_op){.kind = META_SEGMENT_PUT, .segment = row_of_fresh(r)};
    struct meta_txn txn = {.ops = ops, .n_ops = n};
    mutex_lock(e->rows_lock);
    if (err == SL_OK)
        err = atomic_load(&r->segment->part->gone) ? SL_ETOPIC : meta_commit(e->env.meta, &txn);
    mutex_unlock(e->rows_lock);
    sl_free(ops);
    return err;
}

void rescue__run(struct local_engine *e, struct rescue *r, uint64_t from_lsn)
{
    /* Its topic is gone: nobody needs the bytes, and the journal must not wait for them. */
    r->err = atomic_load(&r->segment->part->gone) ? SL_ETOPIC : SL_OK;
    if (r->err != SL_OK)
        return;
    if (r->fresh->base_offset == r->segment->base_offset && !r->old_aside) {
        r->err = set_old_aside(e, r->segment);
        r->old_aside = r->err == SL_OK;
    }
    if (r->err == SL_OK && r->tries > 0 && !r->old_aside)
        r->err = fence__remove(r->segment);
    if (r->err == SL_OK)
        r->err = fill_fresh(e, r, from_lsn);
    if (r->err == SL_OK && !r->old_aside)
        r->err = fence__write(r->segment, r->segment->bytes, r->from);
    if (r->err == SL_OK)
        r->err = commit(e, r);
}

/* ---- core loop: end ---------------------------------------------------------------------- */

static void replace_old(struct log_part *p, const struct segment *old)
{
    for (uint32_t i = 0; i < p->n_segments; i++) {
        if (p->segments[i] != old)
            continue;
        memmove(p->segments + i, p->segments + i + 1,
                (p->n_segments - i - 1) * sizeof(struct segment *));
        p->n_segments--;
        segment__unref((struct segment *)old);
        return;
    }
}

static void go_on(struct rescue *r)
{
    struct log_part *p = r->segment->part;
    struct segment *fresh = SL_TAKE(r->fresh);
    if (fresh->base_offset == r->segment->base_offset)
        replace_old(p, r->segment);
    fresh->bytes = fresh->plan_bytes = r->fresh_bytes;
    fresh->next_offset = fresh->plan_next = r->to;
    fresh->created = true;
    part__push_segment(p, fresh);
    p->plan_next = p->high_watermark;
    p->read_only = false;
    LOG_INFO("segment.rescued", "the partition takes appends again", F_I64("pid", p->id.pid),
             F_I64("from", r->from), F_I64("to", r->to));
}

void rescue__finished(struct task *t)
{
    struct rescue *r = SL_CONTAINER_OF(t, struct rescue, finished);
    struct local_engine *e = r->engine;
    struct log_part *p = part__ref(r->segment->part);
    for (size_t i = 0; i < r->rows.n_segments; i++) {
        r->rows.segments[i].segment->row_saving = false;
        r->rows.segments[i].segment->row_dirty = true; /* its index is still to be written */
    }
    p->saving = false;
    part__mark_dirty(p);
    if (r->err == SL_OK || atomic_load(&p->gone))
        e->unrescued--;
    if (r->err == SL_OK && !atomic_load(&p->gone))
        go_on(r);
    else if (r->err != SL_OK && r->err != SL_ETOPIC)
        LOG_ERROR("segment.rescue_failed", "the partition stays read-only until a restart",
                  F_I64("pid", p->id.pid), F_ERR(r->err));
    sl_err err = r->err;
    snapshot__free(&r->rows);
    segment__unref(r->segment);
    segment__unref(r->fresh);
    sl_free(r);
    part__unref(p);
    e->jobs_pending--;
    if (err == SL_EUNKNOWN_OUTCOME)
        engine__die(e, "the metastore could not be written");
    else
        engine__idle_check(e);
}
