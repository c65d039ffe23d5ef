/* Signals, taken by a thread of their own and posted to a loop.
 *
 * The first SIGTERM or SIGINT asks for a stop. While it is under way, a second SIGINT (somebody at
 * a terminal) or a SIGTERM a second or more after the first SIGTERM ends the process at once
 * through `die`, even when the loop hangs, as does a stop that outlives its deadline. Others are
 * ignored: supervisors send both signals together. SIGHUP asks for a reload. */
#ifndef SLUICE_SERVER_SIGNALS_H
#define SLUICE_SERVER_SIGNALS_H

#include "loop/loop.h"

struct signals;

/* What has been asked for, when; zeroed: nothing. */
struct stop_requests {
    bool by_term, by_int;
    int64_t first_term_ms;
};

enum stop_verdict { STOP_BEGIN, STOP_GO_ON, STOP_NOW };

/* Notes a SIGTERM or SIGINT at now_ms (monotonic) and says what it means. */
enum stop_verdict stop_request(struct stop_requests *r, int signum, int64_t now_ms);

struct signals_opts {
    struct loop *loop;
    int64_t stop_ms_max;                               /* from the first signal to die() */
    void (*on_stop)(void *arg);                        /* on the loop */
    void (*on_reload)(void *arg);                      /* on the loop */
    __attribute__((noreturn)) void (*die)(int status); /* on the thread of the signals */
    int (*late_status)(void *arg); /* on it too: the exit status of a stop that takes too long */
    void *arg;
};

/* Blocks the signals in the calling thread and those it starts; call it before any other thread
 * exists. SIGPIPE and SIGXFSZ are ignored from here on. */
void signals_block(void);
sl_err signals_start(const struct signals_opts *opts, struct signals **ret) SL_CHECKED;
/* Ends the thread; accepts NULL. The loop may have ended. */
void signals_stop(struct signals *s);

#endif
