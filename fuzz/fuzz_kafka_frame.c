/* A connection of the Kafka door, fed with bytes in pieces of any size, without sockets: the
 * functions of loop.h and socket.h that the door calls are replaced here.
 *
 * Input: how the stream is cut (uint8), then the stream. Handlers answer with defaults; Produce
 * requests are answered at the end, newest first. Properties: answers leave in the order of the
 * requests, nothing is held at the end, memory follows what arrived (K01). */
#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/log.h"
#include "kafka/kafka_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARKED_MAX = 64, FRAME_BYTES_MAX = 1 << 20, ANSWERS_MAX = 1 << 16 };

/* ---- a loop and a socket that do nothing by themselves ----------------------------------------
 */

struct tcp_conn {
    const struct tcp_conn_ops *ops;
    void *arg;
    bool is_paused, is_closing;
};

static struct tcp_listen_opts listening;
static int32_t answered[ANSWERS_MAX];
static size_t n_answered;
static int64_t answer_left; /* bytes of the answer that is being sent */

bool loop_is_current(const struct loop *l)
{
    return true;
}
int64_t loop_now_ns(const struct loop *l)
{
    return 0;
}
int64_t loop_now_ms(const struct loop *l)
{
    return 0;
}
const struct clock *loop_clock(const struct loop *l)
{
    return &clock_real;
}
void loop_post(struct loop *l, struct task *t)
{
    t->run(t);
}
void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.loop = l, .fire = fire};
}
void timer_start(struct timer *t, int64_t delay_ms)
{
    t->node.index = 1;
}
void timer_stop(struct timer *t)
{
    t->node.index = 0;
}
sl_err tcp_listen(struct loop *l, const struct tcp_listen_opts *opts, struct sl_fault *fault,
                  struct tcp_listener **ret)
{
    listening = *opts;
    *ret = NULL;
    return SL_OK;
}
uint16_t tcp_listener_port(const struct tcp_listener *s)
{
    return 9092;
}
void tcp_listener_close(struct tcp_listener *s)
{
}
void tcp_conn_start(struct tcp_conn *c, const struct tcp_conn_ops *ops, void *arg)
{
    c->ops = ops;
    c->arg = arg;
}
struct loop *tcp_conn_loop(const struct tcp_conn *c)
{
    return NULL;
}
void tcp_conn_resume(struct tcp_conn *c)
{
    c->is_paused = false;
}
size_t tcp_conn_queued_bytes(const struct tcp_conn *c)
{
    return 0;
}
void tcp_conn_close(struct tcp_conn *c)
{
    c->is_closing = true;
}
void tcp_conn_close_after_write(struct tcp_conn *c)
{
    c->is_closing = true;
}
void tcp_conn_peer(const struct tcp_conn *c, char ret_text[ADDR_TEXT_BYTES])
{
    memcpy(ret_text, "fuzz", 5);
}
void tcp_conn_local(const struct tcp_conn *c, char ret_host[ADDR_TEXT_BYTES], uint16_t *ret_port)
{
    memcpy(ret_host, "fuzz", 5);
    *ret_port = 9092;
}

/* Small answers come in one piece, so a frame's head is whole. */
void tcp_conn_write(struct tcp_conn *c, struct slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (answer_left == 0) {
            SL_ASSERT(slices[i].len >= 8);
            answer_left = 4 + (int64_t)get_be32(slices[i].data);
            if (n_answered < ANSWERS_MAX)
                answered[n_answered++] = (int32_t)get_be32(slices[i].data + 4);
        }
        answer_left -= (int64_t)slices[i].len;
        SL_ASSERT(answer_left >= 0);
        slice_unref(&slices[i]);
    }
}

/* ---- a broker that has nothing
 * -------------------------------------------------------------------- */

const struct principal principal_anonymous = {.name = "anonymous"};

void broker_cancel(struct broker_call *c)
{
    SL_UNREACHABLE();
}

static struct kafka_request *parked[PARKED_MAX];
static size_t n_parked;
static int32_t asked[ANSWERS_MAX];
static size_t n_asked;

static void handle(struct kafka_request *r)
{
    if (n_asked < ANSWERS_MAX)
        asked[n_asked++] = r->correlation_id;
    if (r->api_key == KAFKA_API_PRODUCE && n_parked < PARKED_MAX)
        parked[n_parked++] = r;
    else
        kafka_reply(r, kafka_api(r->api_key)->response->defaults);
}

static void answer_parked(void)
{
    while (n_parked > 0)
        kafka_reply(parked[--n_parked], &kafka_produce_response_default);
}

/* ---- the run
 * -------------------------------------------------------------------------------------- */

static struct kafka_door *door_new(struct kafka_route *routes)
{
    for (size_t i = 0; i < kafka_n_apis; i++)
        routes[i] = (struct kafka_route){.key = kafka_apis[i].key,
                                         .first_version = kafka_apis[i].first_version,
                                         .last_version = kafka_apis[i].last_version,
                                         .handler = handle,
                                         .flags = i == 0 ? KAFKA_CONCURRENT : 0};
    struct kafka_door_cfg cfg = {.addr = "fuzz", .frame_bytes_max = FRAME_BYTES_MAX};
    struct loop *loop = NULL;
    struct kafka_door *door;
    SL_ASSERT(kafka__door_start(&cfg, routes, kafka_n_apis, NULL, &loop, 1, NULL, &door) == SL_OK);
    return door;
}

/* Pieces of 1 to 256 bytes, or as many as there is room for. */
static void feed(struct tcp_conn *tcp, const uint8_t *data, size_t size, unsigned cut)
{
    while (size > 0 && !tcp->is_closing) {
        if (tcp->is_paused) {
            answer_parked();
            if (tcp->is_paused)
                return;
        }
        size_t room = 0;
        uint8_t *buffer = tcp->ops->read_buffer(tcp, tcp->arg, &room);
        if (!buffer) {
            tcp->is_paused = true;
            continue;
        }
        size_t n = SL_MIN(SL_MIN(room, size), cut == 255 ? size : cut + 1);
        SL_ASSERT(n > 0);
        memcpy(buffer, data, n);
        data += n;
        size -= n;
        tcp->ops->on_read(tcp, tcp->arg, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    log_configure(2, LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    struct kafka_route routes[KAFKA_APIS_MAX];
    n_answered = n_asked = n_parked = 0;
    answer_left = 0;
    struct kafka_door *door = door_new(routes);
    struct tcp_conn tcp = {0};
    listening.on_accept(listening.arg, &tcp);
    feed(&tcp, data + 1, size - 1, data[0]);
    SL_ASSERT(kafka__memory_used(door->memory) <= size);
    answer_parked();
    if (!tcp.is_closing) {
        SL_ASSERT(n_answered >= n_asked); /* ApiVersions of the future answers without `handle` */
        for (size_t i = 0, k = 0; i < n_asked; i++, k++)
            SL_ASSERT(answered[k] == asked[i]);
    }
    SL_ASSERT(answer_left == 0);
    tcp.ops->on_close(&tcp, tcp.arg, SL_EEND);
    SL_ASSERT(kafka__memory_used(door->memory) == 0);
    struct kafka_shard *s = &door->shards[0];
    SL_ASSERT(list_empty(&s->conns));
    s->stopping = true;
    door->on_stopped = (void (*)(void *))kafka_door_free;
    door->on_stopped_arg = door;
    kafka__shard_check(s);
    return 0;
}
