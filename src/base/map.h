/* Hash map from bytes to a pointer; keys are copied. Seeded (SipHash) against chosen collisions.
 *
 * Integer and UUID keys use the bytes of the value (map_get(m, &id, sizeof id)). Born with a
 * ceiling: map_put returns SL_EFULL beyond it. Iteration order is unspecified. One thread. */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include "base/slice.h"

struct map;

/* Sets the process-wide hash seed; called once by main, from the real or the simulated rng. */
void map_seed(uint64_t k0, uint64_t k1);

/* At most count_max entries. Never NULL. */
struct map *map_new(size_t count_max);
void map_free(struct map *m); /* accepts NULL; values are the caller's */
SL_DEFINE_AUTO(struct map *, map_free);
void *map_get(const struct map *m, const void *key, size_t len); /* NULL: absent */
/* Inserts or replaces; value may not be NULL. *ret_old (may be NULL) gets the replaced value or
 * NULL. SL_EFULL at the ceiling. */
sl_err map_put(struct map *m, const void *key, size_t len, void *value, void **ret_old);
void *map_remove(struct map *m, const void *key, size_t len); /* the value, or NULL */
size_t map_count(const struct map *m);

/* for (size_t i = 0; map_next(m, &i, &key, &value);): removing the current entry is allowed,
 * inserting is not. key may be NULL. */
bool map_next(const struct map *m, size_t *iterator, struct slice *key, void **value);

static inline void *map_get_str(const struct map *m, const char *key)
{
    return map_get(m, key, strlen(key));
}

#endif
