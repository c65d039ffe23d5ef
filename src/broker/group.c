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
    g->next_generation = 1;
    g->join_deadline_ms = g->sync_deadline_ms = g->session_scan_ms = GROUP_NEVER;
    return g;
}

void group_free(struct group *g)
{
    if (!g)
        return;
    SL_ASSERT(!g->storing);
    g->host->bytes -= g->bytes;
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

/* ---- answers -----------------------------------------------------------------------------------
 */

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

static void fail_sync(struct group *g, struct member *m, sl_err err)
{
    struct broker_group_sync *s = SL_TAKE(m->sync);
    if (s)
        group__finish(g, &s->head, err);
}

/* ---- members come and go
 * ------------------------------------------------------------------------- */

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
    member_set_add(&g->members, m);
    group__index_static(g, m);
    if (!g->leader)
        g->leader = m;
}

void group__remove(struct group *g, struct member *m, sl_err err)
{
    if (m->join)
        group__fail_join(g, SL_TAKE(m->join), err);
    fail_sync(g, m, err);
    group__set_awaiting(g, m, false);
    group__set_protocols(g, m, (struct slice){0});
    group__set_assignment(g, m, (struct slice){0});
    if (member_is_static(m))
        map_remove(g->by_instance, member_instance(m).data, m->instance_len);
    member_set_remove(&g->members, m);
    if (g->leader == m)
        g->leader = g->members.n ? g->members.items[0] : NULL;
    member_free(m);
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

/* ---- a rebalance begins
 * ---------------------------------------------------------------------------- */

static int64_t rebalance_timeout_ms(const struct group *g)
{
    int64_t max = 0;
    for (uint32_t i = 0; i < g->members.n; i++)
        max = SL_MAX(max, g->members.items[i]->rebalance_timeout_ms);
    return max;
}

static void drop_assignment(struct group *g, sl_err err, int64_t now_ms)
{
    g->assigned = false;
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        group__set_assignment(g, m, (struct slice){0});
        if (m->sync)
            group__touch(g, m, now_ms);
        fail_sync(g, m, err);
    }
}

/* A replaced static member whose row is on its way has joined: it takes part in this rebalance. */
static void turn_waiting_joins(struct group *g)
{
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        if (m->join_version && m->join)
            group__set_awaiting(g, m, true);
        m->join_version = 0;
    }
}

static void begin_rebalance(struct group *g, sl_err sync_err, int64_t now_ms)
{
    if (g->life == GROUP_COMPLETING_REBALANCE)
        drop_assignment(g, sync_err, now_ms);
    int64_t timeout = rebalance_timeout_ms(g);
    int64_t delay = g->host->cfg->group_initial_rebalance_delay_ms;
    g->initial = g->life == GROUP_EMPTY;
    g->new_member_added = false;
    g->join_due = g->initial && delay <= 0;
    g->initial_left_ms = SL_MAX(timeout - delay, 0);
    g->join_deadline_ms = now_ms + (g->initial ? SL_MAX(delay, 0) : timeout);
    g->sync_deadline_ms = GROUP_NEVER;
    turn_waiting_joins(g);
    g->host->rebalances++;
    group__set_life(g, GROUP_PREPARING_REBALANCE);
}

void group__rebalance(struct group *g, int64_t now_ms)
{
    if (g->life != GROUP_PREPARING_REBALANCE)
        begin_rebalance(g, SL_EREBALANCE, now_ms);
}

void group__members_left(struct group *g, int64_t now_ms)
{
    if (g->life == GROUP_STABLE || g->life == GROUP_COMPLETING_REBALANCE)
        begin_rebalance(g, SL_EREBALANCE, now_ms);
}

/* ---- the join phase ends
 * ----------------------------------------------------------------------------- */

static bool join_phase_over(const struct group *g)
{
    if (g->life != GROUP_PREPARING_REBALANCE)
        return false;
    bool all_joined = g->n_awaiting == g->members.n && !g->pending.n;
    return g->join_due || !g->members.n || (!g->initial && all_joined);
}

/* Dynamic members that did not come back are out; static ones keep their place until their session
 * ends. From the end, so that each removal is cheap. */
static void remove_absent(struct group *g)
{
    for (uint32_t i = g->members.n; i-- > 0;) {
        struct member *m = g->members.items[i];
        if (!m->awaiting_join && !member_is_static(m))
            group__remove(g, m, SL_EMEMBER);
    }
}

/* False when nobody joined who could lead. */
static bool elect_leader(struct group *g)
{
    if (g->leader && g->leader->awaiting_join)
        return true;
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        SL_ASSERT(m);
        if (m->awaiting_join) {
            g->leader = m;
            return true;
        }
    }
    return false;
}

static void next_generation(struct group *g)
{
    g->generation = (int32_t)g->next_generation;
    g->next_generation = g->generation < INT32_MAX ? g->next_generation + 1 : 1;
    g->join_due = g->initial = g->assigned = false;
    g->join_deadline_ms = GROUP_NEVER;
}

static void become_empty(struct group *g)
{
    slice_unref(&g->protocol);
    next_generation(g);
    g->sync_deadline_ms = GROUP_NEVER;
    group__set_life(g, GROUP_EMPTY);
    g->version++;
}

