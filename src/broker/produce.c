#include "broker/produce.h"

#include "base/alloc.h"
#include "broker/broker_int.h"
#include "record/codec.h"

enum {
    /* Above these a check takes more than about a quarter of a millisecond: not on the core loop.
     */
    INLINE_BYTES_MAX = 64 * 1024,
    INLINE_SLOW_CODEC_BYTES_MAX = 16 * 1024,
    INLINE_SLICE_NS = 500 * 1000, /* what turns out to take longer after all goes to a worker */
    CHECKS_MAX = 4,               /* at a time on workers: each has a window and a decoder */
    CHECK_SLICE_NS = 50 * 1000000,
    QUEUES_MAX = 1 << 20,
    OUTPUT_BYTES_MAX = 64 << 20,
    /* One broker of Kafka waits for no sync, so a client may ask for 0 ms there and be served. */
    TIMEOUT_MIN_MS = 100,
};

/* Batches of one partition that wait for a check, or behind one. */
struct produce_queue {
    uint64_t pid;
    struct list parts;
};

struct produce_state {
    struct broker *broker;
    struct batch_check *inline_check;
    struct batch_check *idle_checks[CHECKS_MAX];
    uint32_t n_idle, n_running;
    struct list waiting; /* check_node: for a worker */
    struct map *queues;  /* by pid; only partitions with a check under way */
    uint64_t requests;   /* under way */
    struct broker_produce_counters counters;
};

sl_err produce__open(struct broker *b)
{
    struct produce_state *s = sl_new(struct produce_state);
    s->broker = b;
    s->inline_check = batch_check_new();
    s->queues = map_new(QUEUES_MAX);
    list_init(&s->waiting);
    b->produce = s;
    return SL_OK;
}

void produce__free(struct broker *b)
{
    struct produce_state *s = b->produce;
    if (!s)
        return;
    SL_ASSERT(s->requests == 0);
    for (uint32_t i = 0; i < s->n_idle; i++)
        batch_check_free(s->idle_checks[i]);
    batch_check_free(s->inline_check);
    map_free(s->queues);
    sl_free(s);
    b->produce = NULL;
}

bool produce__idle(const struct broker *b)
{
    return !b->produce || b->produce->requests == 0;
}

void broker_produce_counters(const struct broker *b, struct broker_produce_counters *ret)
{
    *ret = b->produce->counters;
}

static struct broker *broker_of(const struct broker_produce_part *part)
{
    return part->request->call.broker;
}

/* ---- the end of a part, and of its request ------------------------------------------------ */

static void end_request(struct broker_produce *p)
{
    struct broker *b = p->call.broker;
    struct produce_state *s = b->produce;
    SL_ASSERT(s->requests > 0);
    SL_ASSERT(p->n_in_log == 0);
    s->requests--;
    timer_stop(&p->deadline);
    broker_finish(&p->call); /* p may be gone */
    if (b->closing && s->requests == 0)
        broker__idle_check(b);
}

/* The time that a client gives is for the log, as in Kafka: it runs once nothing else is left. */
static void watch_time(struct broker_produce *p)
{
    SL_ASSERT(p->n_in_log <= p->left);
    if (p->left == p->n_in_log && p->acks != 0 && !timer_running(&p->deadline))
        timer_start(&p->deadline, SL_MAX(p->timeout_ms, TIMEOUT_MIN_MS));
}

static void finish_part(struct broker_produce_part *part, sl_err err)
{
    struct broker_produce *p = part->request;
    struct produce_state *s = p->call.broker->produce;
    part->err = err;
    p->n_in_log -= part->in_log;
    part->in_log = false;
    if (err == SL_OK) {
        s->counters.batches++;
        s->counters.records += (uint64_t)part->batch.info.record_count;
        s->counters.bytes += part->records.len;
    } else {
        s->counters.refused_batches++;
    }
    SL_ASSERT(p->left > 0);
    if (--p->left == 0)
        end_request(p);
    else
        watch_time(p);
}

static void refuse_part(struct broker_produce_part *part, sl_err err, const char *why)
{
    part->why = why;
    finish_part(part, err);
}

/* ---- append --------------------------------------------------------------------------------- */

static void append_done(struct log_append *a)
{
    struct broker_produce_part *part = SL_CONTAINER_OF(a, struct broker_produce_part, append);
    SL_ASSERT(part->in_log);
    slice_unref(&part->batch.bytes);
    if (a->err == SL_OK) {
        struct log_part_state state = {0};
        struct broker *b = broker_of(part);
        if (part->request->acks != 0)
            log_part_state(b->env.log, a->part, &state);
        part->base_offset = a->base_offset;
        part->log_append_ms = a->log_append_ms;
        part->log_start = state.log_start;
    }
    finish_part(part, a->err);
}

