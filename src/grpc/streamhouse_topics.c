/* streamhouse.StreamHouse: CreateTopic, GetTopic, ListTopics, DeleteTopic. */
#include "broker/topics.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/streamhouse.h"
#include "proto/streamhouse.pb-c.h"

#include <stdio.h>

enum { NUMBER_TEXT_BYTES = 24 };

void streamhouse__no_topic(struct grpc_call *c, const char *topic)
{
    grpc_fail(c, GRPC_NOT_FOUND, "Topic not found: %s", topic);
}

void streamhouse__fail(struct grpc_call *c, sl_err err, const char *why, const char *topic)
{
    c->why = err;
    if (err == SL_ETOPIC || err == SL_ETOPIC_NAME)
        streamhouse__no_topic(c, topic);
    else if (err == SL_EEXISTS)
        grpc_fail(c, GRPC_ALREADY_EXISTS, "Topic already exists: %s", topic);
    else
        grpc_fail_err(c, err, why);
}

/* ---- CreateTopic ----------------------------------------------------------------------------- */

struct create_job {
    struct broker_create_topics call;
    struct broker_create_topic wish;
    struct grpc_call *c;
    char retention_ms[NUMBER_TEXT_BYTES];
};

static void created(struct broker_call *b)
{
    struct create_job *job = SL_CONTAINER_OF(b, struct create_job, call.call);
    const Streamhouse__CreateTopicRequest *in =
        (const Streamhouse__CreateTopicRequest *)job->c->request;
    struct broker_create_topics call = job->call;
    sl_err err = call.err != SL_OK ? call.err : job->wish.err;
    Streamhouse__CreateTopicResponse out = STREAMHOUSE__CREATE_TOPIC_RESPONSE__INIT;
    out.topic_id = in->name;
    out.partition_count = (uint32_t)job->wish.n_partitions;
    if (err == SL_ETOPIC_NAME)
        grpc_fail_err(job->c, err, job->wish.message);
    else if (err != SL_OK)
        streamhouse__fail(job->c, err, job->wish.message, in->name);
    else
        grpc_reply(job->c, &out.base);
    broker_create_topics_fini(&call);
}

static bool take_settings(struct create_job *job, const Streamhouse__CreateTopicRequest *in)
{
    struct setting_text *s = grpc_alloc(job->c, in->n_config + 1, sizeof *s);
    if (!s)
        return false;
    job->wish.settings = s;
    for (size_t i = 0; i < in->n_config; i++, s++)
        *s = (struct setting_text){.name = slice_str(in->config[i]->key),
                                   .value = slice_str(in->config[i]->value)};
    if (in->_retention_ms_case == STREAMHOUSE__CREATE_TOPIC_REQUEST___RETENTION_MS_RETENTION_MS) {
        (void)snprintf(job->retention_ms, sizeof job->retention_ms, "%llu",
                       (unsigned long long)in->retention_ms);
        *s++ = (struct setting_text){.name = slice_str("retention.ms"),
                                     .value = slice_str(job->retention_ms)};
    }
    job->wish.n_settings = (uint32_t)(s - job->wish.settings);
    return true;
}

void grpc_streamhouse_create_topic(struct grpc_call *c)
{
    const Streamhouse__CreateTopicRequest *in = (const Streamhouse__CreateTopicRequest *)c->request;
    struct create_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    if (!take_settings(job, in))
        return;
    job->wish.name = slice_str(in->name);
    job->wish.n_partitions = in->partition_count
                                 ? (int32_t)SL_MIN(in->partition_count, (uint32_t)INT32_MAX)
                                 : broker_config(c->broker)->num_partitions;
    job->wish.replication_factor = -1;
    job->call.topics = &job->wish;
    job->call.n_topics = 1;
    broker_create_topics_init(&job->call);
    grpc_submit(c, &job->call.call, created);
}

/* ---- GetTopic, ListTopics -------------------------------------------------------------------- */

struct look_job {
    struct broker_metadata call;
    struct broker_topic_view view;
    struct grpc_call *c;
};

/* Settings that the topic has itself. */
static bool put_config(struct grpc_call *c, const struct topic_config *config,
                       Streamhouse__Topic *ret)
{
    ret->config = arena_alloc(c->arena, TOPIC_SETTING_COUNT, sizeof(void *));
    for (int s = 0; ret->config && s < TOPIC_SETTING_COUNT; s++) {
        char text[SETTING_TEXT_BYTES];
        if (!topic_config_has(config, (enum topic_setting)s))
            continue;
        Streamhouse__Topic__ConfigEntry *e = arena_alloc(c->arena, 1, sizeof *e);
        if (!e)
            return false;
        streamhouse__topic__config_entry__init(e);
        topic_setting_format((enum topic_setting)s, config->values[s], text);
        e->key = (char *)topic_setting_info((enum topic_setting)s)->name;
        e->value = grpc_text(c, slice_str(text));
        if (!e->value)
            return false;
        ret->config[ret->n_config++] = e;
    }
    if (topic_config_has(config, TOPIC_SETTING_retention_ms) && config->retention_ms >= 0) {
        ret->_retention_ms_case = STREAMHOUSE__TOPIC___RETENTION_MS_RETENTION_MS;
        ret->retention_ms = (uint64_t)config->retention_ms;
    }
    return ret->config != NULL;
}

