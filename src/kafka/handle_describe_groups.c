#include "kafka/group_answer.h"
#include "kafka_codec/errors.h"

enum { FIRST_VERSION_MISSING_IS_AN_ERROR = 6 };

struct describe_job {
    struct kafka_serial serial;
    struct broker_group_describe call; /* of the group that is asked for now */
    struct kafka_describe_groups_response_described_group *groups;
    bool failed; /* no memory for the answer */
};

/* Kafka's numbers of operations, as bits of authorized_operations. */
static int32_t operations(unsigned allowed)
{
    static const struct {
        enum operation ours;
        int theirs;
    } map[] = {
        {OPERATION_READ, 3},           {OPERATION_DELETE, 6},
        {OPERATION_DESCRIBE, 8},       {OPERATION_DESCRIBE_CONFIGS, 10},
        {OPERATION_ALTER_CONFIGS, 11},
    };
    int32_t bits = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(map); i++)
        if (allowed & 1u << map[i].ours)
            bits |= 1 << map[i].theirs;
    return bits;
}

static void put_members(struct describe_job *job,
                        struct kafka_describe_groups_response_described_group *ret)
{
    struct kafka_request *r = job->serial.r;
    bool *failed = &job->failed;
    ret->members = arena_alloc(r->arena, job->call.n_members, sizeof *ret->members);
    if (!ret->members) {
        *failed |= job->call.n_members > 0;
        return;
    }
    ret->n_members = job->call.n_members;
    for (uint32_t i = 0; i < job->call.n_members; i++) {
        const struct group_member_view *m = &job->call.members[i];
        ret->members[i] = (struct kafka_describe_groups_response_described_group_member){
            .member_id = kafka__keep(r, m->member_id, failed),
            .group_instance_id = kafka__keep(r, m->instance_id, failed),
            .client_id = kafka__keep(r, m->client_id, failed),
            .client_host = kafka__keep(r, m->client_host, failed),
            .member_metadata = kafka__keep(r, m->metadata, failed),
            .member_assignment = kafka__keep(r, m->assignment, failed),
        };
    }
}

/* A group that is not there is "Dead", and since version 6 an error too. */
static void put_error(const struct kafka_request *r, sl_err err,
                      struct kafka_describe_groups_response_described_group *ret)
{
    bool missing = err == SL_EGROUP_MISSING;
    if (missing)
        ret->group_state = slice_str(group_life_name(GROUP_DEAD));
    if (missing && r->api_version < FIRST_VERSION_MISSING_IS_AN_ERROR)
        return;
    ret->error_code = kafka__group_error(err);
    if (missing)
        ret->error_message = slice_str("The group is not there.");
}

static void put_group(struct describe_job *job,
                      struct kafka_describe_groups_response_described_group *ret)
{
    struct kafka_request *r = job->serial.r;
    const struct kafka_describe_groups_request *in = r->in;
    *ret = kafka_describe_groups_response_described_group_default;
    ret->group_id = job->call.head.group;
    if (job->call.head.err != SL_OK) {
        put_error(r, job->call.head.err, ret);
        return;
    }
    ret->group_state = slice_str(group_life_name(job->call.life));
    ret->protocol_type = kafka__keep(r, job->call.protocol_type, &job->failed);
    ret->protocol_data = kafka__keep(r, job->call.protocol, &job->failed);
    if (in->include_authorized_operations)
        ret->authorized_operations = operations(job->call.allowed);
    put_members(job, ret);
}

static void describe_done(struct broker_call *c)
{
    struct describe_job *job = SL_CONTAINER_OF(c, struct describe_job, call.head.call);
    put_group(job, &job->groups[job->serial.next]);
    broker_group_describe_fini(&job->call);
    kafka__serial_ended(&job->serial);
}

static void describe_next(struct kafka_serial *s)
{
    struct describe_job *job = SL_CONTAINER_OF(s, struct describe_job, serial);
    const struct kafka_describe_groups_request *in = s->r->in;
    job->call = (struct broker_group_describe){.head.group = in->groups[s->next]};
    broker_group_describe_init(&job->call);
    kafka_call(s->r, &job->call.head.call, describe_done);
}

static void describe_finish(struct kafka_serial *s)
{
    struct describe_job *job = SL_CONTAINER_OF(s, struct describe_job, serial);
    struct kafka_describe_groups_response out = kafka_describe_groups_response_default;
    out.n_groups = s->n;
    out.groups = job->groups;
    if (job->failed)
        kafka_reply_close(s->r, "no memory for the answer");
    else
        kafka_reply(s->r, &out);
}

void kafka_handle_describe_groups(struct kafka_request *r)
{
    const struct kafka_describe_groups_request *in = r->in;
    struct describe_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->groups = kafka_alloc(r, in->n_groups, sizeof *job->groups);
    if (!job->groups)
        return;
    job->serial = (struct kafka_serial){
        .r = r, .n = in->n_groups, .start = describe_next, .finish = describe_finish};
    kafka__serial_run(&job->serial);
}
