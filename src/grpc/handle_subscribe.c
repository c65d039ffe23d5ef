/* sluice.v1.Sluice/Subscribe: a stream of the delivery engine as a stream of gRPC.
 *
 * What waits to be sent is bounded: the engine gets its room back only while fewer than
 * GRPC_ROOM_BYTES wait, so at most that, one room more and one message are held for a peer. */
#include "base/log.h"
#include "broker/offsets.h"
#include "broker/subscribe.h"
#include "broker/topic_name.h"
#include "broker/topics.h"
#include "grpc/delivery_message.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "proto/sluice.pb-c.h"
#include "record/message_id.h"

#include <stdio.h>

enum { HEARTBEAT_MS = 30000, ROOM_BYTES = 64 << 10 };

enum life {
    SUB_EXPECTING, /* no init yet */
    SUB_OPENING,   /* the broker is asked */
    SUB_OPEN,
    SUB_CLOSING, /* the subscription is being closed; then the call ends with `status` */
    SUB_CLOSED,
};

struct subscribe_job {
    struct grpc_call *c;
    enum life life;
    struct broker_subscribe call;
    struct broker_metadata look; /* of an init that is refused anyway */
    struct broker_topic_view view;
    struct subscription *s; /* NULL: none */
    uint32_t credits;       /* granted before it is open */
    bool half_closed;
    size_t owed; /* room that the engine gets back when there is some */
    struct timer heartbeat;
    struct broker_list_offsets ends;
    bool asking_ends;
    enum grpc_status status; /* of the end */
    char text[384];
};

/* ---- the end --------------------------------------------------------------------------------- */

/* The call ends when nothing of it is under way in the broker. */
static void end_if_closed(struct subscribe_job *j)
{
    if (j->life == SUB_CLOSED && !j->asking_ends)
        grpc_fail(j->c, j->status, "%s", j->text);
}

static void on_closed(void *arg)
{
    struct subscribe_job *j = arg;
    j->life = SUB_CLOSED;
    end_if_closed(j);
}

static void close_with(struct subscribe_job *j, enum grpc_status status, const char *text)
{
    if (j->life >= SUB_CLOSING)
        return;
    bool was_opening = j->life == SUB_OPENING;
    j->life = SUB_CLOSING;
    j->status = status;
    (void)snprintf(j->text, sizeof j->text, "%s", text);
    timer_stop(&j->heartbeat);
    if (j->s)
        subscription_close(SL_TAKE(j->s), on_closed, j);
    else if (!was_opening) /* else `opened` goes on */
        on_closed(j);
}

static void on_cancel(struct grpc_call *c)
{
    close_with(c->job, GRPC_CANCELLED, "client disconnected");
}

static void on_stop(struct grpc_call *c)
{
    close_with(c->job, GRPC_UNAVAILABLE, "server is shutting down");
}

/* ---- deliveries ------------------------------------------------------------------------------ */

static void give_room(struct subscribe_job *j)
{
    if (j->life != SUB_OPEN || j->owed == 0 || grpc_queued_bytes(j->c) >= GRPC_ROOM_BYTES)
        return;
    size_t owed = j->owed;
    j->owed = 0;
    subscription_room(j->s, owed);
}

static void on_room(struct grpc_call *c)
{
    give_room(c->job);
}

static void on_deliver(void *arg, struct delivery *d)
{
    struct subscribe_job *j = arg;
    struct arena *scratch = grpc__arena_get(j->c->shard);
    bool tells_partition = j->call.n_partitions > 1, holds = true;
    for (uint32_t i = 0; holds && i < d->n_items; i++)
        holds = delivery__send(j->c, scratch, &d->items[i], j->call.topic_number, tells_partition);
    j->owed += d->room;
    delivery_free(d);
    grpc__arena_put(j->c->shard, scratch);
    if (holds)
        give_room(j);
    else
        close_with(j, GRPC_RESOURCE_EXHAUSTED, "the server has no memory for a delivery now");
}

static void on_ended(void *arg, sl_err err, const char *reason)
{
    struct subscribe_job *j = arg;
    char text[256];
    switch (err) {
    case SL_OK:
        close_with(j, GRPC_OK, "");
        return;
    case SL_EINSTANCE_FENCED:
        close_with(j, GRPC_ABORTED, "consumer group takeover");
        return;
    case SL_ECLOSED:
        close_with(j, GRPC_UNAVAILABLE, "server is shutting down");
        return;
    case SL_ETOPIC:
        close_with(j, GRPC_NOT_FOUND, "the topic was deleted");
        return;
    default:
        (void)snprintf(text, sizeof text, "database error: %s", reason ? reason : sl_err_text(err));
        close_with(j, GRPC_INTERNAL, text);
    }
}

