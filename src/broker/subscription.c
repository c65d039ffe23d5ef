/* A stream: what its door says, how it ends. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"
#include "base/log.h"

bool stream_reads(const struct subscription *s, int32_t partition)
{
    return s->partition < 0 || s->partition == partition;
}

static void wake_lanes(struct subscription *s)
{
    for (uint32_t i = 0; i < s->n_lanes; i++)
        if (!s->lanes[i]->done && s->lanes[i]->stop == STOP_STREAM)
            subs__queue(s->engine, &s->lanes[i]->turn);
}

void stream_wake(struct subscription *s)
{
    wake_lanes(s);
    for (int32_t i = 0; s->share && i < s->share->n_parts; i++)
        if (stream_reads(s, i) && s->share->parts[i]->stop == STOP_STREAM)
            share_part_wake(s->share->parts[i]);
}

/* ---- messages of the door to the core --------------------------------------------------------
 */

enum said { SAID_CREDIT, SAID_ROOM, SAID_SETTLE, SAID_DRAIN };

struct message_of_door {
    struct task task;
    struct subscription *stream;
    enum said said;
    size_t n;
    struct settle settle;
};

static void give_credit(struct subscription *s, uint32_t n)
{
    bool had = stream_can_take(s);
    s->credit = n > UINT32_MAX - s->credit ? UINT32_MAX : s->credit + n;
    if (!had)
        stream_wake(s);
}

static void give_room(struct subscription *s, size_t bytes)
{
    bool had = stream_can_take(s);
    int64_t n = bytes > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)bytes;
    s->room = SL_MIN(s->room + n, INT64_MAX / 4);
    if (!had)
        stream_wake(s);
}

static uint64_t settle(struct subscription *s, struct share_part *p, const struct settle *w)
{
    struct subscriptions *e = s->engine;
    int64_t now_ms = subs__now_ms(e);
    int64_t delay_ms = SL_MIN(SL_MAX(w->delay_ms, (int64_t)0), SHARE_NEVER / 4);
    bool buries = p->of->has_dead_letters;
    uint64_t n = 0;
    switch (w->kind) {
    case SETTLE_ACK:
        n = share_ack(&p->share, w->first, w->last, s);
        e->counters.acked += n;
        break;
    case SETTLE_RELEASE:
        n = share_release(&p->share, w->first, w->last, s, delay_ms ? now_ms + delay_ms : 0, false);
        e->counters.released += n;
        break;
    case SETTLE_REJECT:
        n = buries ? share_release(&p->share, w->first, w->last, s, 0, true)
                   : share_ack(&p->share, w->first, w->last, s);
        e->counters.rejected += n;
        break;
    case SETTLE_EXTEND:
        delay_ms = delay_ms ? delay_ms : s->ack_deadline_ms;
        n = share_extend(&p->share, w->first, w->last, s,
                         delay_ms ? now_ms + delay_ms : SHARE_NEVER);
        break;
    }
    return n;
}

/* Said once for each stream: a peer must not fill the log. */
static void ignore(struct subscription *s, const struct settle *w)
{
    s->engine->counters.ignored_acks++;
    if (s->n_ignored++)
        return;
    LOG_WARN("subscription.ignored", "a settlement of what the stream does not hold is ignored",
             F_STR("consumer", s->id), F_I64("partition", w->partition), F_I64("first", w->first),
             F_I64("last", w->last));
}

static void take_settle(struct subscription *s, const struct settle *w)
{
    struct share_topic *t = s->share;
    if (!t)
        return; /* a tail, or it has ended: everything it held is available */
    if (w->partition < 0 || w->partition >= t->n_parts || !t->parts[w->partition]->open ||
        w->first < 0 || w->last < w->first) {
        ignore(s, w);
        return;
    }
    struct share_part *p = t->parts[w->partition];
    if (w->last < p->share.cursor)
        return; /* acknowledged before, or read again: nothing to do */
    uint64_t n = w->last < p->share.next ? settle(s, p, w) : 0;
    if (!n) {
        ignore(s, w);
        return;
    }
    s->jumped = s->jumped && p->share.floor;
    share_part_changed(p);
    share_part_wake(p);
}

