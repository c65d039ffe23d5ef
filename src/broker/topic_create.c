#include "broker/topic_create_int.h"

#include "base/alloc.h"
#include "broker/topic_name.h"

/* ---- what is wished for --------------------------------------------------------------------- */

static sl_err check_name(struct topic_creation *c)
{
    const struct slice name = c->wish->name;
    char text[TOPIC_NAME_BYTES_MAX + 1] = "";
    SL_TRY(c->kafka_names ? topic_name_check_kafka(name, &c->fault)
                          : topic_name_check(name, &c->fault));
    memcpy(text, name.data, name.len);
    SL_TRY(authorize(c->b, c->who, OPERATION_CREATE, RESOURCE_TOPIC, text));
    struct topic *other = topics__collision(c->b, &c->who->org, name);
    if (c->kafka_names && other && !slice_eq_str(name, other->name))
        return sl_fault_set(&c->fault, SL_ETOPIC_NAME,
                            "Topic '%.60s' collides with existing topic '%.60s': '.' and '_' are "
                            "not told apart in metrics",
                            text, other->name);
    return SL_OK;
}

static sl_err check_assignments(struct topic_creation *c)
{
    const struct broker_create_topic *w = c->wish;
    if (w->n_partitions != -1 || w->replication_factor != -1)
        return sl_fault_set(&c->fault, SL_EINVAL,
                            "Both a partition count or replication factor and an assignment of "
                            "replicas were given");
    for (uint32_t i = 0; i < w->n_assignments; i++) {
        const struct replica_assignment *a = &w->assignments[i];
        if (a->partition != (int32_t)i)
            return sl_fault_set(&c->fault, SL_EASSIGNMENT,
                                "Assigned partitions must be 0, 1, 2 and so on, in this order");
        if (a->n_broker_ids != 1 || a->broker_ids[0] != c->b->cfg.node_id)
            return sl_fault_set(&c->fault, SL_EASSIGNMENT,
                                "Partition %d must be assigned to broker %d and no other",
                                a->partition, c->b->cfg.node_id);
    }
    c->n_partitions = (int32_t)w->n_assignments;
    return SL_OK;
}

static sl_err check_size(struct topic_creation *c)
{
    const struct broker_create_topic *w = c->wish;
    if (w->n_assignments)
        return check_assignments(c);
    if (w->replication_factor != -1 && w->replication_factor != 1)
        return sl_fault_set(&c->fault, SL_EREPLICATION,
                            "Replication factor %d is not possible on one broker: use 1 or -1",
                            w->replication_factor);
    if (w->n_partitions == 0 || w->n_partitions < -1)
        return sl_fault_set(&c->fault, SL_EPARTITIONS,
                            "Number of partitions was %d: it must be larger than 0, or -1 for the "
                            "broker's default",
                            w->n_partitions);
    c->n_partitions = w->n_partitions == -1 ? c->b->cfg.num_partitions : w->n_partitions;
    return SL_OK;
}

static sl_err check_settings(struct topic_creation *c)
{
    c->config = topic_config_from(&c->b->topic_defaults);
    for (uint32_t i = 0; i < c->wish->n_settings; i++) {
        const struct setting_text *s = &c->wish->settings[i];
        enum topic_setting setting;
        int shown = (int)SL_MIN(s->name.len, 60);
        if (topic_setting_find(s->name, &setting) != SL_OK)
            return sl_fault_set(&c->fault, SL_ECONFIG, "Unknown topic config name: %.*s", shown,
                                (const char *)s->name.data);
        if (s->value_is_null)
            return sl_fault_set(&c->fault, SL_ECONFIG,
                                "Null value not supported for topic configs: %.*s", shown,
                                (const char *)s->name.data);
        SL_TRY(topic_config_set(&c->config, setting, s->value, &c->fault));
    }
    topic_config_pin_engine(&c->config, (enum storage_engine)c->config.storage_engine);
    return SL_OK;
}

static sl_err check_limit(struct topic_creation *c)
{
    int64_t left = c->b->cfg.partitions_max - c->b->n_partitions;
    if (c->n_partitions > CREATE_PARTITIONS_MAX || c->n_partitions > left)
        return sl_fault_set(&c->fault, SL_EPOLICY,
                            "%d partitions are too many: %lld of this broker's %d are left, and at "
                            "most %d in one request",
                            c->n_partitions, (long long)SL_MAX(left, 0), c->b->cfg.partitions_max,
                            CREATE_PARTITIONS_MAX);
    return SL_OK;
}

