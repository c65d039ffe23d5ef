#include "broker/group_for_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int start(void **state)
{
    struct group_sim *s = calloc(1, sizeof *s);
    group_sim_init(s, 1);
    *state = s;
    return 0;
}

static int stop(void **state)
{
    group_sim_fini(*state);
    free(*state);
    return 0;
}

/* A stable group of two; a is the leader. */
struct pair {
    struct sim_join a, b;
    struct sim_sync ya, yb;
};

static void make_pair(struct group_sim *s, struct pair *p)
{
    s->cfg.group_initial_rebalance_delay_ms = 100;
    sim_join(s, &p->a, "", NULL, "A");
    sim_join(s, &p->b, "", NULL, "B");
    group_sim_pass(s, 250);
    assert_true(p->a.answered && p->b.answered);
    sim_sync(s, &p->yb, &p->b);
    sim_sync(s, &p->ya, &p->a);
    assert_int_equal(GROUP_STABLE, s->g->life);
}

static void free_pair(struct pair *p)
{
    sim_join_free(&p->a);
    sim_join_free(&p->b);
    sim_sync_free(&p->ya);
    sim_sync_free(&p->yb);
}

/* ---- joining -------------------------------------------------------------------------------- */

static void two_members_joining_at_once_share_one_generation(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    assert_int_equal(1, p.a.j.generation);
    assert_int_equal(1, p.b.j.generation);
    assert_int_equal(2, p.a.j.n_members);
    assert_int_equal(0, p.b.j.n_members);
    assert_true(slice_eq(p.a.j.ret_leader, p.a.j.ret_member_id));
    assert_true(slice_eq(p.b.j.ret_leader, p.a.j.ret_member_id));
    assert_string_equal("range", sim_text(p.b.j.ret_protocol));
    assert_memory_equal("app-", p.a.j.ret_member_id.data, 4);
    assert_int_equal(4 + 36, p.a.j.ret_member_id.len);
    assert_string_equal("A", sim_text(p.ya.s.ret_assignment));
    assert_string_equal("B", sim_text(p.yb.s.ret_assignment));
    free_pair(&p);
}

static void the_first_rebalance_waits_while_new_members_arrive(void **state)
{
    struct group_sim *s = *state;
    struct sim_join j[3];
    s->cfg.group_initial_rebalance_delay_ms = 1000;
    for (int i = 0; i < 3; i++) {
        sim_join(s, &j[i], "", NULL, "m");
        group_sim_pass(s, 900);
    }
    assert_false(j[0].answered);
    group_sim_pass(s, 2000);
    for (int i = 0; i < 3; i++) {
        assert_true(j[i].answered);
        assert_int_equal(1, j[i].j.generation);
        sim_join_free(&j[i]);
    }
}

static void a_second_member_makes_the_first_one_join_again(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a, b;
    struct sim_sync y;
    sim_join(s, &a, "", NULL, "A");
    assert_true(a.answered);
    sim_sync(s, &y, &a);
    assert_true(y.answered);
    sim_join(s, &b, "", NULL, "B");
    assert_false(b.answered);
    assert_int_equal(SL_EREBALANCE, sim_heartbeat(s, &a));
    sim_join_again(s, &a);
    assert_true(a.answered && b.answered);
    assert_int_equal(2, a.j.generation);
    assert_int_equal(2, a.j.n_members);
    assert_int_equal(SL_OK, sim_heartbeat(s, &a));
    sim_join_free(&a);
    sim_join_free(&b);
    sim_sync_free(&y);
}

static void an_id_that_was_never_given_out_is_unknown(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a, b;
    sim_join(s, &a, "invented", NULL, "A");
    assert_int_equal(SL_EMEMBER, a.j.head.err);
    sim_join_free(&a);
    sim_join(s, &a, "", NULL, "A");
    sim_join(s, &b, "invented", NULL, "B");
    assert_int_equal(SL_EMEMBER, b.j.head.err);
    assert_int_equal(SL_OK, sim_heartbeat(s, &a));
    assert_int_equal(SL_OK, sim_leave(s, &a));
    assert_int_equal(SL_EMEMBER, sim_heartbeat(s, &a));
    sim_join_free(&a);
    sim_join_free(&b);
}

