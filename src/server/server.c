#include "server/server.h"

#include "base/alloc.h"
#include "base/map.h"
#include "broker/broker.h"
#include "grpc/grpc.h"
#include "http/http_server.h"
#include "kafka/kafka.h"
#include "meta/metastore.h"
#include "server/data_dir.h"
#include "server/port_owner.h"
#include "server/server_int.h"
#include "server/signals.h"
#include "vfs/vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    STOP_MS_MAX = 4800, /* 5 s are promised */
    HTTP_BODY_BYTES_MAX = 64 << 10,
    TOPIC_DEFAULTS_BYTES_MAX = 4096,
};

static int64_t number(const struct server *s, enum config_option i)
{
    return option_number(s->opts.options, i);
}

const char *server_version(void)
{
    return SLUICE_VERSION;
}

/* ---- starting: a table of steps -------------------------------------------------------------- */

static sl_err raise_limits(struct server *s, struct sl_fault *fault)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* works for us; else we live with the soft one */
    }
    return SL_OK;
}

static sl_err seed_maps(struct server *s, struct sl_fault *fault)
{
    map_seed(rng_u64(&rng_real), rng_u64(&rng_real));
    return SL_OK;
}

static sl_err open_dir(struct server *s, struct sl_fault *fault)
{
    SL_TRY(data_dir_open(vfs_real(), &rng_real, option_text(s->opts.options, CONFIG_data_dir),
                         fault, &s->dir));
    uuid_format_base64(data_dir_cluster_id(s->dir), s->cluster_id);
    s->dir_absolute = realpath(data_dir_path(s->dir), NULL);
    return s->dir_absolute ? SL_OK : SL_EIO; /* it was opened a moment ago */
}

static sl_err make_loops(struct server *s, struct sl_fault *fault)
{
    SL_TRY(loop_new(&clock_real, &s->core));
    return server__make_io_loops(s);
}

static sl_err start_workers(struct server *s, struct sl_fault *fault)
{
    int64_t n = number(s, CONFIG_worker_threads);
    unsigned threads = n ? (unsigned)n : SL_MAX(2U, SL_MIN(server__cores(), 8U));
    return workers_start(threads, &s->workers);
}

static sl_err open_meta(struct server *s, struct sl_fault *fault)
{
    return meta_sqlite_recover(vfs_real(), data_dir_path(s->dir), fault, &s->meta);
}

/* An outcome is unknown: memory may be ahead of the disk, so only a restart tells the truth. */
static void on_log_fatal(void *arg)
{
    struct server *s = arg;
    LOG_ERROR("server.fatal",
              "the data directory failed in a way that leaves outcomes unknown; "
              "ending now, the next start recovers: look at the disk first",
              F_STR("dir", data_dir_path(s->dir)));
    s->opts.die(1);
}

static void on_broker_fatal(void *arg, sl_err err)
{
    on_log_fatal(arg);
}

static sl_err open_log(struct server *s, struct sl_fault *fault)
{
    int64_t ballast = number(s, CONFIG_disk_ballast_bytes);
    struct log_cfg cfg = {
        .data_dir = data_dir_path(s->dir),
        .cluster_id = *data_dir_cluster_id(s->dir),
        .open_files_max = (size_t)number(s, CONFIG_open_files_max),
        .page_cache_bytes = (uint64_t)number(s, CONFIG_page_cache_bytes),
        .journal_file_bytes = (uint64_t)number(s, CONFIG_journal_file_bytes),
        .journal_files_max = (uint32_t)number(s, CONFIG_journal_files_max),
        .group_bytes_max = (size_t)number(s, CONFIG_commit_group_bytes),
        .queue_bytes_max = (size_t)number(s, CONFIG_append_queue_bytes),
        .checkpoint_ms = number(s, CONFIG_checkpoint_ms),
        .producer_expiry_ms = number(s, CONFIG_producer_expiry_ms),
        .ballast_bytes = ballast ? (uint64_t)ballast : UINT64_MAX,
        .reserve_bytes = (uint64_t)number(s, CONFIG_disk_reserve_bytes),
    };
    struct log_env env = {.clock = &clock_real,
                          .rng = &rng_real,
                          .vfs = vfs_real(),
                          .meta = s->meta,
                          .loop = s->core,
                          .workers = s->workers,
                          .fatal = on_log_fatal,
                          .fatal_arg = s};
    return log_open(&cfg, &env, fault, &s->log);
}

