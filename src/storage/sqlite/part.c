#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"

#include <assert.h>

/* ---- topics ------------------------------------------------------------------------------ */

struct sqlog_topic *sqlog__topic(struct sqlog *e, const struct uuid *id)
{
    struct sqlog_topic *t = map_get(e->topics, id->bytes, sizeof id->bytes);
    if (t)
        return t;
    t = sl_new(struct sqlog_topic);
    t->engine = e;
    t->id = *id;
    t->refs = 1;
    list_init(&t->parts);
    SL_ASSERT(map_put(e->topics, id->bytes, sizeof id->bytes, t, NULL) == SL_OK);
    return t;
}

void sqlog__topic_unref(struct sqlog_topic *t)
{
    SL_ASSERT(t->refs > 0);
    if (--t->refs > 0)
        return;
    SL_ASSERT(list_empty(&t->parts));
    sl_free(t);
}

/* ---- partitions -------------------------------------------------------------------------- */

struct part_key {
    struct uuid topic_id;
    int32_t index;
};
static_assert(sizeof(struct part_key) == 20, "no byte of it is padding");

static struct part_key key_of(const struct sqlog_part *p)
{
    return (struct part_key){p->id.topic_id, p->id.index};
}

static struct sqlog_part *part_new(struct sqlog_topic *t, int32_t index)
{
    struct sqlog_part *p = sl_new(struct sqlog_part);
    p->head.engine = &t->engine->base;
    p->engine = t->engine;
    p->topic = t;
    t->refs++;
    p->id = (struct log_part_id){.topic_id = t->id, .index = index};
    p->refs = 1;
    p->gen = 1;
    p->last_append_ms = -1;
    p->row.last_append_ms = -1;
    p->row.max_at = INT64_MIN;
    p->kept = p->row;
    atomic_init(&p->dropped, t->dropped);
    list_init(&p->watches);
    list_push_back(&t->parts, &p->topic_node);
    struct part_key key = key_of(p);
    SL_ASSERT(map_put(t->engine->parts, &key, sizeof key, p, NULL) == SL_OK);
    return p;
}

struct sqlog_part *sqlog__part_of(struct sqlog_topic *t, int32_t index)
{
    const struct part_key key = {t->id, index};
    struct sqlog_part *p = map_get(t->engine->parts, &key, sizeof key);
    return p ? p : part_new(t, index);
}

struct sqlog_part *sqlog__part_ref(struct sqlog_part *p)
{
    p->refs++;
    return p;
}

void sqlog__part_unref(struct sqlog_part *p)
{
    if (!p)
        return;
    SL_ASSERT(p->refs > 0);
    if (--p->refs > 0)
        return;
    SL_ASSERT(p->inflight == 0);
    const struct part_key key = key_of(p);
    (void)map_remove(p->engine->parts, &key, sizeof key);
    list_remove(&p->topic_node);
    sqlog__topic_unref(p->topic);
    producers__free(p->producers);
    sl_free(p->epochs);
    sl_free(p);
}

void sqlog__part_wake(struct sqlog_part *p)
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

void sqlog__set_epoch(struct sqlog_part *p, int32_t epoch, int64_t start_offset)
{
    SL_ASSERT(epoch >= p->leader_epoch);
    p->leader_epoch = epoch;
    /* Epochs in which nothing was written leave no trace. */
    while (p->n_epochs > 0 && p->epochs[p->n_epochs - 1].start_offset >= start_offset)
        p->n_epochs--;
    p->epochs = sl_realloc(p->epochs, p->n_epochs + 1, sizeof p->epochs[0]);
    p->epochs[p->n_epochs++] = (struct sqlog_epoch){epoch, start_offset};
}

int32_t sqlog__epoch_at(const struct sqlog_part *p, int64_t offset, int64_t *ret_end)
{
    uint32_t n = 0;
    while (n < p->n_epochs && p->epochs[n].start_offset <= offset)
        n++;
    *ret_end = n < p->n_epochs ? p->epochs[n].start_offset : INT64_MAX;
    return n > 0 ? p->epochs[n - 1].epoch : 0;
}
