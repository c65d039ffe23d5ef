#include "broker/topics_int.h"

#include "base/alloc.h"
#include "base/log.h"
#include "broker/topic_name.h"

enum {
    KEY_BYTES_MAX = sizeof(struct uuid) + TOPIC_NAME_BYTES_MAX,
    TOPICS_MAX = 1 << 24, /* cfg.partitions_max refuses long before */
};

struct name_key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t len;
};

static struct name_key key_of(const struct uuid *org, struct slice name)
{
    struct name_key k;
    SL_ASSERT(name.len <= TOPIC_NAME_BYTES_MAX);
    memcpy(k.bytes, org->bytes, sizeof org->bytes);
    if (name.len)
        memcpy(k.bytes + sizeof org->bytes, name.data, name.len);
    k.len = sizeof org->bytes + name.len;
    return k;
}

static struct name_key collision_key_of(const struct uuid *org, struct slice name)
{
    struct name_key k = key_of(org, name);
    for (size_t i = sizeof org->bytes; i < k.len; i++) {
        if (k.bytes[i] == '.')
            k.bytes[i] = '_';
    }
    return k;
}

/* ---- looking up ----------------------------------------------------------------------------- */

struct topic *topics__find(struct broker *b, const struct uuid *org, struct slice name)
{
    if (name.len > TOPIC_NAME_BYTES_MAX)
        return NULL;
    struct name_key k = key_of(org, name);
    return map_get(b->topics_by_name, k.bytes, k.len);
}

struct topic *topics__collision(struct broker *b, const struct uuid *org, struct slice name)
{
    struct name_key k = collision_key_of(org, name);
    return map_get(b->topics->collisions, k.bytes, k.len);
}

struct topic *broker__topic(struct broker *b, const struct uuid *org, struct slice name)
{
    struct topic *t = topics__find(b, org, name);
    return t && t->life == TOPIC_LIVE ? t : NULL;
}

struct topic *broker__topic_by_id(struct broker *b, const struct uuid *id)
{
    return map_get(b->topics_by_id, id->bytes, sizeof id->bytes);
}

struct partition *broker__partition(struct topic *t, int32_t index)
{
    return index >= 0 && index < t->n_partitions ? &t->partitions[index] : NULL;
}

/* ---- life of a topic ------------------------------------------------------------------------ */

/* Partitions never move, because calls under way point at them: when an array grows, the one
 * before is kept until the topic goes. */
struct old_array {
    struct old_array *next;
    struct partition *partitions;
};

static void topic_free(struct topic *t)
{
    if (!t)
        return;
    SL_ASSERT(list_empty(&t->waiters)); /* who waits is woken, never forgotten */
    for (struct old_array *old = t->old_arrays, *next; old; old = next) {
        next = old->next;
        sl_free(old->partitions);
        sl_free(old);
    }
    sl_free(t->partitions);
    sl_free(t->name);
    sl_free(t);
}
SL_DEFINE_AUTO(struct topic *, topic_free);

static struct topic *topic_new(const struct uuid *org, struct slice name)
{
    struct topic *t = sl_new(struct topic);
    t->org = *org;
    t->life = TOPIC_CREATING;
    t->name = sl_alloc(name.len + 1, 1);
    if (name.len)
        memcpy(t->name, name.data, name.len);
    list_init(&t->waiters);
    return t;
}

static sl_err put_names(struct broker *b, struct topic *t)
{
    struct slice name = slice_str(t->name);
    struct name_key k = key_of(&t->org, name);
    SL_TRY(map_put(b->topics_by_name, k.bytes, k.len, t, NULL));
    k = collision_key_of(&t->org, name);
    if (!map_get(b->topics->collisions, k.bytes, k.len))
        SL_TRY(map_put(b->topics->collisions, k.bytes, k.len, t, NULL));
    return SL_OK;
}

static void remove_names(struct broker *b, struct topic *t)
{
    struct slice name = slice_str(t->name);
    struct name_key k = key_of(&t->org, name);
    (void)map_remove(b->topics_by_name, k.bytes, k.len);
    k = collision_key_of(&t->org, name);
    if (map_get(b->topics->collisions, k.bytes, k.len) == t)
        (void)map_remove(b->topics->collisions, k.bytes, k.len);
}

