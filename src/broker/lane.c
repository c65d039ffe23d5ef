/* Private reading of a stream: tails, and what a stream reads again below its group's cursor. It
 * takes credit and room, and holds nothing. */
#include "base/alloc.h"
#include "broker/subscribe_int.h"

enum { STEPS_A_TURN = 512 };

/* A re-read ends where the group's deliveries are. */
static bool is_at_cursor(const struct lane *l)
{
    const struct share_topic *t = l->sub->share;
    return t && l->at >= t->parts[l->partition]->share.cursor;
}

static bool stop(struct lane *l, enum stop why)
{
    l->stop = why;
    return false;
}

static bool stop_at_end(struct lane *l)
{
    list_remove(&l->watch.node);
    l->watch.above = l->at;
    log_watch(l->sub->engine->broker->env.log, l->log, &l->watch);
    feed_walker_rest(&l->walker);
    return stop(l, STOP_END);
}

static bool join_group(struct lane *l)
{
    l->done = true;
    feed_walker_rest(&l->walker);
    share_part_wake(l->sub->share->parts[l->partition]);
    return stop(l, STOP_END);
}

static sl_err deliver(struct lane *l, const struct record *r)
{
    struct subscription *s = l->sub;
    struct message m;
    SL_TRY(message_open(s->engine, r, &m));
    l->at = r->offset + 1;
    if (!filter_passes(s->share ? &s->share->filter : &s->filter, &m))
        return SL_OK;
    return stream_deliver(s, l->partition, &m, 0);
}

static bool step(struct lane *l, const struct log_part_state *state)
{
    struct record r;
    int64_t next = 0;
    l->at = SL_MAX(l->at, state->log_start);
    if (is_at_cursor(l))
        return join_group(l);
    if (l->at >= state->high_watermark)
        return stop_at_end(l);
    if (!stream_can_take(l->sub)) {
        if (feed_is_tight(l->sub->engine->feed))
            feed_walker_rest(&l->walker);
        return stop(l, STOP_STREAM);
    }
    sl_err err = feed_find(&l->walker, l->at, state->high_watermark, &r, &next);
    if (err == SL_PENDING)
        return stop(l, STOP_READ);
    if (err == SL_CONTINUE) {
        l->at = next;
        return true;
    }
    if (err == SL_OK && l->sub->share &&
        r.offset >= l->sub->share->parts[l->partition]->share.cursor)
        return join_group(l);
    if (err == SL_OK)
        err = deliver(l, &r);
    if (err == SL_OK)
        return true;
    stream_end(l->sub, err, "the log cannot be read at the stream's position");
    return false;
}

static void run(struct turn *t)
{
    struct lane *l = SL_CONTAINER_OF(t, struct lane, turn);
    struct log_part_state state;
    if (l->done || l->sub->life != STREAM_OPEN)
        return;
    log_part_state(l->sub->engine->broker->env.log, l->log, &state);
    l->stop = STOP_NOT;
    int steps = 0;
    while (steps < STEPS_A_TURN && step(l, &state))
        steps++;
    if (steps == STEPS_A_TURN)
        subs__queue(l->sub->engine, t);
}

static void walked(struct feed_walker *w)
{
    struct lane *l = SL_CONTAINER_OF(w, struct lane, walker);
    subs__queue(l->sub->engine, &l->turn);
}

static void moved(struct log_watch *w)
{
    struct lane *l = SL_CONTAINER_OF(w, struct lane, watch);
    subs__queue(l->sub->engine, &l->turn);
}

void lane_add(struct subscription *s, int32_t partition, struct log_part *log, int64_t at)
{
    SL_ASSERT(at >= 0);
    struct lane *l = sl_new(struct lane);
    l->sub = s;
    l->partition = partition;
    l->log = log;
    l->at = at;
    l->turn.run = run;
    l->watch.moved = moved;
    feed_walker_init(&l->walker, s->engine->feed, log, walked);
    s->lanes = sl_realloc(s->lanes, s->n_lanes + 1, sizeof(struct lane *));
    s->lanes[s->n_lanes++] = l;
    subs__queue(s->engine, &l->turn);
}

void lane_rest(struct lane *l)
{
    list_remove(&l->turn.node);
    list_remove(&l->watch.node);
    feed_walker_rest(&l->walker);
}

void lane_free(struct lane *l)
{
    lane_rest(l);
    sl_free(l);
}
