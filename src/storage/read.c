/* Reads: one pread for the whole answer, then the CRC and the base offset of every batch in it.
 *
 * On the core loop with RWF_NOWAIT while the file is open and its bytes are cached; otherwise the
 * same job continues on a worker, which may open files, read an index and wait for the disk. */
#include "storage/local_int.h"
#include "storage/scan_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"

struct read_job {
    struct work work;
    struct local_engine *engine;
    struct log_read *read;
    struct log_part *part;   /* counted */
    struct segment *segment; /* counted */
    /* snapshot of the segment, so that a worker needs no core state */
    uint64_t end;     /* readable bytes */
    int64_t end_next; /* first offset behind them */
    /* progress */
    uint64_t pos;     /* a batch starts here, */
    int64_t expected; /* with this base offset */
    bool located;     /* pos is known; else the index file must be asked */
    struct slice data;
    int64_t data_next; /* first offset behind the data */
    sl_err err;
};

/* ---- hints: readers that go on where they stopped ------------------------------------------ */

void read__set_hint(struct log_part *p, int64_t offset, const struct segment *s, uint64_t pos)
{
    if (!p->hints)
        p->hints = sl_new_array(struct read_hint, READ_HINTS);
    p->hints[p->next_hint++ % READ_HINTS] =
        (struct read_hint){.offset = offset, .segment_base = s->base_offset, .pos = pos};
}

static bool use_hint(const struct log_part *p, int64_t offset, const struct segment *s,
                     uint64_t *ret_pos)
{
    for (int i = 0; p->hints && i < READ_HINTS; i++) {
        const struct read_hint *h = &p->hints[i];
        if (h->offset != offset || h->segment_base != s->base_offset || h->pos >= s->bytes)
            continue;
        *ret_pos = h->pos;
        return true;
    }
    return false;
}

/* ---- finding the position ------------------------------------------------------------------ */

static void locate_in_memory(struct read_job *j, int64_t offset)
{
    const struct segment *s = j->segment;
    j->expected = s->base_offset;
    j->pos = 0;
    j->located = true;
    if (offset <= s->base_offset)
        return;
    if (use_hint(j->part, offset, s, &j->pos)) {
        j->expected = offset;
        return;
    }
    const struct index_entry *e = index_tail__find(&s->index, (uint32_t)(offset - s->base_offset));
    if (e) {
        j->pos = e->pos;
        j->expected = s->base_offset + e->rel_offset;
        return;
    }
    /* Short segments are scanned from their start, others have an index file. */
    j->located = s->bytes <= (uint64_t)SL_MAX(j->part->cfg.index_interval_bytes, (int64_t)4096);
}

static void locate_in_file(struct read_job *j)
{
    char path[PATH_BYTES];
    segment__path(j->segment, ".idx", path);
    uint32_t rel = 0, pos = 0;
    int64_t base = j->segment->base_offset;
    sl_err err = index__find(j->engine->env.vfs, path, segment__seed(j->segment),
                             (uint32_t)(j->read->offset - base), &rel, &pos);
    if (err == SL_OK && pos < j->end) {
        j->pos = pos;
        j->expected = base + rel;
    }
    j->located = true;
}

/* ---- reading ------------------------------------------------------------------------------- */

struct chunk {
    struct block *block;
    size_t len;
    size_t first, end; /* what goes to the reader */
    int64_t next;      /* offset behind `end` */
    size_t need;       /* bytes that the batch at `end` has, when it was cut off; else 0 */
    uint64_t skipped;  /* bytes in front that the reader did not ask for */
};

/* Adds the batch at c->end. SL_EEND: cut off; SL_EFULL: beyond the limit; SL_ECORRUPT. */
static sl_err take_batch(const struct read_job *j, struct chunk *c, bool *skipping)
{
    const uint8_t *p = block_data(c->block) + c->end;
    size_t left = c->len - c->end;
    if (left < BATCH_HEADER_BYTES)
        return SL_EEND;
    uint64_t total = batch_bytes(p);
    if (total < BATCH_HEADER_BYTES || total > j->end - j->pos - c->end)
        return SL_ECORRUPT;
    struct batch_info info;
    if (batch_peek(slice_of(p, (size_t)total), &info) != SL_OK || info.last_offset_delta < 0 ||
        info.base_offset != c->next)
        return SL_ECORRUPT;
    bool wanted = batch_last_offset(&info) >= j->read->offset;
    if (*skipping && wanted) {
        *skipping = false;
        c->first = c->end;
    }
    if (total > left) {
        c->need = (size_t)total;
        return SL_EEND;
    }
    if (!*skipping && c->end > c->first && c->end - c->first + total > j->read->bytes_max)
        return SL_EFULL;
    if (!*skipping && !batch_crc_holds(p, &info))
        return SL_ECORRUPT;
    c->end += (size_t)total;
    c->next = batch_last_offset(&info) + 1;
    return SL_OK;
}