sl_err topics__add(struct broker *b, const struct uuid *org, struct slice name, int32_t partitions,
                   struct topic **ret)
{
    SL_ASSERT(loop_is_current(b->env.loop));
    SL_ASSERT(partitions > 0);
    if (partitions > b->cfg.partitions_max - b->n_partitions)
        return SL_EPOLICY;
    SL_AUTO(topic_free) struct topic *t = topic_new(org, name);
    if (put_names(b, t) != SL_OK) {
        remove_names(b, t);
        return SL_EPOLICY;
    }
    b->n_partitions += partitions;
    *ret = SL_TAKE(t);
    return SL_OK;
}

void topics__extend(struct broker *b, struct topic *t, const struct log_part_id *ids, int32_t n)
{
    struct log_topic_cfg cfg;
    struct partition *all = sl_new_array(struct partition, (size_t)(t->n_partitions + n));
    SL_ASSERT(n >= 0);
    SL_ASSERT(t->life != TOPIC_DELETING);
    topic_config_to_log(&t->config, &cfg);
    if (t->n_partitions) {
        struct old_array *old = sl_new(struct old_array);
        memcpy(all, t->partitions, (size_t)t->n_partitions * sizeof *all);
        *old = (struct old_array){.next = t->old_arrays, .partitions = t->partitions};
        t->old_arrays = old;
    }
    for (int32_t i = 0; i < n; i++) {
        SL_ASSERT(ids[i].index == t->n_partitions + i);
        all[t->n_partitions + i] = (struct partition){
            .topic = t,
            .index = ids[i].index,
            .pid = ids[i].pid,
            .log = log_part_open(b->env.log, &ids[i], &cfg),
        };
    }
    t->partitions = all;
    t->n_partitions += n;
    if (t->life == TOPIC_LIVE)
        subs__topic_grown(b, t);
}

void topics__publish(struct broker *b, struct topic *t)
{
    SL_ASSERT(t->life == TOPIC_CREATING);
    SL_ASSERT(t->n_partitions > 0);
    /* As large as the table of names, so there is room. */
    sl_err err = map_put(b->topics_by_id, t->id.bytes, sizeof t->id.bytes, t, NULL);
    SL_ASSERT(err == SL_OK);
    t->life = TOPIC_LIVE;
}

void topics__remove(struct broker *b, struct topic *t, int32_t counted)
{
    struct list waiters;
    list_init(&waiters);
    list_splice(&waiters, &t->waiters);
    remove_names(b, t);
    if (broker__topic_by_id(b, &t->id) == t)
        (void)map_remove(b->topics_by_id, t->id.bytes, sizeof t->id.bytes);
    SL_ASSERT(b->n_partitions >= counted);
    b->n_partitions -= counted;
    topic_free(t);
    topics__wake(&waiters);
}

/* ---- waiting for a change ------------------------------------------------------------------- */

void topics__wait(struct topic *t, struct topic_wait *w)
{
    SL_ASSERT(t->changing);
    list_push_back(&t->waiters, &w->node);
}

void topics__wake(struct list *waiters)
{
    struct list now;
    list_init(&now);
    list_splice(&now, waiters);
    for (struct list *node; (node = list_pop_front(&now));) {
        struct topic_wait *w = SL_CONTAINER_OF(node, struct topic_wait, node);
        w->wake(w);
    }
}

void topics__enter(struct broker *b)
{
    b->topics->calls++;
}

void topics__leave(struct broker *b)
{
    SL_ASSERT(b->topics->calls > 0);
    b->topics->calls--;
    broker__idle_check(b);
}

bool topics__idle(const struct broker *b)
{
    return b->topics->calls == 0;
}

/* ---- start and end -------------------------------------------------------------------------- */

struct topic_load {
    struct broker *b;
    struct sl_fault *fault;
};

