#include "loop/loop.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct loop *new_loop(void)
{
    struct loop *l = NULL;
    assert_int_equal(SL_OK, loop_new(&clock_real, &l));
    return l;
}

/* ---- order of tasks ------------------------------------------------------------------------ */

struct note {
    struct task task;
    char letter;
};

static struct loop *turn_loop;
static char trace[64];
static size_t trace_len;

static void record(char letter)
{
    assert_true(trace_len < sizeof trace - 1);
    trace[trace_len++] = letter;
    trace[trace_len] = '\0';
}

static void note_run(struct task *t)
{
    record(SL_CONTAINER_OF(t, struct note, task)->letter);
}

static void stop_run(struct task *t)
{
    loop_stop(turn_loop);
}

static int reset_trace(void **state)
{
    trace_len = 0;
    trace[0] = '\0';
    turn_loop = new_loop();
    return 0;
}

static int free_loop(void **state)
{
    loop_free(turn_loop);
    return 0;
}

static void tasks_of_one_poster_run_in_their_order(void **state)
{
    struct note notes[3] = {
        {{.run = note_run}, 'a'}, {{.run = note_run}, 'b'}, {{.run = note_run}, 'c'}};
    struct task stop = {.run = stop_run};
    for (int i = 0; i < 3; i++)
        loop_post(turn_loop, &notes[i].task);
    loop_post(turn_loop, &stop);
    loop_run(turn_loop);
    assert_string_equal("abc", trace);
}

static struct note later_notes[3];

static void defers_two_then_records(struct task *t)
{
    loop_defer(turn_loop, &later_notes[0].task);
    record('1');
}

static void defers_another(struct task *t)
{
    record('d');
    loop_defer(turn_loop, &later_notes[2].task);
}

static void a_deferred_task_runs_behind_all_events_of_its_turn(void **state)
{
    later_notes[0] = (struct note){{.run = defers_another}, 0};
    later_notes[2] = (struct note){{.run = note_run}, 'e'};
    struct task first = {.run = defers_two_then_records};
    struct note second = {{.run = note_run}, '2'};
    struct task stop = {.run = stop_run};
    loop_post(turn_loop, &first);
    loop_post(turn_loop, &second.task);
    loop_post(turn_loop, &stop);
    loop_run(turn_loop);
    assert_string_equal("12de", trace);
}

static unsigned defer_count;

static void defers_itself(struct task *t)
{
    if (++defer_count < 1000)
        loop_defer(turn_loop, t);
    else
        loop_stop(turn_loop);
}

static void a_task_that_defers_itself_does_not_keep_posts_from_running(void **state)
{
    struct task greedy = {.run = defers_itself};
    struct note note = {{.run = note_run}, 'x'};
    defer_count = 0;
    loop_defer(turn_loop, &greedy);
    loop_post(turn_loop, &note.task);
    loop_run(turn_loop);
    assert_int_equal(1000, defer_count);
    assert_string_equal("x", trace);
}

static void a_task_posted_while_the_loop_stops_still_runs(void **state)
{
    struct task stop = {.run = stop_run};
    struct note after = {{.run = note_run}, 'z'};
    loop_post(turn_loop, &stop);
    loop_post(turn_loop, &after.task);
    loop_run(turn_loop);
    assert_string_equal("z", trace);
}

/* ---- timers -------------------------------------------------------------------------------- */

struct letter_timer {
    struct timer timer;
    char letter;
};

static void letter_fire(struct timer *t)
{
    char letter = SL_CONTAINER_OF(t, struct letter_timer, timer)->letter;
    record(letter);
    if (letter == '!')
        loop_stop(turn_loop);
}

static void timers_fire_by_their_time_and_stopped_ones_never(void **state)
{
    struct letter_timer t[4] = {{.letter = 'b'}, {.letter = 'a'}, {.letter = 'n'}, {.letter = '!'}};
    const int64_t delay_ms[4] = {4, 2, 3, 6};
    for (int i = 0; i < 4; i++) {
        timer_init(&t[i].timer, turn_loop, letter_fire);
        timer_start(&t[i].timer, delay_ms[i]);
        assert_true(timer_running(&t[i].timer));
    }
    timer_stop(&t[2].timer);
    timer_stop(&t[2].timer);
    assert_false(timer_running(&t[2].timer));
    int64_t before_ms = loop_now_ms(turn_loop);
    loop_run(turn_loop);
    assert_string_equal("ab!", trace);
    assert_true(loop_now_ms(turn_loop) - before_ms >= 5); /* each clock rounds down */
    assert_false(timer_running(&t[0].timer));
}

static unsigned again_count;

static void fires_again(struct timer *t)
{
    if (++again_count < 5)
        timer_start(t, 0);
    else
        loop_stop(turn_loop);
}

static void a_timer_may_start_itself_again_with_no_delay(void **state)
{
    struct timer t;
    again_count = 0;
    timer_init(&t, turn_loop, fires_again);
    timer_start(&t, 0);
    loop_run(turn_loop);
    assert_int_equal(5, again_count);
}

static void a_running_timer_does_not_keep_a_stopped_loop_alive(void **state)
{
    struct letter_timer t = {.letter = 'x'};
    struct task stop = {.run = stop_run};
    timer_init(&t.timer, turn_loop, letter_fire);
    timer_start(&t.timer, 3600000);
    loop_post(turn_loop, &stop);
    loop_run(turn_loop);
    assert_string_equal("", trace);
    timer_stop(&t.timer);
}

/* ---- several threads ------------------------------------------------------------------------ */

enum { POSTERS = 4, POSTS = 5000 };

struct numbered {
    struct task task;
    unsigned poster, number;
};

