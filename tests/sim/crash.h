/* Crash-state tests: a program runs in a world; at many of its changes to the disk the machine
 * crashes, in an image, and a world of its own recovers from there and compares with what had been
 * acknowledged. Crashes during that recovery are tried, too (D8).
 *
 * CRASH_STATES=n asks for another number of states, CRASH_SEED=n for the runs from that seed on.
 * A failure prints the seed that repeats it; CRASH_LOG=1 shows what the program logs. */
#ifndef SLUICE_SIM_CRASH_H
#define SLUICE_SIM_CRASH_H

#include "sim/sim.h"
#include "sim/simfs.h"

struct crash_test {
    const char *name;
    uint64_t states;    /* how many by default; a tenth under sanitizers */
    unsigned one_in;    /* at which part of the changes the machine crashes */
    unsigned depth_max; /* 1: no crashes while recovering */
    /* The program, on fs, in a world. It notes in user what was acknowledged. */
    void (*run)(struct crash_test *t, struct simfs *fs);
    /* Recovers from an image, in a world, and compares. NULL, or what is wrong. */
    const char *(*check)(struct crash_test *t, struct simfs *image, enum simfs_crash crash);
    void (*start)(struct crash_test *t, struct rng *rng); /* a new run: forget; may be NULL */
    void *user;

    /* internal */
    uint64_t seed, done;
    unsigned depth;
    struct rng_seeded choices;
    struct simfs *fs;
    enum simfs_crash crash;
    const char *problem;
    bool killed; /* somewhere above, the power went: then that is what counts */
};

/* Runs until enough states were checked, prints their number and fails the test at a problem. */
void crash_test(struct crash_test *t);
/* printf into static memory, for the results of check. */
const char *crash_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
