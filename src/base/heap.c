#include "base/heap.h"

#include "base/alloc.h"

enum { CAP_FIRST = 16 };

void heap_init(struct heap *h)
{
    *h = (struct heap){0};
}

void heap_fini(struct heap *h)
{
    sl_free(h->nodes);
    *h = (struct heap){0};
}

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void place(struct heap *h, struct heap_node *node, size_t index)
{
    h->nodes[index] = node;
    node->index = index;
}

static void sift_up(struct heap *h, struct heap_node *node, size_t at)
{
    for (; at > 1 && before(node, h->nodes[at / 2]); at /= 2)
        place(h, h->nodes[at / 2], at);
    place(h, node, at);
}

static void sift_down(struct heap *h, struct heap_node *node, size_t at)
{
    for (size_t child; (child = at * 2) <= h->count; at = child) {
        if (child < h->count && before(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!before(h->nodes[child], node))
            break;
        place(h, h->nodes[child], at);
    }
    place(h, node, at);
}

void heap_push(struct heap *h, struct heap_node *node, int64_t key)
{
    SL_ASSERT(!heap_linked(node));
    if (h->count + 1 >= h->cap) {
        h->cap = h->cap ? h->cap * 2 : CAP_FIRST;
        h->nodes = sl_realloc(h->nodes, h->cap, sizeof(struct heap_node *));
    }
    node->key = key;
    node->order = h->next_order++;
    sift_up(h, node, ++h->count);
}

void heap_remove(struct heap *h, struct heap_node *node)
{
    size_t at = node->index;
    if (at == 0)
        return;
    SL_ASSERT(at <= h->count && h->nodes[at] == node);
    struct heap_node *last = h->nodes[h->count--];
    node->index = 0;
    if (last == node)
        return;
    if (at > 1 && before(last, h->nodes[at / 2]))
        sift_up(h, last, at);
    else
        sift_down(h, last, at);
}
