#include "storage/local_int.h"

#include "base/alloc.h"

struct log_part *part__new(struct local_engine *e, const struct log_part_id *id)
{
    struct log_part *p = sl_new(struct log_part);
    atomic_init(&p->refs, 1);
    atomic_init(&p->dropped, false);
    atomic_init(&p->gone, false);
    p->head.engine = &e->base;
    p->engine = e;
    p->id = *id;
    p->gen = 1;
    p->last_append_ms = -1;
    p->damaged_from = p->damaged_to = -1;
    list_init(&p->watches);
    return p;
}

struct log_part *part__ref(struct log_part *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void part__unref(struct log_part *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    SL_ASSERT(p->n_segments == 0); /* they hold references: dropped with the partition's list */
    producers__free(p->producers);
    sl_free(p->segments);
    sl_free(p->hints);
    sl_free(p->epochs);
    sl_free(p);
}

/* ---- segments ---------------------------------------------------------------------------- */

void part__push_segment(struct log_part *p, struct segment *s)
{
    if (p->n_segments == p->segments_cap) {
        p->segments_cap = p->segments_cap ? p->segments_cap * 2 : 1;
        p->segments = sl_realloc(p->segments, p->segments_cap, sizeof(struct segment *));
    }
    p->segments[p->n_segments++] = s;
}

void part__shift_segments(struct log_part *p, uint32_t n)
{
    SL_ASSERT(n <= p->n_segments);
    for (uint32_t i = 0; i < n; i++)
        segment__unref(p->segments[i]);
    p->n_segments -= n;
    if (p->n_segments > 0)
        memmove(p->segments, p->segments + n, p->n_segments * sizeof(struct segment *));
}

struct segment *part__active(const struct log_part *p)
{
    return p->n_segments ? p->segments[p->n_segments - 1] : NULL;
}

struct segment *part__segment_for(const struct log_part *p, int64_t offset)
{
    uint32_t lo = 0, hi = p->n_segments;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->segments[mid]->next_offset > offset)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo < p->n_segments ? p->segments[lo] : NULL;
}

void part__seal(struct segment *s)
{
    s->state = SEGMENT_SEALED;
    s->sealed_mono_ms = loop_now_ms(s->part->engine->env.loop);
    s->row_dirty = true;
}

int64_t part__bytes(const struct log_part *p)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->n_segments; i++)
        bytes += p->segments[i]->bytes;
    return (int64_t)bytes;
}

void part__damage(struct log_part *p, int64_t from, int64_t to)
{
    p->damaged_from = p->damaged_from < 0 ? from : SL_MIN(p->damaged_from, from);
    p->damaged_to = SL_MAX(p->damaged_to, to);
}

void part__mark_dirty(struct log_part *p)
{
    if (!list_linked(&p->dirty_node) && !atomic_load(&p->gone))
        list_push_back(&p->engine->dirty, &p->dirty_node);
}

/* ---- watches ----------------------------------------------------------------------------- */

void part__wake(struct log_part *p)
{
    if (list_empty(&p->watches))
        return;
    bool dropped = atomic_load(&p->dropped);
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &p->watches);
    struct list *node;
    while ((node = list_pop_front(&waiting))) { /* moved() may disarm others in either list */
        struct log_watch *w = SL_CONTAINER_OF(node, struct log_watch, node);
        if (dropped || p->high_watermark > w->above)
            w->moved(w);
        else
            list_push_back(&p->watches, node);
    }
}

/* ---- leader epochs ----------------------------------------------------------------------- */

void part__set_epoch(struct log_part *p, int32_t epoch, int64_t start_offset)
{
    SL_ASSERT(epoch >= p->leader_epoch);
    p->leader_epoch = epoch;
    /* Epochs in which nothing was written leave no trace. */
    while (p->n_epochs > 0 && p->epochs[p->n_epochs - 1].start_offset >= start_offset)
        p->n_epochs--;
    p->epochs = sl_realloc(p->epochs, p->n_epochs + 1, sizeof p->epochs[0]);
    p->epochs[p->n_epochs++] = (struct epoch_entry){.epoch = epoch, .start_offset = start_offset};
}

/* Epoch 0 from offset 0 is never stored. */
sl_err part__epoch_end(struct log_part *p, int32_t epoch, int32_t *ret_epoch, int64_t *ret_end)
{
    if (epoch < 0 || epoch > p->leader_epoch)
        return SL_ELEADER_UNKNOWN;
    uint32_t n = 0;
    while (n < p->n_epochs && p->epochs[n].epoch <= epoch)
        n++;
    *ret_epoch = n > 0 ? p->epochs[n - 1].epoch : 0;
    *ret_end = n < p->n_epochs ? p->epochs[n].start_offset : p->high_watermark;
    return SL_OK;
}
