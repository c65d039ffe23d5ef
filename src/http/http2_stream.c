#include "base/alloc.h"
#include "http/http2_int.h"

enum { OUT_FIRST = 4 };

/* ---- life ------------------------------------------------------------------------------------ */

struct http2_stream *http2__stream_new(struct http2_conn *c, int32_t id)
{
    struct http2_stream *s = sl_new(struct http2_stream);
    s->conn = c;
    s->id = id;
    s->below_room = true;
    list_push_back(&c->streams, &s->node);
    c->n_streams++;
    http2__count(&c->l->streams_now, 1);
    http2__count(&c->l->streams_total, 1);
    return s;
}

static void drop_output(struct http2_stream *s)
{
    for (; s->out_n > 0; s->out_n--) {
        slice_unref(&s->out[s->out_head]);
        s->out_head = (s->out_head + 1) % s->out_cap;
    }
    s->out_bytes = 0;
}

/* Freed when nghttp2 has closed it and the handler has let go. */
static void free_if_over(struct http2_stream *s)
{
    struct http2_conn *c = s->conn;
    if (!s->closed || !s->freed)
        return;
    drop_output(s);
    list_remove(&s->node);
    list_remove(&s->room_node);
    c->n_streams--;
    http2__count(&c->l->streams_now, (uint64_t)-1);
    sl_free(s->out);
    sl_free(s->trailers);
    sl_free(s);
    http2__conn_check(c);
}

void http2__stream_closed(struct http2_stream *s)
{
    SL_ASSERT(!s->closed);
    s->closed = true;
    drop_output(s);
    if (s->unconsumed && s->conn->session)
        (void)nghttp2_session_consume_connection(s->conn->session, s->unconsumed);
    if (s->freed)
        free_if_over(s);
    else
        s->conn->l->server->opts.ops->on_close(s->user); /* may free it, and so end it */
}

void http2_stream_free(struct http2_stream *s)
{
    SL_ASSERT(!s->freed);
    s->freed = true;
    s->user = NULL;
    if (!s->closed && !s->ends)
        http2_reset(s, HTTP2_CANCEL);
    if (!s->closed)
        http2_consume(s, s->unconsumed);
    free_if_over(s);
}

size_t http2_stream_loop(const struct http2_stream *s)
{
    return s->conn->l->index;
}

uint64_t http2_stream_connection(const struct http2_stream *s)
{
    return s->conn->id;
}

/* ---- headers --------------------------------------------------------------------------------- */

static nghttp2_nv nv_of(const struct http2_header *h)
{
    return (nghttp2_nv){.name = (uint8_t *)h->name.data,
                        .namelen = h->name.len,
                        .value = (uint8_t *)h->value.data,
                        .valuelen = h->value.len};
}

enum { RESPONSE_HEADERS_MAX = 32 };

void http2_respond(struct http2_stream *s, const struct http2_header *headers, size_t n, bool ends)
{
    nghttp2_nv nva[RESPONSE_HEADERS_MAX];
    nghttp2_data_provider body = {.source.ptr = s, .read_callback = http2__stream_read};
    SL_ASSERT(!s->responded);
    SL_ASSERT(n <= RESPONSE_HEADERS_MAX);
    s->responded = true;
    s->ends = ends;
    if (s->closed)
        return;
    for (size_t i = 0; i < n; i++)
        nva[i] = nv_of(&headers[i]);
    int failed = nghttp2_submit_response(s->conn->session, s->id, nva, n, ends ? NULL : &body);
    if (failed)
        http2__conn_doom(s->conn, NGHTTP2_INTERNAL_ERROR, "a response could not be queued");
    http2__conn_flush_later(s->conn);
}

static size_t text_bytes(const struct http2_header *headers, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += headers[i].name.len + headers[i].value.len;
    return bytes;
}

static uint8_t *keep(uint8_t **at, struct slice text)
{
    uint8_t *kept = *at;
    if (text.len)
        memcpy(kept, text.data, text.len);
    *at += text.len;
    return kept;
}