static sl_err check_wish(struct topic_creation *c)
{
    c->fault = (struct sl_fault){0};
    SL_TRY(check_name(c));
    struct topic *t = topics__find(c->b, &c->who->org, c->wish->name);
    if (t && t->changing && t->life != TOPIC_LIVE)
        return SL_PENDING;
    if (t && t->life != TOPIC_LIVE)
        return sl_fault_set(&c->fault, SL_EIO, "Deleting '%.100s' failed: delete it again",
                            t->name);
    if (t)
        return sl_fault_set(&c->fault, SL_EEXISTS, "Topic '%.100s' already exists.", t->name);
    SL_TRY(check_size(c));
    SL_TRY(check_settings(c));
    return check_limit(c);
}

/* ---- the op --------------------------------------------------------------------------------- */

enum creation_phase {
    CREATE_START,     /* nothing yet */
    CREATE_NUMBERED,  /* pids and number are reserved for good */
    CREATE_WRITTEN,   /* topic.meta and directories are durable (or not) */
    CREATE_COMMITTED, /* rows are durable (or not) */
    CREATE_UNDONE,    /* the files of a topic without rows were dropped */
};

static struct topic_change *change_of(struct op *op)
{
    return SL_CONTAINER_OF(op, struct topic_change, op);
}

/* The files go again, so that no directory without rows stays. An unknown outcome keeps them: the
 * rows may be there. */
static sl_err undo(struct topic_change *c, sl_err err)
{
    if (err == SL_EUNKNOWN_OUTCOME)
        return err;
    c->first_err = err;
    return op_await_any(&c->op, CREATE_UNDONE, change__drop_files(c));
}

static sl_err creation_run(struct op *op)
{
    struct topic_change *c = change_of(op);
    switch ((enum creation_phase)op->phase) {
    case CREATE_START:
        return op_await(op, CREATE_NUMBERED, change__take_numbers(c, true, c->n_ids));
    case CREATE_NUMBERED:
        c->topic->number = c->number;
        change__prepare(c);
        return op_await_any(op, CREATE_WRITTEN, change__write_files(c));
    case CREATE_WRITTEN:
        if (op->err != SL_OK)
            return undo(c, op->err);
        return op_await_any(op, CREATE_COMMITTED, change__commit_rows(c));
    case CREATE_COMMITTED:
        return op->err == SL_OK ? SL_OK : undo(c, op->err);
    case CREATE_UNDONE:
        return c->first_err;
    }
    SL_UNREACHABLE();
}

static void creation_done(struct op *op, sl_err err)
{
    struct topic_change *change = change_of(op);
    struct topic_creation *c = SL_CONTAINER_OF(change, struct topic_creation, change);
    struct topic *t = change->topic;
    struct broker *b = c->b;
    if (err == SL_OK) {
        topics__extend(b, t, change->ids, change->n_ids);
        topics__publish(b, t);
        t->changing = false;
        topics__wake(&t->waiters);
    } else {
        c->fault = change->fault;
        topics__remove(b, t, c->n_partitions);
    }
    change__fini(change);
    c->ended(c, err);
    topics__leave(b);
}

static void begin(struct topic_creation *c)
{
    struct topic *t = NULL;
    sl_err err = topics__add(c->b, &c->who->org, c->wish->name, c->n_partitions, &t);
    if (err != SL_OK) {
        c->ended(c, err);
        return;
    }
    t->id = c->topic_id = uuid_random(c->b->env.rng);
    t->config = c->config;
    t->created_ms = clock_wall_ms(c->b->env.clock);
    t->changing = true;
    c->change = (struct topic_change){.op = {.run = creation_run, .done = creation_done},
                                      .b = c->b,
                                      .topic = t,
                                      .n_ids = c->n_partitions,
                                      .config = c->config};
    topics__enter(c->b);
    (void)op_start(NULL, &c->change.op); /* its first phase always waits */
}

static void woken(struct topic_wait *w)
{
    struct topic_creation *c = SL_CONTAINER_OF(w, struct topic_creation, wait);
    struct broker *b = c->b;
    creation__start(c);
    topics__leave(b);
}

void creation__start(struct topic_creation *c)
{
    sl_err err = check_wish(c);
    if (err == SL_PENDING) {
        c->wait = (struct topic_wait){.wake = woken};
        topics__enter(c->b);
        topics__wait(topics__find(c->b, &c->who->org, c->wish->name), &c->wait);
        return;
    }
    if (err != SL_OK || c->validate_only)
        c->ended(c, err);
    else
        begin(c);
}
