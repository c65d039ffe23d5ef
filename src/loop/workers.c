#include "base/alloc.h"
#include "loop/loop.h"

#include <stdio.h>

/* Made of threads, locks and loop_post only, so the simulated loop takes this file as it is. */
struct workers {
    struct mutex *lock; /* guards all below */
    struct cond *changed;
    struct work *first, **end;
    bool stopping;
    unsigned n_threads;
    struct thread *threads[];
};

static void on_done(struct task *t)
{
    struct work *w = SL_CONTAINER_OF(t, struct work, task);
    SL_ASSERT(loop_is_current(w->home));
    w->done(w);
}

/* The next piece; NULL when the pool stops and nothing is left. */
static struct work *take(struct workers *p)
{
    mutex_lock(p->lock);
    while (!p->first && !p->stopping)
        cond_wait(p->changed, p->lock);
    struct work *w = p->first;
    if (w) {
        p->first = w->next;
        if (!p->first)
            p->end = &p->first;
    }
    mutex_unlock(p->lock);
    return w;
}

static void worker_main(void *arg)
{
    struct workers *p = arg;
    struct work *w;
    while ((w = take(p))) {
        w->run(w);
        w->task.run = on_done;
        loop_post(w->home, &w->task);
    }
}

sl_err workers_start(unsigned n_threads, struct workers **ret)
{
    struct workers *p = sl_alloc(1, sizeof *p + n_threads * sizeof p->threads[0]);
    p->lock = mutex_new();
    p->changed = cond_new();
    p->end = &p->first;
    for (unsigned i = 0; i < n_threads; i++) {
        char name[24]; /* the thread keeps 15 characters */
        (void)snprintf(name, sizeof name, "worker-%u", i);
        sl_err err = thread_start(name, worker_main, p, &p->threads[i]);
        if (err != SL_OK) {
            workers_stop(p);
            return err;
        }
        p->n_threads++;
    }
    *ret = p;
    return SL_OK;
}

void workers_submit(struct workers *p, struct loop *home, struct work *w)
{
    SL_ASSERT(w->run && w->done);
    w->home = home;
    w->next = NULL;
    mutex_lock(p->lock);
    SL_ASSERT(!p->stopping);
    *p->end = w;
    p->end = &w->next;
    mutex_unlock(p->lock);
    /* Not cond_signal: before glibc 2.41 it may wake nobody when several threads wait (its bug
     * 25847), and then this piece would wait until another one is submitted. */
    cond_broadcast(p->changed);
}

void workers_stop(struct workers *p)
{
    if (!p)
        return;
    mutex_lock(p->lock);
    p->stopping = true;
    mutex_unlock(p->lock);
    cond_broadcast(p->changed);
    for (unsigned i = 0; i < p->n_threads; i++)
        thread_join(p->threads[i]);
    cond_free(p->changed);
    mutex_free(p->lock);
    sl_free(p);
}
