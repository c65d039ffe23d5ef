/* Clients do anything in any order, from a seed; what they are told must fit together. */
#include "broker/group_for_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CLIENTS = 6, STEPS = 1000, SEEDS = 500 };

struct client {
    char name[8];         /* also what it subscribes with, and so what it is assigned */
    const char *instance; /* NULL: dynamic */
    struct sim_join join;
    struct sim_sync sync;
    bool joined;  /* has asked; the answer is in join, or to come */
    bool synced;  /* as joined, for sync */
    bool settled; /* sync was answered well for join's generation */
};

struct world {
    struct group_sim sim;
    struct client clients[CLIENTS];
    int32_t current;  /* the generation that was told last */
    int32_t told_max; /* the highest one ever, also before a restart that fell back to its row */
    char leader[128]; /* of the current one */
};

/* ---- what must hold of every answer --------------------------------------------------------- */

static void check_join(struct world *w, struct client *c)
{
    struct broker_group_join *j = &c->join.j;
    if (j->head.err != SL_OK)
        return;
    const char *leader = sim_text(j->ret_leader);
    /* The current one, or one that nobody heard of before. */
    assert_true(j->generation == w->current || j->generation > w->told_max);
    if (j->generation != w->current)
        (void)snprintf(w->leader, sizeof w->leader, "%s", leader);
    else if (!c->instance) /* a static leader may have come back under a new id */
        assert_true(!strcmp(w->leader, leader) || w->clients[0].instance);
    w->current = j->generation;
    w->told_max = SL_MAX(w->told_max, w->current);
    assert_true(j->generation <= w->sim.disk_ceiling); /* durable before it is told */
    if (j->n_members) {
        bool is_in = false;
        for (uint32_t i = 0; i < j->n_members; i++)
            is_in |= slice_eq(j->members[i].member_id, j->ret_member_id);
        assert_true(is_in);
        assert_string_equal(leader, sim_text(j->ret_member_id));
    }
}

static void check_sync(struct world *w, struct client *c)
{
    if (c->sync.s.head.err != SL_OK)
        return;
    assert_int_equal(w->current, c->sync.s.generation);
    assert_string_equal(c->name, sim_text(c->sync.s.ret_assignment));
    c->settled = true;
}

static void collect(struct world *w)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        if (c->joined && c->join.answered) {
            c->joined = false;
            check_join(w, c);
        }
        if (c->synced && c->sync.answered) {
            c->synced = false;
            check_sync(w, c);
        }
    }
}

/* ---- what clients do ------------------------------------------------------------------------ */

static bool is_member(const struct client *c)
{
    return !c->joined && c->join.answered && c->join.j.head.err == SL_OK;
}

static void drop_sync(struct client *c)
{
    sim_sync_free(&c->sync);
    memset(&c->sync, 0, sizeof c->sync);
    c->synced = c->settled = false;
}

static void fresh_join(struct world *w, struct client *c)
{
    sim_join_free(&c->join);
    drop_sync(c);
    c->joined = true;
    sim_join(&w->sim, &c->join, "", c->instance, c->name);
}

static void join(struct world *w, struct client *c)
{
    if (c->joined || c->synced)
        return;
    if (!is_member(c)) {
        fresh_join(w, c);
        return;
    }
    drop_sync(c);
    c->joined = true;
    sim_join_again(&w->sim, &c->join);
}

static void sync(struct world *w, struct client *c)
{
    if (!is_member(c) || c->synced)
        return;
    drop_sync(c);
    c->synced = true;
    sim_sync(&w->sim, &c->sync, &c->join);
}

static void beat(struct world *w, struct client *c)
{
    if (!is_member(c))
        return;
    sl_err err = sim_heartbeat(&w->sim, &c->join);
    if (err == SL_OK)
        assert_int_equal(w->current, c->join.j.generation);
    if (err == SL_OK || err == SL_EREBALANCE)
        return;
    c->join.j.head.err = err; /* starts anew */
}

static void commit(struct world *w, struct client *c)
{
    if (!is_member(c) || c->synced)
        return;
    /* A zombie's work is refused; the members of a rebalance may store what they did before. */
    if (sim_commit(&w->sim, &c->join) == SL_OK)
        assert_int_equal(w->current, c->join.j.generation);
}

static void leave(struct world *w, struct client *c)
{
    if (!is_member(c) || c->synced)
        return;
    (void)sim_leave(&w->sim, &c->join);
    c->join.j.head.err = SL_EMEMBER;
}

/* Its process dies: calls that wait are canceled, nothing more is heard. */
static void die(struct world *w, struct client *c)
{
    if (c->joined && !c->join.answered)
        group_cancel_join(w->sim.g, &c->join.j);
    if (c->synced && !c->sync.answered)
        group_cancel_sync(w->sim.g, &c->sync.s, w->sim.now_ms);
    group_sim_settle(&w->sim);
    c->joined = c->synced = false;
    c->join.j.head.err = SL_ECLOSED;
}

