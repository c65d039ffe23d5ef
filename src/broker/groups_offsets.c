/* OffsetCommit, OffsetFetch, OffsetDelete. A commit is seen by readers only when it is durable
 * (B14): the copy in memory changes when its transaction is done, in the order of submission. */
#include "broker/groups_int.h"

static struct group *group_of(struct group_call *c)
{
    return groups__find(groups__of(c), &c->call.who->org, c->group);
}

static struct topic *topic_of(struct group_call *c, const struct group_offset_topic *t)
{
    struct broker *b = c->call.broker;
    if (t->by_id)
        return broker__topic_by_id(b, &t->topic_id);
    return broker__topic(b, &c->call.who->org, t->name);
}

static sl_err find_topic(struct group_call *c, enum operation op, struct group_offset_topic *t,
                         struct topic **ret)
{
    struct topic *topic = topic_of(c, t);
    if (!topic || !uuid_equal(&topic->org, &c->call.who->org))
        return t->by_id ? SL_ETOPIC_ID : SL_ETOPIC;
    SL_TRY(authorize(c->call.broker, c->call.who, op, RESOURCE_TOPIC, topic->name));
    *ret = topic;
    return SL_OK;
}

/* ---- commit --------------------------------------------------------------------------------- */

static sl_err check_partition(const struct group_state *gs, struct topic *topic,
                              const struct group_offset *o)
{
    const struct broker *b = gs->broker;
    if (!broker__partition(topic, o->partition))
        return SL_ETOPIC;
    if (o->metadata.len > b->cfg.offset_metadata_bytes_max)
        return SL_EOFFSET_META_BIG;
    return gs->n_offsets >= GROUP_OFFSETS_MAX ? SL_ELIMIT : SL_OK;
}

/* Decides each partition's result as far as it is known now; the number that is to be stored. */
static size_t check_topics(struct broker_offset_commit *c)
{
    size_t n = 0;
    for (uint32_t i = 0; i < c->n_topics; i++) {
        struct group_offset_topic *t = &c->topics[i];
        struct topic *topic = NULL;
        sl_err err = find_topic(&c->head, OPERATION_READ, t, &topic);
        if (topic)
            t->topic_id = topic->id;
        for (uint32_t k = 0; k < t->n_partitions; k++) {
            struct group_offset *o = &t->partitions[k];
            o->err = topic ? check_partition(groups__of(&c->head), topic, o) : err;
            n += o->err == SL_OK;
        }
    }
    return n;
}

struct commit_at {
    int64_t commit_ms, expire_ms;
};

/* What streams left above the old cursor goes with it. */
static void add_ranges_end(struct group_txn *txn, const struct uuid *topic_id, int32_t partition)
{
    groups__txn_add(txn, META_SHARE_DELETE)->share = (struct meta_share){
        .org = txn->group->org,
        .group = txn->group->name,
        .topic_id = *topic_id,
        .partition = partition,
    };
}

static void add_ops(struct group_txn *txn, const struct broker_offset_commit *c,
                    const struct group_offset_topic *t, struct commit_at at)
{
    for (uint32_t k = 0; k < t->n_partitions; k++) {
        const struct group_offset *o = &t->partitions[k];
        if (o->err != SL_OK)
            continue;
        groups__txn_add(txn, META_OFFSET_PUT)->offset = (struct meta_offset){
            .org = txn->group->org,
            .group = txn->group->name,
            .topic_id = t->topic_id,
            .partition = o->partition,
            .offset = o->offset,
            .leader_epoch = o->leader_epoch,
            .metadata = o->metadata,
            .commit_ms = at.commit_ms,
            .expire_ms = at.expire_ms,
        };
        if (subs__offset_set(txn->groups->broker, txn->group, &t->topic_id, o->partition))
            add_ranges_end(txn, &t->topic_id, o->partition);
    }
}

static void apply(struct group_txn *txn, const struct meta_offset *row)
{
    struct group *g = txn->group;
    if (!broker__topic_by_id(txn->groups->broker, &row->topic_id))
        return; /* deleted meanwhile: its rows go with it */
    struct committed c = {
        .offset = row->offset,
        .commit_ms = row->commit_ms,
        .expire_ms = row->expire_ms,
        .leader_epoch = row->leader_epoch,
        .partition = row->partition,
    };
    size_t before = g->offsets.count;
    group_offsets_put(&g->offsets, &row->topic_id, &c, row->metadata);
    txn->groups->n_offsets += g->offsets.count - before;
}

