/* Deliveries a second of the broker's subscriptions, without a door: the core, the local engine and
 * the metastore in one process. Every message is acknowledged, credit comes back in windows.
 *
 *   delivery DIR
 *
 * DIR is made and must not exist. The last row is the memory of many groups over one backlog. */
#include "base/alloc.h"
#include "broker/produce.h"
#include "broker/subscribe.h"
#include "broker/topics.h"
#include "loop/loop.h"
#include "meta/metastore.h"
#include "record/builder.h"
#include "storage/log_engine.h"
#include "vfs/vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { IN_FLIGHT = 16, WINDOW = 1000 };

struct row {
    const char *name, *topic;
    size_t value_bytes;
    int32_t in_a_batch;
    int64_t messages;
    int groups;       /* one stream each; the backlog is published before */
    uint32_t credits; /* of each stream; 0: as many as it takes, in windows */
};

static const struct row rows[] = {
    {"1 stream,    100 B, batches of 100", "a", 100, 100, 1000000, 1, 0},
    {"1 stream,    100 B, batches of 1", "b", 100, 1, 50000, 1, 0},
    {"1 stream,   1000 B, batches of 50", "c", 1000, 50, 300000, 1, 0},
    {"100 groups,  100 B, batches of 100", "a", 100, 100, 0, 100, 0},
    {"500 groups, 1000 B, 10 credits each", "c", 1000, 50, 0, 500, 10},
};

struct bench;

struct stream {
    struct bench *b;
    struct broker_subscribe call;
    struct subscription *s;
    char group[32];
    int64_t n;
    uint32_t left; /* of the window */
};

struct publisher {
    struct bench *b;
    struct broker_produce call;
    struct broker_produce_part part;
};

struct bench {
    struct loop *loop;
    struct broker *broker;
    struct log_engine *log;
    struct log_done log_closed;
    struct task start;
    const struct row *row;
    struct broker_create_topics create;
    struct broker_create_topic topic;
    struct publisher publishers[IN_FLIGHT];
    struct slice batch;
    int64_t to_publish, published, in_topic[256];
    struct stream *streams;
    int n_open, n_done;
    int64_t delivered, wanted, began_ns;
};

static void next_row(struct bench *b);

static void submit(struct bench *b, struct broker_call *c, void (*done)(struct broker_call *c))
{
    c->broker = b->broker;
    c->home = b->loop;
    c->who = &principal_anonymous;
    c->done = done;
    broker_submit(c);
}

static long rss_mib(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &all, &pages) != 2)
        pages = 0;
    if (f)
        (void)fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) >> 10) >> 10;
}

/* ---- streams ----------------------------------------------------------------------------------
 */

static void closed(void *arg)
{
    struct stream *s = arg;
    struct bench *b = s->b;
    if (++b->n_done == b->row->groups) {
        sl_free(b->streams);
        b->row++;
        next_row(b);
    }
}

static void end_row(struct bench *b)
{
    double seconds = (double)(clock_monotonic_ns(&clock_real) - b->began_ns) / 1e9;
    (void)printf("%-40s %10.0f deliveries/s  %5ld MiB\n", b->row->name,
                 (double)b->delivered / seconds, rss_mib());
    (void)fflush(stdout);
    for (int i = 0; i < b->row->groups; i++)
        subscription_close(b->streams[i].s, closed, &b->streams[i]);
}

static void deliver(void *arg, struct delivery *d)
{
    struct stream *s = arg;
    struct bench *b = s->b;
    const struct delivered *last = &d->items[d->n_items - 1];
    s->n += d->n_items;
    b->delivered += d->n_items;
    s->left -= d->n_items;
    if (!b->row->credits)
        subscription_ack(s->s, last->partition, last->offset, true);
    if (!b->row->credits && s->left < WINDOW / 2) {
        subscription_credit(s->s, WINDOW - s->left);
        s->left = WINDOW;
    }
    subscription_room(s->s, d->room);
    delivery_free(d);
    if (b->delivered == b->wanted)
        end_row(b);
}

static void ended(void *arg, sl_err err, const char *reason)
{
    (void)fprintf(stderr, "ended: %s: %s\n", sl_err_name(err), reason);
    exit(1);
}

static const struct subscription_events events = {deliver, ended};

static void opened(struct broker_call *c)
{
    struct stream *s =
        SL_CONTAINER_OF(SL_CONTAINER_OF(c, struct broker_subscribe, call), struct stream, call);
    struct bench *b = s->b;
    if (s->call.err != SL_OK)
        exit(1);
    s->s = s->call.ret;
    if (++b->n_open < b->row->groups)
        return;
    b->began_ns = clock_monotonic_ns(&clock_real);
    for (int i = 0; i < b->row->groups; i++) {
        b->streams[i].left = b->row->credits ? b->row->credits : WINDOW;
        subscription_credit(b->streams[i].s, b->streams[i].left);
    }
}

static void subscribe_all(struct bench *b)
{
    const struct row *r = b->row;
    int64_t each = r->credits ? r->credits : b->in_topic[(unsigned char)r->topic[0]];
    b->streams = sl_new_array(struct stream, (size_t)r->groups);
    b->n_open = b->n_done = 0;
    b->delivered = 0;
    b->wanted = each * r->groups;
    for (int i = 0; i < r->groups; i++) {
        struct stream *s = &b->streams[i];
        s->b = b;
        (void)snprintf(s->group, sizeof s->group, "g%d-%d", (int)(r - rows), i);
        broker_subscribe_init(&s->call);
        s->call.topic = slice_str(r->topic);
        s->call.group = slice_str(s->group);
        s->call.from = SUBSCRIBE_EARLIEST;
        s->call.room = 256 << 10;
        s->call.events = &events;
        s->call.arg = s;
        submit(b, &s->call.call, opened);
    }
}

