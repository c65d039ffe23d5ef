#include "storage/checkpoint_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/log.h"

enum {
    PRODUCERS_BYTES_MAX = 64 << 20,
};

/* ---- core loop --------------------------------------------------------------------------- */

static void add_segment(struct snapshot *s, struct segment *seg)
{
    if (s->n_segments == s->segments_cap) {
        s->segments_cap = SL_MAX(s->segments_cap * 2, (size_t)16);
        s->segments = sl_realloc(s->segments, s->segments_cap, sizeof s->segments[0]);
    }
    struct snap_segment *ss = &s->segments[s->n_segments++];
    /* Sealed when the next one was planned; its own last appends may still be under way. */
    bool is_whole = seg->bytes == seg->plan_bytes;
    *ss = (struct snap_segment){
        .segment = segment__ref(seg),
        .row = {.pid = seg->part->id.pid,
                .base_offset = seg->base_offset,
                .synced_bytes = (int64_t)seg->bytes,
                .last_append_ms = seg->last_append_ms,
                .max_timestamp_ms = seg->max_timestamp_ms,
                .next_offset = seg->next_offset,
                .state = (uint8_t)(is_whole ? seg->state : SEGMENT_ACTIVE)},
        .n_entries = seg->index.n,
    };
    if (seg->index.n > 0) {
        ss->entries = sl_new_array(struct index_entry, seg->index.n);
        memcpy(ss->entries, seg->index.entries, sizeof ss->entries[0] * seg->index.n);
    }
    seg->row_dirty = false;
    seg->row_saving = true;
}

void snapshot__add(struct snapshot *s, struct log_part *p)
{
    if (s->n_parts == s->parts_cap) {
        s->parts_cap = SL_MAX(s->parts_cap * 2, (size_t)16);
        s->parts = sl_realloc(s->parts, s->parts_cap, sizeof s->parts[0]);
    }
    struct snap_part *sp = &s->parts[s->n_parts++];
    *sp = (struct snap_part){
        .part = part__ref(p),
        .row = {.pid = p->id.pid,
                .log_start = p->log_start,
                .next_offset = p->high_watermark,
                .last_append_ms = p->last_append_ms},
        .first_segment = (uint32_t)s->n_segments,
    };
    producers__expire(p->producers, p->last_append_ms - p->engine->cfg.producer_expiry_ms);
    buf_init(&sp->producers, PRODUCERS_BYTES_MAX);
    if (producers__count(p->producers) > 0 &&
        producers__save(p->producers, &sp->producers) != SL_OK) {
        LOG_ERROR("producers.too_many", "producer state does not fit its row: a crash forgets it",
                  F_I64("pid", p->id.pid));
        buf_reset(&sp->producers);
    }
    sp->row.producers = slice_of(sp->producers.data, sp->producers.len);
    for (uint32_t i = 0; i < p->n_segments; i++) {
        /* Planned and still empty ones have no file yet. */
        if (p->segments[i]->row_dirty && p->segments[i]->bytes > 0)
            add_segment(s, p->segments[i]);
    }
    sp->n_segments = (uint32_t)s->n_segments - sp->first_segment;
    p->saving = true;
}

void snapshot__free(struct snapshot *s)
{
    for (size_t i = 0; i < s->n_segments; i++) {
        sl_free(s->segments[i].entries);
        segment__unref(s->segments[i].segment);
    }
    for (size_t i = 0; i < s->n_parts; i++) {
        buf_fini(&s->parts[i].producers);
        part__unref(s->parts[i].part);
    }
    sl_free(s->parts);
    sl_free(s->segments);
    *s = (struct snapshot){0};
}

/* ---- checkpoint thread ------------------------------------------------------------------- */

static bool is_gone(const struct snap_segment *ss)
{
    return atomic_load(&ss->segment->part->gone);
}

static bool is_synced(struct local_engine *e, const struct snap_segment *ss)
{
    uint64_t bytes = 0;
    int64_t next = 0;
    file_cache__synced(e->files, &ss->segment->file, &bytes, &next);
    return (int64_t)bytes >= ss->row.synced_bytes;
}

sl_err snapshot__sync_segment(struct local_engine *e, const struct snap_segment *ss)
{
    struct cached_file *f = &ss->segment->file;
    if (ss->row.state != SEGMENT_FENCED) {
        SL_TRY(segment__sync_name(ss->segment));
        if (!is_synced(e, ss) || file_cache__fenced(e->files, f))
            SL_TRY(file_cache__sync(e->files, f));
    }
    return is_synced(e, ss) ? SL_OK : SL_EIO;
}

