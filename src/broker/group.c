#include "broker/group_int.h"

#include "base/alloc.h"

const char *group_life_name(enum group_life life)
{
    switch (life) {
    case GROUP_EMPTY:
        return "Empty";
    case GROUP_PREPARING_REBALANCE:
        return "PreparingRebalance";
    case GROUP_COMPLETING_REBALANCE:
        return "CompletingRebalance";
    case GROUP_STABLE:
        return "Stable";
    case GROUP_DEAD:
        return "Dead";
    }
    SL_UNREACHABLE();
}

struct group *group_new(struct group_host *host, const struct uuid *org, struct slice name)
{
    struct group *g = sl_new(struct group);
    g->host = host;
    g->org = *org;
    g->name = sl_alloc(1, name.len + 1);
    if (name.len)
        memcpy(g->name, name.data, name.len);
    g->name_len = name.len;
    g->changed_wall_ms = clock_wall_ms(host->clock);
    list_init(&g->shares);
    list_init(&g->share_rows);
    g->next_generation = 1;
    g->join_deadline_ms = g->sync_deadline_ms = g->session_scan_ms = GROUP_NEVER;
    return g;
}

void group_free(struct group *g)
{
    if (!g)
        return;
    SL_ASSERT(!g->storing);
    SL_ASSERT(!g->n_streams);
    SL_ASSERT(list_empty(&g->shares) && list_empty(&g->share_rows));
    g->host->bytes -= g->bytes + g->member_bytes;
    for (uint32_t i = 0; i < g->n_supported; i++)
        slice_unref(&g->supported[i].name);
    sl_free(g->supported);
    member_set_fini(&g->members);
    member_set_fini(&g->pending);
    map_free(g->by_instance);
    group_offsets_clear(&g->offsets);
    slice_unref(&g->protocol_type);
    slice_unref(&g->protocol);
    slice_unref(&g->stored);
    sl_free(g->name);
    sl_free(g);
}

static bool may_follow(enum group_life from, enum group_life to)
{
    switch (to) {
    case GROUP_EMPTY:
        return from == GROUP_PREPARING_REBALANCE;
    case GROUP_PREPARING_REBALANCE:
        return from == GROUP_EMPTY || from == GROUP_COMPLETING_REBALANCE || from == GROUP_STABLE;
    case GROUP_COMPLETING_REBALANCE:
        return from == GROUP_PREPARING_REBALANCE;
    case GROUP_STABLE:
        return from == GROUP_COMPLETING_REBALANCE;
    case GROUP_DEAD:
        return from == GROUP_EMPTY;
    }
    return false;
}

void group__set_life(struct group *g, enum group_life life)
{
    SL_ASSERT(may_follow(g->life, life));
    g->life = life;
    g->changed_wall_ms = clock_wall_ms(g->host->clock);
}

/* ---- answers -------------------------------------------------------------------------------- */

void group__finish(struct group *g, struct group_call *c, sl_err err)
{
    c->err = err;
    c->call.cancel = NULL;
    SL_ASSERT(!list_linked(&c->node));
    list_push_back(&g->host->finished, &c->node);
}

/* A copy in the answer's memory; absent stays absent (also when memory is out). */
struct slice group__keep(struct arena *a, struct slice s)
{
    char *copy = s.data ? arena_strndup(a, s.data, s.len) : NULL;
    return copy ? slice_of(copy, s.len) : (struct slice){0};
}

static sl_err view_members(const struct group *g, struct broker_group_join *j)
{
    j->members = arena_alloc(j->answer, g->members.n, sizeof *j->members);
    if (!j->members)
        return SL_ENOMEM;
    j->n_members = g->members.n;
    for (uint32_t i = 0; i < g->members.n; i++) {
        const struct member *m = g->members.items[i];
        struct slice metadata = member_metadata(m, g->protocol);
        j->members[i] = (struct group_member_view){
            .member_id = group__keep(j->answer, member_id(m)),
            .instance_id = group__keep(j->answer, member_instance(m)),
            .metadata = slice_ref(metadata, 0, metadata.len),
        };
    }
    return SL_OK;
}

void group__answer_join(struct group *g, const struct member *m, struct broker_group_join *j,
                        bool with_members)
{
    SL_ASSERT(g->generation <= g->ceiling); /* nobody hears of one that a restart could repeat */
    j->generation = g->generation;
    j->ret_member_id = group__keep(j->answer, member_id(m));
    j->ret_leader = group__keep(j->answer, g->leader ? member_id(g->leader) : (struct slice){0});
    j->ret_protocol_type = group__keep(j->answer, g->protocol_type);
    j->ret_protocol = group__keep(j->answer, g->protocol);
    group__finish(g, &j->head, with_members ? view_members(g, j) : SL_OK);
}

