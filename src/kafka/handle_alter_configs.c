#include "broker/configs.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"

struct alter_configs_job {
    struct broker_alter_configs call;
    struct kafka_request *r;
};

static void answer(struct kafka_request *r, const struct broker_alter_configs *call)
{
    struct kafka_alter_configs_response out = kafka_alter_configs_response_default;
    out.n_responses = call->n_resources;
    out.responses = kafka_alloc(r, call->n_resources, sizeof *out.responses);
    if (!out.responses)
        return;
    for (uint32_t i = 0; i < call->n_resources; i++) {
        const struct broker_alter_resource *resource = &call->resources[i];
        sl_err err = call->err != SL_OK ? call->err : resource->err;
        out.responses[i].resource_type = resource->type;
        out.responses[i].resource_name = resource->name;
        out.responses[i].error_code = kafka__admin_error(err);
        out.responses[i].error_message = kafka__nullable(resource->message ? resource->message
                                                         : err == SL_OK    ? NULL
                                                                           : sl_err_text(err));
    }
    kafka_reply(r, &out);
}

static void alter_configs_done(struct broker_call *c)
{
    struct alter_configs_job *job = SL_CONTAINER_OF(c, struct alter_configs_job, call.call);
    struct broker_alter_configs call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_alter_configs_fini(&call);
}

static bool read_resource(struct kafka_request *r,
                          const struct kafka_alter_configs_request_resource *in,
                          struct broker_alter_resource *ret)
{
    struct config_change *changes = kafka_alloc(r, in->n_configs, sizeof *changes);
    if (!changes)
        return false;
    for (uint32_t i = 0; i < in->n_configs; i++)
        changes[i] = (struct config_change){.name = in->configs[i].name,
                                            .op = CONFIG_SET,
                                            .value = in->configs[i].value,
                                            .value_is_null = !in->configs[i].value.data};
    *ret = (struct broker_alter_resource){.type = in->resource_type,
                                          .name = in->resource_name,
                                          .changes = changes,
                                          .n_changes = in->n_configs};
    return true;
}

void kafka_handle_alter_configs(struct kafka_request *r)
{
    const struct kafka_alter_configs_request *in = r->in;
    struct alter_configs_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.incremental = false;
    job->call.validate_only = in->validate_only;
    job->call.n_resources = in->n_resources;
    job->call.resources = kafka_alloc(r, in->n_resources, sizeof *job->call.resources);
    if (!job->call.resources)
        return;
    for (uint32_t i = 0; i < in->n_resources; i++) {
        if (!read_resource(r, &in->resources[i], &job->call.resources[i]))
            return;
    }
    broker_alter_configs_init(&job->call);
    kafka_call(r, &job->call.call, alter_configs_done);
}
