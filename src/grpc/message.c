/* Messages out of the bytes of a stream: prefix, length, decompression, decoding. */
#include "base/alloc.h"
#include "base/byteorder.h"
#include "grpc/grpc_int.h"

enum { IN_FIRST = 4096, GZIP_STEP = 64 << 10 };

/* ---- the buffer of a message that comes in pieces -------------------------------------------- */

void grpc__drop_input(struct grpc_call *c)
{
    c->shard->budget.used -= c->in_cap;
    sl_free(c->in);
    c->in = NULL;
    c->in_len = c->in_cap = 0;
}

/* At most twice what has come (G05), and charged. */
static bool grow_input(struct grpc_call *c, size_t wanted)
{
    struct budget *b = &c->shard->budget;
    size_t cap = SL_MIN(SL_MAX(wanted * 2, (size_t)IN_FIRST), (size_t)c->in_bytes);
    SL_ASSERT(cap >= wanted);
    if (cap - c->in_cap > b->max - SL_MIN(b->used, b->max))
        return false;
    uint8_t *p = sl_try_alloc(1, cap);
    if (!p)
        return false;
    if (c->in_len)
        memcpy(p, c->in, c->in_len);
    sl_free(c->in);
    b->used += cap - c->in_cap;
    c->in = p;
    c->in_cap = cap;
    return true;
}

static bool append_input(struct grpc_call *c, struct slice data)
{
    if (data.len == 0)
        return true;
    if (c->in_len + data.len > c->in_cap && !grow_input(c, c->in_len + data.len))
        return false;
    memcpy(c->in + c->in_len, data.data, data.len);
    c->in_len += data.len;
    return true;
}

/* ---- a whole message ------------------------------------------------------------------------- */

static const char no_memory[] = "the server has no memory for this request now, try again later";

/* Inflates into the arena, step by step: the length that gzip promises is not believed. */
static sl_err inflate(struct grpc_call *c, struct slice packed, struct buf *out)
{
    struct decoder *d = c->shard->decoder;
    SL_TRY(decoder_start(d, CODEC_GZIP, packed, c->shard->door->cfg.message_bytes_max));
    for (;;) {
        size_t n = 0;
        SL_TRY(buf_reserve(out, SL_MIN((size_t)GZIP_STEP, out->max - out->len)));
        if (out->cap == out->len)
            return SL_EFULL;
        SL_TRY(decoder_read(d, out->data + out->len, out->cap - out->len, &n));
        if (n == 0)
            return SL_OK;
        out->len += n;
    }
}

static void take_message(struct grpc_call *c, struct slice bytes);

static void take_packed(struct grpc_call *c, struct slice packed)
{
    struct buf plain;
    buf_init(&plain, c->shard->door->cfg.message_bytes_max + 1);
    sl_err err = inflate(c, packed, &plain);
    if (err == SL_OK)
        take_message(c, slice_of(plain.data ? plain.data : (const uint8_t *)"", plain.len));
    else if (err == SL_EFULL)
        grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "the message is larger than %zu bytes when inflated",
                  c->shard->door->cfg.message_bytes_max);
    else
        grpc_fail(c, GRPC_INTERNAL, "the message is not gzip");
    buf_fini(&plain);
}

static void refuse_message(struct grpc_call *c, sl_err err, const char *why)
{
    if (err == SL_EINVAL)
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "%s", why);
    else if (err == SL_EPROTO)
        grpc_fail(c, GRPC_INTERNAL, "failed to decode Protobuf message: %s", why);
    else if (err == SL_ENOMEM)
        grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "%s", no_memory);
    else
        grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "%s", why);
}

static void take_of_stream(struct grpc_call *c, struct slice bytes)
{
    const char *why = "";
    ProtobufCMessage *m = NULL;
    if (!c->scratch)
        c->scratch = grpc__arena_get(c->shard);
    sl_err err = grpc__decode(c->method->request, bytes, c->scratch, &m, &why);
    if (err != SL_OK) {
        refuse_message(c, err, why);
        return;
    }
    struct grpc_shard *s = c->shard;
    struct arena *scratch = SL_TAKE(c->scratch); /* c may be gone behind the handler */
    c->stream_ops->on_message(c, m);
    grpc__arena_put(s, scratch);
}

