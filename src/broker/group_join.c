/* JoinGroup: who is let in, under which id, and whether the group rebalances for it. */
#include "broker/group_int.h"

#include "base/alloc.h"
#include "base/uuid.h"

enum { GROUPS_BYTES_MAX = 256 * 1024 * 1024 }; /* of all groups together */

static struct member *find(const struct group *g, struct slice id)
{
    return member_set_find(&g->members, id);
}

static uint32_t members_max(const struct group *g)
{
    return (uint32_t)g->host->cfg->group_members_max;
}

/* Kafka's rule: during a rebalance those count that have joined it, else the members. */
static bool has_place(const struct group *g, const struct member *known)
{
    switch (g->life) {
    case GROUP_EMPTY:
    case GROUP_DEAD:
        return true;
    case GROUP_PREPARING_REBALANCE:
        return (known && known->awaiting_join) || g->n_awaiting < members_max(g);
    case GROUP_COMPLETING_REBALANCE:
    case GROUP_STABLE:
        return known || g->members.n < members_max(g);
    }
    SL_UNREACHABLE();
}

/* Newer versions have no limit on the length of their strings. */
static sl_err check_texts(const struct broker_group_join *j)
{
    if (j->instance_id.data && (!j->instance_id.len || j->instance_id.len > GROUP_NAME_BYTES_MAX))
        return SL_EINVAL;
    if (j->protocol_type.len > GROUP_NAME_BYTES_MAX ||
        j->client_id.len > INT16_MAX - UUID_TEXT_BYTES ||
        j->client_host.len > GROUP_NAME_BYTES_MAX || j->member_id.len > INT16_MAX * 2)
        return SL_EINVAL;
    for (uint32_t i = 0; i < j->n_protocols; i++)
        if (j->protocols[i].name.len > GROUP_NAME_BYTES_MAX)
            return SL_EINVAL;
    return SL_OK;
}

/* K10: the memory of all groups is bounded; a member that asks for no more than it has may go on.
 */
static sl_err check_bytes(const struct group *g, const struct member *known,
                          const struct broker_group_join *j)
{
    size_t bytes = 0, held = known ? known->protocols.len : 0;
    if (j->n_protocols > GROUP_PROTOCOLS_MAX || g->n_supported > GROUP_PROTOCOLS_MAX)
        return SL_EPOLICY;
    for (uint32_t i = 0; i < j->n_protocols; i++) {
        if (j->protocols[i].metadata.len > GROUP_MEMBER_BYTES_MAX)
            return SL_EPOLICY;
        bytes += j->protocols[i].metadata.len;
    }
    if (bytes > GROUP_MEMBER_BYTES_MAX || g->bytes + bytes > GROUP_BYTES_MAX)
        return SL_EPOLICY;
    if (known && bytes <= held)
        return SL_OK;
    return g->host->bytes + bytes > GROUPS_BYTES_MAX ? SL_EGROUP_FULL : SL_OK;
}

/* ---- new members ---------------------------------------------------------------------------- */

/* "<client id or instance id>-<uuid>", as Kafka makes them. In the call's answer. */
static struct slice new_member_id(struct group *g, struct broker_group_join *j)
{
    struct slice prefix = j->instance_id.data ? j->instance_id : j->client_id;
    struct uuid id = uuid_random(g->host->rng);
    char *text = arena_alloc(j->answer, prefix.len + 1 + UUID_TEXT_BYTES, 1);
    if (prefix.len)
        memcpy(text, prefix.data, prefix.len);
    text[prefix.len] = '-';
    uuid_format(&id, text + prefix.len + 1);
    return slice_of(text, prefix.len + UUID_TEXT_BYTES);
}

static struct member_ids ids_of(const struct broker_group_join *j, struct slice id)
{
    return (struct member_ids){
        .id = id,
        .instance_id = j->instance_id,
        .client_id = j->client_id,
        .client_host = j->client_host,
    };
}

static void set_timeouts(struct member *m, const struct broker_group_join *j)
{
    m->session_timeout_ms = j->session_timeout_ms;
    m->rebalance_timeout_ms =
        j->rebalance_timeout_ms < 0 ? j->session_timeout_ms : j->rebalance_timeout_ms;
}

