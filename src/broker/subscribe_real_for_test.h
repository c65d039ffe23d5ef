/* For the tests of subscriptions on the real log and metastore, on simulated files: a reader that
 * takes, acknowledges and grants on its home loop. Only test files include it. */
#ifndef SLUICE_BROKER_SUBSCRIBE_REAL_FOR_TEST_H
#define SLUICE_BROKER_SUBSCRIBE_REAL_FOR_TEST_H

#include "broker/admin_for_test.h"
#include "broker/produce.h"
#include "broker/subscribe_int.h"
#include "record/batches_for_test.h"

enum { READER_GOT = 512 };

struct taker {
    struct admin_world *w;
    struct loop *home;
    struct broker_subscribe call;
    struct subscription *s;
    int n;
    int64_t got[READER_GOT];
    uint32_t counts[READER_GOT];
    char headers[512]; /* of the last one: "name=value;" each */
    bool has_ended, closed;
    sl_err end;
    /* On the home loop, for each message; NULL: nothing is acknowledged. */
    void (*on_message)(struct taker *r, const struct delivered *d);
    void *user;
};

/* ---- errands: a function on a loop, waited for ------------------------------------------------
 */

struct errand {
    struct task task;
    struct admin_world *w;
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static inline void errand_run(struct task *t)
{
    struct errand *e = SL_CONTAINER_OF(t, struct errand, task);
    e->fn(e->arg);
    mutex_lock(e->w->lock);
    e->done = true;
    cond_broadcast(e->w->changed);
    mutex_unlock(e->w->lock);
}

static inline void on_loop(struct admin_world *w, struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct errand e = {.task.run = errand_run, .w = w, .fn = fn, .arg = arg};
    loop_post(l, &e.task);
    mutex_lock(w->lock);
    while (!e.done)
        cond_wait(w->changed, w->lock);
    mutex_unlock(w->lock);
}

/* ---- readers ----------------------------------------------------------------------------------
 */

static inline void taker_headers(struct taker *r, const struct delivered *d)
{
    size_t n = 0;
    for (uint32_t i = 0; i < d->n_headers && n < sizeof r->headers; i++)
        n += (size_t)snprintf(r->headers + n, sizeof r->headers - n, "%.*s=%.*s;",
                              (int)d->headers[i].name.len, (const char *)d->headers[i].name.data,
                              (int)d->headers[i].value.len, (const char *)d->headers[i].value.data);
}

static inline void taker_deliver(void *arg, struct delivery *d)
{
    struct taker *r = arg;
    for (uint32_t i = 0; i < d->n_items; i++) {
        assert_in_range(r->n, 0, READER_GOT - 1);
        r->counts[r->n] = d->items[i].count;
        r->got[r->n++] = d->items[i].offset;
        taker_headers(r, &d->items[i]);
        if (r->on_message)
            r->on_message(r, &d->items[i]);
    }
    subscription_room(r->s, d->room);
    delivery_free(d);
}

static inline void taker_flag(struct taker *r, bool *flag)
{
    mutex_lock(r->w->lock);
    *flag = true;
    cond_broadcast(r->w->changed);
    mutex_unlock(r->w->lock);
}

static inline void taker_ended(void *arg, sl_err err, const char *reason)
{
    struct taker *r = arg;
    r->end = err;
    taker_flag(r, &r->has_ended);
}

static inline void taker_closed(void *arg)
{
    struct taker *r = arg;
    r->s = NULL;
    taker_flag(r, &r->closed);
}

static const struct subscription_events taker_events = {taker_deliver, taker_ended};

static inline void taker_wait(struct taker *r, const bool *flag)
{
    mutex_lock(r->w->lock);
    while (!*flag)
        cond_wait(r->w->changed, r->w->lock);
    mutex_unlock(r->w->lock);
}

static inline void taker_answered(struct broker_call *call)
{
    struct broker_subscribe *s = SL_CONTAINER_OF(call, struct broker_subscribe, call);
    struct taker *r = SL_CONTAINER_OF(s, struct taker, call);
    r->s = s->err == SL_OK ? s->ret : NULL;
    mutex_lock(r->w->lock);
    r->w->pending--;
    cond_broadcast(r->w->changed);
    mutex_unlock(r->w->lock);
}

static inline void taker_init(struct taker *r, struct admin_world *w, const char *topic)
{
    *r = (struct taker){.w = w, .home = w->loop};
    broker_subscribe_init(&r->call);
    r->call.topic = slice_str(topic);
    r->call.group = slice_str("g");
    r->call.consumer_id = slice_str("a");
    r->call.from = SUBSCRIBE_EARLIEST;
    r->call.room = 1 << 20;
    r->call.events = &taker_events;
    r->call.arg = r;
}

static inline sl_err taker_open(struct taker *r)
{
    r->call.call.broker = r->w->b;
    r->call.call.home = r->home;
    r->call.call.who = &principal_anonymous;
    r->call.call.done = taker_answered;
    mutex_lock(r->w->lock);
    r->w->pending++;
    mutex_unlock(r->w->lock);
    broker_submit(&r->call.call);
    admin_wait(r->w);
    return r->call.err;
}

static inline void taker_grant_now(void *arg)
{
    struct taker *r = arg;
    subscription_credit(r->s, 1000);
}
static inline void taker_grant(struct taker *r)
{
    on_loop(r->w, r->home, taker_grant_now, r);
}

static inline void taker_drain_now(void *arg)
{
    struct taker *r = arg;
    subscription_credit(r->s, 1000);
    subscription_drain(r->s);
}
/* Everything that is there now. */
static inline void taker_drain(struct taker *r)
{
    on_loop(r->w, r->home, taker_drain_now, r);
    taker_wait(r, &r->has_ended);
}

static inline void taker_close_now(void *arg)
{
    struct taker *r = arg;
    subscription_close(r->s, taker_closed, r);
}
static inline void taker_close(struct taker *r)
{
    on_loop(r->w, r->home, taker_close_now, r);
    taker_wait(r, &r->closed);
}

/* n messages in a batch, durable; the error otherwise. */
static inline sl_err taker_publish(struct admin_world *w, const char *topic, int n)
{
    struct broker_produce_part *part = sl_new(struct broker_produce_part);
    struct broker_produce p = {.acks = -1, .timeout_ms = 30000, .parts = part, .n_parts = 1};
    part->topic = slice_str(topic);
    part->records = test_batch(CODEC_NONE, n, 20);
    broker_produce_init(&p);
    admin_call(w, &p.call);
    sl_err err = part->err;
    slice_unref(&part->records);
    sl_free(part);
    return err;
}

/* The durable cursor of group g on partition 0 of the topic; -1: none. On the core loop. */
static inline int64_t taker_cursor(struct broker *b, const char *topic)
{
    struct group *g = groups__find(b->groups, &principal_anonymous.org, slice_str("g"));
    struct topic *t = broker__topic(b, &principal_anonymous.org, slice_str(topic));
    const struct committed *c = g && t ? group_offsets_find(&g->offsets, &t->id, 0) : NULL;
    return c ? c->offset : -1;
}

#endif
