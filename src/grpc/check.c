#include "base/reader.h"
#include "grpc/grpc_int.h"

enum { DEPTH_MAX = 64, UNKNOWN_MAX = 1000, VARINT_BYTES_MAX = 10 };

/* Wire types of protobuf. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct check {
    struct reader in;
    uint32_t fields, unknown;
    sl_err err;
    const char *why;
};

static sl_err refuse(struct check *k, sl_err err, const char *why)
{
    if (k->err == SL_OK) {
        k->err = err;
        k->why = why;
    }
    return k->err;
}

/* One sequence of UTF-8: its length, 0 when it is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    size_t n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    bool too_long = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xF0 && p[1] < 0x90);
    bool surrogate = p[0] == 0xED && p[1] > 0x9F, too_high = p[0] == 0xF4 && p[1] > 0x8F;
    return too_long || surrogate || too_high ? 0 : n;
}

bool grpc_is_utf8(struct slice text)
{
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_sequence(text.data + i, text.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

char *grpc_text(struct grpc_call *c, struct slice text)
{
    char *copy = arena_strndup(c->arena, text.len ? (const void *)text.data : "", text.len);
    if (!copy)
        return NULL;
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_sequence((const uint8_t *)copy + i, text.len - i);
        if (n == 0 || copy[i] == '\0')
            copy[i] = '?';
        i += n ? n : 1;
    }
    return copy;
}

static uint64_t read_uint(struct check *k)
{
    uint64_t v = read_uvarint64(&k->in);
    if (!reader_ok(&k->in))
        (void)refuse(k, SL_EPROTO, "a number is cut short or longer than ten bytes");
    return v;
}

static sl_err check_message(struct check *k, const ProtobufCMessageDescriptor *d, size_t end,
                            int depth);

static sl_err check_bytes(struct check *k, const ProtobufCFieldDescriptor *f, size_t end, int depth)
{
    uint64_t len = read_uint(k);
    if (k->err != SL_OK)
        return k->err;
    if (k->in.pos > end || len > end - k->in.pos) /* the length itself may cross the end */
        return refuse(k, SL_EPROTO, "a length points behind the end");
    struct slice body = slice_of(k->in.data + k->in.pos, (size_t)len);
    if (f && f->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(k, f->descriptor, k->in.pos + (size_t)len, depth + 1);
    if (f && f->type == PROTOBUF_C_TYPE_STRING && !grpc_is_utf8(body))
        return refuse(k, SL_EPROTO, "a string is not UTF-8");
    if (f && f->type == PROTOBUF_C_TYPE_STRING && len > 0 && memchr(body.data, 0, body.len))
        return refuse(k, SL_EINVAL, "a string has a NUL byte: such values go into headers");
    read_skip(&k->in, (size_t)len);
    return SL_OK;
}

static sl_err check_field(struct check *k, const ProtobufCMessageDescriptor *d, size_t end,
                          int depth)
{
    uint64_t key = read_uint(k);
    if (k->err != SL_OK)
        return k->err;
    if (key >> 3 == 0 || key > UINT32_MAX)
        return refuse(k, SL_EPROTO, "a field has a number that is none");
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(d, (unsigned)(key >> 3));
    if (++k->fields > GRPC_FIELDS_MAX || (!f && ++k->unknown > UNKNOWN_MAX))
        return refuse(k, SL_ELIMIT, "the message has too many fields");
    switch (key & 7) {
    case WIRE_VARINT:
        (void)read_uint(k);
        return k->err;
    case WIRE_BYTES:
        return check_bytes(k, f, end, depth);
    case WIRE_64:
    case WIRE_32:
        read_skip(&k->in, (key & 7) == WIRE_64 ? 8 : 4);
        return reader_ok(&k->in) && k->in.pos <= end ? SL_OK
                                                     : refuse(k, SL_EPROTO, "a field is cut short");
    default:
        return refuse(k, SL_EPROTO, "a field has a wire type that is not supported");
    }
}

static sl_err check_message(struct check *k, const ProtobufCMessageDescriptor *d, size_t end,
                            int depth)
{
    if (depth > DEPTH_MAX)
        return refuse(k, SL_EPROTO, "the message is nested too deeply");
    while (k->in.pos < end)
        SL_TRY(check_field(k, d, end, depth));
    return k->in.pos == end ? SL_OK
                            : refuse(k, SL_EPROTO, "a field crosses the end of its message");
}

sl_err grpc__check(const ProtobufCMessageDescriptor *d, struct slice bytes, const char **ret_why)
{
    struct check k = {.in = reader_over(bytes, NULL, 0)};
    sl_err err = check_message(&k, d, bytes.len, 0);
    if (err != SL_OK)
        *ret_why = k.why;
    return err;
}

static void *alloc_from_arena(void *arena, size_t size)
{
    return arena_alloc(arena, 1, size ? size : 1);
}

static void free_nothing(void *arena, void *p)
{
}

sl_err grpc__decode(const ProtobufCMessageDescriptor *d, struct slice bytes, struct arena *arena,
                    ProtobufCMessage **ret, const char **ret_why)
{
    ProtobufCAllocator allocator = {
        .alloc = alloc_from_arena, .free = free_nothing, .allocator_data = arena};
    SL_TRY(grpc__check(d, bytes, ret_why));
    size_t max = arena_used(arena);
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &allocator, bytes.len, bytes.data);
    if (!m) {
        *ret_why = "the bytes are no such message, or there is no memory for it";
        return arena_used(arena) - max > bytes.len * 4 ? SL_ENOMEM : SL_EPROTO;
    }
    *ret = m;
    return SL_OK;
}
