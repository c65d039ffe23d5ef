/* Load through librdkafka, a client that we did not write: the figures users will see.
 *
 *   create   a topic with --partitions
 *   produce  --records of --size as fast as possible, or --rate a second for --seconds (latency
 *            from produce call to delivery report)
 *   consume  --records from the start of all partitions
 *   e2e      --rate a second for --seconds, latency from produce call to consume
 *
 * Prints one JSON line; exits 1 when a record failed or did not arrive. */
#include "load.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { CONSUME_BATCH = 1000, CONSUME_WAIT_MS = 30000 };

struct producing {
    struct load_run *run;
    int64_t size;
    bool timed;
};

static void fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[512];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        fail(name, why);
}

static void set_number(rd_kafka_conf_t *conf, const char *name, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    set(conf, name, text);
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct producing *p = opaque;
    if (m->err)
        p->run->errors++;
    p->run->records++;
    p->run->bytes += p->size;
    if (p->timed)
        samples_add(&p->run->latency, load_now_ns() - (int64_t)(intptr_t)m->_private);
}

static rd_kafka_t *new_producer(const struct load_opts *o, struct producing *p)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", o->bootstrap);
    set_number(conf, "linger.ms", o->linger_ms);
    set_number(conf, "batch.size", o->batch_bytes);
    set_number(conf, "acks", o->acks);
    set(conf, "compression.codec", o->codec);
    set(conf, "queue.buffering.max.messages", "100000");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk)
        fail("producer", why);
    return rk;
}

static void produce_one(rd_kafka_topic_t *topic, rd_kafka_t *rk, int32_t partition, void *payload,
                        size_t size, int64_t stamp_ns)
{
    while (
        rd_kafka_produce(topic, partition, 0, payload, size, NULL, 0, (void *)(intptr_t)stamp_ns)) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            fail("produce", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(rk, 10);
    }
}

/* Waits until record i is due, asleep: librdkafka's threads share the core that we are pinned to.
 */
static void wait_due(rd_kafka_t *rk, int64_t due_ns)
{
    rd_kafka_poll(rk, 0);
    struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        ;
}

static void produce_all(const struct load_opts *o, rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
    uint8_t *payload = malloc((size_t)o->size);
    load_fill(payload, (size_t)o->size);
    int64_t n = o->rate ? o->rate * o->seconds : o->records;
    int64_t begin = load_now_ns();
    for (int64_t i = 0; i < n; i++) {
        int64_t stamp = 0;
        if (o->rate) {
            wait_due(rk, begin + i * 1000000000 / o->rate);
            stamp = load_now_ns();
        }
        produce_one(topic, rk, (int32_t)(i % o->partitions), payload, (size_t)o->size, stamp);
        if ((i & 255) == 0)
            rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, 120000))
        fail("flush", "records were not acknowledged within 120 s");
    free(payload);
}

static int run_produce(const struct load_opts *o)
{
    struct load_run run;
    struct producing p = {.run = &run, .size = o->size, .timed = o->rate > 0};
    rd_kafka_t *rk = new_producer(o, &p);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    const struct rd_kafka_metadata *meta;
    if (rd_kafka_metadata(rk, 0, topic, &meta, 30000))
        fail("metadata", "no answer within 30 s");
    rd_kafka_metadata_destroy(meta);
    load_begin(&run, o);
    produce_all(o, rk, topic);
    load_report(&run, o);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    return run.errors != 0;
}

static rd_kafka_t *new_consumer(const struct load_opts *o, int64_t start)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", o->bootstrap);
    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    set(conf, "auto.offset.reset", "error");
    if (o->rate)
        set(conf, "fetch.wait.max.ms", "500");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!rk)
        fail("consumer", why);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)o->partitions);
    for (int32_t i = 0; i < o->partitions; i++)
        rd_kafka_topic_partition_list_add(list, o->topic, i)->offset = start;
    rd_kafka_resp_err_t err = rd_kafka_assign(rk, list);
    if (err)
        fail("assign", rd_kafka_err2str(err));
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

/* Takes one round of messages; false when nothing came for CONSUME_WAIT_MS. */
static bool consume_some(rd_kafka_queue_t *queue, struct load_run *run)
{
    static rd_kafka_message_t *messages[CONSUME_BATCH];
    ssize_t n = rd_kafka_consume_batch_queue(queue, CONSUME_WAIT_MS, messages, CONSUME_BATCH);
    for (ssize_t i = 0; i < n; i++) {
        if (messages[i]->err)
            fail("consume", rd_kafka_message_errstr(messages[i]));
        run->records++;
        run->bytes += (int64_t)messages[i]->len;
        rd_kafka_message_destroy(messages[i]);
    }
    return n > 0;
}

