#include "sim/sim.h"

#include "base/alloc.h"
#include "sim/sim_int.h"

#include <stdio.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define WITH_LSAN 1
#endif
#endif

struct sim {
    struct rng_seeded choices, chance; /* the scheduler's; the program's */
    struct clock clock;
    int64_t now_ns, wall_offset_ms;
    struct list threads;
    struct thread *running; /* NULL: the scheduler's or the hook's turn */
    struct fiber *home;
    struct sim *outer; /* the world whose hook runs this one */
    uint64_t steps, steps_max, trace, changes, next_thread;
    unsigned keep_of_16; /* how often a thread that gives way goes on at once */
    void (*on_change)(void *arg, uint64_t n);
    void *on_change_arg;
    bool change_told, stopping, abandons, in_hook;
};

static struct sim *current;

/* ---- what a run was ------------------------------------------------------------------------- */

static void trace_add(struct sim *s, uint64_t v)
{
    s->trace = (s->trace ^ v) * 0x100000001b3u;
    s->trace ^= s->trace >> 29;
}

uint64_t sim_trace(const struct sim *s)
{
    return s->trace;
}

uint64_t sim_steps(const struct sim *s)
{
    return s->steps;
}

uint64_t sim_changes(const struct sim *s)
{
    return s->changes;
}

struct sim *sim_current(void)
{
    return current;
}

struct rng *sim_rng(struct sim *s)
{
    return &s->chance.rng;
}

uint64_t sim_chance(uint64_t n)
{
    return current ? rng_below(&current->choices.rng, n) : 0;
}

/* ---- time ----------------------------------------------------------------------------------- */

static int64_t clock_monotonic(const struct clock *c)
{
    sim_yield("clock", 0);
    return SL_CONTAINER_OF(c, const struct sim, clock)->now_ns;
}

static int64_t clock_wall(const struct clock *c)
{
    const struct sim *s = SL_CONTAINER_OF(c, const struct sim, clock);
    return s->now_ns / 1000000 + s->wall_offset_ms;
}

const struct clock *sim_clock(struct sim *s)
{
    return &s->clock;
}

int64_t sim__now_ns(void)
{
    return current->now_ns;
}

/* ---- scheduling ----------------------------------------------------------------------------- */

struct thread *sim__thread(void)
{
    return current ? current->running : NULL;
}

static size_t count_ready(const struct sim *s)
{
    size_t n = 0;
    LIST_FOREACH (node, &s->threads)
        n += SL_CONTAINER_OF(node, struct thread, node)->ready;
    return n;
}

static struct thread *nth_ready(const struct sim *s, size_t n)
{
    LIST_FOREACH (node, &s->threads) {
        struct thread *t = SL_CONTAINER_OF(node, struct thread, node);
        if (t->ready && n-- == 0)
            return t;
    }
    return NULL;
}

static void make_ready(struct thread *t)
{
    list_remove(&t->wait_node);
    t->ready = true;
    t->wake_ns = SIM_NEVER;
}

/* Wakes who slept long enough. */
static void wake_sleepers(struct sim *s)
{
    LIST_FOREACH (node, &s->threads) {
        struct thread *t = SL_CONTAINER_OF(node, struct thread, node);
        if (!t->ready && !t->ended && t->wake_ns <= s->now_ns) {
            t->timed_out = true;
            make_ready(t);
        }
    }
}

/* All wait: time jumps to the first that wakes. false: none ever will. */
static bool jump(struct sim *s)
{
    int64_t first_ns = SIM_NEVER;
    LIST_FOREACH (node, &s->threads) {
        const struct thread *t = SL_CONTAINER_OF(node, struct thread, node);
        if (!t->ended)
            first_ns = SL_MIN(first_ns, t->wake_ns);
    }
    if (first_ns == SIM_NEVER)
        return false;
    s->now_ns = SL_MAX(s->now_ns, first_ns);
    return true;
}

/* Who runs next; NULL: nobody can. */
static struct thread *choose(struct sim *s)
{
    for (;;) {
        wake_sleepers(s);
        size_t n = count_ready(s);
        if (n > 0)
            return nth_ready(s, n == 1 ? 0 : rng_below(&s->choices.rng, n));
        if (!jump(s))
            return NULL;
    }
}

static void leave_to_scheduler(struct thread *t, bool ends)
{
    fiber_switch(t->fiber, t->sim->home, ends);
}

static void count_step(struct sim *s, const char *what, uint64_t detail)
{
    s->steps++;
    s->now_ns += 100 + (int64_t)rng_below(&s->choices.rng, 2000);
    trace_add(s, (uint64_t)(uint8_t)what[0] << 56 ^ detail << 8 ^ s->running->number);
}

void sim_yield(const char *what, uint64_t detail)
{
    struct sim *s = current;
    if (!s || !s->running)
        return;
    count_step(s, what, detail);
    if (rng_below(&s->choices.rng, 16) < s->keep_of_16)
        return;
    leave_to_scheduler(s->running, false);
}

bool sim__wait(struct list *waiters, int64_t wake_ns, const char *what)
{
    struct sim *s = current;
    struct thread *t = s->running;
    count_step(s, what, 1);
    t->ready = t->timed_out = false;
    t->waits_for = what;
    t->wake_ns = wake_ns;
    if (waiters)
        list_push_back(waiters, &t->wait_node);
    leave_to_scheduler(t, false);
    return !t->timed_out;
}

