/* All subscriptions of the broker: whose turn it is, start, stop, topics that go or grow. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"

/* ---- turns ------------------------------------------------------------------------------------
 */

void subs__schedule(struct subscriptions *e)
{
    if (e->scheduled)
        return;
    e->scheduled = true;
    if (e->running) /* others on the loop come first */
        loop_post(e->broker->env.loop, &e->run_task);
    else
        loop_defer(e->broker->env.loop, &e->run_task);
}

void subs__queue(struct subscriptions *e, struct turn *t)
{
    if (list_linked(&t->node))
        return;
    list_push_back(&e->turns, &t->node);
    subs__schedule(e);
}

static void run_turns(struct task *task)
{
    struct subscriptions *e = SL_CONTAINER_OF(task, struct subscriptions, run_task);
    struct list turns;
    list_init(&turns);
    list_splice(&turns, &e->turns);
    e->scheduled = false;
    e->running = true;
    for (struct list *node; (node = list_pop_front(&turns));) {
        struct turn *t = SL_CONTAINER_OF(node, struct turn, node);
        t->run(t);
    }
    deliveries_hand_out(e); /* a door may call us here */
    streams_tell_drained(e);
    streams_tell_ended(e);
    e->running = false;
    broker__idle_check(e->broker);
}

/* ---- start and stop ---------------------------------------------------------------------------
 */

static sl_err load_share(void *arg, const struct meta_share *row)
{
    struct subscriptions *e = arg;
    struct group *g;
    if (!broker__topic_by_id(e->broker, &row->topic_id))
        return SL_OK;
    SL_TRY(groups__make(e->broker->groups, &row->org, slice_str(row->group), &g));
    struct slice ranges = slice_copy(row->ranges.data, row->ranges.len);
    if (row->ranges.len && !ranges.data)
        return SL_ENOMEM;
    share_row_put(e, g, &row->topic_id, row->partition, ranges);
    slice_unref(&ranges);
    return SL_OK;
}

sl_err subs__open(struct broker *b, struct sl_fault *fault)
{
    struct subscriptions *e = sl_new(struct subscriptions);
    e->broker = b;
    e->feed = feed_new(b);
    list_init(&e->all);
    list_init(&e->tails);
    list_init(&e->turns);
    list_init(&e->drafts);
    list_init(&e->outbox);
    list_init(&e->draining);
    list_init(&e->ending);
    list_init(&e->parked);
    e->run_task.run = run_turns;
    share_store_init(e);
    b->subscriptions = e;
    struct meta_loader loader = {.arg = e, .share = load_share};
    return meta_load(b->env.meta, &loader, fault);
}

/* What waits for delays of messages only. */
static void end_lingering(struct group_state *gs, struct group *g)
{
    g->n_streams++; /* it stays until here */
    LIST_FOREACH_SAFE(node, &g->shares)
    {
        (void)share_topic_end_step(SL_CONTAINER_OF(node, struct share_topic, node));
    }
    g->n_streams--;
    groups__end_step(gs, g);
}

void subs__close(struct broker *b)
{
    struct subscriptions *e = b->subscriptions;
    if (!e)
        return;
    subs__end_parked(e);
    LIST_FOREACH_SAFE(node, &e->all)
    {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, all_node);
        stream_end(s, SL_ECLOSED, "the broker stops");
    }
    LIST_FOREACH_SAFE(group, &b->groups->all)
    {
        end_lingering(b->groups, SL_CONTAINER_OF(group, struct group, node));
    }
}

bool subs__idle(const struct broker *b)
{
    const struct subscriptions *e = b->subscriptions;
    return !e || (list_empty(&e->all) && list_empty(&e->parked) && !e->commit && !e->scheduled &&
                  !e->flush_scheduled && !e->n_dead_letters && feed_is_idle(e->feed) &&
                  list_empty(&e->dirty) && list_empty(&e->ranges));
}

void subs__free(struct broker *b)
{
    struct subscriptions *e = b->subscriptions;
    size_t i = 0;
    void *row;
    if (!e)
        return;
    SL_ASSERT(list_empty(&e->all));
    while (map_next(e->rows, &i, NULL, &row))
        share_row_remove(e, row);
    share_store_fini(e);
    feed_free(e->feed);
    sl_free(e->headers);
    sl_free(e);
    b->subscriptions = NULL;
}

/* ---- topics -----------------------------------------------------------------------------------
 */

static void end_topic(struct share_topic *t)
{
    t->n_busy++;
    LIST_FOREACH_SAFE(node, &t->streams)
    {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, node);
        stream_end(s, SL_ETOPIC, "the topic was deleted");
    }
    share_topic_forget(t);
    t->topic = NULL;
    t->n_busy--;
    (void)share_topic_end_step(t);
}

static void remove_rows(struct subscriptions *e, const struct uuid *topic_id)
{
    size_t i = 0;
    void *value;
    while (map_next(e->rows, &i, NULL, &value)) {
        struct share_row *row = value;
        if (uuid_equal(&row->topic_id, topic_id))
            share_row_remove(e, row);
    }
}

