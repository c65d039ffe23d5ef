/* What groups have of partitions becomes durable: one commit at a time, with all that waits.
 *
 * The cursor of a part goes with the next commit. Its ranges go with it when they were not written
 * for RANGES_MS, else with a later one; on close at once. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum {
    RANGES_MS = 100,
    RETRY_MS = 1000, /* after a commit that was refused (the disk is full) */
    REFRESH_MS = 10 * 60 * 1000,
    COMMIT_PARTS_MAX = 4096,
    ROW_KEY_BYTES = sizeof(void *) + 16 + sizeof(int32_t),
};

struct stored_part {
    struct share_topic *of;
    struct share_part *part;
    int64_t cursor; /* -1: not in this commit */
    bool has_ranges, deletes;
    struct slice ranges;
};

struct share_commit {
    struct meta_txn txn;
    struct subscriptions *engine;
    uint64_t number;
    struct stored_part *parts;
    uint32_t n_parts;
    struct meta_op *ops;
};

static void flush(struct subscriptions *e);

/* ---- rows -------------------------------------------------------------------------------------
 */

static size_t row_key(const struct group *g, const struct uuid *id, int32_t partition,
                      uint8_t key[ROW_KEY_BYTES])
{
    const void *group = g;
    memcpy(key, &group, sizeof group);
    memcpy(key + sizeof group, id->bytes, sizeof id->bytes);
    memcpy(key + sizeof group + sizeof id->bytes, &partition, sizeof partition);
    return ROW_KEY_BYTES;
}

struct share_row *share_row_find(struct subscriptions *e, const struct group *g,
                                 const struct uuid *topic_id, int32_t partition)
{
    uint8_t key[ROW_KEY_BYTES];
    return map_get(e->rows, key, row_key(g, topic_id, partition, key));
}

void share_row_put(struct subscriptions *e, struct group *g, const struct uuid *topic_id,
                   int32_t partition, struct slice ranges)
{
    uint8_t key[ROW_KEY_BYTES];
    struct share_row *row = share_row_find(e, g, topic_id, partition);
    if (!row) {
        row = sl_new(struct share_row);
        row->group = g;
        row->topic_id = *topic_id;
        row->partition = partition;
        list_push_back(&g->share_rows, &row->node);
        sl_err err = map_put(e->rows, key, row_key(g, topic_id, partition, key), row, NULL);
        SL_ASSERT(err == SL_OK);
    }
    slice_unref(&row->ranges);
    row->ranges = slice_ref(ranges, 0, ranges.len);
}

void share_row_remove(struct subscriptions *e, struct share_row *row)
{
    uint8_t key[ROW_KEY_BYTES];
    if (!row)
        return;
    map_remove(e->rows, key, row_key(row->group, &row->topic_id, row->partition, key));
    list_remove(&row->node);
    slice_unref(&row->ranges);
    sl_free(row);
}

/* ---- what is to be written --------------------------------------------------------------------
 */

static void flush_now(struct task *t)
{
    struct subscriptions *e = SL_CONTAINER_OF(t, struct subscriptions, flush_task);
    e->flush_scheduled = false;
    flush(e);
    broker__idle_check(e->broker);
}

/* At the end of this turn of the loop: acks that arrived together are committed together. */
static void schedule_flush(struct subscriptions *e)
{
    if (e->flush_scheduled || e->commit || timer_running(&e->retry_timer))
        return;
    e->flush_scheduled = true;
    loop_defer(e->broker->env.loop, &e->flush_task);
}

void share_part_changed(struct share_part *p)
{
    struct subscriptions *e = p->of->engine;
    if (!p->of->topic || !p->open)
        return;
    /* A group without an offset is swept away, with its ranges. */
    p->must_store |= !p->has_offset && p->share.n_acked > 0;
    bool cursor_waits = p->must_store || p->share.cursor != p->sent_cursor;
    if (cursor_waits && !list_linked(&p->dirty)) {
        list_push_back(&e->dirty, &p->dirty);
        schedule_flush(e);
    }
    if (p->share.changes == p->sent_changes)
        return;
    if (!list_linked(&p->ranges))
        list_push_back(&e->ranges, &p->ranges);
    if (!timer_running(&e->ranges_timer) && !e->ranges_due)
        timer_start(&e->ranges_timer, RANGES_MS);
}

/* Retention of the offset counts from its commit: not from an ack long before the stream went. */
static void refresh(struct share_part *p)
{
    const struct share_topic *t = p->of;
    const struct committed *c = group_offsets_find(&t->group->offsets, &t->topic_id, p->index);
    int64_t now_ms = clock_wall_ms(t->engine->broker->env.clock);
    if (p->open && c && now_ms - c->commit_ms > REFRESH_MS)
        p->must_store = true;
}

