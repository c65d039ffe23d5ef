/* B05, D1, D8 for topics: whatever moment the machine crashes at, the next start succeeds, a topic
 * whose creation, change or deletion was answered is as it was answered, and one on its way is as
 * before or as after, never between. */
#include "broker/admin_for_test.h"
#include "sim/crash.h"

#include <stdlib.h>

enum { NAMES = 3, STEPS = 14, GONE = 0 };

/* What is known of one name: partitions and retention in one number, GONE when it is not there. */
struct name_state {
    int64_t answered; /* as the last answer said */
    int64_t under_way;
};

struct oracle {
    struct name_state names[NAMES];
    uint64_t choices; /* seed of this run's steps */
};

static void name_of(char ret[8], unsigned i)
{
    (void)snprintf(ret, 8, "t%u", i);
}

/* One step of a run: a change of one name, chosen by the seed, noted before and behind. */
static void step(struct admin_world *w, struct name_state *s, const char *name, struct rng *rng)
{
    int32_t partitions = (int32_t)(s->answered % 1000);
    int64_t retention = s->answered / 1000;
    char text[24];
    if (s->answered == GONE) {
        partitions = 1 + (int32_t)rng_below(rng, 3);
        s->under_way = admin_state_of(partitions, 0);
        assert_int_equal(SL_OK, admin_create(w, name, partitions));
    } else if (rng_below(rng, 3) == 0) {
        s->under_way = GONE;
        assert_int_equal(SL_OK, admin_delete(w, name));
    } else if (rng_below(rng, 2) == 0) {
        s->under_way = admin_state_of(partitions + 1, retention);
        assert_int_equal(SL_OK, admin_grow(w, name, partitions + 1));
    } else {
        s->under_way = admin_state_of(partitions, ++retention);
        (void)snprintf(text, sizeof text, "%lld", (long long)retention);
        assert_int_equal(SL_OK, admin_set(w, name, "retention.ms", text));
    }
    s->answered = s->under_way;
}

static void run(struct crash_test *t, struct simfs *fs)
{
    struct oracle *o = t->user;
    struct rng_seeded rng;
    struct admin_world *w = sl_new(struct admin_world);
    rng_seeded_init(&rng, o->choices);
    w->fs = fs;
    w->cfg = admin_default_cfg;
    assert_int_equal(SL_OK, admin_open(w));
    for (int i = 0; i < STEPS; i++) {
        unsigned n = (unsigned)rng_below(&rng.rng, NAMES);
        char name[8];
        name_of(name, n);
        step(w, &o->names[n], name, &rng.rng);
        assert_int_equal(o->names[n].answered, admin_state(w, name));
    }
    admin_close(w);
    sl_free(w);
}

static void start(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    *o = (struct oracle){.choices = rng_u64(rng)};
}

static const char *compare(const struct oracle *o, struct admin_world *w)
{
    for (unsigned i = 0; i < NAMES; i++) {
        char name[8];
        name_of(name, i);
        int64_t found = admin_state(w, name);
        if (found != o->names[i].answered && found != o->names[i].under_way)
            return crash_problem("%s: %lld is there, answered was %lld, under way %lld", name,
                                 (long long)found, (long long)o->names[i].answered,
                                 (long long)o->names[i].under_way);
    }
    sl_err err = admin_create(w, "after", 1); /* a start before this one may have got there */
    return err == SL_OK || err == SL_EEXISTS ? NULL : "no topic can be created any more";
}

static const char *check(struct crash_test *t, struct simfs *image, enum simfs_crash crash)
{
    struct admin_world *w = sl_new(struct admin_world);
    const char *problem = NULL;
    w->fs = image;
    w->cfg = admin_default_cfg;
    sl_err err = admin_open(w);
    if (err != SL_OK)
        problem =
            crash_problem("open: %s: %s: %s", sl_err_name(err), w->fault.where, w->fault.what);
    else
        problem = compare(t->user, w);
    admin_close(w);
    sl_free(w);
    return problem;
}

static void B05_a_topic_is_never_half_there_after_a_crash(void **state)
{
    struct oracle o;
    struct crash_test t = {.name = "B05 topics",
                           .states = 1500,
                           .one_in = 12,
                           .depth_max = 1,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

static void D8_nor_after_a_crash_in_the_start_that_follows(void **state)
{
    struct oracle o;
    struct crash_test t = {.name = "D8 topics",
                           .states = 500,
                           .one_in = 30,
                           .depth_max = 2,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(B05_a_topic_is_never_half_there_after_a_crash),
        cmocka_unit_test(D8_nor_after_a_crash_in_the_start_that_follows),
    };
    return cmocka_run_group_tests_name("topics crash", tests, NULL, NULL);
}