static void member_id_required_gives_an_id_that_joins_or_expires(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a = {0};
    a.protocols[0] = (struct group_protocol){slice_str("range"), slice_str("A")};
    struct broker_group_join first = {
        .member_id = slice_str(""),
        .protocol_type = slice_str("consumer"),
        .client_id = slice_str("app"),
        .session_timeout_ms = 10000,
        .rebalance_timeout_ms = 60000,
        .protocols = a.protocols,
        .n_protocols = 1,
        .member_id_required = true,
    };
    struct broker_group_join again = first;
    group_join(s->g, &first, s->now_ms);
    (void)list_pop_front(&s->host.finished);
    assert_int_equal(SL_EMEMBER_REQUIRED, first.head.err);
    assert_int_equal(1, s->g->pending.n);
    assert_int_equal(GROUP_EMPTY, s->g->life);

    again.member_id = first.ret_member_id;
    group_join(s->g, &again, s->now_ms);
    group_sim_stored(s, SL_OK);
    assert_int_equal(SL_OK, again.head.err);
    assert_int_equal(1, again.generation);
    assert_true(slice_eq(first.ret_member_id, again.ret_member_id));
    assert_int_equal(0, s->g->pending.n);

    struct broker_group_join other = first;
    other.head = (struct group_call){0};
    other.ret_member_id = (struct slice){0};
    group_join(s->g, &other, s->now_ms);
    (void)list_pop_front(&s->host.finished);
    assert_int_equal(1, s->g->pending.n);
    s->now_ms += 10001;
    group_tick(s->g, s->now_ms);
    assert_int_equal(0, s->g->pending.n);
    broker_group_join_fini(&first);
    broker_group_join_fini(&again);
    broker_group_join_fini(&other);
}

static void a_rebalance_waits_for_an_id_that_was_given_out(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    struct sim_join c = {0}, d;
    make_pair(s, &p);
    c.j = p.a.j;
    c.j.head = (struct group_call){0};
    c.j.members = NULL;
    c.j.n_members = 0;
    c.j.answer = NULL;
    c.j.ret_member_id = (struct slice){0};
    c.j.member_id_required = true;
    group_join(s->g, &c.j, s->now_ms);
    assert_int_equal(SL_EMEMBER_REQUIRED, c.j.head.err);
    group_sim_settle(s);
    assert_int_equal(GROUP_STABLE, s->g->life);
    sim_join_again(s, &p.a);
    sim_join_again(s, &p.b);
    assert_false(p.a.answered || p.b.answered);
    sim_join(s, &d, sim_text(c.j.ret_member_id), NULL, "C");
    assert_true(p.a.answered && p.b.answered && d.answered);
    assert_int_equal(3, p.a.j.n_members);
    sim_join_free(&c);
    sim_join_free(&d);
    free_pair(&p);
}

static void members_without_a_common_protocol_are_refused(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a, b = {0};
    sim_join(s, &a, "", NULL, "A");
    struct group_protocol other = {slice_str("other"), slice_str("B")};
    b.j = a.j;
    b.j.head = (struct group_call){0};
    b.j.members = NULL;
    b.j.n_members = 0;
    b.j.protocols = &other;
    b.j.n_protocols = 1;
    group_join(s->g, &b.j, s->now_ms);
    assert_int_equal(SL_EGROUP_PROTOCOL, b.j.head.err);
    (void)list_pop_front(&s->host.finished);
    sim_join_free(&a);
    sim_join_free(&b);
}

static void K10_a_full_group_and_16_MiB_of_metadata_are_refused(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a, b;
    char *big = malloc(16 * 1024 * 1024 + 1);
    memset(big, 'x', 16 * 1024 * 1024);
    big[16 * 1024 * 1024] = 0;
    sim_join(s, &a, "", NULL, big);
    assert_int_equal(SL_EPOLICY, a.j.head.err);
    sim_join_free(&a);
    free(big);

    s->cfg.group_members_max = 1;
    sim_join(s, &a, "", NULL, "A");
    assert_int_equal(SL_OK, a.j.head.err);
    sim_join(s, &b, "", NULL, "B");
    assert_int_equal(SL_EGROUP_FULL, b.j.head.err);
    assert_int_equal(SL_OK, sim_heartbeat(s, &a));
    sim_join_free(&a);
    sim_join_free(&b);
}

