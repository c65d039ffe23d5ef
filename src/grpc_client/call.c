#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/number.h"
#include "grpc_client/grpc_client_int.h"

#include <stdio.h>

/* IN_SLACK_BYTES: what of the next messages comes in one frame with the end of one. */
enum { PREFIX_BYTES = 5, TEXT_BYTES = 1024, IN_SLACK_BYTES = 64 << 10 };

struct grpc_client_call {
    struct grpc_client *client;
    struct http2_exchange *exchange;
    const ProtobufCMessageDescriptor *response;
    const struct grpc_client_call_ops *ops;
    void *user;
    struct timer deadline;
    struct buf in;           /* a message that has come in part, with its prefix */
    int http_status, status; /* -1: not told */
    bool is_unary, half_closed;
    uint32_t n_messages;
    enum grpc_status own_status; /* why we reset it; OK: we did not */
    char own_text[128];
    char text[TEXT_BYTES];
};

/* We end it: what the peer says from now on does not count. */
static void give_up(struct grpc_client_call *call, enum grpc_status status, const char *text)
{
    if (call->own_status != GRPC_OK)
        return;
    call->own_status = status;
    (void)snprintf(call->own_text, sizeof call->own_text, "%s", text);
    http2_exchange_reset(call->exchange, HTTP2_CANCEL);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void on_header(void *user, struct slice name, struct slice value)
{
    struct grpc_client_call *call = user;
    int64_t number = 0;
    bool is_number =
        value.len && number_parse((const char *)value.data, value.len, 0, 999, &number) == SL_OK;
    if (slice_eq_str(name, ":status") && is_number)
        call->http_status = (int)number;
    else if (slice_eq_str(name, "grpc-status"))
        call->status = is_number && number <= GRPC_UNAUTHENTICATED ? (int)number : GRPC_UNKNOWN;
    else if (slice_eq_str(name, "grpc-message"))
        grpc__status_text(value, call->text, sizeof call->text);
}

static void *alloc_from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, 1, size ? size : 1);
}

static void free_nothing(void *arena, void *p)
{
}

static void take_message(struct grpc_client_call *call, struct slice bytes)
{
    struct arena *arena = call->client->scratch;
    ProtobufCAllocator allocator = {
        .alloc = alloc_from_arena, .free = free_nothing, .allocator_data = arena};
    ProtobufCMessage *m =
        protobuf_c_message_unpack(call->response, &allocator, bytes.len, bytes.data);
    if (m) {
        call->n_messages++;
        call->ops->on_message(call->user, m);
    } else {
        give_up(call, GRPC_INTERNAL, "the server's message cannot be decoded");
    }
    arena_reset(arena);
}

/* Length of the message with its prefix, when that is there; 0: more is needed. */
static size_t whole_bytes(struct grpc_client_call *call, struct slice data)
{
    if (data.len < PREFIX_BYTES)
        return 0;
    size_t len = get_be32(data.data + 1);
    if (data.data[0] != 0)
        give_up(call, GRPC_INTERNAL, "the server's message is compressed, which was not asked for");
    else if (len > call->client->cfg.message_bytes_max)
        give_up(call, GRPC_RESOURCE_EXHAUSTED, "the server's message is larger than the limit");
    return len + PREFIX_BYTES;
}

/* Hands out the whole messages; returns what they took. */
static size_t take_messages(struct grpc_client_call *call, struct slice data)
{
    size_t at = 0;
    while (call->own_status == GRPC_OK) {
        struct slice rest = slice_sub(data, at, data.len - at);
        size_t whole = whole_bytes(call, rest);
        if (whole == 0 || whole > rest.len || call->own_status != GRPC_OK)
            break;
        take_message(call, slice_sub(rest, PREFIX_BYTES, whole - PREFIX_BYTES));
        at += whole;
    }
    return at;
}

static void on_data(void *user, struct slice data)
{
    struct grpc_client_call *call = user;
    if (call->own_status != GRPC_OK)
        return;
    if (call->in.len == 0) {
        size_t used = take_messages(call, data);
        data = slice_sub(data, used, data.len - used);
    }
    if (data.len == 0)
        return;
    if (buf_append(&call->in, data.data, data.len) != SL_OK) {
        give_up(call, GRPC_RESOURCE_EXHAUSTED, "the server's message is larger than the limit");
        return;
    }
    size_t used = take_messages(call, slice_of(call->in.data, call->in.len));
    memmove(call->in.data, call->in.data + used, call->in.len - used);
    call->in.len -= used;
}

/* ---- the end --------------------------------------------------------------------------------- */

