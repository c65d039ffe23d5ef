#include "broker/groups_int.h"

#include "base/alloc.h"

enum { KEY_BYTES_MAX = 16 + GROUP_NAME_BYTES_MAX };

struct group_state *groups__of(struct group_call *c)
{
    return c->call.broker->groups;
}

/* ---- look-up -------------------------------------------------------------------------------- */

static size_t make_key(const struct uuid *org, struct slice name, uint8_t key[KEY_BYTES_MAX])
{
    SL_ASSERT(name.len <= GROUP_NAME_BYTES_MAX);
    memcpy(key, org->bytes, sizeof org->bytes);
    if (name.len)
        memcpy(key + sizeof org->bytes, name.data, name.len);
    return sizeof org->bytes + name.len;
}

struct group *groups__find(struct group_state *gs, const struct uuid *org, struct slice name)
{
    uint8_t key[KEY_BYTES_MAX];
    if (name.len > GROUP_NAME_BYTES_MAX)
        return NULL;
    return map_get(gs->by_name, key, make_key(org, name, key));
}

static void on_timer(struct timer *t)
{
    struct group *g = SL_CONTAINER_OF(t, struct group, timer);
    struct group_state *gs = SL_CONTAINER_OF(g->host, struct group_state, host);
    group_tick(g, groups__now_ms(gs));
    groups__end_step(gs, g);
}

sl_err groups__make(struct group_state *gs, const struct uuid *org, struct slice name,
                    struct group **ret)
{
    uint8_t key[KEY_BYTES_MAX];
    struct group *g = groups__find(gs, org, name);
    if (!g) {
        g = group_new(&gs->host, org, name);
        if (map_put(gs->by_name, key, make_key(org, name, key), g, NULL) != SL_OK) {
            group_free(g);
            return SL_ELIMIT;
        }
        timer_init(&g->timer, gs->broker->env.loop, on_timer);
        list_push_back(&gs->all, &g->node);
    }
    *ret = g;
    return SL_OK;
}

static void drop(struct group_state *gs, struct group *g)
{
    uint8_t key[KEY_BYTES_MAX];
    SL_ASSERT(!g->n_txns);
    timer_stop(&g->timer);
    list_remove(&g->node);
    map_remove(gs->by_name, key, make_key(&g->org, slice_of(g->name, g->name_len), key));
    SL_ASSERT(gs->n_offsets >= g->offsets.count);
    gs->n_offsets -= g->offsets.count;
    group_free(g);
}

/* ---- steps ---------------------------------------------------------------------------------- */

sl_err groups__admit(struct group_call *c, enum operation op, bool empty_name_allowed)
{
    struct broker *b = c->call.broker;
    if (b->closing)
        return SL_ECLOSED;
    if (c->group.len > GROUP_NAME_BYTES_MAX || (!c->group.len && !empty_name_allowed))
        return SL_EGROUP_ID;
    if (c->group.len && memchr(c->group.data, 0, c->group.len))
        return SL_EGROUP_ID;
    char name[GROUP_NAME_BYTES_MAX + 1] = "";
    if (c->group.len)
        memcpy(name, c->group.data, c->group.len);
    return authorize(b, c->call.who, op, RESOURCE_GROUP, name);
}

/* An answer may bring the next request of its connection in here; the outermost one goes on. */
static void drain(struct group_state *gs)
{
    if (gs->draining)
        return;
    gs->draining = true;
    struct list *node;
    while ((node = list_pop_front(&gs->host.finished))) {
        struct group_call *c = SL_CONTAINER_OF(node, struct group_call, node);
        broker_finish(&c->call);
    }
    gs->draining = false;
}

static void arm(struct group_state *gs, struct group *g)
{
    int64_t due_ms = group_next_deadline(g);
    if (due_ms == GROUP_NEVER || gs->broker->closing) {
        timer_stop(&g->timer);
        return;
    }
    if (timer_running(&g->timer) && g->timer.node.key <= due_ms)
        return; /* fires early, finds nothing to do, and is armed anew */
    timer_start(&g->timer, SL_MAX(due_ms - groups__now_ms(gs), 0));
}

void groups__end_step(struct group_state *gs, struct group *g)
{
    SL_ASSERT(loop_is_current(gs->broker->env.loop));
    if (g && group_is_idle(g))
        drop(gs, g);
    else if (g)
        arm(gs, g);
    drain(gs);
}

void groups__answer(struct group_state *gs, struct group_call *c, sl_err err)
{
    c->err = err;
    c->call.cancel = NULL;
    list_push_back(&gs->host.finished, &c->node);
    drain(gs);
}

/* ---- transactions --------------------------------------------------------------------------- */

sl_err groups__txn_new(struct group_state *gs, struct group *g, size_t n_ops,
                       struct group_txn **ret)
{
    struct group_txn *t = sl_try_alloc(1, sizeof *t + n_ops * sizeof t->ops[0]);
    if (!t)
        return SL_ENOMEM;
    t->groups = gs;
    t->group = g;
    t->cap = n_ops;
    t->txn.ops = t->ops;
    *ret = t;
    return SL_OK;
}

struct meta_op *groups__txn_add(struct group_txn *t, enum meta_op_kind kind)
{
    SL_ASSERT(t->txn.n_ops < t->cap);
    struct meta_op *op = &t->ops[t->txn.n_ops++];
    op->kind = kind;
    return op;
}

