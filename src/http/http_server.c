#include "http/http_server.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "http/http1.h"
#include "loop/socket.h"

#include <stdio.h>
#include <time.h>

enum {
    HEAD_MS = 10000,
    IDLE_MS = 60000,
    SLOW_GRACE_MS = 10000, /* then at least SLOW_BYTES_PER_S */
    SLOW_BYTES_PER_S = 1024,
    IN_BYTES = 4096,
    QUEUED_BYTES_MAX = 256 << 10, /* answers that may wait for a peer that pipelines */
    HEAD_BYTES_MAX = 1024,
};

enum http_conn_state {
    HTTP_IDLE,      /* between requests */
    HTTP_HEAD,      /* part of a head is there */
    HTTP_BODY,      /* part of a body is there */
    HTTP_ANSWERING, /* a handler has the exchange */
    HTTP_DRAINING,  /* too many answers wait to be sent */
    HTTP_CLOSING,   /* the last answer is queued */
};

struct http_server {
    struct loop *loop;
    struct http_server_opts opts;
    struct tcp_listener *listener;
    struct list conns;
    size_t n_conns;
    uint64_t n_requests;
    struct timer drain;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct task stopped_task;
};

struct http_conn {
    struct list node;
    struct http_server *server; /* borrowed: it outlives its connections */
    struct tcp_conn *tcp;       /* NULL: closed while a handler has the exchange */
    struct http1 *parser;
    struct http_exchange exchange;
    struct timer timer;
    enum http_conn_state state;
    int64_t since_ms;    /* start of the body, or of draining */
    size_t queued_bytes; /* when draining began */
    size_t in_pos, in_len;
    bool is_pumping, continue_sent;
    uint8_t in[IN_BYTES];
};

static void pump(struct http_conn *c);

/* ---- life of a connection ------------------------------------------------------------------- */

static void stopped_if_empty(struct http_server *s)
{
    if (s->stopping && s->n_conns == 0 && s->stopped) {
        timer_stop(&s->drain);
        loop_post(s->loop, &s->stopped_task);
    }
}

static void run_stopped(struct task *t)
{
    struct http_server *s = SL_CONTAINER_OF(t, struct http_server, stopped_task);
    void (*stopped)(void *arg) = s->stopped;
    s->stopped = NULL;
    if (stopped)
        stopped(s->stopped_arg);
}

static void conn_free(struct http_conn *c)
{
    timer_stop(&c->timer);
    list_remove(&c->node);
    SL_ASSERT(c->server->n_conns > 0);
    SL_ASSERT(!c->tcp); /* it would call into what goes now */
    c->server->n_conns--;
    http1_free(c->parser);
    stopped_if_empty(c->server);
    sl_free(c);
}

static void conn_set_state(struct http_conn *c, enum http_conn_state state)
{
    static const int64_t deadlines_ms[] = {
        [HTTP_IDLE] = IDLE_MS, [HTTP_HEAD] = HEAD_MS,           [HTTP_BODY] = SLOW_GRACE_MS,
        [HTTP_ANSWERING] = 0,  [HTTP_DRAINING] = SLOW_GRACE_MS, [HTTP_CLOSING] = 0,
    };
    SL_ASSERT(c->state != HTTP_CLOSING);
    if (c->state == state)
        return;
    c->state = state;
    c->since_ms = loop_now_ms(c->server->loop);
    if (deadlines_ms[state])
        timer_start(&c->timer, deadlines_ms[state]);
    else
        timer_stop(&c->timer);
}

/* ---- answers -------------------------------------------------------------------------------- */

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {204, "No Content"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "Unknown";
}

static void print_date(const struct clock *clock, struct buf *out)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)(clock_wall_ms(clock) / 1000);
    struct tm tm;
    if (!gmtime_r(&now, &tm))
        return;
    (void)buf_printf(out, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday],
                     tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                     tm.tm_sec);
}

