/* The call that opens a stream. */
#include "broker/subscribe.h"

#include "base/alloc.h"
#include "broker/subscribe_int.h"
#include "broker/topic_name.h"

static const char takeover[] = "consumer group takeover";

/* ---- checks -----------------------------------------------------------------------------------
 */

static sl_err refuse(struct broker_subscribe *s, sl_err err, const char *why)
{
    s->why = why;
    return err;
}

static sl_err check_group(struct broker_subscribe *s)
{
    char name[GROUP_NAME_BYTES_MAX + 1] = "";
    if (s->group.len == 0 || s->group.len > GROUP_NAME_BYTES_MAX ||
        memchr(s->group.data, 0, s->group.len))
        return SL_EGROUP_ID;
    memcpy(name, s->group.data, s->group.len);
    return authorize(s->call.broker, s->call.who, OPERATION_READ, RESOURCE_GROUP, name);
}

static sl_err check_offset(struct broker_subscribe *s, const struct topic *topic)
{
    if (s->from != SUBSCRIBE_OFFSET)
        return SL_OK;
    if (s->partition < 0 && topic->n_partitions > 1)
        return refuse(s, SL_EINVAL, "an offset needs a partition");
    if (s->offset < 0)
        return refuse(s, SL_EINVAL, "the offset is negative");
    s->partition = SL_MAX(s->partition, 0);
    return SL_OK;
}

static sl_err check_limits(struct broker_subscribe *s, const struct topic *topic)
{
    if (s->partition >= topic->n_partitions)
        return SL_ETOPIC;
    if (s->consumer_id.len > SUBSCRIPTION_ID_BYTES_MAX)
        return refuse(s, SL_EINVAL, "the consumer id is too long");
    if (s->room == 0 || s->ack_deadline_ms < 0)
        return refuse(s, SL_EINVAL, "the room or the ack deadline is not valid");
    return check_offset(s, topic);
}

/* "<topic>.dlq" unless another one is asked for; counted text, or data NULL: none is wanted. */
static struct slice dead_topic_of(const struct broker_subscribe *s, const struct topic *topic)
{
    if (s->dead_letter_topic.len)
        return slice_copy(s->dead_letter_topic.data, s->dead_letter_topic.len);
    if (!s->deliveries_max)
        return (struct slice){0};
    struct buf name;
    buf_init(&name, 4096);
    (void)buf_printf(&name, "%s%s", topic->name, DEAD_LETTER_SUFFIX);
    struct slice text = buf_take_slice(&name);
    buf_fini(&name);
    return text;
}

static sl_err check_dead_topic(struct broker_subscribe *s, struct slice name)
{
    char text[TOPIC_NAME_BYTES_MAX + 1] = "";
    if (!name.data)
        return SL_OK;
    if (topic_name_check(name, NULL) != SL_OK)
        return refuse(s, SL_ETOPIC_NAME, "the name of the dead letter topic is not valid");
    memcpy(text, name.data, name.len);
    return authorize(s->call.broker, s->call.who, OPERATION_WRITE, RESOURCE_TOPIC, text);
}

static sl_err check(struct broker_subscribe *s, struct topic **ret)
{
    struct broker *b = s->call.broker;
    if (b->closing)
        return SL_ECLOSED;
    struct topic *topic = broker__topic(b, &s->call.who->org, s->topic);
    if (!topic)
        return SL_ETOPIC;
    SL_TRY(authorize(b, s->call.who, OPERATION_READ, RESOURCE_TOPIC, topic->name));
    SL_TRY(check_limits(s, topic));
    if (s->mode != SUBSCRIBE_TAIL)
        SL_TRY(check_group(s));
    *ret = topic;
    return SL_OK;
}

/* ---- streams ----------------------------------------------------------------------------------
 */

static struct subscription *stream_new(struct broker_subscribe *s, const struct topic *topic)
{
    struct subscriptions *e = s->call.broker->subscriptions;
    struct subscription *r = sl_new(struct subscription);
    r->engine = e;
    r->home = s->call.home;
    r->events = s->events;
    r->arg = s->arg;
    r->life = STREAM_OPENING;
    r->topic_id = topic->id;
    r->org = topic->org;
    r->id = sl_alloc(1, s->consumer_id.len + 1);
    r->id_len = s->consumer_id.len;
    if (r->id_len)
        memcpy(r->id, s->consumer_id.data, r->id_len);
    r->partition = s->partition;
    r->room = (int64_t)SL_MIN(s->room, (size_t)INT64_MAX / 4);
    r->ack_deadline_ms = s->ack_deadline_ms;
    r->call = s;
    list_push_back(&e->all, &r->all_node);
    return r;
}

static void finish(struct broker_subscribe *s, sl_err err)
{
    s->err = err;
    s->call.cancel = NULL;
    broker_finish(&s->call);
}

