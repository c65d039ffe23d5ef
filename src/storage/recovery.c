#include "storage/recovery_int.h"

#include "base/alloc.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- folders ------------------------------------------------------------------------------ */

static sl_err make_folders(struct local_engine *e)
{
    static const char *const names[] = {"topics", "quarantine"};
    char path[PATH_BYTES];
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        paths__join(path, e->data_dir, names[i]);
        SL_TRY(vfs_ensure_dir(e->env.vfs, path));
    }
    return SL_OK;
}

/* ---- rows -------------------------------------------------------------------------------- */

struct rec_part *recovery__part(struct recovery *r, uint64_t pid)
{
    return map_get(r->parts, &pid, sizeof pid);
}

static sl_err load_partition(void *arg, const struct meta_partition *row)
{
    struct recovery *r = arg;
    const struct log_part_id id = {row->pid, row->topic_id, row->index};
    r->pid_max = SL_MAX(r->pid_max, row->pid);
    if (map_get(r->foreign, row->topic_id.bytes, sizeof row->topic_id.bytes))
        return SL_OK; /* its records are elsewhere */
    struct rec_part *rp = sl_new(struct rec_part);
    rp->part = engine__part(r->engine, &id);
    rp->first_file = -1;
    sl_err err = map_put(r->parts, &row->pid, sizeof row->pid, rp, NULL);
    if (err != SL_OK)
        sl_free(rp);
    return err;
}

static sl_err load_log_state(void *arg, const struct meta_log_state *row)
{
    struct recovery *r = arg;
    struct rec_part *rp = recovery__part(r, row->pid);
    if (!rp)
        return SL_OK; /* a checkpoint that was faster than a deletion */
    struct log_part *p = rp->part;
    p->log_start = row->log_start;
    p->high_watermark = p->plan_next = SL_MAX(row->next_offset, row->log_start);
    p->last_append_ms = row->last_append_ms;
    rp->row_next = rp->known_next = row->next_offset;
    sl_err err = producers__load(row->producers, &p->producers);
    const struct producer *producer;
    for (size_t i = 0; (producer = producers__next(p->producers, &i));)
        r->producer_max = SL_MAX(r->producer_max, producer->id);
    if (err == SL_ECORRUPT) {
        LOG_ERROR("producers.damaged", "producer state of a partition is lost",
                  F_I64("pid", row->pid));
        return SL_OK;
    }
    return err;
}

static sl_err load_segment(void *arg, const struct meta_segment *row)
{
    struct recovery *r = arg;
    struct rec_part *rp = recovery__part(r, row->pid);
    if (!rp)
        return SL_OK;
    struct segment *s = segment__new(rp->part, row->base_offset);
    s->plan_bytes = s->bytes = (uint64_t)row->synced_bytes;
    s->plan_next = s->next_offset = row->next_offset;
    s->first_append_ms = s->last_append_ms = row->last_append_ms;
    s->max_timestamp_ms = row->max_timestamp_ms;
    s->state = (enum segment_state)row->state;
    s->sealed_mono_ms = r->engine->started_mono_ms;
    s->created = true;
    s->row_dirty = false;
    file_cache__set_synced(r->engine->files, &s->file, s->bytes, s->next_offset);
    part__push_segment(rp->part, s);
    return SL_OK;
}

static sl_err load_epoch(void *arg, const struct meta_leader_epoch *row)
{
    struct rec_part *rp = recovery__part(arg, row->pid);
    if (rp && row->epoch > 0)
        part__set_epoch(rp->part, row->epoch, row->start_offset);
    return SL_OK;
}

static sl_err load_rows(struct recovery *r)
{
    const struct meta_loader partitions = {.arg = r, .partition = load_partition};
    const struct meta_loader rows = {
        .arg = r, .log_state = load_log_state, .segment = load_segment, .leader_epoch = load_epoch};
    SL_TRY(meta_load(r->engine->env.meta, &partitions, r->fault));
    return meta_load(r->engine->env.meta, &rows, r->fault);
}

struct segment *recovery__segment(struct log_part *p, int64_t base_offset, bool *ret_new)
{
    uint32_t at = p->n_segments;
    while (at > 0 && p->segments[at - 1]->base_offset > base_offset)
        at--;
    *ret_new = at == 0 || p->segments[at - 1]->base_offset != base_offset;
    if (!*ret_new)
        return p->segments[at - 1];
    struct segment *s = segment__new(p, base_offset);
    s->sealed_mono_ms = p->engine->started_mono_ms;
    atomic_store(&s->name_unsynced, true); /* after a kill its name may be in the cache only */
    part__push_segment(p, s);
    memmove(p->segments + at + 1, p->segments + at, (p->n_segments - 1 - at) * sizeof(void *));
    p->segments[at] = s;
    return s;
}

