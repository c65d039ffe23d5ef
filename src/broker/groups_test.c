/* Groups and committed offsets in a core, over a metastore whose commits happen when told. */
#include "broker/core_for_test.h"
#include "broker/group.h"
#include "broker/groups_int.h"

#include <string.h>

enum { ROWS_MAX = 64, TXNS_MAX = 64, TOPIC_ID = 7 };

/* ---- a metastore in memory ------------------------------------------------------------------ */

struct fake_offset {
    bool used;
    char group[32];
    struct uuid topic_id;
    int32_t partition;
    int64_t offset, commit_ms, expire_ms;
    int32_t leader_epoch;
    uint8_t metadata[64];
    size_t metadata_len;
};

struct fake_group {
    bool used;
    char name[32];
    int64_t ceiling;
    struct slice state;
};

struct fake_meta {
    struct metastore meta;
    struct meta_txn *queue[TXNS_MAX];
    int n_queued;
    bool hold;
    sl_err err; /* of what is committed next */
    struct fake_offset offsets[ROWS_MAX];
    struct fake_group groups[ROWS_MAX];
};

static struct fake_offset *offset_row(struct fake_meta *m, const struct meta_offset *o, bool make)
{
    struct fake_offset *unused = NULL;
    for (int i = 0; i < ROWS_MAX; i++) {
        struct fake_offset *r = &m->offsets[i];
        if (!r->used)
            unused = r;
        else if (!strcmp(r->group, o->group) && uuid_equal(&r->topic_id, &o->topic_id) &&
                 r->partition == o->partition)
            return r;
    }
    return make ? unused : NULL;
}

static void put_offset(struct fake_meta *m, const struct meta_offset *o)
{
    struct fake_offset *r = offset_row(m, o, true);
    *r = (struct fake_offset){.used = true,
                              .topic_id = o->topic_id,
                              .partition = o->partition,
                              .offset = o->offset,
                              .leader_epoch = o->leader_epoch,
                              .commit_ms = o->commit_ms,
                              .expire_ms = o->expire_ms,
                              .metadata_len = o->metadata.len};
    (void)snprintf(r->group, sizeof r->group, "%s", o->group);
    assert_in_range(o->metadata.len, 0, sizeof r->metadata);
    if (o->metadata.len)
        memcpy(r->metadata, o->metadata.data, o->metadata.len);
}

static struct fake_group *group_row(struct fake_meta *m, const char *name, bool make)
{
    struct fake_group *unused = NULL;
    for (int i = 0; i < ROWS_MAX; i++) {
        if (m->groups[i].used && !strcmp(m->groups[i].name, name))
            return &m->groups[i];
        if (!m->groups[i].used)
            unused = &m->groups[i];
    }
    return make ? unused : NULL;
}

static void put_group(struct fake_meta *m, const struct meta_group *g)
{
    struct fake_group *r = group_row(m, g->group, true);
    slice_unref(&r->state);
    *r = (struct fake_group){.used = true, .ceiling = g->generation_ceiling};
    r->state = slice_copy(g->state.data, g->state.len);
    (void)snprintf(r->name, sizeof r->name, "%s", g->group);
}

static void delete_group(struct fake_meta *m, const char *name)
{
    struct fake_group *r = group_row(m, name, false);
    if (r) {
        slice_unref(&r->state);
        r->used = false;
    }
    for (int i = 0; i < ROWS_MAX; i++)
        if (!strcmp(m->offsets[i].group, name))
            m->offsets[i].used = false;
}

static void apply(struct fake_meta *m, const struct meta_op *op)
{
    if (op->kind == META_OFFSET_PUT)
        put_offset(m, &op->offset);
    else if (op->kind == META_GROUP_PUT)
        put_group(m, &op->group);
    else if (op->kind == META_GROUP_DELETE)
        delete_group(m, op->group.group);
    else if (op->kind == META_OFFSET_DELETE) {
        struct fake_offset *r = offset_row(m, &op->offset, false);
        if (r)
            r->used = false;
    }
}

static void commit_next(struct fake_meta *m)
{
    struct meta_txn *t = m->queue[0];
    memmove(m->queue, m->queue + 1, (size_t)--m->n_queued * sizeof m->queue[0]);
    for (size_t i = 0; i < t->n_ops && m->err == SL_OK; i++)
        apply(m, &t->ops[i]);
    t->err = m->err;
    t->done(t);
}

