/* What fetched data takes while it is on its way: from the read until the last byte is with the
 * socket, on whichever thread that happens. A response may take an eighth of what is left, so a few
 * slow readers cannot pin everything, and the first batch comes in any case: all make progress. */
#include "base/alloc.h"
#include "broker/fetch_int.h"

#include <stdatomic.h>

enum { FETCH_MEMORY_BYTES_MAX = 64 << 20, SHARE_OF_A_RESPONSE = 8 };

struct fetch_memory {
    atomic_size_t used;
    atomic_uint refs; /* the core's, and one for each block: blocks may outlive the core */
};

struct charge {
    struct fetch_memory *memory;
    size_t bytes;
};

struct fetch_memory *fetch__memory_new(void)
{
    struct fetch_memory *m = sl_new(struct fetch_memory);
    atomic_init(&m->used, 0);
    atomic_init(&m->refs, 1);
    return m;
}

void fetch__memory_unref(struct fetch_memory *m)
{
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        sl_free(m);
}

static void on_block_freed(void *arg)
{
    struct charge *c = arg;
    size_t before = atomic_fetch_sub_explicit(&c->memory->used, c->bytes, memory_order_relaxed);
    SL_ASSERT(before >= c->bytes);
    fetch__memory_unref(c->memory);
    sl_free(c);
}

void fetch__memory_charge(struct fetch_memory *m, struct slice data)
{
    if (!data.block)
        return;
    struct charge *c = sl_new(struct charge);
    c->memory = m;
    c->bytes = block_size(data.block);
    atomic_fetch_add_explicit(&m->used, c->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    block_on_free(data.block, on_block_freed, c);
}

size_t fetch__memory_used(const struct fetch_memory *m)
{
    return atomic_load_explicit(&m->used, memory_order_relaxed);
}

uint64_t fetch__memory_share(const struct fetch_memory *m)
{
    size_t used = fetch__memory_used(m);
    return used < FETCH_MEMORY_BYTES_MAX ? (FETCH_MEMORY_BYTES_MAX - used) / SHARE_OF_A_RESPONSE
                                         : 0;
}
