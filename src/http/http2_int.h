/* Inside of the HTTP/2 server: http2_server.c (listener, life), http2_conn.c (socket, output,
 * deadlines), http2_session.c (what nghttp2 calls), http2_stream.c (what handlers call). */
#ifndef SLUICE_HTTP_HTTP2_INT_H
#define SLUICE_HTTP_HTTP2_INT_H

#include "base/list.h"
#include "http/http2.h"
#include "loop/socket.h"

#include <nghttp2/nghttp2.h>
#include <stdatomic.h>

enum {
    HTTP2_IO_BYTES = 64 << 10,
    HTTP2_QUEUED_BYTES_MAX = 256 << 10, /* in a socket; beyond it frames stay in the session */
    HTTP2_HEAD_MS = 10000,              /* for the preface, or a header block that was begun */
    HTTP2_WINDOW_MS = 10000,            /* of the counters against floods */
    HTTP2_IDLE_FRAMES_MAX = 1000,       /* frames that bring nothing, while nothing is sent */
};

/* A header block that is being read: a connection has at most one, and only so long. */
struct http2_head {
    bool refused; /* the stream is one too many */
    uint8_t bytes[HTTP2_HEADER_BYTES_MAX];
    struct http2_header headers[HTTP2_HEADERS_MAX];
    struct http2_request request;
    size_t n_bytes, n_listed, size; /* size: as the RFC counts it, also of what was dropped */
};

struct http2_loop {
    struct http2_server *server;
    struct loop *loop;
    size_t index;
    struct list conns;
    size_t n_conns;
    uint8_t *in, *out; /* HTTP2_IO_BYTES each, used within one call */
    size_t out_len;
    struct http2_head *spare_head; /* NULL: in use */
    struct timer drain;
    struct task stop_task, stopped_task;
    bool stopping, reported;
    atomic_uint_fast64_t conns_now, conns_total, refused, streams_now, streams_total, goaways;
};

struct http2_server {
    struct http2_server_opts opts;
    struct tcp_listener *listener;
    uint16_t port;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    struct http2_loop *loops;
    size_t next_loop, n_stopped;
    _Atomic uint64_t next_conn;
    int64_t drain_ms;
    void (*on_stopped)(void *arg);
    void *on_stopped_arg;
};

struct http2_conn {
    struct list node;
    struct http2_loop *l;
    struct tcp_conn *tcp; /* NULL: closed */
    nghttp2_session *session;
    uint64_t id;
    struct list streams; /* all that are not freed */
    uint32_t n_streams;
    struct list roomy; /* streams to tell that there is room */
    struct task flush_task;
    struct timer timer;
    struct http2_head *head; /* NULL: no header block is open */
    int64_t head_since_ms;
    int64_t heard_ms, ping_ms; /* last bytes of the peer; when we asked for a sign, 0: not */
    int64_t window_ms;         /* start of the counting of resets */
    uint32_t n_resets, n_idle_frames;
    int64_t last_id;   /* highest stream of the peer; -1: none */
    int64_t n_skipped; /* ids below it that it never used */
    bool greeted, flush_asked, doomed;
};

struct http2_stream {
    struct list node, room_node;
    struct http2_conn *conn;
    int32_t id;
    void *user;        /* NULL: freed by the handler */
    struct slice *out; /* ring of cap slots */
    uint32_t out_head, out_n, out_cap;
    size_t out_bytes, unconsumed;
    nghttp2_nv *trailers; /* one allocation with its texts */
    size_t n_trailers;
    bool responded, ends, peer_ended, closed, freed, deferred, below_room;
};

static inline void http2__count(atomic_uint_fast64_t *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* http2_conn.c */
void http2__conn_accept(struct http2_loop *l, struct tcp_conn *tcp);
void http2__conn_close(struct http2_conn *c);
void http2__conn_drain(struct http2_conn *c); /* GOAWAY; closes when no stream is left */
void http2__conn_check(struct http2_conn *c); /* frees it when nothing is left */
void http2__conn_flush_later(struct http2_conn *c);
void http2__conn_doom(struct http2_conn *c, uint32_t error, const char *reason);
void http2__conn_arm(struct http2_conn *c);
ssize_t http2__conn_send(struct http2_conn *c, const uint8_t *data, size_t len);
/* http2_server.c */
void http2__loop_check(struct http2_loop *l);
/* http2_session.c */
nghttp2_session_callbacks *http2__callbacks(void);
nghttp2_option *http2__option(void);
/* http2_stream.c */
struct http2_stream *http2__stream_new(struct http2_conn *c, int32_t id);
void http2__stream_closed(struct http2_stream *s);
ssize_t http2__stream_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *conn);
void http2__streams_tell_room(struct http2_conn *c);

#endif