void share_part_store_now(struct share_part *p)
{
    refresh(p);
    share_part_changed(p);
    struct subscriptions *e = p->of->engine;
    if (list_linked(&p->ranges)) {
        p->ranges_now = true;
        e->ranges_now = true;
        schedule_flush(e);
    }
}

void share_part_forget_stores(struct share_part *p)
{
    list_remove(&p->dirty);
    list_remove(&p->ranges);
    p->must_store = p->ranges_now = false;
}

bool share_part_is_clean(const struct share_part *p)
{
    return !list_linked(&p->dirty) && !list_linked(&p->ranges);
}

/* ---- commits ----------------------------------------------------------------------------------
 */

static void add_cursor(struct share_commit *c, struct stored_part *s)
{
    struct share_part *p = s->part;
    s->cursor = p->share.cursor;
    list_remove(&p->dirty);
    p->must_store = false;
    p->has_offset = true;
    p->sent_cursor = s->cursor;
    struct meta_op *op = &c->ops[c->txn.n_ops++];
    op->kind = META_OFFSET_PUT;
    op->offset = (struct meta_offset){
        .org = p->of->group->org,
        .group = p->of->group->name,
        .topic_id = p->of->topic_id,
        .partition = p->index,
        .offset = s->cursor,
        .leader_epoch = -1,
        .commit_ms = clock_wall_ms(c->engine->broker->env.clock),
        .expire_ms = -1,
    };
}

static void add_ranges(struct share_commit *c, struct stored_part *s)
{
    struct share_part *p = s->part;
    if (share_image_encode(&p->share, &s->ranges) != SL_OK)
        return; /* no memory now: they wait for the next commit */
    struct group *g = p->of->group;
    s->deletes = !s->ranges.len;
    s->has_ranges = !s->deletes || share_row_find(c->engine, g, &p->of->topic_id, p->index);
    p->sent_changes = p->share.changes;
    p->ranges_now = false;
    list_remove(&p->ranges);
    if (!s->has_ranges)
        return;
    struct meta_op *op = &c->ops[c->txn.n_ops++];
    op->kind = s->deletes ? META_SHARE_DELETE : META_SHARE_PUT;
    op->share = (struct meta_share){.org = g->org,
                                    .group = g->name,
                                    .topic_id = p->of->topic_id,
                                    .partition = p->index,
                                    .ranges = s->ranges};
}

static bool ranges_go(const struct share_part *p)
{
    return list_linked(&p->ranges) && (p->of->engine->ranges_due || p->ranges_now);
}

static void add_part(struct share_commit *c, struct share_part *p)
{
    struct stored_part *s = &c->parts[c->n_parts++];
    *s = (struct stored_part){.of = p->of, .part = p, .cursor = -1};
    p->of->n_busy++;
    if (list_linked(&p->dirty))
        add_cursor(c, s);
    if (ranges_go(p))
        add_ranges(c, s);
}

static size_t count_waiting(const struct subscriptions *e)
{
    size_t n = 0;
    LIST_FOREACH (node, &e->dirty)
        n++;
    if (e->ranges_due || e->ranges_now)
        LIST_FOREACH (node, &e->ranges)
            n += ranges_go(SL_CONTAINER_OF(node, struct share_part, ranges));
    return n;
}

static void gather(struct share_commit *c, uint32_t max)
{
    struct subscriptions *e = c->engine;
    while (!list_empty(&e->dirty) && c->n_parts < max)
        add_part(c, SL_CONTAINER_OF(e->dirty.next, struct share_part, dirty));
    LIST_FOREACH_SAFE(node, &e->ranges)
    {
        struct share_part *p = SL_CONTAINER_OF(node, struct share_part, ranges);
        if (c->n_parts < max && ranges_go(p))
            add_part(c, p);
    }
}

/* Those whose commit has ended. */
static void tell_waiting(struct subscriptions *e, sl_err err)
{
    LIST_FOREACH_SAFE(node, &e->waits)
    {
        struct store_wait *w = SL_CONTAINER_OF(node, struct store_wait, node);
        if (w->commit > e->n_committed)
            continue;
        list_remove(node);
        w->stored(w, err);
    }
}

