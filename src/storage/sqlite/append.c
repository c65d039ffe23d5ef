/* The core loop's side of an append: as in the local engine (../append.c), with less of it, because
 * a group is one transaction: it is done, or nothing of it happened. */
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"

/* ---- pendings ---------------------------------------------------------------------------- */

static struct sqlog_pending *pending_of(struct list *node)
{
    return SL_CONTAINER_OF(node, struct sqlog_pending, item.node);
}

static struct sqlog_pending *pending_new(struct log_append *a, struct sqlog_part *part)
{
    struct sqlog_pending *p = sl_new(struct sqlog_pending);
    p->item.is_append = true;
    p->append = a;
    a->engine_data = p;
    p->part = sqlog__part_ref(part);
    p->durability = a->durability;
    p->append_time = a->append_time;
    p->base_offset = p->append_ms = -1;
    p->gen = part->gen;
    return p;
}

static void pending_free(struct sqlog_pending *p)
{
    for (uint32_t i = 0; i < p->n_batches; i++)
        slice_unref(&p->batches[i].bytes);
    if (p->batches != &p->one)
        sl_free(p->batches);
    sqlog__part_unref(p->part);
    sl_free(p);
}

static void take_batches(struct sqlog_pending *p, const struct log_append *a)
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

/* Offsets only: rows have no header to stamp, and the batch stays as it was sent. */
static void place(struct sqlog_pending *p)
{
    struct sqlog_part *part = p->part;
    SL_ASSERT(part->plan_next >= part->high_watermark);
    int64_t now_ms = clock_wall_ms(part->engine->env.clock);
    part->last_append_ms = SL_MAX(part->last_append_ms, now_ms); /* never goes back */
    p->append_ms = part->last_append_ms;
    p->base_offset = part->plan_next;
    p->placed = true;
    for (uint32_t i = 0; i < p->n_batches; i++) {
        struct batch_info *info = &p->batches[i].info;
        info->base_offset = part->plan_next;
        if (info->producer_id >= 0)
            producers__plan(&part->producers, info, info->base_offset);
        part->plan_next += (int64_t)info->last_offset_delta + 1;
    }
    p->next_offset = part->plan_next;
}

static sl_err check_batches(const struct log_append *a)
{
    for (uint32_t i = 0; i < a->n_batches; i++)
        if (a->batches[i].info.attributes & (BATCH_TRANSACTIONAL | BATCH_CONTROL))
            return SL_ETXN_STATE; /* rows know no markers */
    return a->n_batches > 0 ? SL_OK : SL_EINVAL;
}

/* An append of an idempotent producer is one batch, as in Kafka: its answer is one offset. */
static sl_err check_sequence(struct sqlog_pending *p, const struct log_append *a)
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

static sl_err admit(struct sqlog *e, const struct log_append *a, const struct sqlog_part *part)
{
    if (atomic_load_explicit(&part->dropped, memory_order_relaxed))
        return SL_ETOPIC;
    if (e->dead)
        return SL_EUNKNOWN_OUTCOME;
    if (e->closing)
        return SL_ECLOSED;
    if (part->topic->row_id == 0)
        return SL_ETOPIC; /* nobody has written the topic */
    if (e->queued_bytes > e->cfg.queue_bytes_max)
        return SL_ELIMIT;
    return check_batches(a);
}

void sqlog__append(struct log_engine *base, struct log_append *a)
{
    struct sqlog *e = sqlog__of(base);
    struct sqlog_part *part = sqlog__part(a->part);
    SL_ASSERT(loop_is_current(e->env.loop));
    SL_ASSERT(a->done && part->engine == e);
    a->err = SL_OK;
    a->duplicate = false;
    a->base_offset = a->log_append_ms = -1;
    struct sqlog_pending *p = pending_new(a, part);
    p->err = admit(e, a, part);
    if (p->err == SL_OK)
        p->err = check_sequence(p, a);
    if (p->err == SL_OK && !p->duplicate) {
        take_batches(p, a);
        place(p);
        e->queued_bytes += p->bytes;
    }
    part->inflight++;
    e->inflight++;
    list_push_back(&e->turn, &p->item.node);
    sqlog__arm_turn_end(e);
}

