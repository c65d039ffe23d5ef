#include "broker/config_entries_int.h"
#include "broker/topic_name.h"
#include "broker/topics_int.h"

#include <inttypes.h>
#include <stdio.h>

enum { ANSWER_BYTES_MAX = 32 * 1024 * 1024 };

static sl_err refuse(struct broker_describe_configs *c, struct broker_describe_resource *r,
                     sl_err err, const char *message)
{
    r->message = arena_strndup(c->arena, message, strlen(message));
    return err;
}

/* "" is every broker, that is: this one. */
static bool names_this_broker(const struct broker *b, struct slice name)
{
    char id[16];
    (void)snprintf(id, sizeof id, "%" PRId32, b->cfg.node_id);
    return name.len == 0 || slice_eq_str(name, id);
}

static sl_err describe_topic(struct broker_describe_configs *c, struct broker_describe_resource *r)
{
    struct broker *b = c->call.broker;
    struct sl_fault fault = {0};
    struct topic *t = broker__topic(b, &c->call.who->org, r->name);
    if (!t && topic_name_check_kafka(r->name, &fault) != SL_OK)
        return refuse(c, r, SL_ETOPIC_NAME, fault.what);
    if (!t)
        return SL_ETOPIC;
    SL_TRY(authorize(b, c->call.who, OPERATION_DESCRIBE_CONFIGS, RESOURCE_TOPIC, t->name));
    r->entries = topic_config_entries(&t->config, &b->topic_defaults, c->arena, &r->n_entries);
    return SL_OK;
}

static sl_err describe_broker(struct broker_describe_configs *c, struct broker_describe_resource *r)
{
    struct broker *b = c->call.broker;
    if (!names_this_broker(b, r->name))
        return refuse(c, r, SL_EINVAL, "There is no such broker.");
    SL_TRY(authorize(b, c->call.who, OPERATION_DESCRIBE_CONFIGS, RESOURCE_CLUSTER, NULL));
    r->entries = broker__config_entries(b, c->arena, &r->n_entries);
    return SL_OK;
}

static bool is_wanted(const struct broker_describe_resource *r, const char *name)
{
    for (uint32_t i = 0; i < r->n_names; i++) {
        if (slice_eq_str(r->names[i], name))
            return true;
    }
    return r->all_names;
}

static void keep_wanted(struct broker_describe_resource *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_entries; i++) {
        if (is_wanted(r, r->entries[i].name))
            r->entries[n++] = r->entries[i];
    }
    r->n_entries = n;
}

static sl_err describe(struct broker_describe_configs *c, struct broker_describe_resource *r)
{
    if (arena_used(c->arena) > ANSWER_BYTES_MAX)
        return refuse(c, r, SL_ELIMIT, "The answer is too large: ask for fewer at once.");
    switch (r->type) {
    case CONFIG_TOPIC:
        return describe_topic(c, r);
    case CONFIG_BROKER:
        return describe_broker(c, r);
    default:
        return refuse(c, r, SL_EINVAL, "Only topics (2) and brokers (4) have settings here.");
    }
}

static void run(struct broker_call *base)
{
    struct broker_describe_configs *c = SL_CONTAINER_OF(base, struct broker_describe_configs, call);
    c->arena = arena_new(NULL);
    if (base->broker->closing)
        c->err = SL_ECLOSED;
    for (uint32_t i = 0; c->err == SL_OK && i < c->n_resources; i++) {
        c->resources[i].err = describe(c, &c->resources[i]);
        keep_wanted(&c->resources[i]);
    }
    broker_finish(base);
}

void broker_describe_configs_init(struct broker_describe_configs *c)
{
    c->call.run = run;
}

void broker_describe_configs_fini(struct broker_describe_configs *c)
{
    arena_free(c->arena);
    c->arena = NULL;
}
