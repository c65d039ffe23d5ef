#include "base/slice.h"

#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>

struct block {
    atomic_uint refs;
    size_t size;
    void (*on_free)(void *arg);
    void *on_free_arg;
    _Alignas(16) uint8_t bytes[];
};

struct block *block_new(size_t size)
{
    /* Not zeroed: every byte is written by the socket or the file before anybody reads it. */
    if (size > SIZE_MAX - sizeof(struct block))
        return NULL;
    struct block *b = malloc(sizeof *b + size);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->size = size;
    b->on_free = NULL;
    b->on_free_arg = NULL;
    return b;
}

struct block *block_ref(struct block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void block_unref(struct block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (b->on_free)
        b->on_free(b->on_free_arg);
    free(b);
}

uint8_t *block_data(struct block *b)
{
    return b->bytes;
}

size_t block_size(const struct block *b)
{
    return b->size;
}

void block_on_free(struct block *b, void (*fn)(void *arg), void *arg)
{
    b->on_free = fn;
    b->on_free_arg = arg;
}

struct slice slice_of_block(struct block *b, size_t pos, size_t len)
{
    SL_ASSERT(pos <= b->size);
    SL_ASSERT(len <= b->size - pos);
    return (struct slice){.data = b->bytes + pos, .len = len, .block = block_ref(b)};
}

struct slice slice_ref(struct slice s, size_t pos, size_t len)
{
    struct slice part = slice_sub(s, pos, len);
    if (s.block)
        part.block = block_ref(s.block);
    return part;
}

struct slice slice_copy(const void *data, size_t len)
{
    struct block *b = block_new(len);
    if (!b)
        return (struct slice){0};
    if (len)
        memcpy(b->bytes, data, len);
    return (struct slice){.data = b->bytes, .len = len, .block = b};
}

void slice_unref(struct slice *s)
{
    block_unref(s->block);
    *s = (struct slice){0};
}
