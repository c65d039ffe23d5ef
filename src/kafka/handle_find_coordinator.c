#include "kafka/request.h"
#include "kafka_codec/errors.h"

enum { FIRST_VERSION_WITH_KEYS = 4, KEY_TYPE_GROUP = 0 };

struct place {
    int32_t node_id, port;
    struct slice host, message;
    int16_t error;
};

/* One node coordinates every group; other kinds of coordinators do not exist yet. */
static struct place find(struct kafka_request *r, int8_t key_type)
{
    const char *host;
    struct place p = {.node_id = -1, .port = -1, .host = slice_str("")};
    if (key_type != KEY_TYPE_GROUP) {
        p.error = KAFKA_ERR_INVALID_REQUEST;
        p.message = slice_str("Only the coordinators of groups are served.");
        return p;
    }
    kafka_local_address(r, &host, &p.port);
    p.host = slice_str(host);
    p.node_id = broker_config(r->broker)->node_id;
    return p;
}

static void reply_many(struct kafka_request *r, const struct place *p)
{
    const struct kafka_find_coordinator_request *in = r->in;
    struct kafka_find_coordinator_response out = kafka_find_coordinator_response_default;
    out.n_coordinators = in->n_coordinator_keys;
    out.coordinators = kafka_alloc(r, in->n_coordinator_keys, sizeof *out.coordinators);
    if (!out.coordinators)
        return;
    for (uint32_t i = 0; i < in->n_coordinator_keys; i++)
        out.coordinators[i] = (struct kafka_find_coordinator_response_coordinator){
            .key = in->coordinator_keys[i],
            .node_id = p->node_id,
            .host = p->host,
            .port = p->port,
            .error_code = p->error,
            .error_message = p->message,
        };
    kafka_reply(r, &out);
}

void kafka_handle_find_coordinator(struct kafka_request *r)
{
    const struct kafka_find_coordinator_request *in = r->in;
    struct place p = find(r, in->key_type);
    if (r->api_version >= FIRST_VERSION_WITH_KEYS) {
        reply_many(r, &p);
        return;
    }
    struct kafka_find_coordinator_response out = kafka_find_coordinator_response_default;
    out.error_code = p.error;
    out.error_message = p.message;
    out.node_id = p.node_id;
    out.host = p.host;
    out.port = p.port;
    kafka_reply(r, &out);
}