/* A line that this version does not know keeps its default: the log says so. */
static void read_config(struct topic *t, struct slice text)
{
    while (text.len) {
        struct sl_fault fault = {0};
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (topic_config_read(&t->config, slice_sub(text, 0, len), &fault) != SL_OK)
            LOG_WARN("topic.setting_ignored", "a stored setting is not understood",
                     F_STR("topic", t->name), F_STR("why", fault.what));
        text = slice_sub(text, len + (end != NULL), text.len - len - (end != NULL));
    }
}

static sl_err load_topic(void *arg, const struct meta_topic *row)
{
    struct topic_load *load = arg;
    struct broker *b = load->b;
    struct slice name = slice_str(row->name);
    SL_TRY(topic_name_check(name, load->fault));
    if (row->partitions < 1 || topics__find(b, &row->org, name))
        return sl_fault_set(load->fault, SL_ECORRUPT, "the topic row '%.60s' makes no sense",
                            row->name);
    SL_AUTO(topic_free) struct topic *t = topic_new(&row->org, name);
    t->id = row->topic_id;
    t->number = row->number;
    t->created_ms = row->created_ms;
    t->config = topic_config_from(&b->topic_defaults);
    read_config(t, row->config_text);
    enum log_engine_kind engine = log_engine_by_name(row->engine);
    if (engine == LOG_ENGINE_COUNT)
        return sl_fault_set(load->fault, SL_EFORMAT,
                            "the topic '%.60s' is in a storage engine that this version lacks",
                            row->name);
    topic_config_pin_engine(&t->config, (enum storage_engine)engine);
    t->n_partitions = row->partitions;
    t->partitions = sl_try_alloc((size_t)row->partitions, sizeof *t->partitions);
    if (!t->partitions)
        return SL_ENOMEM;
    SL_TRY(put_names(b, t));
    topics__publish(b, t);
    b->n_partitions += t->n_partitions;
    t = NULL; /* the tables own it */
    return SL_OK;
}

static sl_err load_partition(void *arg, const struct meta_partition *row)
{
    struct topic_load *load = arg;
    struct topic *t = broker__topic_by_id(load->b, &row->topic_id);
    struct partition *p = t ? broker__partition(t, row->index) : NULL;
    if (!p || p->log)
        return sl_fault_set(load->fault, SL_ECORRUPT,
                            "the partition row %llu belongs to no topic, or twice to one",
                            (unsigned long long)row->pid);
    struct log_topic_cfg cfg;
    struct log_part_id id = {.pid = row->pid, .topic_id = t->id, .index = row->index};
    topic_config_to_log(&t->config, &cfg);
    *p = (struct partition){.topic = t, .index = row->index, .pid = row->pid};
    p->log = log_part_open(load->b->env.log, &id, &cfg);
    return SL_OK;
}

static sl_err check_complete(struct broker *b, struct sl_fault *fault)
{
    void *value;
    for (size_t i = 0; map_next(b->topics_by_id, &i, NULL, &value);) {
        struct topic *t = value;
        for (int32_t p = 0; p < t->n_partitions; p++) {
            if (!t->partitions[p].log)
                return sl_fault_set(fault, SL_ECORRUPT, "topic '%.60s' has no row of partition %d",
                                    t->name, p);
        }
    }
    return SL_OK;
}

sl_err topics__open(struct broker *b, struct sl_fault *fault)
{
    struct topic_load load = {.b = b, .fault = fault};
    struct meta_loader loader = {.arg = &load, .topic = load_topic, .partition = load_partition};
    b->topics = sl_new(struct topic_state);
    b->topics->broker = b;
    b->topics->collisions = map_new(TOPICS_MAX);
    b->topics_by_name = map_new(TOPICS_MAX);
    b->topics_by_id = map_new(TOPICS_MAX);
    list_init(&b->topics->producer_waiting);
    SL_TRY(meta_load(b->env.meta, &loader, fault));
    return check_complete(b, fault);
}

void topics__free(struct broker *b)
{
    void *value;
    if (!b->topics)
        return;
    SL_ASSERT(topics__idle(b));
    for (size_t i = 0; map_next(b->topics_by_name, &i, NULL, &value);)
        topic_free(value);
    map_free(b->topics_by_name);
    map_free(b->topics_by_id);
    map_free(b->topics->collisions);
    sl_free(b->topics);
    b->topics = NULL;
}