static void answer_joined(struct group *g, int64_t now_ms)
{
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        struct broker_group_join *j = SL_TAKE(m->join);
        m->is_new = m->synced = false;
        group__set_assignment(g, m, (struct slice){0});
        group__set_awaiting(g, m, false);
        group__touch(g, m, now_ms);
        if (j)
            group__answer_join(g, m, j, m == g->leader);
    }
}

static void complete_join(struct group *g, int64_t now_ms)
{
    remove_absent(g);
    if (!g->members.n) {
        become_empty(g);
        return;
    }
    if (!elect_leader(g)) { /* only static members that are away: wait once more */
        g->join_due = g->initial = false;
        g->join_deadline_ms = now_ms + rebalance_timeout_ms(g);
        return;
    }
    g->join_due = true; /* decided, also when the generation has to become durable first */
    if (g->next_generation > g->ceiling)
        return;
    next_generation(g);
    struct slice selected = group__select_protocol(g);
    slice_unref(&g->protocol);
    g->protocol = slice_copy(selected.data, selected.len);
    group__set_life(g, GROUP_COMPLETING_REBALANCE);
    answer_joined(g, now_ms);
    g->sync_deadline_ms = now_ms + rebalance_timeout_ms(g);
}

/* ---- rows
 * ---------------------------------------------------------------------------------------------- */

static bool wants_ceiling(const struct group *g)
{
    return g->life == GROUP_PREPARING_REBALANCE && g->next_generation > g->ceiling &&
           g->n_awaiting > 0;
}

static bool wants_row(const struct group *g)
{
    return g->version > g->version_tried &&
           (g->life == GROUP_EMPTY || g->life == GROUP_STABLE ||
            (g->life == GROUP_COMPLETING_REBALANCE && g->assigned));
}

static void store(struct group *g, struct slice state, bool is_ceiling)
{
    g->sending = state;
    g->sending_ceiling = is_ceiling;
    g->ceiling_sent =
        SL_MAX(g->ceiling, SL_MIN(g->next_generation + GROUP_GENERATION_RESERVE, INT32_MAX));
    g->storing = true;
    g->host->store(g->host, g, g->sending, g->ceiling_sent);
}

static void store_failed(struct group *g, sl_err err, int64_t now_ms);

static void start_store(struct group *g, int64_t now_ms)
{
    if (g->storing)
        return;
    if (wants_ceiling(g)) { /* beside the state that is durable already, whatever it is */
        store(g, slice_ref(g->stored, 0, g->stored.len), true);
        return;
    }
    if (!wants_row(g))
        return;
    struct slice state;
    g->version_tried = g->version;
    sl_err err = group_image_encode(g, &state);
    if (err == SL_OK)
        store(g, state, false);
    else
        store_failed(g, err, now_ms);
}

/* The rebalance goes on; whoever joined is told to come again. */
static void fail_joined(struct group *g, sl_err err, int64_t now_ms)
{
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        if (m->join)
            group__fail_join(g, SL_TAKE(m->join), err);
        group__set_awaiting(g, m, false);
        group__touch(g, m, now_ms);
    }
    g->join_due = g->initial = false;
    g->join_deadline_ms = now_ms + rebalance_timeout_ms(g);
}

/* Static members that were replaced without a rebalance hear of it when their row is settled. */
static void finish_replaced(struct group *g, sl_err err, uint64_t version)
{
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        if (!m->join_version || m->join_version > version)
            continue;
        m->join_version = 0;
        struct broker_group_join *j = SL_TAKE(m->join);
        if (j && err != SL_OK)
            group__fail_join(g, j, err);
        else if (j)
            group__answer_replaced(g, m, j);
    }
}

static void store_failed(struct group *g, sl_err err, int64_t now_ms)
{
    if (g->life == GROUP_PREPARING_REBALANCE && g->sending_ceiling)
        fail_joined(g, err, now_ms);
    else if (g->life == GROUP_STABLE)
        finish_replaced(g, err, g->version_tried);
    else if (g->life == GROUP_COMPLETING_REBALANCE && g->assigned &&
             g->version_tried >= g->sync_version)
        begin_rebalance(g, err, now_ms);
}

void group_stored(struct group *g, sl_err err, int64_t now_ms)
{
    SL_ASSERT(g->storing);
    g->storing = false;
    if (g->sending_void) { /* the row was deleted behind this one */
        g->sending_void = false;
        slice_unref(&g->sending);
    } else if (err == SL_OK) {
        slice_unref(&g->stored);
        g->stored = g->sending;
        g->sending = (struct slice){0};
        g->ceiling = g->ceiling_sent;
        g->has_row = true;
        if (!g->sending_ceiling)
            g->version_durable = g->version_tried;
        if (g->life == GROUP_STABLE)
            finish_replaced(g, SL_OK, g->version_durable);
    } else {
        slice_unref(&g->sending);
        store_failed(g, err, now_ms);
    }
    group__pump(g, now_ms);
}

/* ---- the pump and the clock -------------------------------------------------------------------
 */