static void settle_commit(struct group_txn *txn)
{
    struct broker_offset_commit *c = SL_CONTAINER_OF(txn->call, struct broker_offset_commit, head);
    for (size_t i = 0; i < txn->txn.n_ops && txn->txn.err == SL_OK; i++) {
        const struct meta_op *op = &txn->ops[i];
        if (op->kind == META_OFFSET_PUT)
            apply(txn, &op->offset);
        else
            subs__ranges_gone(txn->groups->broker, txn->group, &op->share.topic_id,
                              op->share.partition);
    }
    for (uint32_t i = 0; i < c->n_topics; i++)
        for (uint32_t k = 0; k < c->topics[i].n_partitions; k++)
            if (c->topics[i].partitions[k].err == SL_OK)
                c->topics[i].partitions[k].err = txn->txn.err;
}

static sl_err commit(struct group *g, struct broker_offset_commit *c, size_t n)
{
    struct group_state *gs = groups__of(&c->head);
    struct group_txn *txn;
    SL_TRY(groups__txn_new(gs, g, 2 * n, &txn));
    int64_t now_ms = clock_wall_ms(gs->broker->env.clock);
    struct commit_at at = {now_ms, c->retention_ms < 0 ? -1 : now_ms + c->retention_ms};
    for (uint32_t i = 0; i < c->n_topics; i++)
        add_ops(txn, c, &c->topics[i], at);
    txn->call = &c->head;
    txn->settle = settle_commit;
    groups__txn_submit(txn);
    return SL_OK;
}

/* A commit without generation may make its group: a consumer that assigns itself, a tool. */
static sl_err commit_group(struct broker_offset_commit *c, struct group **ret)
{
    struct group_state *gs = groups__of(&c->head);
    SL_TRY(groups__admit(&c->head, OPERATION_READ, true));
    struct group *g = group_of(&c->head);
    if (!g && c->generation >= 0)
        return SL_EGROUP_MISSING;
    if (!g)
        SL_TRY(groups__make(gs, &c->head.call.who->org, c->head.group, &g));
    *ret = g;
    if (g->n_streams)
        return SL_EMEMBER; /* the cursor is theirs */
    return group_may_commit(g, c, groups__now_ms(gs));
}

static void run_commit(struct broker_call *call)
{
    struct broker_offset_commit *c = SL_CONTAINER_OF(call, struct broker_offset_commit, head.call);
    struct group_state *gs = groups__of(&c->head);
    struct group *g = NULL;
    sl_err err = commit_group(c, &g);
    size_t n = err == SL_OK ? check_topics(c) : 0;
    if (n)
        err = commit(g, c, n);
    if (g)
        groups__end_step(gs, g);
    if (!n || err != SL_OK)
        groups__answer(gs, &c->head, err);
}

void broker_offset_commit_init(struct broker_offset_commit *c)
{
    c->head.call.run = run_commit;
    c->generation = -1;
    c->retention_ms = -1;
}

/* ---- fetch ---------------------------------------------------------------------------------- */

static void fill(struct broker_offset_fetch *f, const struct group *g, const struct topic *topic,
                 struct group_offset *o)
{
    const struct committed *c =
        g && topic ? group_offsets_find(&g->offsets, &topic->id, o->partition) : NULL;
    o->err = SL_OK;
    o->offset = c ? c->offset : -1;
    o->leader_epoch = c ? c->leader_epoch : -1;
    o->metadata = c ? group__keep(f->answer, committed_metadata(c)) : slice_str("");
}

/* Kafka answers "nothing committed" for a name that is no topic, and an error for an id. */
static void fetch_named(struct broker_offset_fetch *f, const struct group *g,
                        struct group_offset_topic *t)
{
    struct topic *topic = NULL;
    sl_err err = find_topic(&f->head, OPERATION_DESCRIBE, t, &topic);
    for (uint32_t k = 0; k < t->n_partitions; k++) {
        fill(f, g, topic, &t->partitions[k]);
        if (err != SL_OK && err != SL_ETOPIC)
            t->partitions[k].err = err;
    }
}

static sl_err fetch_topic(struct broker_offset_fetch *f, const struct group *g,
                          const struct offset_topic *from)
{
    struct topic *topic = broker__topic_by_id(f->head.call.broker, &from->topic_id);
    if (!topic || authorize(f->head.call.broker, f->head.call.who, OPERATION_DESCRIBE,
                            RESOURCE_TOPIC, topic->name) != SL_OK)
        return SL_OK;
    struct group_offset_topic *t = &f->topics[f->n_topics++];
    t->topic_id = topic->id;
    t->name = group__keep(f->answer, slice_str(topic->name));
    t->partitions = arena_alloc(f->answer, from->n, sizeof *t->partitions);
    if (!t->partitions)
        return SL_ENOMEM;
    t->n_partitions = from->n;
    for (uint32_t k = 0; k < from->n; k++) {
        t->partitions[k].partition = from->items[k].partition;
        fill(f, g, topic, &t->partitions[k]);
    }
    return SL_OK;
}

