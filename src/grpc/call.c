/* What a call sends, and how it ends. */
#include "base/alloc.h"
#include "base/byteorder.h"
#include "grpc/grpc_int.h"
#include "grpc/status_details.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    MESSAGE_TEXT_MAX = 1024, /* of a status */
    REFUSAL_MS = 10000,
    DETAILS_BYTES_MAX = 8192,
    GZIP_BYTES_MIN = 1024,    /* below it gains nothing */
    GZIP_BYTES_MAX = 64 << 10 /* above it takes too long for a loop */
};

#define HEADER(n, v) ((struct http2_header){.name = (n), .value = (v)})
#define TEXT(t)      slice_of((t), sizeof(t) - 1)

/* ---- status ---------------------------------------------------------------------------------- */

enum grpc_status grpc_status_of(sl_err err)
{
    switch (err) {
#define GRPC_CODE(ours, theirs)                                                                    \
    case SL_##ours:                                                                                \
        return GRPC_##theirs;
#include "grpc/error.def"
#undef GRPC_CODE
    case SL_ERR_COUNT:
        break;
    }
    SL_UNREACHABLE();
}

const char *grpc_status_name(unsigned status)
{
    switch (status) {
#define GRPC_STATUS(name, number)                                                                  \
    case (number):                                                                                 \
        return #name;
#include "proto/status.def"
#undef GRPC_STATUS
    default:
        return "UNKNOWN";
    }
}

