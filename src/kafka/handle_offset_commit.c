#include "kafka/group_answer.h"
#include "kafka_codec/errors.h"

enum { FIRST_VERSION_GROUP_ID_NOT_FOUND = 9 };

struct commit_job {
    struct broker_offset_commit call;
    struct kafka_request *r;
};

/* What went wrong with the whole commit is the error of each partition. */
static int16_t error_of(const struct commit_job *job, sl_err part)
{
    sl_err whole = job->call.head.err;
    if (whole == SL_OK)
        return kafka__group_partition_error(part);
    if (whole == SL_EGROUP_MISSING && job->r->api_version < FIRST_VERSION_GROUP_ID_NOT_FOUND)
        return KAFKA_ERR_ILLEGAL_GENERATION;
    return kafka__group_error(whole);
}

static bool put_topic(struct commit_job *job, uint32_t i,
                      struct kafka_offset_commit_response_topic *ret)
{
    const struct kafka_offset_commit_request *in = job->r->in;
    const struct group_offset_topic *t = &job->call.topics[i];
    ret->name = in->topics[i].name;
    ret->topic_id = in->topics[i].topic_id;
    ret->n_partitions = t->n_partitions;
    ret->partitions = kafka_alloc(job->r, t->n_partitions, sizeof *ret->partitions);
    for (uint32_t k = 0; ret->partitions && k < t->n_partitions; k++) {
        ret->partitions[k].partition_index = t->partitions[k].partition;
        ret->partitions[k].error_code = error_of(job, t->partitions[k].err);
    }
    return ret->partitions != NULL;
}

static void commit_done(struct broker_call *c)
{
    struct commit_job *job = SL_CONTAINER_OF(c, struct commit_job, call.head.call);
    struct kafka_offset_commit_response out = kafka_offset_commit_response_default;
    out.n_topics = job->call.n_topics;
    out.topics = kafka_alloc(job->r, out.n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < out.n_topics; i++)
        if (!put_topic(job, i, &out.topics[i]))
            return;
    kafka_reply(job->r, &out);
}

static bool fill_topic(struct kafka_request *r, const struct kafka_offset_commit_request_topic *in,
                       struct group_offset_topic *t)
{
    t->name = in->name;
    t->topic_id = in->topic_id;
    t->by_id = r->api_version >= FIRST_VERSION_WITH_TOPIC_IDS;
    t->n_partitions = in->n_partitions;
    t->partitions = kafka_alloc(r, in->n_partitions, sizeof *t->partitions);
    for (uint32_t k = 0; t->partitions && k < in->n_partitions; k++) {
        const struct kafka_offset_commit_request_partition *p = &in->partitions[k];
        t->partitions[k] = (struct group_offset){
            .partition = p->partition_index,
            .offset = p->committed_offset,
            .leader_epoch = p->committed_leader_epoch,
            .metadata = p->committed_metadata,
        };
    }
    return t->partitions != NULL;
}

void kafka_handle_offset_commit(struct kafka_request *r)
{
    const struct kafka_offset_commit_request *in = r->in;
    struct commit_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    broker_offset_commit_init(&job->call);
    job->call.head.group = in->group_id;
    job->call.member_id = in->member_id;
    job->call.instance_id = in->group_instance_id;
    job->call.generation = in->generation_id_or_member_epoch;
    job->call.retention_ms = in->retention_time_ms;
    job->call.n_topics = in->n_topics;
    job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
    if (!job->call.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++)
        if (!fill_topic(r, &in->topics[i], &job->call.topics[i]))
            return;
    kafka_call(r, &job->call.head.call, commit_done);
}
