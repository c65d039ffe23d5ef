/* Long operations as a list of phases: one driver owns "exactly once".
 *
 * Laws. A starter takes the waiting op as its first argument and returns SL_OK (done, no callback
 * will come), SL_PENDING (op_resume will be called once, later, on the waiter's loop) or an error
 * (nothing started). It never calls back before it returns. At most one wait at a time. Locals do
 * not survive a phase. What must happen on every path belongs in `done`. */
#ifndef SLUICE_BASE_OP_H
#define SLUICE_BASE_OP_H

#include "base/err.h"

struct op {
    sl_err (*run)(struct op *op);            /* the phases: a switch over op->phase */
    void (*done)(struct op *op, sl_err err); /* exactly once, last; releases, may free the op */
    struct op *parent;                       /* resumed after done, or NULL */
    int phase;
    sl_err err; /* result of the last wait, for op_await_any phases */
    bool wants_err, running, canceled;
};

/* Goes to phase `next` when `started` has ended; an error ends the op. */
static inline sl_err op_await(struct op *op, int next, sl_err started)
{
    op->phase = next;
    op->wants_err = false;
    return started == SL_OK ? SL_CONTINUE : started;
}
/* As op_await, but the next phase sees the error in op->err. */
static inline sl_err op_await_any(struct op *op, int next, sl_err started)
{
    op->phase = next;
    op->wants_err = true;
    if (started == SL_PENDING)
        return SL_PENDING;
    op->err = started;
    return SL_CONTINUE;
}

/* Drives a child; returns its result if it ended at once (after its done), else SL_PENDING and the
 * parent is resumed later. parent may be NULL for a root op. */
sl_err op_start(struct op *parent, struct op *child);
/* The wait has ended with err. Called on the op's loop. */
void op_resume(struct op *op, sl_err err);
/* Ends the op with SL_ECANCELED when its wait returns. */
void op_cancel(struct op *op);

#endif
