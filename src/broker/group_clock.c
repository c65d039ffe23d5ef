/* What happens to a group because time passed. */
#include "broker/group_int.h"

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
        group__drop_member(g, &g->pending, m);
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
