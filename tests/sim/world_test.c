/* That worlds repeat, interleave, jump in time, nest and can be left. */
#include "base/alloc.h"
#include "sim/sim.h"
#include "sim/simfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- a program with two counting threads, a loop, a timer and a file ---------------------------
 */

struct program {
    struct simfs *fs;
    struct loop *loop;
    struct mutex *lock;
    struct cond *changed;
    struct task note;
    struct timer timer;
    struct workers *workers;
    struct work work;
    unsigned count, notes, fired, worked;
    int64_t fired_at_ms;
    char order[64];
};

static void count_main(void *arg)
{
    struct program *p = arg;
    for (int i = 0; i < 10; i++) {
        mutex_lock(p->lock);
        size_t len = strlen(p->order);
        if (len + 1 < sizeof p->order)
            p->order[len] = (char)('a' + p->count % 26);
        p->count++;
        mutex_unlock(p->lock);
        cond_signal(p->changed);
    }
}

static void write_main(void *arg)
{
    struct program *p = arg;
    struct vfs_file *f;
    assert_int_equal(SL_OK, vfs_open(simfs_vfs(p->fs), "/log", VFS_WRITE | VFS_CREATE, &f));
    for (int64_t i = 0; i < 10; i++) {
        assert_int_equal(SL_OK, vfs_pwrite(f, "0123456789", 10, (int64_t)i * 10));
        assert_int_equal(SL_OK, vfs_datasync(f));
    }
    vfs_close(f);
    loop_post(p->loop, &p->note);
}

static void on_note(struct task *t)
{
    struct program *p = SL_CONTAINER_OF(t, struct program, note);
    assert_true(loop_is_current(p->loop));
    p->notes++;
    timer_start(&p->timer, 3600000);
}

static void on_timer(struct timer *t)
{
    struct program *p = SL_CONTAINER_OF(t, struct program, timer);
    p->fired++;
    p->fired_at_ms = loop_now_ms(p->loop);
    workers_submit(p->workers, p->loop, &p->work);
}

static void on_work(struct work *w)
{
    SL_CONTAINER_OF(w, struct program, work)->worked++;
}

static void on_worked(struct work *w)
{
    loop_stop(SL_CONTAINER_OF(w, struct program, work)->loop);
}

static void program_main(void *arg)
{
    struct program *p = arg;
    struct thread *t[3];
    assert_int_equal(SL_OK, loop_new(sim_clock(sim_current()), &p->loop));
    p->lock = mutex_new();
    p->changed = cond_new();
    p->note.run = on_note;
    p->work = (struct work){.run = on_work, .done = on_worked};
    timer_init(&p->timer, p->loop, on_timer);
    assert_int_equal(SL_OK, workers_start(2, &p->workers));
    assert_int_equal(SL_OK, thread_start("count-1", count_main, p, &t[0]));
    assert_int_equal(SL_OK, thread_start("count-2", count_main, p, &t[1]));
    assert_int_equal(SL_OK, thread_start("write", write_main, p, &t[2]));
    mutex_lock(p->lock);
    while (p->count < 20)
        cond_wait(p->changed, p->lock);
    assert_false(cond_wait_for(p->changed, p->lock, 5) && p->count > 20);
    mutex_unlock(p->lock);
    loop_run(p->loop);
    for (int i = 0; i < 3; i++)
        thread_join(t[i]);
    workers_stop(p->workers);
    cond_free(p->changed);
    mutex_free(p->lock);
    loop_free(p->loop);
}

struct run {
    uint64_t trace, steps, changes;
    struct program program;
};

static struct run run_program(uint64_t seed)
{
    struct run r = {.program = {.fs = simfs_new()}};
    struct sim *s = sim_new(&(struct sim_opts){.seed = seed});
    assert_int_equal(SIM_RETURNED, sim_run(s, program_main, &r.program));
    r.trace = sim_trace(s);
    r.steps = sim_steps(s);
    r.changes = sim_changes(s);
    sim_free(s);
    simfs_free(r.program.fs);
    return r;
}

