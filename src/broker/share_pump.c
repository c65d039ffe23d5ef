/* A part's turn: finds what may be delivered now, and who takes it. */
#include "broker/subscribe_int.h"

enum {
    STEPS_A_TURN = 512,     /* messages looked at before others have their turn on the loop */
    MESSAGES_IN_A_ROW = 64, /* to one stream while others could take them as well */
    DEAD_LETTERS_MAX = 16,  /* of a part, on their way */
    DEADLINE_STEP_MS = 10,  /* deadlines are rounded up, so that neighbours share a run */
    DEADLINE_STEPS = 64,
};

/* ---- who takes it -----------------------------------------------------------------------------
 */

static bool takes(const struct subscription *s, const struct share_part *p)
{
    if (!stream_can_take(s) || !stream_reads(s, p->index))
        return false;
    for (uint32_t i = 0; i < s->n_lanes; i++)
        if (s->lanes[i]->partition == p->index && !s->lanes[i]->done)
            return false; /* it has not come to the cursor yet */
    return true;
}

/* With several streams a fair part of what is there, so that few messages are shared as well. */
static uint32_t in_a_row(const struct share_part *p, int64_t offset)
{
    if (p->of->n_streams < 2)
        return UINT32_MAX;
    int64_t each = (p->end - offset) / p->of->n_streams;
    return (uint32_t)SL_MAX(SL_MIN(each, (int64_t)MESSAGES_IN_A_ROW), (int64_t)1);
}

static struct subscription *pick_stream(struct share_part *p, int64_t offset)
{
    if (p->current && p->current_left && takes(p->current, p))
        return p->current;
    struct share_topic *t = p->of;
    p->current = NULL;
    LIST_FOREACH (node, &t->streams) {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, node);
        if (!takes(s, p))
            continue;
        list_remove(node); /* the others come first next time */
        list_push_back(&t->streams, node);
        p->current = s;
        p->current_left = in_a_row(p, offset);
        break;
    }
    return p->current;
}

static int64_t deadline_of(const struct subscription *s, int64_t now_ms)
{
    if (s->ack_deadline_ms <= 0 || s->ack_deadline_ms > SHARE_NEVER / 2 - now_ms)
        return SHARE_NEVER;
    int64_t step = SL_MAX(s->ack_deadline_ms / DEADLINE_STEPS, (int64_t)DEADLINE_STEP_MS);
    return (now_ms + s->ack_deadline_ms + step - 1) / step * step;
}

/* ---- what is there ----------------------------------------------------------------------------
 */

static bool stop(struct share_part *p, enum stop why)
{
    p->stop = why;
    return false;
}

static bool stop_at_end(struct share_part *p, int64_t offset)
{
    list_remove(&p->watch.node);
    p->watch.above = offset;
    log_watch(p->of->engine->broker->env.log, p->log, &p->watch);
    feed_walker_rest(&p->ahead);
    feed_walker_rest(&p->again);
    return stop(p, STOP_END);
}

static bool stop_for_stream(struct share_part *p)
{
    if (feed_is_tight(p->of->engine->feed)) {
        feed_walker_rest(&p->ahead);
        feed_walker_rest(&p->again);
    }
    return stop(p, STOP_STREAM);
}

/* The log cannot be read here: nobody of the group gets any further. */
static bool fail(struct share_part *p, sl_err err)
{
    static const char reason[] = "the log cannot be read at the group's position";
    struct share_topic *t = p->of;
    (void)stop(p, STOP_END);
    LIST_FOREACH_SAFE(node, &t->streams)
    {
        struct subscription *s = SL_CONTAINER_OF(node, struct subscription, node);
        if (stream_reads(s, p->index))
            stream_end(s, err, reason);
    }
    return false;
}

static void skip(struct share_part *p, int64_t offset, int64_t end)
{
    share_skip(&p->share, offset, end);
}

/* SL_OK: the message at `offset`. SL_CONTINUE: not there, and skipped; look again. SL_PENDING. */
static sl_err find(struct share_part *p, int64_t offset, struct message *ret)
{
    struct feed_walker *w = offset < p->share.next ? &p->again : &p->ahead;
    struct record r;
    int64_t next = 0;
    sl_err err = feed_find(w, offset, p->end, &r, &next);
    if (err == SL_CONTINUE)
        skip(p, offset, next);
    if (err == SL_OK && r.offset > offset) {
        skip(p, offset, r.offset);
        err = SL_CONTINUE;
    }
    SL_TRY(err);
    return message_open(p->of->engine, &r, ret);
}

/* Deliver-at is wall time, and the machine's is not. */
static bool is_delayed(const struct share_part *p, const struct message *m, int64_t *ret_at_ms)
{
    int64_t at_ms = m->n_headers ? message_deliver_at(m) : 0;
    if (!at_ms)
        return false;
    int64_t wall_ms = clock_wall_ms(p->of->engine->broker->env.clock);
    *ret_at_ms = subs__now_ms(p->of->engine) + (at_ms - wall_ms);
    return at_ms > wall_ms;
}

