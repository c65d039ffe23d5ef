#include "broker/call_items_int.h"
#include "broker/topic_create_int.h"

#include "base/alloc.h"

static struct broker_create_topics *call_of(struct broker_call *c)
{
    return SL_CONTAINER_OF(c, struct broker_create_topics, call);
}

static void refuse(struct broker_create_topics *c, struct broker_create_topic *item, sl_err err,
                   const char *message)
{
    item->err = err;
    item->message = items__text(&c->items, message);
}

struct create_item {
    struct topic_creation creation;
    struct broker_create_topics *call;
    struct broker_create_topic *item;
};

static void creation_ended(struct topic_creation *creation, sl_err err)
{
    struct create_item *i = SL_CONTAINER_OF(creation, struct create_item, creation);
    struct broker_create_topics *c = i->call;
    if (err == SL_OK) {
        i->item->topic_id = creation->topic_id;
        i->item->n_partitions = creation->n_partitions;
        i->item->config = creation->config;
    } else {
        refuse(c, i->item, err, creation->fault.what);
    }
    sl_free(i);
    items__end(&c->items);
}

static void start_item(struct broker_create_topics *c, struct broker_create_topic *item)
{
    struct create_item *i = sl_new(struct create_item);
    i->call = c;
    i->item = item;
    i->creation.b = c->call.broker;
    i->creation.who = c->call.who;
    i->creation.wish = item;
    i->creation.kafka_names = c->kafka_names;
    i->creation.validate_only = c->validate_only;
    i->creation.ended = creation_ended;
    creation__start(&i->creation);
}

/* A name that comes twice is refused each time: nobody knows which one was meant. */
static void refuse_repeated(struct broker_create_topics *c)
{
    SL_AUTO(map_free) struct map *seen = map_new(c->n_topics);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct broker_create_topic *item = &c->topics[i];
        struct broker_create_topic *first = items__first(seen, item->name, item);
        if (!first)
            continue;
        refuse(c, first, SL_EINVAL, "Duplicate topic name.");
        refuse(c, item, SL_EINVAL, "Duplicate topic name.");
    }
}

static int64_t partitions_asked(const struct broker_create_topics *c)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < c->n_topics; i++) {
        const struct broker_create_topic *t = &c->topics[i];
        int32_t by_default = c->call.broker->cfg.num_partitions;
        n += t->n_assignments ? (int32_t)t->n_assignments
                              : SL_MAX(t->n_partitions == -1 ? by_default : t->n_partitions, 1);
    }
    return n;
}

static void run(struct broker_call *base)
{
    struct broker_create_topics *c = call_of(base);
    if (!items__begin(&c->items, base, c->n_topics, &c->err))
        return;
    c->defaults = base->broker->topic_defaults;
    bool too_many = partitions_asked(c) > CREATE_PARTITIONS_MAX;
    if (!too_many)
        refuse_repeated(c);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct broker_create_topic *item = &c->topics[i];
        if (too_many) {
            item->err = SL_EPOLICY;
            item->message = "Excessively large number of partitions per request.";
        }
        if (item->err == SL_OK)
            start_item(c, item);
        else
            items__end(&c->items);
    }
    items__end(&c->items);
}

void broker_create_topics_init(struct broker_create_topics *c)
{
    c->call.run = run;
}

void broker_create_topics_fini(struct broker_create_topics *c)
{
    items__free(&c->items);
}
