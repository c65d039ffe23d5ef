#include "kafka/group_answer.h"

struct heartbeat_job {
    struct broker_group_heartbeat call;
    struct kafka_request *r;
};

static void heartbeat_done(struct broker_call *c)
{
    struct heartbeat_job *job = SL_CONTAINER_OF(c, struct heartbeat_job, call.head.call);
    struct kafka_heartbeat_response out = kafka_heartbeat_response_default;
    out.error_code = kafka__group_error(job->call.head.err);
    kafka_reply(job->r, &out);
}

void kafka_handle_heartbeat(struct kafka_request *r)
{
    const struct kafka_heartbeat_request *in = r->in;
    struct heartbeat_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call = (struct broker_group_heartbeat){
        .head.group = in->group_id,
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .generation = in->generation_id,
    };
    broker_group_heartbeat_init(&job->call);
    kafka_call(r, &job->call.head.call, heartbeat_done);
}