static void fake_submit(struct metastore *meta, struct meta_txn *t)
{
    struct fake_meta *m = SL_CONTAINER_OF(meta, struct fake_meta, meta);
    assert_in_range(m->n_queued, 0, TXNS_MAX - 1);
    m->queue[m->n_queued++] = t;
}

static sl_err fake_load(struct metastore *meta, const struct meta_loader *l, struct sl_fault *f)
{
    struct fake_meta *m = SL_CONTAINER_OF(meta, struct fake_meta, meta);
    for (int i = 0; i < ROWS_MAX; i++)
        if (m->groups[i].used)
            SL_TRY(l->group(l->arg, &(struct meta_group){
                                        .group = m->groups[i].name,
                                        .generation_ceiling = m->groups[i].ceiling,
                                        .state = m->groups[i].state,
                                    }));
    for (int i = 0; i < ROWS_MAX; i++) {
        const struct fake_offset *r = &m->offsets[i];
        if (r->used)
            SL_TRY(l->offset(l->arg, &(struct meta_offset){
                                         .group = r->group,
                                         .topic_id = r->topic_id,
                                         .partition = r->partition,
                                         .offset = r->offset,
                                         .leader_epoch = r->leader_epoch,
                                         .commit_ms = r->commit_ms,
                                         .expire_ms = r->expire_ms,
                                         .metadata = slice_of(r->metadata, r->metadata_len),
                                     }));
    }
    return SL_OK;
}

static const struct metastore_ops fake_meta_ops = {.submit = fake_submit, .load = fake_load};
static struct fake_meta meta;

/* Commits what waits, and lets `ms` pass. */
static void settle(struct core *c, int64_t ms)
{
    for (int64_t left = ms; left >= 0; left -= 1000) {
        while (meta.n_queued && !meta.hold)
            commit_next(&meta);
        core_run(c, SL_MIN(left, 1000));
    }
    while (meta.n_queued && !meta.hold)
        commit_next(&meta);
}

static void open_groups(struct core *c)
{
    struct broker *b = &c->broker;
    b->env.meta = &meta.meta;
    b->cfg.group_session_min_ms = 6000;
    b->cfg.group_session_max_ms = 1800000;
    b->cfg.group_members_max = 100;
    b->cfg.offset_metadata_bytes_max = 40;
    b->cfg.offsets_retention_ms = 600000;
    meta.meta.ops = &fake_meta_ops;
    assert_int_equal(SL_OK, groups__open(b, NULL));
}

static void close_groups(struct core *c)
{
    meta.hold = false;
    c->broker.closing = true;
    groups__close(&c->broker);
    c->broker.closed = true; /* nobody waits for the end in these tests */
    settle(c, 0);
    assert_true(groups__idle(&c->broker));
    groups__free(&c->broker);
    c->broker.closing = c->broker.closed = false;
}

