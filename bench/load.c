#include "load.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES_MAX = 4000000, STEP_NS = 100 };

static const struct option names[] = {
    {"bootstrap", required_argument, NULL, 'b'},
    {"topic", required_argument, NULL, 't'},
    {"codec", required_argument, NULL, 'z'},
    {"records", required_argument, NULL, 'n'},
    {"size", required_argument, NULL, 's'},
    {"rate", required_argument, NULL, 'r'},
    {"seconds", required_argument, NULL, 'S'},
    {"linger-ms", required_argument, NULL, 'l'},
    {"batch-bytes", required_argument, NULL, 'B'},
    {"partitions", required_argument, NULL, 'p'},
    {"connections", required_argument, NULL, 'c'},
    {"inflight", required_argument, NULL, 'i'},
    {"acks", required_argument, NULL, 'a'},
    {"server-pid", required_argument, NULL, 'P'},
    {0},
};

static void usage(const char *program, const char *modes)
{
    (void)fprintf(stderr, "usage: %s MODE [--option value ...]\nmodes: %s\noptions:", program,
                  modes);
    for (const struct option *o = names; o->name; o++)
        (void)fprintf(stderr, " --%s", o->name);
    (void)fprintf(stderr, "\n");
    exit(2);
}

static int64_t *number_of(struct load_opts *o, int key)
{
    switch (key) {
    case 'n':
        return &o->records;
    case 's':
        return &o->size;
    case 'r':
        return &o->rate;
    case 'S':
        return &o->seconds;
    case 'l':
        return &o->linger_ms;
    case 'B':
        return &o->batch_bytes;
    case 'p':
        return &o->partitions;
    case 'c':
        return &o->connections;
    case 'i':
        return &o->inflight;
    default:
        return NULL;
    }
}

static bool set_option(struct load_opts *o, int key, const char *text)
{
    int64_t *number = number_of(o, key);
    if (number)
        *number = strtoll(text, NULL, 10);
    else if (key == 'b')
        o->bootstrap = text;
    else if (key == 't')
        o->topic = text;
    else if (key == 'z')
        o->codec = text;
    else if (key == 'a')
        o->acks = (int)strtol(text, NULL, 10);
    else if (key == 'P')
        o->server_pid = (int)strtol(text, NULL, 10);
    else
        return false;
    return true;
}

void load_parse(int argc, char **argv, const char *modes, struct load_opts *ret)
{
    *ret = (struct load_opts){.bootstrap = "127.0.0.1:9092",
                              .topic = "bench",
                              .codec = "none",
                              .records = 1000000,
                              .size = 1024,
                              .seconds = 10,
                              .linger_ms = 5,
                              .batch_bytes = 131072,
                              .partitions = 1,
                              .connections = 8,
                              .inflight = 16,
                              .acks = -1};
    if (argc < 2 || argv[1][0] == '-')
        usage(argv[0], modes);
    ret->mode = argv[1];
    optind = 2;
    for (int key; (key = getopt_long(argc, argv, "", names, NULL)) != -1;)
        if (!set_option(ret, key, optarg))
            usage(argv[0], modes);
}

int64_t load_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double load_own_cpu_s(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double read_cpu_s(int pid)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    text[n] = 0;
    char *field = strrchr(text, ')'); /* the name may hold blanks: count from behind it */
    for (int i = 0; field && i < 12; i++)
        field = strchr(field + 1, ' ');
    if (!field)
        return 0;
    char *end;
    unsigned long long user = strtoull(field + 1, &end, 10);
    unsigned long long system = strtoull(end, NULL, 10);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

struct load_usage load_usage_of(int pid)
{
    struct load_usage u = {0};
    if (pid <= 0)
        return u;
    u.cpu_s = read_cpu_s(pid);
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            u.rss_kb = strtoll(line + 6, NULL, 10);
        if (strncmp(line, "VmHWM:", 6) == 0)
            u.rss_peak_kb = strtoll(line + 6, NULL, 10);
    }
    if (f)
        (void)fclose(f);
    return u;
}

void samples_init(struct samples *s, size_t max)
{
    *s = (struct samples){.values = calloc(max, sizeof(uint32_t)), .max = max, .stride = 1};
    if (!s->values)
        exit(1);
}

void samples_add(struct samples *s, int64_t ns)
{
    if (s->seen++ % s->stride != 0)
        return;
    if (s->n == s->max) {
        for (size_t i = 0; i < s->max / 2; i++)
            s->values[i] = s->values[i * 2];
        s->n = s->max / 2;
        s->stride *= 2;
    }
    int64_t steps = ns / STEP_NS;
    s->values[s->n++] = steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

double samples_ms(struct samples *s, double quantile)
{
    if (s->n == 0)
        return 0;
    qsort(s->values, s->n, sizeof *s->values, by_value);
    size_t i = (size_t)((double)(s->n - 1) * quantile);
    return (double)s->values[i] * STEP_NS / 1e6;
}

void samples_fini(struct samples *s)
{
    free(s->values);
    *s = (struct samples){0};
}

void load_begin(struct load_run *run, const struct load_opts *o)
{
    *run = (struct load_run){0};
    samples_init(&run->latency, SAMPLES_MAX);
    run->server_begin = load_usage_of(o->server_pid);
    run->own_cpu_begin = load_own_cpu_s();
    run->begin_ns = load_now_ns();
}

void load_report(struct load_run *run, const struct load_opts *o)
{
    double seconds = (double)(load_now_ns() - run->begin_ns) / 1e9;
    double own_cpu = load_own_cpu_s() - run->own_cpu_begin;
    struct load_usage server = load_usage_of(o->server_pid);
    double gb = (double)run->bytes / 1e9;
    printf("{\"mode\":\"%s\",\"records\":%lld,\"errors\":%lld,\"seconds\":%.3f,"
           "\"records_per_s\":%.0f,\"mb_per_s\":%.2f",
           o->mode, (long long)run->records, (long long)run->errors, seconds,
           (double)run->records / seconds, (double)run->bytes / 1e6 / seconds);
    if (run->latency.n)
        printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f",
               samples_ms(&run->latency, 0.5), samples_ms(&run->latency, 0.99),
               samples_ms(&run->latency, 0.999), samples_ms(&run->latency, 1));
    printf(",\"client_cpu_s\":%.3f", own_cpu);
    if (o->server_pid) {
        double cpu = server.cpu_s - run->server_begin.cpu_s;
        printf(",\"server_cpu_s\":%.3f,\"server_cpu_s_per_gb\":%.3f,\"server_cores\":%.3f,"
               "\"server_rss_kb\":%lld,\"server_rss_peak_kb\":%lld",
               cpu, gb > 0 ? cpu / gb : 0, cpu / seconds, (long long)server.rss_kb,
               (long long)server.rss_peak_kb);
    }
    printf("}\n");
    samples_fini(&run->latency);
}

void load_fill(uint8_t *data, size_t len)
{
    /* every second 8 bytes are noise: about 2:1 for the usual codecs */
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        data[i] = i & 8 ? (uint8_t)x : (uint8_t)('a' + i % 8);
    }
}
