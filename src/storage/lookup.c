/* Offsets by time. Segments are chosen by their maximum, the batch by the time index and its
 * header, the record inside it by record/: always on a worker, since it reads and may decompress.
 */
#include "storage/local_int.h"
#include "storage/scan_int.h"

#include "base/alloc.h"
#include "record/records.h"

struct lookup_job {
    struct work work;
    struct local_engine *engine;
    struct log_lookup *lookup;
    struct log_part *part;   /* counted */
    struct segment *segment; /* counted */
    int64_t timestamp_ms, log_start;
    bool measures; /* first the highest time of what is left of a segment cut by the log start */
    uint64_t from, end; /* bytes to look at; from 0: the index files may know better */
    bool found;
    sl_err err;
};

static void none(struct log_lookup *l)
{
    l->offset = l->found_timestamp_ms = -1;
    l->leader_epoch = -1;
}

/* ---- worker ------------------------------------------------------------------------------ */

static uint64_t start_from_files(const struct lookup_job *j)
{
    char path[PATH_BYTES];
    uint32_t rel = 0, found_rel = 0, pos = 0;
    uint32_t seed = segment__seed(j->segment);
    struct vfs *v = j->engine->env.vfs;
    segment__path(j->segment, ".tix", path);
    if (index__find_time(v, path, seed, j->timestamp_ms, &rel) != SL_OK)
        return 0;
    segment__path(j->segment, ".idx", path);
    if (index__find(v, path, seed, rel, &found_rel, &pos) != SL_OK || found_rel != rel)
        return 0;
    return pos < j->end ? pos : 0;
}

static sl_err look_in_batch(struct lookup_job *j, struct scan *scan, const struct batch_info *info)
{
    struct batch_info checked;
    const uint8_t *bytes = NULL;
    SL_TRY(scan__peek(scan, true, &checked, &bytes));
    struct log_lookup *l = j->lookup;
    int64_t offset = -1, time_ms = -1;
    sl_err err = records_find_timestamp_from(slice_of(bytes, info->bytes), j->log_start,
                                             j->timestamp_ms, &offset, &time_ms);
    if (err == SL_EEND)
        return SL_OK; /* its header promises more than the records that are left have */
    SL_TRY(err);
    l->offset = offset;
    l->found_timestamp_ms = time_ms;
    l->leader_epoch = info->leader_epoch;
    j->found = true;
    return SL_OK;
}

/* Raises timestamp_ms to the highest time in a batch at or behind the log start. */
static sl_err measure_batch(struct lookup_job *j, struct scan *scan, const struct batch_info *info)
{
    struct batch_info checked;
    const uint8_t *bytes = NULL;
    int64_t time_ms = info->max_timestamp;
    if (info->base_offset < j->log_start) {
        SL_TRY(scan__peek(scan, true, &checked, &bytes));
        SL_TRY(records_max_timestamp_from(slice_of(bytes, info->bytes), j->log_start, &time_ms));
    }
    j->timestamp_ms = SL_MAX(j->timestamp_ms, time_ms);
    return SL_OK;
}

static uint64_t start_of_log(const struct lookup_job *j)
{
    char path[PATH_BYTES];
    uint32_t found_rel = 0, pos = 0;
    uint32_t rel = (uint32_t)(j->log_start - j->segment->base_offset);
    segment__path(j->segment, ".idx", path);
    if (index__find(j->engine->env.vfs, path, segment__seed(j->segment), rel, &found_rel, &pos) !=
        SL_OK)
        return 0;
    return pos < j->end ? pos : 0;
}

static sl_err measure(struct lookup_job *j, struct vfs_file *f)
{
    struct scan scan;
    scan__init(&scan, f, start_of_log(j), j->end);
    sl_err err = SL_OK;
    while (err == SL_OK) {
        struct batch_info info;
        err = scan__peek(&scan, false, &info, NULL);
        if (err == SL_ECORRUPT)
            err = scan__hunt(&scan, j->segment->base_offset, INT64_MAX, &info);
        if (err == SL_OK && batch_last_offset(&info) >= j->log_start)
            err = measure_batch(j, &scan, &info);
        if (err == SL_OK)
            scan__skip(&scan, &info);
    }
    scan__fini(&scan);
    return err == SL_EEND ? SL_OK : err;
}

/* Batches before the log start do not count; damaged ones are passed over. */
static sl_err look(struct lookup_job *j, struct vfs_file *f)
{
    struct scan scan;
    scan__init(&scan, f, j->from > 0 ? j->from : start_from_files(j), j->end);
    sl_err err = SL_OK;
    while (err == SL_OK && !j->found) {
        struct batch_info info;
        err = scan__peek(&scan, false, &info, NULL);
        if (err == SL_ECORRUPT)
            err = scan__hunt(&scan, j->segment->base_offset, INT64_MAX, &info);
        if (err == SL_OK && info.max_timestamp >= j->timestamp_ms &&
            batch_last_offset(&info) >= j->log_start)
            err = look_in_batch(j, &scan, &info);
        if (err == SL_OK)
            scan__skip(&scan, &info);
    }
    scan__fini(&scan);
    return err == SL_EEND ? SL_OK : err;
}

