/* Deliveries: built message by message, handed to the doors. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"

enum { DELIVERY_ITEMS_MAX = 256, DELIVERY_ITEMS_FIRST = 4 };

struct delivery_box {
    struct delivery delivery; /* first: what the door sees */
    struct list node;         /* subscriptions.outbox */
    struct task task;
    struct subscription *to;
    uint32_t cap;
    struct delivery_header *headers;
    uint32_t n_headers, headers_cap;
    struct block **blocks; /* one reference each */
    uint32_t n_blocks, blocks_cap;
};

void delivery_free(struct delivery *d)
{
    if (!d)
        return;
    struct delivery_box *box = SL_CONTAINER_OF(d, struct delivery_box, delivery);
    for (uint32_t i = 0; i < box->n_blocks; i++)
        block_unref(box->blocks[i]);
    sl_free(box->blocks);
    sl_free(box->headers);
    sl_free(d->items);
    sl_free(box);
}

/* ---- building ---------------------------------------------------------------------------------
 */

/* Messages of one batch follow each other: their block is the newest, or the one before it. */
static void keep_block(struct delivery_box *box, struct block *b)
{
    if (!b || (box->n_blocks && box->blocks[box->n_blocks - 1] == b) ||
        (box->n_blocks > 1 && box->blocks[box->n_blocks - 2] == b))
        return;
    if (box->n_blocks == box->blocks_cap) {
        box->blocks_cap = SL_MAX(box->blocks_cap * 2, 2U);
        box->blocks = sl_realloc(box->blocks, box->blocks_cap, sizeof *box->blocks);
    }
    box->blocks[box->n_blocks++] = block_ref(b);
}

static sl_err add_headers(struct delivery_box *box, const struct message *m)
{
    if (!m->n_headers)
        return SL_OK;
    if (box->headers_cap - box->n_headers < m->n_headers) {
        uint32_t cap = SL_MAX(box->headers_cap * 2, box->n_headers + m->n_headers);
        struct delivery_header *more = sl_try_alloc(cap, sizeof *more);
        if (!more)
            return SL_ENOMEM;
        if (box->n_headers)
            memcpy(more, box->headers, box->n_headers * sizeof *more);
        sl_free(box->headers);
        box->headers = more;
        box->headers_cap = cap;
    }
    memcpy(box->headers + box->n_headers, m->headers, m->n_headers * sizeof *m->headers);
    box->n_headers += m->n_headers;
    return SL_OK;
}

static struct delivery_box *draft_of(struct subscription *s)
{
    if (!s->draft) {
        s->draft = sl_new(struct delivery_box);
        s->draft->to = s;
        list_push_back(&s->engine->drafts, &s->draft_node);
        subs__schedule(s->engine);
    }
    return s->draft;
}

static void add_item(struct delivery_box *box, const struct delivered *item)
{
    struct delivery *d = &box->delivery;
    if (d->n_items == box->cap) {
        box->cap = SL_MAX(box->cap * 2, (uint32_t)DELIVERY_ITEMS_FIRST);
        d->items = sl_realloc(d->items, box->cap, sizeof *d->items);
    }
    d->items[d->n_items++] = *item;
}

/* The draft is a delivery: its headers do not move any more. */
static void seal(struct subscription *s)
{
    struct delivery_box *box = SL_TAKE(s->draft);
    list_remove(&s->draft_node);
    uint32_t at = 0;
    for (uint32_t i = 0; i < box->delivery.n_items; i++) {
        struct delivered *item = &box->delivery.items[i];
        item->headers = item->n_headers ? box->headers + at : NULL;
        at += item->n_headers;
    }
    SL_ASSERT(at == box->n_headers);
    list_push_back(&s->engine->outbox, &box->node);
}

void stream_drop_draft(struct subscription *s)
{
    if (!s->draft)
        return;
    list_remove(&s->draft_node);
    delivery_free(&SL_TAKE(s->draft)->delivery);
}

bool stream_can_take(const struct subscription *s)
{
    return s->life == STREAM_OPEN && s->credit > 0 && s->room > 0;
}

sl_err stream_deliver(struct subscription *s, int32_t partition, const struct message *m,
                      uint32_t count)
{
    SL_ASSERT(stream_can_take(s)); /* nothing without credit, ever */
    struct delivery_box *box = draft_of(s);
    SL_TRY(add_headers(box, m));
    const struct record *r = &m->record;
    const struct delivered item = {.offset = r->offset,
                                   .timestamp_ms = r->timestamp_ms,
                                   .key = r->key,
                                   .value = r->value,
                                   .n_headers = m->n_headers,
                                   .partition = partition,
                                   .count = count};
    add_item(box, &item);
    keep_block(box, r->headers.block);
    box->delivery.room += m->bytes;
    s->credit--;
    s->room -= (int64_t)m->bytes;
    s->engine->counters.delivered++;
    s->engine->counters.redelivered += count > 1;
    if (box->delivery.n_items == DELIVERY_ITEMS_MAX)
        seal(s);
    return SL_OK;
}

/* ---- handing out ------------------------------------------------------------------------------
 */

static void arrive(struct delivery_box *box)
{
    struct subscription *s = box->to;
    if (s->closed)
        delivery_free(&box->delivery);
    else
        s->events->deliver(s->arg, &box->delivery);
}

static void arrive_at_home(struct task *t)
{
    arrive(SL_CONTAINER_OF(t, struct delivery_box, task));
}

void deliveries_hand_out(struct subscriptions *e)
{
    while (!list_empty(&e->drafts))
        seal(SL_CONTAINER_OF(e->drafts.next, struct subscription, draft_node));
    for (struct list *node; (node = list_pop_front(&e->outbox));) {
        struct delivery_box *box = SL_CONTAINER_OF(node, struct delivery_box, node);
        if (loop_is_current(box->to->home)) {
            arrive(box);
            continue;
        }
        box->task.run = arrive_at_home;
        loop_post(box->to->home, &box->task);
    }
}
