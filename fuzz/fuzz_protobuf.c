/* Requests of every method: what passes the check decodes or has no memory, within the budget, and
 * what was decoded packs into bytes that decode to the same.
 *
 * Input: which method (uint8), then the message. */
#include "grpc/grpc_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUDGET_BYTES = 4 << 20 };

static uint8_t *pack(const ProtobufCMessage *m, size_t *ret_len)
{
    *ret_len = protobuf_c_message_get_packed_size(m);
    uint8_t *p = malloc(*ret_len + 1);
    SL_ASSERT(p);
    size_t n = protobuf_c_message_pack(m, p);
    SL_ASSERT(n == *ret_len);
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct budget budget = {.max = BUDGET_BYTES};
    const char *why = NULL;
    ProtobufCMessage *m = NULL, *again = NULL;
    if (size < 1)
        return 0;
    const ProtobufCMessageDescriptor *d = grpc__methods[data[0] % grpc__n_methods].request;
    struct arena *arena = arena_new(&budget);
    if (grpc__decode(d, slice_of(data + 1, size - 1), arena, &m, &why) == SL_OK) {
        size_t len, len_again;
        uint8_t *bytes = pack(m, &len);
        sl_err err = grpc__decode(d, slice_of(bytes, len), arena, &again, &why);
        SL_ASSERT(err == SL_OK || err == SL_ENOMEM || budget.used > BUDGET_BYTES / 2);
        if (err == SL_OK) {
            uint8_t *bytes_again = pack(again, &len_again);
            SL_ASSERT(len == len_again);
            SL_ASSERT(memcmp(bytes, bytes_again, len) == 0);
            free(bytes_again);
        }
        free(bytes);
    } else {
        SL_ASSERT(why);
    }
    SL_ASSERT(budget.used <= budget.max);
    arena_free(arena);
    return 0;
}
