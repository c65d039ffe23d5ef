#include "server/metrics.h"

#include "base/alloc.h"
#include "broker/fetch.h"
#include "broker/produce.h"
#include "broker/status.h"
#include "broker/subscribe.h"
#include "grpc/grpc.h"
#include "kafka/kafka.h"
#include "server/data_dir.h"
#include "server/server_int.h"
#include "vfs/vfs.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* All that the rows read, taken once, so that a page agrees with itself. */
struct metrics_source {
    struct server *server;
    struct kafka_door_metrics kafka;
    struct grpc_door_metrics grpc;
    struct log_engine_counters log;
    struct broker_counts counts;
    struct broker_produce_counters produce;
    struct broker_fetch_counters fetch;
    struct broker_subscription_counters subscriptions;
    int64_t n_damaged, log_bytes;
    uint64_t series, series_left_out;
    size_t http_connections;
    uint64_t http_requests, max_fds;
    double uptime_s, cpu_s;
    int64_t resident_bytes, disk_free_bytes, disk_size_bytes;
};

/* ---- gathering ------------------------------------------------------------------------------ */

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* The second number of statm, in pages; 0 where there is no /proc. */
static int64_t resident_bytes(void)
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    char text[128];
    size_t n = 0;
    int64_t pages = 0;
    if (vfs_open(vfs_real(), "/proc/self/statm", VFS_READ, &f) != SL_OK ||
        vfs_pread(f, text, sizeof text, 0, &n) != SL_OK)
        return 0;
    size_t i = 0;
    while (i < n && text[i] != ' ')
        i++;
    for (i++; i < n && text[i] >= '0' && text[i] <= '9'; i++)
        pages = pages * 10 + (text[i] - '0');
    return pages * sysconf(_SC_PAGESIZE);
}

static void gather_process(struct metrics_source *m)
{
    struct rusage usage;
    struct rlimit files;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        m->cpu_s = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        m->max_fds = files.rlim_cur;
    m->resident_bytes = resident_bytes();
}

static bool add_partition(void *arg, const struct broker_partition_status *p)
{
    struct metrics_source *m = arg;
    m->n_damaged += p->log.damaged_from >= 0;
    m->log_bytes += p->log.bytes;
    return true;
}

static void gather(struct metrics_source *m, struct server *s)
{
    struct log_space space;
    m->server = s;
    m->uptime_s = (double)(clock_monotonic_ns(&clock_real) - s->started_ns) / 1e9;
    kafka_door_metrics(s->kafka, &m->kafka);
    grpc_door_metrics(s->grpc, &m->grpc);
    s->log->ops->counters(s->log, &m->log);
    broker_counts(s->broker, &m->counts);
    broker_produce_counters(s->broker, &m->produce);
    broker_fetch_counters(s->broker, &m->fetch);
    broker_subscription_counters(s->broker, &m->subscriptions);
    broker_each_partition(s->broker, add_partition, m);
    m->http_connections = http_server_connections(s->http);
    m->http_requests = http_server_requests(s->http);
    log_space(s->log, &space);
    m->disk_free_bytes = SL_MAX(space.usable_bytes, 0);
    m->disk_size_bytes = SL_MAX(space.total_bytes, 0);
    gather_process(m);
}

/* ---- printing ------------------------------------------------------------------------------- */

void metrics_print_label(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '\\' || c == '"')
            (void)buf_printf(out, "\\%c", c);
        else if (c == '\n')
            (void)buf_append(out, "\\n", 2);
        else
            write_u8(out, c < ' ' || c >= 0x7f ? '?' : c);
    }
}

static void print_head(struct buf *out, const char *name, const char *kind, const char *help)
{
    (void)buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* Whole numbers stay whole up to 2^53. */
static void print_value(struct buf *out, double value)
{
    if (value >= -9e15 && value <= 9e15 && (double)(int64_t)value == value)
        (void)buf_printf(out, " %lld\n", (long long)value);
    else
        (void)buf_printf(out, " %.9g\n", value);
}

static void print_scalar(struct buf *out, const char *name, const char *kind, const char *help,
                         double value)
{
    print_head(out, name, kind, help);
    (void)buf_append(out, name, strlen(name));
    print_value(out, value);
}

static void print_api_counter(const struct metrics_source *m, struct buf *out, const char *name,
                              const char *help, size_t field)
{
    print_head(out, name, "counter", help);
    for (size_t i = 0; i < m->kafka.n_apis; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&m->kafka.apis[i] + field, sizeof value);
        (void)buf_printf(out, "%s{api=\"%s\"} %llu\n", name, m->kafka.apis[i].name,
                         (unsigned long long)value);
    }
}

static void print_histogram(struct buf *out, const char *name, const struct kafka_api_metrics *api)
{
    uint64_t count = 0;
    for (size_t i = 0; i < KAFKA_LATENCY_BUCKETS; i++) {
        count += api->latency[i];
        if (i + 1 < KAFKA_LATENCY_BUCKETS) /* the last one also holds what is above its bound */
            (void)buf_printf(out, "%s_bucket{api=\"%s\",le=\"%.9g\"} %llu\n", name, api->name,
                             (double)kafka_latency_bounds_ns[i] / 1e9, (unsigned long long)count);
    }
    (void)buf_printf(out, "%s_bucket{api=\"%s\",le=\"+Inf\"} %llu\n", name, api->name,
                     (unsigned long long)count);
    (void)buf_printf(out, "%s_sum{api=\"%s\"} %.9g\n", name, api->name,
                     (double)api->latency_ns_sum / 1e9);
    (void)buf_printf(out, "%s_count{api=\"%s\"} %llu\n", name, api->name,
                     (unsigned long long)count);
}

