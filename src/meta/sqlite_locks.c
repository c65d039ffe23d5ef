#include "meta/sqlite_locks.h"

#include "base/alloc.h"

#include <string.h>

enum { REGIONS_MAX = 64 };

struct sqlite_locks {
    struct list node;
    char *path;
    unsigned refs;
    unsigned n_shared;                                /* connections that may read the file */
    const struct sqlite_holder *reserved, *exclusive; /* who may write; who is alone */
    unsigned slot_shared[SQLITE_SHM_NLOCK];
    const struct sqlite_holder *slot_exclusive[SQLITE_SHM_NLOCK];
    void *regions[REGIONS_MAX];
};

/* ---- life -------------------------------------------------------------------------------- */

static struct sqlite_locks *find(struct list *files, const char *path)
{
    LIST_FOREACH (node, files) {
        struct sqlite_locks *l = SL_CONTAINER_OF(node, struct sqlite_locks, node);
        if (strcmp(l->path, path) == 0)
            return l;
    }
    struct sqlite_locks *l = sl_new(struct sqlite_locks);
    l->path = sl_strdup(path);
    list_push_back(files, &l->node);
    return l;
}

void sqlite_locks_join(struct list *files, const char *path, struct sqlite_holder *h)
{
    SL_ASSERT(!h->locks);
    h->locks = find(files, path);
    h->locks->refs++;
}

static void free_regions(struct sqlite_locks *l)
{
    for (int i = 0; i < REGIONS_MAX; i++) {
        sl_free(l->regions[i]);
        l->regions[i] = NULL;
    }
}

static void give_back_slots(struct sqlite_holder *h)
{
    for (int i = 0; i < SQLITE_SHM_NLOCK; i++) {
        if (h->shm_shared >> i & 1)
            h->locks->slot_shared[i]--;
        if (h->shm_exclusive >> i & 1)
            h->locks->slot_exclusive[i] = NULL;
    }
    h->shm_shared = h->shm_exclusive = 0;
}

void sqlite_locks_leave(struct sqlite_holder *h)
{
    struct sqlite_locks *l = h->locks;
    if (!l)
        return;
    give_back_slots(h);
    (void)sqlite_locks_unlock(h, SQLITE_LOCK_NONE);
    h->locks = NULL;
    SL_ASSERT(l->refs > 0);
    if (--l->refs > 0)
        return;
    list_remove(&l->node);
    free_regions(l);
    sl_free(l->path);
    sl_free(l);
}

/* ---- the file ---------------------------------------------------------------------------- */

static bool is_others(const struct sqlite_holder *owner, const struct sqlite_holder *h)
{
    return owner && owner != h;
}

int sqlite_locks_lock(struct sqlite_holder *h, int level)
{
    struct sqlite_locks *l = h->locks;
    if (h->level >= level)
        return SQLITE_OK;
    if (is_others(l->exclusive, h) || (level > SQLITE_LOCK_SHARED && is_others(l->reserved, h)))
        return SQLITE_BUSY;
    if (h->level == SQLITE_LOCK_NONE)
        l->n_shared++;
    h->level = SQLITE_LOCK_SHARED;
    if (level >= SQLITE_LOCK_RESERVED)
        l->reserved = h;
    if (level == SQLITE_LOCK_EXCLUSIVE && l->n_shared > 1)
        return SQLITE_BUSY;
    if (level == SQLITE_LOCK_EXCLUSIVE)
        l->exclusive = h;
    h->level = level;
    return SQLITE_OK;
}

int sqlite_locks_unlock(struct sqlite_holder *h, int level)
{
    struct sqlite_locks *l = h->locks;
    SL_ASSERT(level <= SQLITE_LOCK_SHARED);
    if (l->reserved == h)
        l->reserved = NULL;
    if (l->exclusive == h)
        l->exclusive = NULL;
    if (level == SQLITE_LOCK_NONE && h->level > SQLITE_LOCK_NONE)
        l->n_shared--;
    h->level = SL_MIN(h->level, level);
    return SQLITE_OK;
}

bool sqlite_locks_reserved(const struct sqlite_holder *h)
{
    return h->locks->reserved != NULL;
}

/* ---- shared memory ----------------------------------------------------------------------- */

int sqlite_locks_shm_map(struct sqlite_holder *h, int region, int bytes, int extend,
                         void volatile **ret)
{
    struct sqlite_locks *l = h->locks;
    *ret = NULL;
    if (region < 0 || region >= REGIONS_MAX)
        return SQLITE_IOERR_SHMSIZE;
    if (!l->regions[region] && extend)
        l->regions[region] = sl_alloc(1, (size_t)bytes);
    *ret = l->regions[region];
    return SQLITE_OK;
}

static bool slots_are_free(const struct sqlite_holder *h, int first, int n, bool exclusive)
{
    const struct sqlite_locks *l = h->locks;
    for (int i = first; i < first + n; i++) {
        unsigned mine = h->shm_shared >> i & 1;
        if (is_others(l->slot_exclusive[i], h) || (exclusive && l->slot_shared[i] > mine))
            return false;
    }
    return true;
}

static void take_slots(struct sqlite_holder *h, int first, int n, bool exclusive)
{
    for (int i = first; i < first + n; i++) {
        unsigned bit = 1U << i;
        if (exclusive) {
            h->locks->slot_exclusive[i] = h;
            h->shm_exclusive |= bit;
        } else if (!(h->shm_shared & bit)) {
            h->locks->slot_shared[i]++;
            h->shm_shared |= bit;
        }
    }
}

static void free_slots(struct sqlite_holder *h, int first, int n)
{
    for (int i = first; i < first + n; i++) {
        unsigned bit = 1U << i;
        if (h->shm_exclusive & bit)
            h->locks->slot_exclusive[i] = NULL;
        if (h->shm_shared & bit)
            h->locks->slot_shared[i]--;
        h->shm_exclusive &= ~bit;
        h->shm_shared &= ~bit;
    }
}

int sqlite_locks_shm_lock(struct sqlite_holder *h, int first, int n, int flags)
{
    bool exclusive = (flags & SQLITE_SHM_EXCLUSIVE) != 0;
    SL_ASSERT(first >= 0 && n > 0 && first + n <= SQLITE_SHM_NLOCK);
    if (flags & SQLITE_SHM_UNLOCK) {
        free_slots(h, first, n);
        return SQLITE_OK;
    }
    if (!slots_are_free(h, first, n, exclusive))
        return SQLITE_BUSY;
    take_slots(h, first, n, exclusive);
    return SQLITE_OK;
}

void sqlite_locks_shm_unmap(struct sqlite_holder *h, int remove)
{
    give_back_slots(h);
    if (remove)
        free_regions(h->locks);
}