/* ---- an unclean start -------------------------------------------------------------------- */

/* Rises by one at every start that was not clean, above everything ever seen. */
static sl_err commit_epochs(struct recovery *r)
{
    struct meta_op ops[CHECKPOINT_SLICE];
    size_t n = 0;
    void *value = NULL;
    for (size_t i = 0; map_next(r->parts, &i, NULL, &value);) {
        struct rec_part *rp = value;
        struct log_part *p = rp->part;
        part__set_epoch(p, SL_MAX(p->leader_epoch, rp->epoch_max) + 1, p->high_watermark);
        ops[n++] = (struct meta_op){.kind = META_LEADER_EPOCH_PUT,
                                    .leader_epoch = {.pid = p->id.pid,
                                                     .epoch = p->leader_epoch,
                                                     .start_offset = p->high_watermark}};
        struct meta_txn txn = {.ops = ops, .n_ops = n};
        if (n < CHECKPOINT_SLICE)
            continue;
        SL_TRY(meta_commit(r->engine->env.meta, &txn));
        n = 0;
    }
    struct meta_txn txn = {.ops = ops, .n_ops = n};
    return n > 0 ? meta_commit(r->engine->env.meta, &txn) : SL_OK;
}

/* The rows of everything that changed: as a checkpoint would. */
static sl_err commit_rows(struct recovery *r)
{
    struct local_engine *e = r->engine;
    sl_err err = SL_OK;
    while (err == SL_OK && !list_empty(&e->dirty)) {
        struct snapshot s = {0};
        struct list *node;
        for (int n = 0; n < CHECKPOINT_SLICE && (node = list_pop_front(&e->dirty)); n++)
            snapshot__add(&s, SL_CONTAINER_OF(node, struct log_part, dirty_node));
        err = snapshot__save(e, &s);
        for (size_t i = 0; i < s.n_segments; i++) {
            index_tail__drop(&s.segments[i].segment->index, s.segments[i].n_entries);
            s.segments[i].segment->row_saving = false;
        }
        for (size_t i = 0; i < s.n_parts; i++)
            s.parts[i].part->saving = false;
        snapshot__free(&s);
    }
    return err;
}

static sl_err each_part(struct recovery *r, sl_err (*fn)(struct recovery *r, struct rec_part *rp))
{
    void *value = NULL;
    for (size_t i = 0; map_next(r->parts, &i, NULL, &value);)
        SL_TRY(fn(r, value));
    return SL_OK;
}

