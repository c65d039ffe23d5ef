/* An HTTP/1 server on a loop: connections, deadlines, a table of routes.
 *
 * A request is handled once it is complete; requests of a connection one after the other, so
 * pipelining costs no memory. A handler answers each exchange exactly once with http_reply, at once
 * or later, on the loop. HEAD is served by the GET route. Slow peers meet deadlines (H03): head
 * 10 s, bodies and answers at least 1 KiB/s after 10 s, 60 s without a request. Loop only. */
#ifndef SLUICE_HTTP_HTTP_SERVER_H
#define SLUICE_HTTP_HTTP_SERVER_H

#include "base/slice.h"

struct http1_request;
struct http_server;
struct loop;

struct http_exchange {
    const struct http1_request *request;
    void *arg; /* of the options */
};

struct http_route {
    const char *method, *path; /* exact */
    void (*handle)(struct http_exchange *x);
};

struct http_server_opts {
    const char *addr;
    int backlog;
    size_t connections_max, body_bytes_max;
    const struct http_route *routes; /* borrowed */
    size_t n_routes;
    void *arg;
};

/* Errors as tcp_listen. On SL_OK the caller owns *ret. */
sl_err http_server_start(struct loop *l, const struct http_server_opts *opts,
                         struct sl_fault *fault, struct http_server **ret) SL_CHECKED;
uint16_t http_server_port(const struct http_server *s);
size_t http_server_connections(const struct http_server *s);
uint64_t http_server_requests(const struct http_server *s); /* answered so far */

/* Answers; takes over the caller's reference of body. type is a static text. The exchange may be
 * gone when this returns. */
void http_reply(struct http_exchange *x, int status, const char *type, struct slice body);
/* The same with a static text as text/plain. */
void http_reply_text(struct http_exchange *x, int status, const char *text);

/* Stops accepting, closes idle connections, gives the others drain_ms, then closes them too. done
 * is called once the last is gone and no exchange is open; the server may be freed then. */
void http_server_stop(struct http_server *s, int64_t drain_ms, void (*done)(void *arg), void *arg);
void http_server_free(struct http_server *s); /* stopped, or the loop has ended; accepts NULL */

#endif