static void a_program_of_threads_loops_timers_and_workers_runs_to_its_end(void **state)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct run r = run_program(seed);
        assert_int_equal(20, r.program.count);
        assert_int_equal(1, r.program.notes);
        assert_int_equal(1, r.program.fired);
        assert_int_equal(1, r.program.worked);
        assert_true(r.program.fired_at_ms >= 3600000); /* an hour, in no time */
    }
}

static void the_same_seed_gives_the_same_run_and_another_one_another(void **state)
{
    unsigned differ = 0;
    uint64_t first = run_program(0).trace;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct run a = run_program(seed), b = run_program(seed);
        assert_true(a.trace == b.trace);
        assert_true(a.steps == b.steps);
        assert_string_equal(a.program.order, b.program.order);
        differ += a.trace != first;
    }
    assert_int_equal(19, differ);
}

/* ---- a race that a scheduler must find ---------------------------------------------------------
 */

static unsigned racy;

static void add_unlocked(void *arg)
{
    for (int i = 0; i < 5; i++) {
        unsigned old = racy;
        sim_yield("race", 0);
        racy = old + 1;
    }
}

static void race_main(void *arg)
{
    struct thread *t[2];
    racy = 0;
    assert_int_equal(SL_OK, thread_start("a", add_unlocked, NULL, &t[0]));
    assert_int_equal(SL_OK, thread_start("b", add_unlocked, NULL, &t[1]));
    thread_join(t[0]);
    thread_join(t[1]);
}

static void a_lost_update_is_found_by_some_seed(void **state)
{
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct sim *s = sim_new(&(struct sim_opts){.seed = seed});
        assert_int_equal(SIM_RETURNED, sim_run(s, race_main, NULL));
        sim_free(s);
        lost += racy < 10;
    }
    assert_in_range(lost, 10, 50);
}

/* ---- ends -------------------------------------------------------------------------------------
 */

static void lock_and_keep(void *arg)
{
    mutex_lock(arg);
}

static void deadlock_main(void *arg)
{
    struct thread *t;
    struct mutex *m = arg;
    mutex_lock(m);
    assert_int_equal(SL_OK, thread_start("stuck", lock_and_keep, m, &t));
    thread_join(t);
}

static void a_deadlock_is_told_not_waited_for(void **state)
{
    struct mutex *m = mutex_new();
    struct sim *s = sim_new(&(struct sim_opts){.seed = 1, .abandons = true});
    assert_int_equal(SIM_DEADLOCK, sim_run(s, deadlock_main, m));
    sim_free(s);
    sl_free(m);
}

static void spin_main(void *arg)
{
    for (;;)
        sim_yield("spin", 0);
}

static void a_world_that_never_ends_is_stopped(void **state)
{
    struct sim *s = sim_new(&(struct sim_opts){.seed = 1, .steps_max = 10000, .abandons = true});
    assert_int_equal(SIM_TOO_LONG, sim_run(s, spin_main, NULL));
    sim_free(s);
}

static void hold_memory(void *arg)
{
    char *held = sl_alloc(100, 1);
    sim_sleep_ns(1000000000);
    sl_free(held);
}

static void abandon_main(void *arg)
{
    struct thread *t;
    char *held = sl_alloc(100, 1);
    assert_int_equal(SL_OK, thread_start("holder", hold_memory, NULL, &t));
    sim_sleep_ns(1000);
    sim_stop(sim_current());
    sl_free(held);
    assert_true(false); /* nobody comes back here */
}

static void a_stopped_world_drops_its_threads_where_they_stand(void **state)
{
    struct sim *s = sim_new(&(struct sim_opts){.seed = 1, .abandons = true});
    assert_int_equal(SIM_STOPPED, sim_run(s, abandon_main, NULL));
    sim_free(s);
    assert_null(sim_current());
}

/* ---- crash images from a running world, each looked at in a world of its own -------------------
 */

struct crash_run {
    struct program program;
    struct sim *sim;
    unsigned images, lost_bytes;
    int64_t synced; /* bytes that the writer knows to be safe */
};

