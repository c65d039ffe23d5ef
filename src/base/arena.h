/* A request's memory: many small allocations, freed in one call, charged to a budget.
 *
 * Chunks double from 4 KiB to 64 KiB; pieces above half a chunk stand alone. One thread at a time.
 */
#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H

#include "base/err.h"

/* Bytes that may be in use at once; shared by the arenas of a connection. */
struct budget {
    size_t used, max;
};

struct arena;

/* The budget may be NULL (unlimited) and must outlive the arena. Never NULL. */
struct arena *arena_new(struct budget *budget);
/* Zeroed, aligned to 16. NULL when the budget or the memory is exhausted. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
/* NUL-terminated copy of len bytes; NULL as above. */
char *arena_strndup(struct arena *a, const void *text, size_t len);
size_t arena_used(const struct arena *a); /* bytes charged so far */
void arena_reset(struct arena *a);        /* everything allocated is gone; keeps one chunk */
void arena_free(struct arena *a);         /* accepts NULL */
SL_DEFINE_AUTO(struct arena *, arena_free);

#endif
