/* SyncGroup, Heartbeat, LeaveGroup, and who may commit offsets. */
#include "broker/group_int.h"

/* ---- sync ----------------------------------------------------------------------------------- */

static sl_err check_assignments(const struct group *g, const struct broker_group_sync *s)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < s->n_assignments; i++) {
        size_t len = s->assignments[i].assignment.len;
        if (len > GROUP_MEMBER_BYTES_MAX || bytes + len > GROUP_BYTES_MAX)
            return SL_EPOLICY;
        bytes += len;
    }
    return g->bytes + bytes > 2 * (size_t)GROUP_BYTES_MAX ? SL_EPOLICY : SL_OK;
}

/* Members that the leader left out get nothing; names that are no members are ignored. */
static sl_err take_assignments(struct group *g, const struct broker_group_sync *s)
{
    for (uint32_t i = 0; i < s->n_assignments; i++) {
        const struct group_assignment *a = &s->assignments[i];
        struct member *m = member_set_find(&g->members, a->member_id);
        if (!m)
            continue;
        struct slice copy = slice_copy(a->assignment.data, a->assignment.len);
        if (!copy.data && a->assignment.len)
            return SL_ENOMEM;
        group__set_assignment(g, m, copy);
    }
    g->assigned = true;
    g->sync_version = ++g->version;
    return SL_OK;
}

static bool differs(struct slice asked, struct slice actual)
{
    return asked.data && !slice_eq(asked, actual);
}

static sl_err check_sync(const struct group *g, const struct broker_group_sync *s,
                         struct member **ret)
{
    SL_TRY(group__validate(g, s->member_id, s->instance_id, ret));
    if (s->generation != g->generation)
        return SL_EGENERATION;
    if (differs(s->protocol_type, g->protocol_type) || differs(s->protocol, g->protocol))
        return SL_EGROUP_PROTOCOL;
    if (g->life == GROUP_PREPARING_REBALANCE)
        return SL_EREBALANCE;
    return g->life == GROUP_EMPTY || g->life == GROUP_DEAD ? SL_EMEMBER : SL_OK;
}

/* The first sync of the leader carries the assignment; a repeated one only waits. */
static sl_err lead(struct group *g, const struct member *m, const struct broker_group_sync *s)
{
    if (g->life != GROUP_COMPLETING_REBALANCE || m != g->leader || g->assigned)
        return SL_OK;
    SL_TRY(check_assignments(g, s));
    return take_assignments(g, s);
}

void group_sync(struct group *g, struct broker_group_sync *s, int64_t now_ms)
{
    struct member *m;
    sl_err err = check_sync(g, s, &m);
    if (err == SL_OK)
        err = lead(g, m, s);
    if (err != SL_OK) {
        group__finish(g, &s->head, err);
        return;
    }
    if (m->sync)
        group__finish(g, &m->sync->head, SL_EREBALANCE); /* superseded by this one */
    m->sync = s;
    s->member = m;
    m->synced = true;
    group__touch(g, m, now_ms);
    if (g->life == GROUP_STABLE)
        group__answer_sync(g, m);
    group__pump(g, now_ms);
}

/* ---- heartbeat ------------------------------------------------------------------------------ */

sl_err group_heartbeat(struct group *g, const struct broker_group_heartbeat *h, int64_t now_ms)
{
    struct member *m;
    SL_TRY(group__validate(g, h->member_id, h->instance_id, &m));
    if (h->generation != g->generation)
        return SL_EGENERATION;
    group__touch(g, m, now_ms);
    return g->life == GROUP_PREPARING_REBALANCE ? SL_EREBALANCE : SL_OK;
}

/* ---- leave ---------------------------------------------------------------------------------- */

static struct member *find_instance(const struct group *g, struct slice instance)
{
    if (!instance.data || !g->by_instance)
        return NULL;
    return map_get(g->by_instance, instance.data, instance.len);
}

/* Without a member id the instance id alone names the member: an operator removes it. */
static sl_err leave_one(struct group *g, const struct group_leaver *l)
{
    struct member *m = NULL;
    if (!l->member_id.len) {
        m = find_instance(g, l->instance_id);
        if (!m)
            return SL_EMEMBER;
    } else if ((m = member_set_find(&g->pending, l->member_id))) {
        group__drop_member(g, &g->pending, m);
        return SL_OK;
    } else {
        SL_TRY(group__validate(g, l->member_id, l->instance_id, &m));
    }
    group__remove(g, m, SL_EMEMBER);
    return SL_OK;
}

void group_leave(struct group *g, struct group_leaver *leavers, uint32_t n, int64_t now_ms)
{
    uint32_t members = g->members.n;
    for (uint32_t i = 0; i < n; i++)
        leavers[i].err = leave_one(g, &leavers[i]);
    if (g->members.n < members)
        group__members_left(g, now_ms);
    group__pump(g, now_ms);
}

/* ---- offset commits ------------------------------------------------------------------------- */

sl_err group_may_commit(struct group *g, const struct broker_offset_commit *c, int64_t now_ms)
{
    struct member *m;
    if (c->generation < 0 && g->life == GROUP_EMPTY)
        return SL_OK; /* a tool, or a consumer that assigns itself */
    if (c->generation < 0 && !c->member_id.len && !c->instance_id.data)
        return SL_EMEMBER; /* not beside members */
    SL_TRY(group__validate(g, c->member_id, c->instance_id, &m));
    if (c->generation != g->generation)
        return SL_EGENERATION;
    if (g->life == GROUP_COMPLETING_REBALANCE)
        return SL_EREBALANCE;
    group__touch(g, m, now_ms);
    return SL_OK;
}

void broker_group_sync_fini(struct broker_group_sync *s)
{
    slice_unref(&s->ret_protocol_type);
    slice_unref(&s->ret_protocol);
    slice_unref(&s->ret_assignment);
}
