/* loop/loop.h in a simulated world. Called outside of one, locks do nothing and loops cannot run:
 * that is enough to set things up and take them down. */
#include "base/alloc.h"
#include "loop/loop.h"
#include "sim/sim_int.h"

enum { DEFER_ROUNDS_MAX = 16 };

struct loop {
    const struct clock *clock;
    struct thread *owner; /* NULL: made outside of a world */
    struct task *inbox, **inbox_end;
    struct task *deferred, **deferred_end;
    struct heap timers;
    struct list waiter; /* its thread, while nothing is to do */
    int64_t now_ns;
    bool now_known, stopping;
};

/* ---- tasks ---------------------------------------------------------------------------------- */

sl_err loop_new(const struct clock *clock, struct loop **ret)
{
    struct loop *l = sl_new(struct loop);
    l->clock = clock;
    l->owner = sim__thread();
    l->inbox_end = &l->inbox;
    l->deferred_end = &l->deferred;
    heap_init(&l->timers);
    list_init(&l->waiter);
    *ret = l;
    return SL_OK;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    heap_fini(&l->timers);
    sl_free(l);
}

bool loop_is_current(const struct loop *l)
{
    return l->owner == sim__thread();
}

static void push(struct task ***end, struct task *t)
{
    t->next = NULL;
    **end = t;
    *end = &t->next;
}

static struct task *take(struct task **first, struct task ***end)
{
    struct task *t = *first;
    *first = NULL;
    *end = first;
    return t;
}

void loop_post(struct loop *l, struct task *t)
{
    sim_yield("post", 0);
    push(&l->inbox_end, t);
    sim__wake_all(&l->waiter);
    sim_yield("posted", 0);
}

void loop_defer(struct loop *l, struct task *t)
{
    SL_ASSERT(loop_is_current(l));
    push(&l->deferred_end, t);
}

static void run_deferred(struct loop *l)
{
    for (int round = 0; l->deferred && round < DEFER_ROUNDS_MAX; round++)
        for (struct task *t = take(&l->deferred, &l->deferred_end), *next; t; t = next) {
            next = t->next;
            t->run(t);
        }
}

static bool run_inbox(struct loop *l)
{
    struct task *t = take(&l->inbox, &l->inbox_end);
    bool any = t != NULL;
    for (struct task *next; t; t = next) {
        next = t->next;
        t->run(t);
        sim_yield("task", 0);
    }
    return any;
}

/* ---- time ----------------------------------------------------------------------------------- */

int64_t loop_now_ns(const struct loop *const_l)
{
    struct loop *l = (struct loop *)const_l; /* a cache: logically const */
    if (!l->now_known)
        l->now_ns = clock_monotonic_ns(l->clock);
    l->now_known = true;
    return l->now_ns;
}

int64_t loop_now_ms(const struct loop *l)
{
    return loop_now_ns(l) / 1000000;
}

const struct clock *loop_clock(const struct loop *l)
{
    return l->clock;
}

void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.loop = l, .fire = fire};
}

void timer_start(struct timer *t, int64_t delay_ms)
{
    SL_ASSERT(loop_is_current(t->loop));
    heap_remove(&t->loop->timers, &t->node);
    int64_t due_ms;
    if (__builtin_add_overflow(loop_now_ms(t->loop), SL_MAX(delay_ms, (int64_t)0), &due_ms))
        due_ms = INT64_MAX - 1;
    heap_push(&t->loop->timers, &t->node, due_ms);
}

void timer_stop(struct timer *t)
{
    if (!timer_running(t))
        return;
    SL_ASSERT(loop_is_current(t->loop));
    heap_remove(&t->loop->timers, &t->node);
}

static void run_timers(struct loop *l)
{
    uint64_t order_end = l->timers.next_order;
    struct heap_node *node;
    while ((node = heap_first(&l->timers)) && node->key <= loop_now_ms(l) &&
           node->order < order_end) {
        heap_remove(&l->timers, node);
        struct timer *t = SL_CONTAINER_OF(node, struct timer, node);
        t->fire(t);
        sim_yield("timer", 0);
    }
}

