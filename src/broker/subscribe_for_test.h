/* For the tests of subscriptions: doors in a simulated core, over a log and a metastore in memory
 * whose commits happen when the test says so. Only test files include it. */
#ifndef SLUICE_BROKER_SUBSCRIBE_FOR_TEST_H
#define SLUICE_BROKER_SUBSCRIBE_FOR_TEST_H

#include "broker/core_for_test.h"
#include "broker/subscribe_int.h"

#include <stdio.h>

enum { SCENE_ROWS = 256, SCENE_TXNS = 64, SCENE_GOT = 8192 };

/* ---- a metastore in memory --------------------------------------------------------------------
 */

struct scene_row {
    bool has_offset;
    char group[24];
    int32_t partition;
    int64_t offset;
    struct slice ranges; /* data NULL: no row */
};

struct scene_meta {
    struct metastore meta;
    struct meta_txn *queue[SCENE_TXNS];
    int n_queued, n_commits;
    bool hold;
    sl_err err;
    struct scene_row rows[SCENE_ROWS];
};

static inline struct scene_row *scene_row(struct scene_meta *m, const char *group,
                                          int32_t partition)
{
    for (int i = 0; i < SCENE_ROWS; i++)
        if (!strcmp(m->rows[i].group, group) && m->rows[i].partition == partition)
            return &m->rows[i];
    for (int i = 0; i < SCENE_ROWS; i++)
        if (!m->rows[i].group[0]) {
            (void)snprintf(m->rows[i].group, sizeof m->rows[i].group, "%s", group);
            m->rows[i].partition = partition;
            return &m->rows[i];
        }
    SL_UNREACHABLE();
}

static inline void scene_apply(struct scene_meta *m, const struct meta_op *op)
{
    struct scene_row *r;
    switch (op->kind) {
    case META_OFFSET_PUT:
        r = scene_row(m, op->offset.group, op->offset.partition);
        r->has_offset = true;
        r->offset = op->offset.offset;
        break;
    case META_OFFSET_DELETE:
        r = scene_row(m, op->offset.group, op->offset.partition);
        r->has_offset = false;
        slice_unref(&r->ranges);
        break;
    case META_SHARE_PUT:
    case META_SHARE_DELETE:
        r = scene_row(m, op->share.group, op->share.partition);
        slice_unref(&r->ranges);
        if (op->kind == META_SHARE_PUT)
            r->ranges = slice_copy(op->share.ranges.data, op->share.ranges.len);
        break;
    case META_GROUP_DELETE:
        for (int i = 0; i < SCENE_ROWS; i++)
            if (!strcmp(m->rows[i].group, op->group.group)) {
                slice_unref(&m->rows[i].ranges);
                m->rows[i].has_offset = false;
            }
        break;
    default:
        break;
    }
}

static inline void scene_commit(struct scene_meta *m)
{
    struct meta_txn *t = m->queue[0];
    memmove(m->queue, m->queue + 1, (size_t)--m->n_queued * sizeof m->queue[0]);
    for (size_t i = 0; i < t->n_ops && m->err == SL_OK; i++)
        scene_apply(m, &t->ops[i]);
    m->n_commits++;
    t->err = m->err;
    t->done(t);
}

static inline void scene_submit(struct metastore *meta, struct meta_txn *t)
{
    struct scene_meta *m = SL_CONTAINER_OF(meta, struct scene_meta, meta);
    assert_in_range(m->n_queued, 0, SCENE_TXNS - 1);
    m->queue[m->n_queued++] = t;
}

