#include "broker/admin.h"

#include "base/alloc.h"
#include "broker/broker_int.h"
#include "broker/topics_int.h"

#include <stdlib.h>

static sl_err find_partition(struct broker_call *c, struct slice topic, int32_t index,
                             enum operation op, struct partition **ret)
{
    struct topic *t = broker__topic(c->broker, &c->who->org, topic);
    struct partition *p = t ? broker__partition(t, index) : NULL;
    if (!p)
        return SL_ETOPIC;
    SL_TRY(authorize(c->broker, c->who, op, RESOURCE_TOPIC, t->name));
    *ret = p;
    return SL_OK;
}

/* ---- records -------------------------------------------------------------------------------- */

static void trim_ended(struct broker_trim *t, sl_err err)
{
    struct broker_delete_records *c = t->call;
    struct broker *b = c->call.broker;
    t->err = err;
    t->low_watermark = -1;
    if (err == SL_OK) {
        struct log_part_state state;
        log_part_state(b->env.log, t->log, &state);
        t->low_watermark = state.log_start;
    }
    if (--c->left)
        return;
    broker_finish(&c->call);
    topics__leave(b);
}

static void trim_done(struct log_done *d)
{
    struct broker_trim *t = SL_CONTAINER_OF(d, struct broker_trim, done);
    broker__check_meta(t->call->call.broker, d->err, &d->fault);
    trim_ended(t, d->err);
}

/* SL_PENDING: trim_done follows. */
static sl_err start_trim(struct broker_delete_records *c, struct broker_trim *t)
{
    struct partition *p = NULL;
    struct log_part_state state;
    SL_TRY(find_partition(&c->call, t->topic, t->partition, OPERATION_DELETE, &p));
    log_part_state(c->call.broker->env.log, p->log, &state);
    t->log = p->log;
    int64_t offset = t->offset == -1 ? state.high_watermark : t->offset;
    if (offset < 0 || offset > state.high_watermark)
        return SL_EOFFSET;
    if (offset <= state.log_start)
        return SL_OK;
    t->done = (struct log_done){.done = trim_done};
    log_trim(c->call.broker->env.log, p->log, offset, &t->done);
    return SL_PENDING;
}

static void run_delete_records(struct broker_call *base)
{
    struct broker_delete_records *c = SL_CONTAINER_OF(base, struct broker_delete_records, call);
    struct broker *b = base->broker;
    if (b->closing || c->n_trims == 0) {
        c->err = b->closing ? SL_ECLOSED : SL_OK;
        broker_finish(base);
        return;
    }
    topics__enter(b);
    uint32_t n = c->left = c->n_trims; /* c may be gone after the last one */
    struct broker_trim *trims = c->trims;
    for (uint32_t i = 0; i < n; i++) {
        trims[i].call = c;
        sl_err err = start_trim(c, &trims[i]);
        if (err != SL_PENDING)
            trim_ended(&trims[i], err);
    }
}

void broker_delete_records_init(struct broker_delete_records *c)
{
    c->call.run = run_delete_records;
}

/* ---- producers ------------------------------------------------------------------------------ */

enum { PRODUCERS_MAX = 100000 };

static sl_err list_producers(struct broker_describe_producers *c,
                             struct broker_producers_part *part)
{
    struct partition *p = NULL;
    struct log_engine *log = c->call.broker->env.log;
    SL_TRY(find_partition(&c->call, part->topic, part->partition, OPERATION_READ, &p));
    size_t n = SL_MIN(log_producers(log, p->log, NULL, 0), (size_t)PRODUCERS_MAX);
    part->producers = arena_alloc(c->arena, n, sizeof *part->producers);
    part->n_producers = (uint32_t)SL_MIN(log_producers(log, p->log, part->producers, n), n);
    return SL_OK;
}

static void run_describe_producers(struct broker_call *base)
{
    struct broker_describe_producers *c =
        SL_CONTAINER_OF(base, struct broker_describe_producers, call);
    c->arena = arena_new(NULL);
    if (base->broker->closing)
        c->err = SL_ECLOSED;
    for (uint32_t i = 0; c->err == SL_OK && i < c->n_parts; i++)
        c->parts[i].err = list_producers(c, &c->parts[i]);
    broker_finish(base);
}

void broker_describe_producers_init(struct broker_describe_producers *c)
{
    c->call.run = run_describe_producers;
}

void broker_describe_producers_fini(struct broker_describe_producers *c)
{
    arena_free(c->arena);
    c->arena = NULL;
}

/* ---- sizes ---------------------------------------------------------------------------------- */

static void fill_sizes(struct broker_describe_sizes *c, struct broker_sizes_topic *s,
                       struct topic *t)
{
    s->bytes = arena_alloc(c->arena, s->n_partitions, sizeof *s->bytes);
    for (uint32_t i = 0; i < s->n_partitions; i++) {
        struct partition *p = broker__partition(t, s->partitions[i]);
        struct log_part_state state = {.bytes = -1};
        if (p)
            log_part_state(c->call.broker->env.log, p->log, &state);
        s->bytes[i] = state.bytes;
    }
}

static void list_all(struct broker_describe_sizes *c)
{
    struct broker *b = c->call.broker;
    void *value;
    c->topics = arena_alloc(c->arena, map_count(b->topics_by_id), sizeof *c->topics);
    c->n_topics = 0;
    for (size_t i = 0; map_next(b->topics_by_id, &i, NULL, &value);) {
        struct topic *t = value;
        if (!uuid_equal(&t->org, &c->call.who->org))
            continue;
        struct broker_sizes_topic *s = &c->topics[c->n_topics++];
        int32_t *all = arena_alloc(c->arena, (size_t)t->n_partitions, sizeof *all);
        for (int32_t p = 0; p < t->n_partitions; p++)
            all[p] = p;
        s->name = slice_str(arena_strndup(c->arena, t->name, strlen(t->name)));
        s->partitions = all;
        s->n_partitions = (uint32_t)t->n_partitions;
        fill_sizes(c, s, t);
    }
}

static void list_named(struct broker_describe_sizes *c)
{
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct broker_sizes_topic *s = &c->topics[i];
        struct topic *t = broker__topic(c->call.broker, &c->call.who->org, s->name);
        if (t)
            fill_sizes(c, s, t);
        else
            s->err = SL_ETOPIC;
    }
}

static void run_describe_sizes(struct broker_call *base)
{
    struct broker_describe_sizes *c = SL_CONTAINER_OF(base, struct broker_describe_sizes, call);
    c->arena = arena_new(NULL);
    log_space(base->broker->env.log, &c->space);
    c->err = base->broker->closing
                 ? SL_ECLOSED
                 : authorize(base->broker, base->who, OPERATION_DESCRIBE, RESOURCE_CLUSTER, NULL);
    if (c->err == SL_OK && c->all)
        list_all(c);
    else if (c->err == SL_OK)
        list_named(c);
    broker_finish(base);
}

void broker_describe_sizes_init(struct broker_describe_sizes *c)
{
    c->call.run = run_describe_sizes;
}

void broker_describe_sizes_fini(struct broker_describe_sizes *c)
{
    arena_free(c->arena);
    c->arena = NULL;
}
