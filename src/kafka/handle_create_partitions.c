#include "broker/topics.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"

struct create_partitions_job {
    struct broker_grow_topics call;
    struct kafka_request *r;
};

static void answer(struct kafka_request *r, const struct broker_grow_topics *call)
{
    struct kafka_create_partitions_response out = kafka_create_partitions_response_default;
    out.n_results = call->n_topics;
    out.results = kafka_alloc(r, call->n_topics, sizeof *out.results);
    if (!out.results)
        return;
    for (uint32_t i = 0; i < call->n_topics; i++) {
        const struct broker_grow_topic *topic = &call->topics[i];
        struct kafka_item_answer a = kafka__item_answer(call->err, topic->err, topic->message);
        out.results[i] = kafka_create_partitions_response_topic_result_default;
        out.results[i].name = topic->name;
        out.results[i].error_code = a.code;
        out.results[i].error_message = a.message;
    }
    kafka_reply(r, &out);
}

static void create_partitions_done(struct broker_call *c)
{
    struct create_partitions_job *job = SL_CONTAINER_OF(c, struct create_partitions_job, call.call);
    struct broker_grow_topics call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_grow_topics_fini(&call);
}

static bool read_topic(struct kafka_request *r,
                       const struct kafka_create_partitions_request_topic *in,
                       struct broker_grow_topic *ret)
{
    struct replica_assignment *assignments = kafka_alloc(r, in->n_assignments, sizeof *assignments);
    if (!assignments)
        return false;
    for (uint32_t i = 0; i < in->n_assignments; i++) {
        assignments[i].broker_ids = in->assignments[i].broker_ids;
        assignments[i].n_broker_ids = in->assignments[i].n_broker_ids;
    }
    *ret = (struct broker_grow_topic){
        .name = in->name,
        .count = in->count,
        .assignments = assignments,
        .n_assignments = in->n_assignments,
        .has_assignments = !in->assignments_is_null,
    };
    return true;
}

void kafka_handle_create_partitions(struct kafka_request *r)
{
    const struct kafka_create_partitions_request *in = r->in;
    struct create_partitions_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.validate_only = in->validate_only;
    job->call.n_topics = in->n_topics;
    job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        if (!read_topic(r, &in->topics[i], &job->call.topics[i]))
            return;
    }
    broker_grow_topics_init(&job->call);
    kafka_call(r, &job->call.call, create_partitions_done);
}