static void a_follower_that_repeats_its_join_is_told_where_the_group_stands(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    sim_join_again(s, &p.b);
    assert_true(p.b.answered);
    assert_int_equal(1, p.b.j.generation);
    assert_int_equal(GROUP_STABLE, s->g->life);
    sim_join_again(s, &p.a); /* the leader asks for a rebalance by joining */
    assert_false(p.a.answered);
    assert_int_equal(GROUP_PREPARING_REBALANCE, s->g->life);
    sim_join_again(s, &p.b);
    assert_true(p.a.answered && p.b.answered);
    assert_int_equal(2, p.b.j.generation);
    free_pair(&p);
}

/* ---- members go ----------------------------------------------------------------------------- */

static void a_killed_member_is_out_after_its_session_and_the_others_go_on(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    for (int i = 0; i < 4; i++) {
        group_sim_pass(s, 3000);
        (void)sim_heartbeat(s, &p.a);
    }
    assert_int_equal(1, s->g->members.n);
    assert_int_equal(SL_EREBALANCE, sim_heartbeat(s, &p.a));
    assert_int_equal(SL_EMEMBER, sim_heartbeat(s, &p.b));
    sim_join_again(s, &p.a);
    assert_true(p.a.answered);
    assert_int_equal(1, p.a.j.n_members);
    assert_int_equal(1, s->host.expired_members);
    free_pair(&p);
}

static void heartbeats_keep_a_group_stable_for_hours(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    for (int i = 0; i < 3000; i++) {
        group_sim_pass(s, 9000);
        assert_int_equal(SL_OK, sim_heartbeat(s, &p.a));
        assert_int_equal(SL_OK, sim_heartbeat(s, &p.b));
    }
    assert_int_equal(GROUP_STABLE, s->g->life);
    free_pair(&p);
}

static void who_does_not_join_a_rebalance_in_time_is_out(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    sim_join_again(s, &p.a);
    for (int i = 0; i < 7; i++) {
        group_sim_pass(s, 9000);
        (void)sim_heartbeat(s, &p.b);
    }
    assert_true(p.a.answered);
    assert_int_equal(1, p.a.j.n_members);
    assert_int_equal(SL_EMEMBER, sim_heartbeat(s, &p.b));
    free_pair(&p);
}

static void who_never_asks_for_its_assignment_is_out(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    struct sim_join c;
    struct sim_sync y, yb;
    sim_join(s, &c, "", NULL, "C");
    sim_join_again(s, &p.a);
    sim_join_again(s, &p.b);
    sim_sync(s, &y, &p.a);
    sim_sync(s, &yb, &p.b);
    assert_int_equal(GROUP_STABLE, s->g->life);
    for (int i = 0; i < 12; i++) {
        group_sim_pass(s, 5100);
        (void)sim_heartbeat(s, &p.a);
        (void)sim_heartbeat(s, &p.b);
        (void)sim_heartbeat(s, &c);
    }
    assert_int_equal(SL_EMEMBER, sim_heartbeat(s, &c));
    assert_int_equal(SL_EREBALANCE, sim_heartbeat(s, &p.a));
    sim_join_free(&c);
    sim_sync_free(&y);
    sim_sync_free(&yb);
    free_pair(&p);
}

static void leaving_during_a_rebalance_lets_it_end(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    sim_join_again(s, &p.a);
    assert_false(p.a.answered);
    assert_int_equal(SL_OK, sim_leave(s, &p.b));
    assert_true(p.a.answered);
    assert_int_equal(2, p.a.j.generation);
    assert_int_equal(1, p.a.j.n_members);
    assert_int_equal(SL_EMEMBER, sim_leave(s, &p.b));
    free_pair(&p);
}

