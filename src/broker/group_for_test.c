#include "broker/group_for_test.h"

#include <stdio.h>
#include <string.h>

/* ---- the world ------------------------------------------------------------------------------ */

static int64_t wall_ms(const struct clock *c)
{
    return 1700000000000 + SL_CONTAINER_OF(c, struct group_sim, clock)->now_ms;
}

static int64_t monotonic_ns(const struct clock *c)
{
    return SL_CONTAINER_OF(c, struct group_sim, clock)->now_ms * 1000000;
}

static void store(struct group_host *h, struct group *g, struct slice state, int64_t ceiling)
{
    struct group_sim *s = SL_CONTAINER_OF(h, struct group_sim, host);
    SL_ASSERT(!s->row_waits);
    SL_ASSERT(slice_eq(state, g->sending));
    SL_ASSERT(ceiling == g->ceiling_sent);
    s->row_waits = true;
    s->stores++;
}

void group_sim_init(struct group_sim *s, uint64_t seed)
{
    static const struct uuid org;
    *s = (struct group_sim){.now_ms = 1000};
    s->cfg.group_members_max = 10;
    s->cfg.group_initial_rebalance_delay_ms = 0;
    s->clock = (struct clock){.monotonic_ns = monotonic_ns, .wall_ms = wall_ms};
    rng_seeded_init(&s->rng, seed);
    s->host =
        (struct group_host){.cfg = &s->cfg, .rng = &s->rng.rng, .clock = &s->clock, .store = store};
    list_init(&s->host.finished);
    s->g = group_new(&s->host, &org, slice_str("g"));
}

static void answer_all(struct group_sim *s)
{
    struct list *node;
    while ((node = list_pop_front(&s->host.finished))) {
        struct group_call *c = SL_CONTAINER_OF(node, struct group_call, node);
        if (c->call.done)
            c->call.done(&c->call);
    }
}

void group_sim_fini(struct group_sim *s)
{
    if (s->row_waits)
        group_sim_stored(s, SL_OK);
    s->row_waits = s->g->storing = false;
    group_end_calls(s->g, SL_ECLOSED);
    answer_all(s);
    slice_unref(&s->g->sending);
    group_free(s->g);
    slice_unref(&s->disk_state);
    SL_ASSERT(s->host.bytes == 0);
}

void group_sim_stored(struct group_sim *s, sl_err err)
{
    SL_ASSERT(s->row_waits);
    s->row_waits = false;
    if (err == SL_OK) {
        slice_unref(&s->disk_state);
        s->disk_state = slice_ref(s->g->sending, 0, s->g->sending.len);
        s->disk_ceiling = s->g->ceiling_sent;
        s->disk_row = true;
    }
    group_stored(s->g, err, s->now_ms);
    answer_all(s);
}

void group_sim_settle(struct group_sim *s)
{
    answer_all(s);
    while (s->row_waits && !s->hold_stores)
        group_sim_stored(s, s->store_err);
}

void group_sim_pass(struct group_sim *s, int64_t ms)
{
    int64_t end_ms = s->now_ms + ms;
    while (group_next_deadline(s->g) <= end_ms) {
        s->now_ms = SL_MAX(s->now_ms, group_next_deadline(s->g));
        group_tick(s->g, s->now_ms);
        group_sim_settle(s);
    }
    s->now_ms = end_ms;
}

void group_sim_restart(struct group_sim *s)
{
    struct group *old = s->g;
    s->row_waits = old->storing = false;
    slice_unref(&old->sending);
    group_end_calls(old, SL_ECLOSED);
    answer_all(s);
    s->g = group_new(&s->host, &old->org, slice_str("g"));
    if (s->disk_row)
        SL_ASSERT(group_image_load(s->g, s->disk_state, s->disk_ceiling, s->now_ms) == SL_OK);
    group_free(old);
}

/* ---- clients -------------------------------------------------------------------------------- */

const char *sim_text(struct slice text)
{
    static char rooms[8][512];
    static unsigned turn;
    char *room = rooms[turn++ % SL_ARRAY_LEN(rooms)];
    (void)snprintf(room, sizeof rooms[0], "%.*s", (int)text.len, (const char *)text.data);
    return room;
}

static void join_done(struct broker_call *c)
{
    SL_CONTAINER_OF(c, struct sim_join, j.head.call)->answered = true;
}

