/* subscribe: prints deliveries; acknowledges what was printed once a turn, grants credit in halves
 * of the window, and ends a stream by half-closing it, so that no acknowledgement is lost. */
#include "base/alloc.h"
#include "base/number.h"
#include "ctl/grpc.h"
#include "ctl/output.h"
#include "proto/sluice.pb-c.h"

#include <stdio.h>
#include <unistd.h>

enum {
    LOOK_MS = 100,     /* how often a signal is looked for */
    GOODBYE_MS = 3000, /* what the server has to take the last acknowledgements */
    SHOWN_ID = 8,
    DUE_MAX = 64,
};

static volatile sig_atomic_t interrupted;

/* What an ack of `id` covers: the earlier ones of the same partition. */
struct due {
    int32_t partition;
    uint64_t sequence;
    char id[64];
};

struct subscribing {
    struct ctl_grpc g;
    struct grpc_client_call *call; /* NULL: no stream now */
    Sluice__V1__SubscriptionInit init;
    bool acks, ending, timed_out;
    int64_t window, count, n_printed;
    int64_t credits;         /* granted and not used */
    struct due due[DUE_MAX]; /* to be acknowledged at the end of the turn */
    size_t n_due;
    struct task turn_end;
    bool turn_asked;
    struct timer look;
    int64_t give_up_ms;
};

static void on_signal(int number)
{
    interrupted = 1;
}

/* ---- upstream -------------------------------------------------------------------------------- */

static void send_up(struct subscribing *s, Sluice__V1__SubscribeUpstream *m)
{
    if (s->call && grpc_client_send(s->call, &m->base) != SL_OK)
        grpc_client_cancel(s->call);
}

/* As many as the window wants, and never more than may be printed. */
static void grant(struct subscribing *s)
{
    int64_t wanted = s->window;
    if (s->count)
        wanted = SL_MIN(wanted, s->count - s->n_printed);
    if (s->ending || wanted <= s->credits || (s->credits > s->window / 2 && !s->count))
        return;
    Sluice__V1__CreditGrant credit;
    sluice__v1__credit_grant__init(&credit);
    Sluice__V1__SubscribeUpstream up;
    sluice__v1__subscribe_upstream__init(&up);
    credit.credits = (uint32_t)(wanted - s->credits);
    up.request_case = SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_CREDIT;
    up.credit = &credit;
    s->credits = wanted;
    send_up(s, &up);
}

static void acknowledge(struct subscribing *s)
{
    for (size_t i = 0; i < s->n_due; i++) {
        Sluice__V1__Ack ack;
        sluice__v1__ack__init(&ack);
        Sluice__V1__SubscribeUpstream up;
        sluice__v1__subscribe_upstream__init(&up);
        ack.message_id = s->due[i].id;
        up.request_case = SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_ACK;
        up.ack = &ack;
        send_up(s, &up);
    }
    s->n_due = 0;
}

/* One ack covers all that came before it in its partition; not what another partition delivered,
 * and not what is delivered again with a lower sequence. */
static void owe_ack(struct subscribing *s, const Sluice__V1__MessageDelivery *d)
{
    struct due *last = s->n_due > 0 ? &s->due[s->n_due - 1] : NULL;
    if (!last || last->partition != (int32_t)d->partition || last->sequence > d->sequence) {
        if (s->n_due == DUE_MAX && fflush(stdout) == 0)
            acknowledge(s);
        if (s->n_due == DUE_MAX)
            return; /* it could not be printed: it comes again */
        last = &s->due[s->n_due++];
    }
    last->partition = (int32_t)d->partition;
    last->sequence = d->sequence;
    (void)snprintf(last->id, sizeof last->id, "%s", d->message_id);
}

/* No more is wanted: the server handles what was sent and answers with a status. */
static void say_goodbye(struct subscribing *s)
{
    if (s->ending)
        return;
    acknowledge(s);
    s->ending = true;
    s->give_up_ms = loop_now_ms(s->g.loop) + GOODBYE_MS;
    if (s->call)
        grpc_client_half_close(s->call);
    else
        ctl_grpc_finish(&s->g, CTL_OK);
}

/* Printed first, acknowledged then: what a broken pipe lost is delivered again. */
static void on_turn_end(struct task *t)
{
    struct subscribing *s = SL_CONTAINER_OF(t, struct subscribing, turn_end);
    s->turn_asked = false;
    if (fflush(stdout) != 0) {
        s->n_due = 0;
        s->g.status = s->g.status ? s->g.status : CTL_FAILED;
        say_goodbye(s);
    }
    if (s->ending)
        return;
    if (s->count && s->n_printed >= s->count) {
        say_goodbye(s);
        return;
    }
    acknowledge(s);
    grant(s);
}

