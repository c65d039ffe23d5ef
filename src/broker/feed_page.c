#include "broker/feed_page_int.h"

#include "base/alloc.h"

enum {
    PAGE_BYTES_MAX = 1 << 20,
    PAGE_BYTES_MIN = 64 << 10,    /* a page when much is pinned */
    PINNED_BYTES_SOFT = 24 << 20, /* pages shrink towards it */
    PINNED_BYTES_HARD = 96 << 20, /* beyond it a reader waits */
    KEPT_PAGES_MAX = 8,
    KEPT_BYTES_MAX = 4 << 20,
    UNPACKED_BYTES_MAX = 64 << 20,
    UNPACK_INLINE_BYTES = 16 << 10, /* compressed; more is for the workers */
};

static void wake_all(struct list *waiters)
{
    struct list woken;
    list_init(&woken);
    list_splice(&woken, waiters);
    for (struct list *node; (node = list_pop_front(&woken));) {
        struct feed_walker *w = SL_CONTAINER_OF(node, struct feed_walker, wait);
        w->wake(w);
    }
}

/* ---- life of a page ---------------------------------------------------------------------------
 */

void feed__page_unref(struct feed_page *p)
{
    SL_ASSERT(p->refs > 0);
    if (--p->refs)
        return;
    SL_ASSERT(!p->reading && !p->unpacking);
    SL_ASSERT(list_empty(&p->waiters));
    list_remove(&p->node);
    slice_unref(&p->data);
    slice_unref(&p->unpacked);
    sl_free(p);
}

static void drop_kept(struct feed *f)
{
    struct feed_page *p = SL_CONTAINER_OF(list_pop_front(&f->kept), struct feed_page, kept);
    f->n_kept--;
    f->kept_bytes -= p->data.len;
    feed__page_unref(p);
}

