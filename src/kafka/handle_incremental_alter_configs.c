#include "kafka/admin_error.h"
#include "kafka/alter_job.h"

static void answer(struct kafka_request *r, const struct broker_alter_configs *call)
{
    struct kafka_incremental_alter_configs_response out =
        kafka_incremental_alter_configs_response_default;
    out.n_responses = call->n_resources;
    out.responses = kafka_alloc(r, call->n_resources, sizeof *out.responses);
    if (!out.responses)
        return;
    for (uint32_t i = 0; i < call->n_resources; i++) {
        const struct broker_alter_resource *in = &call->resources[i];
        struct kafka_item_answer a = kafka__item_answer(call->err, in->err, in->message);
        out.responses[i].resource_type = in->type;
        out.responses[i].resource_name = in->name;
        out.responses[i].error_code = a.code;
        out.responses[i].error_message = a.message;
    }
    kafka_reply(r, &out);
}

static bool
read_resource(struct alter_job *job, uint32_t i,
              const struct kafka_incremental_alter_configs_request_alter_configs_resource *in)
{
    struct config_change *changes =
        alter_job_resource(job, i, in->resource_type, in->resource_name, in->n_configs);
    for (uint32_t k = 0; changes && k < in->n_configs; k++)
        changes[k] = alter_job_change(in->configs[k].name, in->configs[k].config_operation,
                                      in->configs[k].value);
    return changes;
}

void kafka_handle_incremental_alter_configs(struct kafka_request *r)
{
    const struct kafka_incremental_alter_configs_request *in = r->in;
    struct alter_job *job = alter_job_new(r, in->n_resources);
    if (!job)
        return;
    job->call.incremental = true;
    job->call.validate_only = in->validate_only;
    job->answer = answer;
    for (uint32_t i = 0; i < in->n_resources; i++) {
        if (!read_resource(job, i, &in->resources[i]))
            return;
    }
    alter_job_start(job);
}
