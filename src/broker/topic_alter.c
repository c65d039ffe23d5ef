#include "broker/topic_alter_int.h"

enum alteration_phase {
    ALTER_START,
    ALTER_NUMBERED,  /* pids of new partitions are reserved for good */
    ALTER_WRITTEN,   /* topic.meta says what shall be (or not) */
    ALTER_COMMITTED, /* so do the rows (or not) */
    ALTER_UNDONE,    /* topic.meta says again what is */
};

static struct topic_alteration *alteration_of(struct op *op)
{
    return SL_CONTAINER_OF(op, struct topic_alteration, change.op);
}

static int32_t n_new(const struct topic_change *c)
{
    return c->n_ids - c->topic->n_partitions;
}

static sl_err write_new(struct topic_change *c)
{
    change__prepare(c);
    return op_await_any(&c->op, ALTER_WRITTEN, change__write_files(c));
}

static sl_err undo(struct topic_change *c, sl_err err)
{
    if (err == SL_EUNKNOWN_OUTCOME)
        return err;
    c->first_err = err;
    change__fini(c);
    c->n_rows = 0;
    c->n_ids = c->topic->n_partitions;
    c->config = c->topic->config;
    change__prepare(c);
    return op_await_any(&c->op, ALTER_UNDONE, change__write_files(c));
}

static sl_err alteration_run(struct op *op)
{
    struct topic_change *c = &alteration_of(op)->change;
    switch ((enum alteration_phase)op->phase) {
    case ALTER_START:
        if (n_new(c) == 0)
            return write_new(c);
        return op_await(op, ALTER_NUMBERED, change__take_numbers(c, false, n_new(c)));
    case ALTER_NUMBERED:
        return write_new(c);
    case ALTER_WRITTEN:
        if (op->err != SL_OK)
            return undo(c, op->err);
        return op_await_any(op, ALTER_COMMITTED, change__commit_rows(c));
    case ALTER_COMMITTED:
        return op->err == SL_OK ? SL_OK : undo(c, op->err);
    case ALTER_UNDONE:
        return c->first_err;
    }
    SL_UNREACHABLE();
}

static void adopt(struct broker *b, struct topic *t, const struct topic_change *c)
{
    struct log_topic_cfg cfg;
    t->config = c->config;
    topic_config_to_log(&t->config, &cfg);
    for (int32_t i = 0; i < t->n_partitions; i++)
        log_part_configure(b->env.log, t->partitions[i].log, &cfg);
    if (n_new(c) == 0)
        return;
    b->n_partitions += n_new(c);
    topics__extend(b, t, c->ids + t->n_partitions, n_new(c));
}

static void alteration_done(struct op *op, sl_err err)
{
    struct topic_alteration *a = alteration_of(op);
    struct topic *t = a->change.topic;
    struct broker *b = a->b;
    if (err == SL_OK)
        adopt(b, t, &a->change);
    else
        a->fault = a->change.fault;
    change__fini(&a->change);
    t->changing = false;
    topics__wake(&t->waiters);
    a->ended(a, err);
    topics__leave(b);
}

static void begin(struct topic_alteration *a, struct topic *t)
{
    t->changing = true;
    a->change = (struct topic_change){.op = {.run = alteration_run, .done = alteration_done},
                                      .b = a->b,
                                      .topic = t,
                                      .n_ids = a->n_partitions,
                                      .config = a->config};
    topics__enter(a->b);
    (void)op_start(NULL, &a->change.op); /* its first phase always waits */
}

static void woken(struct topic_wait *w)
{
    struct topic_alteration *a = SL_CONTAINER_OF(w, struct topic_alteration, wait);
    struct broker *b = a->b;
    alteration__start(a);
    topics__leave(b);
}

static bool changes_anything(const struct topic_alteration *a, const struct topic *t)
{
    return a->n_partitions != t->n_partitions || a->config.overridden != t->config.overridden ||
           memcmp(a->config.values, t->config.values, sizeof t->config.values) != 0;
}

/* A request that replaces all settings and does not name the engine leaves it as it is. */
static sl_err check_engine(struct topic_alteration *a, const struct topic *t)
{
    if (topic_config_has(&a->config, TOPIC_SETTING_storage_engine) &&
        a->config.storage_engine != t->config.storage_engine)
        return sl_fault_set(&a->fault, SL_ECONFIG,
                            "storage.engine is chosen when a topic is made and cannot be changed");
    uint64_t bit = UINT64_C(1) << TOPIC_SETTING_storage_engine;
    a->config.storage_engine = t->config.storage_engine;
    a->config.overridden = (a->config.overridden & ~bit) | (t->config.overridden & bit);
    return SL_OK;
}

void alteration__start(struct topic_alteration *a)
{
    struct topic *t = broker__topic(a->b, &a->who->org, a->name);
    a->fault = (struct sl_fault){0};
    if (!t) {
        a->ended(a, SL_ETOPIC);
        return;
    }
    if (t->changing) {
        a->wait = (struct topic_wait){.wake = woken};
        topics__enter(a->b);
        topics__wait(t, &a->wait);
        return;
    }
    a->config = t->config;
    a->n_partitions = t->n_partitions;
    sl_err err = authorize(a->b, a->who, OPERATION_ALTER, RESOURCE_TOPIC, t->name);
    if (err == SL_OK)
        err = a->plan(a, t);
    if (err == SL_OK)
        err = check_engine(a, t);
    if (err != SL_OK || a->validate_only || !changes_anything(a, t))
        a->ended(a, err);
    else
        begin(a, t);
}
