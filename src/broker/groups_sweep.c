/* What nobody needs any more: offsets past their retention, groups without members and offsets.
 * A round looks at every group, a slice of them at a time. */
#include "broker/groups_int.h"

enum {
    SWEEP_ROUND_MS = 60 * 1000,
    SWEEP_SLICE_MS = 20,
    SWEEP_SLICE_GROUPS = 64,
    SWEEP_OPS_MAX = 1000, /* rows deleted in one transaction; the rest waits for the next round */
};

/* When the retention of this offset began, or -1 while it does not run. Kafka's rule, except that
 * a commit into an empty group counts from the commit. */
static int64_t retention_began(const struct group *g, const struct committed *c,
                               const struct topic *topic)
{
    if (g->life == GROUP_EMPTY && g->protocol_type.len)
        return SL_MAX(g->changed_wall_ms, c->commit_ms);
    if (g->life == GROUP_EMPTY)
        return c->commit_ms;
    bool consumers = slice_eq_str(g->protocol_type, "consumer");
    if (g->life == GROUP_STABLE && consumers && !group_subscribes(g, slice_str(topic->name)))
        return c->commit_ms;
    return -1;
}

bool groups__offset_expired(const struct group *g, const struct committed *c,
                            const struct topic *topic, int64_t now_ms, int64_t retention_ms)
{
    int64_t expire_ms = c->expire_ms >= 0 ? c->expire_ms : c->commit_ms + retention_ms;
    if (now_ms < expire_ms)
        return false; /* the cheap look first: no retention begins before its commit */
    int64_t began_ms = retention_began(g, c, topic);
    if (began_ms < 0)
        return false;
    return c->expire_ms >= 0 || now_ms - began_ms >= retention_ms;
}

static bool expired(const struct group_state *gs, const struct group *g,
                    const struct offset_topic *t, const struct committed *c)
{
    const struct topic *topic = broker__topic_by_id(gs->broker, &t->topic_id);
    return topic && groups__offset_expired(g, c, topic, clock_wall_ms(gs->broker->env.clock),
                                           gs->broker->cfg.offsets_retention_ms);
}

static size_t count_expired(const struct group_state *gs, const struct group *g)
{
    size_t n = 0;
    for (uint32_t i = 0; i < g->offsets.n; i++)
        for (uint32_t k = 0; k < g->offsets.topics[i]->n && n < SWEEP_OPS_MAX; k++)
            n += expired(gs, g, g->offsets.topics[i], &g->offsets.topics[i]->items[k]);
    return n;
}

static void settle_expired(struct group_txn *t)
{
    struct group *g = t->group;
    size_t before = g->offsets.count;
    for (size_t i = 0; i < t->txn.n_ops && t->txn.err == SL_OK; i++) {
        const struct meta_offset *row = &t->ops[i].offset;
        group_offsets_remove(&g->offsets, &row->topic_id, row->partition);
        subs__ranges_gone(t->groups->broker, g, &row->topic_id, row->partition);
    }
    t->groups->n_offsets -= before - g->offsets.count;
    g->host->expired_offsets += before - g->offsets.count;
}

static void add_expired(struct group_txn *t, const struct offset_topic *from)
{
    for (uint32_t k = 0; k < from->n && t->txn.n_ops < t->cap; k++)
        if (expired(t->groups, t->group, from, &from->items[k]))
            groups__txn_add(t, META_OFFSET_DELETE)->offset = (struct meta_offset){
                .org = t->group->org,
                .group = t->group->name,
                .topic_id = from->topic_id,
                .partition = from->items[k].partition,
            };
}

static sl_err delete_expired(struct group_state *gs, struct group *g, size_t n)
{
    struct group_txn *t;
    SL_TRY(groups__txn_new(gs, g, n, &t));
    t->settle = settle_expired;
    for (uint32_t i = 0; i < g->offsets.n; i++)
        add_expired(t, g->offsets.topics[i]);
    groups__txn_submit(t);
    return SL_OK;
}

/* A group with work under way is left for the next round: a commit that is not durable yet must
 * not be deleted by the look at its predecessor. */
static void sweep_group(struct group_state *gs, struct group *g)
{
    if (g->n_txns || g->n_streams || !list_empty(&g->shares))
        return;
    size_t n = count_expired(gs, g);
    bool empty = g->life == GROUP_EMPTY && !g->pending.n;
    if (n && (n < g->offsets.count || !empty))
        (void)delete_expired(gs, g, n); /* no memory now: the next round */
    else if ((n || (empty && !g->offsets.count)) && groups__delete(gs, g, NULL) == SL_OK)
        gs->host.expired_offsets += n;
}

static void on_sweep(struct timer *timer)
{
    struct group_state *gs = SL_CONTAINER_OF(timer, struct group_state, sweep);
    if (!gs->sweep_left)
        gs->sweep_left = map_count(gs->by_name);
    for (int i = 0; i < SWEEP_SLICE_GROUPS && gs->sweep_left && !list_empty(&gs->all); i++) {
        struct list *node = list_pop_front(&gs->all);
        list_push_back(&gs->all, node);
        gs->sweep_left--;
        sweep_group(gs, SL_CONTAINER_OF(node, struct group, node));
    }
    if (list_empty(&gs->all))
        gs->sweep_left = 0;
    timer_start(&gs->sweep, gs->sweep_left ? SWEEP_SLICE_MS : SWEEP_ROUND_MS);
}

void groups__sweep_start(struct group_state *gs)
{
    timer_init(&gs->sweep, gs->broker->env.loop, on_sweep);
    timer_start(&gs->sweep, SWEEP_ROUND_MS);
}