static Streamhouse__Topic *topic_of(struct grpc_call *c, const struct broker_topic_view *v)
{
    Streamhouse__Topic *t = arena_alloc(c->arena, 1, sizeof *t);
    if (!t)
        return NULL;
    streamhouse__topic__init(t);
    t->name = grpc_text(c, v->name);
    t->partition_count = (uint32_t)v->n_partitions;
    t->created_at = (uint64_t)v->created_ms;
    return t->name && put_config(c, v->config, t) ? t : NULL;
}

static void got(struct broker_call *b)
{
    struct look_job *job = SL_CONTAINER_OF(b, struct look_job, call.call);
    struct grpc_call *c = job->c;
    struct broker_metadata call = job->call;
    sl_err err = call.err != SL_OK ? call.err : job->view.err;
    Streamhouse__GetTopicResponse out = STREAMHOUSE__GET_TOPIC_RESPONSE__INIT;
    if (err == SL_OK)
        out.topic = topic_of(c, &job->view);
    if (err != SL_OK)
        streamhouse__fail(c, err, NULL, ((const Streamhouse__GetTopicRequest *)c->request)->name);
    else if (!out.topic)
        grpc_fail_err(c, SL_ENOMEM, NULL);
    else
        grpc_reply(c, &out.base);
    broker_metadata_fini(&call);
}

void grpc_streamhouse_get_topic(struct grpc_call *c)
{
    struct look_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->view.name = slice_str(((const Streamhouse__GetTopicRequest *)c->request)->name);
    job->call.topics = &job->view;
    job->call.n_topics = 1;
    job->call.with_config = true;
    broker_metadata_init(&job->call);
    grpc_submit(c, &job->call.call, got);
}

static sl_err put_all(struct grpc_call *c, const struct broker_metadata *call,
                      Streamhouse__ListTopicsResponse *out)
{
    out->topics = arena_alloc(c->arena, call->n_topics + 1, sizeof(void *));
    for (uint32_t i = 0; out->topics && i < call->n_topics; i++) {
        Streamhouse__Topic *t = topic_of(c, &call->topics[i]);
        if (!t)
            return SL_ENOMEM;
        out->topics[out->n_topics++] = t;
    }
    return out->topics ? SL_OK : SL_ENOMEM;
}

static void listed(struct broker_call *b)
{
    struct look_job *job = SL_CONTAINER_OF(b, struct look_job, call.call);
    struct broker_metadata call = job->call;
    Streamhouse__ListTopicsResponse out = STREAMHOUSE__LIST_TOPICS_RESPONSE__INIT;
    sl_err err = call.err != SL_OK ? call.err : put_all(job->c, &call, &out);
    if (err != SL_OK)
        grpc_fail_err(job->c, err, NULL);
    else
        grpc_reply(job->c, &out.base);
    broker_metadata_fini(&call);
}

void grpc_streamhouse_list_topics(struct grpc_call *c)
{
    struct look_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->call.all = true;
    job->call.with_config = true;
    broker_metadata_init(&job->call);
    grpc_submit(c, &job->call.call, listed);
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
    Streamhouse__DeleteTopicResponse out = STREAMHOUSE__DELETE_TOPIC_RESPONSE__INIT;
    out.success = true;
    if (err != SL_OK)
        streamhouse__fail(job->c, err, job->wish.message,
                          ((const Streamhouse__DeleteTopicRequest *)job->c->request)->name);
    else
        grpc_reply(job->c, &out.base);
    broker_delete_topics_fini(&call);
}

void grpc_streamhouse_delete_topic(struct grpc_call *c)
{
    struct delete_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->wish.name = slice_str(((const Streamhouse__DeleteTopicRequest *)c->request)->name);
    job->call.topics = &job->wish;
    job->call.n_topics = 1;
    broker_delete_topics_init(&job->call);
    grpc_submit(c, &job->call.call, deleted);
}

/* ---- which of topic and partition is missing ------------------------------------------------- */

struct missing_job {
    struct broker_metadata call;
    struct broker_topic_view view;
    struct grpc_call *c;
    const char *topic;
    uint32_t partition;
};

static void looked(struct broker_call *b)
{
    struct missing_job *job = SL_CONTAINER_OF(b, struct missing_job, call.call);
    struct broker_metadata call = job->call;
    sl_err err = call.err != SL_OK ? call.err : job->view.err;
    if (err != SL_OK)
        streamhouse__fail(job->c, err, NULL, job->topic);
    else
        grpc_fail(job->c, GRPC_INVALID_ARGUMENT, "Invalid partition %u: topic %s has %d",
                  job->partition, job->topic, job->view.n_partitions);
    broker_metadata_fini(&call);
}

void streamhouse__not_found(struct grpc_call *c, const char *topic, uint32_t partition)
{
    struct missing_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->topic = topic;
    job->partition = partition;
    job->view.name = slice_str(topic);
    job->call.topics = &job->view;
    job->call.n_topics = 1;
    broker_metadata_init(&job->call);
    grpc_submit(c, &job->call.call, looked);
}