static sl_err fill_chunk(struct read_job *j, struct chunk *c, size_t want, struct vfs_file *f,
                         bool nowait)
{
    *c = (struct chunk){.block = block_new(want), .next = j->expected};
    if (!c->block)
        return SL_ENOMEM;
    sl_err err = nowait ? vfs_pread_nowait(f, block_data(c->block), want, (int64_t)j->pos, &c->len)
                        : vfs_pread(f, block_data(c->block), want, (int64_t)j->pos, &c->len);
    if (err == SL_OK && c->len < want)
        err = SL_ECORRUPT; /* the file is shorter than what was acknowledged */
    return err;
}

/* Reads at j->pos and keeps what the reader wants. SL_CONTINUE: only skipped, read on from the new
 * position with at least `*need` bytes. */
static sl_err read_chunk(struct read_job *j, size_t *need, struct vfs_file *f, bool nowait)
{
    size_t slack = j->expected < j->read->offset ? (size_t)j->part->cfg.index_interval_bytes : 0;
    size_t want = SL_MAX(*need, SL_MIN((size_t)j->read->bytes_max, (size_t)READ_BYTES_MAX) + slack);
    want = (size_t)SL_MIN((uint64_t)SL_MAX(want, (size_t)BATCH_HEADER_BYTES), j->end - j->pos);
    struct chunk c;
    sl_err err = fill_chunk(j, &c, want, f, nowait);
    bool skipping = true;
    while (err == SL_OK && c.end < c.len)
        err = take_batch(j, &c, &skipping);
    if (!skipping && c.end > c.first) { /* damage behind good batches is the next read's answer */
        j->data = slice_of_block(c.block, c.first, c.end - c.first);
        j->data_next = c.next;
        j->pos += c.end;
        err = SL_OK;
    } else if (err == SL_OK || err == SL_EEND) {
        j->pos += c.end;
        j->expected = c.next;
        *need = c.need;
        err = c.end > 0 || c.need > c.len ? SL_CONTINUE : SL_ECORRUPT; /* else no progress */
    }
    block_unref(c.block);
    return err;
}

static sl_err read_batches(struct read_job *j, struct vfs_file *f, bool nowait)
{
    size_t need = 0;
    sl_err err;
    do {
        if (j->pos >= j->end)
            return SL_ECORRUPT; /* the batch must be in front of the end */
        if (need > j->read->bytes_max && !j->read->at_least_one && j->expected == j->read->offset)
            return SL_OK; /* it does not fit: nothing */
        err = read_chunk(j, &need, f, nowait);
    } while (err == SL_CONTINUE);
    return err;
}

/* Behind damage: whatever validates and is at or behind the offset. */
static sl_err read_after_damage(struct read_job *j, struct vfs_file *f)
{
    struct scan scan;
    struct batch_info info;
    scan__init(&scan, f, j->pos, j->end);
    sl_err err = scan__peek(&scan, true, &info, NULL);
    if (err == SL_ECORRUPT || (err == SL_OK && info.base_offset != j->expected))
        err = scan__hunt(&scan, j->expected, j->end_next, &info);
    while (err == SL_OK && batch_last_offset(&info) < j->read->offset) {
        scan__skip(&scan, &info);
        err = scan__peek(&scan, true, &info, NULL);
        if (err == SL_ECORRUPT)
            err = scan__hunt(&scan, info.base_offset + 1, j->end_next, &info);
    }
    uint64_t pos = scan.pos;
    scan__fini(&scan);
    if (err != SL_OK || info.base_offset > j->read->offset)
        return err == SL_EIO ? SL_EIO : SL_ECORRUPT; /* the offset itself is in the damage */
    j->pos = pos;
    j->expected = info.base_offset;
    return read_batches(j, f, false);
}

