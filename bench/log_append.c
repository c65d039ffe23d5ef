/* Append throughput of an engine per path, as a ratio to raw writes with fdatasync in the
 * same run: take the ratios, not the megabytes.
 *
 *   log_append DIR [SECONDS [ROW [ENGINE]]]
 *
 * DIR is made and must not exist. Rows: partitions x batch bytes, appends in flight; batches of
 * 1 KiB have one record. ENGINE: local or sqlite. */
#include "base/alloc.h"
#include "loop/loop.h"
#include "meta/metastore.h"
#include "record/builder.h"
#include "storage/log_engine.h"
#include "vfs/vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct row {
    const char *name;
    uint32_t partitions;
    size_t batch_bytes;
    uint32_t in_flight;
};

static const struct row rows[] = {
    {"1 partition,    64 KiB batches (direct)", 1, 64 << 10, 32},
    {"4 partitions,   64 KiB batches (direct)", 4, 64 << 10, 64},
    {"8 partitions,   64 KiB batches (direct)", 8, 64 << 10, 64},
    {"8 partitions,  256 KiB batches (direct)", 8, 256 << 10, 64},
    {"100 partitions, 16 KiB batches (journal)", 100, 16 << 10, 400},
    {"1000 partitions, 1 KiB batches (journal)", 1000, 1 << 10, 2000},
    {"20000 partitions, 1 KiB batches (900 files)", 20000, 1 << 10, 4000},
    {"1 partition,     1 KiB batches, 1 in flight", 1, 1 << 10, 1},
    {"1 partition,     1 KiB batches, 256 in flight", 1, 1 << 10, 256},
    {"16 partitions,   1 KiB batches, 256 in flight", 16, 1 << 10, 256},
};

struct bench;

struct slot {
    struct bench *bench;
    struct log_append append;
    struct log_batch batch;
};

struct bench {
    struct loop *loop;
    struct log_engine *engine;
    struct log_part **parts;
    struct slot *slots;
    const struct row *row;
    struct task start;
    struct timer stop;
    struct log_done closed, topic_written;
    enum log_engine_kind kind;
    const char *dir;
    struct slice template;
    uint64_t bytes, appends;
    uint32_t outstanding, next_part;
    int64_t started_ns, ended_ns, seconds;
    size_t row_index;
    bool one_row;
    bool stopping;
    double raw_mb, cpu_s;
};

static void next_row(struct bench *b);

