#include "storage/fence_int.h"
#include "storage/recovery_int.h"
#include "storage/scan_int.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>

enum { REWRITE_BYTES = 1 << 20 };

/* One segment under examination. */
struct probe {
    struct recovery *r;
    struct rec_part *rp;
    struct segment *s;
    struct vfs_file *file;
    struct scan scan;
    int64_t expected;
    uint64_t valid_end; /* behind the last batch that counts */
    uint64_t synced;    /* bytes that a row says were synced */
    bool cut;           /* nothing behind this segment counts */
    bool damaged;       /* bytes behind valid_end are kept and not read */
};

/* ---- what is in the folder --------------------------------------------------------------- */

struct listing {
    struct recovery *r;
    struct rec_part *rp;
    struct log_part *part;
};

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static sl_err remove_leftover(struct listing *l, const char *name)
{
    struct local_engine *e = l->r->engine;
    char dir[PATH_BYTES], path[PATH_BYTES];
    paths__part_dir(dir, e->data_dir, &l->part->id.topic_id, l->part->id.index);
    paths__join(path, dir, name);
    return vfs_unlink(e->env.vfs, path);
}

/* Retention removed the row and was about to rename the file. */
static bool is_below_log(const struct log_part *p, int64_t base)
{
    return p->n_segments > 0 && base < p->segments[0]->base_offset &&
           p->segments[0]->base_offset <= p->log_start;
}

/* Behind a finished rescue the old segment ends where its note says, whatever its row knows. */
static void fence(struct recovery *r, struct segment *s)
{
    uint64_t bytes = 0;
    int64_t next = 0;
    if (s->state == SEGMENT_FENCED)
        return;
    sl_err err = fence__read(s, &bytes, &next);
    if (err == SL_ECORRUPT)
        LOG_ERROR("segment.fence_damaged", "the end of a fenced segment is taken from its bytes",
                  F_I64("pid", s->part->id.pid), F_I64("base_offset", s->base_offset));
    if (err != SL_OK)
        return;
    s->bytes = s->plan_bytes = bytes;
    s->next_offset = s->plan_next = next;
    s->state = SEGMENT_FENCED;
    s->row_dirty = true;
    file_cache__set_synced(r->engine->files, &s->file, bytes, next);
    part__mark_dirty(s->part);
}

static sl_err visit_file(void *arg, const char *name)
{
    struct listing *l = arg;
    int64_t base;
    if (has_suffix(name, ".deleted"))
        return remove_leftover(l, name);
    if (!paths__parse_segment(name, &base))
        return SL_OK;
    if (is_below_log(l->part, base))
        return remove_leftover(l, name);
    if (l->rp->first_file < 0 || base < l->rp->first_file)
        l->rp->first_file = base;
    bool is_new;
    struct segment *s = recovery__segment(l->part, base, &is_new);
    s->created = true;
    fence(l->r, s);
    if (is_new) /* seen, but perhaps in the cache only: the crash came before its directory's sync
                 */
        atomic_store(&s->name_unsynced, true);
    return SL_OK;
}

/* Index files of segments that retention removed, but not yet for good, before the crash. They are
 * caches: without a segment nobody needs them. */
static sl_err visit_index(void *arg, const char *name)
{
    struct listing *l = arg;
    char log[64];
    int64_t base;
    bool is_index = has_suffix(name, ".idx") || has_suffix(name, ".tix");
    if (!is_index || strlen(name) >= sizeof log)
        return SL_OK;
    (void)snprintf(log, sizeof log, "%.*s.log", (int)strlen(name) - 4, name);
    if (!paths__parse_segment(log, &base))
        return SL_OK;
    for (uint32_t i = 0; i < l->part->n_segments; i++)
        if (l->part->segments[i]->base_offset == base)
            return SL_OK;
    return remove_leftover(l, name);
}