/* As grpc-message wants it: printable ASCII without '%', the rest as %XX. */
static size_t percent_encode(const char *text, char ret[MESSAGE_TEXT_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (const char *p = text; *p && n + 3 <= MESSAGE_TEXT_MAX; p++) {
        uint8_t b = (uint8_t)*p;
        if (b >= 0x20 && b < 0x7F && b != '%') {
            ret[n++] = (char)b;
        } else {
            ret[n++] = '%';
            ret[n++] = hex[b >> 4];
            ret[n++] = hex[b & 15];
        }
    }
    return n;
}

struct status_text {
    char number[4], message[MESSAGE_TEXT_MAX];
    struct http2_header headers[3];
    size_t n_headers;
    struct buf details;
};

/* why: SL_OK, or what programs may compare. details are released by whoever has t. */
static void print_status(struct status_text *t, enum grpc_status status, const char *message,
                         sl_err why)
{
    buf_init(&t->details, DETAILS_BYTES_MAX);
    int n = snprintf(t->number, sizeof t->number, "%d", (int)status);
    t->headers[0] = HEADER(TEXT("grpc-status"), slice_of(t->number, (size_t)n));
    t->n_headers = 1;
    if (*message)
        t->headers[t->n_headers++] =
            HEADER(TEXT("grpc-message"), slice_of(t->message, percent_encode(message, t->message)));
    if (why != SL_OK && status != GRPC_OK &&
        grpc__print_details(status, message, sl_err_name(why), &t->details) == SL_OK)
        t->headers[t->n_headers++] =
            HEADER(TEXT("grpc-status-details-bin"), slice_of(t->details.data, t->details.len));
}

/* ---- headers --------------------------------------------------------------------------------- */

enum { HEADERS_MAX = 8 };

static size_t put_head(struct http2_header *h, const char *http_status, bool gzip)
{
    size_t n = 0;
    h[n++] = HEADER(TEXT(":status"), slice_str(http_status));
    h[n++] = HEADER(TEXT("content-type"), TEXT("application/grpc"));
    h[n++] = HEADER(TEXT("grpc-accept-encoding"), TEXT("identity,gzip"));
    if (gzip)
        h[n++] = HEADER(TEXT("grpc-encoding"), TEXT("gzip"));
    return n;
}

static void respond(struct grpc_call *c)
{
    struct http2_header h[HEADERS_MAX];
    if (c->responded)
        return;
    c->responded = true;
    http2_respond(c->stream, h, put_head(h, "200", c->gzip_out), false);
}

/* Status without a message in front of it: one block of headers. */
static void respond_and_end(struct http2_stream *stream, const char *http_status,
                            const struct status_text *t)
{
    struct http2_header h[HEADERS_MAX];
    size_t n = put_head(h, http_status, false);
    for (size_t i = 0; i < t->n_headers; i++)
        h[n++] = t->headers[i];
    http2_respond(stream, h, n, true);
}

void grpc__refuse(struct http2_stream *stream, enum grpc_status status, const char *message)
{
    struct status_text t;
    print_status(&t, status, message, SL_OK);
    respond_and_end(stream, "200", &t);
    http2_stream_free(stream);
}

/* ---- messages -------------------------------------------------------------------------------- */

static struct slice pack_plain(const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    SL_ASSERT(n <= UINT32_MAX);
    struct block *b = block_new(GRPC_PREFIX_BYTES + n);
    if (!b)
        return (struct slice){0};
    uint8_t *p = block_data(b);
    p[0] = 0;
    put_be32(p + 1, (uint32_t)n);
    (void)protobuf_c_message_pack(m, p + GRPC_PREFIX_BYTES);
    return (struct slice){.data = p, .len = GRPC_PREFIX_BYTES + n, .block = b};
}

/* The message again, compressed; unchanged when that is not worth it. */
static struct slice pack_gzip(struct slice plain)
{
    static const uint8_t prefix[GRPC_PREFIX_BYTES] = {1};
    struct buf out;
    struct slice body = slice_sub(plain, GRPC_PREFIX_BYTES, plain.len - GRPC_PREFIX_BYTES);
    if (body.len < GZIP_BYTES_MIN || body.len > GZIP_BYTES_MAX)
        return plain;
    buf_init(&out, plain.len);
    (void)buf_append(&out, prefix, sizeof prefix);
    struct slice packed = {0};
    if (codec_compress(CODEC_GZIP, body, &out) == SL_OK && buf_check(&out) == SL_OK) {
        put_be32(out.data + 1, (uint32_t)(out.len - GRPC_PREFIX_BYTES));
        packed = buf_take_slice(&out);
    }
    buf_fini(&out);
    if (!packed.data)
        return plain;
    slice_unref(&plain);
    return packed;
}

static bool send_message(struct grpc_call *c, const ProtobufCMessage *m)
{
    SL_ASSERT(m->descriptor == c->method->response);
    struct slice bytes = pack_plain(m);
    if (!bytes.data)
        return false;
    if (c->gzip_out)
        bytes = pack_gzip(bytes);
    respond(c);
    (void)http2_write(c->stream, bytes);
    return true;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Sends the status; the call is not freed. */
static void answer(struct grpc_call *c, enum grpc_status status, const char *message)
{
    struct status_text t;
    SL_ASSERT(!c->answered);
    c->answered = true;
    c->status = status;
    timer_stop(&c->deadline);
    grpc__drop_input(c);
    print_status(&t, status, message, c->why);
    if (c->responded)
        http2_end(c->stream, t.headers, t.n_headers);
    else
        respond_and_end(c->stream, "200", &t);
    buf_fini(&t.details);
}

void grpc__end(struct grpc_call *c, enum grpc_status status, const char *message)
{
    if (!c->answered)
        answer(c, status, message);
    grpc__call_free(c);
}

void grpc_fail(struct grpc_call *c, enum grpc_status status, const char *format, ...)
{
    char text[MESSAGE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    grpc__end(c, status, text);
}

void grpc_fail_err(struct grpc_call *c, sl_err err, const char *why)
{
    SL_ASSERT(err != SL_OK);
    c->why = err;
    grpc__end(c, grpc_status_of(err), why ? why : sl_err_text(err));
}

void grpc_reply(struct grpc_call *c, const ProtobufCMessage *answer_message)
{
    if (c->answered)
        grpc__call_free(c);
    else if (send_message(c, answer_message))
        grpc__end(c, GRPC_OK, "");
    else
        grpc__end(c, GRPC_RESOURCE_EXHAUSTED, "the server has no memory for the answer");
}

void grpc_open(struct grpc_call *c)
{
    if (!c->answered)
        respond(c);
}

size_t grpc_send(struct grpc_call *c, const ProtobufCMessage *m)
{
    if (c->answered)
        return 0;
    if (!send_message(c, m)) {
        answer(c, GRPC_RESOURCE_EXHAUSTED, "the server has no memory for the message");
        return 0;
    }
    return http2_queued_bytes(c->stream);
}

size_t grpc_queued_bytes(const struct grpc_call *c)
{
    return c->answered ? 0 : http2_queued_bytes(c->stream);
}

/* ---- deadline and cancellation --------------------------------------------------------------- */

static void tell_canceled(struct grpc_call *c)
{
    c->canceled = true;
    if (!c->started)
        grpc__call_free(c); /* no handler has it */
    else if (c->on_cancel)
        c->on_cancel(c);
}

static void on_deadline(struct timer *t)
{
    struct grpc_call *c = SL_CONTAINER_OF(t, struct grpc_call, deadline);
    answer(c, GRPC_DEADLINE_EXCEEDED, "the deadline of the call passed");
    tell_canceled(c);
}

void grpc__deadline_start(struct grpc_call *c, int64_t timeout_ms)
{
    timer_init(&c->deadline, c->loop, on_deadline);
    timer_start(&c->deadline, timeout_ms);
}

static void on_refusal_due(struct timer *t)
{
    grpc__refuse_now(SL_CONTAINER_OF(t, struct grpc_call, deadline));
}

void grpc__refuse_later(struct grpc_call *c, int http_status, const char *message)
{
    c->refused = http_status;
    c->refusal = message;
    timer_init(&c->deadline, c->loop, on_refusal_due);
    timer_start(&c->deadline, REFUSAL_MS);
}

/* An answer that people and HTTP tools understand. */
void grpc__refuse_now(struct grpc_call *c)
{
    char number[4];
    SL_ASSERT(c->refused >= 400 && c->refused <= 599);
    timer_stop(&c->deadline);
    c->answered = true;
    (void)snprintf(number, sizeof number, "%d", c->refused);
    const struct http2_header h[] = {
        HEADER(TEXT(":status"), slice_str(number)),
        HEADER(TEXT("content-type"), TEXT("text/plain; charset=utf-8")),
    };
    http2_respond(c->stream, h, SL_ARRAY_LEN(h), false);
    (void)http2_write(c->stream, slice_str(c->refusal));
    http2_end(c->stream, NULL, 0);
    grpc__call_free(c);
}

void grpc__peer_gone(struct grpc_call *c)
{
    if (c->answered)
        return; /* its handler has been told, or ends it by itself */
    c->answered = true;
    c->status = GRPC_CANCELLED;
    timer_stop(&c->deadline);
    grpc__drop_input(c);
    tell_canceled(c);
}

/* ---- for handlers ---------------------------------------------------------------------------- */

void *grpc_alloc(struct grpc_call *c, size_t count, size_t size)
{
    void *p = arena_alloc(c->arena, count ? count : 1, size);
    if (!p)
        grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "the server has no memory for this request now");
    return p;
}

void grpc_submit(struct grpc_call *c, struct broker_call *b, void (*done)(struct broker_call *b))
{
    b->broker = c->broker;
    b->home = c->loop;
    b->who = c->who;
    b->done = done;
    broker_submit(b);
}
