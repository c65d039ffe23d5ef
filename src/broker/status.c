#include "broker/status.h"

#include "broker/groups_int.h"

void broker_counts(const struct broker *b, struct broker_counts *ret)
{
    const struct group_state *gs = b->groups;
    *ret = (struct broker_counts){.topics = (int64_t)map_count(b->topics_by_name),
                                  .partitions = b->n_partitions,
                                  .committed_offsets = (int64_t)gs->n_offsets,
                                  .rebalances = gs->host.rebalances,
                                  .expired_members = gs->host.expired_members};
    LIST_FOREACH (node, &gs->all) {
        ret->groups++;
        ret->group_members += SL_CONTAINER_OF(node, struct group, node)->members.n;
    }
}

static bool each_of_topic(struct broker *b, const struct topic *t,
                          bool (*each)(void *arg, const struct broker_partition_status *p),
                          void *arg)
{
    bool go_on = true;
    for (int32_t i = 0; i < t->n_partitions && go_on; i++) {
        struct broker_partition_status p = {.topic = t->name, .partition = i};
        b->env.log->ops->part_state(t->partitions[i].log, &p.log);
        go_on = each(arg, &p);
    }
    return go_on;
}

void broker_each_partition(struct broker *b,
                           bool (*each)(void *arg, const struct broker_partition_status *p),
                           void *arg)
{
    void *value = NULL;
    for (size_t i = 0; map_next(b->topics_by_name, &i, NULL, &value);) {
        const struct topic *t = value;
        if (t->life == TOPIC_LIVE && !each_of_topic(b, t, each, arg))
            return;
    }
}

static int64_t lag_of(struct broker *b, struct topic *t, const struct committed *c)
{
    struct log_part_state state;
    struct partition *p = broker__partition(t, c->partition);
    if (!p)
        return 0;
    b->env.log->ops->part_state(p->log, &state);
    /* Below the log start there is nothing to read: those records are gone, not behind. */
    return SL_MAX(state.high_watermark - SL_MAX(c->offset, state.log_start), 0);
}

static bool each_of_group(struct broker *b, const struct group *g,
                          bool (*each)(void *arg, const struct broker_group_lag *lag), void *arg)
{
    for (uint32_t i = 0; i < g->offsets.n; i++) {
        const struct offset_topic *offsets = g->offsets.topics[i];
        struct topic *t = broker__topic_by_id(b, &offsets->topic_id);
        if (!t || t->life != TOPIC_LIVE)
            continue;
        struct broker_group_lag lag = {
            .group = slice_of(g->name, g->name_len), .topic = t->name, .partitions = offsets->n};
        for (uint32_t n = 0; n < offsets->n; n++)
            lag.records += lag_of(b, t, &offsets->items[n]);
        if (!each(arg, &lag))
            return false;
    }
    return true;
}

void broker_each_group_lag(struct broker *b,
                           bool (*each)(void *arg, const struct broker_group_lag *lag), void *arg)
{
    LIST_FOREACH (node, &b->groups->all) {
        if (!each_of_group(b, SL_CONTAINER_OF(node, struct group, node), each, arg))
            return;
    }
}