static enum log_durability durability_of(const struct broker_produce_part *part)
{
    if (part->request->acks == 0)
        return LOG_NONE;
    if (part->request->acks == 1 && part->batch.info.producer_id < 0)
        return LOG_BUFFERED;
    return LOG_DURABLE; /* acks=all, and every idempotent batch */
}

static void append_part(struct broker_produce_part *part)
{
    uint8_t *bytes = (uint8_t *)part->records.data; /* the request's own memory */
    struct batch_info *info = &part->batch.info;
    SL_ASSERT(!part->in_log);
    SL_ASSERT(info->bytes == part->records.len); /* one batch, all of it */
    if (!part->rules.append_time && part->verdict.max_timestamp_ms != info->max_timestamp) {
        batch_set_max_timestamp(bytes, info->bytes, part->verdict.max_timestamp_ms);
        info->max_timestamp = part->verdict.max_timestamp_ms;
    }
    part->batch.bytes = slice_ref(part->records, 0, part->records.len);
    part->append.batches = &part->batch;
    part->append.n_batches = 1;
    part->append.durability = durability_of(part);
    part->append.append_time = part->rules.append_time;
    part->append.done = append_done;
    part->in_log = true;
    part->request->n_in_log++;
    log_append(broker_of(part)->env.log, &part->append);
    watch_time(part->request);
}

/* The log stalls. What it has stays there: only nobody waits for it here. */
static void on_deadline(struct timer *t)
{
    struct broker_produce *p = SL_CONTAINER_OF(t, struct broker_produce, deadline);
    struct produce_state *s = p->call.broker->produce;
    SL_ASSERT(p->n_in_log == p->left);
    for (uint32_t i = 0, left = p->left; left > 0; i++) { /* p may be gone after the last one */
        struct broker_produce_part *part = &p->parts[i];
        if (!part->in_log)
            continue;
        left--;
        s->counters.timed_out_batches++;
        log_abandon(p->call.broker->env.log, &part->append);
        slice_unref(&part->batch.bytes);
        finish_part(part, SL_ETIMEDOUT);
    }
}

/* The check is over, and so are those of all earlier batches of this source here. */
static void leave_check(struct broker_produce_part *part)
{
    SL_ASSERT(part->checked);
    SL_ASSERT(!list_linked(&part->node)); /* whoever is behind may go next */
    if (part->verdict.err != SL_OK) {
        part->record_index = part->verdict.record_index;
        refuse_part(part, part->verdict.err, part->verdict.why);
    } else if (!part->owner) {
        finish_part(part, SL_ETOPIC);
    } else {
        append_part(part);
    }
}

/* ---- order: batches behind a check that is under way ---------------------------------------- */

static struct produce_queue *queue_of(struct produce_state *s, uint64_t pid)
{
    return map_count(s->queues) ? map_get(s->queues, &pid, sizeof pid) : NULL;
}

static sl_err join_queue(struct produce_state *s, struct broker_produce_part *part, uint64_t pid)
{
    struct produce_queue *q = queue_of(s, pid);
    SL_ASSERT(!part->queue);
    if (!q) {
        q = sl_new(struct produce_queue);
        q->pid = pid;
        list_init(&q->parts);
        sl_err err = map_put(s->queues, &pid, sizeof pid, q, NULL);
        if (err != SL_OK) {
            sl_free(q);
            return SL_ELIMIT;
        }
    }
    part->queue = q;
    list_push_back(&q->parts, &part->node);
    return SL_OK;
}

/* True when a batch of the same source is in the queue (before `part`, when it is there too). Also
 * one that is checked counts: it is about to leave, and nobody overtakes it. */
static bool is_behind_another(const struct produce_queue *q, const struct broker_produce_part *part)
{
    LIST_FOREACH (node, &q->parts) {
        const struct broker_produce_part *earlier =
            SL_CONTAINER_OF(node, struct broker_produce_part, node);
        if (earlier == part)
            return false;
        if (earlier->request->source == part->request->source)
            return true;
    }
    return false;
}

static struct broker_produce_part *next_to_leave(const struct produce_queue *q)
{
    LIST_FOREACH (node, &q->parts) {
        struct broker_produce_part *part = SL_CONTAINER_OF(node, struct broker_produce_part, node);
        if (part->checked && !is_behind_another(q, part))
            return part;
    }
    return NULL;
}

/* Lets go, in order, whatever no longer waits for a check of its own source. A part that ends may
 * bring the next request of its connection, which then queues up behind. */
