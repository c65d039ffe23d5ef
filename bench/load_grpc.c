/* Load over gRPC with our own client, in one thread.
 *
 *   publish    --inflight callers at a time, each answered after the sync, over --connections, for
 *              --seconds; payloads of --size; with --rate so many calls a second (latency from the
 *              moment a call was due)
 *   subscribe  --records of --size are published first, then --inflight subscriptions, each with a
 *              group of its own, read all of them for credit and acknowledge
 *
 * --bootstrap is HOST:PORT of the gRPC door. Prints one JSON line; exits 1 when a call failed. */
#include "base/alloc.h"
#include "grpc_client/grpc_client.h"
#include "load.h"
#include "loop/loop.h"
#include "proto/sluice.pb-c.h"

#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 64, BATCH = 100, LOADERS = 8, WINDOW = 1000, STREAMS_EACH = 50 };

struct connection {
    struct load *load;
    struct grpc_client *client;
};

/* One caller, or one subscription. */
struct worker {
    struct load *load;
    struct connection *connection;
    struct grpc_client_call *call;
    int64_t begun_ns, received, credits;
    char last_id[64];
};

struct load {
    struct load_opts o;
    struct loop *loop;
    struct connection connections[CONNECTIONS_MAX];
    int64_t n_connections, n_ready, n_closed;
    struct worker *workers;
    int64_t n_workers, n_busy, n_begun, n_loaded, end_ns;
    struct timer tick;
    struct load_run run;
    uint8_t *payload;
    bool loading, closing;
};

static void fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void close_all(struct load *l)
{
    l->closing = true;
    timer_stop(&l->tick);
    load_report(&l->run, &l->o);
    for (int64_t i = 0; i < l->n_connections; i++)
        grpc_client_close(l->connections[i].client);
}

/* ---- publish ----------------------------------------------------------------------------------
 */

static void ignore_message(void *user, const ProtobufCMessage *m)
{
}

static void publish(struct worker *w, int64_t begun_ns);

static void on_published(void *user, enum grpc_status status, const char *text)
{
    struct worker *w = user;
    struct load *l = w->load;
    int64_t now_ns = load_now_ns();
    w->call = NULL;
    l->n_busy--;
    if (status != GRPC_OK)
        fail(grpc_client_status_name(status), text);
    l->run.records++;
    l->run.bytes += l->o.size;
    samples_add(&l->run.latency, now_ns - w->begun_ns);
    if (now_ns < l->end_ns) {
        if (!l->o.rate)
            publish(w, now_ns);
    } else if (l->n_busy == 0) {
        close_all(l);
    }
}

static void publish(struct worker *w, int64_t begun_ns)
{
    static const struct grpc_client_call_ops ops = {ignore_message, on_published};
    struct load *l = w->load;
    Sluice__V1__PublishRequest m;
    sluice__v1__publish_request__init(&m);
    m.topic = (char *)l->o.topic;
    m.payload = (ProtobufCBinaryData){.len = (size_t)l->o.size, .data = l->payload};
    struct grpc_client_request r = {.path = "/sluice.v1.Sluice/Publish",
                                    .response = &sluice__v1__publish_response__descriptor,
                                    .ops = &ops,
                                    .user = w};
    w->begun_ns = begun_ns;
    l->n_busy++;
    l->n_begun++;
    w->call = grpc_client_unary(w->connection->client, &r, &m.base);
    if (!w->call)
        fail("publish", "the connection is gone");
}

/* At a rate: whoever is free takes what is due; what nobody took in time counts its waiting. */
static void on_tick(struct timer *t)
{
    struct load *l = SL_CONTAINER_OF(t, struct load, tick);
    int64_t now_ns = load_now_ns();
    for (int64_t i = 0; i < l->n_workers && now_ns < l->end_ns; i++) {
        int64_t due_ns = l->run.begin_ns + l->n_begun * 1000000000 / l->o.rate;
        if (due_ns > now_ns)
            break;
        if (!l->workers[i].call)
            publish(&l->workers[i], due_ns);
    }
    if (now_ns < l->end_ns)
        timer_start(t, 1);
    else if (l->n_busy == 0)
        close_all(l);
}

