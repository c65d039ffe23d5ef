#include "grpc/publisher.h"

#include "base/alloc.h"
#include "base/map.h"
#include "broker/produce.h"
#include "broker/topics.h"
#include "record/partitioner.h"

enum {
    BATCH_BYTES_MAX = 256 << 10, /* of several publishes; one alone may be larger */
    BATCH_RECORDS_MAX = 2000,
    BUILDER_BYTES_MAX = 64 << 20,
    TOPICS_KEPT = 4096,    /* above it those that rest are forgotten */
    TOPICS_MAX = 1 << 20,  /* as many as there are calls */
    TOPIC_FRESH_MS = 5000, /* how long a number of partitions is believed */
    ATTEMPTS_MAX = 3,      /* a topic may be deleted again and again */
    TIMEOUT_MS = 30000,    /* for the log */
    KEY_BYTES_MAX = sizeof(struct uuid) + 256,
};

#define TOPIC_MESSAGE_BYTES_MAX "8388608"

/* A topic that is, or was lately, published to. */
struct pub_topic {
    struct publisher *owner;
    struct list lru, busy;
    uint8_t key[KEY_BYTES_MAX]; /* organisation, name */
    size_t key_len;
    int32_t n_partitions; /* 0: not known */
    uint32_t turn;
    int64_t known_ms;
    struct list waiting; /* struct publish: until it is known what the topic is */
    struct list open;    /* struct pub_batch: of this turn */
    uint32_t n_under_way;
    bool asking;
    struct principal who; /* of the one who asks: the calls below outlive nobody else */
    struct broker_metadata look;
    struct broker_topic_view view;
    struct broker_create_topics create;
    struct broker_create_topic wish;
};

/* Publishes to one partition that become one record batch. */
struct pub_batch {
    struct list node;
    struct pub_topic *topic;
    struct list items; /* struct publish, in order */
    size_t bytes;
    uint32_t n_records, n_items;
    int32_t partition;
    bool alone; /* takes no more */
    int64_t now_ms;
    struct broker_produce call;
    struct broker_produce_part part;
    struct slice bytes_of_batch;
};

struct publisher {
    struct broker *broker;
    struct loop *loop;
    struct map *topics;
    struct list lru;
    struct list busy;     /* struct pub_topic: busy; those with open batches */
    struct list finished; /* struct publish: done is called from a task of its own */
    struct task task;
    bool asked;
    struct batch_builder *builder;
};

static void run_later(struct publisher *p)
{
    if (p->asked)
        return;
    p->asked = true;
    loop_defer(p->loop, &p->task);
}

/* ---- the end of a publish -------------------------------------------------------------------- */

static void finish(struct publisher *p, struct publish *x, sl_err err, const char *why)
{
    x->err = err;
    x->why = why;
    list_push_back(&p->finished, &x->node);
    run_later(p);
}

static void finish_all(struct publisher *p, struct list *items, sl_err err, const char *why)
{
    for (struct list *node; (node = list_pop_front(items));)
        finish(p, SL_CONTAINER_OF(node, struct publish, node), err, why);
}

/* ---- topics ---------------------------------------------------------------------------------- */

static struct slice name_of(const struct pub_topic *t)
{
    return slice_of(t->key + sizeof(struct uuid), t->key_len - sizeof(struct uuid));
}

static bool rests(const struct pub_topic *t)
{
    return !t->asking && t->n_under_way == 0 && list_empty(&t->waiting) && list_empty(&t->open);
}

static void forget(struct pub_topic *t)
{
    (void)map_remove(t->owner->topics, t->key, t->key_len);
    list_remove(&t->lru);
    sl_free(t);
}

static void forget_old(struct publisher *p)
{
    while (map_count(p->topics) > TOPICS_KEPT) {
        struct pub_topic *oldest = SL_CONTAINER_OF(p->lru.next, struct pub_topic, lru);
        if (!rests(oldest))
            return;
        forget(oldest);
    }
}

