#include "storage/page_window_int.h"

#include "base/alloc.h"
#include "base/err.h"

/* A ring of ranges, oldest at `first`. */
struct page_window {
    struct page_range *ring;
    size_t first, count, cap; /* cap: a power of two */
    uint64_t bytes, keep_bytes;
};

enum { FIRST_CAP = 64 };

struct page_window *page_window__new(uint64_t keep_bytes)
{
    struct page_window *w = sl_new(struct page_window);
    w->keep_bytes = keep_bytes;
    w->cap = FIRST_CAP;
    w->ring = sl_alloc(w->cap, sizeof w->ring[0]);
    return w;
}

void page_window__free(struct page_window *w)
{
    if (!w)
        return;
    sl_free(w->ring);
    sl_free(w);
}

static struct page_range *at(const struct page_window *w, size_t i)
{
    SL_ASSERT(i < w->cap);
    return &w->ring[(w->first + i) & (w->cap - 1)];
}

static void grow(struct page_window *w)
{
    struct page_range *ring = sl_alloc(w->cap * 2, sizeof ring[0]);
    for (size_t i = 0; i < w->count; i++)
        ring[i] = *at(w, i);
    sl_free(w->ring);
    w->ring = ring;
    w->first = 0;
    w->cap *= 2;
}

void page_window__add(struct page_window *w, struct page_range range)
{
    SL_ASSERT(range.from < range.to);
    if (w->count == w->cap)
        grow(w);
    *at(w, w->count++) = range;
    w->bytes += range.to - range.from;
}

bool page_window__next_out(struct page_window *w, struct page_range *ret)
{
    if (w->bytes <= w->keep_bytes)
        return false;
    SL_ASSERT(w->count > 0);
    *ret = *at(w, 0);
    w->first = (w->first + 1) & (w->cap - 1);
    w->count--;
    w->bytes -= ret->to - ret->from;
    return true;
}

void page_window__forget(struct page_window *w, const struct cached_file *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct page_range r = *at(w, i);
        if (r.file == f)
            w->bytes -= r.to - r.from;
        else
            *at(w, kept++) = r;
    }
    w->count = kept;
}