static sl_err fetch_all(struct broker_offset_fetch *f, const struct group *g)
{
    f->n_topics = 0;
    if (!g || !g->offsets.n)
        return SL_OK;
    f->topics = arena_alloc(f->answer, g->offsets.n, sizeof *f->topics);
    if (!f->topics)
        return SL_ENOMEM;
    for (uint32_t i = 0; i < g->offsets.n; i++)
        SL_TRY(fetch_topic(f, g, g->offsets.topics[i]));
    return SL_OK;
}

static sl_err fetch(struct broker_offset_fetch *f)
{
    SL_TRY(groups__admit(&f->head, OPERATION_DESCRIBE, true));
    const struct group *g = group_of(&f->head);
    if (f->all_topics)
        return fetch_all(f, g);
    for (uint32_t i = 0; i < f->n_topics; i++)
        fetch_named(f, g, &f->topics[i]);
    return SL_OK;
}

static void run_fetch(struct broker_call *call)
{
    struct broker_offset_fetch *f = SL_CONTAINER_OF(call, struct broker_offset_fetch, head.call);
    f->answer = arena_new(NULL);
    groups__answer(groups__of(&f->head), &f->head, fetch(f));
}

void broker_offset_fetch_init(struct broker_offset_fetch *f)
{
    f->head.call.run = run_fetch;
}

void broker_offset_fetch_fini(struct broker_offset_fetch *f)
{
    arena_free(SL_TAKE(f->answer));
}

/* ---- delete --------------------------------------------------------------------------------- */

static sl_err check_delete(struct broker_offset_delete *d, struct group **ret)
{
    SL_TRY(groups__admit(&d->head, OPERATION_DELETE, true));
    struct group *g = group_of(&d->head);
    if (!g)
        return SL_EGROUP_MISSING;
    if (g->n_streams || (g->life != GROUP_EMPTY && !slice_eq_str(g->protocol_type, "consumer")))
        return SL_EGROUP_NOT_EMPTY; /* what such members use is not known */
    *ret = g;
    return SL_OK;
}

static size_t count_deletes(struct broker_offset_delete *d, const struct group *g)
{
    size_t n = 0;
    for (uint32_t i = 0; i < d->n_topics; i++) {
        struct group_offset_topic *t = &d->topics[i];
        struct topic *topic = NULL;
        sl_err err = find_topic(&d->head, OPERATION_READ, t, &topic);
        if (topic && group_subscribes(g, slice_str(topic->name)))
            err = SL_EGROUP_SUBSCRIBED;
        if (topic)
            t->topic_id = topic->id;
        for (uint32_t k = 0; k < t->n_partitions; k++) {
            bool known = !topic || broker__partition(topic, t->partitions[k].partition);
            t->partitions[k].err = known ? err : SL_ETOPIC;
            n += t->partitions[k].err == SL_OK;
        }
    }
    return n;
}

static void settle_delete(struct group_txn *txn)
{
    struct group *g = txn->group;
    size_t before = g->offsets.count;
    for (size_t i = 0; i < txn->txn.n_ops && txn->txn.err == SL_OK; i++) {
        const struct meta_offset *row = &txn->ops[i].offset;
        group_offsets_remove(&g->offsets, &row->topic_id, row->partition);
        subs__ranges_gone(txn->groups->broker, g, &row->topic_id, row->partition);
    }
    txn->groups->n_offsets -= before - g->offsets.count;
}

static void add_deletes(struct group_txn *txn, const struct group_offset_topic *t)
{
    for (uint32_t k = 0; k < t->n_partitions; k++)
        if (t->partitions[k].err == SL_OK) {
            (void)subs__offset_set(txn->groups->broker, txn->group, &t->topic_id,
                                   t->partitions[k].partition);
            groups__txn_add(txn, META_OFFSET_DELETE)->offset = (struct meta_offset){
                .org = txn->group->org,
                .group = txn->group->name,
                .topic_id = t->topic_id,
                .partition = t->partitions[k].partition,
            };
        }
}

static sl_err delete_offsets(struct broker_offset_delete *d, struct group *g, size_t n)
{
    struct group_txn *txn;
    SL_TRY(groups__txn_new(groups__of(&d->head), g, n, &txn));
    for (uint32_t i = 0; i < d->n_topics; i++)
        add_deletes(txn, &d->topics[i]);
    txn->call = &d->head;
    txn->settle = settle_delete;
    groups__txn_submit(txn);
    return SL_OK;
}

static void run_delete(struct broker_call *call)
{
    struct broker_offset_delete *d = SL_CONTAINER_OF(call, struct broker_offset_delete, head.call);
    struct group *g;
    sl_err err = check_delete(d, &g);
    size_t n = err == SL_OK ? count_deletes(d, g) : 0;
    if (n)
        err = delete_offsets(d, g, n);
    if (!n || err != SL_OK)
        groups__answer(groups__of(&d->head), &d->head, err);
}

void broker_offset_delete_init(struct broker_offset_delete *d)
{
    d->head.call.run = run_delete;
}
