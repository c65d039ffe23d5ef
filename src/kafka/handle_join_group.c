#include "kafka/group_answer.h"

enum {
    FIRST_VERSION_MEMBER_ID_REQUIRED = 4,
    FIRST_VERSION_NULL_PROTOCOL = 7,
    FIRST_VERSION_SKIP_ASSIGNMENT = 9,
};

struct join_job {
    struct broker_group_join call;
    struct kafka_request *r;
};

static void put_members(const struct broker_group_join *call,
                        struct kafka_join_group_response_member *ret)
{
    for (uint32_t i = 0; i < call->n_members; i++)
        ret[i] = (struct kafka_join_group_response_member){
            .member_id = call->members[i].member_id,
            .group_instance_id = call->members[i].instance_id,
            .metadata = call->members[i].metadata,
        };
}

static void join_done(struct broker_call *c)
{
    struct join_job *job = SL_CONTAINER_OF(c, struct join_job, call.head.call);
    struct broker_group_join call = job->call; /* the job goes with the request */
    struct kafka_request *r = job->r;
    r->waiting = NULL;
    struct kafka_join_group_response out = kafka_join_group_response_default;
    out.error_code = kafka__group_error(call.head.err);
    out.generation_id = call.generation;
    out.protocol_type = call.ret_protocol_type;
    out.protocol_name = call.ret_protocol;
    if (!out.protocol_name.data && r->api_version < FIRST_VERSION_NULL_PROTOCOL)
        out.protocol_name = slice_str("");
    out.leader = call.ret_leader;
    out.skip_assignment = call.skip_assignment;
    out.member_id = call.ret_member_id;
    out.n_members = call.n_members;
    out.members = kafka_alloc(r, call.n_members, sizeof *out.members);
    if (out.members) {
        put_members(&call, out.members);
        kafka_reply(r, &out);
    }
    broker_group_join_fini(&call);
}

static const struct group_protocol *protocols_of(struct kafka_request *r,
                                                 const struct kafka_join_group_request *in)
{
    struct group_protocol *p = kafka_alloc(r, in->n_protocols, sizeof *p);
    for (uint32_t i = 0; p && i < in->n_protocols; i++)
        p[i] = (struct group_protocol){in->protocols[i].name, in->protocols[i].metadata};
    return p;
}

void kafka_handle_join_group(struct kafka_request *r)
{
    const struct kafka_join_group_request *in = r->in;
    struct join_job *job = kafka_alloc(r, 1, sizeof *job);
    const struct group_protocol *protocols = job ? protocols_of(r, in) : NULL;
    if (!protocols)
        return;
    job->r = r;
    job->call = (struct broker_group_join){
        .head.group = in->group_id,
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .protocol_type = in->protocol_type,
        .client_id = r->client_id,
        .client_host = kafka__client_host(r),
        .session_timeout_ms = in->session_timeout_ms,
        .rebalance_timeout_ms = in->rebalance_timeout_ms,
        .protocols = protocols,
        .n_protocols = in->n_protocols,
        .member_id_required = r->api_version >= FIRST_VERSION_MEMBER_ID_REQUIRED,
        .can_skip_assignment = r->api_version >= FIRST_VERSION_SKIP_ASSIGNMENT,
    };
    broker_group_join_init(&job->call);
    r->waiting = &job->call.head.call; /* its place is kept when the peer goes, as in Kafka */
    kafka_call(r, &job->call.head.call, join_done);
}