static struct pub_topic *topic_of(struct publisher *p, const struct publish *x)
{
    uint8_t key[KEY_BYTES_MAX];
    size_t len = sizeof x->who->org.bytes + x->topic.len;
    SL_ASSERT(len <= KEY_BYTES_MAX);
    memcpy(key, x->who->org.bytes, sizeof x->who->org.bytes);
    if (x->topic.len)
        memcpy(key + sizeof x->who->org.bytes, x->topic.data, x->topic.len);
    struct pub_topic *t = map_get(p->topics, key, len);
    if (!t) {
        forget_old(p);
        t = sl_new(struct pub_topic);
        t->owner = p;
        t->key_len = len;
        memcpy(t->key, key, len);
        list_init(&t->waiting);
        list_init(&t->open);
        if (map_put(p->topics, key, len, t, NULL) != SL_OK) {
            sl_free(t);
            return NULL;
        }
    }
    list_remove(&t->lru);
    list_push_back(&p->lru, &t->lru);
    return t;
}

static void ask(struct pub_topic *t);
static void place_waiting(struct pub_topic *t);

static void known(struct pub_topic *t, sl_err err, const char *why)
{
    t->asking = false;
    if (err == SL_OK) {
        t->known_ms = loop_now_ms(t->owner->loop);
        place_waiting(t);
    } else {
        t->n_partitions = 0;
        finish_all(t->owner, &t->waiting, err, why);
    }
}

static void submit(struct pub_topic *t, struct broker_call *c, void (*done)(struct broker_call *c))
{
    c->broker = t->owner->broker;
    c->home = t->owner->loop;
    c->who = &t->who;
    c->done = done;
    broker_submit(c);
}

static void created(struct broker_call *c)
{
    struct pub_topic *t = SL_CONTAINER_OF(c, struct pub_topic, create.call);
    sl_err err = t->create.err != SL_OK ? t->create.err : t->wish.err;
    broker_create_topics_fini(&t->create);
    if (err == SL_OK || err == SL_EEXISTS)
        ask(t);
    else
        known(t, err, NULL);
}

static void create_topic(struct pub_topic *t)
{
    static const struct setting_text settings[] = {
        {.name = {.data = (const uint8_t *)"max.message.bytes", .len = 17},
         .value = {.data = (const uint8_t *)TOPIC_MESSAGE_BYTES_MAX,
                   .len = sizeof TOPIC_MESSAGE_BYTES_MAX - 1}},
    };
    t->create = (struct broker_create_topics){.topics = &t->wish, .n_topics = 1};
    t->wish = (struct broker_create_topic){.name = name_of(t),
                                           .n_partitions = 1,
                                           .replication_factor = -1,
                                           .settings = settings,
                                           .n_settings = SL_ARRAY_LEN(settings)};
    broker_create_topics_init(&t->create);
    submit(t, &t->create.call, created);
}

/* Somebody waits who may make the topic; the others are told that there is none. */
static bool may_create(struct pub_topic *t)
{
    if (!broker_config(t->owner->broker)->auto_create_topics)
        return false;
    LIST_FOREACH (node, &t->waiting)
        if (SL_CONTAINER_OF(node, struct publish, node)->create)
            return true;
    return false;
}

static void looked(struct broker_call *c)
{
    struct pub_topic *t = SL_CONTAINER_OF(c, struct pub_topic, look.call);
    sl_err err = t->look.err != SL_OK ? t->look.err : t->view.err;
    if (err == SL_OK)
        t->n_partitions = t->view.n_partitions;
    broker_metadata_fini(&t->look);
    if ((err == SL_ETOPIC || err == SL_ETOPIC_NAME) && may_create(t))
        create_topic(t);
    else
        known(t, err, NULL);
}

static void ask(struct pub_topic *t)
{
    t->asking = true;
    t->look = (struct broker_metadata){.topics = &t->view, .n_topics = 1};
    t->view = (struct broker_topic_view){.name = name_of(t)};
    broker_metadata_init(&t->look);
    submit(t, &t->look.call, looked);
}

/* ---- batches --------------------------------------------------------------------------------- */

static size_t bytes_of(const struct publish *x)
{
    size_t n = 0;
    for (uint32_t i = 0; i < x->n_records; i++)
        n += x->records[i].key.len + x->records[i].value.len +
             64 * (1 + (size_t)x->records[i].n_headers);
    return n;
}