/* The message is whole and plain. c may be gone when this returns. */
static void take_message(struct grpc_call *c, struct slice bytes)
{
    const char *why = "";
    ProtobufCMessage *m = NULL;
    if (c->method->kind == GRPC_BIDI) {
        take_of_stream(c, bytes);
        return;
    }
    if (c->has_request) {
        grpc_fail(c, GRPC_INTERNAL, "a call of this method has one message");
        return;
    }
    sl_err err = grpc__decode(c->method->request, bytes, c->arena, &m, &why);
    if (err != SL_OK) {
        refuse_message(c, err, why);
        return;
    }
    c->request = m;
    c->has_request = true;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* False: the call has ended. */
static bool begin_message(struct grpc_call *c)
{
    size_t max = c->shard->door->cfg.message_bytes_max;
    c->in_bytes = get_be32(c->prefix + 1);
    c->prefix_len = GRPC_PREFIX_BYTES;
    if (c->prefix[0] > 1)
        grpc_fail(c, GRPC_INTERNAL, "a message has flags that are not known");
    else if (c->prefix[0] == 1 && !c->gzip_in)
        grpc_fail(c, GRPC_INTERNAL, "a message is compressed and grpc-encoding does not say how");
    else if (c->in_bytes > max)
        grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "payload too large: %u bytes (max %zu bytes)",
                  c->in_bytes, c->shard->door->cfg.payload_bytes_max);
    else
        return true;
    return false;
}

static bool take_prefix(struct grpc_call *c, struct slice *data)
{
    size_t n = SL_MIN(data->len, (size_t)(GRPC_PREFIX_BYTES - c->prefix_len));
    if (n > 0)
        memcpy(c->prefix + c->prefix_len, data->data, n);
    c->prefix_len = (uint8_t)(c->prefix_len + n);
    *data = slice_sub(*data, n, data->len - n);
    return c->prefix_len == GRPC_PREFIX_BYTES;
}

/* The message that begins here, when it is whole: from the input, or where it was gathered. */
static bool whole_message(struct grpc_call *c, struct slice *data, struct slice *ret, bool *ret_ok)
{
    *ret_ok = true;
    if (c->in_len == 0 && data->len >= c->in_bytes) {
        *ret = slice_sub(*data, 0, c->in_bytes);
        *data = slice_sub(*data, c->in_bytes, data->len - c->in_bytes);
        return true;
    }
    size_t n = SL_MIN(data->len, c->in_bytes - c->in_len);
    *ret_ok = append_input(c, slice_sub(*data, 0, n));
    if (!*ret_ok)
        return false;
    *data = slice_sub(*data, n, data->len - n);
    *ret = slice_of(c->in, c->in_len);
    return c->in_len == c->in_bytes;
}

/* What the message was gathered in goes when it has been looked at. */
static void take_any_message(struct grpc_call *c, struct slice message)
{
    struct grpc_shard *s = c->shard;
    uint8_t *gathered = SL_TAKE(c->in);
    size_t cap = c->in_cap;
    c->in_len = c->in_cap = 0;
    c->prefix_len = 0;
    if (c->prefix[0] == 1)
        take_packed(c, message);
    else
        take_message(c, message);
    s->budget.used -= cap;
    sl_free(gathered);
}

void grpc__receive(struct grpc_call *c, struct slice data)
{
    bool gone = false; /* a handler may end the call while there is more to look at */
    SL_ASSERT(!c->gone);
    c->gone = &gone;
    while (!gone && !c->answered) {
        struct slice message;
        bool ok = true;
        if (c->prefix_len < GRPC_PREFIX_BYTES && (!take_prefix(c, &data) || !begin_message(c)))
            break;
        if (!whole_message(c, &data, &message, &ok)) {
            if (!ok)
                grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "%s", no_memory);
            break;
        }
        take_any_message(c, message);
    }
    if (!gone)
        c->gone = NULL;
}

void grpc__end_of_input(struct grpc_call *c)
{
    if (c->answered)
        return;
    c->half_closed = true;
    if (c->prefix_len > 0) {
        grpc_fail(c, GRPC_INTERNAL, "the stream ended inside of a message");
    } else if (c->method->kind == GRPC_BIDI) {
        c->stream_ops->on_half_close(c);
    } else if (!c->has_request) {
        grpc_fail(c, GRPC_INTERNAL, "the call ended without a message");
    } else {
        c->started = true;
        c->method->handle(c);
    }
}
