/* An HTTP/2 client connection on a loop: nghttp2 over a connected socket.
 *
 * Requests start in any number; those beyond what the server takes at a time wait in here. All
 * calls and callbacks are on the connection's loop. Callbacks may start, write to and reset
 * requests. Input is bounded by what its owner asks for: windows open again as data is handed over.
 * Source: RFC 9113. */
#ifndef SLUICE_HTTP_HTTP2_CLIENT_H
#define SLUICE_HTTP_HTTP2_CLIENT_H

#include "http/http2.h"

struct http2_client;
struct http2_exchange; /* a request and its response */
struct tcp_conn;

struct http2_client_ops {
    void (*on_ready)(void *arg); /* the server has greeted */
    /* The last call: the connection is gone and all its exchanges have been told. SL_EPROTO: the
     * peer does not speak HTTP/2. Call http2_client_free now or later. */
    void (*on_close)(void *arg, sl_err why);
};

struct http2_exchange_ops {
    void (*on_header)(void *user, struct slice name, struct slice value); /* and trailers */
    void (*on_data)(void *user, struct slice data);
    /* The last call; the exchange is gone. Error code of RFC 9113; 0: it ended as it should. */
    void (*on_close)(void *user, uint32_t error);
};

/* Takes over the connection, which was not started yet. */
struct http2_client *http2_client_new(struct tcp_conn *tcp, const struct http2_client_ops *ops,
                                      void *arg);
void http2_client_close(struct http2_client *c); /* says goodbye; on_close follows, later */
void http2_client_free(struct http2_client *c);  /* after on_close; accepts NULL */

/* Headers are copied. NULL: the connection takes no more. */
struct http2_exchange *http2_exchange_start(struct http2_client *c,
                                            const struct http2_header *headers, size_t n,
                                            const struct http2_exchange_ops *ops, void *user);
/* Copies. SL_EFULL: too much waits to be sent; nothing was taken. */
sl_err http2_exchange_write(struct http2_exchange *x, struct slice data) SL_CHECKED;
void http2_exchange_end(struct http2_exchange *x); /* the request is complete */
void http2_exchange_reset(struct http2_exchange *x, enum http2_error error); /* on_close follows */

#endif
