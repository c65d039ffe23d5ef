/* A call out of the headers of a stream. */
#include "base/number.h"
#include "grpc/grpc_int.h"

enum { TIMEOUT_DIGITS_MAX = 8 };

/* ---- grpc-timeout ---------------------------------------------------------------------------- */

static int64_t unit_ns(uint8_t unit)
{
    switch (unit) {
    case 'H':
        return 3600LL * 1000 * 1000 * 1000;
    case 'M':
        return 60LL * 1000 * 1000 * 1000;
    case 'S':
        return 1000LL * 1000 * 1000;
    case 'm':
        return 1000LL * 1000;
    case 'u':
        return 1000;
    case 'n':
        return 1;
    default:
        return 0;
    }
}

/* In ms, rounded up; SL_EPROTO. */
static sl_err parse_timeout(struct slice text, int64_t *ret_ms)
{
    int64_t n = 0;
    if (text.len < 2 || text.len > TIMEOUT_DIGITS_MAX + 1)
        return SL_EPROTO;
    int64_t ns = unit_ns(text.data[text.len - 1]);
    if (ns == 0 || text.data[0] == '-' ||
        number_parse((const char *)text.data, text.len - 1, 0, 99999999, &n) != SL_OK)
        return SL_EPROTO;
    *ret_ms = ns >= 1000000 ? n * (ns / 1000000) : (n * ns + 999999) / 1000000;
    return SL_OK;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static bool is_base64(struct slice v)
{
    size_t n = v.len;
    while (n > 0 && v.len - n < 2 && v.data[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        uint8_t b = v.data[i];
        bool ok = (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') ||
                  b == '+' || b == '/' || b == ','; /* values may be joined */
        if (!ok)
            return false;
    }
    return n % 4 != 1 || memchr(v.data, ',', n) != NULL;
}

static bool binary_metadata_holds(const struct http2_request *r)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        struct slice name = r->headers[i].name;
        if (name.len > 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0 &&
            !is_base64(r->headers[i].value))
            return false;
    }
    return true;
}

/* The header counts while there is no authentication. */
static sl_err take_organization(struct grpc_call *c, const struct http2_request *r)
{
    struct slice org = http2_request_header(r, "x-organization-id");
    char text[UUID_TEXT_BYTES] = "";
    if (org.len == 0)
        return SL_OK;
    if (org.len != UUID_TEXT_BYTES - 1)
        return SL_EINVAL;
    memcpy(text, org.data, org.len);
    SL_TRY(uuid_parse(text, &c->own_who.org));
    c->who = &c->own_who;
    return SL_OK;
}

/* ---- a request ------------------------------------------------------------------------------- */

static bool has_token(struct slice list, const char *token)
{
    size_t len = strlen(token);
    for (size_t i = 0; i + len <= list.len; i++)
        if (memcmp(list.data + i, token, len) == 0 &&
            (i == 0 || list.data[i - 1] == ',' || list.data[i - 1] == ' ') &&
            (i + len == list.len || list.data[i + len] == ',' || list.data[i + len] == ' '))
            return true;
    return false;
}

static bool is_grpc(const struct http2_request *r)
{
    static const char type[] = "application/grpc";
    struct slice given = http2_request_header(r, "content-type");
    size_t n = sizeof type - 1;
    return given.len >= n && memcmp(given.data, type, n) == 0 &&
           (given.len == n || given.data[n] == '+' || given.data[n] == ';') &&
           !(given.len > n + 1 && given.data[n] == '+' && given.data[n + 1] != 'p');
}

/* True: the call goes on. */
static bool take_headers(struct grpc_call *c, const struct http2_request *r)
{
    struct slice encoding = http2_request_header(r, "grpc-encoding");
    struct slice timeout = http2_request_header(r, "grpc-timeout");
    int64_t timeout_ms = 0;
    c->gzip_in = slice_eq_str(encoding, "gzip");
    c->gzip_out = c->gzip_in && has_token(http2_request_header(r, "grpc-accept-encoding"), "gzip");
    if (!slice_eq_str(http2_request_header(r, "te"), "trailers"))
        grpc_fail(c, GRPC_INTERNAL, "the header te: trailers is missing; does a proxy drop it?");
    else if (encoding.len && !c->gzip_in && !slice_eq_str(encoding, "identity"))
        grpc_fail(c, GRPC_UNIMPLEMENTED, "grpc-encoding must be identity or gzip");
    else if (!binary_metadata_holds(r))
        grpc_fail(c, GRPC_INTERNAL, "a -bin header is not base64");
    else if (timeout.data && parse_timeout(timeout, &timeout_ms) != SL_OK)
        grpc_fail(c, GRPC_INTERNAL, "grpc-timeout is malformed");
    else if (take_organization(c, r) != SL_OK)
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "x-organization-id must be a UUID");
    else {
        if (timeout.data)
            grpc__deadline_start(c, timeout_ms);
        return true;
    }
    return false;
}

/* What is no gRPC call: an HTTP status and why. */
static int why_not_grpc(const struct http2_request *r, const char **ret_why)
{
    bool is_post = slice_eq_str(r->method, "POST");
    if (!r->too_large && is_post && is_grpc(r))
        return 0;
    *ret_why = r->too_large ? "the headers exceed 16 KiB"
               : is_post    ? "content-type must be application/grpc"
                            : "gRPC calls are POST requests";
    return r->too_large ? 431 : is_post ? 415 : 405;
}

static struct grpc_call *begin_call(struct grpc_shard *s, struct http2_stream *stream,
                                    const struct grpc_method *method)
{
    struct grpc_call *c = grpc__call_new(s);
    c->stream = stream;
    c->method = method;
    return c;
}

static void *on_request(void *arg, struct http2_stream *stream, const struct http2_request *r)
{
    struct grpc_door *door = arg;
    struct grpc_shard *s = &door->shards[http2_stream_loop(stream)];
    const struct grpc_method *method = grpc__method(r->path);
    const char *why = NULL;
    int http_status = why_not_grpc(r, &why);
    struct grpc_call *c = NULL; /* when it ends in here, http2 does not come back to it */
    if (http_status) {
        c = begin_call(s, stream, NULL);
        grpc__refuse_later(c, http_status, why);
    } else if (!method) {
        grpc__refuse(stream, GRPC_UNIMPLEMENTED, "");
    } else if (s->stopping) {
        grpc__refuse(stream, GRPC_UNAVAILABLE, "server is shutting down");
    } else {
        c = begin_call(s, stream, method);
        if (take_headers(c, r) && method->kind == GRPC_BIDI) {
            c->started = true;
            method->handle(c);
        }
    }
    return c;
}

static void on_data(void *user, struct slice data)
{
    struct grpc_call *c = user;
    http2_consume(c->stream, data.len); /* what a call may hold is bounded by its message */
    if (!c->refused)
        grpc__receive(c, data);
}

static void on_end(void *user)
{
    struct grpc_call *c = user;
    if (c->refused)
        grpc__refuse_now(c);
    else
        grpc__end_of_input(c);
}

static void on_room(void *user)
{
    struct grpc_call *c = user;
    if (!c->answered && c->stream_ops && c->stream_ops->on_room)
        c->stream_ops->on_room(c);
}

static void on_close(void *user)
{
    grpc__peer_gone(user);
}

const struct http2_ops grpc__http2_ops = {on_request, on_data, on_end, on_room, on_close};
