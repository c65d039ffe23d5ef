#include "storage/producers_int.h"

#include "base/alloc.h"
#include "base/reader.h"
#include "storage/plan_int.h"

struct producers {
    size_t capacity, count; /* capacity: a power of two */
    struct producer *slots;
};

enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_ENTRY_BYTES = 19,
    SNAPSHOT_BATCH_BYTES = 16,
    CAPACITY_FIRST = 2,
};

static size_t home_of(const struct producers *t, int64_t id)
{
    uint64_t h = (uint64_t)id * 0x9e3779b97f4a7c15u; /* ids come in sequence: spread them */
    return (size_t)(h >> 32) & (t->capacity - 1);
}

static struct producer *slot_of(const struct producers *t, int64_t id)
{
    size_t i = home_of(t, id);
    while (t->slots[i].id != -1 && t->slots[i].id != id)
        i = (i + 1) & (t->capacity - 1);
    return &t->slots[i];
}

static void set_capacity(struct producers *t, size_t capacity)
{
    struct producer *old = t->slots;
    size_t old_capacity = t->capacity;
    t->slots = sl_new_array(struct producer, capacity);
    t->capacity = capacity;
    for (size_t i = 0; i < capacity; i++)
        t->slots[i].id = -1;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].id != -1)
            *slot_of(t, old[i].id) = old[i];
    sl_free(old);
}

struct producer *producers__find(const struct producers *t, int64_t id)
{
    if (!t)
        return NULL;
    struct producer *p = slot_of(t, id);
    return p->id == id ? p : NULL;
}

static struct producer *find_or_add(struct producers **t, int64_t id)
{
    if (!*t) {
        *t = sl_new(struct producers);
        set_capacity(*t, CAPACITY_FIRST);
    }
    struct producer *p = slot_of(*t, id);
    if (p->id == id)
        return p;
    /* One slot always stays free, so that a search ends. */
    if ((*t)->count + 1 >= (*t)->capacity - (*t)->capacity / 4) {
        set_capacity(*t, (*t)->capacity * 2);
        p = slot_of(*t, id);
    }
    *p = (struct producer){.id = id};
    (*t)->count++;
    return p;
}

/* Moves later entries of the probe sequence up, so that no tombstone is needed. */
static void remove_slot(struct producers *t, size_t hole)
{
    size_t mask = t->capacity - 1;
    for (size_t i = (hole + 1) & mask; t->slots[i].id != -1; i = (i + 1) & mask) {
        size_t home = home_of(t, t->slots[i].id);
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        t->slots[hole] = t->slots[i];
        hole = i;
    }
    t->slots[hole].id = -1;
    t->count--;
}

static void window_push(struct produced_window *w, const struct batch_info *info,
                        int64_t base_offset)
{
    if (w->n > 0 && w->epoch != info->producer_epoch)
        w->n = 0; /* an older epoch's batches are no duplicates of this one's */
    if (w->n == PRODUCER_WINDOW) {
        memmove(w->batch, w->batch + 1, sizeof w->batch[0] * (PRODUCER_WINDOW - 1));
        w->n--;
    }
    w->epoch = info->producer_epoch;
    w->batch[w->n++] = (struct produced){
        .base_sequence = info->base_sequence,
        .last_sequence = plan__sequence_add(info->base_sequence, info->last_offset_delta),
        .base_offset = base_offset,
    };
}

void producers__plan(struct producers **t, const struct batch_info *info, int64_t base_offset)
{
    struct producer *p = find_or_add(t, info->producer_id);
    if (p->planned_count == 0)
        p->planned.n = 0;
    window_push(&p->planned, info, base_offset);
    p->planned_count++;
}

void producers__complete(struct producers *t, const struct batch_info *info, int64_t base_offset,
                         int64_t append_ms)
{
    struct producer *p = producers__find(t, info->producer_id);
    SL_ASSERT(p);
    SL_ASSERT(p->planned_count > 0);
    p->planned_count--;
    p->last_append_ms = SL_MAX(p->last_append_ms, append_ms);
    window_push(&p->done, info, base_offset);
}