static void begin_publish(struct load *l)
{
    load_begin(&l->run, &l->o);
    l->end_ns = l->run.begin_ns + l->o.seconds * 1000000000;
    if (l->o.rate) {
        timer_start(&l->tick, 1);
        return;
    }
    for (int64_t i = 0; i < l->n_workers; i++)
        publish(&l->workers[i], load_now_ns());
}

/* ---- subscribe: what is to be delivered ---------------------------------------------------------
 */

static void begin_subscriptions(struct load *l);
static void load_batch(struct worker *w);

static void on_batch(void *user, enum grpc_status status, const char *text)
{
    struct worker *w = user;
    struct load *l = w->load;
    l->n_busy--;
    if (status != GRPC_OK)
        fail(grpc_client_status_name(status), text);
    if (l->n_loaded < l->o.records)
        load_batch(w);
    else if (l->n_busy == 0)
        begin_subscriptions(l);
}

static void load_batch(struct worker *w)
{
    static const struct grpc_client_call_ops ops = {ignore_message, on_batch};
    struct load *l = w->load;
    Sluice__V1__BatchMessage messages[BATCH], *list[BATCH];
    Sluice__V1__BatchPublishRequest m;
    sluice__v1__batch_publish_request__init(&m);
    m.topic = (char *)l->o.topic;
    m.messages = list;
    while (m.n_messages < BATCH && l->n_loaded < l->o.records) {
        Sluice__V1__BatchMessage *one = &messages[m.n_messages];
        sluice__v1__batch_message__init(one);
        one->payload = (ProtobufCBinaryData){.len = (size_t)l->o.size, .data = l->payload};
        list[m.n_messages++] = one;
        l->n_loaded++;
    }
    struct grpc_client_request r = {.path = "/sluice.v1.Sluice/BatchPublish",
                                    .response = &sluice__v1__batch_publish_response__descriptor,
                                    .ops = &ops,
                                    .user = w};
    l->n_busy++;
    if (!grpc_client_unary(w->connection->client, &r, &m.base))
        fail("publish", "the connection is gone");
}

/* ---- subscribe ---------------------------------------------------------------------------------
 */

static void send_up(struct worker *w, const Sluice__V1__SubscribeUpstream *up)
{
    if (grpc_client_send(w->call, &up->base) != SL_OK)
        fail("subscribe", "the server does not read");
}

static void refill(struct worker *w)
{
    Sluice__V1__SubscribeUpstream up;
    Sluice__V1__CreditGrant credit;
    Sluice__V1__Ack ack;
    sluice__v1__subscribe_upstream__init(&up);
    if (w->last_id[0]) {
        sluice__v1__ack__init(&ack);
        ack.message_id = w->last_id;
        up.request_case = SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_ACK;
        up.ack = &ack;
        send_up(w, &up);
    }
    sluice__v1__credit_grant__init(&credit);
    credit.credits = (uint32_t)(WINDOW - w->credits);
    up.request_case = SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_CREDIT;
    up.credit = &credit;
    w->credits = WINDOW;
    send_up(w, &up);
}

static void on_delivery(void *user, const ProtobufCMessage *m)
{
    struct worker *w = user;
    struct load *l = w->load;
    const Sluice__V1__SubscribeDownstream *down = (const Sluice__V1__SubscribeDownstream *)m;
    if (down->response_case != SLUICE__V1__SUBSCRIBE_DOWNSTREAM__RESPONSE_DELIVERY)
        return;
    (void)snprintf(w->last_id, sizeof w->last_id, "%s", down->delivery->message_id);
    w->credits--;
    w->received++;
    l->run.records++;
    l->run.bytes += (int64_t)down->delivery->payload.len;
    if (w->credits <= WINDOW / 2)
        refill(w);
    if (w->received == l->o.records && --l->n_busy == 0)
        close_all(l);
}

static void on_stream_end(void *user, enum grpc_status status, const char *text)
{
    struct worker *w = user;
    if (!w->load->closing)
        fail(grpc_client_status_name(status), text);
}