struct answer_head {
    int status;
    const char *type, *extra; /* extra: whole header lines, or "" */
    bool keep_alive;
    bool without_body; /* HEAD: the length is told, the body is not */
};

/* Queues head and body; takes over the body. */
static void send_answer(struct http_conn *c, const struct answer_head *h, struct slice body)
{
    struct buf head;
    buf_init(&head, HEAD_BYTES_MAX);
    (void)buf_printf(&head, "HTTP/1.1 %d %s\r\n", h->status, status_text(h->status));
    print_date(loop_clock(c->server->loop), &head);
    (void)buf_printf(&head,
                     "Content-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\nConnection: %s\r\n%s\r\n",
                     h->type, body.len, h->keep_alive ? "keep-alive" : "close", h->extra);
    SL_ASSERT(buf_check(&head) == SL_OK);
    struct slice pieces[] = {buf_take_slice(&head), body};
    buf_fini(&head);
    if (h->without_body || body.len == 0) {
        slice_unref(&pieces[1]);
        tcp_conn_write(c->tcp, pieces, 1);
    } else {
        tcp_conn_write(c->tcp, pieces, 2);
    }
}

static void close_after_answer(struct http_conn *c)
{
    conn_set_state(c, HTTP_CLOSING);
    tcp_conn_close_after_write(c->tcp);
}

/* The parser or a deadline refused the request: nothing behind it can be trusted. */
static void refuse(struct http_conn *c, int status, const char *reason)
{
    struct buf body;
    buf_init(&body, 256);
    (void)buf_printf(&body, "%s\n", reason);
    struct slice text = buf_take_slice(&body);
    buf_fini(&body);
    struct answer_head h = {.status = status, .type = "text/plain; charset=utf-8", .extra = ""};
    send_answer(c, &h, text);
    close_after_answer(c);
}

/* After an answer: the next request, unless the peer does not read or we are done with it. */
static void go_on(struct http_conn *c, bool keep_alive)
{
    http1_next(c->parser);
    c->continue_sent = false;
    if (!keep_alive) {
        close_after_answer(c);
    } else if (tcp_conn_queued_bytes(c->tcp) > QUEUED_BYTES_MAX) {
        conn_set_state(c, HTTP_DRAINING);
        c->queued_bytes = tcp_conn_queued_bytes(c->tcp);
    } else {
        conn_set_state(c, HTTP_IDLE);
    }
}

static void reply(struct http_exchange *x, int status, const char *extra, const char *type,
                  struct slice body)
{
    struct http_conn *c = SL_CONTAINER_OF(x, struct http_conn, exchange);
    SL_ASSERT(c->state == HTTP_ANSWERING);
    SL_ASSERT(loop_is_current(c->server->loop));
    c->server->n_requests++;
    if (!c->tcp) { /* the peer went away meanwhile */
        slice_unref(&body);
        conn_free(c);
        return;
    }
    struct answer_head h = {.status = status,
                            .type = type,
                            .extra = extra,
                            .keep_alive = x->request->keep_alive && !c->server->stopping,
                            .without_body = slice_eq_str(x->request->method, "HEAD")};
    send_answer(c, &h, body);
    go_on(c, h.keep_alive);
    if (!c->is_pumping) {
        pump(c);
        if (c->state != HTTP_CLOSING)
            tcp_conn_resume(c->tcp);
    }
}

void http_reply(struct http_exchange *x, int status, const char *type, struct slice body)
{
    reply(x, status, "", type, body);
}

