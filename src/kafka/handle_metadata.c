#include "broker/topics.h"
#include "kafka/admin_error.h"
#include "kafka/request.h"
#include "kafka_codec/errors.h"

struct metadata_job {
    struct broker_metadata call;
    struct kafka_request *r;
};

enum { NAME_MAY_BE_NULL = 12 };

static bool fill_partitions(struct kafka_request *r, const struct broker_topic_view *v,
                            int32_t *node, struct kafka_metadata_response_topic *ret)
{
    ret->n_partitions = (uint32_t)v->n_partitions;
    ret->partitions = kafka_alloc(r, ret->n_partitions, sizeof *ret->partitions);
    if (!ret->partitions)
        return false;
    for (int32_t i = 0; i < v->n_partitions; i++) {
        struct kafka_metadata_response_partition *p = &ret->partitions[i];
        *p = kafka_metadata_response_partition_default;
        p->partition_index = i;
        p->leader_id = *node;
        p->leader_epoch = v->leader_epochs[i];
        p->n_replica_nodes = p->n_isr_nodes = 1;
        p->replica_nodes = p->isr_nodes = node;
    }
    return true;
}

static bool fill_topic(struct kafka_request *r, const struct broker_metadata *call,
                       const struct broker_topic_view *v, int32_t *node,
                       struct kafka_metadata_response_topic *ret)
{
    const struct kafka_metadata_request *in = r->in;
    sl_err err = call->err != SL_OK ? call->err : v->err;
    *ret = kafka_metadata_response_topic_default;
    ret->error_code = kafka__admin_error(err);
    if (err == SL_ECLOSED || err == SL_ELIMIT) /* ask again soon */
        ret->error_code = KAFKA_ERR_LEADER_NOT_AVAILABLE;
    ret->name = v->name;
    if (!ret->name.data && r->api_version < NAME_MAY_BE_NULL)
        ret->name = slice_str("");
    ret->topic_id = v->topic_id;
    if (err != SL_OK)
        return true;
    if (in->include_topic_authorized_operations)
        ret->topic_authorized_operations = kafka__topic_operations(r, v->name);
    return fill_partitions(r, v, node, ret);
}

static struct kafka_metadata_response_broker broker_of(struct kafka_request *r, int32_t node)
{
    struct kafka_metadata_response_broker ret = kafka_metadata_response_broker_default;
    const char *host = NULL;
    int32_t port = 0;
    kafka_local_address(r, &host, &port);
    ret.node_id = node;
    ret.host = slice_str(host);
    ret.port = port;
    return ret;
}

static void answer(struct kafka_request *r, const struct broker_metadata *call)
{
    const struct kafka_metadata_request *in = r->in;
    const struct broker_cfg *cfg = broker_config(r->broker);
    struct kafka_metadata_response_broker self = broker_of(r, cfg->node_id);
    struct kafka_metadata_response out = kafka_metadata_response_default;
    int32_t node = cfg->node_id;
    out.n_brokers = 1;
    out.brokers = &self;
    out.cluster_id = slice_str(cfg->cluster_id);
    out.controller_id = node;
    out.n_topics = call->n_topics;
    out.topics = kafka_alloc(r, call->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < call->n_topics; i++) {
        if (!fill_topic(r, call, &call->topics[i], &node, &out.topics[i]))
            return;
    }
    if (in->include_cluster_authorized_operations)
        out.cluster_authorized_operations = kafka__cluster_operations(r);
    kafka_reply(r, &out);
}

static void metadata_done(struct broker_call *c)
{
    struct metadata_job *job = SL_CONTAINER_OF(c, struct metadata_job, call.call);
    struct broker_metadata call = job->call; /* the request is gone after its answer */
    answer(job->r, &call);
    broker_metadata_fini(&call);
}

void kafka_handle_metadata(struct kafka_request *r)
{
    const struct kafka_metadata_request *in = r->in;
    struct metadata_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.all = in->topics_is_null || (r->api_version == 0 && in->n_topics == 0);
    job->call.allow_create = in->allow_auto_topic_creation;
    if (!job->call.all) {
        job->call.n_topics = in->n_topics;
        job->call.topics = kafka_alloc(r, in->n_topics, sizeof *job->call.topics);
        if (!job->call.topics)
            return;
    }
    for (uint32_t i = 0; i < job->call.n_topics; i++) {
        job->call.topics[i].name = in->topics[i].name;
        job->call.topics[i].topic_id = in->topics[i].topic_id;
    }
    broker_metadata_init(&job->call);
    kafka_call(r, &job->call.call, metadata_done);
}
