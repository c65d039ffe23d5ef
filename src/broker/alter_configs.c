#include "broker/call_items_int.h"
#include "broker/configs.h"
#include "broker/topic_alter_int.h"

#include "base/alloc.h"

struct config_alteration {
    struct topic_alteration alteration;
    struct broker_alter_configs *call;
    struct broker_alter_resource *item;
};

/* ---- what becomes of a config --------------------------------------------------------------- */

static int shown_len(struct slice text)
{
    return (int)SL_MIN(text.len, 60);
}

static sl_err apply_change(struct topic_alteration *a, const struct config_change *change)
{
    enum topic_setting s;
    const char *name = (const char *)change->name.data;
    if (topic_setting_find(change->name, &s) != SL_OK)
        return sl_fault_set(&a->fault, SL_ECONFIG, "Unknown topic config name: %.*s",
                            shown_len(change->name), name);
    if (change->value_is_null && change->op != CONFIG_DELETE)
        return sl_fault_set(&a->fault, SL_EINVAL, "Null value not supported for : %.*s",
                            shown_len(change->name), name);
    switch (change->op) {
    case CONFIG_SET:
        return topic_config_set(&a->config, s, change->value, &a->fault);
    case CONFIG_DELETE:
        topic_config_unset(&a->config, s, &a->b->topic_defaults);
        return SL_OK;
    case CONFIG_APPEND:
        return topic_config_append(&a->config, s, change->value, &a->fault);
    case CONFIG_SUBTRACT:
        return topic_config_subtract(&a->config, s, change->value, &a->fault);
    default:
        return sl_fault_set(&a->fault, SL_EINVAL, "Unknown operation %d", change->op);
    }
}

static sl_err plan(struct topic_alteration *a, struct topic *t)
{
    struct config_alteration *ca = SL_CONTAINER_OF(a, struct config_alteration, alteration);
    const struct broker_alter_resource *item = ca->item;
    SL_TRY(authorize(a->b, a->who, OPERATION_ALTER_CONFIGS, RESOURCE_TOPIC, t->name));
    if (!ca->call->incremental)
        a->config = topic_config_from(&a->b->topic_defaults);
    for (uint32_t i = 0; i < item->n_changes; i++)
        SL_TRY(apply_change(a, &item->changes[i]));
    return SL_OK;
}

/* ---- one resource --------------------------------------------------------------------------- */

static void refuse(struct broker_alter_configs *c, struct broker_alter_resource *item, sl_err err,
                   const char *message)
{
    item->err = err;
    item->message = items__text(&c->items, message);
}

static void ended(struct topic_alteration *a, sl_err err)
{
    struct config_alteration *ca = SL_CONTAINER_OF(a, struct config_alteration, alteration);
    struct broker_alter_configs *c = ca->call;
    refuse(c, ca->item, err, a->fault.what);
    sl_free(ca);
    items__end(&c->items);
}

static void start_topic(struct broker_alter_configs *c, struct broker_alter_resource *item)
{
    struct config_alteration *ca = sl_new(struct config_alteration);
    ca->call = c;
    ca->item = item;
    ca->alteration.b = c->call.broker;
    ca->alteration.who = c->call.who;
    ca->alteration.name = item->name;
    ca->alteration.validate_only = c->validate_only;
    ca->alteration.plan = plan;
    ca->alteration.ended = ended;
    alteration__start(&ca->alteration);
}

static bool has_repeated_names(const struct broker_alter_resource *item)
{
    SL_AUTO(map_free) struct map *seen = map_new(item->n_changes);
    for (uint32_t i = 0; i < item->n_changes; i++) {
        if (items__first(seen, item->changes[i].name, seen))
            return true;
    }
    return false;
}

static void start_item(struct broker_alter_configs *c, struct broker_alter_resource *item)
{
    if (item->err == SL_OK && has_repeated_names(item))
        refuse(c, item, SL_EINVAL, "Error due to duplicate config keys");
    if (item->err == SL_OK && item->type == CONFIG_TOPIC) {
        start_topic(c, item);
        return;
    }
    if (item->err == SL_OK && item->type == CONFIG_BROKER)
        refuse(c, item, SL_EPOLICY,
               "Settings of the broker come from its command line, environment or configuration "
               "file: change them there and restart it.");
    else if (item->err == SL_OK)
        refuse(c, item, SL_EINVAL, "Only topics (2) and brokers (4) have settings here.");
    items__end(&c->items);
}

static void refuse_repeated(struct broker_alter_configs *c)
{
    SL_AUTO(map_free) struct map *seen = map_new(c->n_resources);
    for (uint32_t i = 0; i < c->n_resources; i++) {
        struct broker_alter_resource *item = &c->resources[i], *first = NULL;
        if (item->type == CONFIG_TOPIC)
            first = items__first(seen, item->name, item);
        if (!first)
            continue;
        refuse(c, first, SL_EINVAL, "Each resource must appear at most once.");
        refuse(c, item, SL_EINVAL, "Each resource must appear at most once.");
    }
}

static void run(struct broker_call *base)
{
    struct broker_alter_configs *c = SL_CONTAINER_OF(base, struct broker_alter_configs, call);
    if (!items__begin(&c->items, base, c->n_resources, &c->err))
        return;
    refuse_repeated(c);
    for (uint32_t i = 0; i < c->n_resources; i++)
        start_item(c, &c->resources[i]);
    items__end(&c->items);
}

void broker_alter_configs_init(struct broker_alter_configs *c)
{
    c->call.run = run;
}

void broker_alter_configs_fini(struct broker_alter_configs *c)
{
    items__free(&c->items);
}
