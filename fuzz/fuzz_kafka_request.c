/* Bodies of all messages in all versions, both directions.
 *
 * Input: message (uint16, modulo), version (uint8, modulo), body. Properties: what decodes encodes
 * to at most as many bytes, which decode and encode to themselves; memory stays within what the
 * bytes allow (B27). */
#include "kafka_codec/fields.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SELECTOR_BYTES = 3, OUT_BYTES_MAX = 16 << 20, ARENA_OVERHEAD = 160 << 10 };

static struct slice flat(struct kafka_out *out)
{
    uint8_t *bytes = malloc(out->bytes ? out->bytes : 1);
    size_t len = 0;
    SL_ASSERT(bytes);
    for (uint32_t i = 0; i < out->n_pieces; i++) {
        memcpy(bytes + len, out->pieces[i].data, out->pieces[i].len);
        len += out->pieces[i].len;
    }
    SL_ASSERT(len == out->bytes);
    return slice_of(bytes, len);
}

static struct slice encode(const struct kafka_message *message, int16_t version, const void *msg)
{
    struct kafka_out out;
    kafka_out_init(&out, OUT_BYTES_MAX);
    message->encode(&out, version, msg);
    SL_ASSERT(kafka_out_finish(&out) == SL_OK);
    struct slice bytes = flat(&out);
    kafka_out_fini(&out);
    return bytes;
}

/* The encoded form of what the bytes decode to; data NULL: they do not. */
static struct slice reencode(const struct kafka_message *message, int16_t version,
                             struct slice bytes)
{
    struct budget budget = {.max = SIZE_MAX};
    SL_AUTO(arena_free) struct arena *arena = arena_new(&budget);
    struct reader in = reader_over(bytes, arena, kafka_alloc_max(bytes.len));
    void *msg = arena_alloc(arena, 1, message->size);
    message->decode(&in, version, msg);
    SL_ASSERT(budget.used <= 8 * bytes.len + ARENA_OVERHEAD);
    if (reader_finish(&in) != SL_OK)
        return (struct slice){0};
    return encode(message, version, msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SELECTOR_BYTES)
        return 0;
    size_t which = (size_t)(data[0] << 8 | data[1]) % kafka_n_message_infos;
    const struct kafka_message *message = kafka_message_infos[which].message;
    int versions = message->last_version - message->first_version + 1;
    int16_t version = (int16_t)(message->first_version + data[2] % versions);
    struct slice body = slice_of(data + SELECTOR_BYTES, size - SELECTOR_BYTES);
    struct slice once = reencode(message, version, body);
    if (!once.data)
        return 0;
    SL_ASSERT(once.len <= body.len);
    struct slice twice = reencode(message, version, once);
    SL_ASSERT(twice.data);
    SL_ASSERT(slice_eq(once, twice));
    free((void *)once.data);
    free((void *)twice.data);
    return 0;
}