/* APIs that nobody has called would cost 24 lines each for nothing. */
static void print_api_histogram(const struct metrics_source *m, struct buf *out, const char *name,
                                const char *help)
{
    print_head(out, name, "histogram", help);
    for (size_t i = 0; i < m->kafka.n_apis; i++)
        if (m->kafka.apis[i].requests)
            print_histogram(out, name, &m->kafka.apis[i]);
}

struct lag_page {
    struct metrics_source *m;
    struct buf *out;
    const char *name;
};

static bool print_one_lag(void *arg, const struct broker_group_lag *lag)
{
    struct lag_page *page = arg;
    if (page->m->series++ >= METRICS_SERIES_MAX) {
        page->m->series_left_out++;
        return true;
    }
    (void)buf_printf(page->out, "%s{group=\"", page->name);
    metrics_print_label(lag->group, page->out);
    (void)buf_printf(page->out, "\",topic=\"");
    metrics_print_label(slice_str(lag->topic), page->out);
    (void)buf_printf(page->out, "\"} %lld\n", (long long)lag->records);
    return true;
}

static void print_lag(struct metrics_source *m, struct buf *out, const char *name)
{
    struct lag_page page = {m, out, name};
    broker_each_group_lag(m->server->broker, print_one_lag, &page);
}

/* Methods that were called, by how calls ended. */
static void print_grpc_calls(struct metrics_source *m, struct buf *out, const char *name)
{
    for (size_t i = 0; i < m->grpc.n_methods; i++) {
        const struct grpc_method_metrics *x = &m->grpc.methods[i];
        for (unsigned status = 0; status < GRPC_STATUSES; status++)
            if (x->calls[status])
                (void)buf_printf(out, "%s{service=\"%s\",method=\"%s\",status=\"%s\"} %llu\n", name,
                                 x->service, x->method, grpc_status_name(status),
                                 (unsigned long long)x->calls[status]);
    }
}

static void print_grpc_seconds(struct metrics_source *m, struct buf *out, const char *name)
{
    for (size_t i = 0; i < m->grpc.n_methods; i++) {
        const struct grpc_method_metrics *x = &m->grpc.methods[i];
        if (x->latency_ns_sum)
            (void)buf_printf(out, "%s{service=\"%s\",method=\"%s\"} %.9g\n", name, x->service,
                             x->method, (double)x->latency_ns_sum / 1e9);
    }
}

static void print_build(struct metrics_source *m, struct buf *out, const char *name)
{
    (void)buf_printf(out, "%s{version=\"%s\"} 1\n", name, SLUICE_VERSION);
}

void metrics_print(struct server *s, struct buf *out)
{
    struct metrics_source *m = sl_new(struct metrics_source);
    gather(m, s);
#define GAUGE(name, value, help)   print_scalar(out, #name, "gauge", help, (double)(value));
#define COUNTER(name, value, help) print_scalar(out, #name, "counter", help, (double)(value));
#define API_COUNTER(name, field, help)                                                             \
    print_api_counter(m, out, #name, help, offsetof(struct kafka_api_metrics, field));
#define API_HISTOGRAM(name, help) print_api_histogram(m, out, #name, help);
#define LABELED(name, kind, labels, print, help)                                                   \
    print_head(out, #name, #kind, help);                                                           \
    print(m, out, #name);
#include "server/metrics.def"
#undef GAUGE
#undef COUNTER
#undef API_COUNTER
#undef API_HISTOGRAM
#undef LABELED
    sl_free(m);
}

void metrics_print_page(struct buf *out)
{
    static const struct {
        const char *name, *kind, *labels, *help;
    } rows[] = {
#define GAUGE(name, value, help)                 {#name, "gauge", "", help},
#define COUNTER(name, value, help)               {#name, "counter", "", help},
#define API_COUNTER(name, field, help)           {#name, "counter", "api", help},
#define API_HISTOGRAM(name, help)                {#name, "histogram", "api, le", help},
#define LABELED(name, kind, labels, print, help) {#name, #kind, labels, help},
#include "server/metrics.def"
#undef GAUGE
#undef COUNTER
#undef API_COUNTER
#undef API_HISTOGRAM
#undef LABELED
    };
    (void)buf_printf(out,
                     "# Metrics\n\n<!-- Made by `build/sluice metrics-docs`; edit "
                     "src/server/metrics.def instead. -->\n\n"
                     "`GET /metrics` on the HTTP listener, in Prometheus' text format. Names that "
                     "clients choose\n(topics, groups) make at most %d series.\n\n"
                     "| Metric | Kind | Labels | |\n|---|---|---|---|\n",
                     METRICS_SERIES_MAX);
    for (size_t i = 0; i < SL_ARRAY_LEN(rows); i++)
        (void)buf_printf(out, "| `%s` | %s | %s | %s |\n", rows[i].name, rows[i].kind,
                         rows[i].labels, rows[i].help);
}
