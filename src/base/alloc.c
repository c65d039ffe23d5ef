#include "base/alloc.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_ulong fail_countdown;

static _Noreturn void stop_out_of_memory(size_t count, size_t size)
{
    (void)fprintf(stderr, "sluice: out of memory (%zu x %zu bytes)\n", count, size);
    abort();
}

static bool fails_now(void)
{
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0)
        return false;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

void *sl_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p)
        stop_out_of_memory(count, size);
    return p;
}

void *sl_try_alloc(size_t count, size_t size)
{
    if (fails_now())
        return NULL;
    return calloc(count ? count : 1, size);
}

void *sl_realloc(void *p, size_t count, size_t size)
{
    void *q = reallocarray(p, count ? count : 1, size);
    if (!q)
        stop_out_of_memory(count, size);
    return q;
}

char *sl_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(sl_alloc(n, 1), text, n);
}

void sl_free(void *p)
{
    free(p);
}

bool sl_alloc_trim(size_t kept_max)
{
    return mallinfo2().fordblks > kept_max && malloc_trim(0) != 0;
}

void sl_alloc_fail_at(unsigned long n)
{
    atomic_store(&fail_countdown, n);
}