static void opened(struct store_wait *w, sl_err err)
{
    struct subscription *r = SL_CONTAINER_OF(w, struct subscription, wait);
    struct broker_subscribe *s = SL_TAKE(r->call);
    if (err != SL_OK) {
        stream_undo(r);
        finish(s, err);
        return;
    }
    s->ret = r;
    if (r->life == STREAM_OPENING)
        stream_opened(r);
    bool ended = r->life == STREAM_ENDED;
    finish(s, SL_OK);
    if (ended)
        stream_opened(r);
}

/* ---- tails ------------------------------------------------------------------------------------
 */

static int64_t tail_start(const struct broker_subscribe *s, struct log_part *log)
{
    struct log_part_state state;
    log_part_state(s->call.broker->env.log, log, &state);
    switch (s->from) {
    case SUBSCRIBE_LATEST:
        return state.high_watermark;
    case SUBSCRIBE_EARLIEST:
        return state.log_start;
    case SUBSCRIBE_OFFSET:
        return s->offset;
    }
    SL_UNREACHABLE();
}

static sl_err open_tail(struct broker_subscribe *s, struct topic *topic)
{
    struct filter filter;
    SL_TRY(filter_init(&filter, s));
    struct subscription *r = stream_new(s, topic);
    r->filter = filter;
    list_push_back(&r->engine->tails, &r->node);
    r->engine->counters.tails++;
    for (int32_t i = 0; i < topic->n_partitions; i++) {
        struct log_part *log = broker__partition(topic, i)->log;
        if (stream_reads(r, i))
            lane_add(r, i, log, tail_start(s, log));
    }
    opened(&r->wait, SL_OK);
    return SL_OK;
}

/* ---- groups -----------------------------------------------------------------------------------
 */

static bool is_replaced(const struct broker_subscribe *s, const struct subscription *old)
{
    return s->mode == SUBSCRIBE_EXCLUSIVE ||
           (s->consumer_id.len && slice_eq(s->consumer_id, slice_of(old->id, old->id_len)));
}

static int64_t cursor_of(const struct share_part *p)
{
    struct log_part_state state;
    if (p->open)
        return p->share.cursor;
    const struct committed *c =
        group_offsets_find(&p->of->group->offsets, &p->of->topic_id, p->index);
    log_part_state(p->of->engine->broker->env.log, p->log, &state);
    return c && c->offset >= 0 ? c->offset : state.log_start;
}

/* Whether it may open beside those streams that stay. */
static sl_err check_others(struct broker_subscribe *s, const struct share_topic *t,
                           const struct filter *filter)
{
    bool jumps = s->from == SUBSCRIBE_OFFSET && s->offset > cursor_of(t->parts[s->partition]);
    LIST_FOREACH (node, &t->streams) {
        const struct subscription *o = SL_CONTAINER_OF(node, struct subscription, node);
        if (is_replaced(s, o))
            continue;
        if (jumps)
            return refuse(s, SL_EGROUP_PROTOCOL,
                          "another stream of the group is open: it cannot be moved forward");
        if (o->jumped)
            return refuse(s, SL_EGROUP_PROTOCOL,
                          "the group is being moved forward: not before its first ack");
        if (!filter_equal(filter, &t->filter))
            return refuse(s, SL_EGROUP_PROTOCOL, "the group's streams have another filter");
    }
    return SL_OK;
}

static void take_over(const struct broker_subscribe *s, struct share_topic *t)
{
    LIST_FOREACH_SAFE(node, &t->streams)
    {
        struct subscription *o = SL_CONTAINER_OF(node, struct subscription, node);
        if (!is_replaced(s, o))
            continue;
        t->engine->counters.takeovers++;
        stream_end(o, SL_EINSTANCE_FENCED, takeover);
    }
}

static sl_err open_parts(struct broker_subscribe *s, struct share_topic *t)
{
    for (int32_t i = 0; i < t->n_parts; i++) {
        struct share_part *p = t->parts[i];
        sl_err err = SL_OK;
        if ((s->partition < 0 || s->partition == i) && !p->open)
            err = share_part_open(p, s->from);
        if (err != SL_OK)
            return refuse(s, err, "what is stored of the group's acknowledgements cannot be read");
    }
    return SL_OK;
}

static void go_to_offset(const struct broker_subscribe *s, struct subscription *r)
{
    struct share_part *p = r->share->parts[s->partition];
    if (s->offset < p->share.cursor) {
        lane_add(r, s->partition, p->log, s->offset);
    } else if (s->offset > p->share.cursor) {
        share_jump(&p->share, s->offset);
        r->jumped = true;
    }
}

static void join(struct broker_subscribe *s, struct share_topic *t, struct subscription *r)
{
    r->share = t;
    list_push_back(&t->streams, &r->node);
    t->n_streams++;
    t->group->n_streams++;
    t->engine->counters.streams++;
    if (s->from == SUBSCRIBE_OFFSET)
        go_to_offset(s, r);
    share_topic_wake(t, s->partition);
}

