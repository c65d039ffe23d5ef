#include "kafka/group_answer.h"

enum { FIRST_VERSION_WITH_MEMBERS = 3 };

struct leave_job {
    struct broker_group_leave call;
    struct kafka_request *r;
};

static void reply_members(struct kafka_request *r, const struct broker_group_leave *call,
                          struct kafka_leave_group_response *out)
{
    out->n_members = call->n_leavers;
    out->members = kafka_alloc(r, call->n_leavers, sizeof *out->members);
    if (!out->members)
        return;
    for (uint32_t i = 0; i < call->n_leavers; i++)
        out->members[i] = (struct kafka_leave_group_response_member_response){
            .member_id = call->leavers[i].member_id,
            .group_instance_id = call->leavers[i].instance_id,
            .error_code = kafka__group_error(call->leavers[i].err),
        };
    kafka_reply(r, out);
}

static void leave_done(struct broker_call *c)
{
    struct leave_job *job = SL_CONTAINER_OF(c, struct leave_job, call.head.call);
    struct kafka_leave_group_response out = kafka_leave_group_response_default;
    out.error_code = kafka__group_error(job->call.head.err);
    if (job->r->api_version >= FIRST_VERSION_WITH_MEMBERS && job->call.head.err == SL_OK) {
        reply_members(job->r, &job->call, &out);
        return;
    }
    if (job->call.head.err == SL_OK)
        out.error_code = kafka__group_error(job->call.leavers[0].err);
    kafka_reply(job->r, &out);
}

static struct group_leaver *leavers_of(struct kafka_request *r, uint32_t *ret_n)
{
    const struct kafka_leave_group_request *in = r->in;
    bool many = r->api_version >= FIRST_VERSION_WITH_MEMBERS;
    uint32_t n = many ? in->n_members : 1;
    struct group_leaver *l = kafka_alloc(r, n, sizeof *l);
    if (!l)
        return NULL;
    if (!many)
        l[0].member_id = in->member_id;
    for (uint32_t i = 0; many && i < n; i++) {
        l[i].member_id = in->members[i].member_id;
        l[i].instance_id = in->members[i].group_instance_id;
    }
    *ret_n = n;
    return l;
}

void kafka_handle_leave_group(struct kafka_request *r)
{
    const struct kafka_leave_group_request *in = r->in;
    struct leave_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.head.group = in->group_id;
    job->call.leavers = leavers_of(r, &job->call.n_leavers);
    if (!job->call.leavers)
        return;
    broker_group_leave_init(&job->call);
    kafka_call(r, &job->call.head.call, leave_done);
}
