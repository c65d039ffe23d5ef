#include "broker/call_items_int.h"
#include "broker/topics.h"

#include "base/alloc.h"
#include "base/log.h"

enum deletion_phase { DELETE_START, DELETE_DROPPED };

/* One topic of a call on its way. */
struct deletion {
    struct topic_change change;
    struct topic_wait wait;
    struct broker_delete_topics *call;
    struct broker_delete_topic *item;
};

static void end_item(struct deletion *d, sl_err err, const char *message)
{
    struct broker_delete_topics *c = d->call;
    d->item->err = err;
    d->item->message = items__text(&c->items, message);
    sl_free(d);
    items__end(&c->items);
}

/* ---- the op --------------------------------------------------------------------------------- */

static struct topic_change *change_of(struct op *op)
{
    return SL_CONTAINER_OF(op, struct topic_change, op);
}

static sl_err deletion_run(struct op *op)
{
    switch ((enum deletion_phase)op->phase) {
    case DELETE_START:
        return op_await(op, DELETE_DROPPED, change__drop_files(change_of(op)));
    case DELETE_DROPPED:
        return SL_OK;
    }
    SL_UNREACHABLE();
}

/* When the log could not delete it, the topic stays out of sight: what is half gone must not be
 * written to. It can be deleted again; a restart finishes it or brings it back. */
static void deletion_done(struct op *op, sl_err err)
{
    struct topic_change *change = change_of(op);
    struct deletion *d = SL_CONTAINER_OF(change, struct deletion, change);
    struct topic *t = change->topic;
    if (err == SL_OK) {
        topics__remove(change->b, t, t->n_partitions);
    } else {
        LOG_ERROR("topic.delete_failed", "the topic is hidden: delete it again, or restart",
                  F_STR("topic", t->name), F_ERR(err), F_STR("what", change->fault.what));
        t->changing = false;
        topics__wake(&t->waiters);
    }
    change__fini(change);
    end_item(d, err, change->fault.what);
}

static void begin(struct deletion *d, struct topic *t)
{
    struct broker *b = d->call->call.broker;
    t->changing = true;
    if (t->life == TOPIC_LIVE) {
        t->life = TOPIC_DELETING;
        (void)map_remove(b->topics_by_id, t->id.bytes, sizeof t->id.bytes);
        fetch__topic_gone(b, t);
        produce__topic_gone(b, t);
        subs__topic_gone(b, t);
        groups__topic_gone(b, t);
    }
    d->change = (struct topic_change){
        .op = {.run = deletion_run, .done = deletion_done}, .b = b, .topic = t};
    (void)op_start(NULL, &d->change.op); /* its first phase always waits */
}

/* ---- the call ------------------------------------------------------------------------------- */

static struct topic *find_item(struct deletion *d)
{
    struct broker *b = d->call->call.broker;
    if (d->item->name.data)
        return topics__find(b, &d->call->call.who->org, d->item->name);
    struct topic *t = broker__topic_by_id(b, &d->item->topic_id);
    return t && uuid_equal(&t->org, &d->call->call.who->org) ? t : NULL;
}

static void start_item(struct deletion *d);

static void woken(struct topic_wait *w)
{
    start_item(SL_CONTAINER_OF(w, struct deletion, wait));
}

/* A creation or another change of it is waited for; one that is being deleted is not there. */
static void start_item(struct deletion *d)
{
    struct topic *t = find_item(d);
    if (t && t->changing && t->life != TOPIC_DELETING) {
        d->wait = (struct topic_wait){.wake = woken};
        topics__wait(t, &d->wait);
        return;
    }
    if (!t || t->changing) {
        end_item(d, d->item->name.data ? SL_ETOPIC : SL_ETOPIC_ID, "");
        return;
    }
    sl_err err = authorize(d->call->call.broker, d->call->call.who, OPERATION_DELETE,
                           RESOURCE_TOPIC, t->name);
    if (err != SL_OK) {
        end_item(d, err, "");
        return;
    }
    d->item->topic_id = t->id;
    d->item->ret_name = arena_strndup(d->call->items.arena, t->name, strlen(t->name));
    begin(d, t);
}

static struct slice key_of(const struct broker_delete_topic *item)
{
    return item->name.data ? item->name
                           : slice_of(item->topic_id.bytes, sizeof item->topic_id.bytes);
}

static void refuse_repeated(struct broker_delete_topics *c)
{
    SL_AUTO(map_free) struct map *seen = map_new(c->n_topics);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct broker_delete_topic *item = &c->topics[i];
        struct broker_delete_topic *first = items__first(seen, key_of(item), item);
        if (!first)
            continue;
        first->err = item->err = SL_EINVAL;
        first->message = item->message = "Duplicate topic.";
    }
}

static void run(struct broker_call *base)
{
    struct broker_delete_topics *c = SL_CONTAINER_OF(base, struct broker_delete_topics, call);
    if (!items__begin(&c->items, base, c->n_topics, &c->err))
        return;
    refuse_repeated(c);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        if (c->topics[i].err != SL_OK) {
            items__end(&c->items);
            continue;
        }
        struct deletion *d = sl_new(struct deletion);
        d->call = c;
        d->item = &c->topics[i];
        start_item(d);
    }
    items__end(&c->items);
}

void broker_delete_topics_init(struct broker_delete_topics *c)
{
    c->call.run = run;
}

void broker_delete_topics_fini(struct broker_delete_topics *c)
{
    items__free(&c->items);
}