void producers__apply(struct producers **t, const struct batch_info *info, int64_t append_ms)
{
    struct producer *p = find_or_add(t, info->producer_id);
    p->last_append_ms = SL_MAX(p->last_append_ms, append_ms);
    window_push(&p->done, info, info->base_offset);
}

void producers__reset_planned(struct producers *t)
{
    for (size_t i = 0; t && i < t->capacity;) {
        struct producer *p = &t->slots[i];
        p->planned_count = 0;
        /* A removal moves another entry into this slot: look at it again. */
        if (p->id != -1 && p->done.n == 0)
            remove_slot(t, i);
        else
            i++;
    }
}

void producers__expire(struct producers *t, int64_t before_ms)
{
    for (size_t i = 0; t && i < t->capacity;) {
        struct producer *p = &t->slots[i];
        if (p->id != -1 && p->planned_count == 0 && p->last_append_ms < before_ms)
            remove_slot(t, i);
        else
            i++;
    }
}

size_t producers__count(const struct producers *t)
{
    return t ? t->count : 0;
}

const struct producer *producers__next(const struct producers *t, size_t *iterator)
{
    while (t && *iterator < t->capacity) {
        const struct producer *p = &t->slots[(*iterator)++];
        if (p->id != -1)
            return p;
    }
    return NULL;
}

void producers__free(struct producers *t)
{
    if (!t)
        return;
    sl_free(t->slots);
    sl_free(t);
}

static void save_entry(const struct producer *p, struct buf *b)
{
    write_i64(b, p->id);
    write_i16(b, p->done.epoch);
    write_i64(b, p->last_append_ms);
    write_u8(b, p->done.n);
    for (uint8_t k = 0; k < p->done.n; k++) {
        write_i32(b, p->done.batch[k].base_sequence);
        write_i32(b, p->done.batch[k].last_sequence);
        write_i64(b, p->done.batch[k].base_offset);
    }
}

sl_err producers__save(const struct producers *t, struct buf *b)
{
    uint32_t n = 0;
    const struct producer *p;
    for (size_t i = 0; (p = producers__next(t, &i));)
        n += p->done.n > 0;
    write_u8(b, SNAPSHOT_VERSION);
    write_u32(b, n);
    for (size_t i = 0; (p = producers__next(t, &i));)
        if (p->done.n > 0)
            save_entry(p, b);
    return buf_check(b);
}

static void load_entry(struct reader *in, struct producers **t)
{
    int64_t id = read_i64(in);
    int16_t epoch = read_i16(in);
    int64_t last_append_ms = read_i64(in);
    uint8_t n = read_u8(in);
    if (id < 0 || epoch < 0 || n == 0 || n > PRODUCER_WINDOW)
        reader_fail(in, SL_ECORRUPT, "a producer entry is out of range");
    if (!reader_ok(in))
        return;
    struct producer *p = find_or_add(t, id);
    p->last_append_ms = last_append_ms;
    p->done.epoch = epoch;
    p->done.n = n;
    for (uint8_t k = 0; k < n; k++) {
        p->done.batch[k].base_sequence = read_i32(in);
        p->done.batch[k].last_sequence = read_i32(in);
        p->done.batch[k].base_offset = read_i64(in);
    }
}

sl_err producers__load(struct slice blob, struct producers **ret)
{
    *ret = NULL;
    if (blob.len == 0)
        return SL_OK;
    struct reader in = reader_over(blob, NULL, 0);
    if (read_u8(&in) != SNAPSHOT_VERSION)
        return SL_EFORMAT;
    struct producers *t = NULL;
    uint32_t n = read_array_len(&in, SNAPSHOT_ENTRY_BYTES + SNAPSHOT_BATCH_BYTES);
    for (uint32_t i = 0; reader_ok(&in) && i < n; i++)
        load_entry(&in, &t);
    if (reader_finish(&in) != SL_OK) {
        producers__free(t);
        return SL_ECORRUPT;
    }
    *ret = t;
    return SL_OK;
}
