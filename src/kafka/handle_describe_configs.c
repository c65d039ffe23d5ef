#include "broker/configs.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"

struct describe_configs_job {
    struct broker_describe_configs call;
    struct kafka_request *r;
};

static bool fill_synonyms(struct kafka_request *r, const struct config_entry *entry,
                          struct kafka_describe_configs_response_resource_result *ret)
{
    ret->n_synonyms = entry->n_synonyms;
    ret->synonyms = kafka_alloc(r, entry->n_synonyms, sizeof *ret->synonyms);
    if (!ret->synonyms)
        return false;
    for (uint32_t i = 0; i < entry->n_synonyms; i++) {
        ret->synonyms[i].name = slice_str(entry->synonyms[i].name);
        ret->synonyms[i].value = slice_str(entry->synonyms[i].value);
        ret->synonyms[i].source = (int8_t)entry->synonyms[i].source;
    }
    return true;
}

static bool fill_entry(struct kafka_request *r, const struct config_entry *entry,
                       struct kafka_describe_configs_response_resource_result *ret)
{
    const struct kafka_describe_configs_request *in = r->in;
    *ret = kafka_describe_configs_response_resource_result_default;
    ret->name = slice_str(entry->name);
    ret->value = slice_str(entry->value);
    ret->read_only = entry->read_only;
    ret->config_source = (int8_t)entry->source;
    ret->config_type = (int8_t)entry->type;
    if (in->include_documentation)
        ret->documentation = slice_str(entry->help);
    return !in->include_synonyms || fill_synonyms(r, entry, ret);
}

static bool fill_resource(struct kafka_request *r, const struct broker_describe_configs *call,
                          const struct broker_describe_resource *resource,
                          struct kafka_describe_configs_response_result *ret)
{
    struct kafka_item_answer a = kafka__item_answer(call->err, resource->err, resource->message);
    *ret = kafka_describe_configs_response_result_default;
    ret->resource_type = resource->type;
    ret->resource_name = resource->name;
    ret->error_code = a.code;
    ret->error_message = a.message;
    if (a.err != SL_OK)
        return true;
    ret->n_configs = resource->n_entries;
    ret->configs = kafka_alloc(r, ret->n_configs, sizeof *ret->configs);
    if (!ret->configs)
        return false;
    for (uint32_t i = 0; i < ret->n_configs; i++) {
        if (!fill_entry(r, &resource->entries[i], &ret->configs[i]))
            return false;
    }
    return true;
}

static void answer(struct kafka_request *r, const struct broker_describe_configs *call)
{
    struct kafka_describe_configs_response out = kafka_describe_configs_response_default;
    out.n_results = call->n_resources;
    out.results = kafka_alloc(r, call->n_resources, sizeof *out.results);
    if (!out.results)
        return;
    for (uint32_t i = 0; i < call->n_resources; i++) {
        if (!fill_resource(r, call, &call->resources[i], &out.results[i]))
            return;
    }
    kafka_reply(r, &out);
}

static void describe_configs_done(struct broker_call *c)
{
    struct describe_configs_job *job = SL_CONTAINER_OF(c, struct describe_configs_job, call.call);
    struct broker_describe_configs call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_describe_configs_fini(&call);
}

void kafka_handle_describe_configs(struct kafka_request *r)
{
    const struct kafka_describe_configs_request *in = r->in;
    struct describe_configs_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.n_resources = in->n_resources;
    job->call.resources = kafka_alloc(r, in->n_resources, sizeof *job->call.resources);
    if (!job->call.resources)
        return;
    for (uint32_t i = 0; i < in->n_resources; i++) {
        const struct kafka_describe_configs_request_resource *resource = &in->resources[i];
        job->call.resources[i] =
            (struct broker_describe_resource){.type = resource->resource_type,
                                              .name = resource->resource_name,
                                              .all_names = resource->configuration_keys_is_null,
                                              .names = resource->configuration_keys,
                                              .n_names = resource->n_configuration_keys};
    }
    broker_describe_configs_init(&job->call);
    kafka_call(r, &job->call.call, describe_configs_done);
}
