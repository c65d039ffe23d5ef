#include "broker/admin_for_test.h"

#include "vfs/vfs.h"

const struct broker_cfg admin_default_cfg = {
    .cluster_id = "test",
    .node_id = 1,
    .auto_create_topics = true,
    .num_partitions = 2,
    .partitions_max = 1000,
    .fetch_sessions_max = 10,
    .message_bytes_max = 1048588,
    .group_members_max = 100,
    .fetch_bytes_max = 1 << 20,
    .offsets_retention_ms = 604800000,
    .producer_expiry_ms = 86400000,
    .group_session_min_ms = 6000,
    .group_session_max_ms = 1800000,
    .offset_metadata_bytes_max = 4096,
};

static void on_log_fatal(void *arg)
{
    struct admin_world *w = arg;
    w->fatal = true;
    if (w->on_fatal)
        w->on_fatal(w);
}

static void on_fatal(void *arg, sl_err err)
{
    on_log_fatal(arg);
}

static sl_err open_parts(struct admin_world *w)
{
    struct sim *s = sim_current();
    struct vfs *vfs = simfs_vfs(w->fs);
    struct log_cfg log_cfg = {.data_dir = "/data",
                              .journal_file_bytes = 1 << 20,
                              .ballast_bytes = UINT64_MAX,
                              .reserve_bytes = 1};
    SL_TRY(vfs_ensure_dir(vfs, "/data"));
    SL_TRY(loop_new(sim_clock(s), &w->loop));
    SL_TRY(workers_start(1, &w->workers));
    SL_TRY(meta_sqlite_open(vfs, "/data", &w->fault, &w->meta));
    struct log_env log_env = {.clock = sim_clock(s),
                              .rng = sim_rng(s),
                              .vfs = vfs,
                              .meta = w->meta,
                              .loop = w->loop,
                              .workers = w->workers,
                              .fatal = on_log_fatal,
                              .fatal_arg = w};
    SL_TRY(log_local_open(&log_cfg, &log_env, &w->fault, &w->log));
    struct broker_env env = {.clock = sim_clock(s),
                             .rng = sim_rng(s),
                             .loop = w->loop,
                             .log = w->log,
                             .meta = w->meta,
                             .workers = w->workers,
                             .fatal = on_fatal,
                             .fatal_arg = w};
    return broker_open(&w->cfg, &env, &w->fault, &w->b);
}

static void core_main(void *arg)
{
    struct admin_world *w = arg;
    sl_err err = open_parts(w);
    mutex_lock(w->lock);
    w->err = err;
    w->opened = true;
    w->runs = w->log != NULL;
    cond_broadcast(w->changed);
    mutex_unlock(w->lock);
    if (w->runs)
        loop_run(w->loop);
}

sl_err admin_open(struct admin_world *w)
{
    w->lock = mutex_new();
    w->changed = cond_new();
    w->opened = w->fatal = false;
    w->pending = 0;
    SL_TRY(thread_start("core", core_main, w, &w->core));
    mutex_lock(w->lock);
    while (!w->opened)
        cond_wait(w->changed, w->lock);
    mutex_unlock(w->lock);
    return w->err;
}

static void log_closed(struct log_done *d)
{
    loop_stop(SL_CONTAINER_OF(d, struct admin_world, log_closed)->loop);
}

static void broker_closed(void *arg)
{
    struct admin_world *w = arg;
    broker_free(w->b);
    w->log_closed.done = log_closed;
    log_engine_close(w->log, &w->log_closed);
}

static void run_close(struct task *t)
{
    struct admin_world *w = SL_CONTAINER_OF(t, struct admin_world, close_task);
    if (w->b)
        broker_close(w->b, broker_closed, w);
    else
        broker_closed(w);
}

void admin_close(struct admin_world *w)
{
    if (w->runs) {
        w->close_task.run = run_close;
        loop_post(w->loop, &w->close_task);
    }
    thread_join(w->core);
    workers_stop(w->workers);
    meta_close(w->meta);
    loop_free(w->loop);
    cond_free(w->changed);
    mutex_free(w->lock);
    w->b = NULL;
    w->log = NULL;
    w->workers = NULL;
    w->meta = NULL;
    w->loop = NULL;
}

void admin_wait(struct admin_world *w)
{
    mutex_lock(w->lock);
    while (w->pending)
        cond_wait(w->changed, w->lock);
    mutex_unlock(w->lock);
}