/* Settings of the broker that topics inherit, in the form the broker reads. */
static const char *topic_defaults(struct server *s)
{
    static const struct {
        const char *topic_setting;
        enum config_option option;
    } rows[] = {
        {"segment.bytes", CONFIG_log_segment_bytes},
        {"segment.ms", CONFIG_log_roll_ms},
        {"retention.ms", CONFIG_log_retention_ms},
        {"retention.bytes", CONFIG_log_retention_bytes},
        {"max.message.bytes", CONFIG_message_bytes_max},
    };
    buf_init(&s->topic_defaults, TOPIC_DEFAULTS_BYTES_MAX);
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++)
        if (option_source(s->opts.options, rows[i].option) != OPTION_DEFAULT)
            (void)buf_printf(&s->topic_defaults, "%s=%lld\n", rows[i].topic_setting,
                             (long long)number(s, rows[i].option));
    if (option_source(s->opts.options, CONFIG_storage_engine) != OPTION_DEFAULT)
        (void)buf_printf(&s->topic_defaults, "storage.engine=%s\n",
                         option_text(s->opts.options, CONFIG_storage_engine));
    write_u8(&s->topic_defaults, 0);
    SL_ASSERT(buf_check(&s->topic_defaults) == SL_OK);
    return (const char *)s->topic_defaults.data;
}

static sl_err open_broker(struct server *s, struct sl_fault *fault)
{
    struct broker_cfg cfg = {
        .cluster_id = s->cluster_id,
        .data_dir = s->dir_absolute,
        .listeners = s->listeners,
        .advertised_listeners = s->advertised_listeners,
        .node_id = (int32_t)number(s, CONFIG_node_id),
        .auto_create_topics = number(s, CONFIG_auto_create_topics) != 0,
        .num_partitions = (int32_t)number(s, CONFIG_num_partitions),
        .partitions_max = (int32_t)number(s, CONFIG_partitions_max),
        .offsets_retention_ms = number(s, CONFIG_offsets_retention_ms),
        .group_session_min_ms = number(s, CONFIG_group_session_min_ms),
        .group_session_max_ms = number(s, CONFIG_group_session_max_ms),
        .group_initial_rebalance_delay_ms = number(s, CONFIG_group_initial_rebalance_delay_ms),
        .group_members_max = (int32_t)number(s, CONFIG_group_members_max),
        .offset_metadata_bytes_max = (size_t)number(s, CONFIG_offset_metadata_bytes_max),
        .fetch_sessions_max = (int32_t)number(s, CONFIG_fetch_sessions_max),
        .message_bytes_max = number(s, CONFIG_message_bytes_max),
        .producer_expiry_ms = number(s, CONFIG_producer_expiry_ms),
        .fetch_bytes_max = number(s, CONFIG_fetch_bytes_max),
        .topic_defaults = topic_defaults(s),
    };
    struct broker_env env = {.clock = &clock_real,
                             .rng = &rng_real,
                             .loop = s->core,
                             .log = s->log,
                             .meta = s->meta,
                             .workers = s->workers,
                             .fatal = on_broker_fatal,
                             .fatal_arg = s};
    return broker_open(&cfg, &env, fault, &s->broker);
}

/* What clients are told, when it is not the address they came to. */
static void advertised(struct server *s, struct kafka_door_cfg *cfg)
{
    int port = -1;
    cfg->advertised_port = (int32_t)number(s, CONFIG_advertised_port);
    if (*option_text(s->opts.options, CONFIG_advertised_addr) &&
        option_parse_addr(option_text(s->opts.options, CONFIG_advertised_addr), s->advertised_host,
                          &port) == SL_OK) {
        cfg->advertised_host = *s->advertised_host ? s->advertised_host : NULL;
        if (cfg->advertised_port == 0 && port > 0)
            cfg->advertised_port = port;
    }
}

/* Descriptors that neither segments nor HTTP may take: so the door, and not the kernel, decides who
 * goes when there are too many (K13). */
static uint32_t kafka_connections_max(const struct server *s)
{
    enum { OTHERS = 128, SHARE_MIN = 4, HTTP_SHARE = 8 };
    int64_t given = number(s, CONFIG_kafka_connections_max);
    struct rlimit limit;
    if (given > 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT32_MAX)
        return (uint32_t)given;
    int64_t all = (int64_t)limit.rlim_cur;
    int64_t http = SL_MIN(number(s, CONFIG_http_connections_max), all / HTTP_SHARE);
    int64_t left = all - number(s, CONFIG_open_files_max) - http - OTHERS;
    return (uint32_t)SL_MAX(left, all / SHARE_MIN);
}