static void drain(struct subscription *s)
{
    if (s->life > STREAM_OPEN || s->draining)
        return;
    s->draining = true;
    list_push_back(&s->engine->draining, &s->drain_node);
    subs__schedule(s->engine);
}

static void hear(struct subscription *s, enum said said, size_t n, const struct settle *w)
{
    if (s->life >= STREAM_ENDED)
        return;
    switch (said) {
    case SAID_CREDIT:
        give_credit(s, (uint32_t)n);
        break;
    case SAID_ROOM:
        give_room(s, n);
        break;
    case SAID_SETTLE:
        take_settle(s, w);
        break;
    case SAID_DRAIN:
        drain(s);
        break;
    }
}

static void hear_on_core(struct task *t)
{
    struct message_of_door *m = SL_CONTAINER_OF(t, struct message_of_door, task);
    hear(m->stream, m->said, m->n, &m->settle);
    sl_free(m);
}

static void say(struct subscription *s, enum said said, size_t n, const struct settle *w)
{
    struct loop *core = s->engine->broker->env.loop;
    SL_ASSERT(loop_is_current(s->home));
    SL_ASSERT(!s->closed);
    if (loop_is_current(core)) {
        hear(s, said, n, w);
        return;
    }
    struct message_of_door *m = sl_new(struct message_of_door);
    m->task.run = hear_on_core;
    m->stream = s;
    m->said = said;
    m->n = n;
    if (w)
        m->settle = *w;
    loop_post(core, &m->task);
}

void subscription_credit(struct subscription *s, uint32_t n)
{
    say(s, SAID_CREDIT, n, NULL);
}

void subscription_room(struct subscription *s, size_t bytes)
{
    say(s, SAID_ROOM, bytes, NULL);
}

void subscription_settle(struct subscription *s, const struct settle *what)
{
    say(s, SAID_SETTLE, 0, what);
}

void subscription_drain(struct subscription *s)
{
    say(s, SAID_DRAIN, 0, NULL);
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void leave_part(struct subscription *s, struct share_part *p)
{
    if (p->current == s)
        p->current = NULL;
    if (!p->open)
        return;
    if (share_release_all(&p->share, s) || s->jumped)
        share_part_changed(p);
    if (s->jumped && p->share.floor)
        share_unjump(&p->share);
    share_part_wake(p);
}

/* Nobody gets a message any more that this stream holds only after this. */
static void leave(struct subscription *s)
{
    struct share_topic *t = SL_TAKE(s->share);
    list_remove(&s->node);
    list_remove(&s->drain_node);
    stream_drop_draft(s);
    for (uint32_t i = 0; i < s->n_lanes; i++)
        lane_rest(s->lanes[i]);
    if (!t) {
        s->engine->counters.tails--;
        return;
    }
    s->engine->counters.streams--;
    t->n_streams--;
    t->group->n_streams--;
    for (int32_t i = 0; i < t->n_parts; i++)
        leave_part(s, t->parts[i]);
    for (int32_t i = 0; i < t->n_parts && !t->n_streams; i++)
        share_part_store_now(t->parts[i]);
    (void)share_topic_end_step(t);
}

static void tell_ended(struct task *t)
{
    struct subscription *s = SL_CONTAINER_OF(t, struct subscription, end_task);
    if (!s->closed)
        s->events->ended(s->arg, s->end_err, s->end_reason);
}

/* Behind the deliveries that it has got. */
static void tell_later(struct subscription *s)
{
    list_push_back(&s->engine->ending, &s->end_node);
    subs__schedule(s->engine);
}

void streams_tell_ended(struct subscriptions *e)
{
    for (struct list *node; (node = list_pop_front(&e->ending));) {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, end_node);
        s->end_task.run = tell_ended;
        loop_post(s->home, &s->end_task);
    }
}