static sl_err repair(struct recovery *r)
{
    if (r->stale)
        SL_TRY(each_part(r, recovery__find_start));
    SL_TRY(recovery__replay(r));
    SL_TRY(each_part(r, recovery__scan));
    SL_TRY(commit_rows(r));
    SL_TRY(commit_epochs(r));
    return r->stale ? recovery__raise_counters(r) : SL_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

static sl_err found_one(void *arg, const char *name)
{
    *(bool *)arg = true;
    return SL_OK;
}

/* Its LSN row is durable before CURRENT names an LSN and before there is a topic: without it this
 * is not the meta.db of this log. Until it is committed again, every start comes here again. */
static sl_err judge_meta(struct recovery *r, uint64_t meta_lsn)
{
    struct local_engine *e = r->engine;
    const struct current *c = &e->current;
    char topics[PATH_BYTES];
    bool has_topics = false;
    paths__join(topics, e->data_dir, "topics");
    SL_TRY(vfs_list_dir(e->env.vfs, topics, found_one, &has_topics));
    r->lost = meta_lsn == 0 && (c->lsn > 0 || has_topics);
    /* The file of the last checkpoint is kept until the next one: without it CURRENT is from a
     * backup, or a part of the journal is lost. */
    uint64_t end_lsn = 0;
    bool reached = c->lsn == 0 || journal__reaches(e->journal, c->lsn, &end_lsn);
    r->stale = r->lost || meta_lsn < c->lsn || !reached;
    r->clean = c->clean && !r->stale && meta_lsn == c->lsn && end_lsn == c->lsn;
    if (r->lost)
        LOG_WARN("metastore.rebuilding",
                 "meta.db is new or was damaged: topics come from their folders and every log is "
                 "scanned. Lost, unless logged as saved: committed offsets and members of groups, "
                 "settings of the broker, starts of logs that DeleteRecords moved");
    else if (r->stale)
        LOG_ERROR(
            "metastore.stale",
            "meta.db or CURRENT is older than the log, or a part of the journal is gone: every "
            "segment is scanned; group offsets of the time between are lost",
            F_I64("meta_lsn", meta_lsn), F_I64("current_lsn", c->lsn));
    return SL_OK;
}

static sl_err open_journal(struct recovery *r)
{
    struct local_engine *e = r->engine;
    uint64_t meta_lsn = 0;
    SL_TRY(current__open(e->env.vfs, e->data_dir, &e->cfg.cluster_id, &e->current));
    SL_TRY(journal__open(e->env.vfs, e->data_dir, e->cfg.journal_file_bytes,
                         e->cfg.journal_files_max, e->env.rng, &e->journal));
    SL_TRY(snapshot__load_lsn(e, &meta_lsn));
    journal__begin_above(e->journal,
                         SL_MAX(meta_lsn, SL_MAX(e->current.lsn, e->current.older_lsn)));
    SL_TRY(judge_meta(r, meta_lsn));
    r->from_lsn = r->stale ? 0 : e->current.lsn;
    /* Files below both slots were free before the crash: without this every start would make one
     * more, until there is no room for another. */
    if (!r->stale && e->current.found)
        journal__recycle(e->journal, SL_MIN(e->current.lsn, e->current.older_lsn));
    return SL_OK;
}

/* A new journal file has begun: the LSN row, then both slots, and only then may old files be
 * reused. */
sl_err recovery__publish_journal(struct local_engine *e, uint64_t lsn)
{
    SL_TRY(snapshot__commit_lsn(e, lsn));
    SL_TRY(current__write(&e->current, lsn, false));
    SL_TRY(current__write(&e->current, lsn, false));
    journal__recycle(e->journal, lsn);
    return SL_OK;
}

static sl_err begin_journal(struct local_engine *e)
{
    uint64_t lsn = 0;
    sl_err err = journal__start(e->journal, e->replayed_lsn, &lsn);
    if (err == SL_OK)
        err = recovery__publish_journal(e, lsn);
    atomic_store(&e->needs_journal, err != SL_OK);
    if (err == SL_OK)
        e->completed_lsn = lsn;
    if (err != SL_ENOSPC)
        return err;
    atomic_store(&e->refusing, true); /* B07: reads and deletes are served all the same */
    return SL_OK;
}

/* Holes are known from the rows, whatever the start was like. */
static void report_holes(struct recovery *r)
{
    void *value = NULL;
    for (size_t i = 0; map_next(r->parts, &i, NULL, &value);) {
        struct log_part *p = ((struct rec_part *)value)->part;
        int64_t end = recovery__note_holes(p);
        if (end < p->high_watermark)
            part__damage(p, end, p->high_watermark);
    }
}

static void report(const struct recovery *r)
{
    if (r->stale)
        LOG_WARN("metastore.rebuilt", "topics and logs are complete again",
                 F_I64("topics_restored", r->restored), F_I64("partitions", map_count(r->parts)));
    LOG_INFO("recovery.done", r->clean ? "clean start" : "recovered after an unclean end",
             F_I64("partitions", map_count(r->parts)), F_I64("replayed", r->replayed),
             F_I64("cut_bytes", r->cut_bytes), F_I64("damaged", r->damaged));
}

static sl_err run(struct recovery *r)
{
    struct local_engine *e = r->engine;
    SL_TRY(make_folders(e));
    SL_TRY(open_journal(r));
    SL_TRY(recovery__topics(r));
    SL_TRY(load_rows(r));
    bool fresh = !e->current.found && map_count(r->parts) == 0 && !r->stale;
    if (!r->clean && !fresh)
        SL_TRY(repair(r));
    else
        report_holes(r);
    SL_TRY(begin_journal(e));
    if (atomic_load(&e->needs_journal))
        LOG_ERROR("disk.full", "no space for a journal: appends are refused until there is",
                  F_STR("dir", e->data_dir));
    e->counters.metadata_rebuilt = r->stale;
    if (!fresh)
        report(r);
    return SL_OK;
}

sl_err recovery__run(struct local_engine *e, struct sl_fault *fault)
{
    struct recovery r = {.engine = e,
                         .fault = fault,
                         .parts = map_new(SIZE_MAX),
                         .foreign = map_new(SIZE_MAX),
                         .now_ms = clock_wall_ms(e->env.clock)};
    if (!space__has(e, e->cfg.reserve_bytes)) {
        atomic_store(&e->space.has_ballast, true); /* if the last process left one */
        space__release_ballast(e);
    }
    sl_err err = run(&r);
    if (err != SL_OK && fault && fault->what[0] == 0)
        (void)sl_fault_set(fault, err, "recovery of the data directory failed: %s",
                           sl_err_text(err));
    void *value = NULL;
    for (size_t i = 0; map_next(r.parts, &i, NULL, &value);)
        sl_free(value);
    map_free(r.parts);
    map_free(r.foreign);
    return err;
}
