#include "broker/topics.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"

struct delete_topics_job {
    struct broker_delete_topics call;
    struct kafka_request *r;
};

enum { TOPICS_BY_ID = 6 }; /* first version that lists them as states */

static void fill_topic(const struct kafka_request *r, const struct broker_delete_topics *call,
                       const struct broker_delete_topic *topic,
                       struct kafka_delete_topics_response_deletable_topic_result *ret)
{
    struct kafka_item_answer a = kafka__item_answer(call->err, topic->err, topic->message);
    *ret = kafka_delete_topics_response_deletable_topic_result_default;
    ret->name = topic->name.data ? topic->name : kafka__nullable(topic->ret_name);
    ret->topic_id = topic->topic_id;
    ret->error_code = a.code;
    ret->error_message = a.message;
}

static void answer(struct kafka_request *r, const struct broker_delete_topics *call)
{
    struct kafka_delete_topics_response out = kafka_delete_topics_response_default;
    out.n_responses = call->n_topics;
    out.responses = kafka_alloc(r, call->n_topics, sizeof *out.responses);
    if (!out.responses)
        return;
    for (uint32_t i = 0; i < call->n_topics; i++)
        fill_topic(r, call, &call->topics[i], &out.responses[i]);
    kafka_reply(r, &out);
}

static void delete_topics_done(struct broker_call *c)
{
    struct delete_topics_job *job = SL_CONTAINER_OF(c, struct delete_topics_job, call.call);
    struct broker_delete_topics call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_delete_topics_fini(&call);
}

void kafka_handle_delete_topics(struct kafka_request *r)
{
    const struct kafka_delete_topics_request *in = r->in;
    bool by_id = r->api_version >= TOPICS_BY_ID;
    struct delete_topics_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.n_topics = by_id ? in->n_topics : in->n_topic_names;
    job->call.topics = kafka_alloc(r, job->call.n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < job->call.n_topics; i++) {
        job->call.topics[i].name = by_id ? in->topics[i].name : in->topic_names[i];
        if (by_id)
            job->call.topics[i].topic_id = in->topics[i].topic_id;
    }
    broker_delete_topics_init(&job->call);
    kafka_call(r, &job->call.call, delete_topics_done);
}
