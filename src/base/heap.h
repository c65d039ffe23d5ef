/* Intrusive min-heap by an integer key; equal keys leave in the order they came. One thread.
 *
 * The node lives in the element; the heap owns only its array of pointers, which grows with the
 * number of elements (bounded by whoever owns them). */
#ifndef SLUICE_BASE_HEAP_H
#define SLUICE_BASE_HEAP_H

#include "base/err.h"

struct heap_node {
    int64_t key;
    uint64_t order;
    size_t index; /* 0: in no heap */
};

struct heap {
    struct heap_node **nodes; /* from 1 */
    size_t count, cap;
    uint64_t next_order;
};

void heap_init(struct heap *h);
void heap_fini(struct heap *h); /* the elements are the caller's */
void heap_push(struct heap *h, struct heap_node *node, int64_t key);
void heap_remove(struct heap *h, struct heap_node *node); /* accepts one that is not in it */
static inline struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->nodes[1] : NULL;
}
static inline bool heap_linked(const struct heap_node *node)
{
    return node->index != 0;
}

#endif
