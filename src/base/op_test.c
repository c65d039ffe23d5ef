#include "base/op.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A child that waits `waits` times, then ends with `result`. */
struct child {
    struct op op;
    int waits, waited, done_calls;
    sl_err result, done_err;
};

enum { CHILD_WAIT, CHILD_END };

static sl_err child_run(struct op *op)
{
    struct child *c = SL_CONTAINER_OF(op, struct child, op);
    switch (op->phase) {
    case CHILD_WAIT:
        if (c->waited++ < c->waits)
            return op_await(op, CHILD_WAIT, SL_PENDING);
        return op_await(op, CHILD_END, SL_OK);
    case CHILD_END:
        return c->result;
    }
    SL_UNREACHABLE();
}

static void child_done(struct op *op, sl_err err)
{
    struct child *c = SL_CONTAINER_OF(op, struct child, op);
    c->done_calls++;
    c->done_err = err;
}

static struct child child_of(int waits, sl_err result)
{
    return (struct child){
        .op = {.run = child_run, .done = child_done}, .waits = waits, .result = result};
}

/* A parent that starts the child and, on errors, either ends or looks at them. */
struct parent {
    struct op op;
    struct child child;
    bool looks_at_errors;
    sl_err seen, done_err;
    int done_calls;
};

enum { PARENT_START, PARENT_AFTER };

static sl_err parent_run(struct op *op)
{
    struct parent *p = SL_CONTAINER_OF(op, struct parent, op);
    switch (op->phase) {
    case PARENT_START:
        if (p->looks_at_errors)
            return op_await_any(op, PARENT_AFTER, op_start(op, &p->child.op));
        return op_await(op, PARENT_AFTER, op_start(op, &p->child.op));
    case PARENT_AFTER:
        p->seen = op->err;
        return SL_OK;
    }
    SL_UNREACHABLE();
}

static void parent_done(struct op *op, sl_err err)
{
    struct parent *p = SL_CONTAINER_OF(op, struct parent, op);
    p->done_calls++;
    p->done_err = err;
}

static struct parent parent_of(struct child child, bool looks_at_errors)
{
    return (struct parent){.op = {.run = parent_run, .done = parent_done},
                           .child = child,
                           .looks_at_errors = looks_at_errors,
                           .seen = SL_EBUG};
}

static void an_op_that_never_waits_ends_inside_its_start(void **state)
{
    struct child c = child_of(0, SL_OK);
    assert_int_equal(SL_OK, op_start(NULL, &c.op));
    assert_int_equal(1, c.done_calls);
    c = child_of(0, SL_EIO);
    assert_int_equal(SL_EIO, op_start(NULL, &c.op));
    assert_int_equal(SL_EIO, c.done_err);
}

static void done_comes_exactly_once_behind_the_last_wait(void **state)
{
    struct child c = child_of(2, SL_OK);
    assert_int_equal(SL_PENDING, op_start(NULL, &c.op));
    op_resume(&c.op, SL_OK);
    assert_int_equal(0, c.done_calls);
    op_resume(&c.op, SL_OK);
    assert_int_equal(1, c.done_calls);
    assert_int_equal(SL_OK, c.done_err);
}

static void a_wait_that_fails_ends_the_op(void **state)
{
    struct child c = child_of(5, SL_OK);
    assert_int_equal(SL_PENDING, op_start(NULL, &c.op));
    op_resume(&c.op, SL_ENOSPC);
    assert_int_equal(1, c.done_calls);
    assert_int_equal(SL_ENOSPC, c.done_err);
    assert_int_equal(1, c.waited);
}

/* Mistake (a): to forget who waits. The waiter is op_start's first argument; a parent whose child
 * waits must be resumed by the child's end, without anybody else's help. */
static void the_waiter_is_resumed_by_the_end_of_its_child(void **state)
{
    struct parent p = parent_of(child_of(1, SL_OK), false);
    assert_int_equal(SL_PENDING, op_start(NULL, &p.op));
    assert_int_equal(0, p.done_calls);
    op_resume(&p.child.op, SL_OK); /* only the child is told */
    assert_int_equal(1, p.child.done_calls);
    assert_int_equal(1, p.done_calls);
    assert_int_equal(SL_OK, p.done_err);
}

/* Mistake (b): the driver overwrote the saved error of a child that ended at once. */
static void the_error_of_a_child_that_ends_at_once_reaches_the_phase_that_asked(void **state)
{
    struct parent p = parent_of(child_of(0, SL_ECORRUPT), true);
    assert_int_equal(SL_OK, op_start(NULL, &p.op));
    assert_int_equal(SL_ECORRUPT, p.seen);
    p = parent_of(child_of(1, SL_ECORRUPT), true);
    assert_int_equal(SL_PENDING, op_start(NULL, &p.op));
    op_resume(&p.child.op, SL_OK);
    assert_int_equal(SL_ECORRUPT, p.seen);
    p = parent_of(child_of(0, SL_OK), true);
    assert_int_equal(SL_OK, op_start(NULL, &p.op));
    assert_int_equal(SL_OK, p.seen);
}

static void an_error_skips_the_phases_that_did_not_ask(void **state)
{
    struct parent p = parent_of(child_of(1, SL_EIO), false);
    assert_int_equal(SL_PENDING, op_start(NULL, &p.op));
    op_resume(&p.child.op, SL_OK);
    assert_int_equal(SL_EIO, p.done_err);
    assert_int_equal(SL_EBUG, p.seen); /* never reached */
}

static void a_canceled_op_ends_when_its_wait_returns(void **state)
{
    struct child c = child_of(3, SL_OK);
    assert_int_equal(SL_PENDING, op_start(NULL, &c.op));
    op_cancel(&c.op);
    assert_int_equal(0, c.done_calls); /* memory may still be in use by the wait */
    op_resume(&c.op, SL_OK);
    assert_int_equal(1, c.done_calls);
    assert_int_equal(SL_ECANCELED, c.done_err);
}

static sl_err count_down(struct op *op)
{
    return op->phase == 0 ? SL_OK : op_await(op, op->phase - 1, SL_OK);
}

static void a_million_steps_without_waiting_need_no_stack(void **state)
{
    struct child c = child_of(0, SL_OK);
    c.op.run = count_down;
    c.op.phase = 1000000;
    assert_int_equal(SL_OK, op_start(NULL, &c.op));
    assert_int_equal(1, c.done_calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_op_that_never_waits_ends_inside_its_start),
        cmocka_unit_test(done_comes_exactly_once_behind_the_last_wait),
        cmocka_unit_test(a_wait_that_fails_ends_the_op),
        cmocka_unit_test(the_waiter_is_resumed_by_the_end_of_its_child),
        cmocka_unit_test(the_error_of_a_child_that_ends_at_once_reaches_the_phase_that_asked),
        cmocka_unit_test(an_error_skips_the_phases_that_did_not_ask),
        cmocka_unit_test(a_canceled_op_ends_when_its_wait_returns),
        cmocka_unit_test(a_million_steps_without_waiting_need_no_stack),
    };
    return cmocka_run_group_tests_name("op", tests, NULL, NULL);
}