static void advance_queue(struct produce_state *s, struct produce_queue *q)
{
    for (struct broker_produce_part *part; (part = next_to_leave(q));) {
        list_remove(&part->node);
        leave_check(part);
    }
    if (!list_empty(&q->parts))
        return;
    void *gone = map_remove(s->queues, &q->pid, sizeof q->pid);
    SL_ASSERT(gone == q);
    sl_free(q);
}

/* ---- checks on workers ------------------------------------------------------------------------
 */

static void check_on_worker(struct work *w)
{
    struct broker_produce_part *part = SL_CONTAINER_OF(w, struct broker_produce_part, work);
    const struct clock *clock = broker_of(part)->env.clock;
    part->verdict.err = batch_check_run(part->check, clock,
                                        clock_monotonic_ns(clock) + CHECK_SLICE_NS, &part->verdict);
}

static void start_waiting_checks(struct produce_state *s);

static void check_done(struct work *w)
{
    struct broker_produce_part *part = SL_CONTAINER_OF(w, struct broker_produce_part, work);
    struct broker *b = broker_of(part);
    struct produce_state *s = b->produce;
    if (part->verdict.err == SL_PENDING) { /* its slice is used up: behind the others */
        workers_submit(b->env.workers, b->env.loop, w);
        return;
    }
    SL_ASSERT(s->n_running > 0);
    SL_ASSERT(!part->checked);
    s->n_running--;
    s->idle_checks[s->n_idle++] = SL_TAKE(part->check);
    part->checked = true;
    start_waiting_checks(s);
    advance_queue(s, part->queue);
}

static void start_waiting_checks(struct produce_state *s)
{
    SL_ASSERT(s->n_running + s->n_idle <= CHECKS_MAX);
    while (s->n_running < CHECKS_MAX && !list_empty(&s->waiting)) {
        struct broker_produce_part *part =
            SL_CONTAINER_OF(list_pop_front(&s->waiting), struct broker_produce_part, check_node);
        s->n_running++;
        part->check = s->n_idle ? s->idle_checks[--s->n_idle] : batch_check_new();
        batch_check_start(part->check, part->records, &part->batch.info, &part->rules);
        part->work.run = check_on_worker;
        part->work.done = check_done;
        s->counters.worker_checks++;
        workers_submit(s->broker->env.workers, s->broker->env.loop, &part->work);
    }
}

static bool needs_worker(const struct batch_info *info)
{
    switch (info->attributes & BATCH_CODEC_MASK) {
    case CODEC_NONE:
        return false;
    case CODEC_GZIP:
    case CODEC_ZSTD:
        return info->bytes > INLINE_SLOW_CODEC_BYTES_MAX;
    default:
        return info->bytes > INLINE_BYTES_MAX;
    }
}

/* ---- the beginning ------------------------------------------------------------------------------
 */

static struct batch_rules rules_of(const struct topic *t, const struct broker_produce *p,
                                   int64_t now_ms)
{
    const struct topic_config *c = &t->config;
    return (struct batch_rules){
        .batch_bytes_max = (uint32_t)c->max_message_bytes,
        .output_bytes_max = SL_MAX((uint64_t)OUTPUT_BYTES_MAX, (uint64_t)c->max_message_bytes),
        .now_ms = now_ms,
        .before_max_ms = c->message_timestamp_before_max_ms,
        .after_max_ms = c->message_timestamp_after_max_ms,
        .append_time = c->message_timestamp_type == TIMESTAMP_LOG_APPEND_TIME,
        .keys_required = (c->cleanup_policy >> CLEANUP_COMPACT) & 1,
        .old_codecs_only = p->old_codecs_only,
    };
}

static sl_err find_topic(struct broker_produce_part *part, struct topic **ret)
{
    struct broker_produce *p = part->request;
    struct broker *b = p->call.broker;
    struct topic *t = p->by_id ? broker__topic_by_id(b, &part->topic_id)
                               : broker__topic(b, &p->call.who->org, part->topic);
    if (!t)
        return p->by_id ? SL_ETOPIC_ID : SL_ETOPIC;
    SL_TRY(authorize(b, p->call.who, OPERATION_WRITE, RESOURCE_TOPIC, t->name));
    *ret = t;
    return SL_OK;
}

/* Partitions of one topic follow each other in a request: the look-up is made once. */
static bool is_same_topic(const struct broker_produce_part *a, const struct broker_produce_part *b)
{
    if (a->request->by_id)
        return uuid_equal(&a->topic_id, &b->topic_id);
    return a->topic.data == b->topic.data && a->topic.len == b->topic.len;
}