/* A retry supersedes the call that is parked, whose client no longer listens. */
static void park(struct group *g, struct member *m, struct broker_group_join *j)
{
    if (m->join)
        group__fail_join(g, SL_TAKE(m->join), SL_EREBALANCE);
    m->join = j;
    j->member = m;
}

static void add_member(struct group *g, struct broker_group_join *j, struct slice id,
                       struct slice protocols, int64_t now_ms)
{
    struct member_ids ids = ids_of(j, id);
    struct member *m = member_new(&ids);
    set_timeouts(m, j);
    m->is_new = true;
    m->deadline_ms = now_ms + GROUP_NEW_MEMBER_JOIN_MS;
    g->session_scan_ms = SL_MIN(g->session_scan_ms, m->deadline_ms);
    group__add(g, m, j->protocol_type);
    group__set_protocols(g, m, protocols);
    park(g, m, j);
    group__set_awaiting(g, m, true);
    if (g->life == GROUP_PREPARING_REBALANCE && g->initial)
        g->new_member_added = true;
    group__rebalance(g, now_ms);
}

/* K10: ids that were handed out count as members, or they would be free to make. */
static void require_member_id(struct group *g, struct broker_group_join *j, int64_t now_ms)
{
    if (g->members.n + g->pending.n >= members_max(g)) {
        group__fail_join(g, j, SL_EGROUP_FULL);
        return;
    }
    j->ret_member_id = new_member_id(g, j);
    struct member *m = member_new(&(struct member_ids){.id = j->ret_member_id});
    m->session_timeout_ms = j->session_timeout_ms;
    group__keep_member(g, &g->pending, m);
    group__touch(g, m, now_ms);
    group__fail_join(g, j, SL_EMEMBER_REQUIRED);
}

/* ---- known members -------------------------------------------------------------------------- */

static void rejoin(struct group *g, struct member *m, struct broker_group_join *j,
                   struct slice protocols, int64_t now_ms)
{
    group__set_protocols(g, m, protocols);
    set_timeouts(m, j);
    m->join_version = 0;
    park(g, m, j);
    group__set_awaiting(g, m, true);
    group__rebalance(g, now_ms);
}

/* The same id joins again. Without a change it is told where the group stands: its answer got
 * lost. The leader of a stable group asks for a rebalance by joining. */
static void join_again(struct group *g, struct member *m, struct broker_group_join *j,
                       struct slice *protocols, int64_t now_ms)
{
    bool same = slice_eq(m->protocols, *protocols);
    bool is_leader = m == g->leader;
    if (g->life == GROUP_COMPLETING_REBALANCE && same)
        group__answer_join(g, m, j, is_leader);
    else if (g->life == GROUP_STABLE && same && !is_leader)
        group__answer_join(g, m, j, false);
    else if (g->life == GROUP_EMPTY || g->life == GROUP_DEAD)
        group__fail_join(g, j, SL_EMEMBER);
    else {
        struct slice taken = *protocols;
        *protocols = (struct slice){0};
        rejoin(g, m, j, taken, now_ms);
    }
}

static struct member *find_pending(const struct group *g, const struct broker_group_join *j)
{
    return j->instance_id.data ? NULL : member_set_find(&g->pending, j->member_id);
}

static void join_known(struct group *g, struct broker_group_join *j, struct slice *protocols,
                       int64_t now_ms)
{
    struct member *pending = find_pending(g, j), *m;
    if (pending) {
        group__drop_member(g, &g->pending, pending);
        struct slice taken = *protocols;
        *protocols = (struct slice){0};
        add_member(g, j, j->member_id, taken, now_ms);
        return;
    }
    sl_err err = group__validate(g, j->member_id, j->instance_id, &m);
    if (err != SL_OK)
        group__fail_join(g, j, err);
    else
        join_again(g, m, j, protocols, now_ms);
}

/* ---- static members ------------------------------------------------------------------------- */

