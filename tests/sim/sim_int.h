/* The scheduler, as the simulated loop and locks see it. */
#ifndef SLUICE_SIM_SIM_INT_H
#define SLUICE_SIM_SIM_INT_H

#include "sim/fiber.h"
#include "sim/sim.h"

enum { SIM_NEVER_NS_SHIFT = 62 };
#define SIM_NEVER ((int64_t)1 << SIM_NEVER_NS_SHIFT)

/* A simulated thread. */
struct thread {
    struct list node;      /* in the world's threads, until it is joined or the world ends */
    struct list wait_node; /* in who it waits for; not linked: ready, or only asleep */
    struct fiber *fiber;
    struct sim *sim;
    void (*run)(void *arg);
    void *arg;
    char name[16];
    const char *waits_for; /* static text */
    uint64_t number;
    int64_t wake_ns; /* when a waiting one goes on all the same */
    struct list joiners;
    bool ready, ended, timed_out;
};

/* Blocks the running thread in `waiters` until sim__wake or the time; false: it was the time. */
bool sim__wait(struct list *waiters, int64_t wake_ns, const char *what);
void sim__wake_one(struct list *waiters); /* one of them, by the seed */
void sim__wake_all(struct list *waiters);
struct thread *sim__thread(void); /* the running one; NULL: none */
struct thread *sim__spawn(struct sim *s, const char *name, void (*run)(void *arg), void *arg);
int64_t sim__now_ns(void);

#endif