static sl_err read_blocking(struct read_job *j)
{
    if (!j->located)
        locate_in_file(j);
    char path[PATH_BYTES];
    segment__path(j->segment, ".log", path);
    struct vfs_file *f = NULL;
    SL_TRY(file_cache__pin(j->engine->files, &j->segment->file, path, VFS_WRITE, &f));
    sl_err err = read_batches(j, f, false);
    if (err == SL_ECORRUPT) {
        /* The index may be wrong, or damage lies between: from the start, batch by batch. */
        j->pos = 0;
        j->expected = j->segment->base_offset;
        err = read_after_damage(j, f);
    }
    file_cache__unpin(j->engine->files, &j->segment->file);
    return err;
}

static sl_err read_nowait(struct read_job *j)
{
    struct vfs_file *f = NULL;
    if (!j->located)
        return SL_PENDING;
    SL_TRY(file_cache__pin_open(j->engine->files, &j->segment->file, &f));
    uint64_t pos = j->pos;
    int64_t expected = j->expected;
    sl_err err = read_batches(j, f, true);
    file_cache__unpin(j->engine->files, &j->segment->file);
    if (err != SL_PENDING && err != SL_ECORRUPT)
        return err;
    j->pos = pos; /* a worker looks again, and closer when it is damage */
    j->expected = expected;
    return SL_PENDING;
}

/* ---- core loop ----------------------------------------------------------------------------- */

/* A file that is not there: retention or a drop was faster, or somebody removed it. */
static sl_err explain(const struct read_job *j, sl_err err)
{
    if (atomic_load(&j->part->dropped))
        return SL_ETOPIC;
    if (err != SL_ENOTFOUND)
        return err;
    return j->read->offset < j->part->log_start ? SL_EOFFSET : SL_EIO;
}

static void finish(struct read_job *j, sl_err err)
{
    struct log_read *r = j->read;
    r->err = explain(j, err);
    if (r->err == SL_OK) {
        r->data = j->data;
        j->engine->counters.read_bytes += j->data.len;
        if (j->data.len > 0 && j->pos < j->end)
            read__set_hint(j->part, j->data_next, j->segment, j->pos);
    } else {
        slice_unref(&j->data);
    }
    segment__unref(j->segment);
    part__unref(j->part);
}

static void worker_run(struct work *w)
{
    struct read_job *j = SL_CONTAINER_OF(w, struct read_job, work);
    j->err = read_blocking(j);
}

static void worker_done(struct work *w)
{
    struct read_job *j = SL_CONTAINER_OF(w, struct read_job, work);
    struct local_engine *e = j->engine;
    struct log_read *r = j->read;
    finish(j, j->err);
    sl_free(j);
    e->jobs_pending--;
    r->done(r);
    engine__idle_check(e);
}

static sl_err go_on_worker(const struct read_job *on_stack)
{
    struct read_job *j = sl_new(struct read_job);
    *j = *on_stack;
    j->work.run = worker_run;
    j->work.done = worker_done;
    j->engine->jobs_pending++;
    workers_submit(j->engine->env.workers, j->engine->env.loop, &j->work);
    return SL_PENDING;
}

static sl_err check_range(struct local_engine *e, struct log_read *r, struct segment **ret)
{
    const struct log_part *p = r->part;
    if (atomic_load_explicit(&p->dropped, memory_order_relaxed))
        return SL_ETOPIC;
    if (e->closing)
        return SL_ECLOSED;
    if (r->offset < p->log_start || r->offset > p->high_watermark)
        return SL_EOFFSET;
    if (r->offset == p->high_watermark)
        return SL_EEND;
    struct segment *s = part__segment_for(p, r->offset);
    if (!s)
        return p->read_only ? SL_EIO : SL_ECORRUPT;
    if (s->base_offset > r->offset)
        return p->read_only ? SL_EIO : SL_ECORRUPT; /* a hole that recovery reported */
    *ret = s;
    return SL_OK;
}

sl_err read__start(struct log_engine *base, struct log_read *r)
{
    struct local_engine *e = engine__of(base);
    struct segment *s = NULL;
    r->data = (struct slice){0};
    r->err = check_range(e, r, &s);
    if (r->err == SL_EEND)
        r->err = SL_OK; /* at the high watermark: nothing yet */
    if (r->err != SL_OK || !s)
        return r->err;
    struct read_job j = {
        .engine = e,
        .read = r,
        .part = part__ref(r->part),
        .segment = segment__ref(s),
        .end = s->bytes,
        .end_next = s->next_offset,
    };
    locate_in_memory(&j, r->offset);
    sl_err err = read_nowait(&j);
    if (err == SL_PENDING)
        return go_on_worker(&j);
    finish(&j, err);
    return r->err;
}
