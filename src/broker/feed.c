/* Walking the pages of a log, record by record. */
#include "broker/feed_page_int.h"

enum { RETRY_MS = 5 }; /* memory that a peer's socket holds comes back at its pace */

void feed_walker_init(struct feed_walker *w, struct feed *f, struct log_part *log,
                      void (*wake)(struct feed_walker *w))
{
    *w = (struct feed_walker){.feed = f, .log = log, .wake = wake};
}

static void leave_batch(struct feed_walker *w)
{
    w->in_batch = w->has_record = false;
    slice_unref(&w->unpacked);
}

void feed_walker_rest(struct feed_walker *w)
{
    list_remove(&w->wait);
    leave_batch(w);
    if (w->page)
        feed__page_unref(SL_TAKE(w->page));
    w->pos = 0;
    w->passed = 0;
}

static sl_err wait_for(struct feed_walker *w, struct list *waiters)
{
    SL_ASSERT(!list_linked(&w->wait));
    list_push_back(waiters, &w->wait);
    return SL_PENDING;
}

static sl_err wait_for_memory(struct feed_walker *w)
{
    if (!timer_running(&w->feed->retry))
        timer_start(&w->feed->retry, RETRY_MS);
    return wait_for(w, &w->feed->starved);
}

/* A page with the offset, whole, and the walker at or before it there. */
static sl_err turn_to(struct feed_walker *w, int64_t offset, int64_t end)
{
    struct feed_page *p = w->page;
    if (p && !p->reading && p->err == SL_OK && (offset < p->first || offset >= p->end))
        feed_walker_rest(w);
    if (!w->page)
        w->page = feed__page(w->feed, w->log, offset, end);
    if (!w->page)
        return wait_for_memory(w);
    if (w->page->reading)
        return wait_for(w, &w->page->waiters);
    sl_err err = w->page->err;
    if (err != SL_OK) {
        feed_walker_rest(w);
        return err;
    }
    if (offset < w->passed) { /* back: what was delivered and is again */
        leave_batch(w);
        w->pos = 0;
        w->passed = 0;
    }
    return SL_OK;
}

static sl_err open_batch(struct feed_walker *w, struct slice batch, const struct batch_info *info)
{
    if (!(info->attributes & BATCH_CODEC_MASK))
        return records_open(batch, NULL, &w->it);
    sl_err err = feed__unpack(w->page, batch, info, &w->unpacked);
    if (err == SL_PENDING)
        return wait_for(w, &w->page->waiters);
    SL_TRY(err);
    w->it = (struct record_iterator){
        .info = *info, .in = reader_over(w->unpacked, NULL, 0), .left = info->record_count};
    return SL_OK;
}

/* Opens the next batch that has messages at or behind the offset. SL_EEND: not in this page. */
static sl_err next_batch(struct feed_walker *w, int64_t offset)
{
    const struct slice data = w->page->data;
    struct batch_info info;
    for (; w->pos < data.len; w->pos += info.bytes) {
        struct slice batch = slice_sub(data, w->pos, data.len - w->pos);
        batch.block = data.block;
        SL_TRY(batch_peek(batch, &info));
        if (batch_last_offset(&info) < offset || (info.attributes & BATCH_CONTROL))
            continue;
        SL_TRY(open_batch(w, batch, &info));
        w->pos += info.bytes;
        w->in_batch = true;
        return SL_OK;
    }
    return SL_EEND;
}

/* In the open batch. SL_EEND: it has no more. */
static sl_err next_record(struct feed_walker *w, int64_t offset)
{
    do {
        SL_TRY(records_next(&w->it, &w->record));
    } while (w->record.offset < offset);
    w->has_record = true;
    w->from = offset;
    w->passed = w->record.offset + 1;
    return SL_OK;
}

static sl_err walk(struct feed_walker *w, int64_t offset)
{
    w->passed = SL_MAX(w->passed, offset); /* who asks for less has to go back */
    for (;;) {
        sl_err err = w->in_batch ? next_record(w, offset) : SL_EEND;
        if (err != SL_EEND)
            return err;
        leave_batch(w);
        SL_TRY(next_batch(w, offset));
    }
}

sl_err feed_find(struct feed_walker *w, int64_t offset, int64_t end, struct record *ret,
                 int64_t *ret_next)
{
    SL_ASSERT(offset >= 0 && offset < end);
    if (feed_walker_waits(w))
        return SL_PENDING;
    bool found = w->has_record && w->from <= offset && offset <= w->record.offset;
    if (!found) {
        SL_TRY(turn_to(w, offset, end));
        sl_err err = walk(w, offset);
        if (err == SL_EEND) {
            *ret_next = w->page->end;
            feed_walker_rest(w);
            return SL_CONTINUE;
        }
        if (err != SL_OK && err != SL_PENDING)
            feed_walker_rest(w);
        if (err == SL_ERECORD || err == SL_EMAGIC)
            return SL_ECORRUPT;
        SL_TRY(err);
    }
    *ret = w->record;
    return SL_OK;
}
