#include "base/arena.h"

#include "base/alloc.h"

#include <string.h>

enum { CHUNK_FIRST = 4096, CHUNK_LAST = 65536, ALIGNMENT = 16 };

struct chunk {
    struct chunk *next;
    size_t size, used;
    _Alignas(16) uint8_t bytes[];
};

struct arena {
    struct budget *budget;
    struct chunk *chunks; /* the head is the one that small pieces come from */
    size_t next_size, charged;
};

struct arena *arena_new(struct budget *budget)
{
    struct arena *a = sl_new(struct arena);
    a->budget = budget;
    a->next_size = CHUNK_FIRST;
    return a;
}

static bool charge(struct arena *a, size_t bytes)
{
    if (a->budget) {
        if (a->budget->used > a->budget->max || bytes > a->budget->max - a->budget->used)
            return false;
        a->budget->used += bytes;
    }
    a->charged += bytes;
    return true;
}

static void uncharge(struct arena *a, size_t bytes)
{
    if (a->budget)
        a->budget->used -= bytes;
    a->charged -= bytes;
}

static struct chunk *chunk_new(struct arena *a, size_t size)
{
    if (!charge(a, size + sizeof(struct chunk)))
        return NULL;
    struct chunk *c = sl_try_alloc(1, sizeof *c + size);
    if (!c) {
        uncharge(a, size + sizeof *c);
        return NULL;
    }
    c->size = size;
    return c;
}

static void chunk_free(struct arena *a, struct chunk *c)
{
    uncharge(a, c->size + sizeof *c);
    sl_free(c);
}

/* Large pieces go behind the head, so that the head's free space stays in use. */
static void *alloc_large(struct arena *a, size_t bytes)
{
    struct chunk *c = chunk_new(a, bytes);
    if (!c)
        return NULL;
    c->used = bytes;
    if (a->chunks) {
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        a->chunks = c;
    }
    return c->bytes;
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    struct chunk *head = a->chunks;
    if (!head || bytes > head->size - head->used) {
        if (bytes > a->next_size / 2)
            return alloc_large(a, bytes);
        head = chunk_new(a, a->next_size);
        if (!head)
            return NULL;
        if (a->next_size < CHUNK_LAST)
            a->next_size *= 2;
        head->next = a->chunks;
        a->chunks = head;
    }
    void *p = head->bytes + head->used;
    head->used += bytes;
    return p;
}

char *arena_strndup(struct arena *a, const void *text, size_t len)
{
    char *copy = arena_alloc(a, len + 1, 1);
    if (copy && len)
        memcpy(copy, text, len);
    return copy;
}

size_t arena_used(const struct arena *a)
{
    return a->charged;
}

static void free_chunks(struct arena *a, struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;
        chunk_free(a, c);
        c = next;
    }
}

void arena_reset(struct arena *a)
{
    struct chunk *keep = a->chunks;
    if (!keep || keep->size > CHUNK_LAST) {
        free_chunks(a, keep);
        a->chunks = NULL;
        return;
    }
    free_chunks(a, keep->next);
    keep->next = NULL;
    memset(keep->bytes, 0, keep->used);
    keep->used = 0;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    free_chunks(a, a->chunks);
    sl_free(a);
}
