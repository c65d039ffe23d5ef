#include "base/map.h"

#include "base/alloc.h"
#include "base/byteorder.h"

/* Entries hang in chains from the buckets for look-up, and stand in a dense array for iteration:
 * it runs from the end, so that a removal, which moves the last entry into the hole, only moves
 * entries that were seen already. */
struct entry {
    struct entry *next; /* in the chain */
    void *value;
    uint64_t hash;
    uint32_t index; /* in the dense array */
    uint32_t len;
    uint8_t key[];
};

struct map {
    struct entry **buckets, **entries;
    size_t n_buckets; /* a power of two; entries has as many places */
    size_t count, count_max;
};

enum { BUCKETS_FIRST = 8 };

static uint64_t seed_k0, seed_k1;

void map_seed(uint64_t k0, uint64_t k1)
{
    seed_k0 = k0;
    seed_k1 = k1;
}

/* ---- SipHash-1-3 --------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t v, int bits)
{
    return (v << bits) | (v >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static uint64_t siphash13(const uint8_t *p, size_t len)
{
    uint64_t v[4] = {seed_k0 ^ 0x736f6d6570736575u, seed_k1 ^ 0x646f72616e646f6du,
                     seed_k0 ^ 0x6c7967656e657261u, seed_k1 ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)len << 56;
    for (; len >= 8; p += 8, len -= 8)
        sip_word(v, get_le64(p));
    for (size_t i = 0; i < len; i++)
        last |= (uint64_t)p[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the map ------------------------------------------------------------------------------- */

struct map *map_new(size_t count_max)
{
    struct map *m = sl_new(struct map);
    m->count_max = SL_MIN(count_max, (size_t)UINT32_MAX);
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++)
        sl_free(m->entries[i]);
    sl_free(m->entries);
    sl_free(m->buckets);
    sl_free(m);
}

/* The link that points to the entry of this key, or the NULL at the end of its chain. */
static struct entry **find(const struct map *m, uint64_t hash, const void *key, size_t len)
{
    struct entry **link = &m->buckets[hash & (m->n_buckets - 1)];
    while (*link) {
        const struct entry *e = *link;
        if (e->hash == hash && e->len == len && (len == 0 || memcmp(e->key, key, len) == 0))
            break;
        link = &(*link)->next;
    }
    return link;
}

void *map_get(const struct map *m, const void *key, size_t len)
{
    if (m->count == 0)
        return NULL;
    const struct entry *e = *find(m, siphash13(key, len), key, len);
    return e ? e->value : NULL;
}

static void grow(struct map *m)
{
    size_t n = m->n_buckets ? m->n_buckets * 2 : BUCKETS_FIRST;
    sl_free(m->buckets);
    m->buckets = sl_new_array(struct entry *, n);
    m->entries = sl_realloc(m->entries, n, sizeof(struct entry *));
    m->n_buckets = n;
    for (size_t i = 0; i < m->count; i++) {
        struct entry *e = m->entries[i];
        struct entry **head = &m->buckets[e->hash & (n - 1)];
        e->next = *head;
        *head = e;
    }
}

static void insert(struct map *m, uint64_t hash, const void *key, size_t len, void *value)
{
    if (m->count == m->n_buckets)
        grow(m);
    struct entry *e = sl_alloc(1, sizeof *e + len);
    e->value = value;
    e->hash = hash;
    e->index = (uint32_t)m->count;
    e->len = (uint32_t)len;
    if (len)
        memcpy(e->key, key, len);
    struct entry **head = &m->buckets[hash & (m->n_buckets - 1)];
    e->next = *head;
    *head = e;
    m->entries[m->count++] = e;
}

sl_err map_put(struct map *m, const void *key, size_t len, void *value, void **ret_old)
{
    SL_ASSERT(value);
    SL_ASSERT(len <= UINT32_MAX);
    uint64_t hash = siphash13(key, len);
    struct entry *e = m->count ? *find(m, hash, key, len) : NULL;
    if (!e && m->count == m->count_max)
        return SL_EFULL;
    if (ret_old)
        *ret_old = e ? e->value : NULL;
    if (e)
        e->value = value;
    else
        insert(m, hash, key, len, value);
    return SL_OK;
}

void *map_remove(struct map *m, const void *key, size_t len)
{
    if (m->count == 0)
        return NULL;
    struct entry **link = find(m, siphash13(key, len), key, len);
    struct entry *e = *link;
    if (!e)
        return NULL;
    *link = e->next;
    struct entry *last = m->entries[--m->count];
    m->entries[e->index] = last;
    last->index = e->index;
    void *value = e->value;
    sl_free(e);
    return value;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

/* *iterator is one more than the index of the entry returned last; 0 at the start. */
bool map_next(const struct map *m, size_t *iterator, struct slice *key, void **value)
{
    size_t left = *iterator ? *iterator - 1 : m->count;
    if (left == 0)
        return false;
    const struct entry *e = m->entries[left - 1];
    *iterator = left;
    if (key)
        *key = slice_of(e->key, e->len);
    *value = e->value;
    return true;
}
