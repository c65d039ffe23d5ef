#include "base/alloc.h"
#include "base/arena.h"
#include "broker/fetch_int.h"

static struct broker_fetch_results *results_new(uint32_t cap)
{
    struct broker_fetch_results *r = sl_new(struct broker_fetch_results);
    r->items = sl_new_array(struct broker_fetch_result, SL_MAX(cap, 1U));
    r->cap = cap;
    return r;
}

void broker_fetch_results_free(struct broker_fetch_results *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        slice_unref(&r->items[i].records);
    arena_free(r->names);
    sl_free(r->items);
    sl_free(r);
}

/* A session's entry may be gone before the door has written its name: copied, once a topic. */
static struct slice name_of(struct broker_fetch_results *r, const struct fetch_entry *e,
                            bool is_session)
{
    if (!is_session || e->name.len == 0)
        return e->name;
    if (r->n > 0 && slice_eq(r->items[r->n - 1].topic, e->name))
        return r->items[r->n - 1].topic;
    if (!r->names)
        r->names = arena_new(NULL);
    char *copy = arena_strndup(r->names, e->name.data, e->name.len);
    SL_ASSERT(copy); /* at most 255 bytes, no budget */
    return slice_of(copy, e->name.len);
}

static void add(struct broker_fetch_results *r, struct fetch_entry *e, bool is_session)
{
    SL_ASSERT(r->n < r->cap);
    struct slice name = name_of(r, e, is_session);
    r->items[r->n++] = (struct broker_fetch_result){.topic = name,
                                                    .topic_id = e->topic_id,
                                                    .index = e->index,
                                                    .err = e->err,
                                                    .high_watermark = e->high_watermark,
                                                    .log_start = e->log_start,
                                                    .records = e->data};
    e->data = (struct slice){0};
    /* with an error nothing counts as told, so that the partition comes again without it */
    e->sent_watermark = e->err == SL_OK ? e->high_watermark : -1;
    e->sent_log_start = e->err == SL_OK ? e->log_start : -1;
}

static struct fetch_entry *nth(const struct fetch_run *run, uint32_t i)
{
    return run->order ? run->order[i] : &run->set->entries[i];
}

static void build_full(struct fetch_run *run)
{
    struct broker_fetch_results *r = results_new(run->f->n_parts);
    for (uint32_t i = 0; i < run->f->n_parts; i++)
        add(r, nth(run, i), run->session != NULL);
    run->f->results = r;
}

static void build_incremental(struct fetch_run *run)
{
    uint32_t n = 0;
    LIST_FOREACH (node, &run->told)
        n++;
    struct broker_fetch_results *r = results_new(n);
    LIST_FOREACH (node, &run->told)
        add(r, SL_CONTAINER_OF(node, struct fetch_entry, node), true);
    run->f->results = r;
}

void fetch__results_build(struct fetch_run *run)
{
    if (run->is_full)
        build_full(run);
    else
        build_incremental(run);
    run->f->call.broker->fetch->counters.bytes += run->collected;
}