void group__fail_join(struct group *g, struct broker_group_join *j, sl_err err)
{
    j->generation = -1;
    if (!j->ret_member_id.data)
        j->ret_member_id = j->member_id;
    group__finish(g, &j->head, err);
}

void group__answer_sync(struct group *g, struct member *m)
{
    struct broker_group_sync *s = SL_TAKE(m->sync);
    if (!s)
        return;
    s->ret_protocol_type = slice_ref(g->protocol_type, 0, g->protocol_type.len);
    s->ret_protocol = slice_ref(g->protocol, 0, g->protocol.len);
    s->ret_assignment = slice_ref(m->assignment, 0, m->assignment.len);
    group__finish(g, &s->head, SL_OK);
}

void group__fail_sync(struct group *g, struct member *m, sl_err err)
{
    struct broker_group_sync *s = SL_TAKE(m->sync);
    if (s)
        group__finish(g, &s->head, err);
}

/* ---- members come and go -------------------------------------------------------------------- */

void group__touch(struct group *g, struct member *m, int64_t now_ms)
{
    m->deadline_ms = now_ms + m->session_timeout_ms;
    g->session_scan_ms = SL_MIN(g->session_scan_ms, m->deadline_ms);
}

void group__set_awaiting(struct group *g, struct member *m, bool awaiting)
{
    if (awaiting && !m->awaiting_join)
        g->n_awaiting++;
    else if (!awaiting && m->awaiting_join)
        g->n_awaiting--;
    m->awaiting_join = awaiting;
}

void group__index_static(struct group *g, struct member *m)
{
    if (!member_is_static(m))
        return;
    if (!g->by_instance)
        g->by_instance = map_new(UINT32_MAX);
    struct slice instance = member_instance(m);
    SL_ASSERT(map_put(g->by_instance, instance.data, instance.len, m, NULL) == SL_OK);
}

void group__add(struct group *g, struct member *m, struct slice protocol_type)
{
    if (!g->members.n) {
        slice_unref(&g->protocol_type);
        g->protocol_type = slice_copy(protocol_type.data, protocol_type.len);
    }
    group__keep_member(g, &g->members, m);
    group__index_static(g, m);
    if (!g->leader)
        g->leader = m;
}

void group__remove(struct group *g, struct member *m, sl_err err)
{
    if (m->join)
        group__fail_join(g, SL_TAKE(m->join), err);
    group__fail_sync(g, m, err);
    group__set_awaiting(g, m, false);
    group__set_protocols(g, m, (struct slice){0});
    group__set_assignment(g, m, (struct slice){0});
    if (member_is_static(m))
        map_remove(g->by_instance, member_instance(m).data, m->instance_len);
    bool was_leader = g->leader == m;
    group__drop_member(g, &g->members, m);
    if (was_leader)
        g->leader = g->members.n ? g->members.items[0] : NULL;
}

sl_err group__validate(const struct group *g, struct slice id, struct slice instance,
                       struct member **ret)
{
    if (instance.data) {
        struct member *m =
            g->by_instance ? map_get(g->by_instance, instance.data, instance.len) : NULL;
        if (!m)
            return SL_EMEMBER;
        if (!slice_eq(member_id(m), id))
            return SL_EINSTANCE_FENCED;
    }
    struct member *m = member_set_find(&g->members, id);
    if (!m)
        return SL_EMEMBER;
    *ret = m;
    return SL_OK;
}

/* ---- ends ----------------------------------------------------------------------------------- */

void group_cancel_join(struct group *g, struct broker_group_join *j)
{
    SL_ASSERT(j->member->join == j);
    j->member->join = NULL; /* still counts as joined, as in Kafka */
    j->member->join_version = 0;
    group__fail_join(g, j, SL_ECANCELED);
}

void group_cancel_sync(struct group *g, struct broker_group_sync *s, int64_t now_ms)
{
    SL_ASSERT(s->member->sync == s);
    s->member->sync = NULL;
    group__touch(g, s->member, now_ms);
    group__finish(g, &s->head, SL_ECANCELED);
}

void group_end_calls(struct group *g, sl_err err)
{
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        if (m->join)
            group__fail_join(g, SL_TAKE(m->join), err);
        group__fail_sync(g, m, err);
    }
}

void group_forget(struct group *g)
{
    SL_ASSERT(g->life == GROUP_EMPTY);
    g->sending_void = g->storing;
    slice_unref(&g->protocol_type);
    slice_unref(&g->stored);
    g->ceiling = 0;
    g->has_row = false;
    g->version_tried = g->version_durable = g->version;
}

bool group_is_idle(const struct group *g)
{
    return g->life == GROUP_EMPTY && !g->pending.n && !g->offsets.count && !g->has_row &&
           !g->storing && !g->n_txns && !g->n_streams && list_empty(&g->shares) &&
           list_empty(&g->share_rows);
}