/* A refused address is told with the flag that changes it, and with who has it. */
static sl_err explain_listen(sl_err err, const char *flag, const char *addr, struct sl_fault *fault)
{
    char name[PORT_OWNER_NAME_BYTES], host[OPTION_HOST_BYTES];
    int64_t pid = 0;
    int port = 0;
    if (err == SL_OK || !fault)
        return err;
    (void)snprintf(fault->where, sizeof fault->where, "%s %s", flag, addr);
    if (err == SL_EADDRINUSE && option_parse_addr(addr, host, &port) == SL_OK &&
        port_owner_find((uint16_t)port, &pid, name))
        return sl_fault_set(fault, err,
                            "%s (process %lld) listens there: stop it, or choose another port, "
                            "for example %s %s:%d; 0 takes a free one",
                            name, (long long)pid, flag, host, port < 65000 ? port + 100 : 0);
    return err;
}

static void print_bound(char ret[CONFIG_ADDR_BYTES], const char *addr, uint16_t port)
{
    const char *colon = strrchr(addr, ':');
    (void)snprintf(ret, CONFIG_ADDR_BYTES, "%.*s:%u", (int)(colon - addr), addr, port);
}

/* What DescribeConfigs tells of the listener; its port is known only now. */
static void name_listeners(struct server *s, const struct kafka_door_cfg *cfg)
{
    char bound[CONFIG_ADDR_BYTES];
    print_bound(bound, s->kafka_addr, kafka_door_port(s->kafka));
    (void)snprintf(s->listeners, sizeof s->listeners, "PLAINTEXT://%s", bound);
    memcpy(s->advertised_listeners, s->listeners, sizeof s->listeners);
    if (cfg->advertised_host)
        (void)snprintf(s->advertised_listeners, sizeof s->advertised_listeners, "PLAINTEXT://%s:%d",
                       cfg->advertised_host,
                       cfg->advertised_port ? cfg->advertised_port : kafka_door_port(s->kafka));
}

/* Where connections live; the number of loops. */
static unsigned conn_loops(const struct server *s, struct loop *ret[IO_LOOPS_MAX])
{
    ret[0] = s->core;
    for (unsigned i = 0; i < s->n_io; i++)
        ret[i] = s->io[i].loop;
    return SL_MAX(s->n_io, 1U);
}

static sl_err start_kafka(struct server *s, struct sl_fault *fault)
{
    struct loop *loops[IO_LOOPS_MAX];
    unsigned n_loops = conn_loops(s, loops);
    config_listen_addr(s->opts.options, CONFIG_kafka_addr, s->kafka_addr);
    struct kafka_door_cfg cfg = {
        .addr = s->kafka_addr,
        .cluster_id = s->cluster_id,
        .node_id = (int32_t)number(s, CONFIG_node_id),
        .frame_bytes_max = (size_t)number(s, CONFIG_kafka_frame_bytes),
        .request_bytes_max = (size_t)number(s, CONFIG_request_memory_bytes),
        .connections_max = kafka_connections_max(s),
    };
    advertised(s, &cfg);
    sl_err err = kafka_door_start(&cfg, s->broker, loops, n_loops, fault, &s->kafka);
    if (err == SL_OK)
        name_listeners(s, &cfg);
    return explain_listen(err, "--kafka-addr", s->kafka_addr, fault);
}

static sl_err start_http(struct server *s, struct sl_fault *fault)
{
    config_listen_addr(s->opts.options, CONFIG_http_addr, s->http_addr);
    struct http_server_opts opts = {
        .addr = s->http_addr,
        .backlog = (int)number(s, CONFIG_http_backlog),
        .connections_max = (size_t)number(s, CONFIG_http_connections_max),
        .body_bytes_max = HTTP_BODY_BYTES_MAX,
        .routes = server__routes,
        .n_routes = server__n_routes,
        .arg = s,
    };
    sl_err err = http_server_start(s->core, &opts, fault, &s->http);
    return explain_listen(err, "--http-addr", s->http_addr, fault);
}

