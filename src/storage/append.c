#include "storage/local_int.h"

#include "base/alloc.h"

enum { POOL_MAX = 4096 };

/* ---- pendings ---------------------------------------------------------------------------- */

static struct pending *pending_new(struct local_engine *e, struct log_append *a)
{
    struct list *node = list_pop_front(&e->pool);
    struct pending *p;
    if (node) {
        p = SL_CONTAINER_OF(node, struct pending, node);
        e->n_pool--;
        *p = (struct pending){0};
    } else {
        p = sl_new(struct pending);
    }
    p->append = a;
    a->engine_data = p;
    p->part = part__ref(a->part);
    p->durability = a->durability;
    p->append_time = a->append_time;
    p->base_offset = p->append_ms = -1;
    return p;
}

static void drop_batches(struct pending *p)
{
    for (uint32_t i = 0; i < p->n_batches; i++)
        slice_unref(&p->batches[i].bytes);
    if (p->batches != &p->one)
        sl_free(p->batches);
    p->n_batches = 0;
}

static void pending_free(struct local_engine *e, struct pending *p)
{
    drop_batches(p);
    segment__unref(p->segment);
    part__unref(p->part);
    if (e->n_pool < POOL_MAX) {
        list_push_back(&e->pool, &p->node);
        e->n_pool++;
    } else {
        sl_free(p);
    }
}

void append__free_pool(struct local_engine *e)
{
    struct list *node;
    while ((node = list_pop_front(&e->pool)))
        sl_free(SL_CONTAINER_OF(node, struct pending, node));
}

static void take_batches(struct pending *p, const struct log_append *a)
{
    p->n_batches = a->n_batches;
    p->batches = a->n_batches == 1 ? &p->one : sl_new_array(struct log_batch, a->n_batches);
    for (uint32_t i = 0; i < a->n_batches; i++) {
        const struct log_batch *b = &a->batches[i];
        p->batches[i] = (struct log_batch){slice_ref(b->bytes, 0, b->bytes.len), b->info};
        p->bytes += b->bytes.len;
    }
}

/* ---- plan -------------------------------------------------------------------------------- */

static bool needs_roll(const struct log_part *p, const struct segment *s, size_t bytes,
                       int64_t now_ms)
{
    if (!s || s->state != SEGMENT_ACTIVE)
        return true;
    if (s->plan_bytes == 0)
        return false;
    if ((int64_t)(s->plan_bytes + bytes) > p->cfg.segment_bytes)
        return true;
    if (p->plan_next - s->base_offset > INT32_MAX)
        return true; /* the index holds relative offsets */
    int64_t jitter = p->cfg.segment_jitter_ms > 0
                         ? (int64_t)(p->id.pid * 2654435761u) % p->cfg.segment_jitter_ms
                         : 0;
    int64_t age_ms = now_ms - s->first_append_ms;
    return p->cfg.segment_ms > 0 && s->first_append_ms >= 0 && age_ms > p->cfg.segment_ms - jitter;
}

static struct segment *roll(struct log_part *p)
{
    struct segment *old = part__active(p);
    struct segment *s = segment__new(p, p->plan_next);
    if (old && old->state == SEGMENT_ACTIVE)
        part__seal(old);
    if (old && old->state == SEGMENT_SEALED)
        s->after = segment__ref(old);
    part__push_segment(p, s);
    return s;
}

/* Offsets, leader epoch and append time go into the batch: outside of its CRC, or with a new one.
 */
static void stamp(struct pending *p, struct log_batch *b, int64_t base_offset)
{
    uint8_t *bytes = (uint8_t *)b->bytes.data; /* ours until it is shared with a reader */
    b->info.base_offset = base_offset;
    b->info.leader_epoch = p->part->leader_epoch;
    batch_set_base_offset(bytes, base_offset);
    batch_set_leader_epoch(bytes, p->part->leader_epoch);
    if (!p->append_time)
        return;
    batch_stamp_append_time(bytes, b->info.bytes, p->append_ms);
    b->info.max_timestamp = p->append_ms;
}

static void place(struct pending *p, int64_t now_ms)
{
    struct log_part *part = p->part;
    struct segment *s = part__active(part);
    SL_ASSERT(part->plan_next >= part->high_watermark);
    if (needs_roll(part, s, p->bytes, now_ms))
        s = roll(part);
    if (s->first_append_ms < 0)
        s->first_append_ms = now_ms;
    SL_ASSERT(s->base_offset <= part->plan_next);
    p->segment = segment__ref(s);
    p->pos = s->plan_bytes;
    p->base_offset = part->plan_next;
    p->append_ms = now_ms;
    p->gen = part->gen;
    for (uint32_t i = 0; i < p->n_batches; i++) {
        struct log_batch *b = &p->batches[i];
        stamp(p, b, part->plan_next);
        if (b->info.producer_id >= 0)
            producers__plan(&part->producers, &b->info, b->info.base_offset);
        part->plan_next += (int64_t)b->info.last_offset_delta + 1;
    }
    p->next_offset = s->plan_next = part->plan_next;
    s->plan_bytes += p->bytes;
}

