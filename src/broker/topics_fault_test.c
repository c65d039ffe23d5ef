/* D5 for topics: any one call to the disk fails while topics are created, changed and deleted. What
 * was answered with success is there after the process ends and starts again; what was refused has
 * not happened; what may have happened is as before or as after. */
#include "base/log.h"
#include "broker/admin_for_test.h"

#include <stdlib.h>

enum { GONE = 0 };

/* What a name may be after a restart. */
struct allowed {
    int64_t before, after;
};

struct sweep {
    struct admin_world w;
    struct simfs_fault fault;
    struct simfs *fs, *image;
    struct allowed grown, deleted, created;
    const char *problem;
    bool reached; /* the fault struck */
};

/* The process ends here: its files stay as they are. */
static void end_process(struct sweep *s)
{
    s->reached = simfs_faults_seen(s->fs) > 0;
    s->image = simfs_image(s->fs, SIMFS_KILL, 1);
    sim_stop(sim_current());
}

static void ended_by_core(struct admin_world *w)
{
    end_process(SL_CONTAINER_OF(w, struct sweep, w));
}

static struct allowed settle(struct allowed a, sl_err err, bool refusal_may_take_effect)
{
    if (err == SL_OK)
        a.before = a.after;
    else if (err != SL_EUNKNOWN_OUTCOME && !refusal_may_take_effect)
        a.after = a.before;
    return a;
}

static void change_topics(void *arg)
{
    struct sweep *s = arg;
    struct admin_world *w = &s->w;
    assert_int_equal(SL_OK, admin_open(w));
    assert_int_equal(SL_OK, admin_create(w, "grown", 1));
    assert_int_equal(SL_OK, admin_create(w, "deleted", 1));
    w->on_fatal = ended_by_core;
    s->grown = (struct allowed){1, 3};
    s->deleted = (struct allowed){1, GONE};
    s->created = (struct allowed){GONE, 2};
    simfs_set_fault(s->fs, &s->fault);
    s->created = settle(s->created, admin_create(w, "created", 2), false);
    s->grown = settle(s->grown, admin_grow(w, "grown", 3), false);
    /* a deletion that failed half way is finished or undone by the next start */
    s->deleted = settle(s->deleted, admin_delete(w, "deleted"), true);
    simfs_set_fault(s->fs, &(struct simfs_fault){0});
    end_process(s);
}

static bool is_allowed(struct sweep *s, struct admin_world *w, const char *name, struct allowed a)
{
    int64_t found = admin_state(w, name);
    if (found == a.before || found == a.after)
        return true;
    s->problem = name;
    print_message("# %s: %lld is there, %lld or %lld was promised\n", name, (long long)found,
                  (long long)a.before, (long long)a.after);
    return false;
}

static void look_again(void *arg)
{
    struct sweep *s = arg;
    struct admin_world *w = sl_new(struct admin_world);
    w->fs = s->image;
    w->cfg = admin_default_cfg;
    sl_err err = admin_open(w);
    if (err != SL_OK) {
        s->problem = "the start";
        print_message("# %s: %s: %s\n", sl_err_name(err), w->fault.where, w->fault.what);
    } else if (is_allowed(s, w, "grown", s->grown) && is_allowed(s, w, "deleted", s->deleted) &&
               is_allowed(s, w, "created", s->created)) {
        err = admin_create(w, "more", 1);
        if (err != SL_OK)
            s->problem = sl_err_name(err);
    }
    admin_close(w);
    sl_free(w);
}

static void in_world(void (*fn)(void *arg), struct sweep *s, enum sim_end expected)
{
    static uint64_t seed = 5; /* no two worlds draw the same ids */
    const struct sim_opts opts = {.seed = seed++, .abandons = true};
    struct sim *sim = sim_new(&opts);
    assert_int_equal(expected, sim_run(sim, fn, s));
    sim_free(sim);
}

/* False when there are fewer calls than that. */
static bool fail_one(const struct simfs_fault *fault)
{
    struct sweep *s = sl_new(struct sweep);
    s->fault = *fault;
    s->fs = s->w.fs = simfs_new();
    s->w.cfg = admin_default_cfg;
    in_world(change_topics, s, SIM_STOPPED);
    in_world(look_again, s, SIM_RETURNED);
    bool reached = s->reached;
    if (s->problem)
        fail_msg("call %llu of kind %u with %s: %s", (unsigned long long)fault->n, fault->calls,
                 sl_err_name(fault->err), s->problem);
    simfs_free(s->image);
    simfs_free(s->fs);
    sl_free(s);
    return reached;
}

static void D5_any_failing_call_leaves_topics_as_they_were_answered(void **state)
{
    static const struct {
        unsigned calls;
        sl_err err;
    } kinds[] = {{SIMFS_WRITE, SL_ENOSPC}, {SIMFS_WRITE, SL_EIO},    {SIMFS_SYNC, SL_EIO},
                 {SIMFS_OPEN, SL_ENOSPC},  {SIMFS_SYNC_DIR, SL_EIO}, {SIMFS_NAME, SL_EIO}};
    log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_PRETTY);
    for (size_t k = 0; k < SL_ARRAY_LEN(kinds); k++) {
        struct simfs_fault fault = {.calls = kinds[k].calls, .n = 1, .err = kinds[k].err};
        while (fail_one(&fault))
            fault.n++;
        print_message("# %s at %llu places\n", sl_err_name(fault.err),
                      (unsigned long long)fault.n - 1);
        assert_true(fault.n > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D5_any_failing_call_leaves_topics_as_they_were_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
