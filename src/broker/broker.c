#include "broker/broker_int.h"

#include "base/alloc.h"
#include "base/log.h"

const struct principal principal_anonymous = {.name = "anonymous", .proof = PRINCIPAL_NONE};

sl_err authorize(struct broker *b, const struct principal *who, enum operation op,
                 enum resource_type type, const char *name)
{
    SL_ASSERT(who);
    return SL_OK; /* rules come with authentication */
}

/* ---- calls between loops -------------------------------------------------------------------- */

static void run_on_core(struct task *t)
{
    struct broker_call *c = SL_CONTAINER_OF(t, struct broker_call, task);
    c->run(c);
}

void broker_submit(struct broker_call *c)
{
    struct loop *core = c->broker->env.loop;
    SL_ASSERT(c->run && c->done);
    c->cancel = NULL;
    c->canceled = c->cancel_under_way = c->done_waits = c->finished = false;
    if (loop_is_current(core)) {
        c->run(c);
        return;
    }
    c->task.run = run_on_core;
    loop_post(core, &c->task);
}

static void done_on_home(struct task *t)
{
    struct broker_call *c = SL_CONTAINER_OF(t, struct broker_call, task);
    SL_ASSERT(c->finished);
    SL_ASSERT(loop_is_current(c->home));
    if (c->cancel_under_way)
        c->done_waits = true; /* the core may still look at c */
    else
        c->done(c);
}

void broker_finish(struct broker_call *c)
{
    SL_ASSERT(!c->finished);
    SL_ASSERT(loop_is_current(c->broker->env.loop));
    c->finished = true;
    c->cancel = NULL;
    if (loop_is_current(c->home)) {
        c->done(c);
        return;
    }
    c->task.run = done_on_home;
    loop_post(c->home, &c->task);
}

static void cancel_now(struct broker_call *c)
{
    void (*cancel)(struct broker_call *) = c->cancel;
    SL_ASSERT(loop_is_current(c->broker->env.loop));
    if (c->finished)
        return;
    c->canceled = true;
    c->cancel = NULL;
    if (cancel)
        cancel(c); /* c may be gone */
}

static void cancel_returned(struct task *t)
{
    struct broker_call *c = SL_CONTAINER_OF(t, struct broker_call, cancel_task);
    c->cancel_under_way = false;
    if (c->done_waits)
        c->done(c);
}

static void cancel_on_core(struct task *t)
{
    struct broker_call *c = SL_CONTAINER_OF(t, struct broker_call, cancel_task);
    cancel_now(c);
    c->cancel_task.run = cancel_returned;
    loop_post(c->home, &c->cancel_task);
}

void broker_cancel(struct broker_call *c)
{
    SL_ASSERT(loop_is_current(c->home));
    if (loop_is_current(c->broker->env.loop)) {
        cancel_now(c);
        return;
    }
    if (c->cancel_under_way)
        return;
    c->cancel_under_way = true;
    c->cancel_task.run = cancel_on_core;
    loop_post(c->broker->env.loop, &c->cancel_task);
}

/* ---- life ----------------------------------------------------------------------------------- */

static sl_err read_defaults(struct broker *b, struct sl_fault *fault)
{
    topic_config_init(&b->topic_defaults);
    if (b->cfg.message_bytes_max > 0)
        b->topic_defaults.max_message_bytes = b->cfg.message_bytes_max;
    if (b->cfg.topic_defaults)
        SL_TRY(topic_config_read(&b->topic_defaults, slice_str(b->cfg.topic_defaults), fault));
    return SL_OK;
}

sl_err broker_open(const struct broker_cfg *cfg, const struct broker_env *env,
                   struct sl_fault *fault, struct broker **ret)
{
    SL_AUTO(broker_free) struct broker *b = sl_new(struct broker);
    b->cfg = *cfg;
    b->env = *env;
    SL_TRY(read_defaults(b, fault));
    SL_TRY(topics__open(b, fault));
    SL_TRY(produce__open(b));
    SL_TRY(fetch__open(b));
    SL_TRY(groups__open(b, fault));
    SL_TRY(subs__open(b, fault));
    *ret = SL_TAKE(b);
    return SL_OK;
}

const struct broker_cfg *broker_config(const struct broker *b)
{
    return &b->cfg;
}

static bool all_idle(const struct broker *b)
{
    return topics__idle(b) && produce__idle(b) && fetch__idle(b) && groups__idle(b) &&
           subs__idle(b);
}

static void tell_closed(struct task *t)
{
    struct broker *b = SL_CONTAINER_OF(t, struct broker, closed_task);
    SL_ASSERT(b->closed);
    SL_ASSERT(all_idle(b)); /* nothing begins once all has ended */
    b->on_closed(b->on_closed_arg);
}

void broker__idle_check(struct broker *b)
{
    if (!b->closing || b->closed || !all_idle(b))
        return;
    b->closed = true;
    b->closed_task.run = tell_closed; /* later: who became idle is still on the stack */
    loop_post(b->env.loop, &b->closed_task);
}

void broker_close(struct broker *b, void (*done)(void *arg), void *arg)
{
    SL_ASSERT(!b->closing);
    SL_ASSERT(loop_is_current(b->env.loop));
    b->closing = true;
    b->on_closed = done;
    b->on_closed_arg = arg;
    fetch__close(b);
    subs__close(b);
    groups__close(b);
    broker__idle_check(b);
}

void broker_free(struct broker *b)
{
    if (!b)
        return;
    subs__free(b);
    groups__free(b);
    fetch__free(b);
    produce__free(b);
    topics__free(b);
    sl_free(b);
}

void broker__check_meta(struct broker *b, sl_err err, const struct sl_fault *fault)
{
    if (err != SL_EUNKNOWN_OUTCOME)
        return;
    LOG_ERROR("broker.meta_failed", "the metadata may or may not hold a change: the process ends",
              F_STR("where", fault->where), F_STR("what", fault->what));
    if (b->env.fatal)
        b->env.fatal(b->env.fatal_arg, err);
}