static void worker_run(struct work *w)
{
    struct lookup_job *j = SL_CONTAINER_OF(w, struct lookup_job, work);
    char path[PATH_BYTES];
    segment__path(j->segment, ".log", path);
    struct vfs_file *f = NULL;
    j->err = file_cache__pin(j->engine->files, &j->segment->file, path, VFS_WRITE, &f);
    if (j->err != SL_OK)
        return;
    j->err = j->measures ? measure(j, f) : look(j, f);
    file_cache__unpin(j->engine->files, &j->segment->file);
}

/* ---- core loop --------------------------------------------------------------------------- */

static struct segment *first_with_time(const struct log_part *p, int64_t base_min, int64_t time_ms)
{
    for (uint32_t i = 0; i < p->n_segments; i++) {
        struct segment *s = p->segments[i];
        if (s->base_offset >= base_min && s->bytes > 0 && s->max_timestamp_ms >= time_ms &&
            s->next_offset > p->log_start)
            return s;
    }
    return NULL;
}

static void worker_done(struct work *w);

static void submit(struct lookup_job *j, struct segment *s)
{
    j->segment = segment__ref(s);
    j->end = s->bytes;
    j->from = 0;
    for (uint32_t i = s->index.n; i > 0 && j->from == 0; i--)
        if (s->index.entries[i - 1].max_timestamp_ms < j->timestamp_ms)
            j->from = s->index.entries[i - 1].pos;
    j->work = (struct work){.run = worker_run, .done = worker_done};
    j->engine->jobs_pending++;
    workers_submit(j->engine->env.workers, j->engine->env.loop, &j->work);
}

static void finish(struct lookup_job *j)
{
    struct local_engine *e = j->engine;
    struct log_lookup *l = j->lookup;
    l->err = atomic_load(&j->part->dropped) ? SL_ETOPIC : j->err;
    part__unref(j->part);
    sl_free(j);
    l->done(l);
    engine__idle_check(e);
}

static void worker_done(struct work *w)
{
    struct lookup_job *j = SL_CONTAINER_OF(w, struct lookup_job, work);
    int64_t base = j->segment->base_offset;
    j->engine->jobs_pending--;
    if (j->err == SL_ENOTFOUND) /* retention was faster, or somebody removed the file */
        j->err = j->segment->next_offset <= j->part->log_start ? SL_OK : SL_EIO;
    segment__unref(SL_TAKE(j->segment));
    struct segment *next = NULL;
    if (j->err == SL_OK && !j->found && !atomic_load(&j->part->dropped))
        next = first_with_time(j->part, j->measures ? 0 : base + 1, j->timestamp_ms);
    j->measures = false;
    if (next)
        submit(j, next);
    else
        finish(j);
}

/* The log starts in its middle, and the time that it is known for may be of a record before that:
 * when no other segment has a higher one, what is left must be measured. */
static struct segment *to_measure(const struct log_part *p, int64_t *time_ms)
{
    struct segment *cut = NULL;
    int64_t others = -1;
    for (uint32_t i = 0; i < p->n_segments; i++) {
        struct segment *s = p->segments[i];
        if (s->bytes == 0 || s->next_offset <= p->log_start)
            continue;
        if (s->base_offset < p->log_start)
            cut = s;
        else
            others = SL_MAX(others, s->max_timestamp_ms);
    }
    if (!cut || cut->max_timestamp_ms <= others)
        return NULL;
    *time_ms = others;
    return cut;
}

static int64_t max_timestamp(const struct log_part *p)
{
    int64_t max = -1;
    for (uint32_t i = 0; i < p->n_segments; i++)
        if (p->segments[i]->bytes > 0 && p->segments[i]->next_offset > p->log_start)
            max = SL_MAX(max, p->segments[i]->max_timestamp_ms);
    return max;
}

sl_err lookup__start(struct log_engine *base, struct log_lookup *l)
{
    struct local_engine *e = engine__of(base);
    struct log_part *p = l->part;
    none(l);
    l->err = atomic_load(&p->dropped) ? SL_ETOPIC : e->closing ? SL_ECLOSED : SL_OK;
    if (l->err != SL_OK)
        return l->err;
    int64_t time_ms = l->kind == LOG_MAX_TIMESTAMP ? max_timestamp(p) : l->timestamp_ms;
    struct segment *cut = l->kind == LOG_MAX_TIMESTAMP ? to_measure(p, &time_ms) : NULL;
    struct segment *s = cut;
    if (!cut && (time_ms >= 0 || l->kind == LOG_BY_TIMESTAMP))
        s = first_with_time(p, 0, time_ms);
    if (!s)
        return SL_OK;
    struct lookup_job *j = sl_new(struct lookup_job);
    j->engine = e;
    j->lookup = l;
    j->part = part__ref(p);
    j->timestamp_ms = time_ms;
    j->log_start = p->log_start;
    j->measures = cut != NULL;
    submit(j, s);
    return SL_PENDING;
}
