/* Dead letters: messages that a group gives up, published to a topic of their own. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"
#include "base/log.h"
#include "broker/produce.h"
#include "broker/topics.h"
#include "record/builder.h"

#include <stdio.h>

enum {
    DEAD_HEADERS = 7,
    DIGITS = 24,
    HEADERS_ROOM = 8192, /* what our headers may add to a record and a batch */
    PRODUCE_TIMEOUT_MS = 30000,
    AGAIN_MS = 1000, /* after a failure */
};

struct dead_letter {
    struct broker_produce produce;
    struct broker_produce_part part;
    struct broker_create_topics create;
    struct broker_create_topic topic;
    struct setting_text setting;
    char setting_value[DIGITS];
    struct principal who;
    struct share_topic *of;
    struct share_part *from;
    int64_t offset;
    uint32_t deliveries;
    bool was_rejected, created;
    char *to;
};

/* ---- the record -------------------------------------------------------------------------------
 */

static bool is_ours(struct slice name)
{
    static const char prefix[] = "sluice-dlq-";
    return name.len >= sizeof prefix - 1 && memcmp(name.data, prefix, sizeof prefix - 1) == 0;
}

/* The message would wait again in the other topic. */
static bool is_dropped(struct slice name)
{
    return is_ours(name) || slice_eq_str(name, SUBSCRIPTION_DELIVER_AT);
}

static struct new_header header(const char *name, struct slice value)
{
    return (struct new_header){.name = slice_str(name), .value = value};
}

static struct slice digits(char text[DIGITS], int64_t n)
{
    (void)snprintf(text, DIGITS, "%lld", (long long)n);
    return slice_str(text);
}

static uint32_t copy_headers(const struct message *m, struct new_header *ret)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_headers; i++)
        if (!is_dropped(m->headers[i].name))
            ret[n++] = (struct new_header){m->headers[i].name, m->headers[i].value};
    return n;
}

static sl_err build(const struct dead_letter *d, const struct message *m, const char *reason,
                    struct slice *ret)
{
    char numbers[4][DIGITS];
    const struct share_topic *t = d->of;
    struct new_header *h = sl_try_alloc((size_t)m->n_headers + DEAD_HEADERS, sizeof *h);
    if (!h)
        return SL_ENOMEM;
    uint32_t n = copy_headers(m, h);
    int64_t now_ms = clock_wall_ms(t->engine->broker->env.clock);
    h[n++] = header(DEAD_LETTER_REASON, slice_str(reason));
    h[n++] = header(DEAD_LETTER_TOPIC, slice_str(t->topic->name));
    h[n++] = header(DEAD_LETTER_PARTITION, digits(numbers[0], d->from->index));
    h[n++] = header(DEAD_LETTER_OFFSET, digits(numbers[1], d->offset));
    h[n++] = header(DEAD_LETTER_DELIVERIES, digits(numbers[2], d->deliveries));
    h[n++] = header(DEAD_LETTER_TIME, digits(numbers[3], now_ms));
    h[n++] = header(DEAD_LETTER_GROUP, slice_of(t->group->name, t->group->name_len));
    SL_AUTO(batch_builder_free)
    struct batch_builder *b = batch_builder_new(CODEC_NONE, m->bytes + HEADERS_ROOM);
    const struct new_record r = {.timestamp_ms = m->record.timestamp_ms,
                                 .key = m->record.key,
                                 .value = m->record.value,
                                 .headers = h,
                                 .n_headers = n};
    sl_err err = batch_builder_add(b, &r);
    sl_free(h);
    SL_TRY(err);
    return batch_builder_finish(b, &batch_producer_none, ret);
}

/* ---- on its way -------------------------------------------------------------------------------
 */

static void dead_letter_free(struct dead_letter *d)
{
    slice_unref(&d->part.records);
    sl_free(d->to);
    sl_free(d);
}

static void release(struct dead_letter *d)
{
    struct share_part *p = d->from;
    if (!p->open || !d->of->topic)
        return;
    int64_t at_ms = subs__now_ms(d->of->engine) + AGAIN_MS;
    (void)share_release(&p->share, d->offset, d->offset, d, at_ms, d->was_rejected);
}

