#include "sim/crash.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

/* A single run of some tests has thousands of states: under sanitizers one in so many is looked at.
 */
enum { SLOW_SAMPLE = 4 };

/* What becomes of a crash in a crash. */
struct checking {
    struct crash_test *test;
    struct simfs *image;
};

static void look_at_crash(struct crash_test *t, struct simfs *fs);

const char *crash_problem(const char *format, ...)
{
    static char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe): there is one thread */
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t pick(struct crash_test *t, uint64_t n)
{
    return rng_below(&t->choices.rng, n);
}

static void check_main(void *arg)
{
    struct checking *c = arg;
    const char *problem = c->test->check(c->test, c->image, c->test->crash);
    if (!c->test->problem) /* the deepest one is the cause */
        c->test->problem = problem;
}

static void on_change(void *arg, uint64_t n)
{
    struct checking *c = arg;
    struct crash_test *t = c->test;
    if (t->problem || pick(t, SLOW ? t->one_in * SLOW_SAMPLE : t->one_in) > 0)
        return;
    look_at_crash(t, c->image);
    if (t->problem)
        sim_stop(sim_current());
}

/* One crash of fs as it is now, and a recovery from it; deeper ones in its hook. */
static void look_at_crash(struct crash_test *t, struct simfs *fs)
{
    enum simfs_crash outer = t->crash;
    enum simfs_crash crash = pick(t, 4) == 0 ? SIMFS_KILL : SIMFS_POWER;
    uint64_t seed = rng_u64(&t->choices.rng);
    struct checking c = {.test = t, .image = simfs_image(fs, crash, seed)};
    struct sim *s = sim_new(&(struct sim_opts){.seed = seed, .abandons = true});
    t->crash = t->depth == 0 || crash != SIMFS_KILL ? crash : outer;
    t->depth++;
    t->done++;
    if (t->depth < t->depth_max)
        sim_on_change(s, on_change, &c);
    enum sim_end end = sim_run(s, check_main, &c);
    if (end != SIM_RETURNED && !t->problem)
        t->problem = crash_problem("the recovery did not end (%d)", (int)end);
    t->depth--;
    t->crash = outer;
    sim_free(s);
    simfs_free(c.image);
}

static void run_main(void *arg)
{
    struct checking *c = arg;
    c->test->run(c->test, c->image);
}

static void one_run(struct crash_test *t)
{
    struct checking c = {.test = t, .image = simfs_new()};
    rng_seeded_init(&t->choices, t->seed ^ 0xc4a5);
    if (t->start)
        t->start(t, &t->choices.rng);
    struct sim *s = sim_new(&(struct sim_opts){.seed = t->seed, .abandons = true});
    sim_on_change(s, on_change, &c);
    enum sim_end end = sim_run(s, run_main, &c);
    if (end != SIM_RETURNED && !t->problem)
        t->problem = crash_problem("the program did not end (%d)", (int)end);
    sim_free(s);
    simfs_free(c.image);
}

void crash_test(struct crash_test *t)
{
    uint64_t states = env_number("CRASH_STATES", SLOW ? t->states / 10 : t->states), runs = 0;
    t->seed = env_number("CRASH_SEED", 1);
    enum { NO_LEVEL = LOG_LEVEL_ERROR + 1 };
    log_configure(STDERR_FILENO, env_number("CRASH_LOG", 0) ? LOG_LEVEL_DEBUG : NO_LEVEL,
                  LOG_FORMAT_PRETTY);
    t->done = 0;
    t->depth = 0;
    t->problem = NULL;
    for (; t->done < states && !t->problem; t->seed++, runs++)
        one_run(t);
    (void)printf("# %s: %llu crash states from %llu runs\n", t->name, (unsigned long long)t->done,
                 (unsigned long long)runs);
    if (!t->problem)
        return;
    (void)fprintf(stderr, "%s: CRASH_SEED=%llu, state %llu: %s\n", t->name,
                  (unsigned long long)(t->seed - 1), (unsigned long long)t->done, t->problem);
    abort();
}
