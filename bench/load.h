/* What the load programs share: time, latency samples, figures of another process, one JSON line.
 */
#ifndef SLUICE_BENCH_LOAD_H
#define SLUICE_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Settings of every program, one option each (load_parse); a program uses those that it needs. */
struct load_opts {
    const char *mode, *bootstrap, *topic, *codec;
    int64_t records, size, rate, seconds, linger_ms, batch_bytes, partitions, connections, inflight;
    int acks, server_pid;
};

/* Parses argv (mode first); prints the usage and exits 2 when it cannot. */
void load_parse(int argc, char **argv, const char *modes, struct load_opts *ret);

int64_t load_now_ns(void); /* monotonic */
double load_own_cpu_s(void);

/* CPU seconds and resident kB of a process, from /proc; zeros when pid is 0 or gone. */
struct load_usage {
    double cpu_s;
    int64_t rss_kb, rss_peak_kb;
};
struct load_usage load_usage_of(int pid);

/* Latencies in 100 ns steps, exact up to `max` samples, then every second one and so on. */
struct samples {
    uint32_t *values;
    size_t n, max;
    uint64_t stride, seen;
};
void samples_init(struct samples *s, size_t max);
void samples_add(struct samples *s, int64_t ns);
double samples_ms(struct samples *s, double quantile); /* sorts */
void samples_fini(struct samples *s);

/* One run: start, work, then the JSON line with rates, latencies (if any) and CPU per GB. */
struct load_run {
    int64_t begin_ns, records, bytes, errors;
    double own_cpu_begin;
    struct load_usage server_begin;
    struct samples latency;
};
void load_begin(struct load_run *run, const struct load_opts *o);
void load_report(struct load_run *run, const struct load_opts *o);

/* Bytes that compress about 2:1, the same in every run. */
void load_fill(uint8_t *data, size_t len);

#endif