static double cpu_seconds(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct slice make_batch(size_t bytes)
{
    struct batch_builder *builder = batch_builder_new(CODEC_NONE, 64 << 20);
    char *value = sl_alloc(1, bytes);
    memset(value, 'x', bytes);
    for (size_t left = bytes; left > 200;) { /* records of about 1 KiB */
        size_t n = SL_MIN(left, (size_t)1024) - 100;
        struct new_record r = {.timestamp_ms = 1, .value = slice_of(value, n)};
        if (batch_builder_add(builder, &r) != SL_OK)
            abort();
        left -= SL_MIN(left, (size_t)1024);
    }
    struct slice s;
    if (batch_builder_finish(builder, &batch_producer_none, &s) != SL_OK)
        abort();
    batch_builder_free(builder);
    sl_free(value);
    return s;
}

static void issue(struct slot *s);

static void on_append(struct log_append *a)
{
    struct slot *s = SL_CONTAINER_OF(a, struct slot, append);
    struct bench *b = s->bench;
    if (a->err != SL_OK) {
        (void)fprintf(stderr, "append: %s\n", sl_err_text(a->err));
        exit(1);
    }
    b->bytes += s->batch.bytes.len;
    b->appends++;
    slice_unref(&s->batch.bytes);
    b->outstanding--;
    if (!b->stopping)
        issue(s);
    else if (b->outstanding == 0)
        next_row(b);
}

/* Each append has a batch of its own, as from a socket: the copy stands for the receive. */
static void issue(struct slot *s)
{
    struct bench *b = s->bench;
    s->batch.bytes = slice_copy(b->template.data, b->template.len);
    if (batch_peek(s->batch.bytes, &s->batch.info) != SL_OK)
        abort();
    s->append = (struct log_append){.part = b->parts[b->next_part++ % b->row->partitions],
                                    .batches = &s->batch,
                                    .n_batches = 1,
                                    .durability = LOG_DURABLE,
                                    .done = on_append};
    b->outstanding++;
    log_append(b->engine, &s->append);
}

static void on_stop(struct timer *t)
{
    struct bench *b = SL_CONTAINER_OF(t, struct bench, stop);
    b->ended_ns = clock_monotonic_ns(&clock_real);
    b->cpu_s = cpu_seconds() - b->cpu_s;
    b->stopping = true;
}

static void report(struct bench *b)
{
    double s = (double)(b->ended_ns - b->started_ns) / 1e9;
    double mb = (double)b->bytes / 1e6 / s;
    struct log_engine_counters c;
    log_counters(b->engine, &c);
    printf("%-44s %6.0f MB/s %5.2f of raw, %7.0f appends/s, %5.2f cpu s/GB; %llu journal %llu "
           "direct\n",
           b->row->name, mb, mb / b->raw_mb, (double)b->appends / s,
           b->cpu_s / ((double)b->bytes / 1e9), (unsigned long long)c.journal_groups,
           (unsigned long long)c.direct_groups);
    (void)fflush(stdout);
}

static void on_closed(struct log_done *d)
{
    struct bench *b = SL_CONTAINER_OF(d, struct bench, closed);
    loop_stop(b->loop);
}

static void begin_row(struct bench *b)
{
    b->row = &rows[b->row_index];
    b->template = make_batch(b->row->batch_bytes);
    b->slots = sl_new_array(struct slot, b->row->in_flight);
    b->bytes = b->appends = 0;
    b->stopping = false;
    b->cpu_s = cpu_seconds();
    b->started_ns = clock_monotonic_ns(&clock_real);
    timer_start(&b->stop, b->seconds * 1000);
    for (uint32_t i = 0; i < b->row->in_flight; i++) {
        b->slots[i].bench = b;
        issue(&b->slots[i]);
    }
}

static void next_row(struct bench *b)
{
    report(b);
    slice_unref(&b->template);
    sl_free(b->slots);
    if (!b->one_row && ++b->row_index < SL_ARRAY_LEN(rows)) {
        begin_row(b);
        return;
    }
    b->closed.done = on_closed;
    log_engine_close(b->engine, &b->closed);
}

/* 1 MiB writes with a sync each, into a file that has its blocks: what the journal can reach. */
static double raw_mb_per_s(const char *dir, int64_t seconds)
{
    enum { CHUNK = 1 << 20, CHUNKS = 64 };
    char path[512];
    struct vfs_file *f = NULL;
    (void)snprintf(path, sizeof path, "%s/raw", dir);
    if (vfs_open(vfs_real(), path, VFS_WRITE | VFS_CREATE, &f) != SL_OK)
        exit(1);
    uint8_t *chunk = sl_alloc(1, CHUNK);
    uint64_t n = 0;
    int64_t start = 0;
    for (;; n++) {
        if (n == CHUNKS)
            start = clock_monotonic_ns(&clock_real);
        if (n > CHUNKS && clock_monotonic_ns(&clock_real) - start > seconds * 1000000000)
            break;
        if (vfs_pwrite(f, chunk, CHUNK, (int64_t)(n % CHUNKS) * CHUNK) != SL_OK ||
            vfs_datasync(f) != SL_OK)
            exit(1);
    }
    double s = (double)(clock_monotonic_ns(&clock_real) - start) / 1e9;
    vfs_close(f);
    sl_free(chunk);
    return (double)(n - CHUNKS) * CHUNK / 1e6 / s;
}

static const struct log_topic_cfg topic_cfg = {
    .segment_bytes = 1 << 30,
    .retention_ms = -1,
    .retention_bytes = -1,
    .index_interval_bytes = 4096,
};

static const struct uuid topic_id = {.bytes = {1}};

enum { PARTS_MAX = 20000 };

static void open_parts(struct bench *b, const char *dir, uint32_t n)
{
    char path[512], id[UUID_TEXT_BYTES];
    sl_err err = SL_OK;
    struct log_topic_cfg cfg = topic_cfg;
    cfg.engine = b->kind;
    uuid_format(&topic_id, id);
    b->parts = sl_new_array(struct log_part *, n);
    for (uint32_t i = 0; err == SL_OK && i < n; i++) {
        struct log_part_id part = {i + 1, topic_id, (int32_t)i};
        (void)snprintf(path, sizeof path, "%s/topics/%s/%u", dir, id, i);
        err = vfs_mkdir(vfs_real(), path);
        b->parts[i] = log_part_open(b->engine, &part, &cfg);
    }
    if (err != SL_OK)
        exit(1);
}

static void on_topic_written(struct log_done *d)
{
    struct bench *b = SL_CONTAINER_OF(d, struct bench, topic_written);
    if (d->err != SL_OK)
        exit(1);
    open_parts(b, b->dir, PARTS_MAX);
    begin_row(b);
}

static void on_start(struct task *t)
{
    struct bench *b = SL_CONTAINER_OF(t, struct bench, start);
    const struct log_topic_spec spec = {
        .topic_id = topic_id, .number = 1, .name = "bench", .engine = b->kind};
    b->topic_written.done = on_topic_written;
    log_topic_write(b->engine, &spec, &b->topic_written);
}

int main(int argc, char **argv)
{
    struct bench b = {.seconds = 3, .kind = LOG_ENGINE_LOCAL};
    struct sl_fault fault = {0};
    struct metastore *meta = NULL;
    struct workers *workers = NULL;
    if (argc < 2 || vfs_mkdir(vfs_real(), argv[1]) != SL_OK) {
        (void)fprintf(stderr, "usage: log_append NEW-DIR [SECONDS [ROW [ENGINE]]]\n");
        return 2;
    }
    if (argc > 2)
        b.seconds = SL_MAX(strtoll(argv[2], NULL, 10), 1LL);
    if (argc > 3) /* only this one */
        b.row_index = SL_MIN((size_t)strtoul(argv[3], NULL, 10), SL_ARRAY_LEN(rows) - 1);
    b.one_row = argc > 3;
    if (argc > 4)
        b.kind = log_engine_by_name(argv[4]);
    if (b.kind == LOG_ENGINE_COUNT)
        return 2;
    b.dir = argv[1];
    b.raw_mb = raw_mb_per_s(argv[1], b.seconds);
    printf("raw: 1 MiB writes, each synced, into existing blocks: %.0f MB/s\n", b.raw_mb);
    if (loop_new(&clock_real, &b.loop) != SL_OK || workers_start(2, &workers) != SL_OK ||
        meta_sqlite_open(vfs_real(), argv[1], &fault, &meta) != SL_OK)
        return 1;
    struct log_cfg cfg = {.data_dir = argv[1]};
    struct log_env env = {.clock = &clock_real,
                          .rng = &rng_real,
                          .vfs = vfs_real(),
                          .meta = meta,
                          .loop = b.loop,
                          .workers = workers};
    if (log_open(&cfg, &env, &fault, &b.engine) != SL_OK)
        return 1;
    timer_init(&b.stop, b.loop, on_stop);
    b.start.run = on_start;
    loop_post(b.loop, &b.start);
    loop_run(b.loop);
    workers_stop(workers);
    meta_close(meta);
    loop_free(b.loop);
    sl_free(b.parts);
    return 0;
}
