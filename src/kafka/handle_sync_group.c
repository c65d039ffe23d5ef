#include "kafka/group_answer.h"

struct sync_job {
    struct broker_group_sync call;
    struct kafka_request *r;
};

static void sync_done(struct broker_call *c)
{
    struct sync_job *job = SL_CONTAINER_OF(c, struct sync_job, call.head.call);
    struct broker_group_sync call = job->call; /* the job goes with the request */
    struct kafka_sync_group_response out = kafka_sync_group_response_default;
    job->r->waiting = NULL;
    out.error_code = kafka__group_error(call.head.err);
    out.protocol_type = call.ret_protocol_type;
    out.protocol_name = call.ret_protocol;
    out.assignment = call.ret_assignment;
    kafka_reply(job->r, &out);
    broker_group_sync_fini(&call);
}

void kafka_handle_sync_group(struct kafka_request *r)
{
    const struct kafka_sync_group_request *in = r->in;
    struct sync_job *job = kafka_alloc(r, 1, sizeof *job);
    struct group_assignment *assignments =
        job ? kafka_alloc(r, in->n_assignments, sizeof *assignments) : NULL;
    if (!assignments)
        return;
    for (uint32_t i = 0; i < in->n_assignments; i++)
        assignments[i] =
            (struct group_assignment){in->assignments[i].member_id, in->assignments[i].assignment};
    job->r = r;
    job->call = (struct broker_group_sync){
        .head.group = in->group_id,
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .protocol_type = in->protocol_type,
        .protocol = in->protocol_name,
        .generation = in->generation_id,
        .assignments = assignments,
        .n_assignments = in->n_assignments,
    };
    broker_group_sync_init(&job->call);
    r->waiting = &job->call.head.call;
    kafka_call(r, &job->call.head.call, sync_done);
}