static void on_txn_done(struct meta_txn *txn)
{
    struct group_txn *t = SL_CONTAINER_OF(txn, struct group_txn, txn);
    struct group_state *gs = t->groups;
    struct group *g = t->group;
    SL_ASSERT(loop_is_current(gs->broker->env.loop));
    SL_ASSERT(g->n_txns > 0);
    SL_ASSERT(gs->n_txns >= g->n_txns);
    g->n_txns--;
    gs->n_txns--;
    broker__check_meta(gs->broker, txn->err, &txn->fault);
    t->settle(t);
    if (t->call)
        group__finish(g, t->call, txn->err);
    sl_free(t);
    subs__group_settled(gs->broker, g);
    groups__end_step(gs, g);
    if (gs->broker->closing && groups__idle(gs->broker))
        broker__idle_check(gs->broker);
}

void groups__txn_submit(struct group_txn *t)
{
    SL_ASSERT(t->txn.n_ops > 0);
    SL_ASSERT(t->settle);
    t->txn.home = t->groups->broker->env.loop;
    t->txn.done = on_txn_done;
    t->group->n_txns++;
    t->groups->n_txns++;
    meta_submit(t->groups->broker->env.meta, &t->txn);
}

/* ---- the group's row ------------------------------------------------------------------------ */

static void settle_store(struct group_txn *t)
{
    group_stored(t->group, t->txn.err, groups__now_ms(t->groups));
}

static void store(struct group_host *h, struct group *g, struct slice state, int64_t ceiling)
{
    struct group_state *gs = SL_CONTAINER_OF(h, struct group_state, host);
    struct group_txn *t = sl_alloc(1, sizeof *t + sizeof t->ops[0]); /* a size that we choose */
    t->groups = gs;
    t->group = g;
    t->cap = 1;
    t->txn.ops = t->ops;
    t->settle = settle_store;
    groups__txn_add(t, META_GROUP_PUT)->group = (struct meta_group){
        .org = g->org,
        .group = g->name,
        .generation_ceiling = ceiling,
        .state = state,
    };
    groups__txn_submit(t);
}

static void settle_delete(struct group_txn *t)
{
    struct group *g = t->group;
    if (t->txn.err != SL_OK) {
        g->has_row = true; /* it may be there still: a later sweep tries again */
        return;
    }
    t->groups->n_offsets -= g->offsets.count;
    group_offsets_clear(&g->offsets);
    subs__group_gone(t->groups->broker, g);
}

sl_err groups__delete(struct group_state *gs, struct group *g, struct group_call *call)
{
    struct group_txn *t;
    SL_TRY(groups__txn_new(gs, g, 1, &t));
    t->settle = settle_delete;
    t->call = call;
    groups__txn_add(t, META_GROUP_DELETE)->group =
        (struct meta_group){.org = g->org, .group = g->name};
    group_forget(g);
    subs__group_set(gs->broker, g);
    groups__txn_submit(t);
    return SL_OK;
}

/* ---- start and stop ------------------------------------------------------------------------- */

static sl_err load_group(void *arg, const struct meta_group *row)
{
    struct group_state *gs = arg;
    struct group *g;
    SL_TRY(groups__make(gs, &row->org, slice_str(row->group), &g));
    SL_TRY(group_image_load(g, row->state, row->generation_ceiling, groups__now_ms(gs)));
    arm(gs, g);
    return SL_OK;
}

static sl_err load_offset(void *arg, const struct meta_offset *row)
{
    struct group_state *gs = arg;
    if (!broker__topic_by_id(gs->broker, &row->topic_id))
        return SL_OK;
    struct group *g;
    SL_TRY(groups__make(gs, &row->org, slice_str(row->group), &g));
    struct committed c = {
        .offset = row->offset,
        .commit_ms = row->commit_ms,
        .expire_ms = row->expire_ms,
        .leader_epoch = row->leader_epoch,
        .partition = row->partition,
    };
    group_offsets_put(&g->offsets, &row->topic_id, &c, row->metadata);
    gs->n_offsets++;
    return SL_OK;
}

sl_err groups__open(struct broker *b, struct sl_fault *fault)
{
    struct group_state *gs = sl_new(struct group_state);
    gs->broker = b;
    gs->host = (struct group_host){
        .cfg = &b->cfg, .rng = b->env.rng, .clock = b->env.clock, .store = store};
    list_init(&gs->host.finished);
    list_init(&gs->all);
    gs->by_name = map_new(GROUPS_MAX);
    b->groups = gs;
    struct meta_loader loader = {.arg = gs, .group = load_group, .offset = load_offset};
    SL_TRY(meta_load(b->env.meta, &loader, fault));
    groups__sweep_start(gs);
    return SL_OK;
}

void groups__close(struct broker *b)
{
    struct group_state *gs = b->groups;
    timer_stop(&gs->sweep);
    LIST_FOREACH (node, &gs->all) {
        struct group *g = SL_CONTAINER_OF(node, struct group, node);
        timer_stop(&g->timer);
        group_end_calls(g, SL_ECLOSED);
    }
    drain(gs);
}

bool groups__idle(const struct broker *b)
{
    return b->groups->n_txns == 0 && list_empty(&b->groups->host.finished);
}

void groups__free(struct broker *b)
{
    struct group_state *gs = b->groups;
    if (!gs)
        return;
    while (!list_empty(&gs->all))
        drop(gs, SL_CONTAINER_OF(gs->all.next, struct group, node));
    timer_stop(&gs->sweep);
    map_free(gs->by_name);
    sl_free(gs);
    b->groups = NULL;
}

void groups__topic_gone(struct broker *b, struct topic *t)
{
    struct group_state *gs = b->groups;
    LIST_FOREACH_SAFE(node, &gs->all)
    {
        struct group *g = SL_CONTAINER_OF(node, struct group, node);
        size_t before = g->offsets.count;
        group_offsets_remove_topic(&g->offsets, &t->id);
        gs->n_offsets -= before - g->offsets.count;
        if (group_is_idle(g))
            drop(gs, g);
    }
}