/* An append of an idempotent producer is one batch, as in Kafka: its answer is one offset. */
static sl_err check_sequence(struct pending *p, const struct log_append *a)
{
    const struct batch_info *info = &a->batches[0].info;
    if (info->producer_id < 0)
        return SL_OK;
    if (a->n_batches != 1)
        return SL_EINVAL;
    const struct producer *producer = producers__find(p->part->producers, info->producer_id);
    struct plan_verdict v = plan__batch(producer, info, p->part->plan_next);
    if (v.duplicate) {
        p->duplicate = true;
        p->base_offset = v.base_offset;
    }
    return v.err;
}

static sl_err admit(struct local_engine *e, const struct log_append *a)
{
    const struct log_part *part = a->part;
    if (atomic_load_explicit(&part->dropped, memory_order_relaxed))
        return SL_ETOPIC;
    if (e->dead)
        return SL_EUNKNOWN_OUTCOME;
    if (e->closing)
        return SL_ECLOSED;
    if (atomic_load_explicit(&e->refusing, memory_order_relaxed))
        return SL_ENOSPC;
    if (part->read_only)
        return SL_EIO;
    if (e->queued_bytes > e->cfg.queue_bytes_max)
        return SL_ELIMIT;
    return a->n_batches > 0 ? SL_OK : SL_EINVAL;
}

static int64_t append_clock(struct log_part *p)
{
    int64_t now_ms = clock_wall_ms(p->engine->env.clock);
    p->last_append_ms = SL_MAX(p->last_append_ms, now_ms); /* never goes back, also over restarts */
    return p->last_append_ms;
}

void append__submit(struct local_engine *e, struct log_append *a)
{
    SL_ASSERT(loop_is_current(e->env.loop));
    SL_ASSERT(a->done && a->part->engine == e);
    a->err = SL_OK;
    a->duplicate = false;
    a->base_offset = a->log_append_ms = -1;
    struct pending *p = pending_new(e, a);
    p->err = admit(e, a);
    if (p->err == SL_OK)
        p->err = check_sequence(p, a);
    if (p->err == SL_OK && !p->duplicate) {
        take_batches(p, a);
        place(p, append_clock(p->part));
        e->queued_bytes += p->bytes;
    } else {
        p->gen = p->part->gen;
    }
    p->part->inflight++;
    e->inflight++;
    list_push_back(&e->turn, &p->node);
    if (!e->handover_armed) {
        e->handover_armed = true;
        loop_defer(e->env.loop, &e->handover);
    }
}

void append__abandon(struct local_engine *e, struct log_append *a)
{
    struct pending *p = a->engine_data;
    SL_ASSERT(loop_is_current(e->env.loop));
    SL_ASSERT(p && p->append == a); /* not answered yet */
    p->append = NULL;
    a->engine_data = NULL;
}

/* ---- completion -------------------------------------------------------------------------- */

static void answer(struct pending *p, sl_err err)
{
    struct log_append *a = SL_TAKE(p->append);
    if (!a)
        return; /* answered before, or abandoned */
    a->engine_data = NULL;
    a->err = err;
    a->duplicate = p->duplicate && err == SL_OK;
    a->base_offset = err == SL_OK ? p->base_offset : -1;
    a->log_append_ms = p->append_time && err == SL_OK ? p->append_ms : -1;
    a->done(a);
}

static void index_batch(struct segment *s, const struct log_batch *b, uint64_t pos,
                        int64_t append_ms, int64_t interval)
{
    const struct index_entry entry = {
        .max_timestamp_ms = s->max_timestamp_ms,
        .append_ms = append_ms,
        .rel_offset = (uint32_t)(b->info.base_offset - s->base_offset),
        .pos = (uint32_t)pos,
    };
    if (pos > 0 && pos <= UINT32_MAX)
        index_tail__add(&s->index, &entry, interval);
    else if (pos == 0)
        s->index.next_pos = (uint64_t)SL_MAX(interval, (int64_t)1);
    s->max_timestamp_ms = SL_MAX(s->max_timestamp_ms, b->info.max_timestamp);
}

static void complete_ok(struct pending *p)
{
    struct log_part *part = p->part;
    struct segment *s = p->segment;
    uint64_t pos = p->pos;
    for (uint32_t i = 0; i < p->n_batches; i++) {
        const struct log_batch *b = &p->batches[i];
        index_batch(s, b, pos, p->append_ms, part->cfg.index_interval_bytes);
        if (b->info.producer_id >= 0)
            producers__complete(part->producers, &b->info, b->info.base_offset, p->append_ms);
        pos += b->bytes.len;
    }
    SL_ASSERT(pos == p->pos + p->bytes);
    SL_ASSERT(p->next_offset > part->high_watermark); /* completions come in order */
    s->bytes = pos;
    s->next_offset = p->next_offset;
    s->last_append_ms = p->append_ms;
    s->row_dirty = true;
    part->high_watermark = p->next_offset;
    part__mark_dirty(part);
    part->engine->counters.appended_batches += p->n_batches;
    part->engine->counters.appended_bytes += p->bytes;
}