static sl_err start_grpc(struct server *s, struct sl_fault *fault)
{
    struct loop *loops[IO_LOOPS_MAX];
    unsigned n_loops = conn_loops(s, loops);
    config_listen_addr(s->opts.options, CONFIG_grpc_addr, s->grpc_addr);
    struct grpc_door_cfg cfg = {
        .addr = s->grpc_addr,
        .message_bytes_max = (size_t)number(s, CONFIG_grpc_message_bytes),
        .request_bytes_max = (size_t)number(s, CONFIG_request_memory_bytes),
        .connections_max = (uint32_t)number(s, CONFIG_grpc_connections_max),
        .streams_max = (uint32_t)number(s, CONFIG_grpc_streams_max),
        .stream_window_bytes = (uint32_t)number(s, CONFIG_grpc_stream_window_bytes),
        .conn_window_bytes = (uint32_t)number(s, CONFIG_grpc_connection_window_bytes),
        .keepalive_ms = number(s, CONFIG_grpc_keepalive_interval_secs) * 1000,
        .keepalive_timeout_ms = number(s, CONFIG_grpc_keepalive_timeout_secs) * 1000,
    };
    sl_err err = grpc_door_start(&cfg, s->broker, loops, n_loops, fault, &s->grpc);
    return explain_listen(err, "--grpc-addr", s->grpc_addr, fault);
}

static sl_err start_io(struct server *s, struct sl_fault *fault)
{
    return server__start_io_threads(s);
}

static void on_stop_signal(void *arg);
static void on_reload_signal(void *arg);

static int late_status(void *arg)
{
    struct server *s = arg;
    return atomic_load(&s->is_quiet) ? 0 : 1;
}

static sl_err start_signals(struct server *s, struct sl_fault *fault)
{
    struct signals_opts opts = {.loop = s->core,
                                .stop_ms_max = number(s, CONFIG_drain_ms) + STOP_MS_MAX - 2000,
                                .on_stop = on_stop_signal,
                                .on_reload = on_reload_signal,
                                .die = s->opts.die,
                                .late_status = late_status,
                                .arg = s};
    return signals_start(&opts, &s->signals);
}

static sl_err publish_ports(struct server *s, struct sl_fault *fault)
{
    sl_err err = data_dir_write_ports(s->dir, kafka_door_port(s->kafka), http_server_port(s->http),
                                      grpc_door_port(s->grpc));
    if (err != SL_OK && fault)
        (void)snprintf(fault->where, sizeof fault->where, "%.240s/ports.json",
                       data_dir_path(s->dir));
    return err == SL_OK ? err : sl_fault_set(fault, err, "cannot be written: %s", sl_err_text(err));
}

/* Top to bottom at the start. The stop is the op below and the teardown behind it. */
static const struct step {
    const char *name;
    sl_err (*start)(struct server *s, struct sl_fault *fault);
} steps[] = {
    {"limits", raise_limits},         {"hash seed", seed_maps},
    {"data directory", open_dir},     {"loops", make_loops},
    {"signals", start_signals},       {"workers", start_workers},
    {"metadata", open_meta},          {"log", open_log},
    {"broker", open_broker},          {"kafka door", start_kafka},
    {"http door", start_http},        {"grpc door", start_grpc},
    {"connection threads", start_io}, {"ports", publish_ports},
};

static sl_err start(struct server *s, struct sl_fault *fault)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(steps); i++) {
        int64_t begun_ns = clock_monotonic_ns(&clock_real);
        sl_err err = steps[i].start(s, fault);
        LOG_DEBUG("server.step", steps[i].name, F_STR("result", sl_err_name(err)),
                  F_F64("ms", (double)(clock_monotonic_ns(&clock_real) - begun_ns) / 1e6));
        if (err != SL_OK)
            return fault && *fault->what
                       ? err
                       : sl_fault_set(fault, err, "%s: %s", steps[i].name, sl_err_text(err));
    }
    return SL_OK;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

enum { TRIM_MS = 4000, KEPT_BYTES_MAX = 1 << 20 };

/* A crowd that is gone leaves its memory with the allocator: the system gets it back within 10 s.
 */
static void on_trim(struct timer *t)
{
    (void)sl_alloc_trim(KEPT_BYTES_MAX);
    timer_start(t, TRIM_MS);
}

static void start_trimming(struct server *s)
{
    timer_init(&s->trim, s->core, on_trim);
    timer_start(&s->trim, TRIM_MS);
}

/* ---- ready ------------------------------------------------------------------------------------
 */