void stream_opened(struct subscription *s)
{
    if (s->life == STREAM_OPENING)
        s->life = STREAM_OPEN;
    else if (s->life == STREAM_ENDED)
        tell_later(s);
}

void stream_end(struct subscription *s, sl_err err, const char *reason)
{
    if (s->life >= STREAM_ENDED)
        return;
    bool opening = s->life == STREAM_OPENING;
    s->life = STREAM_ENDED;
    s->end_err = err;
    s->end_reason = reason;
    leave(s);
    if (!opening) /* else the door does not know it yet: stream_opened */
        tell_later(s);
}

void stream_undo(struct subscription *s)
{
    if (s->life < STREAM_ENDED)
        leave(s);
    list_remove(&s->all_node);
    stream_free(s);
}

void stream_free(struct subscription *s)
{
    for (uint32_t i = 0; i < s->n_lanes; i++)
        lane_free(s->lanes[i]);
    filter_fini(&s->filter);
    sl_free(s->lanes);
    sl_free(s->id);
    sl_free(s);
}

static void tell_closed(struct task *t)
{
    struct subscription *s = SL_CONTAINER_OF(t, struct subscription, done_task);
    void (*done)(void *arg) = s->done;
    void *arg = s->done_arg;
    stream_free(s);
    done(arg);
}

static void stored(struct store_wait *w, sl_err err)
{
    struct subscription *s = SL_CONTAINER_OF(w, struct subscription, wait);
    struct broker *b = s->engine->broker;
    if (err != SL_OK)
        LOG_WARN("subscription.not_stored", "a stream ends before its acks are durable",
                 F_STR("consumer", s->id), F_STR("error", sl_err_name(err)));
    list_remove(&s->all_node);
    s->done_task.run = tell_closed;
    loop_post(s->home, &s->done_task);
    broker__idle_check(b);
}

static void close_on_core(struct task *t)
{
    struct subscription *s = SL_CONTAINER_OF(t, struct subscription, close_task);
    bool was_in = s->life < STREAM_ENDED;
    SL_ASSERT(s->life != STREAM_CLOSING);
    s->life = STREAM_CLOSING;
    list_remove(&s->end_node);
    if (was_in)
        leave(s);
    share_store_wait(s->engine, &s->wait, stored);
}

void subscription_close(struct subscription *s, void (*done)(void *arg), void *arg)
{
    struct loop *core = s->engine->broker->env.loop;
    SL_ASSERT(loop_is_current(s->home));
    SL_ASSERT(!s->closed);
    s->closed = true;
    s->done = done;
    s->done_arg = arg;
    s->close_task.run = close_on_core;
    if (loop_is_current(core))
        close_on_core(&s->close_task);
    else
        loop_post(core, &s->close_task);
}

/* ---- draining ---------------------------------------------------------------------------------
 */

static bool rests(enum stop stop, const struct turn *t)
{
    return !list_linked(&t->node) && (stop == STOP_END || stop == STOP_FULL);
}

static bool is_drained(const struct subscription *s)
{
    if (s->credit == 0)
        return true;
    for (uint32_t i = 0; i < s->n_lanes; i++)
        if (!s->lanes[i]->done && !rests(s->lanes[i]->stop, &s->lanes[i]->turn))
            return false;
    for (int32_t i = 0; s->share && i < s->share->n_parts; i++)
        if (stream_reads(s, i) && !rests(s->share->parts[i]->stop, &s->share->parts[i]->turn))
            return false;
    return true;
}

void streams_tell_drained(struct subscriptions *e)
{
    LIST_FOREACH_SAFE(node, &e->draining)
    {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, drain_node);
        if (s->life == STREAM_OPEN && is_drained(s))
            stream_end(s, SL_OK, "drained");
    }
}