static void wait_for_events(struct loop *l)
{
    const struct heap_node *first = heap_first(&l->timers);
    int64_t wake_ns = SIM_NEVER;
    if (first && first->key < SIM_NEVER / 1000000)
        wake_ns = first->key * 1000000;
    if (!l->inbox && !l->deferred && wake_ns > sim__now_ns())
        (void)sim__wait(&l->waiter, wake_ns, "loop");
}

void loop_run(struct loop *l)
{
    l->owner = sim__thread();
    SL_ASSERT(l->owner);
    do {
        if (!l->stopping)
            wait_for_events(l);
        l->now_known = false;
        run_timers(l);
        run_deferred(l);
        (void)run_inbox(l);
        run_deferred(l);
    } while (!l->stopping || l->inbox || l->deferred);
    l->stopping = false; /* tests run it again, and time has to pass then too */
}

void loop_stop(struct loop *l)
{
    SL_ASSERT(loop_is_current(l));
    l->stopping = true;
}

/* ---- threads and locks ---------------------------------------------------------------------- */

sl_err thread_start(const char *name, void (*run)(void *arg), void *arg, struct thread **ret)
{
    SL_ASSERT(sim_current());
    *ret = sim__spawn(sim_current(), name, run, arg);
    sim_yield("start", (*ret)->number);
    return SL_OK;
}

void thread_join(struct thread *t)
{
    if (!t)
        return;
    while (!t->ended)
        (void)sim__wait(&t->joiners, SIM_NEVER, "join");
    list_remove(&t->node);
    fiber_free(t->fiber);
    sl_free(t);
}

struct mutex {
    struct thread *holder;
    struct list waiters;
    bool held;
};

struct cond {
    struct list waiters;
};

struct mutex *mutex_new(void)
{
    struct mutex *m = sl_new(struct mutex);
    list_init(&m->waiters);
    return m;
}

void mutex_free(struct mutex *m)
{
    SL_ASSERT(!m || !m->held);
    sl_free(m);
}

void mutex_lock(struct mutex *m)
{
    sim_yield("lock", 0);
    SL_ASSERT(!m->held || m->holder != sim__thread());
    while (m->held)
        (void)sim__wait(&m->waiters, SIM_NEVER, "mutex");
    m->held = true;
    m->holder = sim__thread();
}

void mutex_unlock(struct mutex *m)
{
    SL_ASSERT(m->held && m->holder == sim__thread());
    m->held = false;
    sim__wake_one(&m->waiters);
    sim_yield("unlock", 0);
}

struct cond *cond_new(void)
{
    struct cond *c = sl_new(struct cond);
    list_init(&c->waiters);
    return c;
}

void cond_free(struct cond *c)
{
    SL_ASSERT(!c || list_empty(&c->waiters));
    sl_free(c);
}

static bool cond_wait_until(struct cond *c, struct mutex *m, int64_t wake_ns)
{
    SL_ASSERT(m->held && m->holder == sim__thread());
    m->held = false;
    sim__wake_one(&m->waiters);
    bool woken = true;
    if (sim_chance(32) > 0) /* else: woken for no reason, as POSIX allows */
        woken = sim__wait(&c->waiters, wake_ns, "cond");
    mutex_lock(m);
    return woken;
}

void cond_wait(struct cond *c, struct mutex *m)
{
    (void)cond_wait_until(c, m, SIM_NEVER);
}

bool cond_wait_for(struct cond *c, struct mutex *m, int64_t timeout_ms)
{
    int64_t delay_ms = SL_MIN(SL_MAX(timeout_ms, (int64_t)0), (int64_t)1 << 40);
    return cond_wait_until(c, m, sim__now_ns() + delay_ms * 1000000);
}

void cond_signal(struct cond *c)
{
    sim__wake_one(&c->waiters);
    sim_yield("signal", 0);
}

void cond_broadcast(struct cond *c)
{
    sim__wake_all(&c->waiters);
    sim_yield("broadcast", 0);
}
