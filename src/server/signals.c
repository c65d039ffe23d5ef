#include "server/signals.h"

#include "base/alloc.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum {
    SIGNAL_END = SIGUSR2,    /* sent by signals_stop */
    TERM_AGAIN_MS_MIN = 1000 /* a repeat sooner than that is a supervisor's, not a decision */
};

struct signals {
    struct signals_opts opts;
    struct thread *thread;
    struct stop_requests requests; /* its own */
    struct task stop_task, reload_task;
    atomic_bool reload_posted;
    atomic_bool ending;
};

static void handled_signals(sigset_t *ret)
{
    (void)sigemptyset(ret); /* these calls fail for invalid numbers only */
    (void)sigaddset(ret, SIGTERM);
    (void)sigaddset(ret, SIGINT);
    (void)sigaddset(ret, SIGHUP);
    (void)sigaddset(ret, SIGNAL_END);
}

void signals_block(void)
{
    sigset_t set;
    handled_signals(&set);
    int failed = pthread_sigmask(SIG_BLOCK, &set, NULL);
    SL_ASSERT(!failed);
    (void)signal(SIGPIPE, SIG_IGN); /* writes to closed sockets return EPIPE */
    (void)signal(SIGXFSZ, SIG_IGN); /* writes beyond the limit of file sizes return EFBIG */
}

static void run_stop(struct task *t)
{
    struct signals *s = SL_CONTAINER_OF(t, struct signals, stop_task);
    s->opts.on_stop(s->opts.arg);
}

static void run_reload(struct task *t)
{
    struct signals *s = SL_CONTAINER_OF(t, struct signals, reload_task);
    atomic_store(&s->reload_posted, false);
    s->opts.on_reload(s->opts.arg);
}

enum stop_verdict stop_request(struct stop_requests *r, int signum, int64_t now_ms)
{
    SL_ASSERT(signum == SIGTERM || signum == SIGINT);
    struct stop_requests before = *r;
    r->by_term |= signum == SIGTERM;
    r->by_int |= signum == SIGINT;
    if (signum == SIGTERM && !before.by_term)
        r->first_term_ms = now_ms;
    if (!before.by_term && !before.by_int)
        return STOP_BEGIN;
    if (signum == SIGINT)
        return before.by_int ? STOP_NOW : STOP_GO_ON;
    return before.by_term && now_ms - before.first_term_ms >= TERM_AGAIN_MS_MIN ? STOP_NOW
                                                                                : STOP_GO_ON;
}

/* The next signal, or 0 when the deadline has passed. */
static int next_signal(const sigset_t *set, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms(&clock_real);
        if (left_ms <= 0)
            return 0;
        struct timespec wait = {.tv_sec = left_ms / 1000, .tv_nsec = left_ms % 1000 * 1000000};
        int signum =
            deadline_ms == INT64_MAX ? sigwaitinfo(set, NULL) : sigtimedwait(set, NULL, &wait);
        if (signum > 0)
            return signum;
        if (errno != EINTR && errno != EAGAIN)
            return SIGTERM; /* cannot happen; a stop is the safest reading */
    }
}

static void stop(struct signals *s, int signum, int64_t *deadline_ms)
{
    int64_t now_ms = clock_monotonic_ms(&clock_real);
    switch (stop_request(&s->requests, signum, now_ms)) {
    case STOP_BEGIN:
        *deadline_ms = now_ms + s->opts.stop_ms_max;
        loop_post(s->opts.loop, &s->stop_task);
        return;
    case STOP_GO_ON:
        LOG_INFO("server.stopping_already", "what is under way is finished first; SIGTERM again "
                                            "after a second, or Ctrl+C twice, ends it at once");
        return;
    case STOP_NOW:
        LOG_WARN("server.stop_now", "asked again; ending at once, recovery will check the log at "
                                    "the next start");
        s->opts.die(1);
    }
}

static void run(void *arg)
{
    struct signals *s = arg;
    sigset_t set;
    int64_t deadline_ms = INT64_MAX;
    handled_signals(&set);
    for (;;) {
        int signum = next_signal(&set, deadline_ms);
        if (signum == SIGNAL_END && atomic_load(&s->ending))
            return;
        if (signum == SIGHUP) {
            if (!atomic_exchange(&s->reload_posted, true))
                loop_post(s->opts.loop, &s->reload_task);
        } else if (signum == 0) {
            LOG_WARN("server.stop_late",
                     "stopping takes too long; ending now, the next start reads "
                     "the journal: nothing that was acknowledged is lost");
            s->opts.die(s->opts.late_status(s->opts.arg));
        } else if (signum != SIGNAL_END) {
            stop(s, signum, &deadline_ms);
        }
    }
}

sl_err signals_start(const struct signals_opts *opts, struct signals **ret)
{
    struct signals *s = sl_new(struct signals);
    s->opts = *opts;
    s->stop_task.run = run_stop;
    s->reload_task.run = run_reload;
    sl_err err = thread_start("signals", run, s, &s->thread);
    if (err != SL_OK) {
        sl_free(s);
        return err;
    }
    *ret = s;
    return SL_OK;
}

void signals_stop(struct signals *s)
{
    if (!s)
        return;
    atomic_store(&s->ending, true);
    (void)kill(getpid(), SIGNAL_END); /* to ourselves: cannot fail */
    thread_join(s->thread);
    sl_free(s);
}
