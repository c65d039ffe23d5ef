/* Calls that travel: a door's loop on one thread, the core's on another. */
#include "broker/broker_int.h"

#include "base/alloc.h"
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CALLS = 20 };

struct test_call {
    struct broker_call call;
    struct travel *travel;
    int number;
    bool waits; /* parks until it is canceled */
    bool saw_cancel;
};

struct travel {
    struct broker broker;
    struct loop *core, *door;
    struct thread *core_thread;
    struct mutex *lock;
    struct cond *changed;
    struct task stop_task;
    struct test_call calls[CALLS];
    bool core_runs;
    int n_run, n_done, n_expected;
    void (*body)(struct travel *t);
};

static void stop_core(struct task *task)
{
    loop_stop(SL_CONTAINER_OF(task, struct travel, stop_task)->core);
}

static void core_main(void *arg)
{
    struct travel *t = arg;
    assert_int_equal(SL_OK, loop_new(sim_clock(sim_current()), &t->core));
    t->broker.env.loop = t->core;
    mutex_lock(t->lock);
    t->core_runs = true;
    cond_broadcast(t->changed);
    mutex_unlock(t->lock);
    loop_run(t->core);
}

static void cancel(struct broker_call *c)
{
    struct test_call *tc = SL_CONTAINER_OF(c, struct test_call, call);
    assert_true(loop_is_current(tc->travel->core));
    assert_true(c->canceled);
    tc->saw_cancel = true;
    broker_finish(c);
}

static void run(struct broker_call *c)
{
    struct test_call *tc = SL_CONTAINER_OF(c, struct test_call, call);
    assert_true(loop_is_current(tc->travel->core));
    assert_int_equal(tc->number, tc->travel->n_run++); /* in the order of submission */
    if (tc->waits)
        c->cancel = cancel;
    else
        broker_finish(c);
}

/* What the door does with its memory afterwards: nothing of the call may be touched again. */
static void done(struct broker_call *c)
{
    struct test_call *tc = SL_CONTAINER_OF(c, struct test_call, call);
    struct travel *t = tc->travel;
    assert_true(loop_is_current(t->door));
    memset(c, 0xee, sizeof *c);
    if (++t->n_done == t->n_expected)
        loop_stop(t->door);
}

static void submit(struct travel *t, int n, bool waits)
{
    struct test_call *tc = &t->calls[n];
    *tc = (struct test_call){.travel = t, .number = n, .waits = waits};
    tc->call = (struct broker_call){.broker = &t->broker,
                                    .home = t->door,
                                    .who = &principal_anonymous,
                                    .run = run,
                                    .done = done};
    broker_submit(&tc->call);
}

static void travel_main(void *arg)
{
    struct travel *t = arg;
    t->lock = mutex_new();
    t->changed = cond_new();
    assert_int_equal(SL_OK, thread_start("core", core_main, t, &t->core_thread));
    mutex_lock(t->lock);
    while (!t->core_runs)
        cond_wait(t->changed, t->lock);
    mutex_unlock(t->lock);
    assert_int_equal(SL_OK, loop_new(sim_clock(sim_current()), &t->door));
    t->body(t);
    t->stop_task.run = stop_core;
    loop_post(t->core, &t->stop_task);
    thread_join(t->core_thread);
    loop_free(t->core);
    loop_free(t->door);
    cond_free(t->changed);
    mutex_free(t->lock);
}

enum { SEEDS = 200 };

static void on_two_loops(void (*body)(struct travel *t))
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        const struct sim_opts opts = {.seed = seed};
        struct sim *sim = sim_new(&opts);
        struct travel *t = sl_new(struct travel);
        t->body = body;
        assert_int_equal(SIM_RETURNED, sim_run(sim, travel_main, t));
        sim_free(sim);
        sl_free(t);
    }
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void submit_all(struct travel *t)
{
    t->n_expected = CALLS;
    for (int i = 0; i < CALLS; i++)
        submit(t, i, false);
    loop_run(t->door);
    assert_int_equal(CALLS, t->n_done);
}

static void calls_of_a_loop_arrive_in_order_and_come_back_to_it(void **state)
{
    on_two_loops(submit_all);
}

/* The door's loop must be current to cancel, so it happens in a task of it. */
struct cancel_task {
    struct task task;
    struct travel *travel;
};

static void cancel_all(struct task *task)
{
    struct travel *t = SL_CONTAINER_OF(task, struct cancel_task, task)->travel;
    for (int i = 0; i < CALLS; i++) {
        if (t->calls[i].call.done != done)
            continue; /* came back already: the door forgot it */
        broker_cancel(&t->calls[i].call);
        if (i % 3 == 0)
            broker_cancel(&t->calls[i].call); /* twice is once */
    }
}

/* Every second call ends by itself, about when its cancel arrives: the two pass each other. */
static void cancel_while_some_end(struct travel *t)
{
    struct cancel_task task = {.task.run = cancel_all, .travel = t};
    t->n_expected = CALLS;
    for (int i = 0; i < CALLS; i++)
        submit(t, i, i % 2 == 0);
    loop_post(t->door, &task.task);
    loop_run(t->door);
    assert_int_equal(CALLS, t->n_done);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(i % 2 == 0, t->calls[i].saw_cancel);
}

static void a_cancel_and_an_answer_that_pass_each_other_end_the_call_once(void **state)
{
    on_two_loops(cancel_while_some_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_a_loop_arrive_in_order_and_come_back_to_it),
        cmocka_unit_test(a_cancel_and_an_answer_that_pass_each_other_end_the_call_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