static void sync_done(struct broker_call *c)
{
    SL_CONTAINER_OF(c, struct sim_sync, s.head.call)->answered = true;
}

static struct slice text_or_absent(const char *text)
{
    return text ? slice_str(text) : (struct slice){0};
}

void sim_join(struct group_sim *s, struct sim_join *j, const char *member, const char *instance,
              const char *metadata)
{
    *j = (struct sim_join){0};
    j->protocols[0] = (struct group_protocol){slice_str("range"), slice_str(metadata)};
    j->protocols[1] = (struct group_protocol){slice_str("sticky"), slice_str(metadata)};
    j->j = (struct broker_group_join){
        .member_id = slice_str(member),
        .instance_id = text_or_absent(instance),
        .protocol_type = slice_str("consumer"),
        .client_id = slice_str("app"),
        .client_host = slice_str("/127.0.0.1"),
        .session_timeout_ms = 10000,
        .rebalance_timeout_ms = 60000,
        .protocols = j->protocols,
        .n_protocols = 2,
        .can_skip_assignment = true,
    };
    j->j.head.call.done = join_done;
    group_join(s->g, &j->j, s->now_ms);
    group_sim_settle(s);
}

void sim_join_again(struct group_sim *s, struct sim_join *j)
{
    const char *id = sim_text(j->j.ret_member_id);
    char instance[64];
    (void)snprintf(instance, sizeof instance, "%s", sim_text(j->j.instance_id));
    bool is_static = j->j.instance_id.data != NULL;
    struct broker_group_join old = j->j;
    struct slice metadata = j->protocols[0].metadata;
    *j = (struct sim_join){0};
    j->protocols[0] = (struct group_protocol){slice_str("range"), metadata};
    j->protocols[1] = (struct group_protocol){slice_str("sticky"), metadata};
    j->j = old;
    j->j.head = (struct group_call){.call.done = join_done};
    j->j.protocols = j->protocols;
    j->j.members = NULL;
    j->j.n_members = 0;
    j->j.answer = NULL;
    j->j.ret_member_id = (struct slice){0};
    j->j.member_id = slice_str(id);
    j->j.instance_id = is_static ? slice_str(instance) : (struct slice){0};
    group_join(s->g, &j->j, s->now_ms);
    j->j.member_id = slice_str("");
    j->j.instance_id = old.instance_id;
    broker_group_join_fini(&old);
    group_sim_settle(s);
}

void sim_join_free(struct sim_join *j)
{
    broker_group_join_fini(&j->j);
}

void sim_sync(struct group_sim *s, struct sim_sync *y, const struct sim_join *as)
{
    *y = (struct sim_sync){0};
    uint32_t n = SL_MIN(as->j.n_members, (uint32_t)SL_ARRAY_LEN(y->assignments));
    for (uint32_t i = 0; i < n; i++) {
        y->assignments[i].member_id = as->j.members[i].member_id;
        y->assignments[i].assignment = as->j.members[i].metadata; /* "assigned what it asked for" */
    }
    y->s = (struct broker_group_sync){
        .member_id = as->j.ret_member_id,
        .instance_id = as->j.instance_id,
        .generation = as->j.generation,
        .assignments = y->assignments,
        .n_assignments = n,
    };
    y->s.head.call.done = sync_done;
    group_sync(s->g, &y->s, s->now_ms);
    group_sim_settle(s);
}

void sim_sync_free(struct sim_sync *y)
{
    broker_group_sync_fini(&y->s);
}

sl_err sim_heartbeat(struct group_sim *s, const struct sim_join *as)
{
    struct broker_group_heartbeat h = {
        .member_id = as->j.ret_member_id,
        .instance_id = as->j.instance_id,
        .generation = as->j.generation,
    };
    return group_heartbeat(s->g, &h, s->now_ms);
}

sl_err sim_leave(struct group_sim *s, const struct sim_join *as)
{
    struct group_leaver l = {.member_id = as->j.ret_member_id, .instance_id = as->j.instance_id};
    group_leave(s->g, &l, 1, s->now_ms);
    group_sim_settle(s);
    return l.err;
}

sl_err sim_commit(struct group_sim *s, const struct sim_join *as)
{
    struct broker_offset_commit c = {
        .member_id = as->j.ret_member_id,
        .instance_id = as->j.instance_id,
        .generation = as->j.generation,
    };
    return group_may_commit(s->g, &c, s->now_ms);
}
