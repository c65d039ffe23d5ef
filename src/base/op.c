#include "base/op.h"

static sl_err drive(struct op *op, sl_err err)
{
    SL_ASSERT(!op->running); /* a starter called back before it returned */
    op->running = true;
    op->err = err;
    do {
        if (op->canceled)
            err = SL_ECANCELED;
        else if (err == SL_OK || err == SL_CONTINUE || op->wants_err)
            err = op->run(op);
    } while (err == SL_CONTINUE);
    op->running = false;
    return err;
}

sl_err op_start(struct op *parent, struct op *child)
{
    child->parent = parent;
    sl_err err = drive(child, SL_OK);
    if (err == SL_PENDING)
        return SL_PENDING;
    child->done(child, err);
    return err;
}

void op_resume(struct op *op, sl_err err)
{
    while (op) {
        err = drive(op, err);
        if (err == SL_PENDING)
            return;
        struct op *parent = op->parent;
        op->done(op, err);
        op = parent;
    }
}

void op_cancel(struct op *op)
{
    op->canceled = true;
}