void sqlog__abandon(struct log_engine *base, struct log_append *a)
{
    struct sqlog_pending *p = a->engine_data;
    SL_ASSERT(loop_is_current(sqlog__of(base)->env.loop));
    SL_ASSERT(p && p->append == a); /* not answered yet */
    p->append = NULL;
    a->engine_data = NULL;
}

/* ---- completion -------------------------------------------------------------------------- */

static void answer(struct sqlog_pending *p, sl_err err)
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

static void complete_ok(struct sqlog_pending *p)
{
    struct sqlog_part *part = p->part;
    for (uint32_t i = 0; i < p->n_batches; i++) {
        const struct batch_info *info = &p->batches[i].info;
        if (info->producer_id >= 0)
            producers__complete(part->producers, info, info->base_offset, p->append_ms);
    }
    SL_ASSERT(p->next_offset > part->high_watermark); /* completions come in order */
    part->high_watermark = p->next_offset;
    part->bytes += p->row_bytes;
    part->engine->counters.appended_batches += p->n_batches;
    part->engine->counters.appended_bytes += p->bytes;
}

static void complete_failed(const struct sqlog_pending *p)
{
    struct sqlog_part *part = p->part;
    if (!p->placed || p->gen != part->gen)
        return;
    part->gen++;
    part->plan_next = part->high_watermark;
    producers__reset_planned(part->producers);
}

static void leave(struct sqlog_pending *p)
{
    struct sqlog_part *part = p->part;
    SL_ASSERT(part->inflight > 0);
    SL_ASSERT(part->engine->inflight >= part->inflight);
    part->inflight--;
    part->engine->inflight--;
    if (p->placed)
        part->engine->queued_bytes -= p->bytes;
}

static void complete(struct sqlog_pending *p)
{
    leave(p);
    if (p->err != SL_OK)
        complete_failed(p);
    else if (p->placed)
        complete_ok(p);
}

void sqlog__group_done(struct task *t)
{
    struct sqlog_group *g = SL_CONTAINER_OF(t, struct sqlog_group, task);
    struct sqlog *e = g->engine;
    /* All state first: what an answer starts must see the whole group. */
    LIST_FOREACH (node, &g->pendings)
        complete(pending_of(node));
    e->counters.groups++;
    if (g->fatal)
        e->dead = true;
    LIST_FOREACH (answered, &g->pendings) {
        struct sqlog_pending *p = pending_of(answered);
        answer(p, p->err);
    }
    LIST_FOREACH (woken, &g->pendings)
        sqlog__part_wake(pending_of(woken)->part);
    struct list *node;
    while ((node = list_pop_front(&g->pendings)))
        pending_free(pending_of(node));
    bool fatal = g->fatal;
    sl_free(g);
    if (fatal)
        sqlog__die(e, "sluice.db could not be written or synced");
    sqlog__idle_check(e);
}

/* ---- handover ---------------------------------------------------------------------------- */

/* Refusals and repeats of completed batches with nothing before them are answered at once; all
 * others keep their place behind what their partition has under way. */
static bool is_first_and_empty(const struct sqlog_pending *p)
{
    return !p->placed && p->part->inflight == 1;
}

static void answer_now(struct list *now)
{
    struct list *node;
    while ((node = list_pop_front(now))) {
        struct sqlog_pending *p = pending_of(node);
        leave(p);
        answer(p, p->err);
        pending_free(p);
    }
}

static void fire_ripe(struct sqlog *e)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &e->ripe);
    struct list *node;
    while ((node = list_pop_front(&now))) {
        struct log_watch *w = SL_CONTAINER_OF(node, struct log_watch, node);
        w->moved(w);
    }
}

void sqlog__handover(struct task *t)
{
    struct sqlog *e = SL_CONTAINER_OF(t, struct sqlog, handover);
    struct list now, later;
    struct list *node;
    list_init(&now);
    list_init(&later);
    e->handover_armed = false;
    while ((node = list_pop_front(&e->turn)))
        list_push_back(is_first_and_empty(pending_of(node)) ? &now : &later, node);
    LIST_FOREACH (queued, &later) {
        struct sqlog_pending *p = pending_of(queued);
        if (p->durability == LOG_NONE && p->err == SL_OK)
            answer(p, SL_OK); /* before it belongs to the writer */
    }
    if (!list_empty(&later))
        sqlog__submit_appends(e, &later);
    answer_now(&now);
    fire_ripe(e);
    sqlog__idle_check(e);
}
