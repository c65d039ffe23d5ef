#include "http/http2_client.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "http/http2_int.h"

enum {
    STREAM_WINDOW_BYTES = 1 << 20,
    CONN_WINDOW_BYTES = 8 << 20,
    REQUEST_BYTES_MAX = 64 << 20, /* that wait to be sent, of one exchange */
    REQUEST_HEADERS_MAX = 32,
    FRAME_TYPE_AT = 3, /* in a frame's header */
};

struct http2_exchange {
    struct list node;
    struct http2_client *client;
    const struct http2_exchange_ops *ops;
    void *user;
    int32_t id;
    struct buf out;
    size_t sent; /* of out */
    bool ends, deferred;
};

struct http2_client {
    struct tcp_conn *tcp; /* NULL: closed */
    struct loop *loop;
    nghttp2_session *session;
    const struct http2_client_ops *ops;
    void *arg;
    struct list exchanges;
    struct task flush_task;
    sl_err why;
    bool flush_asked, greeted, closed;
    size_t out_len;
    uint8_t in[HTTP2_IO_BYTES], out[HTTP2_IO_BYTES];
};

/* ---- output ---------------------------------------------------------------------------------- */

static void write_out(struct http2_client *c)
{
    struct slice piece = slice_copy(c->out, c->out_len);
    if (!piece.data && c->out_len)
        tcp_conn_close(c->tcp); /* memory is short: a hole in the stream would be worse */
    else
        tcp_conn_write(c->tcp, &piece, 1);
    c->out_len = 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags,
                       void *arg)
{
    struct http2_client *c = arg;
    if (!c->tcp || tcp_conn_queued_bytes(c->tcp) >= HTTP2_QUEUED_BYTES_MAX)
        return NGHTTP2_ERR_WOULDBLOCK;
    size_t n = SL_MIN(len, HTTP2_IO_BYTES - c->out_len);
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
    if (c->out_len == HTTP2_IO_BYTES)
        write_out(c);
    return (ssize_t)n;
}

static bool is_over(const struct http2_client *c)
{
    return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

static void flush(struct http2_client *c)
{
    if (!c->tcp)
        return;
    int failed = nghttp2_session_send(c->session);
    if (c->out_len > 0)
        write_out(c);
    if (failed)
        tcp_conn_close(c->tcp);
    else if (is_over(c))
        tcp_conn_close_after_write(c->tcp);
}

static void run_flush(struct task *t)
{
    struct http2_client *c = SL_CONTAINER_OF(t, struct http2_client, flush_task);
    c->flush_asked = false;
    flush(c);
    if (!c->tcp && !c->closed) { /* it closed while this waited */
        c->closed = true;
        c->ops->on_close(c->arg, c->why);
    }
}

static void flush_later(struct http2_client *c)
{
    if (c->flush_asked || !c->tcp)
        return;
    c->flush_asked = true;
    loop_defer(c->loop, &c->flush_task);
}

/* ---- what nghttp2 calls ---------------------------------------------------------------------- */

static struct http2_exchange *exchange_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* NOLINTNEXTLINE(readability-function-size): nghttp2's */
static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct http2_exchange *x = exchange_of(session, f->hd.stream_id);
    if (x)
        x->ops->on_header(x->user, slice_of(name, name_len), slice_of(value, value_len));
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    struct http2_exchange *x = exchange_of(session, id);
    if (x)
        x->ops->on_data(x->user, slice_of(data, len));
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2_client *c = arg;
    if (f->hd.type == NGHTTP2_SETTINGS && !c->greeted) {
        c->greeted = true;
        c->ops->on_ready(c->arg);
    }
    return 0;
}

static void close_exchange(struct http2_exchange *x, uint32_t error)
{
    list_remove(&x->node);
    x->ops->on_close(x->user, error);
    buf_fini(&x->out);
    sl_free(x);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    struct http2_exchange *x = exchange_of(session, id);
    if (!x)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, id, NULL);
    close_exchange(x, error);
    return 0;
}