/* ---- the backlog ------------------------------------------------------------------------------
 */

static void publish(struct publisher *p);

static void published(struct broker_call *c)
{
    struct publisher *p =
        SL_CONTAINER_OF(SL_CONTAINER_OF(c, struct broker_produce, call), struct publisher, call);
    struct bench *b = p->b;
    if (p->part.err != SL_OK)
        exit(1);
    slice_unref(&p->part.records);
    b->published += b->row->in_a_batch;
    b->in_topic[(unsigned char)b->row->topic[0]] += b->row->in_a_batch;
    if (b->published == b->row->messages)
        subscribe_all(b);
    else
        publish(p);
}

static void publish(struct publisher *p)
{
    struct bench *b = p->b;
    if (b->to_publish <= 0)
        return;
    b->to_publish -= b->row->in_a_batch;
    struct block *copy = block_new(b->batch.len);
    memcpy(block_data(copy), b->batch.data, b->batch.len);
    p->part = (struct broker_produce_part){.topic = slice_str(b->row->topic),
                                           .records = slice_of_block(copy, 0, b->batch.len)};
    block_unref(copy);
    p->call = (struct broker_produce){
        .source = 1, .acks = 1, .timeout_ms = 60000, .parts = &p->part, .n_parts = 1};
    broker_produce_init(&p->call);
    submit(b, &p->call.call, published);
}

static void make_batch(struct bench *b)
{
    struct batch_builder *builder = batch_builder_new(CODEC_NONE, 16 << 20);
    uint8_t *value = sl_alloc(1, b->row->value_bytes);
    struct new_record r = {.timestamp_ms = 1700000000000,
                           .value = slice_of(value, b->row->value_bytes)};
    slice_unref(&b->batch);
    for (int32_t i = 0; i < b->row->in_a_batch; i++)
        if (batch_builder_add(builder, &r) != SL_OK)
            exit(1);
    if (batch_builder_finish(builder, &batch_producer_none, &b->batch) != SL_OK)
        exit(1);
    batch_builder_free(builder);
    sl_free(value);
}

static void created(struct broker_call *c)
{
    struct bench *b = SL_CONTAINER_OF(SL_CONTAINER_OF(c, struct broker_create_topics, call),
                                      struct bench, create);
    if (b->topic.err != SL_OK)
        exit(1);
    broker_create_topics_fini(&b->create);
    make_batch(b);
    b->to_publish = b->row->messages;
    b->published = 0;
    for (int i = 0; i < IN_FLIGHT; i++) {
        b->publishers[i].b = b;
        publish(&b->publishers[i]);
    }
}

/* ---- rows -------------------------------------------------------------------------------------
 */

static void log_closed(struct log_done *d)
{
    loop_stop(SL_CONTAINER_OF(d, struct bench, log_closed)->loop);
}

static void broker_closed(void *arg)
{
    struct bench *b = arg;
    broker_free(b->broker);
    b->log_closed.done = log_closed;
    log_engine_close(b->log, &b->log_closed);
}

static void next_row(struct bench *b)
{
    if (b->row == rows + SL_ARRAY_LEN(rows)) {
        broker_close(b->broker, broker_closed, b);
        return;
    }
    if (!b->row->messages) {
        subscribe_all(b);
        return;
    }
    b->topic = (struct broker_create_topic){
        .name = slice_str(b->row->topic), .n_partitions = 1, .replication_factor = 1};
    b->create = (struct broker_create_topics){.topics = &b->topic, .n_topics = 1};
    broker_create_topics_init(&b->create);
    submit(b, &b->create.call, created);
}

static void start(struct task *t)
{
    next_row(SL_CONTAINER_OF(t, struct bench, start));
}

int main(int argc, char **argv)
{
    static struct bench b = {.row = rows};
    struct sl_fault fault = {0};
    struct metastore *meta;
    struct workers *workers;
    if (argc < 2 || vfs_mkdir(vfs_real(), argv[1]) != SL_OK) {
        (void)fprintf(stderr, "usage: delivery DIR (made here)\n");
        return 2;
    }
    if (loop_new(&clock_real, &b.loop) != SL_OK || workers_start(2, &workers) != SL_OK ||
        meta_sqlite_open(vfs_real(), argv[1], &fault, &meta) != SL_OK)
        return 1;
    struct log_env log_env = {.clock = &clock_real,
                              .rng = &rng_real,
                              .vfs = vfs_real(),
                              .meta = meta,
                              .loop = b.loop,
                              .workers = workers};
    struct log_cfg log_cfg = {.data_dir = argv[1], .ballast_bytes = UINT64_MAX};
    struct broker_cfg cfg = {.num_partitions = 1,
                             .partitions_max = 1000,
                             .message_bytes_max = 8 << 20,
                             .offsets_retention_ms = 1 << 30,
                             .fetch_sessions_max = 10};
    struct broker_env env = {
        .clock = &clock_real, .rng = &rng_real, .loop = b.loop, .meta = meta, .workers = workers};
    if (log_local_open(&log_cfg, &log_env, &fault, &b.log) != SL_OK)
        return 1;
    env.log = b.log;
    if (broker_open(&cfg, &env, &fault, &b.broker) != SL_OK)
        return 1;
    b.start.run = start;
    loop_post(b.loop, &b.start);
    loop_run(b.loop);
    slice_unref(&b.batch);
    workers_stop(workers);
    meta_close(meta);
    loop_free(b.loop);
    return 0;
}