static void keep_trailers(struct http2_stream *s, const struct http2_header *trailers, size_t n)
{
    s->trailers = sl_alloc(1, n * sizeof *s->trailers + text_bytes(trailers, n));
    s->n_trailers = n;
    uint8_t *at = (uint8_t *)(s->trailers + n);
    for (size_t i = 0; i < n; i++)
        s->trailers[i] = (nghttp2_nv){.name = keep(&at, trailers[i].name),
                                      .namelen = trailers[i].name.len,
                                      .value = keep(&at, trailers[i].value),
                                      .valuelen = trailers[i].value.len};
}

/* ---- body ------------------------------------------------------------------------------------ */

static void resume(struct http2_stream *s)
{
    if (s->deferred) {
        s->deferred = false;
        (void)nghttp2_session_resume_data(s->conn->session, s->id); /* it exists: not closed */
    }
    http2__conn_flush_later(s->conn);
}

static void grow(struct http2_stream *s)
{
    uint32_t cap = s->out_cap ? s->out_cap * 2 : OUT_FIRST;
    struct slice *out = sl_new_array(struct slice, cap);
    for (uint32_t i = 0; i < s->out_n; i++)
        out[i] = s->out[(s->out_head + i) % s->out_cap];
    sl_free(s->out);
    s->out = out;
    s->out_cap = cap;
    s->out_head = 0;
}

size_t http2_write(struct http2_stream *s, struct slice data)
{
    SL_ASSERT(s->responded);
    SL_ASSERT(!s->ends);
    if (s->closed || data.len == 0) {
        slice_unref(&data);
        return s->out_bytes;
    }
    if (s->out_n == s->out_cap)
        grow(s);
    s->out[(s->out_head + s->out_n++) % s->out_cap] = data;
    s->out_bytes += data.len;
    if (s->out_bytes >= HTTP2_ROOM_BYTES)
        s->below_room = false;
    resume(s);
    return s->out_bytes;
}

size_t http2_queued_bytes(const struct http2_stream *s)
{
    return s->out_bytes;
}

void http2_end(struct http2_stream *s, const struct http2_header *trailers, size_t n)
{
    SL_ASSERT(s->responded);
    SL_ASSERT(!s->ends);
    s->ends = true;
    if (s->closed)
        return;
    if (n)
        keep_trailers(s, trailers, n);
    resume(s);
}

void http2_reset(struct http2_stream *s, enum http2_error error)
{
    s->ends = true;
    if (s->closed)
        return;
    (void)nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, (uint32_t)error);
    http2__conn_flush_later(s->conn);
}

void http2_consume(struct http2_stream *s, size_t n)
{
    SL_ASSERT(n <= s->unconsumed);
    s->unconsumed -= n;
    if (s->closed || n == 0)
        return;
    (void)nghttp2_session_consume(s->conn->session, s->id, n);
    http2__conn_flush_later(s->conn);
}

static size_t move_output(struct http2_stream *s, uint8_t *buf, size_t len)
{
    size_t done = 0;
    while (s->out_n > 0 && done < len) {
        struct slice *first = &s->out[s->out_head];
        size_t n = SL_MIN(len - done, first->len);
        memcpy(buf + done, first->data, n);
        done += n;
        first->data += n;
        first->len -= n;
        if (first->len == 0) {
            slice_unref(first);
            s->out_head = (s->out_head + 1) % s->out_cap;
            s->out_n--;
        }
    }
    s->out_bytes -= done;
    return done;
}

static void note_room(struct http2_stream *s)
{
    if (s->below_room || s->out_bytes >= HTTP2_ROOM_BYTES)
        return;
    s->below_room = true;
    if (!s->freed && !list_linked(&s->room_node))
        list_push_back(&s->conn->roomy, &s->room_node);
}

/* NOLINTNEXTLINE(readability-function-size): nghttp2's */
ssize_t http2__stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *conn)
{
    struct http2_stream *s = source->ptr;
    size_t n = move_output(s, buf, len);
    note_room(s);
    if (s->out_n > 0)
        return (ssize_t)n;
    if (!s->ends) {
        if (n > 0)
            return (ssize_t)n;
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->n_trailers) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        int failed = nghttp2_submit_trailer(session, id, s->trailers, s->n_trailers);
        if (failed)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

void http2__streams_tell_room(struct http2_conn *c)
{
    for (struct list *node; (node = list_pop_front(&c->roomy));) {
        struct http2_stream *s = SL_CONTAINER_OF(node, struct http2_stream, room_node);
        if (!s->freed)
            c->l->server->opts.ops->on_room(s->user);
    }
}