static nghttp2_session_callbacks *new_callbacks(void)
{
    nghttp2_session_callbacks *ret = NULL;
    int failed = nghttp2_session_callbacks_new(&ret);
    SL_ASSERT(!failed);
    nghttp2_session_callbacks_set_send_callback(ret, on_send);
    nghttp2_session_callbacks_set_on_header_callback(ret, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(ret, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(ret, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(ret, on_stream_close);
    return ret;
}

/* ---- input ----------------------------------------------------------------------------------- */

static uint8_t *read_buffer(struct tcp_conn *tcp, void *arg, size_t *ret_len)
{
    struct http2_client *c = arg;
    *ret_len = HTTP2_IO_BYTES;
    return c->in;
}

static void on_read(struct tcp_conn *tcp, void *arg, size_t n)
{
    struct http2_client *c = arg;
    /* A server begins with SETTINGS. nghttp2 would answer anything else with a GOAWAY. */
    bool is_strange = !c->greeted && n > FRAME_TYPE_AT && c->in[FRAME_TYPE_AT] != NGHTTP2_SETTINGS;
    ssize_t used = is_strange ? -1 : nghttp2_session_mem_recv(c->session, c->in, n);
    if (used < 0) {
        c->why = SL_EPROTO;
        tcp_conn_close(c->tcp);
    } else if (nghttp2_session_want_write(c->session) || is_over(c)) {
        flush_later(c);
    }
}

static void on_drained(struct tcp_conn *tcp, void *arg)
{
    struct http2_client *c = arg;
    if (nghttp2_session_want_write(c->session))
        flush_later(c);
}

static void on_tcp_close(struct tcp_conn *tcp, void *arg, sl_err why)
{
    struct http2_client *c = arg;
    c->tcp = NULL;
    if (c->why == SL_OK)
        c->why = why;
    while (!list_empty(&c->exchanges)) {
        struct http2_exchange *x = SL_CONTAINER_OF(c->exchanges.next, struct http2_exchange, node);
        (void)nghttp2_session_set_stream_user_data(c->session, x->id, NULL);
        close_exchange(x, NGHTTP2_REFUSED_STREAM);
    }
    if (!c->flush_asked && !c->closed) {
        c->closed = true;
        c->ops->on_close(c->arg, c->why);
    }
}

static const struct tcp_conn_ops tcp_ops = {read_buffer, on_read, on_drained, on_tcp_close};

/* ---- life ------------------------------------------------------------------------------------ */

static void greet(struct http2_client *c)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP2_HEADER_BYTES_MAX},
    };
    int failed =
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, SL_ARRAY_LEN(settings));
    SL_ASSERT(!failed);
    (void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                                CONN_WINDOW_BYTES);
}

struct http2_client *http2_client_new(struct tcp_conn *tcp, const struct http2_client_ops *ops,
                                      void *arg)
{
    struct http2_client *c = sl_new(struct http2_client);
    c->tcp = tcp;
    c->loop = tcp_conn_loop(tcp);
    c->ops = ops;
    c->arg = arg;
    c->flush_task.run = run_flush;
    list_init(&c->exchanges);
    SL_ASSERT(loop_is_current(c->loop));
    nghttp2_session_callbacks *callbacks = new_callbacks();
    int failed = nghttp2_session_client_new(&c->session, callbacks, c);
    SL_ASSERT(!failed); /* memory alone can fail it: of a size that we choose */
    nghttp2_session_callbacks_del(callbacks);
    greet(c);
    tcp_conn_start(tcp, &tcp_ops, c);
    flush_later(c);
    return c;
}

void http2_client_close(struct http2_client *c)
{
    if (!c->tcp)
        return;
    (void)nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
    flush_later(c);
}

void http2_client_free(struct http2_client *c)
{
    if (!c)
        return;
    SL_ASSERT(c->closed);
    nghttp2_session_del(c->session);
    sl_free(c);
}

/* ---- exchanges ------------------------------------------------------------------------------- */

/* NOLINTNEXTLINE(readability-function-size): nghttp2's */
static ssize_t read_request(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct http2_exchange *x = source->ptr;
    size_t n = SL_MIN(len, x->out.len - x->sent);
    if (n > 0)
        memcpy(buf, x->out.data + x->sent, n);
    x->sent += n;
    if (x->sent == x->out.len) {
        buf_reset(&x->out);
        x->sent = 0;
        if (x->ends)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    if (n > 0 || x->ends)
        return (ssize_t)n;
    x->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
}

struct http2_exchange *http2_exchange_start(struct http2_client *c,
                                            const struct http2_header *headers, size_t n,
                                            const struct http2_exchange_ops *ops, void *user)
{
    nghttp2_nv nva[REQUEST_HEADERS_MAX];
    SL_ASSERT(n <= REQUEST_HEADERS_MAX);
    if (!c->tcp)
        return NULL;
    for (size_t i = 0; i < n; i++)
        nva[i] = (nghttp2_nv){.name = (uint8_t *)headers[i].name.data,
                              .namelen = headers[i].name.len,
                              .value = (uint8_t *)headers[i].value.data,
                              .valuelen = headers[i].value.len};
    struct http2_exchange *x = sl_new(struct http2_exchange);
    *x = (struct http2_exchange){.client = c, .ops = ops, .user = user};
    buf_init(&x->out, REQUEST_BYTES_MAX);
    nghttp2_data_provider body = {.source.ptr = x, .read_callback = read_request};
    x->id = nghttp2_submit_request(c->session, NULL, nva, n, &body, x);
    if (x->id < 0) {
        sl_free(x);
        return NULL;
    }
    list_push_back(&c->exchanges, &x->node);
    flush_later(c);
    return x;
}

static void resume(struct http2_exchange *x)
{
    if (x->deferred) {
        x->deferred = false;
        (void)nghttp2_session_resume_data(x->client->session, x->id); /* it exists */
    }
    flush_later(x->client);
}

sl_err http2_exchange_write(struct http2_exchange *x, struct slice data)
{
    SL_ASSERT(!x->ends);
    SL_TRY(buf_append(&x->out, data.data, data.len));
    resume(x);
    return SL_OK;
}

void http2_exchange_end(struct http2_exchange *x)
{
    SL_ASSERT(!x->ends);
    x->ends = true;
    resume(x);
}

void http2_exchange_reset(struct http2_exchange *x, enum http2_error error)
{
    (void)nghttp2_submit_rst_stream(x->client->session, NGHTTP2_FLAG_NONE, x->id, (uint32_t)error);
    flush_later(x->client);
}
