#include "base/alloc.h"
#include "kafka/kafka_int.h"

enum { WATCHERS_MAX = 256 };

/* A shard that wants to know. The task lives here, not in the shard: blocks, and with them the
 * wake-ups, may outlive the door. */
struct kafka_watcher {
    struct task task;
    struct kafka_memory *memory;
    struct loop *loop;
    struct kafka_shard *shard; /* NULL: no longer; on the shard's loop */
    atomic_bool is_watched, is_posted;
};

struct kafka_memory {
    atomic_size_t used;
    size_t max;
    atomic_uint refs;
    atomic_bool starved;            /* somebody was refused since the last wake-up */
    _Atomic(const void *) exempted; /* the connection that may exceed the limit */
    size_t n_watchers;
    struct kafka_watcher watchers[WATCHERS_MAX];
};

/* At the end of each block: what to give back. */
struct charge {
    struct kafka_memory *memory;
    size_t bytes;
};

struct kafka_memory *kafka__memory_new(size_t bytes_max)
{
    struct kafka_memory *m = sl_new(struct kafka_memory);
    m->max = bytes_max;
    atomic_init(&m->refs, 1);
    return m;
}

void kafka__memory_unref(struct kafka_memory *m)
{
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        sl_free(m);
}

static void on_wake(struct task *task)
{
    struct kafka_watcher *w = SL_CONTAINER_OF(task, struct kafka_watcher, task);
    atomic_store(&w->is_posted, false);
    if (w->shard)
        kafka__conn_resume_stalled(w->shard);
    kafka__memory_unref(w->memory);
}

void kafka__memory_watch(struct kafka_memory *m, struct kafka_shard *s)
{
    SL_ASSERT(m->n_watchers < WATCHERS_MAX);
    s->watcher = &m->watchers[m->n_watchers++];
    *s->watcher =
        (struct kafka_watcher){.task.run = on_wake, .memory = m, .loop = s->loop, .shard = s};
    atomic_init(&s->watcher->is_watched, true);
}

void kafka__memory_unwatch(struct kafka_shard *s)
{
    s->watcher->shard = NULL;
    atomic_store(&s->watcher->is_watched, false);
}

static void wake(struct kafka_memory *m)
{
    for (size_t i = 0; i < m->n_watchers; i++) {
        struct kafka_watcher *w = &m->watchers[i];
        if (!atomic_load(&w->is_watched) || atomic_exchange(&w->is_posted, true))
            continue;
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
        loop_post(w->loop, &w->task);
    }
}

static void wake_starved(struct kafka_memory *m)
{
    if (atomic_load(&m->starved) && atomic_exchange(&m->starved, false))
        wake(m);
}

static bool has_room(struct kafka_memory *m, bool has_begun)
{
    size_t reserve = has_begun ? m->max / 8 : 0;
    return atomic_load(&m->used) < m->max - reserve;
}

enum kafka_admission kafka__memory_admits(struct kafka_memory *m, const void *conn, bool has_begun,
                                          bool is_oldest)
{
    if (has_room(m, has_begun))
        return KAFKA_ADMITTED;
    const void *nobody = NULL;
    if (atomic_load(&m->exempted) == conn)
        return KAFKA_EXEMPTED;
    if (is_oldest && atomic_compare_exchange_strong(&m->exempted, &nobody, conn))
        return KAFKA_EXEMPTED;
    /* Said before looking again: what is freed in between either is seen here or wakes us. */
    atomic_store(&m->starved, true);
    return has_room(m, has_begun) ? KAFKA_ADMITTED : KAFKA_REFUSED;
}

void kafka__memory_finished(struct kafka_memory *m, const void *conn)
{
    const void *expected = conn;
    if (atomic_load_explicit(&m->exempted, memory_order_relaxed) == conn &&
        atomic_compare_exchange_strong(&m->exempted, &expected, NULL))
        wake_starved(m);
}

size_t kafka__memory_used(const struct kafka_memory *m)
{
    return atomic_load_explicit(&m->used, memory_order_relaxed);
}

static size_t charge_at(size_t size)
{
    return (size + _Alignof(struct charge) - 1) & ~(_Alignof(struct charge) - 1);
}

static struct charge *charge_of(struct block *b)
{
    return (void *)(block_data(b) + block_size(b) - sizeof(struct charge));
}

static void on_block_freed(void *arg)
{
    struct charge *charge = arg;
    struct kafka_memory *m = charge->memory;
    size_t before = atomic_fetch_sub(&m->used, charge->bytes);
    SL_ASSERT(before >= charge->bytes);
    wake_starved(m);
    kafka__memory_unref(m);
}

struct block *kafka__memory_block(struct kafka_memory *m, size_t size)
{
    struct block *b = block_new(charge_at(size) + sizeof(struct charge));
    if (!b)
        return NULL;
    *charge_of(b) = (struct charge){.memory = m};
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    block_on_free(b, on_block_freed, charge_of(b));
    return b;
}

size_t kafka__memory_room(struct block *b)
{
    return block_size(b) - sizeof(struct charge);
}

void kafka__memory_charge(struct kafka_memory *m, struct block *b, size_t n)
{
    charge_of(b)->bytes += n;
    SL_ASSERT(charge_of(b)->bytes <= kafka__memory_room(b)); /* each byte once, where it is */
    atomic_fetch_add(&m->used, n);
}