static void announce(struct server *s)
{
    char kafka[CONFIG_ADDR_BYTES], http[CONFIG_ADDR_BYTES], grpc[CONFIG_ADDR_BYTES];
    print_bound(kafka, s->kafka_addr, kafka_door_port(s->kafka));
    print_bound(http, s->http_addr, http_server_port(s->http));
    print_bound(grpc, s->grpc_addr, grpc_door_port(s->grpc));
    if (config_addr_is_local(kafka) && config_addr_is_local(http) && config_addr_is_local(grpc))
        LOG_INFO("server.local_only", "only this machine can connect; --host 0.0.0.0 opens the "
                                      "listeners to others, without authentication");
    else
        LOG_WARN("server.open",
                 "whoever reaches these listeners may read and write everything: "
                 "there is no authentication yet; --host 127.0.0.1 closes them",
                 F_STR("kafka", kafka), F_STR("http", http), F_STR("grpc", grpc));
    s->is_ready = true;
    atomic_store(&s->is_quiet, false);
    LOG_INFO("server.ready", "serving", F_STR("version", SLUICE_VERSION), F_STR("kafka", kafka),
             F_STR("http", http), F_STR("grpc", grpc), F_STR("data_dir", data_dir_path(s->dir)),
             F_STR("cluster", s->cluster_id), F_I64("pid", getpid()),
             F_F64("start_ms", (double)(clock_monotonic_ns(&clock_real) - s->started_ns) / 1e6));
}

/* ---- stopping: an op on the core loop ---------------------------------------------------------
 */

enum { STOP_DOORS, STOP_BROKER, STOP_LOG, STOP_LOOPS };

static void resume_stop(struct task *t)
{
    op_resume(&SL_CONTAINER_OF(t, struct server, resume_stop)->stop, SL_OK);
}

/* Callbacks may come before their starter returns, and from another loop: a task is neither. */
static void on_part_stopped(void *arg)
{
    struct server *s = arg;
    loop_post(s->core, &s->resume_stop);
}

static void door_is_closed(struct server *s)
{
    if (--s->doors_open == 0)
        on_part_stopped(s);
}

static void run_kafka_stopped(struct task *t)
{
    door_is_closed(SL_CONTAINER_OF(t, struct server, kafka_stopped));
}

static void on_kafka_stopped(void *arg)
{
    struct server *s = arg;
    loop_post(s->core, &s->kafka_stopped);
}

static void run_kafka_stop(struct task *t)
{
    struct server *s = SL_CONTAINER_OF(t, struct server, kafka_stop);
    kafka_door_stop(s->kafka, number(s, CONFIG_drain_ms), on_kafka_stopped, s);
}

static void run_grpc_stopped(struct task *t)
{
    door_is_closed(SL_CONTAINER_OF(t, struct server, grpc_stopped));
}

static void on_grpc_stopped(void *arg)
{
    struct server *s = arg;
    loop_post(s->core, &s->grpc_stopped);
}

static void run_grpc_stop(struct task *t)
{
    struct server *s = SL_CONTAINER_OF(t, struct server, grpc_stop);
    grpc_door_stop(s->grpc, number(s, CONFIG_drain_ms), on_grpc_stopped, s);
}

static void on_http_stopped(void *arg)
{
    door_is_closed(arg);
}

static sl_err stop_doors(struct server *s)
{
    s->doors_open = (s->kafka != NULL) + (s->http != NULL) + (s->grpc != NULL);
    if (s->dir)
        data_dir_remove_ports(s->dir);
    /* On their own loop, whose thread may not have been started after a failure. */
    struct loop *first = s->n_io && s->io[0].thread ? s->io[0].loop : s->core;
    if (s->kafka)
        loop_post(first, &s->kafka_stop);
    if (s->grpc)
        loop_post(first, &s->grpc_stop);
    if (s->http)
        http_server_stop(s->http, number(s, CONFIG_drain_ms), on_http_stopped, s);
    return s->doors_open ? SL_PENDING : SL_OK;
}

static sl_err stop_broker(struct server *s)
{
    if (!s->broker)
        return SL_OK;
    broker_close(s->broker, on_part_stopped, s);
    return SL_PENDING;
}

static void on_log_closed(struct log_done *d)
{
    struct server *s = SL_CONTAINER_OF(d, struct server, log_closed);
    if (d->err != SL_OK)
        LOG_ERROR("server.log_close",
                  "the log could not be closed cleanly; the next start will "
                  "check it",
                  F_ERR(d->err), F_STR("what", d->fault.what));
    on_part_stopped(s);
}

static sl_err stop_log(struct server *s)
{
    atomic_store(&s->is_quiet, true);
    if (!s->log)
        return SL_OK;
    s->log_closed.done = on_log_closed;
    log_engine_close(s->log, &s->log_closed);
    return SL_PENDING;
}

