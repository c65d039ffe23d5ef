/* A connection: bytes between socket and session, deadlines, the polite end. */
#include "base/alloc.h"
#include "base/log.h"
#include "http/http2_int.h"

static const struct tcp_conn_ops ops;

static int64_t now_of(const struct http2_conn *c)
{
    return loop_now_ms(c->l->loop);
}

/* ---- output ---------------------------------------------------------------------------------- */

static void write_out(struct http2_conn *c)
{
    struct http2_loop *l = c->l;
    struct slice piece = slice_copy(l->out, l->out_len);
    if (!piece.data && l->out_len)
        tcp_conn_close(c->tcp); /* memory is short: a hole in the stream would be worse */
    else
        tcp_conn_write(c->tcp, &piece, 1);
    l->out_len = 0;
}

ssize_t http2__conn_send(struct http2_conn *c, const uint8_t *data, size_t len)
{
    struct http2_loop *l = c->l;
    if (!c->tcp || tcp_conn_queued_bytes(c->tcp) >= HTTP2_QUEUED_BYTES_MAX)
        return NGHTTP2_ERR_WOULDBLOCK;
    size_t n = SL_MIN(len, HTTP2_IO_BYTES - l->out_len);
    memcpy(l->out + l->out_len, data, n);
    l->out_len += n;
    if (l->out_len == HTTP2_IO_BYTES)
        write_out(c);
    return (ssize_t)n;
}