static void recover_main(void *arg)
{
    struct simfs *image = arg;
    struct vfs_file *f;
    char text[10];
    sl_err err = vfs_open(simfs_vfs(image), "/log", VFS_READ, &f);
    if (err == SL_ENOTFOUND)
        return;
    assert_int_equal(SL_OK, err);
    (void)!vfs_pread_full(f, text, 10, 0);
    vfs_close(f);
}

static void take_image(void *arg, uint64_t n)
{
    struct crash_run *r = arg;
    struct simfs *image = simfs_image(r->program.fs, SIMFS_POWER, n);
    struct sim *inner = sim_new(&(struct sim_opts){.seed = n});
    assert_int_equal(SIM_RETURNED, sim_run(inner, recover_main, image));
    assert_ptr_equal(r->sim, sim_current());
    r->images++;
    sim_free(inner);
    simfs_free(image);
}

static void worlds_nest_in_the_hook_and_do_not_disturb_each_other(void **state)
{
    uint64_t alone = run_program(7).trace;
    struct crash_run r = {.program = {.fs = simfs_new()}};
    r.sim = sim_new(&(struct sim_opts){.seed = 7});
    sim_on_change(r.sim, take_image, &r);
    assert_int_equal(SIM_RETURNED, sim_run(r.sim, program_main, &r.program));
    assert_true(r.images > 20);
    assert_true(alone != 0);
    sim_free(r.sim);
    simfs_free(r.program.fs);
}

/* ---- failed syncs, with chance -----------------------------------------------------------------
 */

static void failing_sync_main(void *arg)
{
    struct simfs *fs = arg;
    struct vfs_file *f;
    assert_int_equal(SL_OK, vfs_replace_file(simfs_vfs(fs), "/a", "old", 3));
    assert_int_equal(SL_OK, vfs_open(simfs_vfs(fs), "/a", VFS_WRITE, &f));
    assert_int_equal(SL_OK, vfs_pwrite(f, "new", 3, 0));
    simfs_set_fault(fs, &(struct simfs_fault){.calls = SIMFS_SYNC, .n = 1, .err = SL_EIO});
    assert_int_equal(SL_EIO, vfs_datasync(f));
    assert_int_equal(SL_OK, vfs_datasync(f));
    vfs_close(f);
}

static char first_byte(struct simfs *fs)
{
    struct vfs_file *f;
    char byte;
    assert_int_equal(SL_OK, vfs_open(simfs_vfs(fs), "/a", VFS_READ, &f));
    assert_int_equal(SL_OK, vfs_pread_full(f, &byte, 1, 0));
    vfs_close(f);
    return byte;
}

static void D7_a_failed_sync_loses_or_saves_and_the_cache_may_hide_it(void **state)
{
    unsigned lost = 0, hidden = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct simfs *fs = simfs_new();
        struct sim *s = sim_new(&(struct sim_opts){.seed = seed});
        assert_int_equal(SIM_RETURNED, sim_run(s, failing_sync_main, fs));
        sim_free(s);
        struct simfs *image = simfs_image(fs, SIMFS_POWER_ALL, seed);
        lost += first_byte(image) == 'o';
        hidden += first_byte(image) == 'o' && first_byte(fs) == 'n';
        simfs_free(image);
        simfs_free(fs);
    }
    assert_in_range(lost, 20, 80);
    assert_in_range(hidden, 5, lost - 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_of_threads_loops_timers_and_workers_runs_to_its_end),
        cmocka_unit_test(the_same_seed_gives_the_same_run_and_another_one_another),
        cmocka_unit_test(a_lost_update_is_found_by_some_seed),
        cmocka_unit_test(a_deadlock_is_told_not_waited_for),
        cmocka_unit_test(a_world_that_never_ends_is_stopped),
        cmocka_unit_test(a_stopped_world_drops_its_threads_where_they_stand),
        cmocka_unit_test(worlds_nest_in_the_hook_and_do_not_disturb_each_other),
        cmocka_unit_test(D7_a_failed_sync_loses_or_saves_and_the_cache_may_hide_it),
    };
    return cmocka_run_group_tests_name("world", tests, NULL, NULL);
}