static void the_last_member_leaves_an_empty_group(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    sim_leave(s, &p.a);
    sim_leave(s, &p.b);
    assert_int_equal(GROUP_EMPTY, s->g->life);
    assert_string_equal("consumer", sim_text(s->g->protocol_type));
    assert_int_equal(SL_EMEMBER, sim_commit(s, &p.a));
    group_sim_restart(s);
    assert_int_equal(GROUP_EMPTY, s->g->life);
    assert_string_equal("consumer", sim_text(s->g->protocol_type));
    free_pair(&p);
}

static void a_client_that_goes_while_it_waits_keeps_its_place(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    sim_join_again(s, &p.b); /* answered at once: nothing to wait for */
    sim_join_again(s, &p.a);
    group_cancel_join(s->g, &p.a.j);
    group_sim_settle(s);
    assert_int_equal(SL_ECANCELED, p.a.j.head.err);
    sim_join_again(s, &p.b);
    assert_true(p.b.answered);
    assert_int_equal(2, s->g->members.n);
    group_sim_pass(s, 10001);
    free_pair(&p);
}

/* ---- generations ---------------------------------------------------------------------------- */

static void K10_commits_of_a_zombie_generation_are_refused(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    assert_int_equal(SL_OK, sim_commit(s, &p.b));
    sim_join_again(s, &p.a);
    assert_int_equal(SL_OK, sim_commit(s, &p.b)); /* of what it still holds */
    sim_leave(s, &p.b);
    assert_int_equal(SL_EMEMBER, sim_commit(s, &p.b));
    assert_int_equal(SL_EREBALANCE, sim_commit(s, &p.a)); /* between join and sync */
    p.a.j.generation = 1;
    assert_int_equal(SL_EGENERATION, sim_commit(s, &p.a));
    assert_int_equal(SL_EGENERATION, sim_heartbeat(s, &p.a));
    struct broker_offset_commit simple = {.generation = -1};
    assert_int_equal(SL_EMEMBER, group_may_commit(s->g, &simple, s->now_ms));
    free_pair(&p);
}

static void a_join_is_not_answered_before_its_generation_is_durable(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a;
    s->hold_stores = true;
    sim_join(s, &a, "", NULL, "A");
    assert_false(a.answered);
    assert_true(s->row_waits);
    group_sim_stored(s, SL_OK);
    assert_true(a.answered);
    assert_int_equal(101, s->disk_ceiling);
    sim_join_free(&a);
}

static void a_sync_is_not_answered_before_the_group_is_durable(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a;
    struct sim_sync y;
    sim_join(s, &a, "", NULL, "A");
    s->hold_stores = true;
    sim_sync(s, &y, &a);
    assert_false(y.answered);
    assert_int_equal(GROUP_COMPLETING_REBALANCE, s->g->life);
    group_sim_stored(s, SL_OK);
    assert_true(y.answered);
    assert_int_equal(SL_OK, y.s.head.err);
    assert_int_equal(GROUP_STABLE, s->g->life);
    sim_join_free(&a);
    sim_sync_free(&y);
}

static void a_group_that_cannot_be_stored_says_so_and_rebalances(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a;
    struct sim_sync y;
    s->store_err = SL_ENOSPC;
    sim_join(s, &a, "", NULL, "A");
    assert_int_equal(SL_ENOSPC, a.j.head.err);
    broker_group_join_fini(&a.j);
    group_sim_pass(s, 70000);
    s->store_err = SL_OK;
    sim_join(s, &a, "", NULL, "A");
    assert_int_equal(SL_OK, a.j.head.err);
    s->store_err = SL_ENOSPC;
    sim_sync(s, &y, &a);
    assert_int_equal(SL_ENOSPC, y.s.head.err);
    assert_int_equal(GROUP_PREPARING_REBALANCE, s->g->life);
    s->store_err = SL_OK;
    int32_t told = a.j.generation;
    sim_join_again(s, &a);
    assert_true(a.answered);
    assert_true(a.j.generation > told);
    sim_sync(s, &y, &a);
    assert_int_equal(SL_OK, y.s.head.err);
    sim_join_free(&a);
    sim_sync_free(&y);
}