/* On the core loop, which is the home of every call here. */
static void call_done(struct broker_call *c)
{
    struct admin_world *w = c->broker->env.fatal_arg;
    mutex_lock(w->lock);
    w->pending--;
    cond_broadcast(w->changed);
    mutex_unlock(w->lock);
}

void admin_submit(struct admin_world *w, struct broker_call *c)
{
    c->broker = w->b;
    c->home = w->loop;
    c->who = &principal_anonymous;
    c->done = call_done;
    mutex_lock(w->lock);
    w->pending++;
    mutex_unlock(w->lock);
    broker_submit(c);
}

/* ---- calls ---------------------------------------------------------------------------------- */

sl_err admin_create(struct admin_world *w, const char *name, int32_t partitions)
{
    struct broker_create_topic topic = {
        .name = slice_str(name), .n_partitions = partitions, .replication_factor = 1};
    struct broker_create_topics c = {.kafka_names = true, .topics = &topic, .n_topics = 1};
    broker_create_topics_init(&c);
    admin_call(w, &c.call);
    broker_create_topics_fini(&c);
    return c.err != SL_OK ? c.err : topic.err;
}

sl_err admin_delete(struct admin_world *w, const char *name)
{
    struct broker_delete_topic topic = {.name = slice_str(name)};
    struct broker_delete_topics c = {.topics = &topic, .n_topics = 1};
    broker_delete_topics_init(&c);
    admin_call(w, &c.call);
    broker_delete_topics_fini(&c);
    return c.err != SL_OK ? c.err : topic.err;
}

sl_err admin_grow(struct admin_world *w, const char *name, int32_t count)
{
    struct broker_grow_topic topic = {.name = slice_str(name), .count = count};
    struct broker_grow_topics c = {.topics = &topic, .n_topics = 1};
    broker_grow_topics_init(&c);
    admin_call(w, &c.call);
    broker_grow_topics_fini(&c);
    return c.err != SL_OK ? c.err : topic.err;
}

sl_err admin_set(struct admin_world *w, const char *topic, const char *setting, const char *value)
{
    struct config_change change = {.name = slice_str(setting),
                                   .op = value ? CONFIG_SET : CONFIG_DELETE,
                                   .value = value ? slice_str(value) : (struct slice){0},
                                   .value_is_null = !value};
    struct broker_alter_resource resource = {
        .type = CONFIG_TOPIC, .name = slice_str(topic), .changes = &change, .n_changes = 1};
    struct broker_alter_configs c = {.incremental = true, .resources = &resource, .n_resources = 1};
    broker_alter_configs_init(&c);
    admin_call(w, &c.call);
    broker_alter_configs_fini(&c);
    return c.err != SL_OK ? c.err : resource.err;
}

struct broker_topic_view admin_view(struct admin_world *w, const char *name)
{
    struct broker_topic_view view = {.name = slice_str(name)};
    struct broker_metadata c = {.topics = &view, .n_topics = 1};
    broker_metadata_init(&c);
    admin_call(w, &c.call);
    broker_metadata_fini(&c);
    view.leader_epochs = NULL; /* went with the call */
    return view;
}

int64_t admin_state(struct admin_world *w, const char *name)
{
    struct topic *t = broker__topic(w->b, &principal_anonymous.org, slice_str(name));
    if (!t)
        return 0;
    bool own = topic_config_has(&t->config, TOPIC_SETTING_retention_ms);
    return admin_state_of(t->n_partitions, own ? t->config.retention_ms : 0);
}

/* ---- worlds --------------------------------------------------------------------------------- */

struct world_run {
    struct admin_world w;
    void (*body)(struct admin_world *w);
};

static void world_main(void *arg)
{
    struct world_run *r = arg;
    sl_err err = admin_open(&r->w);
    if (err != SL_OK)
        print_message("# %s: %s: %s\n", sl_err_name(err), r->w.fault.where, r->w.fault.what);
    assert_int_equal(SL_OK, err);
    r->body(&r->w);
    admin_close(&r->w);
}

void in_admin_world(void (*body)(struct admin_world *w))
{
    const struct sim_opts opts = {.seed = 1};
    struct sim *sim = sim_new(&opts);
    struct world_run *r = sl_new(struct world_run);
    r->w.fs = simfs_new();
    r->w.cfg = admin_default_cfg;
    r->body = body;
    assert_int_equal(SIM_RETURNED, sim_run(sim, world_main, r));
    simfs_free(r->w.fs);
    sim_free(sim);
    sl_free(r);
}
