/* HTTP/1 requests: the verdict does not depend on how the bytes are cut, and what is accepted
 * keeps its promises. */
#include "http/http1.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 4096 };

static void check_request(const struct http1_request *r)
{
    SL_ASSERT(r->method.len > 0 && r->method.len <= HTTP1_METHOD_BYTES_MAX);
    SL_ASSERT(r->path.len > 0 && r->path.data[0] == '/');
    SL_ASSERT(!memchr(r->path.data, 0, r->path.len));
    SL_ASSERT(r->n_headers <= HTTP1_HEADERS_MAX);
    SL_ASSERT(r->body.len <= BODY_MAX);
    for (size_t i = 0; i < r->n_headers; i++)
        SL_ASSERT(!r->headers[i].value.len ||
                  !memchr(r->headers[i].value.data, '\n', r->headers[i].value.len));
}

/* Feeds up to the end of the first request; returns what was taken. */
static size_t feed(struct http1 *p, const uint8_t *data, size_t size, size_t step)
{
    size_t pos = 0;
    while (pos < size) {
        size_t used = 0, n = SL_MIN(step, size - pos);
        enum http1_state state = http1_feed(p, data + pos, n, &used);
        SL_ASSERT(used <= n);
        pos += used;
        if (state == HTTP1_DONE || state == HTTP1_FAILED)
            break;
        SL_ASSERT(used == n);
    }
    return pos;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http1 *whole = http1_new(BODY_MAX), *cut = http1_new(BODY_MAX);
    size_t pos = 0;
    while (pos < size) { /* requests that follow each other */
        size_t a = feed(whole, data + pos, size - pos, size);
        size_t b = feed(cut, data + pos, size - pos, 1 + size % 5);
        SL_ASSERT(http1_state(whole) == http1_state(cut));
        if (http1_state(whole) != HTTP1_DONE)
            break; /* of several faults the first one seen is told */
        SL_ASSERT(a == b && a > 0);
        check_request(http1_request(whole));
        pos += a;
        http1_next(whole);
        http1_next(cut);
    }
    http1_free(whole);
    http1_free(cut);
    return 0;
}