/* ---- heartbeats ------------------------------------------------------------------------------ */

static void told_ends(struct broker_call *b)
{
    struct subscribe_job *j = SL_CONTAINER_OF(b, struct subscribe_job, ends.call);
    Sluice__V1__SubscribeDownstream out = SLUICE__V1__SUBSCRIBE_DOWNSTREAM__INIT;
    Sluice__V1__Heartbeat beat = SLUICE__V1__HEARTBEAT__INIT;
    j->asking_ends = false;
    if (j->life == SUB_OPEN) {
        for (uint32_t i = 0; i < j->ends.n_parts; i++)
            if (j->ends.parts[i].err == SL_OK && j->ends.parts[i].offset > 0)
                beat.latest_seq = SL_MAX(beat.latest_seq, (uint64_t)j->ends.parts[i].offset);
        beat.timestamp = clock_wall_ms(loop_clock(j->c->loop));
        out.response_case = SLUICE__V1__SUBSCRIBE_DOWNSTREAM__RESPONSE_HEARTBEAT;
        out.heartbeat = &beat;
        (void)grpc_send(j->c, &out.base);
    }
    end_if_closed(j);
}

/* Also a slow peer gets them; one that reads nothing must not gather them, though. */
static void on_heartbeat(struct timer *t)
{
    struct subscribe_job *j = SL_CONTAINER_OF(t, struct subscribe_job, heartbeat);
    timer_start(t, HEARTBEAT_MS);
    if (j->life != SUB_OPEN || j->asking_ends ||
        grpc_queued_bytes(j->c) >= 2 * (size_t)GRPC_ROOM_BYTES)
        return;
    for (uint32_t i = 0; i < j->ends.n_parts; i++)
        j->ends.parts[i] = (struct broker_offsets_part){.topic = j->call.topic,
                                                        .index = (int32_t)i,
                                                        .current_leader_epoch = -1,
                                                        .timestamp_ms = OFFSET_LATEST};
    j->asking_ends = true;
    broker_list_offsets_init(&j->ends);
    grpc_submit(j->c, &j->ends.call, told_ends);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void refuse_init(struct subscribe_job *j)
{
    const struct broker_subscribe *b = &j->call;
    char text[384];
    const char *why = b->why ? b->why : sl_err_text(b->err);
    j->c->why = b->err;
    switch (b->err) {
    case SL_ETOPIC:
        (void)snprintf(text, sizeof text, "topic '%.*s' does not exist", (int)b->topic.len,
                       (const char *)b->topic.data);
        close_with(j, GRPC_NOT_FOUND, text);
        return;
    case SL_ECLOSED:
        close_with(j, GRPC_UNAVAILABLE, "server is shutting down");
        return;
    default:
        if (grpc_status_of(b->err) == GRPC_INTERNAL)
            (void)snprintf(text, sizeof text, "database error: %s", why);
        else
            (void)snprintf(text, sizeof text, "%s", why);
        close_with(j, grpc_status_of(b->err), text);
    }
}

static void opened(struct broker_call *b)
{
    struct subscribe_job *j = SL_CONTAINER_OF(b, struct subscribe_job, call.call);
    if (j->call.err == SL_OK)
        j->s = j->call.ret;
    if (j->life == SUB_CLOSING) { /* canceled meanwhile */
        if (j->s)
            subscription_close(SL_TAKE(j->s), on_closed, j);
        else
            on_closed(j);
        return;
    }
    j->life = SUB_OPEN;
    if (j->call.err != SL_OK) {
        refuse_init(j);
        return;
    }
    uint32_t n = (uint32_t)j->call.n_partitions;
    j->ends.parts = arena_alloc(j->c->arena, n, sizeof *j->ends.parts);
    j->ends.n_parts = j->ends.parts ? n : 0;
    timer_start(&j->heartbeat, HEARTBEAT_MS);
    grpc_open(j->c);
    if (j->credits)
        subscription_credit(j->s, j->credits);
    if (j->half_closed)
        subscription_drain(j->s);
}

static bool topic_holds(struct subscribe_job *j, const char *topic)
{
    const char *why = NULL;
    size_t n = strlen(topic);
    if (n == 0)
        why = "topic cannot be empty";
    else if (n > TOPIC_NAME_BYTES_MAX)
        why = "topic name exceeds 255 characters";
    for (const char *p = topic; !why && *p; p++) {
        bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                  (*p >= '0' && *p <= '9') || *p == '.' || *p == '_' || *p == '-';
        if (!ok)
            why = "topic name contains invalid characters (only alphanumeric, dash, underscore, "
                  "dot allowed)";
    }
    if (why)
        close_with(j, GRPC_INVALID_ARGUMENT, why);
    return !why;
}

/* An unknown topic is told before a missing offset. */
static void looked(struct broker_call *b)
{
    struct subscribe_job *j = SL_CONTAINER_OF(b, struct subscribe_job, look.call);
    sl_err err = j->look.err != SL_OK ? j->look.err : j->view.err;
    broker_metadata_fini(&j->look);
    j->call.err = err == SL_ETOPIC_NAME ? SL_ETOPIC : err;
    if (j->life == SUB_CLOSING) {
        on_closed(j);
        return;
    }
    j->life = SUB_OPEN; /* as far as the end is concerned: nothing is under way */
    if (err != SL_OK)
        refuse_init(j);
    else
        close_with(j, GRPC_INVALID_ARGUMENT, "offset must be provided and > 0 for OFFSET position");
}

static void refuse_offset(struct subscribe_job *j)
{
    j->view = (struct broker_topic_view){.name = j->call.topic};
    j->look = (struct broker_metadata){.topics = &j->view, .n_topics = 1};
    broker_metadata_init(&j->look);
    grpc_submit(j->c, &j->look.call, looked);
}

static struct slice keep(struct subscribe_job *j, const char *text)
{
    const char *kept = arena_strndup(j->c->arena, text, strlen(text));
    return kept ? slice_str(kept) : (struct slice){0};
}

static bool keep_filter(struct subscribe_job *j, const Sluice__V1__SubscriptionInit *in)
{
    if (in->n_filter == 0)
        return true;
    struct subscribe_condition *f = arena_alloc(j->c->arena, in->n_filter, sizeof *f);
    if (!f)
        return false;
    for (size_t i = 0; i < in->n_filter; i++) {
        f[i].name = keep(j, in->filter[i]->key);
        f[i].value = keep(j, in->filter[i]->value);
        if (!f[i].name.data || !f[i].value.data)
            return false;
    }
    j->call.filter = f;
    j->call.n_filter = (uint32_t)in->n_filter;
    return true;
}

static enum subscribe_from from_of(const Sluice__V1__SubscriptionInit *in)
{
    switch ((int)in->initial_position) {
    case SLUICE__V1__INITIAL_POSITION__EARLIEST:
        return SUBSCRIBE_EARLIEST;
    case SLUICE__V1__INITIAL_POSITION__OFFSET:
        return SUBSCRIBE_OFFSET;
    default:
        return SUBSCRIBE_LATEST; /* numbers that are not known, too */
    }
}

static enum subscribe_mode mode_of(const Sluice__V1__SubscriptionInit *in)
{
    switch ((int)in->mode) {
    case SLUICE__V1__SUBSCRIPTION_MODE__SUBSCRIPTION_MODE_EXCLUSIVE:
        return SUBSCRIBE_EXCLUSIVE;
    case SLUICE__V1__SUBSCRIPTION_MODE__SUBSCRIPTION_MODE_TAIL:
        return SUBSCRIBE_TAIL;
    default:
        return SUBSCRIBE_SHARED;
    }
}

/* The init is gone when the broker answers: texts are copied. */
static bool fill(struct subscribe_job *j, const Sluice__V1__SubscriptionInit *in)
{
    static const struct subscription_events events = {on_deliver, on_ended};
    struct broker_subscribe *b = &j->call;
    broker_subscribe_init(b);
    b->topic = keep(j, in->topic);
    b->group = keep(j, *in->consumer_group ? in->consumer_group : "default");
    b->consumer_id = keep(j, in->consumer_id);
    b->dead_letter_topic = keep(j, in->dead_letter_topic);
    b->from = from_of(in);
    b->mode = mode_of(in);
    b->offset = (int64_t)SL_MIN(in->offset, (uint64_t)INT64_MAX);
    b->ack_deadline_ms = in->ack_deadline_ms;
    b->deliveries_max = in->max_deliveries;
    b->room = ROOM_BYTES;
    b->events = &events;
    b->arg = j;
    if (in->_partition_case == SLUICE__V1__SUBSCRIPTION_INIT___PARTITION_PARTITION)
        b->partition = (int32_t)SL_MIN(in->partition, (uint32_t)INT32_MAX);
    return b->topic.data && b->group.data && b->consumer_id.data && b->dead_letter_topic.data &&
           keep_filter(j, in);
}

static void on_init(struct subscribe_job *j, const Sluice__V1__SubscriptionInit *in)
{
    if (!topic_holds(j, in->topic))
        return;
    if (!fill(j, in)) {
        close_with(j, GRPC_RESOURCE_EXHAUSTED, "the server has no memory for this request now");
        return;
    }
    j->life = SUB_OPENING;
    if (j->call.from == SUBSCRIBE_OFFSET && in->offset == 0)
        refuse_offset(j);
    else
        grpc_submit(j->c, &j->call.call, opened);
}

/* ---- what the peer sends --------------------------------------------------------------------- */

static void on_credit(struct subscribe_job *j, uint32_t n)
{
    if (j->life == SUB_OPEN)
        subscription_credit(j->s, n);
    else
        j->credits = n > UINT32_MAX - j->credits ? UINT32_MAX : j->credits + n;
}

static void settle(struct subscribe_job *j, const char *text, struct settle what, bool cumulative)
{
    struct message_id id;
    if (j->life != SUB_OPEN)
        return;
    if (message_id_parse(slice_str(text), &id) != SL_OK ||
        !message_id_is_of(&id, j->call.topic_number) || id.partition >= j->call.n_partitions) {
        if (!log_rate_limited("grpc.unknown_message"))
            LOG_WARN("grpc.unknown_message", "ignored an ack: no message of this topic has this id",
                     F_BYTES("message_id", slice_str(text)), F_BYTES("topic", j->call.topic),
                     F_BYTES("group", j->call.group));
        return;
    }
    what.partition = id.partition;
    what.first = cumulative ? 0 : id.offset;
    what.last = id.offset;
    subscription_settle(j->s, &what);
}

static void on_message(struct grpc_call *c, const ProtobufCMessage *m)
{
    const Sluice__V1__SubscribeUpstream *in = (const Sluice__V1__SubscribeUpstream *)m;
    struct subscribe_job *j = c->job;
    bool is_init = in->request_case == SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_INIT;
    if (j->life >= SUB_CLOSING)
        return;
    if (j->life == SUB_EXPECTING && !is_init) {
        close_with(j, GRPC_INVALID_ARGUMENT, "first message must be SubscriptionInit");
        return;
    }
    switch ((int)in->request_case) {
    case SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_INIT:
        if (j->life == SUB_EXPECTING)
            on_init(j, in->init);
        else
            close_with(j, GRPC_INVALID_ARGUMENT, "unexpected SubscriptionInit");
        return;
    case SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_CREDIT:
        on_credit(j, in->credit->credits);
        return;
    case SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_ACK:
        settle(j, in->ack->message_id, (struct settle){.kind = SETTLE_ACK}, !in->ack->individual);
        return;
    case SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_NACK:
        settle(j, in->nack->message_id,
               (struct settle){.kind = SETTLE_RELEASE, .delay_ms = in->nack->delay_ms}, false);
        return;
    case SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_REJECT:
        settle(j, in->reject->message_id, (struct settle){.kind = SETTLE_REJECT}, false);
        return;
    case SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_EXTEND:
        settle(j, in->extend->message_id,
               (struct settle){.kind = SETTLE_EXTEND, .delay_ms = in->extend->ms}, false);
        return;
    default:
        return; /* of a later version, or empty */
    }
}

static void on_half_close(struct grpc_call *c)
{
    struct subscribe_job *j = c->job;
    j->half_closed = true;
    if (j->life == SUB_EXPECTING)
        close_with(j, GRPC_INVALID_ARGUMENT, "stream closed before init");
    else if (j->life == SUB_OPEN)
        subscription_drain(j->s);
}

void grpc_handle_subscribe(struct grpc_call *c)
{
    static const struct grpc_stream_ops ops = {.on_message = on_message,
                                               .on_half_close = on_half_close,
                                               .on_room = on_room,
                                               .on_stop = on_stop};
    struct subscribe_job *j = grpc_alloc(c, 1, sizeof *j);
    if (!j)
        return;
    j->c = c;
    timer_init(&j->heartbeat, c->loop, on_heartbeat);
    c->job = j;
    c->stream_ops = &ops;
    c->on_cancel = on_cancel;
}