/* Somebody removed it. One topic's loss is told by its holes and stops no start (F20). */
sl_err recovery__make_folder(struct recovery *r, const struct log_part *p)
{
    struct local_engine *e = r->engine;
    char topic[PATH_BYTES], dir[PATH_BYTES];
    paths__topic_dir(topic, e->data_dir, &p->id.topic_id);
    paths__part_dir(dir, e->data_dir, &p->id.topic_id, p->id.index);
    LOG_ERROR("partition.folder_missing", "a partition's folder is gone and is made anew",
              F_STR("dir", dir));
    SL_TRY(vfs_ensure_dir(e->env.vfs, topic));
    return vfs_ensure_dir(e->env.vfs, dir);
}

static sl_err list_segments(struct recovery *r, struct rec_part *rp)
{
    char dir[PATH_BYTES];
    struct log_part *p = rp->part;
    struct listing l = {.r = r, .rp = rp, .part = p};
    paths__part_dir(dir, r->engine->data_dir, &p->id.topic_id, p->id.index);
    sl_err err = vfs_list_dir(r->engine->env.vfs, dir, visit_file, &l);
    if (err == SL_ENOTFOUND)
        return recovery__make_folder(r, p);
    SL_TRY(err);
    return vfs_list_dir(r->engine->env.vfs, dir, visit_index, &l);
}

/* ---- where it starts --------------------------------------------------------------------- */

/* Old segments go first, so what a stale meta.db knows below the first file was deleted since. */
sl_err recovery__find_start(struct recovery *r, struct rec_part *rp)
{
    struct log_part *p = rp->part;
    SL_ASSERT(r->stale);
    SL_TRY(list_segments(r, rp));
    if (rp->first_file <= p->log_start)
        return SL_OK;
    uint32_t n = 0;
    struct meta_op *ops = sl_new_array(struct meta_op, (size_t)p->n_segments + 1);
    for (; n < p->n_segments && p->segments[n]->base_offset < rp->first_file; n++)
        ops[n] = (struct meta_op){
            .kind = META_SEGMENT_DELETE,
            .segment = {.pid = p->id.pid, .base_offset = p->segments[n]->base_offset}};
    struct meta_txn txn = {.ops = ops, .n_ops = n};
    sl_err err = n > 0 ? meta_commit(r->engine->env.meta, &txn) : SL_OK;
    sl_free(ops);
    SL_TRY(err);
    part__shift_segments(p, n);
    p->log_start = rp->first_file;
    p->high_watermark = p->plan_next = SL_MAX(p->high_watermark, p->log_start);
    part__mark_dirty(p);
    return SL_OK;
}

/* ---- one segment ------------------------------------------------------------------------- */

static void accept(struct probe *p, const struct batch_info *info)
{
    struct log_part *part = p->rp->part;
    struct segment *s = p->s;
    const struct index_entry entry = {.max_timestamp_ms = s->max_timestamp_ms,
                                      .append_ms = p->r->now_ms,
                                      .rel_offset = (uint32_t)(info->base_offset - s->base_offset),
                                      .pos = (uint32_t)p->scan.pos};
    if (p->scan.pos > 0 && p->scan.pos <= UINT32_MAX)
        index_tail__add(&s->index, &entry, SL_MAX(part->cfg.index_interval_bytes, (int64_t)4096));
    s->max_timestamp_ms = SL_MAX(s->max_timestamp_ms, info->max_timestamp);
    if (info->producer_id >= 0 && info->base_offset >= p->rp->row_next)
        producers__apply(&part->producers, info, p->r->now_ms);
    p->r->producer_max = SL_MAX(p->r->producer_max, info->producer_id);
    if (info->attributes & BATCH_LOG_APPEND_TIME) /* the clock goes on from the last stamp */
        part->last_append_ms = SL_MAX(part->last_append_ms, info->max_timestamp);
    p->rp->epoch_max = SL_MAX(p->rp->epoch_max, info->leader_epoch);
    p->expected = batch_last_offset(info) + 1;
    scan__skip(&p->scan, info);
    p->valid_end = p->scan.pos;
}

