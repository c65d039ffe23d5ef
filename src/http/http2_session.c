/* What nghttp2 calls while it reads and writes. */
#include "base/alloc.h"
#include "http/http2_int.h"

enum {
    ENTRY_BYTES = 32, /* what RFC 9113 adds to each header */
    SIZE_DOOMED = 8 * HTTP2_HEADER_BYTES_MAX,
    CONTINUATIONS_MAX = 8,
    ACKS_MAX = 1000,
    SETTINGS_MAX = 32,
};

static int64_t now_of(const struct http2_conn *c)
{
    return loop_now_ms(c->l->loop);
}

/* ---- counters against floods ----------------------------------------------------------------- */

/* A reset costs its sender nothing, and neither does making us send one (G01). */
static void count_reset(struct http2_conn *c)
{
    int64_t now_ms = now_of(c);
    if (now_ms - c->window_ms >= HTTP2_WINDOW_MS) {
        c->window_ms = now_ms;
        c->n_resets = 0;
    }
    if (++c->n_resets > HTTP2_RESETS_MAX)
        http2__conn_doom(c, NGHTTP2_ENHANCE_YOUR_CALM, "too many streams were reset");
}

/* Pings, settings, priorities, empty data: honest peers send few while they get nothing (G03). */
static void count_idle(struct http2_conn *c)
{
    if (++c->n_idle_frames > HTTP2_IDLE_FRAMES_MAX)
        http2__conn_doom(c, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames that bring nothing");
}

/* ---- headers --------------------------------------------------------------------------------- */

static bool is_request(const nghttp2_frame *f)
{
    return f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2_conn *c = arg;
    if (!c->head)
        c->head = c->l->spare_head ? SL_TAKE(c->l->spare_head) : sl_new(struct http2_head);
    struct http2_head *h = c->head;
    c->head_since_ms = now_of(c);
    h->n_bytes = h->n_listed = h->size = 0;
    h->request = (struct http2_request){.headers = h->headers};
    /* Work that goes on for a stream that was reset counts, too. */
    h->refused = is_request(f) && (c->doomed || c->n_streams >= c->l->server->opts.streams_max);
    if (h->refused)
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, f->hd.stream_id,
                                        NGHTTP2_REFUSED_STREAM);
    return 0;
}

static void end_of_headers(struct http2_conn *c)
{
    struct http2_head *h = SL_TAKE(c->head);
    if (!h || !c->l->spare_head)
        c->l->spare_head = h ? h : c->l->spare_head;
    else
        sl_free(h);
}

static void keep_pseudo(struct http2_request *r, struct slice name, struct slice value)
{
    if (slice_eq_str(name, ":path"))
        r->path = value;
    else if (slice_eq_str(name, ":method"))
        r->method = value;
    else if (slice_eq_str(name, ":authority"))
        r->authority = value;
}

static struct slice keep_text(struct http2_head *h, const uint8_t *text, size_t len)
{
    uint8_t *at = h->bytes + h->n_bytes;
    memcpy(at, text, len);
    h->n_bytes += len;
    return slice_of(at, len);
}

/* NOLINTNEXTLINE(readability-function-size): nghttp2's */
static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct http2_conn *c = arg;
    struct http2_head *h = c->head;
    h->size += name_len + value_len + ENTRY_BYTES;
    if (h->size > SIZE_DOOMED && !c->doomed)
        http2__conn_doom(c, NGHTTP2_ENHANCE_YOUR_CALM, "a header list is far above the limit");
    if (h->size > HTTP2_HEADER_BYTES_MAX || h->n_listed == HTTP2_HEADERS_MAX) {
        h->request.too_large = true;
        return 0;
    }
    if (!is_request(f))
        return 0;
    struct slice n = keep_text(h, name, name_len), v = keep_text(h, value, value_len);
    if (name_len > 0 && name[0] == ':')
        keep_pseudo(&h->request, n, v);
    else
        h->headers[h->n_listed++] = (struct http2_header){.name = n, .value = v};
    h->request.n_headers = h->n_listed;
    return 0;
}

struct slice http2_request_header(const struct http2_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (slice_eq_str(r->headers[i].name, name))
            return r->headers[i].value;
    return (struct slice){0};
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* A stream below the newest that was never opened: RFC 9113 5.1.1. nghttp2 takes it for one that it
 * has forgotten, so ids that were skipped are counted here. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct http2_conn *c = arg;
    if (hd->type != NGHTTP2_HEADERS || hd->stream_id % 2 == 0)
        return 0;
    if (hd->stream_id > c->last_id) {
        c->n_skipped += (hd->stream_id - c->last_id - 1) / 2;
        c->last_id = hd->stream_id;
    } else if (c->n_skipped > 0 && !nghttp2_session_find_stream(session, hd->stream_id)) {
        http2__conn_doom(c, NGHTTP2_PROTOCOL_ERROR, "a stream was opened out of order");
    }
    return 0;
}