static struct pub_batch *batch_with_room(struct pub_topic *t, int32_t partition,
                                         const struct publish *x, size_t bytes)
{
    if (x->own_batch)
        return NULL;
    /* The newest of the partition, so that publishes stay in their order. */
    for (struct list *node = t->open.prev; node != &t->open; node = node->prev) {
        struct pub_batch *b = SL_CONTAINER_OF(node, struct pub_batch, node);
        if (b->partition != partition)
            continue;
        const struct publish *first = SL_CONTAINER_OF(b->items.next, struct publish, node);
        bool fits =
            b->bytes + bytes <= BATCH_BYTES_MAX && b->n_records + x->n_records <= BATCH_RECORDS_MAX;
        return fits && !b->alone && first->acks == x->acks ? b : NULL;
    }
    return NULL;
}

static void place_in(struct pub_topic *t, struct publish *x, int32_t partition)
{
    size_t bytes = bytes_of(x);
    struct pub_batch *b = batch_with_room(t, partition, x, bytes);
    if (!b) {
        b = sl_new(struct pub_batch);
        b->topic = t;
        b->partition = partition;
        b->alone = x->own_batch;
        list_init(&b->items);
        list_push_back(&t->open, &b->node);
        if (!list_linked(&t->busy))
            list_push_back(&t->owner->busy, &t->busy);
        t->n_under_way++;
    }
    list_push_back(&b->items, &x->node);
    b->bytes += bytes;
    b->n_records += x->n_records;
    b->n_items++;
}

static int32_t choose(struct pub_topic *t, const struct publish *x)
{
    if (x->partition >= 0)
        return x->partition;
    if (t->n_partitions == 1)
        return 0;
    if (x->records[0].key.data)
        return (int32_t)partitioner_choose(x->records[0].key, (uint32_t)t->n_partitions);
    return (int32_t)(t->turn++ % (uint32_t)t->n_partitions);
}

static void place(struct pub_topic *t, struct publish *x)
{
    int32_t partition = choose(t, x);
    x->n_partitions = t->n_partitions;
    if (partition >= t->n_partitions) {
        finish(t->owner, x, SL_EPARTITIONS, "the topic has no such partition");
        return;
    }
    x->partition = partition;
    place_in(t, x, partition);
    run_later(t->owner);
}

static void place_waiting(struct pub_topic *t)
{
    for (struct list *node; (node = list_pop_front(&t->waiting));)
        place(t, SL_CONTAINER_OF(node, struct publish, node));
}

/* ---- appends --------------------------------------------------------------------------------- */

static void enqueue(struct publisher *p, struct publish *x)
{
    struct pub_topic *t = topic_of(p, x);
    if (!t) {
        finish(p, x, SL_ELIMIT, NULL);
        return;
    }
    bool fresh = t->n_partitions > 0 && loop_now_ms(p->loop) - t->known_ms < TOPIC_FRESH_MS;
    if (fresh && !t->asking) {
        place(t, x);
        return;
    }
    list_push_back(&t->waiting, &x->node);
    if (!t->asking) {
        t->who = *x->who;
        ask(t);
    }
}

/* Several that are too large together, or whose topic has just gone, go again. */
static bool try_again(struct pub_batch *b)
{
    struct publisher *p = b->topic->owner;
    struct list items;
    bool apart = b->part.err == SL_EBATCH_BIG && b->n_items > 1;
    struct publish *first = SL_CONTAINER_OF(b->items.next, struct publish, node);
    if (!apart && (b->part.err != SL_ETOPIC || first->attempts >= ATTEMPTS_MAX))
        return false;
    if (!apart)
        b->topic->n_partitions = 0;
    list_init(&items);
    list_splice(&items, &b->items);
    for (struct list *node; (node = list_pop_front(&items));) {
        struct publish *x = SL_CONTAINER_OF(node, struct publish, node);
        x->attempts++;
        x->own_batch |= apart;
        enqueue(p, x);
    }
    return true;
}

static void give_offsets(struct pub_batch *b)
{
    const struct broker_produce_part *part = &b->part;
    int64_t offset = part->base_offset;
    LIST_FOREACH (node, &b->items) {
        struct publish *x = SL_CONTAINER_OF(node, struct publish, node);
        x->first_offset = offset;
        x->topic_number = part->topic_number;
        x->duplicate = part->append.duplicate;
        x->timestamp_ms =
            part->log_append_ms >= 0 ? part->log_append_ms : x->records[0].timestamp_ms;
        offset += offset < 0 ? 0 : x->n_records;
    }
}