/* Nothing behind the position is a batch, and nobody knows whether something was: without rows and
 * without the journal. The bytes stay; their offsets, as far as their header tells, are not given
 * again. */
static void keep_tail(struct probe *p, uint64_t pos)
{
    struct batch_info info;
    int64_t next = p->expected + 1;
    p->scan.pos = pos;
    if (scan__peek(&p->scan, false, &info, NULL) == SL_OK && info.base_offset == p->expected)
        next = batch_last_offset(&info) + 1;
    p->rp->known_next = SL_MAX(p->rp->known_next, next);
}

/* The bytes at the position are no continuation. Below a known sync that is damage: look for what
 * comes after it. Above, it is the torn end: cut. SL_EEND: nothing more in this segment. */
static sl_err skip_damage(struct probe *p)
{
    /* Without rows, what the journal does not have was synced by a checkpoint. */
    bool is_sure = !p->r->stale || p->rp->in_journal;
    int64_t limit = is_sure ? p->rp->known_next : INT64_MAX;
    if (p->expected >= limit) {
        p->cut = true;
        return SL_EEND;
    }
    struct batch_info info;
    uint64_t pos = p->scan.pos;
    p->r->damaged++;
    sl_err err = scan__hunt(&p->scan, p->expected + 1, limit, &info);
    if (err == SL_EEND) {
        p->damaged = true;
        if (!is_sure)
            keep_tail(p, pos);
        return SL_EEND;
    }
    SL_TRY(err);
    part__damage(p->rp->part, p->expected, info.base_offset);
    p->expected = info.base_offset;
    return SL_OK;
}

static sl_err scan_batches(struct probe *p)
{
    for (;;) {
        struct batch_info info;
        sl_err err = scan__peek(&p->scan, true, &info, NULL);
        if (err == SL_OK && info.base_offset == p->expected) {
            accept(p, &info);
            continue;
        }
        if (err == SL_EEND && p->expected < p->rp->known_next)
            return SL_EEND; /* the next segment, or a lost tail */
        if (err == SL_OK || err == SL_ECORRUPT)
            err = skip_damage(p);
        if (err != SL_OK)
            return err;
    }
}

/* After a failed sync the cache may hold what the disk does not: equal bytes are written, too. */
static sl_err rewrite(struct vfs_file *f, uint64_t from, uint64_t to)
{
    uint8_t *bytes = sl_alloc(REWRITE_BYTES, 1);
    sl_err err = SL_OK;
    for (uint64_t pos = from; err == SL_OK && pos < to; pos += REWRITE_BYTES) {
        size_t n = (size_t)SL_MIN(to - pos, (uint64_t)REWRITE_BYTES);
        err = vfs_pread_full(f, bytes, n, (int64_t)pos);
        if (err == SL_OK)
            err = vfs_pwrite(f, bytes, n, (int64_t)pos);
    }
    sl_free(bytes);
    return err;
}

static sl_err make_durable(struct probe *p, uint64_t size)
{
    struct local_engine *e = p->r->engine;
    if (p->cut && size > p->valid_end) {
        p->r->cut_bytes += size - p->valid_end;
        SL_TRY(vfs_truncate(p->file, (int64_t)p->valid_end));
    }
    SL_TRY(rewrite(p->file, p->synced, p->valid_end));
    if (p->valid_end > p->synced || (p->cut && size > p->valid_end))
        part__mark_dirty(p->rp->part);
    file_cache__wrote(e->files, &p->s->file, p->valid_end, p->expected);
    SL_TRY(file_cache__sync(e->files, &p->s->file));
    file_cache__set_synced(e->files, &p->s->file, p->valid_end, p->expected);
    return SL_OK;
}

