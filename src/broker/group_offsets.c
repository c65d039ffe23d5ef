/* Committed offsets in memory: sorted arrays, because a group commits the same partitions again
 * and again, and because there may be millions of them. */
#include "broker/group_int.h"

#include "base/alloc.h"

/* Index of the first element that is not below the key; *found when it is equal. */
static uint32_t topic_index(const struct group_offsets *o, const struct uuid *id, bool *found)
{
    uint32_t low = 0, high = o->n;
    *found = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = memcmp(&o->topics[mid]->topic_id, id, sizeof *id);
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
        *found |= order == 0;
    }
    return low;
}

static uint32_t partition_index(const struct offset_topic *t, int32_t partition, bool *found)
{
    uint32_t low = 0, high = t->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (t->items[mid].partition < partition)
            low = mid + 1;
        else
            high = mid;
    }
    *found = low < t->n && t->items[low].partition == partition;
    return low;
}

struct offset_topic *group_offsets_topic(const struct group_offsets *o, const struct uuid *id)
{
    bool found;
    uint32_t i = topic_index(o, id, &found);
    return found ? o->topics[i] : NULL;
}

struct committed *group_offsets_find(const struct group_offsets *o, const struct uuid *id,
                                     int32_t partition)
{
    struct offset_topic *t = group_offsets_topic(o, id);
    if (!t)
        return NULL;
    bool found;
    uint32_t i = partition_index(t, partition, &found);
    return found ? &t->items[i] : NULL;
}

static struct offset_topic *topic_make(struct group_offsets *o, const struct uuid *id)
{
    bool found;
    uint32_t i = topic_index(o, id, &found);
    if (found)
        return o->topics[i];
    if (o->n == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 1;
        o->topics = sl_realloc(o->topics, o->cap, sizeof(struct offset_topic *));
    }
    memmove(o->topics + i + 1, o->topics + i, (o->n - i) * sizeof(struct offset_topic *));
    o->n++;
    o->topics[i] = sl_new(struct offset_topic);
    o->topics[i]->topic_id = *id;
    return o->topics[i];
}

static struct committed *item_make(struct group_offsets *o, struct offset_topic *t,
                                   int32_t partition)
{
    bool found;
    uint32_t i = partition_index(t, partition, &found);
    if (found)
        return &t->items[i];
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1;
        t->items = sl_realloc(t->items, t->cap, sizeof *t->items);
    }
    memmove(t->items + i + 1, t->items + i, (t->n - i) * sizeof *t->items);
    t->n++;
    t->items[i] = (struct committed){.partition = partition};
    SL_ASSERT(i == 0 || t->items[i - 1].partition < partition);
    SL_ASSERT(i + 1 == t->n || t->items[i + 1].partition > partition);
    o->count++;
    return &t->items[i];
}

static void drop_metadata(struct group_offsets *o, struct committed *c)
{
    SL_ASSERT(!c->metadata || o->bytes >= c->metadata->len);
    if (c->metadata)
        o->bytes -= c->metadata->len;
    sl_free(c->metadata);
    c->metadata = NULL;
}

static struct group_text *text_new(struct slice text)
{
    if (!text.len)
        return NULL;
    struct group_text *t = sl_alloc(1, sizeof *t + text.len);
    t->len = (uint32_t)text.len;
    memcpy(t->bytes, text.data, text.len);
    return t;
}

void group_offsets_put(struct group_offsets *o, const struct uuid *id, const struct committed *c,
                       struct slice metadata)
{
    struct committed *item = item_make(o, topic_make(o, id), c->partition);
    drop_metadata(o, item);
    *item = *c;
    item->metadata = text_new(metadata);
    o->bytes += metadata.len;
}

static void drop_topic(struct group_offsets *o, uint32_t i)
{
    SL_ASSERT(i < o->n);
    struct offset_topic *t = o->topics[i];
    SL_ASSERT(o->count >= t->n);
    for (uint32_t k = 0; k < t->n; k++)
        drop_metadata(o, &t->items[k]);
    o->count -= t->n;
    o->n--;
    memmove(o->topics + i, o->topics + i + 1, (o->n - i) * sizeof(struct offset_topic *));
    sl_free(t->items);
    sl_free(t);
}

void group_offsets_remove(struct group_offsets *o, const struct uuid *id, int32_t partition)
{
    bool found;
    uint32_t at = topic_index(o, id, &found);
    if (!found)
        return;
    struct offset_topic *t = o->topics[at];
    uint32_t i = partition_index(t, partition, &found);
    if (!found)
        return;
    drop_metadata(o, &t->items[i]);
    t->n--;
    o->count--;
    memmove(t->items + i, t->items + i + 1, (t->n - i) * sizeof *t->items);
    if (!t->n)
        drop_topic(o, at);
}

void group_offsets_remove_topic(struct group_offsets *o, const struct uuid *id)
{
    bool found;
    uint32_t at = topic_index(o, id, &found);
    if (found)
        drop_topic(o, at);
}

void group_offsets_clear(struct group_offsets *o)
{
    while (o->n)
        drop_topic(o, o->n - 1);
    sl_free(o->topics);
    *o = (struct group_offsets){0};
}

struct slice committed_metadata(const struct committed *c)
{
    return c->metadata ? slice_of(c->metadata->bytes, c->metadata->len) : slice_str("");
}