static struct http2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static void begin_stream(struct http2_conn *c, const nghttp2_frame *f)
{
    struct http2_stream *s = http2__stream_new(c, f->hd.stream_id);
    (void)nghttp2_session_set_stream_user_data(c->session, s->id, s);
    s->peer_ended = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    s->user = c->l->server->opts.ops->on_request(c->l->server->opts.arg, s, &c->head->request);
}

static void end_of_peer(struct http2_conn *c, const nghttp2_frame *f)
{
    struct http2_stream *s = stream_of(c->session, f->hd.stream_id);
    if (!s || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return;
    s->peer_ended = true;
    if (!s->freed)
        c->l->server->opts.ops->on_end(s->user);
}

static void on_data_frame(struct http2_conn *c, const nghttp2_frame *f)
{
    if (f->hd.length == f->data.padlen && !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
        count_idle(c);
    end_of_peer(c, f);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2_conn *c = arg;
    if (c->doomed)
        return NGHTTP2_ERR_CALLBACK_FAILURE; /* reads no further; the GOAWAY is sent */
    c->greeted = true;
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
        if (is_request(f) && !c->head->refused)
            begin_stream(c, f);
        end_of_headers(c);
        end_of_peer(c, f);
        break;
    case NGHTTP2_DATA:
        on_data_frame(c, f);
        break;
    case NGHTTP2_RST_STREAM:
        count_reset(c);
        break;
    case NGHTTP2_PING:
        if (f->hd.flags & NGHTTP2_FLAG_ACK)
            c->ping_ms = 0;
        else
            count_idle(c);
        break;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
    case NGHTTP2_WINDOW_UPDATE:
        count_idle(c);
        break;
    default:
        break;
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *f, int error, void *arg)
{
    struct http2_conn *c = arg;
    if (f->hd.type == NGHTTP2_HEADERS)
        end_of_headers(c);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    struct http2_conn *c = arg;
    struct http2_stream *s = stream_of(session, id);
    c->n_idle_frames = 0;
    if (!s || s->freed || s->ends || c->doomed) { /* nobody wants it: the window stays whole */
        (void)nghttp2_session_consume(session, id, len);
        return 0;
    }
    s->unconsumed += len;
    c->l->server->opts.ops->on_data(s->user, slice_of(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    struct http2_stream *s = stream_of(session, id);
    if (!s)
        return 0;
    (void)nghttp2_session_set_stream_user_data(session, id, NULL);
    http2__stream_closed(s);
    return 0;
}

/* A response that ended before its request tells the peer to stop: not earlier than its last frame
 * has left, because nghttp2 drops what is queued in front of a reset. */
static void stop_peer(struct http2_conn *c, const nghttp2_frame *f)
{
    struct http2_stream *s = stream_of(c->session, f->hd.stream_id);
    if (s && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) && !s->peer_ended)
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2_conn *c = arg;
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        c->n_idle_frames = 0;
        stop_peer(c, f);
        break;
    case NGHTTP2_RST_STREAM:
        if (f->rst_stream.error_code != NGHTTP2_NO_ERROR && !c->doomed)
            count_reset(c);
        break;
    case NGHTTP2_GOAWAY:
        http2__count(&c->l->goaways, 1);
        break;
    default:
        break;
    }
    return 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags,
                       void *arg)
{
    return http2__conn_send(arg, data, len);
}

/* ---- tables ---------------------------------------------------------------------------------- */

nghttp2_session_callbacks *http2__callbacks(void)
{
    nghttp2_session_callbacks *ret = NULL;
    int failed = nghttp2_session_callbacks_new(&ret);
    SL_ASSERT(!failed);
    nghttp2_session_callbacks_set_send_callback(ret, on_send);
    nghttp2_session_callbacks_set_on_begin_frame_callback(ret, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(ret, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(ret, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(ret, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(ret, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(ret, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(ret, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(ret, on_frame_send);
    return ret;
}

nghttp2_option *http2__option(void)
{
    nghttp2_option *ret = NULL;
    int failed = nghttp2_option_new(&ret);
    SL_ASSERT(!failed);
    nghttp2_option_set_no_auto_window_update(ret, 1);
    nghttp2_option_set_max_outbound_ack(ret, ACKS_MAX);
    nghttp2_option_set_max_settings(ret, SETTINGS_MAX);
    nghttp2_option_set_max_continuations(ret, CONTINUATIONS_MAX);
    /* Ours (count_reset) comes first and says ENHANCE_YOUR_CALM; this one is behind it. */
    nghttp2_option_set_stream_reset_rate_limit(ret, 10 * (uint64_t)HTTP2_RESETS_MAX,
                                               HTTP2_RESETS_MAX);
    return ret;
}
