/* A group on a topic while it is in use: made, opened part by part, freed. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"

struct share_topic *share_topic_find(struct group *g, const struct uuid *topic_id)
{
    LIST_FOREACH (node, &g->shares) {
        struct share_topic *t = SL_CONTAINER_OF(node, struct share_topic, node);
        if (uuid_equal(&t->topic_id, topic_id))
            return t;
    }
    return NULL;
}

/* ---- parts ------------------------------------------------------------------------------------
 */

static void on_timer(struct timer *t)
{
    struct share_part *p = SL_CONTAINER_OF(t, struct share_part, timer);
    if (p->of->n_streams)
        share_part_wake(p);
    else
        (void)share_topic_end_step(p->of);
}

static void on_moved(struct log_watch *w)
{
    share_part_wake(SL_CONTAINER_OF(w, struct share_part, watch));
}

static struct share_part *part_new(struct share_topic *t, int32_t index)
{
    struct subscriptions *e = t->engine;
    struct share_part *p = sl_new(struct share_part);
    p->of = t;
    p->index = index;
    p->log = broker__partition(t->topic, index)->log;
    p->turn.run = share_part_run;
    p->watch.moved = on_moved;
    p->sent_cursor = -1;
    timer_init(&p->timer, e->broker->env.loop, on_timer);
    feed_walker_init(&p->ahead, e->feed, p->log, share_part_walked);
    feed_walker_init(&p->again, e->feed, p->log, share_part_walked_again);
    share_init(&p->share, 0);
    return p;
}

/* Nothing happens by itself any more. */
static void part_rest(struct share_part *p)
{
    timer_stop(&p->timer);
    list_remove(&p->watch.node);
    list_remove(&p->turn.node);
    feed_walker_rest(&p->ahead);
    feed_walker_rest(&p->again);
    p->current = NULL;
}

static void part_free(struct share_part *p)
{
    part_rest(p);
    share_part_forget_stores(p);
    share_fini(&p->share);
    sl_free(p);
}

sl_err share_part_open(struct share_part *p, enum subscribe_from from)
{
    struct share_topic *t = p->of;
    struct log_part_state state;
    SL_ASSERT(!p->open);
    const struct committed *c = group_offsets_find(&t->group->offsets, &t->topic_id, p->index);
    log_part_state(t->engine->broker->env.log, p->log, &state);
    int64_t cursor = from == SUBSCRIBE_LATEST ? state.high_watermark : state.log_start;
    if (c && c->offset >= 0)
        cursor = c->offset;
    share_fini(&p->share);
    share_init(&p->share, cursor);
    struct share_row *row = share_row_find(t->engine, t->group, &t->topic_id, p->index);
    if (row)
        SL_TRY(share_image_load(&p->share, row->ranges));
    p->sent_cursor = cursor; /* a place that is not stored is the same after a restart */
    p->has_offset = c != NULL;
    p->must_store = !c && from == SUBSCRIBE_LATEST;
    p->sent_changes = p->share.changes;
    p->open = true;
    share_part_changed(p);
    share_part_wake(p);
    return SL_OK;
}

/* ---- topics -----------------------------------------------------------------------------------
 */

void share_topic_grow(struct share_topic *t)
{
    int32_t n = t->topic->n_partitions;
    if (n <= t->n_parts)
        return;
    t->parts = sl_realloc(t->parts, (size_t)n, sizeof(struct share_part *));
    for (int32_t i = t->n_parts; i < n; i++)
        t->parts[i] = part_new(t, i);
    t->n_parts = n;
}

struct share_topic *share_topic_make(struct subscriptions *e, struct group *g, struct topic *topic)
{
    struct share_topic *t = share_topic_find(g, &topic->id);
    if (!t) {
        t = sl_new(struct share_topic);
        t->engine = e;
        t->group = g;
        t->topic = topic;
        t->topic_id = topic->id;
        list_init(&t->streams);
        list_push_back(&g->shares, &t->node);
    }
    share_topic_grow(t);
    return t;
}

void share_part_forget(struct share_part *p)
{
    SL_ASSERT(!p->of->n_streams);
    part_rest(p);
    share_part_forget_stores(p);
    p->open = false;
    timer_start(&p->timer, 0); /* the topic may not be needed any more */
}

void share_topic_forget(struct share_topic *t)
{
    for (int32_t i = 0; i < t->n_parts; i++)
        share_part_forget(t->parts[i]);
}

static bool is_clean(const struct share_topic *t)
{
    for (int32_t i = 0; i < t->n_parts; i++)
        if (!share_part_is_clean(t->parts[i]))
            return false;
    return true;
}

/* Messages that are to come later are not forgotten because their stream reconnects. */
static bool waits_for_delays(struct share_topic *t)
{
    bool waits = false;
    int64_t now_ms = subs__now_ms(t->engine);
    for (int32_t i = 0; i < t->n_parts; i++) {
        struct share_part *p = t->parts[i];
        int64_t until_ms = p->open ? share_last_delay(&p->share) : 0;
        if (until_ms <= now_ms)
            continue;
        part_rest(p);
        timer_start(&p->timer, until_ms - now_ms);
        waits = true;
    }
    return waits;
}

bool share_topic_end_step(struct share_topic *t)
{
    bool closing = t->engine->broker->closing;
    bool gives_up = !t->topic || (closing && t->engine->failed);
    if (t->n_streams || t->n_busy || (!gives_up && !is_clean(t)))
        return false;
    if (t->topic && !closing && waits_for_delays(t))
        return false;
    struct group_state *gs = t->engine->broker->groups;
    struct group *g = t->group;
    for (int32_t i = 0; i < t->n_parts; i++)
        part_free(t->parts[i]);
    filter_fini(&t->filter);
    list_remove(&t->node);
    sl_free(t->dead_topic);
    sl_free(t->parts);
    sl_free(t);
    groups__end_step(gs, g);
    return true;
}

void share_topic_wake(struct share_topic *t, int32_t partition)
{
    for (int32_t i = 0; i < t->n_parts; i++)
        if (partition < 0 || partition == i)
            share_part_wake(t->parts[i]);
}