/* nghttp2 has nothing more to say or to hear. */
static bool is_over(const struct http2_conn *c)
{
    return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

static void flush(struct http2_conn *c)
{
    if (!c->tcp)
        return;
    SL_ASSERT(c->l->out_len == 0);
    int failed = nghttp2_session_send(c->session);
    if (c->l->out_len > 0)
        write_out(c);
    if (failed)
        tcp_conn_close(c->tcp);
    else if (is_over(c))
        tcp_conn_close_after_write(c->tcp);
    http2__streams_tell_room(c);
}

static void run_flush(struct task *t)
{
    struct http2_conn *c = SL_CONTAINER_OF(t, struct http2_conn, flush_task);
    c->flush_asked = false;
    flush(c);
    http2__conn_check(c);
}

void http2__conn_flush_later(struct http2_conn *c)
{
    if (c->flush_asked || !c->tcp)
        return;
    c->flush_asked = true;
    loop_defer(c->l->loop, &c->flush_task);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void log_refused(struct http2_conn *c, const char *reason)
{
    http2__count(&c->l->refused, 1);
    if (log_rate_limited("http2.refused"))
        return;
    char peer[ADDR_TEXT_BYTES];
    tcp_conn_peer(c->tcp, peer);
    LOG_WARN("http2.refused", "closed a connection of an HTTP/2 listener", F_STR("peer", peer),
             F_STR("reason", reason));
}

void http2__conn_doom(struct http2_conn *c, uint32_t error, const char *reason)
{
    if (c->doomed || !c->tcp)
        return;
    c->doomed = true;
    c->head_since_ms = now_of(c);
    log_refused(c, reason);
    (void)nghttp2_session_terminate_session(c->session, error);
    http2__conn_flush_later(c);
    http2__conn_arm(c);
}

static const char *why_not_http2(const uint8_t *data, size_t len)
{
    if (len >= 3 && data[0] == 0x16 && data[1] == 3)
        return "this is TLS; the listener is a plain one";
    if (len >= 4 && (memcmp(data, "GET ", 4) == 0 || memcmp(data, "POST", 4) == 0 ||
                     memcmp(data, "HEAD", 4) == 0 || memcmp(data, "PUT ", 4) == 0))
        return "this is HTTP/1; the listener speaks HTTP/2 with prior knowledge";
    return "the bytes do not begin as HTTP/2 does";
}

static void on_session_error(struct http2_conn *c, ssize_t error, const uint8_t *data, size_t len)
{
    const char *reason = error == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? why_not_http2(data, len)
                                                               : nghttp2_strerror((int)error);
    if (!c->doomed)
        log_refused(c, reason);
    c->doomed = true;
    flush(c); /* the GOAWAY, when there is one */
    if (c->tcp)
        tcp_conn_close_after_write(c->tcp);
}

/* ---- input ----------------------------------------------------------------------------------- */

static uint8_t *read_buffer(struct tcp_conn *tcp, void *arg, size_t *ret_len)
{
    struct http2_conn *c = arg;
    *ret_len = HTTP2_IO_BYTES;
    return c->l->in;
}

static void on_read(struct tcp_conn *tcp, void *arg, size_t n)
{
    struct http2_conn *c = arg;
    c->last_id = -1;
    c->heard_ms = now_of(c);
    if (c->doomed)
        return;
    ssize_t used = nghttp2_session_mem_recv(c->session, c->l->in, n);
    if (used < 0)
        on_session_error(c, used, c->l->in, n);
    else if (nghttp2_session_want_write(c->session) || is_over(c))
        http2__conn_flush_later(c);
    http2__conn_arm(c);
}

static void on_drained(struct tcp_conn *tcp, void *arg)
{
    struct http2_conn *c = arg;
    if (nghttp2_session_want_write(c->session))
        flush(c);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static int64_t head_deadline(const struct http2_conn *c)
{
    return c->head || !c->greeted || c->doomed ? c->head_since_ms + HTTP2_HEAD_MS : INT64_MAX;
}

static int64_t sign_deadline(const struct http2_conn *c)
{
    const struct http2_server_opts *o = &c->l->server->opts;
    if (o->keepalive_ms == 0)
        return INT64_MAX;
    return c->ping_ms ? c->ping_ms + o->keepalive_timeout_ms : c->heard_ms + o->keepalive_ms;
}

void http2__conn_arm(struct http2_conn *c)
{
    int64_t due = SL_MIN(head_deadline(c), sign_deadline(c));
    if (due == INT64_MAX || !c->tcp)
        timer_stop(&c->timer);
    else if (!timer_running(&c->timer) || c->timer.node.key > due)
        timer_start(&c->timer, SL_MAX(due - now_of(c), 1));
}

static void ask_for_a_sign(struct http2_conn *c)
{
    if (c->ping_ms && c->heard_ms < c->ping_ms) {
        log_refused(c, "the peer gave no sign within the keepalive timeout");
        tcp_conn_close(c->tcp);
        return;
    }
    c->ping_ms = now_of(c);
    (void)nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
    http2__conn_flush_later(c);
}

static void on_timer(struct timer *t)
{
    struct http2_conn *c = SL_CONTAINER_OF(t, struct http2_conn, timer);
    int64_t now_ms = now_of(c);
    if (!c->tcp)
        return;
    if (now_ms >= head_deadline(c)) {
        if (!c->doomed)
            log_refused(c, "what was begun was not finished within 10 s");
        tcp_conn_close(c->tcp);
        return;
    }
    if (c->ping_ms && c->heard_ms >= c->ping_ms)
        c->ping_ms = 0; /* any byte is a sign */
    if (now_ms >= sign_deadline(c))
        ask_for_a_sign(c);
    http2__conn_arm(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void greet(struct http2_conn *c)
{
    const struct http2_server_opts *o = &c->l->server->opts;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, o->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP2_HEADER_BYTES_MAX},
    };
    int failed =
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, SL_ARRAY_LEN(settings));
    SL_ASSERT(!failed);
    (void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                                (int32_t)o->conn_window_bytes);
}

void http2__conn_accept(struct http2_loop *l, struct tcp_conn *tcp)
{
    struct http2_conn *c = sl_new(struct http2_conn);
    c->l = l;
    c->tcp = tcp;
    c->id = atomic_fetch_add(&l->server->next_conn, 1) + 1;
    c->heard_ms = c->head_since_ms = c->window_ms = now_of(c);
    c->flush_task.run = run_flush;
    list_init(&c->streams);
    list_init(&c->roomy);
    timer_init(&c->timer, l->loop, on_timer);
    list_push_back(&l->conns, &c->node);
    l->n_conns++;
    http2__count(&l->conns_now, 1);
    http2__count(&l->conns_total, 1);
    int failed =
        nghttp2_session_server_new2(&c->session, l->server->callbacks, c, l->server->option);
    SL_ASSERT(!failed); /* memory alone can fail it: of a size that we choose */
    greet(c);
    tcp_conn_start(tcp, &ops, c);
    http2__conn_flush_later(c);
    http2__conn_arm(c);
}

void http2__conn_check(struct http2_conn *c)
{
    if (c->tcp || c->n_streams > 0 || c->flush_asked || c->session)
        return;
    struct http2_loop *l = c->l;
    list_remove(&c->node);
    sl_free(c->head);
    sl_free(c);
    l->n_conns--;
    http2__count(&l->conns_now, (uint64_t)-1);
    http2__loop_check(l);
}

/* Handlers that hold a stream keep the connection. What one of them does may free others. */
static void close_streams(struct http2_conn *c)
{
    struct list all;
    list_init(&all);
    list_splice(&all, &c->streams);
    for (struct list *node; (node = list_pop_front(&all));) {
        struct http2_stream *s = SL_CONTAINER_OF(node, struct http2_stream, node);
        list_push_back(&c->streams, node);
        if (!s->closed)
            http2__stream_closed(s);
    }
}

static void on_close(struct tcp_conn *tcp, void *arg, sl_err why)
{
    struct http2_conn *c = arg;
    c->tcp = NULL;
    timer_stop(&c->timer);
    close_streams(c);
    nghttp2_session_del(SL_TAKE(c->session));
    http2__conn_check(c);
}

void http2__conn_close(struct http2_conn *c)
{
    if (c->tcp)
        tcp_conn_close(c->tcp);
}

void http2__conn_drain(struct http2_conn *c)
{
    if (!c->tcp || c->doomed)
        return;
    int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
    (void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
    http2__conn_flush_later(c);
}

static const struct tcp_conn_ops ops = {read_buffer, on_read, on_drained, on_close};