static void subscribe(struct worker *w, int64_t number)
{
    static const struct grpc_client_call_ops ops = {on_delivery, on_stream_end};
    char group[64];
    Sluice__V1__SubscribeUpstream up;
    Sluice__V1__SubscriptionInit init;
    sluice__v1__subscribe_upstream__init(&up);
    sluice__v1__subscription_init__init(&init);
    (void)snprintf(group, sizeof group, "load-%lld", (long long)number);
    init.topic = (char *)w->load->o.topic;
    init.consumer_group = group;
    init.initial_position = SLUICE__V1__INITIAL_POSITION__EARLIEST;
    up.request_case = SLUICE__V1__SUBSCRIBE_UPSTREAM__REQUEST_INIT;
    up.init = &init;
    struct grpc_client_request r = {.path = "/sluice.v1.Sluice/Subscribe",
                                    .response = &sluice__v1__subscribe_downstream__descriptor,
                                    .ops = &ops,
                                    .user = w};
    w->call = grpc_client_stream(w->connection->client, &r);
    if (!w->call)
        fail("subscribe", "the connection is gone");
    w->load->n_busy++;
    send_up(w, &up);
    refill(w);
}

static void begin_subscriptions(struct load *l)
{
    load_begin(&l->run, &l->o);
    for (int64_t i = 0; i < l->n_workers; i++)
        subscribe(&l->workers[i], i);
}

static void begin_subscribe(struct load *l)
{
    for (int64_t i = 0; i < LOADERS && l->n_loaded < l->o.records; i++)
        load_batch(&l->workers[i % l->n_workers]);
}

/* ---- connections -------------------------------------------------------------------------------
 */

static void on_ready(void *arg)
{
    struct connection *c = arg;
    struct load *l = c->load;
    if (++l->n_ready < l->n_connections)
        return;
    if (strcmp(l->o.mode, "publish") == 0)
        begin_publish(l);
    else
        begin_subscribe(l);
}

static void on_close(void *arg, sl_err why, const struct sl_fault *fault)
{
    struct connection *c = arg;
    if (!c->load->closing)
        fail("connection", fault->what);
    grpc_client_free(SL_TAKE(c->client));
    if (++c->load->n_closed == c->load->n_connections)
        loop_stop(c->load->loop);
}

static void open_all(struct load *l)
{
    static const struct grpc_client_ops ops = {on_ready, on_close};
    char endpoint[300];
    (void)snprintf(endpoint, sizeof endpoint, "http://%s", l->o.bootstrap);
    struct grpc_client_cfg cfg = {.endpoint = endpoint, .retry = grpc_retry_default};
    for (int64_t i = 0; i < l->n_connections; i++) {
        struct sl_fault fault = {0};
        l->connections[i].load = l;
        if (grpc_client_open(l->loop, &cfg, &ops, &l->connections[i], &fault,
                             &l->connections[i].client) != SL_OK)
            fail(endpoint, fault.what);
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    load_parse(argc, argv, "publish, subscribe", &l.o);
    bool subscribes = strcmp(l.o.mode, "subscribe") == 0;
    if (!subscribes && strcmp(l.o.mode, "publish") != 0)
        fail(l.o.mode, "unknown mode");
    l.n_workers = l.o.inflight;
    l.n_connections = subscribes ? (l.n_workers + STREAMS_EACH - 1) / STREAMS_EACH
                                 : SL_MIN(l.o.connections, l.n_workers);
    if (l.n_workers < 1 || l.n_connections < 1 || l.n_connections > CONNECTIONS_MAX)
        fail("options", "from 1 caller and 1 connection on, at most 64 connections");
    if (loop_new(&clock_real, &l.loop) != SL_OK)
        fail("loop", "cannot be made");
    l.payload = sl_alloc(1, (size_t)l.o.size + 1);
    load_fill(l.payload, (size_t)l.o.size);
    l.workers = sl_new_array(struct worker, (size_t)l.n_workers);
    for (int64_t i = 0; i < l.n_workers; i++)
        l.workers[i] =
            (struct worker){.load = &l, .connection = &l.connections[i % l.n_connections]};
    timer_init(&l.tick, l.loop, on_tick);
    open_all(&l);
    loop_run(l.loop);
    loop_free(l.loop);
    sl_free(l.workers);
    sl_free(l.payload);
    return l.run.errors != 0;
}
