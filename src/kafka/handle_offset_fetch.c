/* OffsetFetch: up to version 7 of one group, from 8 on of several. Both forms are one list of
 * groups here. */
#include "kafka/group_answer.h"
#include "kafka_codec/errors.h"

enum { FIRST_VERSION_WITH_GROUPS = 8 };

struct fetch_job {
    struct kafka_serial serial;
    struct broker_offset_fetch call; /* of the group that is asked for now */
    struct kafka_offset_fetch_response_group *groups;
    bool failed; /* no memory for the answer */
};

/* ---- asking --------------------------------------------------------------------------------- */

static bool fill_partitions(struct kafka_request *r, const int32_t *indexes, uint32_t n,
                            struct group_offset_topic *t)
{
    t->n_partitions = n;
    t->partitions = arena_alloc(r->arena, n, sizeof *t->partitions);
    for (uint32_t k = 0; t->partitions && k < n; k++)
        t->partitions[k].partition = indexes[k];
    return t->partitions || !n;
}

static bool fill_one(struct fetch_job *job)
{
    const struct kafka_offset_fetch_request *in = job->serial.r->in;
    job->call.head.group = in->group_id;
    job->call.all_topics = in->topics_is_null;
    job->call.topics = arena_alloc(job->serial.r->arena, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return in->n_topics == 0;
    job->call.n_topics = in->n_topics;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        const struct kafka_offset_fetch_request_topic *t = &in->topics[i];
        job->call.topics[i].name = t->name;
        if (!fill_partitions(job->serial.r, t->partition_indexes, t->n_partition_indexes,
                             &job->call.topics[i]))
            return false;
    }
    return true;
}

static bool fill_group(struct fetch_job *job, const struct kafka_offset_fetch_request_group *in)
{
    struct kafka_request *r = job->serial.r;
    job->call.head.group = in->group_id;
    job->call.all_topics = in->topics_is_null;
    job->call.topics = arena_alloc(r->arena, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return in->n_topics == 0;
    job->call.n_topics = in->n_topics;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        const struct kafka_offset_fetch_request_topics *t = &in->topics[i];
        job->call.topics[i].name = t->name;
        job->call.topics[i].topic_id = t->topic_id;
        job->call.topics[i].by_id = r->api_version >= FIRST_VERSION_WITH_TOPIC_IDS;
        if (!fill_partitions(r, t->partition_indexes, t->n_partition_indexes, &job->call.topics[i]))
            return false;
    }
    return true;
}

/* ---- answering ------------------------------------------------------------------------------ */

static void put_topic(struct fetch_job *job, const struct group_offset_topic *t,
                      struct kafka_offset_fetch_response_topics *ret)
{
    struct kafka_request *r = job->serial.r;
    ret->name = kafka__keep(r, t->name, &job->failed);
    ret->topic_id = t->topic_id;
    ret->partitions = arena_alloc(r->arena, t->n_partitions, sizeof *ret->partitions);
    if (!ret->partitions) {
        job->failed |= t->n_partitions > 0;
        return;
    }
    ret->n_partitions = t->n_partitions;
    for (uint32_t k = 0; k < t->n_partitions; k++) {
        const struct group_offset *o = &t->partitions[k];
        ret->partitions[k] = (struct kafka_offset_fetch_response_partitions){
            .partition_index = o->partition,
            .committed_offset = o->offset,
            .committed_leader_epoch = o->leader_epoch,
            .metadata = kafka__keep(r, o->metadata, &job->failed),
            .error_code = kafka__group_partition_error(o->err),
        };
    }
}

static void put_group(struct fetch_job *job, struct kafka_offset_fetch_response_group *ret)
{
    struct broker_offset_fetch *call = &job->call;
    ret->group_id = call->head.group;
    ret->error_code = kafka__group_error(call->head.err);
    if (call->head.err != SL_OK)
        return;
    ret->topics = arena_alloc(job->serial.r->arena, call->n_topics, sizeof *ret->topics);
    if (!ret->topics) {
        job->failed |= call->n_topics > 0;
        return;
    }
    ret->n_topics = call->n_topics;
    for (uint32_t i = 0; i < call->n_topics; i++)
        put_topic(job, &call->topics[i], &ret->topics[i]);
}

static void fetch_done(struct broker_call *c)
{
    struct fetch_job *job = SL_CONTAINER_OF(c, struct fetch_job, call.head.call);
    put_group(job, &job->groups[job->serial.next]);
    broker_offset_fetch_fini(&job->call);
    kafka__serial_ended(&job->serial);
}

static void fetch_next(struct kafka_serial *s)
{
    struct fetch_job *job = SL_CONTAINER_OF(s, struct fetch_job, serial);
    const struct kafka_offset_fetch_request *in = s->r->in;
    job->call = (struct broker_offset_fetch){0};
    bool filled = s->r->api_version < FIRST_VERSION_WITH_GROUPS
                      ? fill_one(job)
                      : fill_group(job, &in->groups[s->next]);
    if (!filled) {
        job->failed = true;
        kafka__serial_ended(s);
        return;
    }
    broker_offset_fetch_init(&job->call);
    kafka_call(s->r, &job->call.head.call, fetch_done);
}

/* The older form of the same: without groups, the error at the top. */
static void reply_one(struct kafka_request *r, const struct kafka_offset_fetch_response_group *g)
{
    struct kafka_offset_fetch_response out = kafka_offset_fetch_response_default;
    out.error_code = g->error_code;
    out.n_topics = g->n_topics;
    out.topics = kafka_alloc(r, g->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < g->n_topics; i++) {
        const struct kafka_offset_fetch_response_topics *from = &g->topics[i];
        struct kafka_offset_fetch_response_topic *t = &out.topics[i];
        t->name = from->name;
        t->n_partitions = from->n_partitions;
        t->partitions = kafka_alloc(r, from->n_partitions, sizeof *t->partitions);
        if (!t->partitions)
            return;
        for (uint32_t k = 0; k < from->n_partitions; k++)
            t->partitions[k] = (struct kafka_offset_fetch_response_partition){
                .partition_index = from->partitions[k].partition_index,
                .committed_offset = from->partitions[k].committed_offset,
                .committed_leader_epoch = from->partitions[k].committed_leader_epoch,
                .metadata = from->partitions[k].metadata,
                .error_code = from->partitions[k].error_code,
            };
    }
    kafka_reply(r, &out);
}

static void fetch_finish(struct kafka_serial *s)
{
    struct fetch_job *job = SL_CONTAINER_OF(s, struct fetch_job, serial);
    struct kafka_offset_fetch_response out = kafka_offset_fetch_response_default;
    if (job->failed) {
        kafka_reply_close(s->r, "no memory for the answer");
        return;
    }
    if (s->r->api_version < FIRST_VERSION_WITH_GROUPS) {
        reply_one(s->r, &job->groups[0]);
        return;
    }
    out.n_groups = s->n;
    out.groups = job->groups;
    kafka_reply(s->r, &out);
}

void kafka_handle_offset_fetch(struct kafka_request *r)
{
    const struct kafka_offset_fetch_request *in = r->in;
    bool many = r->api_version >= FIRST_VERSION_WITH_GROUPS;
    struct fetch_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->serial = (struct kafka_serial){
        .r = r, .n = many ? in->n_groups : 1, .start = fetch_next, .finish = fetch_finish};
    job->groups = kafka_alloc(r, job->serial.n, sizeof *job->groups);
    if (job->groups)
        kafka__serial_run(&job->serial);
}