static sl_err find_partition(struct broker_produce_part *part, struct topic **topic,
                             const struct broker_produce_part *before, struct partition **ret)
{
    if (!before || !is_same_topic(before, part))
        *topic = NULL;
    if (!*topic)
        SL_TRY(find_topic(part, topic));
    struct partition *partition = broker__partition(*topic, part->index);
    if (!partition)
        return SL_ETOPIC;
    part->owner = *topic;
    part->topic_number = (*topic)->number;
    *ret = partition;
    return SL_OK;
}

static void check_later(struct produce_state *s, struct broker_produce_part *part, uint64_t pid)
{
    sl_err err = join_queue(s, part, pid);
    if (err != SL_OK) {
        finish_part(part, err);
        return;
    }
    list_push_back(&s->waiting, &part->check_node);
    start_waiting_checks(s);
}

static void check_inline(struct produce_state *s, struct broker_produce_part *part, uint64_t pid)
{
    const struct clock *clock = s->broker->env.clock;
    struct produce_queue *q = queue_of(s, pid);
    batch_check_start(s->inline_check, part->records, &part->batch.info, &part->rules);
    part->verdict.err = batch_check_run(
        s->inline_check, clock, clock_monotonic_ns(clock) + INLINE_SLICE_NS, &part->verdict);
    if (part->verdict.err == SL_PENDING) {
        check_later(s, part, pid); /* from its beginning: waiting batches hold no scratch */
        return;
    }
    part->checked = true;
    if (!q || !is_behind_another(q, part)) {
        leave_check(part);
        return;
    }
    part->queue = q;
    list_push_back(&q->parts, &part->node);
}

static void start_part(struct produce_state *s, struct broker_produce_part *part,
                       const struct partition *partition, int64_t now_ms)
{
    part->rules = rules_of(part->owner, part->request, now_ms);
    part->append.part = partition->log;
    if (batch_check_header(part->records, &part->rules, &part->batch.info, &part->verdict) != SL_OK)
        refuse_part(part, part->verdict.err, part->verdict.why);
    else if (needs_worker(&part->batch.info))
        check_later(s, part, partition->pid);
    else
        check_inline(s, part, partition->pid);
}

static void reset_part(struct broker_produce *p, struct broker_produce_part *part)
{
    part->request = p;
    part->err = SL_OK;
    part->why = NULL;
    part->record_index = -1;
    part->base_offset = part->log_append_ms = part->log_start = -1;
    part->topic_number = -1;
    part->owner = NULL;
    part->queue = NULL;
    part->checked = part->in_log = false;
    part->node = part->check_node = (struct list){0};
}

static sl_err refusal_of_all(const struct broker_produce *p)
{
    if (p->call.broker->closing)
        return SL_ECLOSED;
    return p->acks >= -1 && p->acks <= 1 ? SL_OK : SL_EACKS;
}

static void start_parts(struct produce_state *s, struct broker_produce *p)
{
    int64_t now_ms = clock_wall_ms(p->call.broker->env.clock);
    sl_err refused = refusal_of_all(p);
    struct topic *topic = NULL;
    for (uint32_t i = 0; i < p->n_parts; i++) {
        struct broker_produce_part *part = &p->parts[i];
        struct partition *partition = NULL;
        sl_err err = refused;
        reset_part(p, part);
        if (err == SL_OK)
            err = find_partition(part, &topic, i ? part - 1 : NULL, &partition);
        if (err == SL_OK)
            start_part(s, part, partition, now_ms);
        else
            finish_part(part, err);
    }
}

static void run_produce(struct broker_call *c)
{
    struct broker_produce *p = SL_CONTAINER_OF(c, struct broker_produce, call);
    struct produce_state *s = c->broker->produce;
    SL_ASSERT(loop_is_current(c->broker->env.loop));
    s->requests++;
    p->left = p->n_parts + 1; /* one for this function: the request may not end under its feet */
    p->n_in_log = 0;
    timer_init(&p->deadline, c->broker->env.loop, on_deadline);
    start_parts(s, p);
    if (--p->left == 0)
        end_request(p);
    else
        watch_time(p);
}

void broker_produce_init(struct broker_produce *p)
{
    p->call.run = run_produce;
}

void produce__topic_gone(struct broker *b, struct topic *t)
{
    size_t i = 0;
    void *value;
    while (map_next(b->produce->queues, &i, NULL, &value)) {
        struct produce_queue *q = value;
        LIST_FOREACH (node, &q->parts) {
            struct broker_produce_part *part =
                SL_CONTAINER_OF(node, struct broker_produce_part, node);
            if (part->owner == t)
                part->owner = NULL;
        }
    }
}
