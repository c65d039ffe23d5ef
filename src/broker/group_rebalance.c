/* The round of a group: members join, the leader assigns, the row becomes durable, all are told. */
#include "broker/group_int.h"

/* ---- a rebalance begins --------------------------------------------------------------------- */

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
        group__fail_sync(g, m, err);
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

/* ---- the join phase ends -------------------------------------------------------------------- */

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

/* ---- rows ----------------------------------------------------------------------------------- */

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
    SL_ASSERT(!g->storing);
    SL_ASSERT(!g->sending.data);
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

/* ---- the pump ------------------------------------------------------------------------------- */

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

/* What holds between any two steps, whatever members and disk do. */
static void check(const struct group *g)
{
    SL_ASSERT(g->n_awaiting <= g->members.n);
    SL_ASSERT(g->version_durable <= g->version_tried);
    SL_ASSERT(g->version_tried <= g->version);
    SL_ASSERT(g->life != GROUP_EMPTY || g->members.n == 0);
    SL_ASSERT(g->life != GROUP_STABLE || g->members.n > 0);
    SL_ASSERT(g->life == GROUP_PREPARING_REBALANCE || g->n_awaiting == 0);
    SL_ASSERT(g->host->bytes >= g->bytes + g->member_bytes);
}

void group__pump(struct group *g, int64_t now_ms)
{
    if (join_phase_over(g))
        complete_join(g, now_ms);
    if (g->life == GROUP_COMPLETING_REBALANCE && g->assigned &&
        g->version_durable >= g->sync_version)
        become_stable(g, now_ms);
    start_store(g, now_ms);
    check(g);
}