static void produced(struct broker_call *c)
{
    struct pub_batch *b = SL_CONTAINER_OF(c, struct pub_batch, call.call);
    struct pub_topic *t = b->topic;
    slice_unref(&b->bytes_of_batch);
    if (b->part.err == SL_OK)
        give_offsets(b);
    if (b->part.err == SL_OK || !try_again(b))
        finish_all(t->owner, &b->items, b->part.err, b->part.why);
    t->n_under_way--;
    sl_free(b);
}

static sl_err build(struct publisher *p, struct pub_batch *b)
{
    int64_t now_ms = clock_wall_ms(loop_clock(p->loop));
    struct batch_producer producer = batch_producer_none;
    LIST_FOREACH (node, &b->items) {
        struct publish *x = SL_CONTAINER_OF(node, struct publish, node);
        for (uint32_t i = 0; i < x->n_records; i++) {
            if (x->records[i].timestamp_ms == 0)
                x->records[i].timestamp_ms = now_ms;
            SL_TRY(batch_builder_add(p->builder, &x->records[i]));
        }
        producer = x->own_batch ? x->producer : batch_producer_none;
    }
    return batch_builder_finish(p->builder, &producer, &b->bytes_of_batch);
}

static void append(struct publisher *p, struct pub_batch *b)
{
    const struct publish *first = SL_CONTAINER_OF(b->items.next, struct publish, node);
    sl_err err = build(p, b);
    if (err != SL_OK) {
        finish_all(p, &b->items, err == SL_EFULL ? SL_EBATCH_BIG : err, NULL);
        b->topic->n_under_way--;
        batch_builder_free(p->builder);
        p->builder = batch_builder_new(CODEC_NONE, BUILDER_BYTES_MAX);
        sl_free(b);
        return;
    }
    b->part.topic = name_of(b->topic);
    b->part.index = b->partition;
    b->part.records = b->bytes_of_batch;
    b->call.parts = &b->part;
    b->call.n_parts = 1;
    b->call.source = (uint64_t)(uintptr_t)p;
    b->call.acks = first->acks;
    b->call.timeout_ms = TIMEOUT_MS;
    broker_produce_init(&b->call);
    b->call.call.broker = p->broker;
    b->call.call.home = p->loop;
    b->call.call.who = first->who;
    b->call.call.done = produced;
    broker_submit(&b->call.call);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void append_open(struct publisher *p)
{
    struct list batches;
    list_init(&batches);
    for (struct list *node; (node = list_pop_front(&p->busy));)
        list_splice(&batches, &SL_CONTAINER_OF(node, struct pub_topic, busy)->open);
    for (struct list *node; (node = list_pop_front(&batches));)
        append(p, SL_CONTAINER_OF(node, struct pub_batch, node));
}

static void run(struct task *t)
{
    struct publisher *p = SL_CONTAINER_OF(t, struct publisher, task);
    p->asked = false;
    append_open(p);
    for (struct list *node; (node = list_pop_front(&p->finished));) {
        struct publish *x = SL_CONTAINER_OF(node, struct publish, node);
        x->done(x);
    }
}

void publisher_take(struct publisher *p, struct publish *x)
{
    SL_ASSERT(loop_is_current(p->loop));
    SL_ASSERT(x->n_records > 0);
    SL_ASSERT(x->own_batch || (x->n_records == 1 && x->producer.producer_id < 0));
    x->attempts = 0;
    x->first_offset = x->timestamp_ms = x->topic_number = -1;
    if (x->topic.len > KEY_BYTES_MAX - sizeof(struct uuid))
        finish(p, x, SL_ETOPIC_NAME, NULL);
    else
        enqueue(p, x);
}

struct publisher *publisher_new(struct broker *b, struct loop *loop)
{
    struct publisher *p = sl_new(struct publisher);
    p->broker = b;
    p->loop = loop;
    p->topics = map_new(TOPICS_MAX);
    p->builder = batch_builder_new(CODEC_NONE, BUILDER_BYTES_MAX);
    p->task.run = run;
    list_init(&p->lru);
    list_init(&p->busy);
    list_init(&p->finished);
    return p;
}

void publisher_free(struct publisher *p)
{
    if (!p)
        return;
    for (struct list *node = p->lru.next, *next; node != &p->lru; node = next) {
        struct pub_topic *t = SL_CONTAINER_OF(node, struct pub_topic, lru);
        next = node->next;
        SL_ASSERT(rests(t));
        forget(t);
    }
    map_free(p->topics);
    batch_builder_free(p->builder);
    sl_free(p);
}
