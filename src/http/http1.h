/* One HTTP/1 request out of a stream of bytes: strict, bounded, one reading of it only.
 *
 * The head is gathered whole, refused if a byte of it could be read in two ways (bare CR or LF,
 * folded lines, space before a colon, NUL), and then parsed by llhttp. Bodies are framed by our own
 * decoder from what the head said. Sources: RFC 9110, RFC 9112; RELIABILITY H01-H03, H05. Pure: no
 * socket, no clock. One thread at a time. */
#ifndef SLUICE_HTTP_HTTP1_H
#define SLUICE_HTTP_HTTP1_H

#include "base/buf.h"
#include "base/slice.h"

enum {
    HTTP1_URI_BYTES_MAX = 8 << 10,
    HTTP1_HEADER_BYTES_MAX = 16 << 10, /* all lines behind the request line */
    HTTP1_HEADERS_MAX = 100,
    HTTP1_METHOD_BYTES_MAX = 32,
    HTTP1_CHUNK_LINE_BYTES_MAX = 256, /* size and extensions */
    HTTP1_TRAILER_BYTES_MAX = 4 << 10,
};

struct http1_header {
    struct slice name, value; /* value without blanks around it */
};

/* Everything points into the parser: valid until http1_next. */
struct http1_request {
    struct slice method; /* "GET" */
    struct slice path;   /* decoded, starts with '/', has no "." and ".." segments and no NUL */
    struct slice query;  /* behind '?', as sent */
    struct http1_header headers[HTTP1_HEADERS_MAX];
    size_t n_headers;
    bool is_1_0, keep_alive, expects_continue, is_chunked;
    bool has_body;
    int64_t content_length; /* -1: chunked */
    struct slice body;      /* complete at HTTP1_DONE */
};

enum http1_state {
    HTTP1_HEAD,   /* needs more bytes of the head */
    HTTP1_BODY,   /* the head is there; needs more bytes of the body */
    HTTP1_DONE,   /* the request is complete */
    HTTP1_FAILED, /* answer http1_status() and close: what follows cannot be trusted */
};

struct http1;

/* Bodies beyond body_bytes_max are refused with 413. Never NULL. */
struct http1 *http1_new(size_t body_bytes_max);
void http1_free(struct http1 *p); /* accepts NULL */
SL_DEFINE_AUTO(struct http1 *, http1_free);

/* Takes bytes up to the end of the current request; *ret_used of them. Calling it again after
 * DONE or FAILED takes nothing. */
enum http1_state http1_feed(struct http1 *p, const uint8_t *data, size_t len, size_t *ret_used);
enum http1_state http1_state(const struct http1 *p);
const struct http1_request *http1_request(const struct http1 *p);
int http1_status(const struct http1 *p);         /* after FAILED: 400, 413, 414, 431, 505 */
const char *http1_reason(const struct http1 *p); /* after FAILED: a sentence */
bool http1_is_idle(const struct http1 *p);       /* not a byte of a request has come */
size_t http1_body_bytes(const struct http1 *p);  /* taken so far */
void http1_next(struct http1 *p);                /* forgets the request, starts the next */

/* Value of the first header of that name (any case), or a slice with data NULL. */
struct slice http1_header(const struct http1_request *r, const char *name);

#endif
