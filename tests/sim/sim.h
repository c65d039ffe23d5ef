/* A simulated world: threads, locks, loops, time, chance and files, all from one seed.
 *
 * Code under test runs unchanged: it includes loop/loop.h and vfs/vfs.h, and the program links
 * loop_sim_dep. Threads are stacks on one thread of the system; they give way at each file, clock,
 * lock and mailbox call, and the seed says to whom. Time moves by steps and jumps when all wait.
 * The same seed gives the same run (sim_trace). Worlds may be nested: a hook of one may run
 * another, for example the recovery from a crash image. Not for more than one system thread. */
#ifndef SLUICE_SIM_SIM_H
#define SLUICE_SIM_SIM_H

#include "base/clock.h"
#include "base/rng.h"
#include "loop/loop.h"

struct sim;

struct sim_opts {
    uint64_t seed;
    uint64_t steps_max;              /* a world that takes more is stuck; 0: 50 million */
    int64_t start_ns, start_wall_ms; /* 0: some time in 2026 */
    bool abandons; /* threads may be dropped where they stand: what they own is no leak */
};

enum sim_end {
    SIM_RETURNED, /* all threads have ended */
    SIM_STOPPED,  /* sim_stop: threads were dropped where they stood */
    SIM_DEADLOCK, /* all wait, and no time will wake them; their names were printed */
    SIM_TOO_LONG, /* steps_max */
};

struct sim *sim_new(const struct sim_opts *opts);
void sim_free(struct sim *s); /* accepts NULL */
/* Runs main_fn(arg) as the first thread, and all that it starts, to the end. Once for a world. */
enum sim_end sim_run(struct sim *s, void (*main_fn)(void *arg), void *arg);

/* In a simulated thread, or in the hook. */
struct sim *sim_current(void); /* NULL: the code runs in no world */
void sim_stop(struct sim *s);
void sim_sleep_ns(int64_t ns);
void sim_yield(const char *what, uint64_t detail);

const struct clock *sim_clock(struct sim *s);
struct rng *sim_rng(struct sim *s); /* what the program under test gets */
/* Called on the caller's stack, before and behind each change of the files, with the number of the
 * change. It may make images, run other worlds and stop this one. */
void sim_on_change(struct sim *s, void (*fn)(void *arg, uint64_t n), void *arg);
uint64_t sim_changes(const struct sim *s);
uint64_t sim_steps(const struct sim *s);
/* A hash over all that was decided and called: equal runs have equal ones. */
uint64_t sim_trace(const struct sim *s);

/* ---- for simfs ------------------------------------------------------------------------------ */

void sim_changed(void);          /* a file system changed, or will now: calls the hook */
uint64_t sim_chance(uint64_t n); /* in [0, n), from the world's seed; 0 in no world */

#endif
