#include "kafka/admin_error.h"
#include "kafka/request.h"
#include "kafka_codec/errors.h"

enum endpoint_type { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

static int16_t check_endpoint(int8_t type)
{
    if (type == ENDPOINT_BROKERS)
        return KAFKA_ERR_NONE;
    return type == ENDPOINT_CONTROLLERS ? KAFKA_ERR_MISMATCHED_ENDPOINT_TYPE
                                        : KAFKA_ERR_UNSUPPORTED_ENDPOINT_TYPE;
}

void kafka_handle_describe_cluster(struct kafka_request *r)
{
    const struct kafka_describe_cluster_request *in = r->in;
    const struct broker_cfg *cfg = broker_config(r->broker);
    struct kafka_describe_cluster_response_broker self =
        kafka_describe_cluster_response_broker_default;
    struct kafka_describe_cluster_response out = kafka_describe_cluster_response_default;
    const char *host = NULL;
    out.endpoint_type = in->endpoint_type;
    out.cluster_id = slice_str(cfg->cluster_id);
    out.error_code = check_endpoint(in->endpoint_type);
    if (out.error_code == KAFKA_ERR_NONE)
        out.error_code =
            kafka_error(authorize(r->broker, r->who, OPERATION_DESCRIBE, RESOURCE_CLUSTER, NULL));
    if (out.error_code != KAFKA_ERR_NONE) {
        out.error_message = slice_str(kafka_error_name(out.error_code));
        kafka_reply(r, &out);
        return;
    }
    kafka_local_address(r, &host, &self.port);
    self.host = slice_str(host);
    self.broker_id = out.controller_id = cfg->node_id;
    out.n_brokers = 1;
    out.brokers = &self;
    if (in->include_cluster_authorized_operations)
        out.cluster_authorized_operations = kafka__cluster_operations(r);
    kafka_reply(r, &out);
}
