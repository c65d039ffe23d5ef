#include "kafka/kafka_int.h"
#include "kafka_codec/errors.h"

/* 29 is 4.2-IV1, the level whose Fetch and ListOffsets are ours; 7 (3.3-IV3) is the oldest that
 * brokers of that line run with. Of the other features none is finalized: clients choose
 * transactions, KIP-848 and share groups by them. docs/decisions/0007-metadata-version.md. */
enum { METADATA_VERSION_FIRST = 7, METADATA_VERSION = 29, FEATURES_EPOCH = 1 };

static bool is_alphanumeric(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* KIP-511: letters, digits, inside also '-' and '.'. */
static bool is_software_text(struct slice s)
{
    if (s.len == 0 || !is_alphanumeric(s.data[0]) || !is_alphanumeric(s.data[s.len - 1]))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alphanumeric(s.data[i]) && s.data[i] != '-' && s.data[i] != '.')
            return false;
    return true;
}

/* KIP-1242: a client that believes to talk to somebody else must look for its cluster again. */
static bool is_meant_for_us(const struct kafka_door_cfg *cfg,
                            const struct kafka_api_versions_request *in)
{
    if (!in->cluster_id.data || in->node_id == -1 || !cfg->cluster_id)
        return true;
    return slice_eq_str(in->cluster_id, cfg->cluster_id) && in->node_id == cfg->node_id;
}

static int16_t check(const struct kafka_request *r)
{
    const struct kafka_api_versions_request *in = r->in;
    if (!in)
        return KAFKA_ERR_UNSUPPORTED_VERSION;
    if (r->api_version >= 3 && (!is_software_text(in->client_software_name) ||
                                !is_software_text(in->client_software_version)))
        return KAFKA_ERR_INVALID_REQUEST;
    if (!is_meant_for_us(&r->conn->shard->door->cfg, in))
        return KAFKA_ERR_REBOOTSTRAP_REQUIRED;
    return KAFKA_ERR_NONE;
}

void kafka_handle_api_versions(struct kafka_request *r)
{
    const struct kafka_door *door = r->conn->shard->door;
    struct kafka_api_versions_response_supported_feature_key supported = {
        .name = slice_str("metadata.version"),
        .min_version = METADATA_VERSION_FIRST,
        .max_version = METADATA_VERSION};
    struct kafka_api_versions_response_finalized_feature_key finalized = {
        .name = supported.name,
        .max_version_level = METADATA_VERSION,
        .min_version_level = METADATA_VERSION};
    struct kafka_api_versions_response out = kafka_api_versions_response_default;
    out.error_code = check(r);
    out.api_keys = kafka_alloc(r, door->n_routes, sizeof *out.api_keys);
    if (!out.api_keys)
        return;
    for (size_t i = 0; i < door->n_routes; i++)
        out.api_keys[out.n_api_keys++] = (struct kafka_api_versions_response_api_version){
            .api_key = door->routes[i].key,
            .min_version = door->routes[i].first_version,
            .max_version = door->routes[i].last_version};
    out.supported_features = &supported;
    out.n_supported_features = 1;
    out.finalized_features_epoch = FEATURES_EPOCH;
    out.finalized_features = &finalized;
    out.n_finalized_features = 1;
    /* Who asked for a version of the future understands version 0. */
    int16_t version = r->api_version;
    if (!r->in)
        version = 0;
    kafka__reply_with(SL_CONTAINER_OF(r, struct kafka_pending, r), version, &out);
}