void append__reset_planned(struct log_part *p)
{
    p->gen++;
    p->plan_next = p->high_watermark;
    producers__reset_planned(p->producers);
    while (p->n_segments > 0) {
        struct segment *s = p->segments[p->n_segments - 1];
        s->plan_bytes = s->bytes;
        s->plan_next = s->next_offset;
        if (s->bytes > 0 || s->state == SEGMENT_FENCED)
            break;
        p->n_segments--;
        segment__unref(s); /* planned and never filled */
    }
}

static void complete_failed(struct pending *p)
{
    struct log_part *part = p->part;
    struct segment *s = p->segment;
    if (p->gen == part->gen && s)
        append__reset_planned(part);
    if (s && file_cache__fenced(part->engine->files, &s->file))
        checkpoint__rescue(part->engine->checkpoint, s);
    else if (p->err == SL_EIO) /* perhaps the segment before it: the checkpoint finds out */
        checkpoint__request(part->engine->checkpoint);
}

static void complete(struct pending *p)
{
    struct log_part *part = p->part;
    SL_ASSERT(part->inflight > 0);
    SL_ASSERT(part->engine->inflight >= part->inflight);
    SL_ASSERT(!p->segment || part->engine->queued_bytes >= p->bytes);
    part->inflight--;
    part->engine->inflight--;
    if (p->segment)
        part->engine->queued_bytes -= p->bytes;
    if (atomic_load_explicit(&part->gone, memory_order_relaxed))
        p->err = SL_ETOPIC;
    else if (p->err != SL_OK)
        complete_failed(p);
    else if (p->segment)
        complete_ok(p);
    if (part->to_rescue && part->inflight == 0)
        checkpoint__start_rescue(part->engine->checkpoint, part);
}

void append__written(struct task *t)
{
    struct group *g = SL_CONTAINER_OF(t, struct group, written);
    LIST_FOREACH (node, &g->pendings) {
        struct pending *p = SL_CONTAINER_OF(node, struct pending, node);
        if (p->durability != LOG_DURABLE && p->written_err == SL_OK)
            answer(p, SL_OK);
    }
}

static void finish_group(struct local_engine *e, struct group *g)
{
    if (g->end_lsn >
        e->completed_lsn) /* 0: while there is no journal; its first LSN may come now */
        e->completed_lsn = g->end_lsn;
    e->counters.groups++;
    e->counters.journal_groups += g->direct_bytes == 0 && g->bytes > 0;
    e->counters.direct_groups += g->direct_bytes > 0;
    e->direct_bytes += g->direct_bytes;
    if (journal__bytes_behind(e->journal, checkpoint__lsn(e->checkpoint)) >=
            CHECKPOINT_JOURNAL_BYTES ||
        e->direct_bytes >= CHECKPOINT_DIRECT_BYTES)
        checkpoint__request(e->checkpoint);
}

void append__done(struct task *t)
{
    struct group *g = SL_CONTAINER_OF(t, struct group, done);
    struct local_engine *e = g->engine;
    /* All state first: what an answer starts must see the whole group. */
    LIST_FOREACH (node, &g->pendings)
        complete(SL_CONTAINER_OF(node, struct pending, node));
    finish_group(e, g);
    if (g->fatal)
        e->dead = true;
    LIST_FOREACH (answered, &g->pendings) {
        struct pending *p = SL_CONTAINER_OF(answered, struct pending, node);
        answer(p, p->err);
    }
    LIST_FOREACH (woken, &g->pendings)
        part__wake(SL_CONTAINER_OF(woken, struct pending, node)->part);
    struct list *node;
    while ((node = list_pop_front(&g->pendings)))
        pending_free(e, SL_CONTAINER_OF(node, struct pending, node));
    bool fatal = g->fatal;
    sl_free(g);
    if (fatal)
        engine__die(e, "the journal could not be written or synced");
    engine__idle_check(e);
}

/* ---- handover ---------------------------------------------------------------------------- */

/* Refusals and repeats of completed batches with nothing before them are answered at once; all
 * others keep their place behind what their partition has under way. */
static bool is_first_and_empty(const struct pending *p)
{
    return !p->segment && p->part->inflight == 1;
}

void append__handover(struct task *t)
{
    struct local_engine *e = SL_CONTAINER_OF(t, struct local_engine, handover);
    struct list now, later;
    list_init(&now);
    list_init(&later);
    e->handover_armed = false;
    struct list *node;
    while ((node = list_pop_front(&e->turn)))
        list_push_back(
            is_first_and_empty(SL_CONTAINER_OF(node, struct pending, node)) ? &now : &later, node);
    LIST_FOREACH (queued, &later) {
        struct pending *p = SL_CONTAINER_OF(queued, struct pending, node);
        if (p->durability == LOG_NONE && p->err == SL_OK)
            answer(p, SL_OK); /* before it belongs to the writer */
    }
    writer__submit(e->writer, &later);
    while ((node = list_pop_front(&now))) {
        struct pending *p = SL_CONTAINER_OF(node, struct pending, node);
        p->part->inflight--;
        e->inflight--;
        answer(p, p->err);
        pending_free(e, p);
    }
    engine__fire_ripe(e);
    engine__idle_check(e);
}
