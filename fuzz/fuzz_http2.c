/* HTTP/2: any bytes behind the preface, cut in pieces, into a server whose handler answers, keeps
 * streams for a while and lets go.
 *
 * Input: how the stream is cut and what the handler does (uint8 each), then the frames. Properties:
 * nothing is held at the end; a handler hears nothing of a stream that it has freed. */
#include "base/alloc.h"
#include "base/log.h"
#include "http/http2.h"
#include "still_world.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct held {
    struct http2_stream *s;
    bool freed, responded;
    struct held *next;
};

static struct held *all;
static uint8_t behaviour;

static void answer(struct held *h)
{
    static const struct http2_header head[] = {
        {.name = {.data = (const uint8_t *)":status", .len = 7},
         .value = {.data = (const uint8_t *)"200", .len = 3}},
    };
    static const uint8_t body[100000];
    if (h->responded)
        return;
    h->responded = true;
    bool ends = behaviour & 1;
    http2_respond(h->s, head, 1, ends);
    if (ends)
        return;
    (void)http2_write(h->s, slice_of(body, behaviour & 2 ? sizeof body : 5));
    if (behaviour & 4)
        http2_end(h->s, head, 0);
    else
        http2_reset(h->s, HTTP2_CANCEL);
}

static void let_go(struct held *h)
{
    SL_ASSERT(!h->freed);
    h->freed = true;
    http2_stream_free(h->s);
}

static void *on_request(void *arg, struct http2_stream *s, const struct http2_request *r)
{
    struct held *h = sl_new(struct held);
    SL_ASSERT(r->n_headers <= HTTP2_HEADERS_MAX);
    h->s = s;
    h->next = all;
    all = h;
    if (behaviour & 8)
        answer(h);
    if (behaviour & 16)
        let_go(h);
    return h;
}

static void on_data(void *user, struct slice data)
{
    struct held *h = user;
    SL_ASSERT(!h->freed);
    if (behaviour & 32)
        http2_consume(h->s, data.len);
}

static void on_end(void *user)
{
    struct held *h = user;
    SL_ASSERT(!h->freed);
    answer(h);
    if (behaviour & 64)
        let_go(h);
}

static void on_room(void *user)
{
    SL_ASSERT(!((struct held *)user)->freed);
}

static void on_close(void *user)
{
    struct held *h = user;
    SL_ASSERT(!h->freed);
    if (behaviour & 128)
        let_go(h);
}

static void free_all(void)
{
    while (all) {
        struct held *h = all;
        all = h->next;
        if (!h->freed)
            let_go(h);
        sl_free(h);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    static const struct http2_ops ops = {on_request, on_data, on_end, on_room, on_close};
    static struct http2_server *server;
    struct loop *loop = still_loop();
    if (!server) {
        struct http2_server_opts opts = {.addr = "fuzz",
                                         .loops = &loop,
                                         .n_loops = 1,
                                         .ops = &ops,
                                         .connections_max = 10,
                                         .streams_max = 20,
                                         .stream_window_bytes = 65536,
                                         .conn_window_bytes = 1 << 20};
        sl_err err = http2_server_start(&opts, NULL, &server);
        SL_ASSERT(err == SL_OK);
        log_set_level(LOG_LEVEL_ERROR);
    }
    if (size < 2)
        return 0;
    behaviour = data[1];
    struct tcp_conn *c = still_accept();
    still_feed(c, (const uint8_t *)preface, sizeof preface, 4096); /* its NUL ends the frame */
    still_feed(c, data + 2, size - 2, data[0] ? data[0] : 4096);
    still_close(c);
    free_all();
    still_run();
    struct http2_metrics m;
    http2_server_metrics(server, &m);
    SL_ASSERT(m.streams == 0);
    SL_ASSERT(m.connections == 0);
    return 0;
}