/* ---- dead letters -----------------------------------------------------------------------------
 */

static const char *dead_reason(const struct share_part *p, const struct share_run *run)
{
    if (!run || !p->of->has_dead_letters)
        return NULL;
    if (run->rejected)
        return "rejected by its consumer";
    if (p->of->deliveries_max && run->count >= p->of->deliveries_max)
        return "delivered as often as allowed and not acknowledged";
    return NULL;
}

static bool bury(struct share_part *p, int64_t offset, const char *reason)
{
    struct message m;
    if (p->n_dead >= DEAD_LETTERS_MAX)
        return stop(p, STOP_FULL);
    uint32_t deliveries = share_run_of(&p->share, offset)->count;
    sl_err err = find(p, offset, &m);
    if (err == SL_OK)
        err = dead_letter_send(p, &m, reason, deliveries);
    if (err == SL_OK || err == SL_CONTINUE)
        return true;
    if (err == SL_PENDING)
        return stop(p, STOP_READ);
    return fail(p, err);
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static bool deliver(struct share_part *p, int64_t offset, struct subscription *s)
{
    int64_t deadline_ms = deadline_of(s, subs__now_ms(p->of->engine)), at_ms;
    struct message m;
    if (!share_may_hold(&p->share, offset, s, deadline_ms))
        return stop(p, STOP_FULL);
    sl_err err = find(p, offset, &m);
    if (err == SL_CONTINUE)
        return true;
    if (err == SL_PENDING)
        return stop(p, STOP_READ);
    if (err != SL_OK)
        return fail(p, err);
    if (!filter_passes(&p->of->filter, &m)) {
        skip(p, offset, offset + 1);
        return true;
    }
    if (is_delayed(p, &m, &at_ms)) {
        if (!share_may_delay(&p->share, offset))
            return stop(p, STOP_FULL);
        share_delay(&p->share, offset, at_ms);
        return true;
    }
    uint32_t count = share_hold(&p->share, offset, s, deadline_ms, true);
    p->current_left -= p->current_left != UINT32_MAX;
    err = stream_deliver(s, p->index, &m, count);
    if (err != SL_OK)
        stream_end(s, err, "no memory for its next message");
    return true;
}

static bool step(struct share_part *p)
{
    if (!p->of->n_streams)
        return stop(p, STOP_STREAM);
    int64_t offset = share_pick(&p->share, subs__now_ms(p->of->engine));
    if (offset >= p->end)
        return stop_at_end(p, offset);
    if (offset < p->log_start) {
        skip(p, offset, p->log_start);
        return true;
    }
    const char *reason = dead_reason(p, share_run_of(&p->share, offset));
    if (reason)
        return bury(p, offset, reason);
    struct subscription *s = pick_stream(p, offset);
    return s ? deliver(p, offset, s) : stop_for_stream(p);
}

static void set_timer(struct share_part *p)
{
    int64_t now_ms = subs__now_ms(p->of->engine);
    int64_t due_ms = share_next_event(&p->share, now_ms);
    if (!p->of->n_streams || due_ms == SHARE_NEVER)
        timer_stop(&p->timer);
    else
        timer_start(&p->timer, SL_MAX(due_ms - now_ms, (int64_t)0));
}

void share_part_run(struct turn *t)
{
    struct share_part *p = SL_CONTAINER_OF(t, struct share_part, turn);
    struct share_topic *topic = p->of;
    struct log_part_state state;
    SL_ASSERT(p->open);
    if (!topic->topic || !topic->n_streams)
        return;
    log_part_state(topic->engine->broker->env.log, p->log, &state);
    p->log_start = state.log_start;
    p->end = state.high_watermark;
    topic->engine->counters.expired += share_expire(&p->share, subs__now_ms(topic->engine));
    p->stop = STOP_NOT;
    topic->n_busy++; /* streams may end */
    int steps = 0;
    while (steps < STEPS_A_TURN && step(p))
        steps++;
    SL_ASSERT(p->share.cursor <= p->share.next);
    if (steps == STEPS_A_TURN)
        subs__queue(topic->engine, t);
    topic->n_busy--;
    set_timer(p);
    share_part_changed(p);
    (void)share_topic_end_step(topic);
}

void share_part_wake(struct share_part *p)
{
    if (p->open && p->of->topic)
        subs__queue(p->of->engine, &p->turn);
}

void share_part_walked(struct feed_walker *ahead)
{
    share_part_wake(SL_CONTAINER_OF(ahead, struct share_part, ahead));
}

void share_part_walked_again(struct feed_walker *again)
{
    share_part_wake(SL_CONTAINER_OF(again, struct share_part, again));
}