/* The index may know batches that were cut and written anew elsewhere. */
static sl_err cut_index(struct probe *p)
{
    char idx[PATH_BYTES], tix[PATH_BYTES];
    segment__path(p->s, ".idx", idx);
    segment__path(p->s, ".tix", tix);
    return index__cut(p->r->engine->env.vfs, idx, tix, segment__seed(p->s),
                      (uint32_t)(p->expected - p->s->base_offset));
}

static void settle_segment(struct probe *p)
{
    struct segment *s = p->s;
    s->bytes = s->plan_bytes = p->valid_end;
    s->next_offset = s->plan_next = p->expected;
    s->row_dirty = true;
    s->last_append_ms = SL_MAX(s->last_append_ms, p->r->now_ms);
    s->first_append_ms = s->first_append_ms < 0 ? s->last_append_ms : s->first_append_ms;
    if (p->damaged)
        s->state = SEGMENT_SEALED; /* nothing is appended behind damaged bytes */
}

static sl_err examine(struct probe *p)
{
    int64_t size = 0;
    SL_TRY(vfs_file_size(p->file, &size));
    uint64_t end = (uint64_t)size;
    if (end < p->synced)
        p->synced = p->valid_end = end; /* shorter than a row says: scanned from its start */
    if (end == p->synced && p->s->file.synced_bytes == end && !p->s->file.dirty)
        return SL_OK; /* exactly as the row says */
    if (p->synced < p->s->file.synced_bytes) {
        p->synced = p->valid_end = 0;
        p->expected = p->s->base_offset;
    }
    SL_TRY(cut_index(p));
    scan__init(&p->scan, p->file, p->synced, end);
    sl_err err = scan_batches(p);
    scan__fini(&p->scan);
    if (err != SL_EEND)
        return err;
    SL_TRY(make_durable(p, end));
    settle_segment(p);
    return SL_OK;
}

static sl_err scan_segment(struct recovery *r, struct rec_part *rp, struct segment *s,
                           bool *ret_cut)
{
    struct local_engine *e = r->engine;
    char path[PATH_BYTES];
    segment__path(s, ".log", path);
    struct probe p = {
        .r = r,
        .rp = rp,
        .s = s,
        .expected = s->file.synced_next,
        .valid_end = s->file.synced_bytes,
        .synced = s->file.synced_bytes,
    };
    sl_err err = file_cache__pin(e->files, &s->file, path, VFS_WRITE, &p.file);
    if (err == SL_ENOTFOUND) {
        LOG_ERROR("segment.missing", "a segment file is gone; its offsets cannot be read",
                  F_STR("file", path));
        s->bytes = 0;
        s->next_offset = s->base_offset;
        s->state = SEGMENT_SEALED;
        return SL_OK;
    }
    SL_TRY(err);
    s->created = true;
    err = examine(&p);
    file_cache__unpin(e->files, &s->file);
    *ret_cut = p.cut;
    return err;
}

/* ---- one partition ----------------------------------------------------------------------- */

/* A later segment exists only when the one before it had been synced. */
static void learn_from_rolls(struct rec_part *rp)
{
    struct log_part *p = rp->part;
    if (p->n_segments > 0)
        rp->known_next = SL_MAX(rp->known_next, p->segments[p->n_segments - 1]->base_offset);
}

/* Names of segments that were found or made, and of what was renamed. */
static sl_err sync_dir(struct recovery *r, const struct log_part *p)
{
    char dir[PATH_BYTES];
    bool needed = list_linked(&p->dirty_node);
    for (uint32_t i = 0; i < p->n_segments; i++)
        needed |= atomic_load(&p->segments[i]->name_unsynced);
    if (!needed)
        return SL_OK;
    paths__part_dir(dir, r->engine->data_dir, &p->id.topic_id, p->id.index);
    SL_TRY(vfs_sync_dir(r->engine->env.vfs, dir));
    for (uint32_t i = 0; i < p->n_segments; i++)
        atomic_store(&p->segments[i]->name_unsynced, false);
    return SL_OK;
}

