/* streamhouse.StreamHouse: CommitOffset and GetOffset, on the groups that Kafka clients see, too.
 */
#include "broker/group.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/streamhouse.h"
#include "proto/streamhouse.pb-c.h"

/* ---- CommitOffset ---------------------------------------------------------------------------- */

struct commit_job {
    struct broker_offset_commit call;
    struct group_offset_topic topic;
    struct group_offset offset;
    struct grpc_call *c;
};

static void committed(struct broker_call *b)
{
    struct commit_job *job = SL_CONTAINER_OF(b, struct commit_job, call.head.call);
    const Streamhouse__CommitOffsetRequest *in =
        (const Streamhouse__CommitOffsetRequest *)job->c->request;
    sl_err err = job->call.head.err != SL_OK ? job->call.head.err : job->offset.err;
    Streamhouse__CommitOffsetResponse out = STREAMHOUSE__COMMIT_OFFSET_RESPONSE__INIT;
    out.success = true;
    if (err == SL_ETOPIC)
        streamhouse__not_found(job->c, in->topic, in->partition);
    else if (err != SL_OK)
        grpc_fail_err(job->c, err, NULL);
    else
        grpc_reply(job->c, &out.base);
}

void grpc_streamhouse_commit_offset(struct grpc_call *c)
{
    const Streamhouse__CommitOffsetRequest *in =
        (const Streamhouse__CommitOffsetRequest *)c->request;
    if (in->offset > INT64_MAX || in->partition > INT32_MAX) {
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "offset or partition is out of range");
        return;
    }
    struct commit_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->offset = (struct group_offset){
        .partition = (int32_t)in->partition, .offset = (int64_t)in->offset, .leader_epoch = -1};
    if (in->_metadata_case)
        job->offset.metadata = slice_str(in->metadata);
    job->topic = (struct group_offset_topic){
        .name = slice_str(in->topic), .partitions = &job->offset, .n_partitions = 1};
    broker_offset_commit_init(&job->call);
    job->call.head.group = slice_str(in->consumer_group);
    job->call.member_id = slice_str("");
    job->call.generation = -1;
    job->call.retention_ms = -1;
    job->call.topics = &job->topic;
    job->call.n_topics = 1;
    grpc_submit(c, &job->call.head.call, committed);
}

/* ---- GetOffset ------------------------------------------------------------------------------- */

struct get_job {
    struct broker_offset_fetch call;
    struct group_offset_topic topic;
    struct group_offset offset;
    struct grpc_call *c;
};

static void reply_offset(struct get_job *job)
{
    Streamhouse__GetOffsetResponse out = STREAMHOUSE__GET_OFFSET_RESPONSE__INIT;
    out.offset = job->offset.offset < 0 ? 0 : (uint64_t)job->offset.offset;
    if (job->offset.offset >= 0 && job->offset.metadata.len > 0) {
        out._metadata_case = STREAMHOUSE__GET_OFFSET_RESPONSE___METADATA_METADATA;
        out.metadata = grpc_text(job->c, job->offset.metadata);
    }
    if (out._metadata_case && !out.metadata)
        grpc_fail_err(job->c, SL_ENOMEM, NULL);
    else
        grpc_reply(job->c, &out.base);
}

static void got(struct broker_call *b)
{
    struct get_job *job = SL_CONTAINER_OF(b, struct get_job, call.head.call);
    struct broker_offset_fetch call = job->call;
    sl_err err = call.head.err != SL_OK ? call.head.err : job->offset.err;
    if (err != SL_OK && err != SL_EGROUP_MISSING && err != SL_ETOPIC)
        grpc_fail_err(job->c, err, NULL);
    else
        reply_offset(job);
    broker_offset_fetch_fini(&call);
}

void grpc_streamhouse_get_offset(struct grpc_call *c)
{
    const Streamhouse__GetOffsetRequest *in = (const Streamhouse__GetOffsetRequest *)c->request;
    struct get_job *job = grpc_alloc(c, 1, sizeof *job);
    if (!job)
        return;
    job->c = c;
    job->offset = (struct group_offset){
        .partition = (int32_t)SL_MIN(in->partition, (uint32_t)INT32_MAX), .offset = -1};
    job->topic = (struct group_offset_topic){
        .name = slice_str(in->topic), .partitions = &job->offset, .n_partitions = 1};
    broker_offset_fetch_init(&job->call);
    job->call.head.group = slice_str(in->consumer_group);
    job->call.topics = &job->topic;
    job->call.n_topics = 1;
    grpc_submit(c, &job->call.head.call, got);
}
