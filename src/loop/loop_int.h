/* What the files of this folder share: the loop's own struct, and what sockets need of it. */
#ifndef SLUICE_LOOP_LOOP_INT_H
#define SLUICE_LOOP_LOOP_INT_H

#include "loop/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

/* A queue of tasks in the order they came; used by one thread. */
struct task_list {
    struct task *first, **end;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;       /* other threads posted */
    uv_idle_t again;       /* our own thread posted or deferred: do not wait in the next poll */
    uv_prepare_t prepare;  /* before the poll */
    uv_check_t check;      /* behind the poll */
    uv_timer_t next_timer; /* for the first of the heap */
    const struct clock *clock;
    _Atomic(pthread_t) owner;
    _Atomic(struct task *) inbox; /* newest first */
    struct task_list deferred;
    struct list flushes; /* struct flush: sockets with something to send */
    struct heap timers;
    int64_t armed_ms; /* when next_timer fires; INT64_MAX: not set */
    int64_t now_ns;
    uint64_t now_uv_ms; /* uv_now() when now_ns was read */
    bool now_known;
    uint8_t scratch[4096]; /* what a peer sends behind our end: read and forgotten */
};

/* Called once, behind all deferred tasks of this turn. */
struct flush {
    struct list node; /* not linked: not asked for */
    void (*run)(struct flush *f);
};
void loop__flush(struct loop *l, struct flush *f); /* accepts one that was asked for already */

#endif