void sim__wake_one(struct list *waiters)
{
    size_t n = 0;
    LIST_FOREACH (node, waiters)
        n++;
    if (n == 0)
        return;
    size_t pick = n == 1 ? 0 : (size_t)sim_chance(n);
    LIST_FOREACH_SAFE(node, waiters)
    if (pick-- == 0) {
        make_ready(SL_CONTAINER_OF(node, struct thread, wait_node));
        return;
    }
}

void sim__wake_all(struct list *waiters)
{
    struct list *node;
    while ((node = list_pop_front(waiters)))
        make_ready(SL_CONTAINER_OF(node, struct thread, wait_node));
}

void sim_sleep_ns(int64_t ns)
{
    if (sim__thread())
        (void)sim__wait(NULL, current->now_ns + ns, "sleep");
}

/* ---- threads -------------------------------------------------------------------------------- */

static void thread_main(void *arg)
{
    struct thread *t = arg;
    t->run(t->arg);
    t->ready = false;
    t->ended = true;
    sim__wake_all(&t->joiners);
    leave_to_scheduler(t, true);
}

struct thread *sim__spawn(struct sim *s, const char *name, void (*run)(void *arg), void *arg)
{
    struct thread *t = sl_new(struct thread);
    t->sim = s;
    t->run = run;
    t->arg = arg;
    t->number = s->next_thread++;
    t->ready = true;
    t->wake_ns = SIM_NEVER;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    list_init(&t->joiners);
    t->fiber = fiber_new(thread_main, t);
    list_push_back(&s->threads, &t->node);
    return t;
}

/* ---- worlds --------------------------------------------------------------------------------- */

struct sim *sim_new(const struct sim_opts *opts)
{
    static const int64_t wall_2026_ms = 1790000000000;
    struct sim *s = sl_new(struct sim);
    rng_seeded_init(&s->choices, opts->seed);
    rng_seeded_init(&s->chance, opts->seed ^ 0x5eed);
    s->clock = (struct clock){.monotonic_ns = clock_monotonic, .wall_ms = clock_wall};
    s->now_ns = opts->start_ns ? opts->start_ns : 1000000000;
    s->wall_offset_ms =
        (opts->start_wall_ms ? opts->start_wall_ms : wall_2026_ms) - s->now_ns / 1000000;
    s->steps_max = opts->steps_max ? opts->steps_max : 50000000;
    s->trace = 0xcbf29ce484222325u;
    s->abandons = opts->abandons;
    /* Some worlds switch at nearly each call, others let a thread run for long. */
    s->keep_of_16 = (const unsigned[]){2, 8, 12, 15}[rng_below(&s->choices.rng, 4)];
    list_init(&s->threads);
    return s;
}

void sim_free(struct sim *s)
{
    if (!s)
        return;
    struct list *node;
    while ((node = list_pop_front(&s->threads))) {
        struct thread *t = SL_CONTAINER_OF(node, struct thread, node);
        fiber_free(t->fiber);
        sl_free(t);
    }
    sl_free(s);
}

static void print_waiting(const struct sim *s)
{
    LIST_FOREACH (node, &s->threads) {
        const struct thread *t = SL_CONTAINER_OF(node, struct thread, node);
        if (!t->ended)
            (void)fprintf(stderr, "sim: thread %s waits forever: %s\n", t->name, t->waits_for);
    }
}

static bool all_ended(const struct sim *s)
{
    LIST_FOREACH (node, &s->threads)
        if (!SL_CONTAINER_OF(node, struct thread, node)->ended)
            return false;
    return true;
}

static void run_hook(struct sim *s)
{
    if (!s->change_told)
        return;
    s->change_told = false;
    s->in_hook = true;
    s->on_change(s->on_change_arg, s->changes);
    s->in_hook = false;
}

static enum sim_end schedule(struct sim *s)
{
    for (struct thread *next = NULL; !s->stopping;) {
        if (s->steps > s->steps_max)
            return SIM_TOO_LONG;
        if (!next)
            next = choose(s);
        if (!next)
            return all_ended(s) ? SIM_RETURNED : SIM_DEADLOCK;
        trace_add(s, next->number);
        s->running = next;
        fiber_switch(s->home, next->fiber, false);
        s->running = NULL;
        /* who told of a change goes on right behind the hook: nothing happens in between */
        struct thread *teller = s->change_told ? next : NULL;
        run_hook(s);
        next = teller;
    }
    return SIM_STOPPED;
}

enum sim_end sim_run(struct sim *s, void (*main_fn)(void *arg), void *arg)
{
    s->outer = current;
    current = s;
    s->home = fiber_of_caller();
#ifdef WITH_LSAN
    if (s->abandons)
        __lsan_disable();
#endif
    (void)sim__spawn(s, "main", main_fn, arg);
    enum sim_end end = schedule(s);
    if (end == SIM_DEADLOCK)
        print_waiting(s);
#ifdef WITH_LSAN
    if (s->abandons)
        __lsan_enable();
#endif
    fiber_free(s->home);
    current = s->outer;
    return end;
}

void sim_stop(struct sim *s)
{
    s->stopping = true;
    if (s->running && current == s)
        leave_to_scheduler(s->running, false);
}

void sim_on_change(struct sim *s, void (*fn)(void *arg, uint64_t n), void *arg)
{
    s->on_change = fn;
    s->on_change_arg = arg;
}

void sim_changed(void)
{
    struct sim *s = current;
    if (!s || !s->running)
        return;
    s->changes++;
    if (!s->on_change)
        return;
    s->change_told = true;
    leave_to_scheduler(s->running, false);
}