static void settle_part(struct subscriptions *e, const struct stored_part *s)
{
    struct group *g = s->of->group;
    struct group_offsets *o = &g->offsets;
    size_t before = o->count;
    if (!s->of->topic)
        return; /* deleted meanwhile: its rows go with it */
    if (s->cursor >= 0) {
        struct committed c = {.offset = s->cursor,
                              .commit_ms = clock_wall_ms(e->broker->env.clock),
                              .expire_ms = -1,
                              .leader_epoch = -1,
                              .partition = s->part->index};
        group_offsets_put(o, &s->of->topic_id, &c, (struct slice){0});
        e->broker->groups->n_offsets += o->count - before;
    }
    if (s->has_ranges && s->deletes)
        share_row_remove(e, share_row_find(e, g, &s->of->topic_id, s->part->index));
    else if (s->has_ranges)
        share_row_put(e, g, &s->of->topic_id, s->part->index, s->ranges);
}

static void take_back(const struct stored_part *s)
{
    struct share_part *p = s->part;
    p->must_store |= s->cursor >= 0;
    if (s->has_ranges) {
        p->sent_changes = p->share.changes - 1; /* as if it had changed since */
        p->ranges_now = true;
    }
    share_part_changed(p);
}

static void commit_done(struct meta_txn *txn)
{
    struct share_commit *c = SL_CONTAINER_OF(txn, struct share_commit, txn);
    struct subscriptions *e = c->engine;
    broker__check_meta(e->broker, txn->err, &txn->fault);
    e->commit = NULL;
    e->n_committed = c->number;
    e->counters.commits += txn->err == SL_OK;
    e->failed = txn->err != SL_OK;
    if (e->failed)
        timer_start(&e->retry_timer, RETRY_MS);
    for (uint32_t i = 0; i < c->n_parts; i++) {
        if (txn->err == SL_OK)
            settle_part(e, &c->parts[i]);
        else
            take_back(&c->parts[i]);
        slice_unref(&c->parts[i].ranges);
    }
    tell_waiting(e, txn->err);
    for (uint32_t i = 0; i < c->n_parts; i++) {
        c->parts[i].of->n_busy--;
        (void)share_topic_end_step(c->parts[i].of);
    }
    sl_free(c->parts);
    sl_free(c->ops);
    sl_free(c);
    flush(e);
    broker__idle_check(e->broker);
}

static void flush(struct subscriptions *e)
{
    if (e->commit || timer_running(&e->retry_timer))
        return;
    size_t waiting = count_waiting(e);
    uint32_t n = (uint32_t)SL_MIN(waiting, (size_t)COMMIT_PARTS_MAX);
    if (!n) { /* what was to be written is not any more, or it was */
        e->ranges_due = e->ranges_now = false;
        LIST_FOREACH (node, &e->waits)
            SL_CONTAINER_OF(node, struct store_wait, node)->commit = 0;
        tell_waiting(e, SL_OK);
        return;
    }
    struct share_commit *c = sl_new(struct share_commit);
    c->engine = e;
    c->parts = sl_new_array(struct stored_part, n);
    c->ops = sl_new_array(struct meta_op, 2 * (size_t)n);
    gather(c, n);
    if (waiting == n)
        e->ranges_due = e->ranges_now = false;
    c->number = ++e->n_commits;
    c->txn.ops = c->ops;
    c->txn.home = e->broker->env.loop;
    c->txn.done = commit_done;
    e->commit = c;
    if (c->txn.n_ops > 0)
        meta_submit(e->broker->env.meta, &c->txn);
    else
        commit_done(&c->txn); /* ranges that came and went: there is no row to remove */
}

void share_store_wait(struct subscriptions *e, struct store_wait *w,
                      void (*stored)(struct store_wait *w, sl_err err))
{
    size_t n = count_waiting(e);
    w->stored = stored;
    w->commit = e->n_commits + (n + COMMIT_PARTS_MAX - 1) / COMMIT_PARTS_MAX;
    if (w->commit <= e->n_committed) {
        stored(w, SL_OK);
        return;
    }
    list_push_back(&e->waits, &w->node);
    schedule_flush(e);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void ranges_are_due(struct timer *t)
{
    struct subscriptions *e = SL_CONTAINER_OF(t, struct subscriptions, ranges_timer);
    e->ranges_due = true;
    flush(e);
}

static void retry(struct timer *t)
{
    flush(SL_CONTAINER_OF(t, struct subscriptions, retry_timer));
}

void share_store_init(struct subscriptions *e)
{
    e->rows = map_new(SIZE_MAX / 2);
    list_init(&e->dirty);
    list_init(&e->ranges);
    list_init(&e->waits);
    e->flush_task.run = flush_now;
    timer_init(&e->ranges_timer, e->broker->env.loop, ranges_are_due);
    timer_init(&e->retry_timer, e->broker->env.loop, retry);
}

void share_store_fini(struct subscriptions *e)
{
    timer_stop(&e->ranges_timer);
    timer_stop(&e->retry_timer);
    SL_ASSERT(!e->commit);
    map_free(e->rows);
}