void subs__topic_gone(struct broker *b, struct topic *t)
{
    struct subscriptions *e = b->subscriptions;
    if (!e)
        return;
    LIST_FOREACH_SAFE(node, &e->tails)
    {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, node);
        if (uuid_equal(&s->topic_id, &t->id))
            stream_end(s, SL_ETOPIC, "the topic was deleted");
    }
    remove_rows(e, &t->id);
    LIST_FOREACH_SAFE(node, &b->groups->all)
    {
        struct group *g = SL_CONTAINER_OF(node, struct group, node);
        struct share_topic *share = share_topic_find(g, &t->id);
        if (share)
            end_topic(share);
    }
    for (int32_t i = 0; i < t->n_partitions; i++)
        feed_forget(e->feed, broker__partition(t, i)->log);
}

/* A new partition is read from its start, wherever the others began. */
static void grow_tail(struct subscription *s, struct topic *t)
{
    if (s->partition >= 0 || !uuid_equal(&s->topic_id, &t->id))
        return;
    for (int32_t i = (int32_t)s->n_lanes; i < t->n_partitions; i++)
        lane_add(s, i, broker__partition(t, i)->log, 0);
}

static void grow_share(struct share_topic *share)
{
    int32_t before = share->n_parts;
    bool all = false;
    LIST_FOREACH (node, &share->streams)
        all |= SL_CONTAINER_OF(node, struct subscription, node)->partition < 0;
    share_topic_grow(share);
    for (int32_t i = before; i < share->n_parts && all; i++)
        (void)share_part_open(share->parts[i], SUBSCRIBE_EARLIEST); /* it has no row to be wrong */
}

void subs__topic_grown(struct broker *b, struct topic *t)
{
    struct subscriptions *e = b->subscriptions;
    if (!e)
        return;
    LIST_FOREACH (node, &e->tails)
        grow_tail(SL_CONTAINER_OF(node, struct subscription, node), t);
    LIST_FOREACH (node, &b->groups->all) {
        struct share_topic *share =
            share_topic_find(SL_CONTAINER_OF(node, struct group, node), &t->id);
        if (share)
            grow_share(share);
    }
}

/* ---- groups -----------------------------------------------------------------------------------
 */

bool subs__offset_set(struct broker *b, struct group *g, const struct uuid *topic_id,
                      int32_t partition)
{
    if (!b->subscriptions)
        return false;
    struct share_topic *t = share_topic_find(g, topic_id);
    if (t && partition < t->n_parts)
        share_part_forget(t->parts[partition]);
    return t || share_row_find(b->subscriptions, g, topic_id, partition);
}

void subs__ranges_gone(struct broker *b, struct group *g, const struct uuid *topic_id,
                       int32_t partition)
{
    if (b->subscriptions)
        share_row_remove(b->subscriptions,
                         share_row_find(b->subscriptions, g, topic_id, partition));
}

void subs__group_gone(struct broker *b, struct group *g)
{
    while (!list_empty(&g->share_rows))
        share_row_remove(b->subscriptions,
                         SL_CONTAINER_OF(g->share_rows.next, struct share_row, node));
}

void subs__group_set(struct broker *b, struct group *g)
{
    LIST_FOREACH (node, &g->shares)
        share_topic_forget(SL_CONTAINER_OF(node, struct share_topic, node));
}

/* ---- counters ---------------------------------------------------------------------------------
 */

static void count_share(const struct share_topic *t, struct broker_subscription_counters *ret)
{
    if (!t->n_streams || !t->topic)
        return;
    ret->groups++;
    bool waits = false;
    for (int32_t i = 0; i < t->n_parts; i++) {
        const struct share_part *p = t->parts[i];
        struct log_part_state state;
        if (!p->open)
            continue;
        log_part_state(t->engine->broker->env.log, p->log, &state);
        if (state.high_watermark > p->share.cursor)
            ret->lag += (uint64_t)(state.high_watermark - p->share.cursor) - p->share.n_acked;
        waits |= p->stop == STOP_STREAM;
    }
    LIST_FOREACH (node, &t->streams)
        ret->blocked += waits && !SL_CONTAINER_OF(node, struct subscription, node)->credit;
}

void broker_subscription_counters(const struct broker *b, struct broker_subscription_counters *ret)
{
    const struct subscriptions *e = b->subscriptions;
    struct feed_counters feed;
    *ret = e->counters;
    ret->groups = ret->blocked = 0;
    ret->lag = 0;
    feed_counters(e->feed, &feed);
    ret->reads = feed.reads;
    ret->read_bytes = feed.read_bytes;
    ret->memory_bytes = feed_memory(e->feed);
    LIST_FOREACH (node, &b->groups->all) {
        const struct group *g = SL_CONTAINER_OF(node, struct group, node);
        LIST_FOREACH (share, &g->shares)
            count_share(SL_CONTAINER_OF(share, struct share_topic, node), ret);
    }
}