static void with_groups(struct core *c, void (*body)(struct core *c))
{
    memset(&meta, 0, sizeof meta);
    open_groups(c);
    body(c);
    close_groups(c);
    for (int i = 0; i < ROWS_MAX; i++)
        slice_unref(&meta.groups[i].state);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void ignore(struct broker_call *call)
{
}

static void submit(struct core *c, struct group_call *call, const char *group)
{
    call->call.done = ignore;
    call->group = slice_str(group);
    core_submit(c, &call->call);
}

struct commit {
    struct broker_offset_commit call;
    struct group_offset_topic topic;
    struct group_offset part;
};

static void start_commit(struct core *c, struct commit *k, const char *group, int64_t offset)
{
    *k = (struct commit){0};
    broker_offset_commit_init(&k->call);
    k->part = (struct group_offset){
        .partition = 1, .offset = offset, .leader_epoch = 3, .metadata = slice_str("note")};
    k->topic = (struct group_offset_topic){
        .name = slice_str("t"), .partitions = &k->part, .n_partitions = 1};
    k->call.topics = &k->topic;
    k->call.n_topics = 1;
    submit(c, &k->call.head, group);
}

static void commit_offset(struct core *c, const char *group, int64_t offset)
{
    struct commit k;
    start_commit(c, &k, group, offset);
    settle(c, 0);
    assert_true(k.call.head.call.finished);
    assert_int_equal(SL_OK, k.call.head.err);
    assert_int_equal(SL_OK, k.part.err);
}

static int64_t fetch_offset(struct core *c, const char *group)
{
    struct group_offset part = {.partition = 1};
    struct group_offset_topic topic = {
        .name = slice_str("t"), .partitions = &part, .n_partitions = 1};
    struct broker_offset_fetch f = {.topics = &topic, .n_topics = 1};
    broker_offset_fetch_init(&f);
    submit(c, &f.head, group);
    assert_true(f.head.call.finished);
    assert_int_equal(SL_OK, f.head.err);
    assert_int_equal(SL_OK, part.err);
    if (part.offset >= 0) {
        assert_int_equal(3, part.leader_epoch);
        assert_true(slice_eq_str(part.metadata, "note"));
    }
    broker_offset_fetch_fini(&f);
    return part.offset;
}

struct member_call {
    struct broker_group_join join;
    struct broker_group_sync sync;
    struct group_protocol protocol;
    struct group_assignment assignment;
};

/* A subscription to topic "t" only. */
static const uint8_t subscription[] = {0, 1, 0, 0, 0, 1, 0, 1, 't', 0xff, 0xff, 0xff, 0xff};

static void join(struct core *c, struct member_call *m, const char *group)
{
    *m = (struct member_call){0};
    m->protocol =
        (struct group_protocol){slice_str("range"), slice_of(subscription, sizeof subscription)};
    m->join = (struct broker_group_join){
        .protocol_type = slice_str("consumer"),
        .client_id = slice_str("app"),
        .session_timeout_ms = 10000,
        .rebalance_timeout_ms = 60000,
        .protocols = &m->protocol,
        .n_protocols = 1,
    };
    broker_group_join_init(&m->join);
    submit(c, &m->join.head, group);
    settle(c, 0);
}

static void join_and_sync(struct core *c, struct member_call *m, const char *group)
{
    join(c, m, group);
    assert_true(m->join.head.call.finished);
    assert_int_equal(SL_OK, m->join.head.err);
    m->assignment = (struct group_assignment){m->join.ret_member_id, slice_str("all")};
    m->sync = (struct broker_group_sync){
        .member_id = m->join.ret_member_id,
        .generation = m->join.generation,
        .assignments = &m->assignment,
        .n_assignments = 1,
    };
    broker_group_sync_init(&m->sync);
    submit(c, &m->sync.head, group);
    settle(c, 0);
    assert_int_equal(SL_OK, m->sync.head.err);
    assert_true(slice_eq_str(m->sync.ret_assignment, "all"));
    broker_group_sync_fini(&m->sync);
}

static sl_err beat(struct core *c, const struct member_call *m, const char *group)
{
    struct broker_group_heartbeat h = {.member_id = m->join.ret_member_id,
                                       .generation = m->join.generation};
    broker_group_heartbeat_init(&h);
    submit(c, &h.head, group);
    assert_true(h.head.call.finished);
    return h.head.err;
}

static sl_err delete_now(struct core *c, const char *group)
{
    struct broker_group_delete d = {0};
    broker_group_delete_init(&d);
    submit(c, &d.head, group);
    settle(c, 0);
    assert_true(d.head.call.finished);
    return d.head.err;
}

static uint32_t n_listed(struct core *c, unsigned lives)
{
    struct broker_group_list l = {.lives = lives};
    broker_group_list_init(&l);
    submit(c, &l.head, "");
    assert_int_equal(SL_OK, l.head.err);
    uint32_t n = l.n_rows;
    broker_group_list_fini(&l);
    return n;
}

/* ---- offsets -------------------------------------------------------------------------------- */

static void B14_body(struct core *c)
{
    struct commit k;
    commit_offset(c, "g", 10);
    meta.hold = true;
    start_commit(c, &k, "g", 20);
    settle(c, 1000);
    assert_false(k.call.head.call.finished);
    assert_int_equal(10, fetch_offset(c, "g")); /* not durable, not seen */
    meta.hold = false;
    settle(c, 0);
    assert_true(k.call.head.call.finished);
    assert_int_equal(20, fetch_offset(c, "g"));
    meta.err = SL_ENOSPC;
    start_commit(c, &k, "g", 30);
    settle(c, 0);
    assert_int_equal(SL_ENOSPC, k.part.err);
    assert_int_equal(20, fetch_offset(c, "g"));
    meta.err = SL_OK;
}
static void B14_a_commit_is_seen_when_it_is_durable_and_not_before(struct core *c)
{
    with_groups(c, B14_body);
}

static void errors_body(struct core *c)
{
    static const uint8_t with_nul[] = {'a', 0, 'b'};
    uint8_t big[41] = {0};
    struct group_offset parts[3] = {
        {.partition = 0, .offset = 5, .metadata = slice_of(with_nul, 3)},
        {.partition = TEST_PARTITIONS, .offset = 5},
        {.partition = 2, .offset = 5, .metadata = slice_of(big, sizeof big)},
    };
    struct group_offset lost[2] = {{.partition = 0}, {.partition = 0}};
    struct group_offset_topic topics[3] = {
        {.name = slice_str("t"), .partitions = parts, .n_partitions = 3},
        {.name = slice_str("no"), .partitions = &lost[0], .n_partitions = 1},
        {.by_id = true, .topic_id = {{9}}, .partitions = &lost[1], .n_partitions = 1},
    };
    struct broker_offset_commit k = {0};
    broker_offset_commit_init(&k);
    k.topics = topics;
    k.n_topics = 3;
    submit(c, &k.head, "g");
    settle(c, 0);
    assert_int_equal(SL_OK, k.head.err);
    assert_int_equal(SL_OK, parts[0].err);
    assert_int_equal(SL_ETOPIC, parts[1].err);
    assert_int_equal(SL_EOFFSET_META_BIG, parts[2].err);
    assert_int_equal(SL_ETOPIC, lost[0].err);
    assert_int_equal(SL_ETOPIC_ID, lost[1].err);

    struct broker_offset_fetch f = {.all_topics = true};
    broker_offset_fetch_init(&f);
    submit(c, &f.head, "g");
    assert_int_equal(1, f.n_topics);
    assert_true(slice_eq_str(f.topics[0].name, "t"));
    assert_int_equal(TOPIC_ID, f.topics[0].topic_id.bytes[0]);
    assert_int_equal(1, f.topics[0].n_partitions);
    assert_true(slice_eq(f.topics[0].partitions[0].metadata, slice_of(with_nul, 3)));
    broker_offset_fetch_fini(&f);
}
static void OffsetCommit_metadata_kept_and_each_partition_has_its_own_error(struct core *c)
{
    with_groups(c, errors_body);
}

static void order_body(struct core *c)
{
    struct commit first, last;
    struct broker_group_delete d = {0};
    commit_offset(c, "g", 1);
    meta.hold = true;
    start_commit(c, &first, "g", 2);
    broker_group_delete_init(&d);
    submit(c, &d.head, "g");
    start_commit(c, &last, "g", 3);
    assert_int_equal(1, fetch_offset(c, "g"));
    commit_next(&meta);
    assert_int_equal(2, fetch_offset(c, "g"));
    commit_next(&meta);
    assert_true(d.head.call.finished);
    assert_int_equal(-1, fetch_offset(c, "g"));
    commit_next(&meta);
    assert_int_equal(3, fetch_offset(c, "g"));
    meta.hold = false;
    assert_int_equal(SL_OK, delete_now(c, "g"));
    assert_int_equal(SL_EGROUP_MISSING, delete_now(c, "g"));
    assert_int_equal(0, n_listed(c, 0));
}
static void commits_and_a_deletion_take_effect_in_their_order(struct core *c)
{
    with_groups(c, order_body);
}

static void expiry_body(struct core *c)
{
    struct commit k = {0};
    commit_offset(c, "plain", 1);
    start_commit(c, &k, "own", 2);
    settle(c, 0);
    broker_offset_commit_init(&k.call);
    k.call.retention_ms = 100000;
    submit(c, &k.call.head, "own");
    settle(c, 90000);
    assert_int_equal(2, fetch_offset(c, "own"));
    settle(c, 130000);
    assert_int_equal(-1, fetch_offset(c, "own")); /* its own time was up */
    assert_int_equal(1, fetch_offset(c, "plain"));
    settle(c, 500000);
    assert_int_equal(-1, fetch_offset(c, "plain"));
    assert_int_equal(0, n_listed(c, 0));
    assert_null(group_row(&meta, "plain", false));
    for (int i = 0; i < ROWS_MAX; i++)
        assert_false(meta.offsets[i].used);
}
static void offsets_of_nobody_expire_and_their_groups_go(struct core *c)
{
    with_groups(c, expiry_body);
}

static void in_use_body(struct core *c)
{
    struct member_call m;
    join_and_sync(c, &m, "g");
    struct commit k = {0};
    broker_offset_commit_init(&k.call);
    start_commit(c, &k, "g", 9);
    assert_int_equal(SL_EMEMBER, k.call.head.err); /* not beside members */
    k.call.member_id = m.join.ret_member_id;
    k.call.generation = m.join.generation;
    submit(c, &k.call.head, "g");
    settle(c, 0);
    assert_int_equal(SL_OK, k.part.err);
    for (int i = 0; i < 150; i++) {
        settle(c, 8000);
        assert_int_equal(SL_OK, beat(c, &m, "g"));
    }
    assert_int_equal(9, fetch_offset(c, "g")); /* twice the retention: subscribed */
    assert_int_equal(SL_EGROUP_NOT_EMPTY, delete_now(c, "g"));

    struct group_offset part = {.partition = 1};
    struct group_offset_topic topic = {
        .name = slice_str("t"), .partitions = &part, .n_partitions = 1};
    struct broker_offset_delete d = {.topics = &topic, .n_topics = 1};
    broker_offset_delete_init(&d);
    submit(c, &d.head, "g");
    assert_int_equal(SL_OK, d.head.err);
    assert_int_equal(SL_EGROUP_SUBSCRIBED, part.err);
    settle(c, 11000); /* the member is gone */
    assert_int_equal(1, n_listed(c, 1u << GROUP_EMPTY));
    submit(c, &d.head, "g");
    settle(c, 0);
    assert_int_equal(SL_OK, part.err);
    assert_int_equal(-1, fetch_offset(c, "g"));
    broker_group_join_fini(&m.join);
}
static void offsets_in_use_neither_expire_nor_are_deleted(struct core *c)
{
    with_groups(c, in_use_body);
}

static void topic_body(struct core *c)
{
    struct commit k;
    commit_offset(c, "g", 1);
    meta.hold = true;
    start_commit(c, &k, "g", 2);
    map_remove(c->broker.topics_by_id, c->topic.id.bytes, sizeof c->topic.id.bytes);
    groups__topic_gone(&c->broker, &c->topic);
    meta.hold = false;
    settle(c, 0);
    assert_true(k.call.head.call.finished);
    /* as if it came back with the same id: nothing of it is left */
    assert_int_equal(SL_OK, map_put(c->broker.topics_by_id, c->topic.id.bytes,
                                    sizeof c->topic.id.bytes, &c->topic, NULL));
    assert_int_equal(-1, fetch_offset(c, "g"));
}
static void offsets_of_a_deleted_topic_are_gone_also_those_under_way(struct core *c)
{
    with_groups(c, topic_body);
}

/* ---- groups --------------------------------------------------------------------------------- */

static void restart_body(struct core *c)
{
    struct member_call m;
    join_and_sync(c, &m, "g");
    commit_offset(c, "plain", 4);
    close_groups(c);
    open_groups(c);
    assert_int_equal(2, n_listed(c, 0));
    assert_int_equal(1, n_listed(c, 1u << GROUP_STABLE));
    assert_int_equal(4, fetch_offset(c, "plain"));
    assert_int_equal(SL_OK, beat(c, &m, "g"));
    settle(c, 9000);
    assert_int_equal(SL_OK, beat(c, &m, "g"));
    settle(c, 11000);
    assert_int_equal(SL_EMEMBER, beat(c, &m, "g"));
    broker_group_join_fini(&m.join);
}
static void a_restart_goes_on_without_a_rebalance(struct core *c)
{
    with_groups(c, restart_body);
}

static void closing_body(struct core *c)
{
    struct member_call a, b, late;
    join_and_sync(c, &a, "g");
    join(c, &b, "g");
    assert_false(b.join.head.call.finished);
    close_groups(c);
    assert_true(b.join.head.call.finished);
    assert_int_equal(SL_ECLOSED, b.join.head.err);
    open_groups(c);
    c->broker.closing = true;
    join(c, &late, "g");
    assert_int_equal(SL_ECLOSED, late.join.head.err);
    c->broker.closing = false;
    broker_group_join_fini(&a.join);
    broker_group_join_fini(&b.join);
    broker_group_join_fini(&late.join);
}
static void joins_that_wait_are_answered_when_the_broker_closes(struct core *c)
{
    with_groups(c, closing_body);
}

static void cancel_body(struct core *c)
{
    struct member_call a, b;
    join_and_sync(c, &a, "g");
    join(c, &b, "g");
    broker_cancel(&b.join.head.call);
    assert_true(b.join.head.call.finished);
    assert_int_equal(SL_ECANCELED, b.join.head.err);
    assert_int_equal(SL_EREBALANCE, beat(c, &a, "g"));
    broker_group_join_fini(&a.join);
    broker_group_join_fini(&b.join);
}
static void a_join_whose_peer_went_is_answered_and_keeps_its_place(struct core *c)
{
    with_groups(c, cancel_body);
}

static void names_body(struct core *c)
{
    char long_name[GROUP_NAME_BYTES_MAX + 2];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    struct member_call m;
    join(c, &m, "");
    assert_int_equal(SL_EGROUP_ID, m.join.head.err);
    join(c, &m, long_name);
    assert_int_equal(SL_EGROUP_ID, m.join.head.err);
    m.join.head.call.done = ignore;
    m.join.head.group = slice_of("a\0b", 3);
    core_submit(c, &m.join.head.call);
    assert_int_equal(SL_EGROUP_ID, m.join.head.err);
    join(c, &m, "../../etc");
    assert_int_equal(SL_OK, m.join.head.err);
    broker_group_join_fini(&m.join);
    m.join.session_timeout_ms = 5999;
    submit(c, &m.join.head, "g");
    assert_int_equal(SL_ESESSION_TIMEOUT, m.join.head.err);
    assert_int_equal(1, n_listed(c, 0));
    commit_offset(c, "", 5); /* old clients do */
    assert_int_equal(5, fetch_offset(c, ""));
}
static void K07_group_names_are_any_text_but_empty_long_or_with_a_nul(struct core *c)
{
    with_groups(c, names_body);
}

static void forget_body(struct core *c)
{
    struct member_call m;
    struct broker_group_leave l = {0};
    join_and_sync(c, &m, "g");
    struct group_leaver leaver = {.member_id = m.join.ret_member_id};
    l.leavers = &leaver;
    l.n_leavers = 1;
    broker_group_leave_init(&l);
    meta.hold = true;
    submit(c, &l.head, "g"); /* its row of an empty group is on its way */
    assert_int_equal(SL_OK, leaver.err);
    struct broker_group_delete d = {0};
    broker_group_delete_init(&d);
    submit(c, &d.head, "g");
    int32_t before = m.join.generation;
    broker_group_join_fini(&m.join);
    join(c, &m, "g"); /* behind the deletion */
    meta.hold = false;
    settle(c, 0);
    assert_int_equal(SL_OK, d.head.err);
    assert_int_equal(SL_OK, m.join.head.err);
    assert_true(m.join.generation > before);
    assert_true(group_row(&meta, "g", false)->ceiling >= m.join.generation);
    broker_group_join_fini(&m.join);
}
static void a_group_that_is_joined_while_it_is_deleted_lives_on(struct core *c)
{
    with_groups(c, forget_body);
}

int main(void)
{
    const struct CMUnitTest list[] = {
        CORE_TEST(B14_a_commit_is_seen_when_it_is_durable_and_not_before),
        CORE_TEST(OffsetCommit_metadata_kept_and_each_partition_has_its_own_error),
        CORE_TEST(commits_and_a_deletion_take_effect_in_their_order),
        CORE_TEST(offsets_of_nobody_expire_and_their_groups_go),
        CORE_TEST(offsets_in_use_neither_expire_nor_are_deleted),
        CORE_TEST(offsets_of_a_deleted_topic_are_gone_also_those_under_way),
        CORE_TEST(a_restart_goes_on_without_a_rebalance),
        CORE_TEST(joins_that_wait_are_answered_when_the_broker_closes),
        CORE_TEST(a_join_whose_peer_went_is_answered_and_keeps_its_place),
        CORE_TEST(K07_group_names_are_any_text_but_empty_long_or_with_a_nul),
        CORE_TEST(a_group_that_is_joined_while_it_is_deleted_lives_on),
    };
    return cmocka_run_group_tests_name("groups", list, NULL, NULL);
}