static inline sl_err scene_load(struct metastore *meta, const struct meta_loader *l,
                                struct sl_fault *f)
{
    struct scene_meta *m = SL_CONTAINER_OF(meta, struct scene_meta, meta);
    const struct uuid id = {{7}};
    for (int i = 0; i < SCENE_ROWS; i++) {
        const struct scene_row *r = &m->rows[i];
        if (l->offset && r->has_offset)
            SL_TRY(l->offset(l->arg, &(struct meta_offset){.group = r->group,
                                                           .topic_id = id,
                                                           .partition = r->partition,
                                                           .offset = r->offset,
                                                           .expire_ms = -1}));
        if (l->share && r->ranges.data)
            SL_TRY(l->share(l->arg, &(struct meta_share){.group = r->group,
                                                         .topic_id = id,
                                                         .partition = r->partition,
                                                         .ranges = r->ranges}));
    }
    return SL_OK;
}

static const struct metastore_ops scene_meta_ops = {.submit = scene_submit, .load = scene_load};

/* ---- the scene --------------------------------------------------------------------------------
 */

struct scene {
    struct core *core;
    struct scene_meta meta;
};

/* What is committed, and what `ms` bring. */
static inline void scene_run(struct scene *s, int64_t ms)
{
    core_run(s->core, ms);
    while (s->meta.n_queued && !s->meta.hold) {
        scene_commit(&s->meta);
        core_run(s->core, 0);
    }
}

static inline void scene_open(struct scene *s)
{
    struct broker *b = &s->core->broker;
    b->closing = b->closed = false;
    b->env.meta = &s->meta.meta;
    b->cfg.group_session_min_ms = 6000;
    b->cfg.group_session_max_ms = 1800000;
    b->cfg.group_members_max = 100;
    b->cfg.offset_metadata_bytes_max = 40;
    b->cfg.offsets_retention_ms = 600000;
    s->meta.meta.ops = &scene_meta_ops;
    assert_int_equal(SL_OK, groups__open(b, NULL));
    assert_int_equal(SL_OK, subs__open(b, NULL));
}

/* All streams must have been closed, or are closed by their doors when told. */
static inline void scene_close(struct scene *s)
{
    struct broker *b = &s->core->broker;
    s->meta.hold = false;
    b->closing = true;
    b->closed = true; /* nobody waits for the end in these tests */
    subs__close(b);
    groups__close(b);
    for (int i = 0; i < 100 && !(subs__idle(b) && groups__idle(b)); i++)
        scene_run(s, 20);
    assert_true(subs__idle(b));
    assert_true(groups__idle(b));
    subs__free(b);
    groups__free(b);
    b->closing = b->closed = false;
}

static inline struct group *scene_group(struct scene *s, const char *name)
{
    return groups__find(s->core->broker.groups, &principal_anonymous.org, slice_str(name));
}

static inline void scene_forget(struct scene *s)
{
    for (int i = 0; i < SCENE_ROWS; i++)
        slice_unref(&s->meta.rows[i].ranges);
}

/* ---- messages ---------------------------------------------------------------------------------
 */

static inline void scene_add_batch(struct scene *s, int32_t partition, struct slice batch)
{
    struct log_part *p = s->core->partitions[partition].log;
    struct batch_info info;
    assert_int_equal(SL_OK, batch_peek(batch, &info));
    batch_set_base_offset(test_batch_bytes(batch), p->log_end);
    assert_in_range(p->n, 0, FAKE_BATCHES_MAX - 1);
    p->batches[p->n++] = batch;
    p->n_visible = p->n;
    p->log_end += info.last_offset_delta + 1;
    p->high_watermark = p->log_end;
    p->bytes += (int64_t)batch.len;
    struct list armed;
    list_init(&armed);
    list_splice(&armed, &p->watches);
    for (struct list *node; (node = list_pop_front(&armed));) {
        struct log_watch *w = SL_CONTAINER_OF(node, struct log_watch, node);
        if (w->above < p->high_watermark)
            w->moved(w);
        else
            list_push_back(&p->watches, node);
    }
}

/* n messages in one batch. */
static inline void scene_publish(struct scene *s, int32_t partition, int n)
{
    scene_add_batch(s, partition, test_batch(CODEC_NONE, n, 10));
}