int64_t recovery__note_holes(struct log_part *p)
{
    int64_t end = p->log_start;
    for (uint32_t i = 0; i < p->n_segments; i++) {
        const struct segment *s = p->segments[i];
        if (s->base_offset > end)
            part__damage(p, end, s->base_offset);
        end = SL_MAX(end, s->next_offset);
    }
    return end;
}

/* A segment is sealed when the next one is planned: a checkpoint may save its row while its last
 * bytes are still on their way, so a sealed one counts as whole only when its neighbour continues
 * it. */
static bool needs_scan(const struct recovery *r, const struct segment *s,
                       const struct segment *next)
{
    if (s->state == SEGMENT_FENCED)
        return false;
    return r->stale || s->state == SEGMENT_ACTIVE || s->row_dirty || !next ||
           next->base_offset > s->next_offset;
}

/* A rescue that a crash interrupted leaves a file with copies of what the journal still has: it
 * begins inside of the segment before it, and no row names it. */
static bool is_copy(const struct log_part *p, uint32_t i)
{
    const struct segment *s = p->segments[i];
    return i > 0 && s->file.synced_bytes == 0 && s->base_offset < p->segments[i - 1]->next_offset;
}

static sl_err set_copy_aside(struct recovery *r, struct log_part *p, uint32_t i)
{
    struct segment *s = p->segments[i];
    char path[PATH_BYTES], aside[PATH_BYTES];
    segment__path(s, ".log", path);
    segment__path(s, ".copy", aside);
    p->n_segments--;
    memmove(p->segments + i, p->segments + i + 1, (p->n_segments - i) * sizeof(struct segment *));
    segment__unref(s);
    part__mark_dirty(p);
    sl_err err = vfs_rename(r->engine->env.vfs, path, aside);
    return err == SL_ENOTFOUND ? SL_OK : err;
}

static sl_err scan_segments(struct recovery *r, struct rec_part *rp)
{
    struct log_part *p = rp->part;
    bool cut = false;
    for (uint32_t i = 0; i < p->n_segments; i++) {
        while (i < p->n_segments && is_copy(p, i))
            SL_TRY(set_copy_aside(r, p, i));
        if (i == p->n_segments)
            break;
        struct segment *s = p->segments[i];
        if (needs_scan(r, s, i + 1 < p->n_segments ? p->segments[i + 1] : NULL))
            SL_TRY(scan_segment(r, rp, s, &cut));
        if (i + 1 < p->n_segments && s->state == SEGMENT_ACTIVE)
            s->state = SEGMENT_SEALED;
    }
    return SL_OK;
}

/* Where the log goes on. A lost tail leaves a hole: its offsets are never given again. */
static void settle_end(struct rec_part *rp)
{
    struct log_part *p = rp->part;
    int64_t end = recovery__note_holes(p);
    if (end < rp->known_next) {
        part__damage(p, end, rp->known_next);
        if (p->n_segments > 0 && part__active(p)->state == SEGMENT_ACTIVE)
            part__active(p)->state = SEGMENT_SEALED;
    }
    int64_t next = SL_MAX(end, rp->known_next);
    if (next != p->high_watermark)
        part__mark_dirty(p);
    p->high_watermark = p->plan_next = next;
}

sl_err recovery__scan(struct recovery *r, struct rec_part *rp)
{
    struct log_part *p = rp->part;
    SL_TRY(list_segments(r, rp));
    learn_from_rolls(rp);
    SL_TRY(scan_segments(r, rp));
    settle_end(rp);
    if (p->damaged_from >= 0)
        LOG_ERROR("partition.damaged", "offsets below the durable watermark cannot be read",
                  F_I64("pid", p->id.pid), F_I64("from", p->damaged_from),
                  F_I64("to", p->damaged_to));
    return sync_dir(r, p);
}