static void end(struct dead_letter *d, sl_err err)
{
    struct share_part *p = d->from;
    struct share_topic *t = d->of;
    struct broker *b = t->engine->broker;
    p->n_dead--;
    t->n_busy--;
    t->engine->n_dead_letters--;
    if (err != SL_OK) {
        release(d);
        if (!log_rate_limited("subscription.dead_letter_failed"))
            LOG_WARN("subscription.dead_letter_failed",
                     "a message could not be moved to the dead letter topic: tried again",
                     F_STR("topic", d->to), F_I64("offset", d->offset), F_ERR(err));
    } else if (p->open && t->topic) {
        (void)share_done(&p->share, d->offset, d);
        t->engine->counters.dead_letters++;
    }
    share_part_changed(p);
    share_part_wake(p);
    dead_letter_free(d);
    if (!t->n_streams && t->topic)
        share_part_store_now(p);
    (void)share_topic_end_step(t);
    broker__idle_check(b);
}

static void produce(struct dead_letter *d);

static void created(struct broker_call *call)
{
    struct dead_letter *d = SL_CONTAINER_OF(call, struct dead_letter, create.call);
    sl_err err = d->create.err != SL_OK ? d->create.err : d->topic.err;
    broker_create_topics_fini(&d->create);
    if (err == SL_OK || err == SL_EEXISTS)
        produce(d);
    else
        end(d, err);
}

/* As large as what may be in the topic that it is for. */
static void create(struct dead_letter *d)
{
    int64_t bytes = d->of->topic ? d->of->topic->config.max_message_bytes : 0;
    d->created = true;
    (void)digits(d->setting_value, SL_MIN(bytes + HEADERS_ROOM, (int64_t)INT32_MAX));
    d->setting = (struct setting_text){.name = slice_str("max.message.bytes"),
                                       .value = slice_str(d->setting_value)};
    d->topic = (struct broker_create_topic){.name = slice_str(d->to),
                                            .n_partitions = 1,
                                            .replication_factor = -1,
                                            .settings = &d->setting,
                                            .n_settings = 1};
    d->create.topics = &d->topic;
    d->create.n_topics = 1;
    d->create.call.broker = d->of->engine->broker;
    d->create.call.home = d->of->engine->broker->env.loop;
    d->create.call.who = &d->who;
    d->create.call.done = created;
    broker_create_topics_init(&d->create);
    broker_submit(&d->create.call);
}

static void produced(struct broker_call *call)
{
    struct dead_letter *d = SL_CONTAINER_OF(call, struct dead_letter, produce.call);
    if (d->part.err == SL_ETOPIC && !d->created)
        create(d);
    else
        end(d, d->part.err);
}

static void produce(struct dead_letter *d)
{
    struct broker *b = d->of->engine->broker;
    struct slice records = d->part.records;
    d->part = (struct broker_produce_part){.topic = slice_str(d->to), .records = records};
    d->produce = (struct broker_produce){.source = UINT64_MAX, /* no connection has it */
                                         .acks = -1,
                                         .timeout_ms = PRODUCE_TIMEOUT_MS,
                                         .parts = &d->part,
                                         .n_parts = 1};
    d->produce.call.broker = b;
    d->produce.call.home = b->env.loop;
    d->produce.call.who = &d->who;
    d->produce.call.done = produced;
    broker_produce_init(&d->produce);
    broker_submit(&d->produce.call);
}

sl_err dead_letter_send(struct share_part *p, const struct message *m, const char *reason,
                        uint32_t deliveries)
{
    struct share_topic *t = p->of;
    struct dead_letter *d = sl_new(struct dead_letter);
    d->of = t;
    d->from = p;
    d->offset = m->record.offset;
    d->deliveries = deliveries;
    d->was_rejected = share_run_of(&p->share, d->offset)->rejected;
    d->who = (struct principal){.org = t->group->org, .name = "dead letters"};
    d->to = sl_strdup(t->dead_topic);
    sl_err err = build(d, m, reason, &d->part.records);
    if (err != SL_OK) {
        dead_letter_free(d);
        return err;
    }
    (void)share_hold(&p->share, d->offset, d, SHARE_NEVER, false);
    p->n_dead++;
    t->n_busy++;
    t->engine->n_dead_letters++;
    produce(d);
    return SL_OK;
}