static void become_stable(struct group *g, int64_t now_ms)
{
    group__set_life(g, GROUP_STABLE);
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        if (m->sync)
            group__touch(g, m, now_ms);
        group__answer_sync(g, m);
    }
}

void group__pump(struct group *g, int64_t now_ms)
{
    if (join_phase_over(g))
        complete_join(g, now_ms);
    if (g->life == GROUP_COMPLETING_REBALANCE && g->assigned &&
        g->version_durable >= g->sync_version)
        become_stable(g, now_ms);
    start_store(g, now_ms);
}

/* Kafka's rule: while new members arrive, the first rebalance waits another delay, up to the
 * rebalance timeout. */
static void join_deadline_passed(struct group *g, int64_t now_ms)
{
    int64_t delay = g->host->cfg->group_initial_rebalance_delay_ms;
    if (g->initial && g->new_member_added && g->initial_left_ms > 0) {
        g->new_member_added = false;
        g->join_deadline_ms = now_ms + SL_MIN(delay, g->initial_left_ms);
        g->initial_left_ms = SL_MAX(g->initial_left_ms - delay, 0);
        return;
    }
    g->join_deadline_ms = GROUP_NEVER;
    g->join_due = true;
}

/* Who got a generation and never asked for its assignment is out. */
static void sync_deadline_passed(struct group *g, int64_t now_ms)
{
    uint32_t n = g->members.n;
    g->sync_deadline_ms = GROUP_NEVER;
    for (uint32_t i = n; i-- > 0;)
        if (!g->members.items[i]->synced)
            group__remove(g, g->members.items[i], SL_EMEMBER);
    if (g->members.n < n)
        group__members_left(g, now_ms);
}

static int64_t expire_pending(struct group *g, int64_t now_ms)
{
    int64_t next = GROUP_NEVER;
    for (uint32_t i = g->pending.n; i-- > 0;) {
        struct member *m = g->pending.items[i];
        if (m->deadline_ms > now_ms) {
            next = SL_MIN(next, m->deadline_ms);
            continue;
        }
        member_set_remove(&g->pending, m);
        member_free(m);
    }
    return next;
}

/* A member that waits for the others, or for its assignment, cannot send heartbeats. */
static bool is_excused(const struct member *m)
{
    return m->sync || (m->awaiting_join && !m->is_new);
}

static int64_t expire_members(struct group *g, int64_t now_ms)
{
    int64_t next = GROUP_NEVER;
    uint32_t n = g->members.n;
    for (uint32_t i = n; i-- > 0;) {
        struct member *m = g->members.items[i];
        if (is_excused(m))
            continue;
        if (m->deadline_ms > now_ms)
            next = SL_MIN(next, m->deadline_ms);
        else
            group__remove(g, m, SL_EMEMBER);
    }
    g->host->expired_members += n - g->members.n;
    if (g->members.n < n)
        group__members_left(g, now_ms);
    return next;
}

/* Heartbeats only move a member's own deadline, so they cost nothing here; the scan runs when the
 * earliest deadline known is reached, and in a large group not for each member by itself. */
static void expire_sessions(struct group *g, int64_t now_ms)
{
    int64_t next_pending = expire_pending(g, now_ms);
    int64_t next = SL_MIN(next_pending, expire_members(g, now_ms));
    int64_t spacing_ms = g->members.n / 64;
    g->session_scan_ms = next == GROUP_NEVER ? next : SL_MAX(next, now_ms + spacing_ms);
}

void group_tick(struct group *g, int64_t now_ms)
{
    if (now_ms >= g->sync_deadline_ms)
        sync_deadline_passed(g, now_ms);
    if (now_ms >= g->join_deadline_ms)
        join_deadline_passed(g, now_ms);
    if (now_ms >= g->session_scan_ms)
        expire_sessions(g, now_ms);
    group__pump(g, now_ms);
}

int64_t group_next_deadline(const struct group *g)
{
    int64_t first = SL_MIN(g->join_deadline_ms, g->sync_deadline_ms);
    return SL_MIN(first, g->session_scan_ms);
}

/* ---- ends
 * ----------------------------------------------------------------------------------------- */

void group_cancel_join(struct group *g, struct broker_group_join *j)
{
    for (uint32_t i = 0; i < g->members.n; i++)
        if (g->members.items[i]->join == j) {
            g->members.items[i]->join = NULL; /* still counts as joined, as in Kafka */
            g->members.items[i]->join_version = 0;
            break;
        }
    group__fail_join(g, j, SL_ECANCELED);
}

void group_cancel_sync(struct group *g, struct broker_group_sync *s, int64_t now_ms)
{
    for (uint32_t i = 0; i < g->members.n; i++)
        if (g->members.items[i]->sync == s) {
            g->members.items[i]->sync = NULL;
            group__touch(g, g->members.items[i], now_ms);
            break;
        }
    group__finish(g, &s->head, SL_ECANCELED);
}

void group_end_calls(struct group *g, sl_err err)
{
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        if (m->join)
            group__fail_join(g, SL_TAKE(m->join), err);
        fail_sync(g, m, err);
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
           !g->storing && !g->n_txns;
}