void http_reply_text(struct http_exchange *x, int status, const char *text)
{
    reply(x, status, "", "text/plain; charset=utf-8", slice_copy(text, strlen(text)));
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool method_matches(const struct http1_request *r, const struct http_route *route)
{
    return slice_eq_str(r->method, route->method) ||
           (slice_eq_str(r->method, "HEAD") && strcmp(route->method, "GET") == 0);
}

static void dispatch(struct http_conn *c)
{
    const struct http1_request *r = http1_request(c->parser);
    const struct http_route *at_path = NULL;
    c->exchange = (struct http_exchange){.request = r, .arg = c->server->opts.arg};
    conn_set_state(c, HTTP_ANSWERING);
    for (size_t i = 0; i < c->server->opts.n_routes; i++) {
        const struct http_route *route = &c->server->opts.routes[i];
        if (!slice_eq_str(r->path, route->path))
            continue;
        if (method_matches(r, route)) {
            route->handle(&c->exchange);
            return;
        }
        at_path = route;
    }
    static const char text[] = "only GET and HEAD are served here\n";
    if (at_path)
        reply(&c->exchange, 405, "Allow: GET, HEAD\r\n", "text/plain; charset=utf-8",
              slice_copy(text, sizeof text - 1));
    else
        http_reply_text(&c->exchange, 404, "no such page; / lists them\n");
}

static void on_incomplete(struct http_conn *c)
{
    static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (http1_state(c->parser) == HTTP1_HEAD) {
        conn_set_state(c, http1_is_idle(c->parser) ? HTTP_IDLE : HTTP_HEAD);
        return;
    }
    conn_set_state(c, HTTP_BODY);
    if (!http1_request(c->parser)->expects_continue || c->continue_sent)
        return;
    c->continue_sent = true;
    struct slice piece = slice_of(go, sizeof go - 1);
    tcp_conn_write(c->tcp, &piece, 1);
}

static bool takes_requests(const struct http_conn *c)
{
    return c->state == HTTP_IDLE || c->state == HTTP_HEAD || c->state == HTTP_BODY;
}

/* Parses what has come until a handler has to think, or nothing is left. */
static void pump(struct http_conn *c)
{
    c->is_pumping = true;
    while (takes_requests(c) && c->in_pos < c->in_len) {
        size_t used = 0;
        enum http1_state state =
            http1_feed(c->parser, c->in + c->in_pos, c->in_len - c->in_pos, &used);
        c->in_pos += used;
        if (state == HTTP1_DONE)
            dispatch(c);
        else if (state == HTTP1_FAILED)
            refuse(c, http1_status(c->parser), http1_reason(c->parser));
        else
            on_incomplete(c);
    }
    c->is_pumping = false;
    if (c->in_pos == c->in_len)
        c->in_pos = c->in_len = 0;
}

/* ---- socket --------------------------------------------------------------------------------- */

static uint8_t *read_buffer(struct tcp_conn *tcp, void *arg, size_t *ret_len)
{
    struct http_conn *c = arg;
    if (!takes_requests(c) && c->state != HTTP_CLOSING)
        return NULL;
    if (c->state == HTTP_CLOSING) /* whatever comes is dropped */
        c->in_pos = c->in_len = 0;
    *ret_len = sizeof c->in - c->in_len;
    return *ret_len ? c->in + c->in_len : NULL;
}

static void on_read(struct tcp_conn *tcp, void *arg, size_t n)
{
    struct http_conn *c = arg;
    if (c->state == HTTP_CLOSING)
        return;
    c->in_len += n;
    pump(c);
}

static void on_drained(struct tcp_conn *tcp, void *arg)
{
    struct http_conn *c = arg;
    if (c->state != HTTP_DRAINING)
        return;
    conn_set_state(c, HTTP_IDLE);
    pump(c);
    if (takes_requests(c))
        tcp_conn_resume(tcp);
}

static void on_close(struct tcp_conn *tcp, void *arg, sl_err why)
{
    struct http_conn *c = arg;
    c->tcp = NULL;
    if (c->state != HTTP_ANSWERING)
        conn_free(c);
}

/* Bytes that had to move since the grace period began: too slow when fewer did. */
static bool is_too_slow(const struct http_conn *c, size_t bytes)
{
    int64_t late_ms = loop_now_ms(c->server->loop) - c->since_ms - SLOW_GRACE_MS;
    return late_ms >= 0 && (int64_t)bytes * 1000 < (late_ms + 1000) * SLOW_BYTES_PER_S;
}

static void on_timer(struct timer *t)
{
    struct http_conn *c = SL_CONTAINER_OF(t, struct http_conn, timer);
    if (!c->tcp)
        return;
    switch (c->state) {
    case HTTP_IDLE:
        tcp_conn_close(c->tcp);
        return;
    case HTTP_HEAD:
        refuse(c, 408, "the head of the request took longer than 10 s");
        return;
    case HTTP_BODY:
        if (is_too_slow(c, http1_body_bytes(c->parser)))
            refuse(c, 408, "the body came slower than 1 KiB/s");
        else
            timer_start(&c->timer, 1000);
        return;
    case HTTP_DRAINING:
        if (is_too_slow(c, c->queued_bytes - tcp_conn_queued_bytes(c->tcp)))
            tcp_conn_close(c->tcp);
        else
            timer_start(&c->timer, 1000);
        return;
    case HTTP_ANSWERING:
    case HTTP_CLOSING:
        return;
    }
}

static void on_accept(void *arg, struct tcp_conn *tcp)
{
    static const struct tcp_conn_ops ops = {read_buffer, on_read, on_drained, on_close};
    struct http_server *s = arg;
    if (s->stopping || s->n_conns >= s->opts.connections_max) {
        tcp_conn_close(tcp);
        return;
    }
    struct http_conn *c = sl_new(struct http_conn);
    c->server = s;
    c->tcp = tcp;
    c->parser = http1_new(s->opts.body_bytes_max);
    timer_init(&c->timer, s->loop, on_timer);
    timer_start(&c->timer, HEAD_MS); /* the first request is not waited for as long as the next */
    list_push_back(&s->conns, &c->node);
    s->n_conns++;
    tcp_conn_start(tcp, &ops, c);
}

/* ---- server --------------------------------------------------------------------------------- */

static void close_conns(struct http_server *s, bool idle_only)
{
    LIST_FOREACH (node, &s->conns) {
        struct http_conn *c = SL_CONTAINER_OF(node, struct http_conn, node);
        bool is_idle = takes_requests(c) || c->state == HTTP_DRAINING;
        if (c->tcp && (is_idle || !idle_only))
            tcp_conn_close(c->tcp); /* on_close comes later */
    }
}

static void on_drain_over(struct timer *t)
{
    close_conns(SL_CONTAINER_OF(t, struct http_server, drain), false);
}

sl_err http_server_start(struct loop *l, const struct http_server_opts *opts,
                         struct sl_fault *fault, struct http_server **ret)
{
    struct http_server *s = sl_new(struct http_server);
    s->loop = l;
    s->opts = *opts;
    list_init(&s->conns);
    timer_init(&s->drain, l, on_drain_over);
    s->stopped_task.run = run_stopped;
    struct tcp_listen_opts listen = {
        .addr = opts->addr, .backlog = opts->backlog, .arg = s, .on_accept = on_accept};
    sl_err err = tcp_listen(l, &listen, fault, &s->listener);
    if (err != SL_OK) {
        sl_free(s);
        return err;
    }
    *ret = s;
    return SL_OK;
}

uint16_t http_server_port(const struct http_server *s)
{
    return tcp_listener_port(s->listener);
}

size_t http_server_connections(const struct http_server *s)
{
    return s->n_conns;
}

uint64_t http_server_requests(const struct http_server *s)
{
    return s->n_requests;
}

void http_server_stop(struct http_server *s, int64_t drain_ms, void (*done)(void *arg), void *arg)
{
    SL_ASSERT(!s->stopping);
    s->stopping = true;
    s->stopped = done;
    s->stopped_arg = arg;
    tcp_listener_close(s->listener);
    s->listener = NULL;
    close_conns(s, true);
    timer_start(&s->drain, drain_ms);
    stopped_if_empty(s);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    SL_ASSERT(s->n_conns == 0);
    timer_stop(&s->drain);
    tcp_listener_close(s->listener);
    sl_free(s);
}
