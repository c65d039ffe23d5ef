#include "base/alloc.h"
#include "base/clock.h"
#include "ctl/lookup.h"
#include "ctl/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    ROUND_TRIPS = 20,
    SYNCS = 40,
    SYNC_BYTES = 4096,
    ROUND_TRIP_SLOW_US = 20000,
    SYNC_SLOW_US = 20000,
    SYNC_NONE_US = 20, /* faster than any device: something only says that it synced */
    FILES_FEW = 16384,
    FREE_BYTES_FEW = 1 << 30,
};

enum verdict { UNKNOWN, GOOD, WARN, BAD };

struct report {
    struct ctl *c;
    json_t *rows;
    enum verdict worst;
};

static void add(struct report *r, const char *check, enum verdict v, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void add(struct report *r, const char *check, enum verdict v, const char *format, ...)
{
    static const char *const names[] = {"unknown", "good", "warning", "bad"};
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->worst = SL_MAX(r->worst, v);
    json_array_append_new(
        r->rows, json_pack("{s:s, s:s, s:s}", "check", check, "result", names[v], "detail", text));
}

static int64_t now_us(void)
{
    return clock_monotonic_ns(&clock_real) / 1000;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t median(int64_t *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return values[n / 2];
}

/* ---- the broker
 * --------------------------------------------------------------------------------------- */

static struct client_cfg cfg_of(const struct ctl *c, const char *bootstrap)
{
    return (struct client_cfg){bootstrap, "sluicectl", ctl_timeout_ms(c)};
}

/* What clients are told is where they connect next: the mistake that is made most often. */
static void check_advertised(struct report *r)
{
    for (size_t i = 0; i < client_n_nodes(r->c->client); i++) {
        struct client_node node = client_node(r->c->client, i);
        char address[300];
        struct sl_fault fault = {0};
        bool is_v6 = strchr(node.host, ':') != NULL;
        (void)snprintf(address, sizeof address, is_v6 ? "[%s]:%d" : "%s:%d", node.host, node.port);
        struct client_cfg cfg = cfg_of(r->c, address);
        struct client *other = NULL;
        sl_err err = client_open(&cfg, &fault, &other);
        client_close(other);
        if (err == SL_OK)
            add(r, "advertised address", GOOD, "broker %d is at %s, as it says", node.id, address);
        else
            add(r, "advertised address", BAD,
                "broker %d tells clients to use %s, and %s; set its advertised address", node.id,
                address, fault.what);
    }
}

static void check_round_trip(struct report *r)
{
    int64_t us[ROUND_TRIPS];
    struct kafka_metadata_response answer;
    for (size_t i = 0; i < ROUND_TRIPS; i++) {
        const char *const *none = (const char *const[]){NULL};
        int64_t start_us = now_us();
        if (topic_metadata(r->c, none, 0, &answer) != CTL_OK) {
            add(r, "round trip", BAD, "the broker stopped answering");
            return;
        }
        us[i] = now_us() - start_us;
    }
    int64_t middle = median(us, ROUND_TRIPS);
    add(r, "round trip", middle > ROUND_TRIP_SLOW_US ? WARN : GOOD,
        "%lld us in the middle, %lld us at most%s", (long long)middle,
        (long long)us[ROUND_TRIPS - 1],
        middle > ROUND_TRIP_SLOW_US ? "; clients far away want larger batches (linger.ms)" : "");
}

static void check_broker(struct report *r)
{
    struct client_cfg cfg = cfg_of(r->c, ctl_bootstrap(r->c));
    struct sl_fault fault = {0};
    if (client_open(&cfg, &fault, &r->c->client) != SL_OK) {
        add(r, "address", BAD,
            "%s; start a broker with 'sluice serve' or name one with --bootstrap", fault.what);
        return;
    }
    add(r, "address", GOOD, "%s answers as a Kafka broker, cluster %s",
        client_address(r->c->client), client_cluster_id(r->c->client));
    check_advertised(r);
    check_round_trip(r);
}

/* ---- this machine
 * --------------------------------------------------------------------------------------- */

/* 0 or an errno. */
static int measure_syncs(int fd, int64_t us[SYNCS])
{
    static const char bytes[SYNC_BYTES];
    for (size_t i = 0; i < SYNCS; i++) {
        int64_t start_us = now_us();
        if (pwrite(fd, bytes, sizeof bytes, (off_t)(i * sizeof bytes)) != (ssize_t)sizeof bytes)
            return errno ? errno : ENOSPC;
        if (fdatasync(fd) != 0)
            return errno;
        us[i] = now_us() - start_us;
    }
    return 0;
}

static void judge_syncs(struct report *r, int64_t us[SYNCS])
{
    int64_t middle = median(us, SYNCS), slow = us[SYNCS - 2];
    const char *advice = "";
    enum verdict v = GOOD;
    if (middle > SYNC_SLOW_US) {
        v = WARN;
        advice = "; acks=all waits for it: use a faster disk for the data directory";
    } else if (middle < SYNC_NONE_US) {
        v = WARN;
        advice = "; no disk is so fast: a power cut may lose what was acknowledged";
    }
    add(r, "disk sync", v, "%lld us in the middle, %lld us at the 95th percentile%s",
        (long long)middle, (long long)slow, advice);
}

/* The directory may be the one that the broker told of itself: that it is not here, or not ours to
 * write, is no fault of the broker then. */
static void check_sync(struct report *r, const char *dir, bool is_named)
{
    int64_t us[SYNCS];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int failed = fd < 0 ? errno : measure_syncs(fd, us);
    if (fd >= 0)
        (void)close(fd); /* it has no name: nothing remains */
    if (!failed)
        judge_syncs(r, us);
    else if (is_named)
        add(r, "disk sync", BAD, "cannot write in %s: %s", dir, strerrordesc_np(failed));
    else
        add(r, "disk sync", UNKNOWN,
            "the broker writes to %s, here: %s; run this on its machine as its user, or name a "
            "directory with --data-dir",
            dir, strerrordesc_np(failed));
}

static void check_space(struct report *r, const char *dir)
{
    struct statvfs s;
    char text[32];
    if (statvfs(dir, &s) != 0)
        return; /* the sync check has said it */
    int64_t bytes = (int64_t)(s.f_bavail * s.f_frsize);
    out_size(bytes, text);
    add(r, "disk space", bytes < FREE_BYTES_FEW ? WARN : GOOD, "%s free in %s", text, dir);
}

/* Where the first broker says that it keeps its log; NULL: it does not say. */
static const char *told_dir(struct ctl *c)
{
    struct kafka_describe_log_dirs_request request = {.topics_is_null = true};
    struct kafka_describe_log_dirs_response answer;
    if (!c->client || client_n_nodes(c->client) == 0)
        return NULL;
    int32_t node = client_node(c->client, 0).id;
    if (ctl_ask(c, node, KAFKA_API_DESCRIBE_LOG_DIRS, CLIENT_VERSION_NEWEST, &request, &answer) !=
        CTL_OK)
        return NULL;
    return answer.n_results && answer.results[0].log_dir.len ? text_of(c, answer.results[0].log_dir)
                                                             : NULL;
}

static void check_disk(struct report *r)
{
    const char *named = ctl_text(r->c, "data-dir", NULL);
    const char *dir = named ? named : told_dir(r->c);
    if (!dir) {
        add(r, "disk sync", UNKNOWN, "not measured; name a directory with --data-dir");
        return;
    }
    check_sync(r, dir, named != NULL);
    check_space(r, dir);
}

static void check_limits(struct report *r)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return; /* does not happen for a limit that exists */
    bool few = files.rlim_max < FILES_FEW;
    add(r, "open files", few ? WARN : GOOD, "up to %llu for processes started from here%s",
        (unsigned long long)files.rlim_max,
        few ? "; each connection takes one: raise it (ulimit -n, LimitNOFILE=)" : "");
}

int ctl_doctor(struct ctl *c)
{
    static const struct out_column columns[] = {
        {"check", "CHECK"}, {"result", "RESULT"}, {"detail", "DETAIL"}, {0}};
    struct report r = {.c = c, .rows = json_array()};
    check_broker(&r);
    check_disk(&r);
    check_limits(&r);
    out_rows(c, r.rows, columns, "");
    return r.worst != BAD ? CTL_OK : c->client ? CTL_FAILED : CTL_UNREACHABLE;
}