static void a_restart_keeps_generation_members_and_assignment(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    group_sim_restart(s);
    assert_int_equal(GROUP_STABLE, s->g->life);
    assert_int_equal(1, s->g->generation);
    assert_int_equal(SL_OK, sim_heartbeat(s, &p.a));
    assert_int_equal(SL_OK, sim_heartbeat(s, &p.b));
    assert_int_equal(SL_OK, sim_commit(s, &p.b));
    struct sim_sync y;
    sim_sync(s, &y, &p.b);
    assert_string_equal("B", sim_text(y.s.ret_assignment));
    assert_true(slice_eq(member_id(s->g->leader), p.a.j.ret_member_id));
    group_sim_pass(s, 9000); /* sessions began anew */
    assert_int_equal(SL_OK, sim_heartbeat(s, &p.a));
    sim_sync_free(&y);
    free_pair(&p);
}

static void no_generation_is_told_twice_across_restarts(void **state)
{
    struct group_sim *s = *state;
    struct sim_join a = {0};
    int32_t last = 0;
    for (int i = 0; i < 250; i++) {
        sim_join_free(&a);
        sim_join(s, &a, "", NULL, "A");
        group_sim_pass(s, 70000);
        assert_true(a.answered && a.j.generation > last);
        last = a.j.generation;
        if (i % 3 == 0)
            group_sim_restart(s);
    }
    sim_join_free(&a);
}

/* ---- static members ------------------------------------------------------------------------- */

static void make_static_pair(struct group_sim *s, struct pair *p)
{
    s->cfg.group_initial_rebalance_delay_ms = 100;
    sim_join(s, &p->a, "", "one", "A");
    sim_join(s, &p->b, "", "two", "B");
    group_sim_pass(s, 250);
    sim_sync(s, &p->yb, &p->b);
    sim_sync(s, &p->ya, &p->a);
    assert_int_equal(GROUP_STABLE, s->g->life);
}

static void a_static_member_comes_back_without_a_rebalance(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    struct sim_join again;
    struct sim_sync y;
    make_static_pair(s, &p);
    s->hold_stores = true;
    sim_join(s, &again, "", "two", "B");
    assert_false(again.answered); /* the new id is not durable yet */
    group_sim_stored(s, SL_OK);
    assert_true(again.answered);
    assert_int_equal(1, again.j.generation);
    assert_int_equal(GROUP_STABLE, s->g->life);
    assert_int_equal(SL_EINSTANCE_FENCED, sim_heartbeat(s, &p.b));
    assert_int_equal(SL_EINSTANCE_FENCED, sim_commit(s, &p.b));
    sim_sync(s, &y, &again);
    assert_string_equal("B", sim_text(y.s.ret_assignment));
    group_sim_restart(s);
    assert_int_equal(SL_OK, sim_heartbeat(s, &again));
    assert_int_equal(SL_EINSTANCE_FENCED, sim_heartbeat(s, &p.b));
    sim_join_free(&again);
    sim_sync_free(&y);
    free_pair(&p);
}

static void a_static_leader_that_comes_back_may_skip_the_assignment(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    struct sim_join again;
    make_static_pair(s, &p);
    sim_join(s, &again, "", "one", "A");
    assert_true(again.answered && again.j.skip_assignment);
    assert_int_equal(2, again.j.n_members);
    assert_true(slice_eq(again.j.ret_leader, again.j.ret_member_id));
    assert_int_equal(GROUP_STABLE, s->g->life);
    sim_join_free(&again);
    free_pair(&p);
}

static void an_old_static_leader_is_not_told_that_it_leads(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_static_pair(s, &p);
    struct sim_join again = p.a;
    again.j.head = (struct group_call){.call.done = p.a.j.head.call.done};
    again.j.answer = NULL;
    again.j.members = NULL;
    again.j.n_members = 0;
    again.j.ret_member_id = (struct slice){0};
    again.j.can_skip_assignment = false;
    group_join(s->g, &again.j, s->now_ms);
    group_sim_settle(s);
    assert_int_equal(SL_OK, again.j.head.err);
    assert_false(again.j.skip_assignment);
    assert_int_equal(0, again.j.n_members);
    assert_true(slice_eq(again.j.ret_leader, p.a.j.ret_member_id));
    assert_false(slice_eq(again.j.ret_leader, again.j.ret_member_id));
    sim_join_free(&again);
    free_pair(&p);
}

