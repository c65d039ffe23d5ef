/* One node has no quorum. Tools ask nevertheless and show the cluster as offline without an answer:
 * it says that this node is the only voter, leads, and is caught up. */
#include "kafka/request.h"
#include "kafka_codec/errors.h"

static const char metadata_topic[] = "__cluster_metadata";

enum { LEADER_EPOCH = 1, LOG_END = 1 };

static void fill_partition(const struct kafka_request *r, bool known, int32_t index,
                           struct kafka_describe_quorum_response_replica_state *self,
                           struct kafka_describe_quorum_response_partition_data *ret)
{
    *ret = kafka_describe_quorum_response_partition_data_default;
    ret->partition_index = index;
    if (!known || index != 0) {
        ret->error_code = KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    ret->leader_id = broker_config(r->broker)->node_id;
    ret->leader_epoch = LEADER_EPOCH;
    ret->high_watermark = LOG_END;
    ret->n_current_voters = 1;
    ret->current_voters = self;
}

static bool fill_topic(struct kafka_request *r,
                       const struct kafka_describe_quorum_request_topic_data *in,
                       struct kafka_describe_quorum_response_replica_state *self,
                       struct kafka_describe_quorum_response_topic_data *ret)
{
    bool known = slice_eq_str(in->topic_name, metadata_topic);
    ret->topic_name = in->topic_name;
    ret->n_partitions = in->n_partitions;
    ret->partitions = kafka_alloc(r, in->n_partitions, sizeof *ret->partitions);
    if (!ret->partitions)
        return false;
    for (uint32_t i = 0; i < in->n_partitions; i++)
        fill_partition(r, known, in->partitions[i].partition_index, self, &ret->partitions[i]);
    return true;
}

void kafka_handle_describe_quorum(struct kafka_request *r)
{
    const struct kafka_describe_quorum_request *in = r->in;
    struct kafka_describe_quorum_response out = kafka_describe_quorum_response_default;
    struct kafka_describe_quorum_response_replica_state self =
        kafka_describe_quorum_response_replica_state_default;
    struct kafka_describe_quorum_response_listener listener = {.name = slice_str("PLAINTEXT")};
    struct kafka_describe_quorum_response_node node = {.n_listeners = 1, .listeners = &listener};
    const char *host = NULL;
    int32_t port = 0;
    kafka_local_address(r, &host, &port);
    listener.host = slice_str(host);
    listener.port = (uint16_t)port;
    self.replica_id = node.node_id = broker_config(r->broker)->node_id;
    self.log_end_offset = LOG_END;
    self.last_fetch_timestamp = self.last_caught_up_timestamp = clock_wall_ms(loop_clock(r->loop));
    out.error_code =
        kafka_error(authorize(r->broker, r->who, OPERATION_DESCRIBE, RESOURCE_CLUSTER, NULL));
    out.n_topics = in->n_topics;
    out.topics = kafka_alloc(r, in->n_topics, sizeof *out.topics);
    if (!out.topics)
        return;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        if (!fill_topic(r, &in->topics[i], &self, &out.topics[i]))
            return;
    }
    out.n_nodes = 1;
    out.nodes = &node;
    kafka_reply(r, &out);
}