static unsigned next_number[POSTERS]; /* written on the loop only: TSan watches */
static unsigned arrived;
static bool out_of_order, foreign_thread;

static void numbered_run(struct task *t)
{
    struct numbered *n = SL_CONTAINER_OF(t, struct numbered, task);
    out_of_order |= next_number[n->poster] != n->number;
    foreign_thread |= !loop_is_current(turn_loop);
    next_number[n->poster]++;
    if (++arrived == POSTERS * POSTS)
        loop_stop(turn_loop);
}

static void post_all(void *arg)
{
    struct numbered *n = arg;
    for (unsigned i = 0; i < POSTS; i++)
        loop_post(turn_loop, &n[i].task);
}

static void posts_of_four_threads_all_arrive_each_in_its_order(void **state)
{
    struct numbered *posts = sl_new_array(struct numbered, (size_t)POSTERS * POSTS);
    struct thread *threads[POSTERS];
    for (unsigned i = 0; i < POSTERS * POSTS; i++)
        posts[i] = (struct numbered){{.run = numbered_run}, i / POSTS, i % POSTS};
    for (unsigned p = 0; p < POSTERS; p++)
        assert_int_equal(SL_OK,
                         thread_start("poster", post_all, posts + (size_t)p * POSTS, &threads[p]));
    loop_run(turn_loop);
    for (unsigned p = 0; p < POSTERS; p++)
        thread_join(threads[p]);
    assert_false(out_of_order);
    assert_false(foreign_thread);
    assert_int_equal(POSTERS * POSTS, arrived);
    sl_free(posts);
}

static void run_loop(void *arg)
{
    loop_run(arg);
}

struct ball {
    struct task task;
    struct loop *sides[2];
    unsigned bounces;
};

static struct task stop_task = {.run = stop_run};

static void stop_other(struct task *t)
{
    struct ball *b = SL_CONTAINER_OF(t, struct ball, task);
    loop_stop(b->sides[1]);
    loop_post(turn_loop, &stop_task);
}

static void ball_run(struct task *t)
{
    struct ball *b = SL_CONTAINER_OF(t, struct ball, task);
    assert_true(loop_is_current(b->sides[b->bounces % 2]));
    b->bounces++;
    if (b->bounces == 9999)
        t->run = stop_other;
    loop_post(b->sides[b->bounces % 2], t);
}

static void a_task_bounces_between_two_loops(void **state)
{
    struct loop *other = new_loop();
    struct ball b = {.task = {.run = ball_run}, .sides = {turn_loop, other}};
    struct thread *t;
    assert_int_equal(SL_OK, thread_start("other", run_loop, other, &t));
    loop_post(turn_loop, &b.task);
    loop_run(turn_loop);
    thread_join(t);
    assert_int_equal(9999, b.bounces);
    loop_free(other);
}

/* ---- threads, locks, workers ---------------------------------------------------------------- */

struct counter {
    struct mutex *lock;
    struct cond *changed;
    unsigned n;
};

static void count_to_thousand(void *arg)
{
    struct counter *c = arg;
    for (int i = 0; i < 1000; i++) {
        mutex_lock(c->lock);
        c->n++;
        mutex_unlock(c->lock);
        cond_signal(c->changed);
    }
}

static void a_condition_wakes_who_waits_for_it_and_a_lock_excludes(void **state)
{
    struct counter c = {mutex_new(), cond_new(), 0};
    struct thread *threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(SL_OK, thread_start("counter", count_to_thousand, &c, &threads[i]));
    mutex_lock(c.lock);
    while (c.n < 2000)
        cond_wait(c.changed, c.lock);
    assert_false(cond_wait_for(c.changed, c.lock, 1));
    mutex_unlock(c.lock);
    for (int i = 0; i < 2; i++)
        thread_join(threads[i]);
    cond_free(c.changed);
    mutex_free(c.lock);
}

enum { JOBS = 200 };

struct job {
    struct work work;
    int result;
};

static unsigned jobs_done;

static void job_run(struct work *w)
{
    struct job *j = SL_CONTAINER_OF(w, struct job, work);
    assert_false(loop_is_current(turn_loop));
    j->result = j->result * 2;
}

static void job_done(struct work *w)
{
    assert_true(loop_is_current(turn_loop));
    if (++jobs_done == JOBS)
        loop_stop(turn_loop);
}

static void work_runs_elsewhere_and_comes_home(void **state)
{
    struct workers *p;
    struct job jobs[JOBS];
    jobs_done = 0;
    assert_int_equal(SL_OK, workers_start(3, &p));
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.work = {.run = job_run, .done = job_done}, .result = i};
        workers_submit(p, turn_loop, &jobs[i].work);
    }
    loop_run(turn_loop);
    workers_stop(p);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(2 * i, jobs[i].result);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, reset_trace, free_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(tasks_of_one_poster_run_in_their_order),
        LOOP_TEST(a_deferred_task_runs_behind_all_events_of_its_turn),
        LOOP_TEST(a_task_that_defers_itself_does_not_keep_posts_from_running),
        LOOP_TEST(a_task_posted_while_the_loop_stops_still_runs),
        LOOP_TEST(timers_fire_by_their_time_and_stopped_ones_never),
        LOOP_TEST(a_timer_may_start_itself_again_with_no_delay),
        LOOP_TEST(a_running_timer_does_not_keep_a_stopped_loop_alive),
        LOOP_TEST(posts_of_four_threads_all_arrive_each_in_its_order),
        LOOP_TEST(a_task_bounces_between_two_loops),
        LOOP_TEST(a_condition_wakes_who_waits_for_it_and_a_lock_excludes),
        LOOP_TEST(work_runs_elsewhere_and_comes_home),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
