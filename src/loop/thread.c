#include "base/alloc.h"
#include "loop/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Only what is touched becomes memory. Sanitizers spend several times as much for each frame. */
enum { STACK_BYTES = SANITIZED ? 2 << 20 : 512 << 10, NAME_BYTES = 16 };

struct thread {
    pthread_t id;
    void (*run)(void *arg);
    void *arg;
    char name[NAME_BYTES];
};

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    (void)pthread_setname_np(pthread_self(), t->name); /* for people only */
    t->run(t->arg);
    return NULL;
}

/* Signals go to the main thread: the new one starts with all of them blocked. */
static int create_without_signals(struct thread *t, const pthread_attr_t *attr)
{
    sigset_t all, before;
    (void)sigfillset(&all); /* these fail only for invalid arguments */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&t->id, attr, thread_main, t);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

sl_err thread_start(const char *name, void (*run)(void *arg), void *arg, struct thread **ret)
{
    struct thread *t = sl_new(struct thread);
    t->run = run;
    t->arg = arg;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (!failed)
        failed = pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (!failed)
        failed = create_without_signals(t, &attr);
    (void)pthread_attr_destroy(&attr);
    if (failed) {
        sl_free(t);
        return failed == EAGAIN ? SL_ELIMIT : sl_err_from_errno(failed);
    }
    *ret = t;
    return SL_OK;
}

void thread_join(struct thread *t)
{
    if (!t)
        return;
    int failed = pthread_join(t->id, NULL);
    SL_ASSERT(!failed);
    sl_free(t);
}

/* ---- locks --------------------------------------------------------------------------------- */

struct mutex {
    pthread_mutex_t os;
};

struct cond {
    pthread_cond_t os;
};

struct mutex *mutex_new(void)
{
    struct mutex *m = sl_new(struct mutex);
    int failed = pthread_mutex_init(&m->os, NULL);
    SL_ASSERT(!failed);
    return m;
}

void mutex_free(struct mutex *m)
{
    if (!m)
        return;
    int failed = pthread_mutex_destroy(&m->os);
    SL_ASSERT(!failed); /* nobody may hold it */
    sl_free(m);
}

void mutex_lock(struct mutex *m)
{
    int failed = pthread_mutex_lock(&m->os);
    SL_ASSERT(!failed);
}

void mutex_unlock(struct mutex *m)
{
    int failed = pthread_mutex_unlock(&m->os);
    SL_ASSERT(!failed);
}

struct cond *cond_new(void)
{
    struct cond *c = sl_new(struct cond);
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr);
    SL_ASSERT(!failed);
    failed = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    SL_ASSERT(!failed);
    failed = pthread_cond_init(&c->os, &attr);
    SL_ASSERT(!failed);
    (void)pthread_condattr_destroy(&attr);
    return c;
}

void cond_free(struct cond *c)
{
    if (!c)
        return;
    (void)pthread_cond_destroy(&c->os);
    sl_free(c);
}

void cond_wait(struct cond *c, struct mutex *m)
{
    int failed = pthread_cond_wait(&c->os, &m->os);
    SL_ASSERT(!failed);
}

bool cond_wait_for(struct cond *c, struct mutex *m, int64_t timeout_ms)
{
    enum { YEAR_MS_SHIFT = 35 };
    int64_t delay_ms = SL_MIN(SL_MAX(timeout_ms, (int64_t)0), (int64_t)1 << YEAR_MS_SHIFT);
    int64_t due_ns = clock_monotonic_ns(&clock_real) + delay_ms * 1000000;
    struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
    int failed = pthread_cond_timedwait(&c->os, &m->os, &due);
    SL_ASSERT(!failed || failed == ETIMEDOUT);
    return !failed;
}

void cond_signal(struct cond *c)
{
    (void)pthread_cond_signal(&c->os); /* never fails */
}

void cond_broadcast(struct cond *c)
{
    (void)pthread_cond_broadcast(&c->os); /* never fails */
}
