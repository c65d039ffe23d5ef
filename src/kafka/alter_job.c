#include "kafka/alter_job.h"

struct alter_job *alter_job_new(struct kafka_request *r, uint32_t n)
{
    struct alter_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return NULL;
    job->r = r;
    job->call.n_resources = n;
    job->call.resources = kafka_alloc(r, n, sizeof *job->call.resources);
    return job->call.resources ? job : NULL;
}

struct config_change *alter_job_resource(struct alter_job *job, uint32_t i, int8_t type,
                                         struct slice name, uint32_t n_changes)
{
    SL_ASSERT(i < job->call.n_resources);
    struct config_change *changes = kafka_alloc(job->r, n_changes, sizeof *changes);
    if (!changes)
        return NULL;
    job->call.resources[i] = (struct broker_alter_resource){
        .type = type, .name = name, .changes = changes, .n_changes = n_changes};
    return changes;
}

struct config_change alter_job_change(struct slice name, int8_t op, struct slice value)
{
    return (struct config_change){
        .name = name, .op = op, .value = value, .value_is_null = !value.data};
}

static void done(struct broker_call *c)
{
    struct alter_job *job = SL_CONTAINER_OF(c, struct alter_job, call.call);
    struct broker_alter_configs call = job->call; /* the request is gone after its answer */
    job->answer(job->r, &call);
    broker_alter_configs_fini(&call);
}

void alter_job_start(struct alter_job *job)
{
    broker_alter_configs_init(&job->call);
    kafka_call(job->r, &job->call.call, done);
}
