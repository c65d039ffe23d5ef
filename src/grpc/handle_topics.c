/* sluice.v1.Sluice: ListTopics, CreateTopic, DeleteTopic. */
#include "broker/topics.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/publish_call.h"
#include "proto/sluice.pb-c.h"

/* ---- ListTopics ------------------------------------------------------------------------------ */

struct list_job {
    struct broker_metadata call;
    struct grpc_call *c;
};

static bool put_topics(struct grpc_call *c, const struct broker_metadata *from,
                       Sluice__V1__ListTopicsResponse *out)
{
    Sluice__V1__Topic *topics = grpc_alloc(c, from->n_topics, sizeof *topics);
    if (!topics)
        return false;
    out->topics = grpc_alloc(c, from->n_topics, sizeof(void *));
    if (!out->topics)
        return false;
    for (uint32_t i = 0; i < from->n_topics; i++) {
        const struct broker_topic_view *v = &from->topics[i];
        sluice__v1__topic__init(&topics[i]);
        topics[i].name = grpc_text(c, v->name);
        if (!topics[i].name) {
            grpc_fail_err(c, SL_ENOMEM, NULL);
            return false;
        }
        topics[i].created_at = v->created_ms;
        topics[i].partitions = (uint32_t)v->n_partitions;
        out->topics[out->n_topics++] = &topics[i];
    }
    return true;
}

static void listed(struct broker_call *b)
{
    struct list_job *job = SL_CONTAINER_OF(b, struct list_job, call.call);
    struct grpc_call *c = job->c;
    Sluice__V1__ListTopicsResponse out = SLUICE__V1__LIST_TOPICS_RESPONSE__INIT;
    struct broker_metadata call = job->call; /* the call's memory may go before its own */
    if (call.err == SL_ECLOSED)
        grpc_fail(c, GRPC_UNAVAILABLE, "server is shutting down");
    else if (call.err != SL_OK)
        grpc_fail(c, grpc_status_of(call.err), "failed to list topics: %s", sl_err_text(call.err));
    else if (put_topics(c, &call, &out))
        grpc_reply(c, &out.base);
    broker_metadata_fini(&call);
}

void grpc_handle_list_topics(struct grpc_call *c)
{
    struct list_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->call.all = true;
    broker_metadata_init(&job->call);
    grpc_submit(c, &job->call.call, listed);
}

/* ---- CreateTopic ----------------------------------------------------------------------------- */

struct create_job {
    struct broker_create_topics call;
    struct broker_create_topic wish;
    struct grpc_call *c;
};

static void created(struct broker_call *b)
{
    struct create_job *job = SL_CONTAINER_OF(b, struct create_job, call.call);
    struct broker_create_topics call = job->call;
    sl_err err = call.err != SL_OK ? call.err : job->wish.err;
    Sluice__V1__CreateTopicResponse out = SLUICE__V1__CREATE_TOPIC_RESPONSE__INIT;
    if (err != SL_OK)
        grpc_fail_err(job->c, err, job->wish.message);
    else
        grpc_reply(job->c, &out.base);
    broker_create_topics_fini(&call);
}

static bool take_settings(struct grpc_call *c, const Sluice__V1__CreateTopicRequest *in,
                          struct broker_create_topic *ret)
{
    struct setting_text *s = grpc_alloc(c, in->n_settings, sizeof *s);
    if (!s)
        return false;
    for (size_t i = 0; i < in->n_settings; i++) {
        s[i].name = slice_str(in->settings[i]->key);
        s[i].value = slice_str(in->settings[i]->value);
    }
    ret->settings = s;
    ret->n_settings = (uint32_t)in->n_settings;
    return true;
}

void grpc_handle_create_topic(struct grpc_call *c)
{
    const Sluice__V1__CreateTopicRequest *in = (const Sluice__V1__CreateTopicRequest *)c->request;
    if (!publish__topic_holds(c, in->name))
        return;
    struct create_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job || !take_settings(c, in, &job->wish))
        return;
    if (in->partitions > INT32_MAX) {
        grpc_fail_err(c, SL_EPARTITIONS, NULL);
        return;
    }
    job->c = c;
    job->wish.name = slice_str(in->name);
    job->wish.n_partitions = in->partitions ? (int32_t)in->partitions : 1;
    job->wish.replication_factor = -1;
    job->call.topics = &job->wish;
    job->call.n_topics = 1;
    broker_create_topics_init(&job->call);
    grpc_submit(c, &job->call.call, created);
}

/* ---- DeleteTopic ----------------------------------------------------------------------------- */

struct delete_job {
    struct broker_delete_topics call;
    struct broker_delete_topic wish;
    struct grpc_call *c;
};

static void deleted(struct broker_call *b)
{
    struct delete_job *job = SL_CONTAINER_OF(b, struct delete_job, call.call);
    struct broker_delete_topics call = job->call;
    sl_err err = call.err != SL_OK ? call.err : job->wish.err;
    Sluice__V1__DeleteTopicResponse out = SLUICE__V1__DELETE_TOPIC_RESPONSE__INIT;
    if (err == SL_ETOPIC)
        grpc_fail(job->c, GRPC_NOT_FOUND, "topic '%.*s' does not exist", (int)job->wish.name.len,
                  (const char *)job->wish.name.data);
    else if (err != SL_OK)
        grpc_fail_err(job->c, err, job->wish.message);
    else
        grpc_reply(job->c, &out.base);
    broker_delete_topics_fini(&call);
}

void grpc_handle_delete_topic(struct grpc_call *c)
{
    const Sluice__V1__DeleteTopicRequest *in = (const Sluice__V1__DeleteTopicRequest *)c->request;
    if (!publish__topic_holds(c, in->name))
        return;
    struct delete_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->wish.name = slice_str(in->name);
    job->call.topics = &job->wish;
    job->call.n_topics = 1;
    broker_delete_topics_init(&job->call);
    grpc_submit(c, &job->call.call, deleted);
}
