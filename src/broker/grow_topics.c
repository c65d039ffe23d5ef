#include "broker/call_items_int.h"
#include "broker/topic_alter_int.h"
#include "broker/topics.h"

#include "base/alloc.h"

struct growth {
    struct topic_alteration alteration;
    struct broker_grow_topics *call;
    struct broker_grow_topic *item;
};

static sl_err check_assignments(struct topic_alteration *a, const struct broker_grow_topic *item,
                                int32_t n)
{
    int32_t node = a->b->cfg.node_id;
    if (!item->has_assignments)
        return SL_OK;
    if ((int64_t)item->n_assignments != n)
        return sl_fault_set(
            &a->fault, SL_EASSIGNMENT,
            "Increasing the number of partitions by %d but %u assignments provided.", n,
            item->n_assignments);
    for (uint32_t i = 0; i < item->n_assignments; i++) {
        const struct replica_assignment *r = &item->assignments[i];
        if (r->n_broker_ids != 1 || r->broker_ids[0] != node)
            return sl_fault_set(&a->fault, SL_EASSIGNMENT,
                                "Every partition must be assigned to broker %d and no other", node);
    }
    return SL_OK;
}

static sl_err plan(struct topic_alteration *a, struct topic *t)
{
    const struct broker_grow_topic *item = SL_CONTAINER_OF(a, struct growth, alteration)->item;
    int32_t has = t->n_partitions, n = 0;
    if (item->count == has)
        return sl_fault_set(&a->fault, SL_EPARTITIONS, "Topic already has %d partition(s).", has);
    if (item->count < has)
        return sl_fault_set(&a->fault, SL_EPARTITIONS,
                            "The topic %.60s currently has %d partition(s); %d would not be an "
                            "increase.",
                            t->name, has, item->count);
    n = item->count - has;
    int64_t left = a->b->cfg.partitions_max - a->b->n_partitions;
    if (n > left || n > CREATE_PARTITIONS_MAX)
        return sl_fault_set(&a->fault, SL_EPOLICY,
                            "%d more partitions are too many: %lld of this broker's %d are left, "
                            "and at most %d in one request",
                            n, (long long)SL_MAX(left, 0), a->b->cfg.partitions_max,
                            CREATE_PARTITIONS_MAX);
    SL_TRY(check_assignments(a, item, n));
    a->n_partitions = item->count;
    return SL_OK;
}

static void ended(struct topic_alteration *a, sl_err err)
{
    struct growth *g = SL_CONTAINER_OF(a, struct growth, alteration);
    struct broker_grow_topics *c = g->call;
    g->item->err = err;
    g->item->message = items__text(&c->items, a->fault.what);
    sl_free(g);
    items__end(&c->items);
}

static void start_item(struct broker_grow_topics *c, struct broker_grow_topic *item)
{
    struct growth *g = sl_new(struct growth);
    g->call = c;
    g->item = item;
    g->alteration.b = c->call.broker;
    g->alteration.who = c->call.who;
    g->alteration.name = item->name;
    g->alteration.validate_only = c->validate_only;
    g->alteration.plan = plan;
    g->alteration.ended = ended;
    alteration__start(&g->alteration);
}

static void refuse_repeated(struct broker_grow_topics *c)
{
    SL_AUTO(map_free) struct map *seen = map_new(c->n_topics);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct broker_grow_topic *item = &c->topics[i];
        struct broker_grow_topic *first = items__first(seen, item->name, item);
        if (!first)
            continue;
        first->err = item->err = SL_EINVAL;
        first->message = item->message = "Duplicate topic name.";
    }
}

static void run(struct broker_call *base)
{
    struct broker_grow_topics *c = SL_CONTAINER_OF(base, struct broker_grow_topics, call);
    if (!items__begin(&c->items, base, c->n_topics, &c->err))
        return;
    refuse_repeated(c);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        if (c->topics[i].err == SL_OK)
            start_item(c, &c->topics[i]);
        else
            items__end(&c->items);
    }
    items__end(&c->items);
}

void broker_grow_topics_init(struct broker_grow_topics *c)
{
    c->call.run = run;
}

void broker_grow_topics_fini(struct broker_grow_topics *c)
{
    items__free(&c->items);
}