/* The newest pages stay for a while, for those who come to the same place. */
static void keep(struct feed_page *p)
{
    struct feed *f = p->feed;
    p->refs++;
    list_push_back(&f->kept, &p->kept);
    f->n_kept++;
    f->kept_bytes += p->data.len;
    while (f->n_kept > KEPT_PAGES_MAX || (f->kept_bytes > KEPT_BYTES_MAX && f->n_kept > 0))
        drop_kept(f);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static int64_t end_of(const struct feed_page *p, int64_t end)
{
    struct batch_info info = {.base_offset = end, .last_offset_delta = -1};
    for (size_t pos = 0; pos < p->data.len; pos += info.bytes)
        if (batch_peek(slice_sub(p->data, pos, p->data.len - pos), &info) != SL_OK)
            return -1;
    return batch_last_offset(&info) + 1;
}

static void read_ended(struct feed_page *p, sl_err err)
{
    struct feed *f = p->feed;
    p->err = err;
    p->data = p->read.data;
    f->counters.reads++;
    f->counters.read_bytes += p->data.len;
    fetch__memory_charge(f->memory, p->data);
    if (err == SL_OK) {
        p->end = end_of(p, p->end);
        p->err = p->end <= p->first ? SL_ECORRUPT : SL_OK;
    }
    if (p->err != SL_OK)
        list_remove(&p->node); /* who waits is told; others ask again */
    else if (p->log)
        keep(p);
}

static void read_done(struct log_read *r)
{
    struct feed_page *p = SL_CONTAINER_OF(r, struct feed_page, read);
    struct feed *f = p->feed;
    p->reading = false;
    f->n_busy--;
    read_ended(p, r->err);
    wake_all(&p->waiters);
    feed__page_unref(p);
    broker__idle_check(f->broker);
}

static uint32_t page_bytes(const struct feed *f)
{
    uint64_t used = fetch__memory_used(f->memory);
    uint64_t left = used < PINNED_BYTES_SOFT ? (PINNED_BYTES_SOFT - used) / 8 : 0;
    return (uint32_t)SL_MAX(SL_MIN(left, (uint64_t)PAGE_BYTES_MAX), (uint64_t)PAGE_BYTES_MIN);
}

static void start_read(struct feed_page *p)
{
    struct feed *f = p->feed;
    p->read = (struct log_read){.part = p->log,
                                .offset = p->first,
                                .bytes_max = page_bytes(f),
                                .at_least_one = true,
                                .done = read_done};
    sl_err err = log_read(f->broker->env.log, &p->read);
    if (err != SL_PENDING) {
        read_ended(p, err);
        return;
    }
    p->reading = true;
    p->refs++;
    f->n_busy++;
}

static bool has(const struct feed_page *p, const struct log_part *log, int64_t offset)
{
    return p->log == log &&
           (p->reading ? p->first == offset : p->first <= offset && offset < p->end);
}

struct feed_page *feed__page(struct feed *f, struct log_part *log, int64_t offset, int64_t end)
{
    for (struct list *node = f->pages.prev; node != &f->pages; node = node->prev) {
        struct feed_page *p = SL_CONTAINER_OF(node, struct feed_page, node);
        if (has(p, log, offset)) {
            p->refs++;
            return p;
        }
    }
    if (fetch__memory_used(f->memory) > PINNED_BYTES_HARD)
        feed_forget_kept(f);
    if (fetch__memory_used(f->memory) > PINNED_BYTES_HARD)
        return NULL;
    struct feed_page *p = sl_new(struct feed_page);
    p->feed = f;
    p->log = log;
    p->refs = 1;
    p->first = offset;
    p->end = end;
    p->unpacked_base = -1;
    list_init(&p->waiters);
    list_push_back(&f->pages, &p->node);
    start_read(p);
    return p;
}

/* ---- unpacking --------------------------------------------------------------------------------
 */

static void unpack(struct feed_page *p)
{
    struct buf out;
    struct record_iterator it;
    buf_init(&out, UNPACKED_BYTES_MAX);
    p->unpack_err = records_open(p->packed, &out, &it);
    if (p->unpack_err == SL_OK && out.len)
        p->unpacked = buf_take_slice(&out);
    if (p->unpack_err == SL_EFULL || p->unpack_err == SL_ECODEC)
        p->unpack_err = SL_ECORRUPT;
    buf_fini(&out);
}

static void unpack_on_worker(struct work *w)
{
    unpack(SL_CONTAINER_OF(w, struct feed_page, work));
}

static void unpacked(struct feed_page *p)
{
    fetch__memory_charge(p->feed->memory, p->unpacked);
}

static void unpack_done(struct work *w)
{
    struct feed_page *p = SL_CONTAINER_OF(w, struct feed_page, work);
    struct feed *f = p->feed;
    p->unpacking = false;
    f->n_busy--;
    unpacked(p);
    wake_all(&p->waiters);
    feed__page_unref(p);
    broker__idle_check(f->broker);
}

static void start_unpacking(struct feed_page *p, struct slice batch, const struct batch_info *info)
{
    slice_unref(&p->unpacked);
    p->unpacked_base = info->base_offset;
    p->packed = slice_sub(batch, 0, info->bytes);
    if (info->bytes <= UNPACK_INLINE_BYTES) {
        unpack(p);
        unpacked(p);
        return;
    }
    p->unpacking = true;
    p->refs++;
    p->feed->n_busy++;
    p->work.run = unpack_on_worker;
    p->work.done = unpack_done;
    workers_submit(p->feed->broker->env.workers, p->feed->broker->env.loop, &p->work);
}

sl_err feed__unpack(struct feed_page *p, struct slice batch, const struct batch_info *info,
                    struct slice *ret)
{
    if (!p->unpacking && p->unpacked_base != info->base_offset)
        start_unpacking(p, batch, info);
    if (p->unpacking)
        return SL_PENDING;
    SL_TRY(p->unpack_err);
    *ret = slice_ref(p->unpacked, 0, p->unpacked.len);
    return SL_OK;
}

/* ---- the feed ---------------------------------------------------------------------------------
 */

static void retry(struct timer *t)
{
    struct feed *f = SL_CONTAINER_OF(t, struct feed, retry);
    wake_all(&f->starved);
}

struct feed *feed_new(struct broker *b)
{
    struct feed *f = sl_new(struct feed);
    f->broker = b;
    f->memory = fetch__memory_new();
    list_init(&f->pages);
    list_init(&f->kept);
    list_init(&f->starved);
    timer_init(&f->retry, b->env.loop, retry);
    return f;
}

void feed_forget_kept(struct feed *f)
{
    while (f->n_kept)
        drop_kept(f);
}

void feed_free(struct feed *f)
{
    if (!f)
        return;
    feed_forget_kept(f);
    timer_stop(&f->retry);
    SL_ASSERT(list_empty(&f->pages));
    SL_ASSERT(list_empty(&f->starved));
    fetch__memory_unref(f->memory);
    sl_free(f);
}

void feed_forget(struct feed *f, const struct log_part *log)
{
    feed_forget_kept(f);
    LIST_FOREACH (node, &f->pages) {
        struct feed_page *p = SL_CONTAINER_OF(node, struct feed_page, node);
        if (p->log == log)
            p->log = NULL;
    }
}

bool feed_is_idle(const struct feed *f)
{
    return f->n_busy == 0;
}

bool feed_is_tight(const struct feed *f)
{
    return fetch__memory_used(f->memory) >= PINNED_BYTES_SOFT / 2;
}

size_t feed_memory(const struct feed *f)
{
    return fetch__memory_used(f->memory);
}

void feed_counters(const struct feed *f, struct feed_counters *ret)
{
    *ret = f->counters;
}