/* The member under a new id: place, assignment and leadership stay, the old id is fenced. */
static struct member *change_id(struct group *g, struct member *old, struct broker_group_join *j,
                                struct slice id)
{
    struct member_ids ids = ids_of(j, id);
    struct member *m = member_new(&ids);
    struct slice assignment = slice_ref(old->assignment, 0, old->assignment.len);
    struct slice protocols = slice_ref(old->protocols, 0, old->protocols.len);
    bool was_leader = g->leader == old;
    m->synced = old->synced;
    group__remove(g, old, SL_EINSTANCE_FENCED);
    group__keep_member(g, &g->members, m);
    group__index_static(g, m);
    group__set_protocols(g, m, protocols);
    group__set_assignment(g, m, assignment);
    if (was_leader || !g->leader)
        g->leader = m;
    return m;
}

static void replace_static(struct group *g, struct member *old, struct broker_group_join *j,
                           struct slice protocols, int64_t now_ms)
{
    j->old_leader = slice_of(arena_strndup(j->answer, old->text, old->id_len), old->id_len);
    struct member *m = change_id(g, old, j, new_member_id(g, j));
    group__set_protocols(g, m, protocols);
    set_timeouts(m, j);
    group__touch(g, m, now_ms);
    park(g, m, j);
    if (g->life == GROUP_STABLE && slice_eq(group__select_protocol(g), g->protocol)) {
        m->join_version = ++g->version; /* answered when the new id is durable */
        return;
    }
    group__set_awaiting(g, m, true);
    group__rebalance(g, now_ms);
}

/* Before version 9 the leader is named by its old id, so that it does not compute an assignment
 * that nobody waits for; from 9 on skip_assignment says it. */
void group__answer_replaced(struct group *g, struct member *m, struct broker_group_join *j)
{
    bool is_leader = m == g->leader;
    group__answer_join(g, m, j, is_leader && j->can_skip_assignment);
    j->skip_assignment = is_leader && j->can_skip_assignment;
    if (is_leader && !j->can_skip_assignment)
        j->ret_leader = j->old_leader;
}

static void join_new(struct group *g, struct broker_group_join *j, struct slice *protocols,
                     int64_t now_ms)
{
    struct member *old = NULL;
    if (!j->instance_id.data && j->member_id_required) {
        require_member_id(g, j, now_ms);
        return;
    }
    if (j->instance_id.data && g->by_instance)
        old = map_get(g->by_instance, j->instance_id.data, j->instance_id.len);
    struct slice taken = *protocols;
    *protocols = (struct slice){0};
    if (old)
        replace_static(g, old, j, taken, now_ms);
    else
        add_member(g, j, new_member_id(g, j), taken, now_ms);
}

/* ---- entry ---------------------------------------------------------------------------------- */

/* A member for whom there is no place is out, or the group could not shrink to its limit. */
static void refuse_full(struct group *g, struct member *known, struct broker_group_join *j,
                        int64_t now_ms)
{
    if (known) {
        group__remove(g, known, SL_EGROUP_FULL);
        group__members_left(g, now_ms);
    }
    group__fail_join(g, j, SL_EGROUP_FULL);
}

static sl_err may_join(const struct group *g, const struct member *known,
                       const struct broker_group_join *j)
{
    SL_TRY(check_texts(j));
    SL_TRY(check_bytes(g, known, j));
    return group__supports(g, j) ? SL_OK : SL_EGROUP_PROTOCOL;
}

void group_join(struct group *g, struct broker_group_join *j, int64_t now_ms)
{
    struct member *known = j->member_id.len ? find(g, j->member_id) : NULL;
    struct slice protocols = {0};
    sl_err err = may_join(g, known, j);
    if (err == SL_OK)
        err = member_protocols_encode(j->protocols, j->n_protocols, &protocols);
    j->answer = arena_new(NULL);
    if (!has_place(g, known))
        refuse_full(g, known, j, now_ms);
    else if (err != SL_OK)
        group__fail_join(g, j, err);
    else if (!j->member_id.len)
        join_new(g, j, &protocols, now_ms);
    else
        join_known(g, j, &protocols, now_ms);
    slice_unref(&protocols);
    group__pump(g, now_ms);
}

void broker_group_join_fini(struct broker_group_join *j)
{
    for (uint32_t i = 0; i < j->n_members; i++)
        slice_unref(&j->members[i].metadata);
    j->n_members = 0;
    arena_free(SL_TAKE(j->answer));
}
