#include "broker/call_items_int.h"
#include "broker/topic_create_int.h"
#include "broker/topic_name.h"

#include "base/alloc.h"

#include <stdlib.h>

/* Of one call: memory of what is being created is bounded; who asks for more asks again. */
enum { AUTO_CREATIONS_MAX = 1000 };

/* A topic of a call that is being created because somebody asked for it. */
struct auto_creation {
    struct topic_creation creation;
    struct broker_create_topic wish;
    struct broker_metadata *call;
    struct broker_topic_view *view;
};

static const struct topic_config *keep_config(struct broker_metadata *c, const struct topic *t)
{
    struct topic_config *kept = arena_alloc(c->items.arena, 1, sizeof *kept);
    SL_ASSERT(kept); /* an arena without a budget */
    *kept = t->config;
    return kept;
}

static sl_err fill_view(struct broker_metadata *c, struct broker_topic_view *v, struct topic *t)
{
    SL_TRY(authorize(c->call.broker, c->call.who, OPERATION_DESCRIBE, RESOURCE_TOPIC, t->name));
    if (!v->name.data)
        v->name = slice_str(arena_strndup(c->items.arena, t->name, strlen(t->name)));
    v->topic_id = t->id;
    v->n_partitions = t->n_partitions;
    v->number = t->number;
    v->created_ms = t->created_ms;
    if (c->with_config)
        v->config = keep_config(c, t);
    v->leader_epochs =
        arena_alloc(c->items.arena, (size_t)t->n_partitions, sizeof *v->leader_epochs);
    for (int32_t i = 0; i < t->n_partitions; i++) {
        struct log_part_state state;
        log_part_state(c->call.broker->env.log, t->partitions[i].log, &state);
        v->leader_epochs[i] = state.leader_epoch;
    }
    return SL_OK;
}

/* ---- creation on demand --------------------------------------------------------------------- */

static void creation_ended(struct topic_creation *creation, sl_err err)
{
    struct auto_creation *a = SL_CONTAINER_OF(creation, struct auto_creation, creation);
    struct broker_metadata *c = a->call;
    struct broker_topic_view *v = a->view;
    struct topic *t = broker__topic(c->call.broker, &c->call.who->org, v->name);
    if (t)
        v->err = fill_view(c, v, t);
    else
        v->err = err == SL_OK || err == SL_EEXISTS ? SL_ETOPIC : err; /* deleted meanwhile */
    sl_free(a);
    items__end(&c->items);
}

static void create(struct broker_metadata *c, struct broker_topic_view *v)
{
    struct auto_creation *a = sl_new(struct auto_creation);
    a->call = c;
    a->view = v;
    a->wish =
        (struct broker_create_topic){.name = v->name, .n_partitions = -1, .replication_factor = -1};
    a->creation.b = c->call.broker;
    a->creation.who = c->call.who;
    a->creation.wish = &a->wish;
    a->creation.kafka_names = true;
    a->creation.ended = creation_ended;
    creation__start(&a->creation);
}

/* ---- looking -------------------------------------------------------------------------------- */

static struct topic *find_by_id(struct broker_metadata *c, const struct uuid *id)
{
    struct topic *t = broker__topic_by_id(c->call.broker, id);
    return t && uuid_equal(&t->org, &c->call.who->org) ? t : NULL;
}

static void look(struct broker_metadata *c, struct broker_topic_view *v)
{
    struct broker *b = c->call.broker;
    bool by_name = v->name.data != NULL;
    struct topic *t =
        by_name ? broker__topic(b, &c->call.who->org, v->name) : find_by_id(c, &v->topic_id);
    if (t) {
        v->err = fill_view(c, v, t);
    } else if (!by_name) {
        v->err = SL_ETOPIC_ID;
    } else if (topic_name_check_kafka(v->name, NULL) != SL_OK) {
        v->err = SL_ETOPIC_NAME;
    } else if (c->allow_create && b->cfg.auto_create_topics) {
        if (c->n_created++ < AUTO_CREATIONS_MAX) {
            create(c, v);
            return;
        }
        v->err = SL_ELIMIT;
    } else {
        v->err = SL_ETOPIC;
    }
    items__end(&c->items);
}

static int by_name(const void *a, const void *b)
{
    const struct topic *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Every live topic of the organisation that the principal may see, sorted. */
static void look_at_all(struct broker_metadata *c)
{
    struct broker *b = c->call.broker;
    void *value;
    size_t n = 0;
    struct topic **topics = sl_new_array(struct topic *, map_count(b->topics_by_id));
    for (size_t i = 0; map_next(b->topics_by_id, &i, NULL, &value);) {
        struct topic *t = value;
        if (uuid_equal(&t->org, &c->call.who->org) &&
            authorize(b, c->call.who, OPERATION_DESCRIBE, RESOURCE_TOPIC, t->name) == SL_OK)
            topics[n++] = t;
    }
    qsort(topics, n, sizeof *topics, by_name);
    c->topics = arena_alloc(c->items.arena, n, sizeof *c->topics);
    c->n_topics = (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        c->topics[i].err = fill_view(c, &c->topics[i], topics[i]);
    sl_free(topics);
}

static void run(struct broker_call *base)
{
    struct broker_metadata *c = SL_CONTAINER_OF(base, struct broker_metadata, call);
    if (!items__begin(&c->items, base, c->all ? 0 : c->n_topics, &c->err))
        return;
    if (c->all)
        look_at_all(c);
    for (uint32_t i = 0; !c->all && i < c->n_topics; i++)
        look(c, &c->topics[i]);
    items__end(&c->items);
}

void broker_metadata_init(struct broker_metadata *c)
{
    c->call.run = run;
}

void broker_metadata_fini(struct broker_metadata *c)
{
    items__free(&c->items);
}