/* The group falls back to its row: a generation that was told but not stored is over. */
static void restart(struct world *w)
{
    group_sim_restart(&w->sim);
    collect(w);
    const struct group *g = w->sim.g;
    w->current = g->generation;
    (void)snprintf(w->leader, sizeof w->leader, "%s",
                   g->leader ? sim_text(member_id(g->leader)) : "");
}

static void step(struct world *w)
{
    struct group_sim *s = &w->sim;
    struct client *c = &w->clients[rng_below(&s->rng.rng, CLIENTS)];
    switch (rng_below(&s->rng.rng, 16)) {
    case 0 ... 2:
        join(w, c);
        break;
    case 3 ... 6:
        sync(w, c);
        break;
    case 7 ... 9:
        beat(w, c);
        break;
    case 10:
        commit(w, c);
        break;
    case 11:
        rng_below(&s->rng.rng, 3) ? commit(w, c) : leave(w, c);
        break;
    case 12:
        group_sim_pass(s, (int64_t)rng_below(&s->rng.rng, 4000));
        break;
    case 13:
        rng_below(&s->rng.rng, 8) ? beat(w, c) : die(w, c);
        break;
    case 14:
        s->hold_stores = rng_below(&s->rng.rng, 2);
        s->store_err = rng_below(&s->rng.rng, 8) ? SL_OK : SL_ENOSPC;
        break;
    default:
        if (!rng_below(&s->rng.rng, 6))
            restart(w);
        break;
    }
    group_sim_settle(s);
    collect(w);
}

/* ---- a world -------------------------------------------------------------------------------- */

/* B18: without faults, clients that do what clients do agree within a rebalance timeout. */
static void heal(struct world *w)
{
    w->sim.hold_stores = false;
    w->sim.store_err = SL_OK;
    for (int round = 0; round < 40; round++) {
        group_sim_settle(&w->sim);
        collect(w);
        for (int i = 0; i < CLIENTS; i++) {
            struct client *c = &w->clients[i];
            if (is_member(c) && sim_heartbeat(&w->sim, &c->join) != SL_OK) {
                beat(w, c);
                join(w, c);
            } else if (!is_member(c)) {
                join(w, c);
            } else if (!c->settled) {
                sync(w, c);
            }
            collect(w);
        }
        group_sim_pass(&w->sim, 3000);
        collect(w);
    }
    assert_int_equal(GROUP_STABLE, w->sim.g->life);
    assert_int_equal(CLIENTS, w->sim.g->members.n);
    for (int i = 0; i < CLIENTS; i++) {
        assert_true(is_member(&w->clients[i]));
        assert_true(w->clients[i].settled);
        assert_int_equal(w->current, w->clients[i].join.j.generation);
    }
}

static void run_seed(uint64_t seed, bool with_static)
{
    static const char *const instances[CLIENTS] = {"one", "two", "three"};
    struct world *w = calloc(1, sizeof *w);
    group_sim_init(&w->sim, seed);
    w->sim.cfg.group_initial_rebalance_delay_ms = (int64_t)(seed % 3) * 500;
    for (int i = 0; i < CLIENTS; i++) {
        (void)snprintf(w->clients[i].name, sizeof w->clients[i].name, "c%d", i);
        w->clients[i].instance = with_static ? instances[i] : NULL;
    }
    for (int i = 0; i < STEPS; i++)
        step(w);
    heal(w);
    group_end_calls(w->sim.g, SL_ECLOSED);
    group_sim_settle(&w->sim);
    for (int i = 0; i < CLIENTS; i++) {
        sim_join_free(&w->clients[i].join);
        sim_sync_free(&w->clients[i].sync);
    }
    group_sim_fini(&w->sim);
    free(w);
}

static uint64_t last_seed;

static int say_seed(void **state)
{
    print_message("# the last seed was %llu: SLUICE_SEED runs one alone\n",
                  (unsigned long long)last_seed);
    return 0;
}

static void run_seeds(bool with_static)
{
    const char *only = getenv("SLUICE_SEED");
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        if (only && strtoull(only, NULL, 10) != seed)
            continue;
        last_seed = seed;
        run_seed(seed, with_static);
    }
}

static void dynamic_members_in_any_order_agree(void **state)
{
    run_seeds(false);
}

static void static_members_in_any_order_agree(void **state)
{
    run_seeds(true);
}

int main(void)
{
    const struct CMUnitTest list[] = {
        cmocka_unit_test_teardown(dynamic_members_in_any_order_agree, say_seed),
        cmocka_unit_test_teardown(static_members_in_any_order_agree, say_seed),
    };
    return cmocka_run_group_tests_name("group model", list, NULL, NULL);
}
