#include "base/alloc.h"
#include "broker/fetch_int.h"

void fetch__set_init(struct fetch_set *set, struct fetch_state *state, bool by_id)
{
    set->state = state;
    set->by_id = by_id;
    list_init(&set->ready);
    list_push_back(&state->sets, &set->node);
}

static void entry_moved(struct log_watch *w)
{
    struct fetch_entry *e = SL_CONTAINER_OF(w, struct fetch_entry, watch);
    if (!list_linked(&e->node))
        list_push_back(&e->set->ready, &e->node);
    fetch__wake(e->set);
}

void fetch__entry_init(struct fetch_entry *e, struct fetch_set *set)
{
    e->set = set;
    e->watch.moved = entry_moved;
    e->sent_watermark = e->sent_log_start = -1;
}

void fetch__entry_fini(struct fetch_entry *e)
{
    list_remove(&e->watch.node);
    list_remove(&e->node);
    slice_unref(&e->data);
}

void fetch__entry_update(struct fetch_entry *e, const struct broker_fetch_part *part)
{
    e->offset = part->offset;
    e->bytes_max = part->bytes_max;
    e->leader_epoch = part->leader_epoch;
    if (!list_linked(&e->node))
        list_push_back(&e->set->ready, &e->node);
}

struct fetch_set *fetch__set_of_request(struct fetch_state *state, const struct broker_fetch *f)
{
    struct fetch_set *set = sl_new(struct fetch_set);
    fetch__set_init(set, state, f->by_id);
    set->entries = sl_new_array(struct fetch_entry, SL_MAX(f->n_parts, 1U));
    set->n_entries = f->n_parts;
    for (uint32_t i = 0; i < f->n_parts; i++) {
        struct fetch_entry *e = &set->entries[i];
        fetch__entry_init(e, set);
        e->name = f->parts[i].topic;
        e->topic_id = f->parts[i].topic_id;
        e->index = f->parts[i].index;
        fetch__entry_update(e, &f->parts[i]);
    }
    return set;
}

void fetch__set_fini(struct fetch_set *set)
{
    list_remove(&set->node);
    list_remove(&set->wake_node);
    if (!set->entries)
        return; /* a session's: its entries are freed by their owner */
    for (uint32_t i = 0; i < set->n_entries; i++)
        fetch__entry_fini(&set->entries[i]);
    sl_free(set->entries);
    sl_free(set);
}

/* Partitions of one topic follow each other in a request: their neighbour knows it already. */
static struct topic *topic_of_neighbour(const struct fetch_entry *e)
{
    const struct fetch_set *set = e->set;
    if (!set->entries || e == set->entries)
        return NULL;
    const struct fetch_entry *before = e - 1;
    if (set->by_id ? !uuid_equal(&before->topic_id, &e->topic_id)
                   : before->name.data != e->name.data || before->name.len != e->name.len)
        return NULL;
    return before->topic;
}

static struct topic *find_topic(const struct fetch_entry *e, const struct principal *who)
{
    struct broker *b = e->set->state->broker;
    struct topic *t = topic_of_neighbour(e);
    if (t)
        return t;
    if (e->set->by_id)
        return broker__topic_by_id(b, &e->topic_id);
    return broker__topic(b, &who->org, e->name);
}

sl_err fetch__entry_resolve(struct fetch_entry *e, const struct principal *who)
{
    sl_err unknown = e->set->by_id ? SL_ETOPIC_ID : SL_ETOPIC;
    struct topic *t = e->topic ? e->topic : find_topic(e, who);
    if (!t)
        return unknown;
    SL_TRY(authorize(e->set->state->broker, who, OPERATION_READ, RESOURCE_TOPIC, t->name));
    if (e->topic)
        return SL_OK;
    struct partition *p = broker__partition(t, e->index);
    if (!p)
        return SL_ETOPIC;
    e->topic = t;
    e->topic_id = t->id;
    e->log = p->log;
    return SL_OK;
}

void fetch__entry_arm(struct fetch_entry *e, int64_t above)
{
    list_remove(&e->watch.node);
    e->watch.above = above;
    log_watch(e->set->state->broker->env.log, e->log, &e->watch);
}