static sl_err run_stop(struct op *op)
{
    static const char *const names[] = {"stop doors", "stop broker", "stop log", "stop loops"};
    struct server *s = SL_CONTAINER_OF(op, struct server, stop);
    LOG_DEBUG("server.step", names[op->phase]);
    switch (op->phase) {
    case STOP_DOORS:
        return op_await(op, STOP_BROKER, stop_doors(s));
    case STOP_BROKER:
        return op_await(op, STOP_LOG, stop_broker(s));
    case STOP_LOG:
        return op_await(op, STOP_LOOPS, stop_log(s));
    case STOP_LOOPS:
        return SL_OK;
    }
    SL_UNREACHABLE();
}

static void stop_done(struct op *op, sl_err err)
{
    struct server *s = SL_CONTAINER_OF(op, struct server, stop);
    server__stop_io_loops(s);
    loop_stop(s->core);
}

static void begin_stop(struct task *t)
{
    struct server *s = SL_CONTAINER_OF(t, struct server, begin_stop);
    if (s->is_stopping)
        return;
    s->is_stopping = true;
    s->is_ready = false;
    (void)op_start(NULL, &s->stop); /* ends in stop_done */
}

static void on_stop_signal(void *arg)
{
    struct server *s = arg;
    LOG_INFO("server.stopping", "finishing what is under way");
    begin_stop(&s->begin_stop);
}

static void on_reload_signal(void *arg)
{
    struct server *s = arg;
    struct sl_fault fault = {0};
    SL_AUTO(options_free) struct options *fresh = NULL;
    if (s->opts.reload(&fault, &fresh) != SL_OK) {
        LOG_ERROR("server.reload_refused", "the settings are wrong and were not taken over",
                  F_STR("where", fault.where), F_STR("what", fault.what));
        return;
    }
    log_set_level(config_log_level(fresh));
    for (size_t i = 0; i < config_table.n_rows; i++) {
        struct buf old, new;
        buf_init(&old, 8192);
        buf_init(&new, 8192);
        option_print(s->opts.options, i, &old);
        option_print(fresh, i, &new);
        if (config_table.rows[i].change == OPTION_START &&
            !slice_eq(slice_of(old.data, old.len), slice_of(new.data, new.len)))
            LOG_WARN("server.reload_later", "this setting changes with the next start only",
                     F_STR("option", config_table.rows[i].name));
        buf_fini(&old);
        buf_fini(&new);
    }
    LOG_INFO("server.reloaded", "live settings were read again",
             F_STR("log_level", option_text(fresh, CONFIG_log_level)));
}

/* After the loops have ended: what is left has no thread any more. */
static void teardown(struct server *s)
{
    server__free_io_loops(s);
    signals_stop(s->signals);
    kafka_door_free(s->kafka);
    grpc_door_free(s->grpc);
    http_server_free(s->http);
    broker_free(s->broker);
    workers_stop(s->workers);
    meta_close(s->meta);
    loop_free(s->core);
    data_dir_close(s->dir);
    free(s->dir_absolute);
    buf_fini(&s->topic_defaults);
}

static void init(struct server *s, const struct server_opts *opts)
{
    s->opts = *opts;
    s->started_ns = clock_monotonic_ns(&clock_real);
    s->started_wall_ms = clock_wall_ms(&clock_real);
    atomic_store(&s->is_quiet, true); /* nobody has been served yet: a stop loses nothing */
    s->stop = (struct op){.run = run_stop, .done = stop_done, .phase = STOP_DOORS};
    s->begin_stop.run = begin_stop;
    s->kafka_stop.run = run_kafka_stop;
    s->kafka_stopped.run = run_kafka_stopped;
    s->grpc_stop.run = run_grpc_stop;
    s->grpc_stopped.run = run_grpc_stopped;
    s->resume_stop.run = resume_stop;
}

sl_err server_run(const struct server_opts *opts, struct sl_fault *fault)
{
    struct server *s = sl_new(struct server);
    init(s, opts);
    signals_block();
    sl_err err = start(s, fault);
    if (err == SL_OK) {
        start_trimming(s);
        announce(s);
    } else if (s->core) {
        loop_post(s->core, &s->begin_stop); /* what was opened is closed as in any stop */
    }
    if (s->core)
        loop_run(s->core);
    teardown(s);
    if (err == SL_OK)
        LOG_INFO("server.stopped", "stopped cleanly");
    sl_free(s);
    return err;
}
