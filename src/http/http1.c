#include "http/http1.h"

#include "base/alloc.h"
#include "http/http1_int.h"

enum { HEAD_BYTES_MAX = HTTP1_URI_BYTES_MAX + HTTP1_HEADER_BYTES_MAX + 64, HEAD_STEP = 4096 };

struct http1 {
    enum http1_state state;
    struct http1_fault fault;
    struct buf head, path, body;
    size_t checked; /* lines of the head that have been looked at end here */
    size_t body_bytes_max;
    struct http1_body framing;
    bool after_cr;                 /* of an empty line before the request */
    struct http1_request *request; /* only while there is one: an idle connection is small */
};

struct http1 *http1_new(size_t body_bytes_max)
{
    struct http1 *p = sl_new(struct http1);
    p->body_bytes_max = body_bytes_max;
    buf_init(&p->head, HEAD_BYTES_MAX + HEAD_STEP);
    buf_init(&p->path, HTTP1_URI_BYTES_MAX + 1);
    buf_init(&p->body, body_bytes_max);
    return p;
}

void http1_next(struct http1 *p)
{
    buf_fini(&p->head);
    buf_fini(&p->path);
    buf_fini(&p->body);
    sl_free(p->request);
    buf_init(&p->head, HEAD_BYTES_MAX + HEAD_STEP);
    buf_init(&p->path, HTTP1_URI_BYTES_MAX + 1);
    buf_init(&p->body, p->body_bytes_max);
    p->request = NULL;
    p->after_cr = false;
    p->checked = 0;
    p->state = HTTP1_HEAD;
    p->fault = (struct http1_fault){0};
}

void http1_free(struct http1 *p)
{
    if (!p)
        return;
    http1_next(p);
    sl_free(p);
}

enum http1_state http1_state(const struct http1 *p)
{
    return p->state;
}

const struct http1_request *http1_request(const struct http1 *p)
{
    SL_ASSERT(p->request);
    return p->request;
}

int http1_status(const struct http1 *p)
{
    return p->fault.status;
}

const char *http1_reason(const struct http1 *p)
{
    return p->fault.reason;
}

bool http1_is_idle(const struct http1 *p)
{
    return p->state == HTTP1_HEAD && p->head.len == 0;
}

size_t http1_body_bytes(const struct http1 *p)
{
    return p->body.len;
}

static enum http1_state fail(struct http1 *p, struct http1_fault fault)
{
    p->fault = fault;
    return p->state = HTTP1_FAILED;
}

static enum http1_state start_body(struct http1 *p, size_t head_len)
{
    SL_ASSERT(p->state == HTTP1_HEAD);
    SL_ASSERT(!p->request);
    p->request = sl_new(struct http1_request);
    struct http1_fault fault =
        http1__parse_head(slice_of(p->head.data, head_len), &p->path, p->request);
    if (fault.status)
        return fail(p, fault);
    if (!p->request->has_body)
        return p->state = HTTP1_DONE;
    if (p->request->content_length > (int64_t)p->body_bytes_max)
        return fail(p, (struct http1_fault){413, "the body is too large"});
    http1__body_start(&p->framing, p->request->content_length);
    return p->state = HTTP1_BODY;
}

/* Empty lines before a request are skipped, as RFC 9112 asks; each costs its sender as much as us.
 */
static size_t skip_empty_lines(struct http1 *p, const uint8_t *data, size_t len)
{
    size_t n = 0;
    for (; p->head.len == 0 && n < len; n++) {
        if (data[n] != (p->after_cr ? '\n' : '\r'))
            break;
        p->after_cr = !p->after_cr;
    }
    if (n < len && p->after_cr)
        (void)fail(p, (struct http1_fault){400, "bare CR"});
    return n;
}

/* Takes bytes of the head, a step at a time, so that little behind it is copied for nothing. */
static size_t feed_head(struct http1 *p, const uint8_t *data, size_t len)
{
    size_t skipped = skip_empty_lines(p, data, len), before = p->head.len, end = 0;
    size_t n = SL_MIN(len - skipped, (size_t)HEAD_STEP);
    if (n == 0 || p->state == HTTP1_FAILED)
        return skipped;
    if (buf_append(&p->head, data + skipped, n) != SL_OK) {
        (void)fail(p, (struct http1_fault){431, "the head is too large"});
        return len;
    }
    struct http1_fault fault =
        http1__check_head(slice_of(p->head.data, p->head.len), &p->checked, &end);
    if (fault.status)
        (void)fail(p, fault);
    else if (end)
        (void)start_body(p, end);
    SL_ASSERT(!end || (end > before && end <= p->head.len));
    return skipped + (end ? end - before : n);
}

static size_t feed_body(struct http1 *p, const uint8_t *data, size_t len)
{
    size_t used = 0;
    SL_ASSERT(p->request && p->request->has_body);
    struct http1_fault fault = http1__body_feed(&p->framing, data, len, &p->body, &used);
    if (fault.status) {
        (void)fail(p, fault);
    } else if (http1__body_is_done(&p->framing)) {
        p->request->body = slice_of(p->body.data, p->body.len);
        p->state = HTTP1_DONE;
    }
    return used;
}

enum http1_state http1_feed(struct http1 *p, const uint8_t *data, size_t len, size_t *ret_used)
{
    size_t used = 0;
    while (used < len && (p->state == HTTP1_HEAD || p->state == HTTP1_BODY)) {
        if (p->state == HTTP1_HEAD)
            used += feed_head(p, data + used, len - used);
        else
            used += feed_body(p, data + used, len - used);
    }
    SL_ASSERT(used <= len);
    SL_ASSERT(p->body.len <= p->body_bytes_max);
    *ret_used = used;
    return p->state;
}

struct slice http1_header(const struct http1_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (r->headers[i].name.len == strlen(name) &&
            strncasecmp((const char *)r->headers[i].name.data, name, strlen(name)) == 0)
            return r->headers[i].value;
    return slice_of(NULL, 0);
}