static void a_static_member_that_is_away_keeps_its_place_until_its_session_ends(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_static_pair(s, &p);
    struct sim_join c;
    sim_join(s, &c, "", NULL, "C");
    sim_join_again(s, &p.a);
    assert_false(p.a.answered); /* two is expected back */
    group_sim_pass(s, 10500);   /* its session ended */
    assert_true(p.a.answered && c.answered);
    assert_int_equal(2, p.a.j.n_members);
    sim_join_free(&c);
    free_pair(&p);
}

static void a_static_member_leaves_by_its_instance_id_alone(void **state)
{
    struct group_sim *s = *state;
    struct pair p;
    make_static_pair(s, &p);
    struct group_leaver l[3] = {
        {.member_id = slice_str(""), .instance_id = slice_str("two")},
        {.member_id = slice_str(""), .instance_id = slice_str("three")},
        {.member_id = slice_str("wrong"), .instance_id = slice_str("one")},
    };
    group_leave(s->g, l, 3, s->now_ms);
    assert_int_equal(SL_OK, l[0].err);
    assert_int_equal(SL_EMEMBER, l[1].err);
    assert_int_equal(SL_EINSTANCE_FENCED, l[2].err);
    assert_int_equal(1, s->g->members.n);
    assert_int_equal(GROUP_PREPARING_REBALANCE, s->g->life);
    free_pair(&p);
}

/* ---- many ----------------------------------------------------------------------------------- */

static void K10_a_hundred_thousand_members_are_cheap_to_keep(void **state)
{
    struct group_sim *s = *state;
    enum { N = 100000 };
    s->cfg.group_members_max = N;
    s->cfg.group_initial_rebalance_delay_ms = 100;
    struct sim_join *j = calloc(N, sizeof *j);
    for (int i = 0; i < N; i++)
        sim_join(s, &j[i], "", NULL, "metadata");
    group_sim_pass(s, 200);
    assert_int_equal(N, j[0].j.n_members);
    unsigned ticks = 0;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < N; i++)
            assert_int_equal(SL_OK, sim_heartbeat(s, &j[i]));
        while (group_next_deadline(s->g) <= s->now_ms + 3000) {
            s->now_ms = group_next_deadline(s->g);
            group_tick(s->g, s->now_ms);
            ticks++;
        }
        s->now_ms += 3000;
    }
    assert_in_range(ticks, 0, 10); /* not one for each member */
    assert_int_equal(N, s->g->members.n);
    for (int i = 0; i < N; i++)
        sim_join_free(&j[i]);
    free(j);
}

static void K10_a_flapping_group_costs_a_bounded_number_of_stores(void **state)
{
    enum { ROUNDS = 500, STORES_OF_A_ROUND = 3 };
    struct group_sim *s = *state;
    struct pair p;
    make_pair(s, &p);
    unsigned before = s->stores;
    for (int32_t i = 1; i <= ROUNDS; i++) {
        sim_sync_free(&p.ya);
        sim_sync_free(&p.yb);
        sim_join_again(s, &p.a); /* the leader asks for a rebalance by joining */
        sim_join_again(s, &p.b);
        assert_true(p.a.answered && p.b.answered);
        assert_int_equal(1 + i, p.b.j.generation);
        sim_sync(s, &p.yb, &p.b);
        sim_sync(s, &p.ya, &p.a);
        assert_int_equal(GROUP_STABLE, s->g->life);
    }
    assert_in_range(s->stores - before, ROUNDS, ROUNDS * STORES_OF_A_ROUND);
    assert_int_equal(2, s->g->members.n);
    free_pair(&p);
}