/* ---- downstream ------------------------------------------------------------------------------ */

static void print_json(const char *topic, const Sluice__V1__MessageDelivery *d, char *lossy)
{
    struct slice payload =
        slice_of(d->payload.len ? d->payload.data : (const uint8_t *)"", d->payload.len);
    json_t *row =
        json_pack("{s:s, s:s, s:I, s:s, s:I, s:I}", "message_id", d->message_id, "topic", topic,
                  "sequence", (json_int_t)d->sequence, "payload", lossy, "payload_bytes",
                  (json_int_t)payload.len, "timestamp", (json_int_t)d->timestamp);
    if (!row) /* a NUL in the text ends lossy earlier, nothing else can fail */
        return;
    json_t *exact = out_text(payload);
    if (exact)
        json_object_set_new(row, "payload", exact);
    else
        out_bytes(row, "payload", payload);
    if (d->_key_case == SLUICE__V1__MESSAGE_DELIVERY___KEY_KEY)
        out_bytes(row, "key", slice_of(d->key.len ? d->key.data : (const uint8_t *)"", d->key.len));
    json_t *attributes = d->n_attributes ? json_object() : NULL;
    for (size_t i = 0; i < d->n_attributes; i++)
        json_object_set_new(attributes, d->attributes[i]->key,
                            json_string(d->attributes[i]->value));
    if (attributes)
        json_object_set_new(row, "attributes", attributes);
    (void)json_dumpf(row, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(row);
}

static void print(struct subscribing *s, const Sluice__V1__MessageDelivery *d)
{
    const struct ctl *c = s->g.c;
    char *lossy = out_lossy(slice_of(d->payload.data, d->payload.len));
    if (c->is_json)
        print_json(c->args[0], d, lossy);
    else
        printf("[%s] seq=%llu id=%.*s: %s\n", c->args[0], (unsigned long long)d->sequence, SHOWN_ID,
               d->message_id, lossy);
    sl_free(lossy);
}

static void on_message(void *user, const ProtobufCMessage *m)
{
    struct subscribing *s = user;
    const Sluice__V1__SubscribeDownstream *down = (const Sluice__V1__SubscribeDownstream *)m;
    s->g.n_lost = 0;
    if (down->response_case != SLUICE__V1__SUBSCRIBE_DOWNSTREAM__RESPONSE_DELIVERY)
        return; /* a heartbeat: nothing happened (W5) */
    if (s->ending || (s->count && s->n_printed >= s->count))
        return; /* not acknowledged, so it comes again */
    print(s, down->delivery);
    s->n_printed++;
    s->credits--;
    if (s->acks)
        owe_ack(s, down->delivery);
    if (!s->turn_asked)
        loop_defer(s->g.loop, &s->turn_end);
    s->turn_asked = true;
}

static void on_end(void *user, enum grpc_status status, const char *text)
{
    struct subscribing *s = user;
    s->call = NULL;
    if (!s->ending && s->g.follows && status == GRPC_UNAVAILABLE && s->g.client)
        grpc_client_close(s->g.client); /* its on_close connects again */
    else if (s->ending && s->timed_out)
        ctl_grpc_finish(&s->g, ctl_fail(s->g.c,
                                        "%s: the server did not confirm the end in time, "
                                        "acknowledgements may be lost",
                                        s->g.c->args[0]));
    else if (status != GRPC_OK)
        ctl_grpc_finish(&s->g, ctl_grpc_refused(s->g.c, s->g.c->args[0], status, text));
    else
        ctl_grpc_finish(&s->g, CTL_OK);
}

/* ---- the command ----------------------------------------------------------------------------- */

static void on_look(struct timer *t)
{
    struct subscribing *s = SL_CONTAINER_OF(t, struct subscribing, look);
    if (s->g.finished)
        return;
    if (interrupted)
        say_goodbye(s);
    if (s->ending && s->call && loop_now_ms(s->g.loop) > s->give_up_ms) {
        s->timed_out = true;
        grpc_client_cancel(s->call);
        return;
    }
    timer_start(t, LOOK_MS);
}

static void begin(struct ctl_grpc *g)
{
    static const struct grpc_client_call_ops ops = {on_message, on_end};
    struct subscribing *s = SL_CONTAINER_OF(g, struct subscribing, g);
    struct grpc_client_request r = {.path = "/sluice.v1.Sluice/Subscribe",
                                    .response = &sluice__v1__subscribe_downstream__descriptor,
                                    .ops = &ops,
                                    .user = s};
    Sluice__V1__SubscribeUpstream up;
    sluice__v1__subscribe_upstream__init(&up);
    s->call = grpc_client_stream(g->client, &r);
    if (!s->call) {
        ctl_grpc_finish(g, ctl_fail(g->c, "%s: the connection was closed", g->c->args[0]));
        return;
    }
    up.request_case = SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_INIT;
    up.init = &s->init;
    send_up(s, &up);
    s->credits = 0;
    s->n_due = 0; /* an id of the stream before is none of this one */
    grant(s);
    if (!g->c->is_json && isatty(STDERR_FILENO))
        (void)fprintf(stderr, "subscribed to %s, Ctrl-C ends it\n", g->c->args[0]);
}

static int read_position(struct subscribing *s)
{
    const struct ctl *c = s->g.c;
    const char *text = ctl_text(c, "position", "latest");
    int64_t behind = 0;
    if (strcmp(text, "latest") == 0)
        s->init.initial_position = SLUICE__V1__INITIAL_POSITION__LATEST;
    else if (strcmp(text, "earliest") == 0)
        s->init.initial_position = SLUICE__V1__INITIAL_POSITION__EARLIEST;
    else if (number_parse(text, strlen(text), 1, INT64_MAX, &behind) == SL_OK)
        s->init.initial_position = SLUICE__V1__INITIAL_POSITION__OFFSET;
    else
        return ctl_usage(c, "--position %s: allowed are latest, earliest, or a sequence from 1 on",
                         text);
    s->init.offset = (uint64_t)behind;
    return CTL_OK;
}

static int read_filter(struct subscribing *s)
{
    struct ctl_pair *pairs;
    struct ctl *c = s->g.c;
    int wrong = ctl_pairs(c, "filter", &pairs, &s->init.n_filter);
    if (wrong)
        return wrong;
    s->init.filter = ctl_alloc(c, s->init.n_filter + 1, sizeof *s->init.filter);
    for (size_t i = 0; i < s->init.n_filter; i++) {
        Sluice__V1__SubscriptionInit__FilterEntry *e = ctl_alloc(c, 1, sizeof *e);
        sluice__v1__subscription_init__filter_entry__init(e);
        e->key = pairs[i].name;
        e->value = pairs[i].value;
        s->init.filter[i] = e;
    }
    return CTL_OK;
}

static int read_options(struct subscribing *s)
{
    struct ctl *c = s->g.c;
    bool tail = ctl_flag(c, "tail"), exclusive = ctl_flag(c, "exclusive");
    if (ctl_flag(c, "auto-ack") && (ctl_flag(c, "no-ack") || tail))
        return ctl_usage(c, "--auto-ack does not go with --%s", tail ? "tail" : "no-ack");
    if (tail && (exclusive || ctl_flag(c, "group")))
        return ctl_usage(c, "--tail has no group: leave out --%s",
                         exclusive ? "exclusive" : "group");
    s->init.topic = (char *)c->args[0];
    s->init.consumer_group = (char *)ctl_text(c, "group", "sluicectl");
    s->init.consumer_id = (char *)ctl_text(c, "consumer-id", "");
    s->init.mode = tail        ? SLUICE__V1__SUBSCRIPTION_MODE__SUBSCRIPTION_MODE_TAIL
                   : exclusive ? SLUICE__V1__SUBSCRIPTION_MODE__SUBSCRIPTION_MODE_EXCLUSIVE
                               : SLUICE__V1__SUBSCRIPTION_MODE__SUBSCRIPTION_MODE_SHARED;
    if (ctl_flag(c, "partition")) {
        s->init._partition_case = SLUICE__V1__SUBSCRIPTION_INIT___PARTITION_PARTITION;
        s->init.partition = (uint32_t)ctl_number(c, "partition", 0);
    }
    s->acks = !ctl_flag(c, "no-ack") && !tail;
    s->window = ctl_number(c, "credits", 100);
    s->count = ctl_number(c, "count", 0);
    s->g.follows = ctl_flag(c, "follow");
    int wrong = read_position(s);
    return wrong ? wrong : read_filter(s);
}

static void begin_first(struct ctl_grpc *g)
{
    struct subscribing *s = SL_CONTAINER_OF(g, struct subscribing, g);
    timer_init(&s->look, g->loop, on_look);
    timer_start(&s->look, LOOK_MS);
    g->on_ready = begin;
    begin(g);
}

int ctl_subscribe(struct ctl *c)
{
    struct subscribing s = {.g = {.c = c, .on_ready = begin_first}, .turn_end.run = on_turn_end};
    sluice__v1__subscription_init__init(&s.init);
    int wrong = read_options(&s);
    if (wrong)
        return wrong;
    (void)signal(SIGINT, on_signal);
    (void)signal(SIGTERM, on_signal);
    int status = ctl_grpc_run(c, &s.g);
    if (interrupted && !c->is_json)
        (void)fprintf(stderr, "%lld messages received\n", (long long)s.n_printed);
    return status;
}
