/* Loops, timers, mailboxes, threads, locks and the worker pool.
 *
 * This header exists twice: loop_real (libuv) and loop_sim (tests/sim, seeded, one scheduler, a
 * stack per thread). Folders depend on the headers only. An object belongs to one loop; only
 * loop_post may be called from another thread. Nothing that runs on a loop blocks. */
#ifndef SLUICE_LOOP_LOOP_H
#define SLUICE_LOOP_LOOP_H

#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"

struct loop;

/* ---- tasks and mailboxes ---------------------------------------------------------------- */

/* Embedded in what it belongs to, so posting never allocates. A posted task may not be posted
 * again before it has run. */
struct task {
    struct task *next;
    void (*run)(struct task *t); /* on the loop it was posted to */
};

sl_err loop_new(const struct clock *clock, struct loop **ret) SL_CHECKED;
/* Runs until loop_stop and no socket is left open; timers that still run then never fire. On the
 * thread that becomes the loop's own. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l); /* on the loop */
void loop_free(struct loop *l); /* after loop_run returned; accepts NULL */
/* Before loop_run: on the thread that made it. */
bool loop_is_current(const struct loop *l);
/* Any thread. Tasks of one poster run in their order; a batch wakes the loop once. */
void loop_post(struct loop *l, struct task *t);
/* Monotonic time, read once per turn of the loop. */
int64_t loop_now_ms(const struct loop *l);
int64_t loop_now_ns(const struct loop *l);
const struct clock *loop_clock(const struct loop *l);
/* Runs the task at the end of this turn, after all events that are ready: to cork writes and to
 * gather appends. Writes of sockets are sent behind them. A task that is deferred by a deferred
 * one runs before the loop waits again, too. On the loop. */
void loop_defer(struct loop *l, struct task *t);

/* ---- timers ------------------------------------------------------------------------------ */

/* Embedded; one shot. Kept in a heap per loop, so starting and stopping cost O(log n). */
struct timer {
    struct loop *loop;
    void (*fire)(struct timer *t);
    struct heap_node node; /* key: when it is due, in ms of loop_now_ms */
};

void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t));
void timer_start(struct timer *t, int64_t delay_ms); /* restarts when running */
void timer_stop(struct timer *t);                    /* accepts one that is not running */
static inline bool timer_running(const struct timer *t)
{
    return heap_linked(&t->node);
}

/* ---- threads, locks ------------------------------------------------------------------------ */

struct thread;
struct mutex;
struct cond;

/* name: at most 15 characters, shown by ps and gdb. The thread gets a 512 KiB stack (more
 * under sanitizers) and no signals. */
sl_err thread_start(const char *name, void (*run)(void *arg), void *arg,
                    struct thread **ret) SL_CHECKED;
void thread_join(struct thread *t); /* frees it; accepts NULL */
struct mutex *mutex_new(void);
void mutex_free(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
struct cond *cond_new(void);
void cond_free(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m);
/* false when timeout_ms passed (monotonic). */
bool cond_wait_for(struct cond *c, struct mutex *m, int64_t timeout_ms);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* ---- worker pool --------------------------------------------------------------------------- */

/* Work that may block or take long. run is called on a worker, then done on the loop given at
 * submit. Embedded; bounded by whoever submits. */
struct work {
    struct task task; /* internal: completion */
    struct work *next;
    struct loop *home;
    void (*run)(struct work *w);
    void (*done)(struct work *w);
};

struct workers;
sl_err workers_start(unsigned n_threads, struct workers **ret) SL_CHECKED;
void workers_submit(struct workers *p, struct loop *home, struct work *w); /* any thread */
void workers_stop(struct workers *p); /* finishes what was submitted, joins; accepts NULL */

#endif