/* Ids that were handed out and are never used: nothing to store, so only memory could end it. */
static sl_err ask_for_an_id(struct group_sim *s, struct slice client_id)
{
    struct group_protocol range = {slice_str("range"), slice_str("")};
    struct broker_group_join j = {
        .protocol_type = slice_str("consumer"),
        .client_id = client_id,
        .session_timeout_ms = 10000,
        .rebalance_timeout_ms = 60000,
        .protocols = &range,
        .n_protocols = 1,
        .member_id_required = true,
    };
    group_join(s->g, &j, s->now_ms);
    (void)list_pop_front(&s->host.finished);
    broker_group_join_fini(&j);
    return j.head.err;
}

static void K10_a_million_idle_members_stay_within_the_memory_of_groups(void **state)
{
    enum { N = 1000000, BYTES_MAX = 256 << 20, CLIENT_ID_BYTES = 8000 };
    struct group_sim *s = *state;
    static char client_id[CLIENT_ID_BYTES];
    struct sim_join known;
    int n = 0;
    s->cfg.group_members_max = N;
    sim_join(s, &known, "", NULL, "A");
    memset(client_id, 'x', sizeof client_id);
    for (int i = 0; i < N; i++)
        if (ask_for_an_id(s, slice_of(client_id, sizeof client_id)) == SL_EMEMBER_REQUIRED)
            n++;
    assert_in_range(n, BYTES_MAX / (2 * CLIENT_ID_BYTES), BYTES_MAX / CLIENT_ID_BYTES);
    assert_true(s->host.bytes <= BYTES_MAX + 2 * CLIENT_ID_BYTES);
    assert_int_equal(SL_EGROUP_FULL, ask_for_an_id(s, slice_str("late")));
    assert_int_equal(SL_OK, sim_heartbeat(s, &known)); /* who is in goes on */
    sim_join_again(s, &known);
    assert_int_equal(SL_OK, known.j.head.err);
    s->now_ms += 10001;
    group_tick(s->g, s->now_ms);
    assert_int_equal(SL_EMEMBER_REQUIRED, ask_for_an_id(s, slice_str("late")));
    sim_join_free(&known);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest list[] = {
        T(two_members_joining_at_once_share_one_generation),
        T(the_first_rebalance_waits_while_new_members_arrive),
        T(a_second_member_makes_the_first_one_join_again),
        T(an_id_that_was_never_given_out_is_unknown),
        T(member_id_required_gives_an_id_that_joins_or_expires),
        T(a_rebalance_waits_for_an_id_that_was_given_out),
        T(members_without_a_common_protocol_are_refused),
        T(K10_a_full_group_and_16_MiB_of_metadata_are_refused),
        T(a_follower_that_repeats_its_join_is_told_where_the_group_stands),
        T(a_killed_member_is_out_after_its_session_and_the_others_go_on),
        T(heartbeats_keep_a_group_stable_for_hours),
        T(who_does_not_join_a_rebalance_in_time_is_out),
        T(who_never_asks_for_its_assignment_is_out),
        T(leaving_during_a_rebalance_lets_it_end),
        T(the_last_member_leaves_an_empty_group),
        T(a_client_that_goes_while_it_waits_keeps_its_place),
        T(K10_commits_of_a_zombie_generation_are_refused),
        T(a_join_is_not_answered_before_its_generation_is_durable),
        T(a_sync_is_not_answered_before_the_group_is_durable),
        T(a_group_that_cannot_be_stored_says_so_and_rebalances),
        T(a_restart_keeps_generation_members_and_assignment),
        T(no_generation_is_told_twice_across_restarts),
        T(a_static_member_comes_back_without_a_rebalance),
        T(a_static_leader_that_comes_back_may_skip_the_assignment),
        T(an_old_static_leader_is_not_told_that_it_leads),
        T(a_static_member_that_is_away_keeps_its_place_until_its_session_ends),
        T(a_static_member_leaves_by_its_instance_id_alone),
        T(K10_a_hundred_thousand_members_are_cheap_to_keep),
        T(K10_a_flapping_group_costs_a_bounded_number_of_stores),
        T(K10_a_million_idle_members_stay_within_the_memory_of_groups),
    };
    return cmocka_run_group_tests_name("group", list, NULL, NULL);
}