static void set_options(const struct broker_subscribe *s, struct share_topic *t,
                        struct filter *filter, struct slice dead_topic)
{
    filter_fini(&t->filter);
    t->filter = *filter;
    t->deliveries_max = s->deliveries_max;
    sl_free(t->dead_topic);
    t->dead_topic = NULL;
    t->has_dead_letters = dead_topic.data != NULL;
    if (!t->has_dead_letters)
        return;
    t->dead_topic = sl_alloc(1, dead_topic.len + 1);
    memcpy(t->dead_topic, dead_topic.data, dead_topic.len);
}

static sl_err enter(struct broker_subscribe *s, struct share_topic *t, struct topic *topic,
                    struct filter *filter, struct slice dead_topic)
{
    SL_TRY(check_dead_topic(s, dead_topic));
    SL_TRY(check_others(s, t, filter));
    take_over(s, t);
    SL_TRY(open_parts(s, t));
    set_options(s, t, filter, dead_topic);
    struct subscription *r = stream_new(s, topic);
    join(s, t, r);
    share_store_wait(t->engine, &r->wait, opened);
    return SL_OK;
}

static sl_err open_in_group(struct broker_subscribe *s, struct topic *topic, struct group *g)
{
    struct filter filter;
    SL_TRY(filter_init(&filter, s));
    struct share_topic *t = share_topic_make(s->call.broker->subscriptions, g, topic);
    struct slice dead_topic = dead_topic_of(s, topic);
    t->n_busy++; /* also without its streams */
    sl_err err = enter(s, t, topic, &filter, dead_topic);
    t->n_busy--;
    slice_unref(&dead_topic);
    if (err != SL_OK)
        filter_fini(&filter);
    (void)share_topic_end_step(t);
    return err;
}

/* ---- the call ---------------------------------------------------------------------------------
 */

static void unpark(struct broker_subscribe *s)
{
    list_remove(&s->node);
    SL_ASSERT(s->waits_for->n_streams > 0);
    s->waits_for->n_streams--;
    s->waits_for = NULL;
}

static void cancel_parked(struct broker_call *call)
{
    struct broker_subscribe *s = SL_CONTAINER_OF(call, struct broker_subscribe, call);
    struct group *g = s->waits_for;
    unpark(s);
    groups__end_step(call->broker->groups, g);
    finish(s, SL_ECANCELED);
}

/* Commits of others are under way, and no more come in: the cursor is known when they have ended.
 */
static void park(struct broker_subscribe *s, struct group *g)
{
    g->n_streams++;
    s->waits_for = g;
    list_push_back(&s->call.broker->subscriptions->parked, &s->node);
    s->call.cancel = cancel_parked;
}

/* SL_PENDING: parked. */
static sl_err start_in_group(struct broker_subscribe *s, struct topic *topic)
{
    struct group_state *gs = s->call.broker->groups;
    struct group *g;
    SL_TRY(groups__make(gs, &s->call.who->org, s->group, &g));
    sl_err err = SL_OK;
    if (g->life != GROUP_EMPTY || g->members.n)
        err = refuse(s, SL_EGROUP_NOT_EMPTY, "the group has Kafka members");
    else if (gs->n_offsets + (size_t)topic->n_partitions > GROUP_OFFSETS_MAX)
        err = SL_ELIMIT;
    else if (g->n_txns) {
        park(s, g);
        return SL_PENDING;
    }
    if (err == SL_OK)
        return open_in_group(s, topic, g); /* and ends the group's step */
    groups__end_step(gs, g);
    return err;
}

static void run_subscribe(struct broker_call *call)
{
    struct broker_subscribe *s = SL_CONTAINER_OF(call, struct broker_subscribe, call);
    struct topic *topic;
    s->ret = NULL;
    s->why = NULL;
    sl_err err = check(s, &topic);
    if (err == SL_OK) {
        s->n_partitions = topic->n_partitions;
        s->topic_number = topic->number;
        err = s->mode == SUBSCRIBE_TAIL ? open_tail(s, topic) : start_in_group(s, topic);
    }
    if (err != SL_OK && err != SL_PENDING)
        finish(s, err);
}

void broker_subscribe_init(struct broker_subscribe *s)
{
    s->call.run = run_subscribe;
    s->partition = -1;
}

void subs__group_settled(struct broker *b, struct group *g)
{
    struct subscriptions *e = b->subscriptions;
    if (!e || g->n_txns)
        return;
    struct list again;
    list_init(&again);
    LIST_FOREACH_SAFE(node, &e->parked)
    {
        struct broker_subscribe *s = SL_CONTAINER_OF(node, struct broker_subscribe, node);
        if (s->waits_for != g)
            continue;
        unpark(s);
        list_push_back(&again, &s->node);
    }
    g->n_streams++; /* it stays, whatever becomes of them */
    for (struct list *node; (node = list_pop_front(&again));)
        run_subscribe(&SL_CONTAINER_OF(node, struct broker_subscribe, node)->call);
    g->n_streams--;
}

void subs__end_parked(struct subscriptions *e)
{
    while (!list_empty(&e->parked)) {
        struct broker_subscribe *s = SL_CONTAINER_OF(e->parked.next, struct broker_subscribe, node);
        unpark(s);
        finish(s, SL_ECLOSED);
    }
}
