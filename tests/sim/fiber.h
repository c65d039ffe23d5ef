/* Stacks of simulated threads, switched by hand; AddressSanitizer and ThreadSanitizer are told. All
 * on one thread of the system. */
#ifndef SLUICE_SIM_FIBER_H
#define SLUICE_SIM_FIBER_H

#include "base/err.h"

struct fiber;

/* A fiber that will run fn(arg) when it is switched to; fn ends with fiber_switch and `ends`. */
struct fiber *fiber_new(void (*fn)(void *arg), void *arg);
/* The stack that the process runs on when it is in no fiber. */
struct fiber *fiber_of_caller(void);
/* Leaves `from`, which runs, for `to`. ends: `from` is never switched to again. */
void fiber_switch(struct fiber *from, struct fiber *to, bool ends);
/* Not the one that runs. What an abandoned one still referenced is lost. Accepts NULL. */
void fiber_free(struct fiber *f);

#endif