/* A failure costs a longer scan later, nothing else. */
static void write_index(struct local_engine *e, const struct snap_segment *ss)
{
    char idx[PATH_BYTES], tix[PATH_BYTES];
    segment__path(ss->segment, ".idx", idx);
    segment__path(ss->segment, ".tix", tix);
    sl_err err =
        index__write(e->env.vfs, idx, tix, segment__seed(ss->segment), ss->entries, ss->n_entries);
    if (err != SL_OK && log_rate_limited("index.write_failed"))
        LOG_WARN("index.write_failed", "reads will scan more of the segment", F_ERR(err));
}

/* With one commit of the file system for all: appends go on meanwhile, so that an fdatasync of each
 * would be a commit of each, and a thousand of them take seconds. */
static void sync_together(struct local_engine *e, const struct snapshot *s)
{
    struct cached_file **files = sl_new_array(struct cached_file *, s->n_segments + 1);
    size_t n = 0;
    for (size_t i = 0; i < s->n_segments; i++)
        if (!is_gone(&s->segments[i]) && s->segments[i].row.state != SEGMENT_FENCED)
            files[n++] = &s->segments[i].segment->file;
    file_cache__sync_many(e->files, files, n);
    sl_free(files);
}

static sl_err sync_segments(struct local_engine *e, struct snapshot *s)
{
    sl_err first = SL_OK;
    sync_together(e, s);
    for (size_t i = 0; i < s->n_segments; i++) {
        struct snap_segment *ss = &s->segments[i];
        if (is_gone(ss))
            continue;
        sl_err err = snapshot__sync_segment(e, ss);
        if (err == SL_OK && ss->n_entries > 0)
            write_index(e, ss);
        if (first == SL_OK)
            first = err;
    }
    return first;
}

static void add_rows(const struct snapshot *s, const struct snap_part *sp, struct meta_op *ops,
                     size_t *n)
{
    if (atomic_load(&sp->part->gone))
        return;
    ops[(*n)++] = (struct meta_op){.kind = META_LOG_STATE_PUT, .log_state = sp->row};
    for (uint32_t k = 0; k < sp->n_segments; k++)
        ops[(*n)++] = (struct meta_op){.kind = META_SEGMENT_PUT,
                                       .segment = s->segments[sp->first_segment + k].row};
}

/* Slices: one transaction of 20,000 rows would hold every offset commit up for 100 ms. */
static sl_err commit_rows(struct local_engine *e, const struct snapshot *s)
{
    struct meta_op *ops = sl_new_array(struct meta_op, s->n_parts + s->n_segments + 1);
    sl_err err = SL_OK;
    for (size_t i = 0; err == SL_OK && i < s->n_parts;) {
        size_t n = 0;
        mutex_lock(e->rows_lock); /* no row may come back behind a deletion */
        for (; i < s->n_parts && n < CHECKPOINT_SLICE; i++)
            add_rows(s, &s->parts[i], ops, &n);
        struct meta_txn txn = {.ops = ops, .n_ops = n};
        if (n > 0)
            err = meta_commit(e->env.meta, &txn);
        mutex_unlock(e->rows_lock);
    }
    sl_free(ops);
    return err;
}

sl_err snapshot__save(struct local_engine *e, struct snapshot *s)
{
    SL_TRY(sync_segments(e, s));
    return commit_rows(e, s);
}

sl_err snapshot__commit_lsn(struct local_engine *e, uint64_t lsn)
{
    uint8_t value[8];
    put_le64(value, lsn);
    const struct meta_op op = {
        .kind = META_SETTING_PUT,
        .setting = {.name = META_LSN_SETTING, .value = slice_of(value, sizeof value)}};
    struct meta_txn txn = {.ops = &op, .n_ops = 1};
    return meta_commit(e->env.meta, &txn);
}

static sl_err take_lsn(void *arg, const struct meta_setting *row)
{
    if (strcmp(row->name, META_LSN_SETTING) == 0 && row->value.len == 8)
        *(uint64_t *)arg = get_le64(row->value.data);
    return SL_OK;
}

sl_err snapshot__load_lsn(struct local_engine *e, uint64_t *ret_lsn)
{
    uint64_t lsn = 0;
    const struct meta_loader loader = {.arg = &lsn, .setting = take_lsn};
    SL_TRY(meta_load(e->env.meta, &loader, NULL));
    *ret_lsn = lsn;
    return SL_OK;
}
