/* An HTTP/2 server on loops: nghttp2 on our connections, independent of what is served over it.
 *
 * A stream belongs to its connection's loop, and so do all calls about it. A handler owns a stream
 * from on_request until it calls http2_stream_free, which it does exactly once, also after
 * on_close; until then the stream counts against streams_max even if the peer has reset it (G01).
 * Nothing here calls a handler from inside of a function that the handler called.
 *
 * Promises: memory per connection is bounded, what floods is sent away with GOAWAY
 * ENHANCE_YOUR_CALM, frames of one turn leave in one write. Sources: RFC 9113, RFC 7541;
 * RELIABILITY G01-G05, G08, G09. TLS will sit between the socket and http2_conn.c. */
#ifndef SLUICE_HTTP_HTTP2_H
#define SLUICE_HTTP_HTTP2_H

#include "base/slice.h"

struct http2_server;
struct http2_stream;
struct loop;

enum {
    HTTP2_HEADER_BYTES_MAX = 16 << 10, /* names, values and 32 for each */
    HTTP2_HEADERS_MAX = 128,
    HTTP2_RESETS_MAX = 200, /* in 10 s */
};

/* Error codes of RST_STREAM that handlers use. */
enum http2_error {
    HTTP2_NO_ERROR = 0,
    HTTP2_PROTOCOL_ERROR = 1,
    HTTP2_INTERNAL_ERROR = 2,
    HTTP2_CANCEL = 8,
};

struct http2_header {
    struct slice name, value; /* name in lower case */
};

/* Valid until on_request returns. */
struct http2_request {
    struct slice method, path, authority;
    const struct http2_header *headers; /* without the pseudo ones */
    size_t n_headers;
    bool too_large; /* the headers were above the limit; what is here is a part */
};
/* The first header of this name; data NULL: none. */
struct slice http2_request_header(const struct http2_request *r, const char *name);

struct http2_ops {
    /* The headers are whole. Returns what the other calls get as `user`. */
    void *(*on_request)(void *arg, struct http2_stream *s, const struct http2_request *r);
    /* Part of the body; the handler says with http2_consume when the peer may send as much again.
     */
    void (*on_data)(void *user, struct slice data);
    void (*on_end)(void *user); /* the peer has sent everything */
    /* Fewer than HTTP2_ROOM_BYTES wait to be sent; once after each http2_write that left more. */
    void (*on_room)(void *user);
    /* The peer is gone, or was never to get the rest: nothing sent from now on arrives. Not called
     * after http2_stream_free. */
    void (*on_close)(void *user);
};

enum { HTTP2_ROOM_BYTES = 64 << 10 };

struct http2_server_opts {
    const char *addr;
    int backlog;
    struct loop *const *loops; /* connections are dealt out in turn; the listener is on loops[0] */
    size_t n_loops;
    const struct http2_ops *ops;
    void *arg;
    uint32_t connections_max, streams_max; /* streams_max: of one connection */
    uint32_t stream_window_bytes, conn_window_bytes;
    int64_t keepalive_ms; /* silence after which the peer is asked for a sign; 0: never */
    int64_t keepalive_timeout_ms;
};

/* Errors as tcp_listen. Nothing but the loops is borrowed. */
sl_err http2_server_start(const struct http2_server_opts *opts, struct sl_fault *fault,
                          struct http2_server **ret) SL_CHECKED;
uint16_t http2_server_port(const struct http2_server *s);
/* On loops[0]: takes no more connections and streams (GOAWAY), lets streams finish for drain_ms,
 * then closes. done comes on loops[0] when no connection and no stream is left. Once. */
void http2_server_stop(struct http2_server *s, int64_t drain_ms, void (*done)(void *arg),
                       void *arg);
void http2_server_free(struct http2_server *s); /* after done; accepts NULL */

struct http2_metrics {
    uint64_t connections, connections_total, refused, streams, streams_total, goaways;
};
void http2_server_metrics(const struct http2_server *s, struct http2_metrics *ret); /* any thread */

/* ---- streams: on their loop ----------------------------------------------------------------- */

/* Index in opts.loops. */
size_t http2_stream_loop(const struct http2_stream *s);
/* A number of its connection, never given twice. */
uint64_t http2_stream_connection(const struct http2_stream *s);
/* Response headers, :status included; copied. ends: no body and no trailers follow. */
void http2_respond(struct http2_stream *s, const struct http2_header *headers, size_t n, bool ends);
/* Queues body bytes; takes over the caller's reference. Returns how many bytes wait now. */
size_t http2_write(struct http2_stream *s, struct slice data);
size_t http2_queued_bytes(const struct http2_stream *s);
/* Ends the response behind what is queued, with trailers (copied) when there are some. The peer is
 * told to stop when it has not ended. */
void http2_end(struct http2_stream *s, const struct http2_header *trailers, size_t n);
void http2_reset(struct http2_stream *s, enum http2_error error);
void http2_consume(struct http2_stream *s, size_t n);
/* The handler is done with it; what is queued is sent nevertheless. */
void http2_stream_free(struct http2_stream *s);

#endif
