#include "broker/topics.h"
#include "broker/topics_int.h"

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

static void item_done(struct broker_delete_topics *c)
{
    struct broker *b = c->call.broker;
    if (--c->left)
        return;
    broker_finish(&c->call);
    topics__leave(b);
}

static void end_item(struct deletion *d, sl_err err, const char *message)
{
    struct broker_delete_topics *c = d->call;
    d->item->err = err;
    if (message[0])
        d->item->message = arena_strndup(c->arena, message, strlen(message));
    sl_free(d);
    item_done(c);
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
    d->item->ret_name = arena_strndup(d->call->arena, t->name, strlen(t->name));
    begin(d, t);
}

static const uint8_t *key_of(const struct broker_delete_topic *item, size_t *ret_len)
{
    *ret_len = item->name.data ? item->name.len : sizeof item->topic_id.bytes;
    return item->name.data ? item->name.data : item->topic_id.bytes;
}

static void refuse_repeated(struct broker_delete_topics *c)
{
    SL_AUTO(map_free) struct map *seen = map_new(c->n_topics);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct broker_delete_topic *item = &c->topics[i], *first;
        size_t len = 0;
        const uint8_t *key = key_of(item, &len);
        first = map_get(seen, key, len);
        if (!first) {
            (void)map_put(seen, key, len, item, NULL); /* has room */
            continue;
        }
        first->err = item->err = SL_EINVAL;
        first->message = item->message = "Duplicate topic.";
    }
}

static void run(struct broker_call *base)
{
    struct broker_delete_topics *c = SL_CONTAINER_OF(base, struct broker_delete_topics, call);
    struct broker *b = base->broker;
    if (b->closing) {
        c->err = SL_ECLOSED;
        broker_finish(base);
        return;
    }
    topics__enter(b);
    c->arena = arena_new(NULL);
    c->left = c->n_topics + 1;
    refuse_repeated(c);
    for (uint32_t i = 0; i < c->n_topics; i++) {
        if (c->topics[i].err != SL_OK) {
            item_done(c);
            continue;
        }
        struct deletion *d = sl_new(struct deletion);
        d->call = c;
        d->item = &c->topics[i];
        start_item(d);
    }
    item_done(c);
}

void broker_delete_topics_init(struct broker_delete_topics *c)
{
    c->call.run = run;
}

void broker_delete_topics_fini(struct broker_delete_topics *c)
{
    arena_free(c->arena);
    c->arena = NULL;
}