static enum grpc_status final_status(struct grpc_client_call *call, uint32_t error)
{
    if (call->own_status != GRPC_OK) {
        (void)snprintf(call->text, sizeof call->text, "%s", call->own_text);
        return call->own_status;
    }
    if (call->status == GRPC_OK && call->in.len) {
        (void)snprintf(call->text, sizeof call->text, "the answer ended inside of a message");
        return GRPC_INTERNAL;
    }
    if (call->status == GRPC_OK && call->is_unary && call->n_messages != 1) {
        (void)snprintf(call->text, sizeof call->text, "the server answered with %u messages",
                       call->n_messages);
        return GRPC_INTERNAL;
    }
    if (call->status >= 0)
        return (enum grpc_status)call->status;
    if (call->http_status >= 0 && call->http_status != 200) {
        (void)snprintf(call->text, sizeof call->text, "the server answered with HTTP status %d",
                       call->http_status);
        return grpc__status_of_http(call->http_status);
    }
    (void)snprintf(call->text, sizeof call->text, "%s",
                   error ? "the stream was closed before its end" : "the answer has no status");
    return error ? grpc__status_of_reset(error) : GRPC_UNKNOWN;
}

static void on_close(void *user, uint32_t error)
{
    struct grpc_client_call *call = user;
    timer_stop(&call->deadline);
    call->ops->on_end(call->user, final_status(call, error), call->text);
    buf_fini(&call->in);
    sl_free(call);
}

static const struct http2_exchange_ops exchange_ops = {on_header, on_data, on_close};

static void on_deadline(struct timer *t)
{
    give_up(SL_CONTAINER_OF(t, struct grpc_client_call, deadline), GRPC_DEADLINE_EXCEEDED,
            "the server did not answer in time");
}

/* ---- requests -------------------------------------------------------------------------------- */

static struct http2_header header(const char *name, const char *value)
{
    return (struct http2_header){.name = slice_str(name), .value = slice_str(value)};
}

static struct http2_exchange *start_exchange(struct grpc_client_call *call, const char *path,
                                             int64_t timeout_ms)
{
    char timeout[24] = "";
    struct http2_header headers[] = {
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", path),
        header(":authority", call->client->addr),
        header("te", "trailers"),
        header("content-type", "application/grpc"),
        header("user-agent", "sluice-c/" SLUICE_VERSION),
        header("grpc-timeout", timeout), /* last: left out without a deadline */
    };
    size_t n = SL_ARRAY_LEN(headers) - (timeout_ms ? 0 : 1);
    if (timeout_ms) {
        grpc__timeout_text(timeout_ms, timeout);
        headers[n - 1].value = slice_str(timeout);
    }
    return http2_exchange_start(call->client->http2, headers, n, &exchange_ops, call);
}

struct grpc_client_call *grpc_client_stream(struct grpc_client *c,
                                            const struct grpc_client_request *r)
{
    SL_ASSERT(loop_is_current(c->loop));
    SL_ASSERT(r->timeout_ms >= 0);
    if (!c->http2 || !c->ready || c->closing)
        return NULL;
    struct grpc_client_call *call = sl_new(struct grpc_client_call);
    *call = (struct grpc_client_call){.client = c,
                                      .response = r->response,
                                      .ops = r->ops,
                                      .user = r->user,
                                      .http_status = -1,
                                      .status = -1};
    buf_init(&call->in, c->cfg.message_bytes_max + PREFIX_BYTES + IN_SLACK_BYTES);
    timer_init(&call->deadline, c->loop, on_deadline);
    call->exchange = start_exchange(call, r->path, r->timeout_ms);
    if (!call->exchange) {
        sl_free(call);
        return NULL;
    }
    if (r->timeout_ms)
        timer_start(&call->deadline, r->timeout_ms);
    return call;
}

sl_err grpc_client_send(struct grpc_client_call *call, const ProtobufCMessage *m)
{
    struct buf *out = &call->client->out;
    size_t len = protobuf_c_message_get_packed_size(m);
    SL_ASSERT(!call->half_closed);
    buf_reset(out);
    uint8_t *at = len <= UINT32_MAX ? buf_extend(out, PREFIX_BYTES + len) : NULL;
    if (!at)
        return SL_EFULL;
    at[0] = 0;
    put_be32(at + 1, (uint32_t)len);
    (void)protobuf_c_message_pack(m, at + PREFIX_BYTES);
    return http2_exchange_write(call->exchange, slice_of(out->data, out->len));
}

void grpc_client_half_close(struct grpc_client_call *call)
{
    if (call->half_closed)
        return;
    call->half_closed = true;
    http2_exchange_end(call->exchange);
}

struct grpc_client_call *grpc_client_unary(struct grpc_client *c,
                                           const struct grpc_client_request *r,
                                           const ProtobufCMessage *m)
{
    struct grpc_client_call *call = grpc_client_stream(c, r);
    if (!call)
        return NULL;
    call->is_unary = true;
    if (grpc_client_send(call, m) == SL_OK)
        grpc_client_half_close(call);
    else
        give_up(call, GRPC_RESOURCE_EXHAUSTED, "the message is too large to be sent");
    return call;
}

void grpc_client_cancel(struct grpc_client_call *call)
{
    give_up(call, GRPC_CANCELLED, "canceled by this client");
}