static inline void scene_publish_with(struct scene *s, const char *name, const char *value)
{
    struct batch_builder *b = batch_builder_new(CODEC_NONE, 1 << 20);
    struct new_header h = {slice_str(name), slice_str(value)};
    struct new_record r = {.value = slice_str("x"), .headers = &h, .n_headers = 1};
    struct slice batch;
    assert_int_equal(SL_OK, batch_builder_add(b, &r));
    assert_int_equal(SL_OK, batch_builder_finish(b, &batch_producer_none, &batch));
    batch_builder_free(b);
    scene_add_batch(s, 0, batch);
}

/* ---- doors ------------------------------------------------------------------------------------
 */

struct door {
    struct scene *scene;
    struct broker_subscribe call;
    struct subscription *s; /* NULL: not open */
    bool answered, has_ended, closed, keeps_room;
    sl_err end;
    int n;
    int64_t got[SCENE_GOT];
    uint32_t counts[SCENE_GOT];
    size_t room; /* not given back */
    size_t most_room;
    char text[64]; /* header of the last one */
};

static inline void door_deliver(void *arg, struct delivery *d)
{
    struct door *o = arg;
    assert_non_null(o->s);
    for (uint32_t i = 0; i < d->n_items; i++) {
        assert_in_range(o->n, 0, SCENE_GOT - 1);
        o->counts[o->n] = d->items[i].count;
        o->got[o->n++] = d->items[i].offset;
        if (d->items[i].n_headers)
            (void)snprintf(o->text, sizeof o->text, "%.*s", (int)d->items[i].headers[0].value.len,
                           (const char *)d->items[i].headers[0].value.data);
    }
    o->room += d->room;
    o->most_room = SL_MAX(o->most_room, o->room);
    if (!o->keeps_room) {
        subscription_room(o->s, d->room);
        o->room -= d->room;
    }
    delivery_free(d);
}

static inline void door_closed(void *arg)
{
    struct door *o = arg;
    o->closed = true;
}

static inline void door_close(struct door *o)
{
    if (o->s)
        subscription_close(SL_TAKE(o->s), door_closed, o);
}

static inline void door_ended(void *arg, sl_err err, const char *reason)
{
    struct door *o = arg;
    assert_false(o->has_ended);
    o->has_ended = true;
    o->end = err;
    if (o->scene->core->broker.closing)
        door_close(o);
}

static const struct subscription_events door_events = {door_deliver, door_ended};

static inline void door_answered(struct broker_call *call)
{
    struct door *o =
        SL_CONTAINER_OF(SL_CONTAINER_OF(call, struct broker_subscribe, call), struct door, call);
    o->answered = true;
    if (o->call.err == SL_OK)
        o->s = o->call.ret;
}

static inline struct door *door_new(struct scene *s, const char *group, const char *id)
{
    struct door *o = sl_new(struct door);
    o->scene = s;
    broker_subscribe_init(&o->call);
    o->call.call.done = door_answered;
    o->call.topic = slice_str("t");
    o->call.group = slice_str(group);
    o->call.consumer_id = slice_str(id);
    o->call.partition = 0;
    o->call.from = SUBSCRIBE_EARLIEST;
    o->call.room = 1 << 20;
    o->call.events = &door_events;
    o->call.arg = o;
    return o;
}

static inline sl_err door_open(struct door *o)
{
    o->answered = o->has_ended = o->closed = false;
    core_submit(o->scene->core, &o->call.call);
    scene_run(o->scene, 1);
    return o->answered ? o->call.err : SL_PENDING;
}

/* A stream of the group from the start of partition 0, with credit. */
static inline struct door *door_with(struct scene *s, const char *group, const char *id,
                                     uint32_t credit)
{
    struct door *o = door_new(s, group, id);
    assert_int_equal(SL_OK, door_open(o));
    if (credit)
        subscription_credit(o->s, credit);
    scene_run(s, 1);
    return o;
}

static inline void door_free(struct door *o)
{
    door_close(o);
    scene_run(o->scene, 5);
    sl_free(o);
}

#endif
