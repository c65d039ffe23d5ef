/* Topics in the order of their names, at most so many partitions an answer; a cursor says where the
 * next answer goes on (KIP-966). */
#include "broker/topics.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"
#include "kafka_codec/errors.h"

#include <stdlib.h>

struct describe_topic_partitions_job {
    struct broker_metadata call;
    struct kafka_request *r;
};

enum { PARTITIONS_MAX = 2000 };

static int by_name(const void *a, const void *b)
{
    const struct broker_topic_view *x = a, *y = b;
    int order = memcmp(x->name.data, y->name.data, SL_MIN(x->name.len, y->name.len));
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* Where one answer begins and how much of it is left. */
struct page {
    struct kafka_request *r;
    int32_t node;
    int32_t partitions_left;
    struct kafka_describe_topic_partitions_response out;
    struct kafka_describe_topic_partitions_response_cursor next;
};

static bool fill_partitions(struct page *page, const struct broker_topic_view *v, int32_t first,
                            struct kafka_describe_topic_partitions_response_topic *ret)
{
    int32_t n = SL_MIN(v->n_partitions - first, page->partitions_left);
    ret->n_partitions = (uint32_t)n;
    ret->partitions = kafka_alloc(page->r, (size_t)n, sizeof *ret->partitions);
    if (!ret->partitions)
        return false;
    for (int32_t i = 0; i < n; i++) {
        struct kafka_describe_topic_partitions_response_partition *p = &ret->partitions[i];
        *p = kafka_describe_topic_partitions_response_partition_default;
        p->partition_index = first + i;
        p->leader_id = page->node;
        p->leader_epoch = v->leader_epochs[first + i];
        p->n_replica_nodes = p->n_isr_nodes = 1;
        p->replica_nodes = p->isr_nodes = &page->node;
        p->eligible_leader_replicas_is_null = p->last_known_elr_is_null = false;
    }
    page->partitions_left -= n;
    if (first + n < v->n_partitions) {
        page->next.topic_name = v->name;
        page->next.partition_index = first + n;
        page->out.next_cursor = &page->next;
    }
    return true;
}

static bool fill_topic(struct page *page, const struct broker_topic_view *v, sl_err whole,
                       int32_t first)
{
    struct kafka_describe_topic_partitions_response_topic *ret =
        &page->out.topics[page->out.n_topics++];
    sl_err err = whole == SL_OK ? v->err : whole;
    *ret = kafka_describe_topic_partitions_response_topic_default;
    ret->error_code = kafka__admin_error(err);
    ret->name = v->name;
    ret->topic_id = v->topic_id;
    if (err != SL_OK)
        return true;
    ret->topic_authorized_operations = kafka__topic_operations(page->r, v->name);
    return fill_partitions(page, v, SL_MIN(first, v->n_partitions), ret);
}

static bool is_before(const struct broker_topic_view *v,
                      const struct kafka_describe_topic_partitions_request_cursor *cursor)
{
    struct broker_topic_view start = {.name = cursor->topic_name};
    return by_name(v, &start) < 0;
}

static void answer(struct kafka_request *r, const struct broker_metadata *call)
{
    const struct kafka_describe_topic_partitions_request *in = r->in;
    struct page page = {.r = r,
                        .node = broker_config(r->broker)->node_id,
                        .partitions_left =
                            SL_MIN(SL_MAX(in->response_partition_limit, 1), PARTITIONS_MAX),
                        .out = kafka_describe_topic_partitions_response_default};
    page.out.topics = kafka_alloc(r, call->n_topics, sizeof *page.out.topics);
    if (!page.out.topics)
        return;
    for (uint32_t i = 0; i < call->n_topics && !page.out.next_cursor; i++) {
        const struct broker_topic_view *v = &call->topics[i];
        if (in->cursor && is_before(v, in->cursor))
            continue;
        if (page.partitions_left == 0) {
            page.next.topic_name = v->name;
            page.out.next_cursor = &page.next;
            break;
        }
        bool at_cursor = in->cursor && slice_eq(v->name, in->cursor->topic_name);
        int32_t first = at_cursor ? SL_MAX(in->cursor->partition_index, 0) : 0;
        if (!fill_topic(&page, v, call->err, first))
            return;
    }
    kafka_reply(r, &page.out);
}

static void describe_topic_partitions_done(struct broker_call *c)
{
    struct describe_topic_partitions_job *job =
        SL_CONTAINER_OF(c, struct describe_topic_partitions_job, call.call);
    struct broker_metadata call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_metadata_fini(&call);
}

void kafka_handle_describe_topic_partitions(struct kafka_request *r)
{
    const struct kafka_describe_topic_partitions_request *in = r->in;
    struct describe_topic_partitions_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.all = in->n_topics == 0;
    job->call.n_topics = in->n_topics;
    job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++)
        job->call.topics[i].name = in->topics[i].name;
    qsort(job->call.topics, in->n_topics, sizeof *job->call.topics, by_name);
    broker_metadata_init(&job->call);
    kafka_call(r, &job->call.call, describe_topic_partitions_done);
}