static int run_consume(const struct load_opts *o)
{
    struct load_run run;
    rd_kafka_t *rk = new_consumer(o, RD_KAFKA_OFFSET_BEGINNING);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    load_begin(&run, o);
    while (run.records < o->records && consume_some(queue, &run))
        ;
    int64_t missing = o->records > run.records ? o->records - run.records : 0;
    load_report(&run, o);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    if (missing)
        (void)fprintf(stderr, "%lld records did not arrive\n", (long long)missing);
    return missing != 0;
}

struct e2e {
    const struct load_opts *o;
    struct load_run run;
    atomic_bool stop;
};

static void *consume_stamped(void *arg)
{
    struct e2e *e = arg;
    rd_kafka_t *rk = new_consumer(e->o, RD_KAFKA_OFFSET_END);
    while (!atomic_load(&e->stop)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
        if (!m)
            continue;
        int64_t stamp;
        if (!m->err && m->len >= sizeof stamp) {
            memcpy(&stamp, m->payload, sizeof stamp);
            if (stamp) {
                samples_add(&e->run.latency, load_now_ns() - stamp);
                e->run.records++;
                e->run.bytes += (int64_t)m->len;
            }
        }
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return NULL;
}

static void produce_stamped(const struct load_opts *o, rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
    uint8_t *payload = malloc((size_t)o->size);
    load_fill(payload, (size_t)o->size);
    int64_t begin = load_now_ns() + 1000000000; /* the consumer has a second to get in place */
    for (int64_t i = 0; i < o->rate * o->seconds; i++) {
        wait_due(rk, begin + i * 1000000000 / o->rate);
        int64_t stamp = load_now_ns();
        memcpy(payload, &stamp, sizeof stamp);
        while (rd_kafka_produce(topic, (int32_t)(i % o->partitions), RD_KAFKA_MSG_F_COPY, payload,
                                (size_t)o->size, NULL, 0, NULL))
            rd_kafka_poll(rk, 1);
    }
    rd_kafka_flush(rk, 30000);
    free(payload);
}

static int run_e2e(const struct load_opts *o)
{
    struct load_run ignored = {0};
    struct producing p = {.run = &ignored};
    struct e2e e = {.o = o};
    rd_kafka_t *rk = new_producer(o, &p);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    load_begin(&e.run, o);
    pthread_t consumer;
    if (pthread_create(&consumer, NULL, consume_stamped, &e))
        fail("thread", "cannot be started");
    produce_stamped(o, rk, topic);
    int64_t patience = load_now_ns() + 2000000000;
    while (e.run.records < o->rate * o->seconds && load_now_ns() < patience)
        rd_kafka_poll(rk, 10);
    atomic_store(&e.stop, true);
    pthread_join(consumer, NULL);
    int64_t missing = o->rate * o->seconds - e.run.records;
    load_report(&e.run, o);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    return missing != 0;
}

static int run_create(const struct load_opts *o)
{
    struct load_run ignored = {0};
    struct producing p = {.run = &ignored};
    char why[512];
    rd_kafka_t *rk = new_producer(o, &p);
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(o->topic, (int)o->partitions, 1, why, sizeof why);
    if (!topic)
        fail("create", why);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, 120000, why, sizeof why);
    (void)rd_kafka_AdminOptions_set_operation_timeout(options, 60000, why, sizeof why);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &topic, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 120000);
    if (!event || rd_kafka_event_error(event))
        fail("create", event ? rd_kafka_event_error_string(event) : "no answer");
    size_t n;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    int failed = n != 1 || rd_kafka_topic_result_error(results[0]) != RD_KAFKA_RESP_ERR_NO_ERROR;
    if (failed)
        (void)fprintf(stderr, "create: %s\n", rd_kafka_topic_result_error_string(results[0]));
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_destroy(rk);
    return failed;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct load_opts *o);
    } modes[] = {{"create", run_create},
                 {"produce", run_produce},
                 {"consume", run_consume},
                 {"e2e", run_e2e}};
    struct load_opts o;
    (void)prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL); /* 1 us: sleeps end when they should */
    load_parse(argc, argv, "create, produce, consume, e2e", &o);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, o.mode) == 0)
            return modes[i].run(&o);
    (void)fprintf(stderr, "unknown mode %s\n", o.mode);
    return 2;
}
