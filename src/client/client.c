#include "client/client.h"

#include "base/alloc.h"
#include "base/number.h"
#include "client/transport.h"
#include "kafka_codec/errors.h"
#include "kafka_codec/messages.h"

#include <stdio.h>
#include <unistd.h>

enum {
    PORT_DEFAULT = 9092,
    KEYS_MAX = 128,
    NODES_MAX = 10000,
    ANSWER_BYTES_MAX = 256 << 20,
    REQUEST_BYTES_MAX = 128 << 20,
};

struct range {
    int16_t first, last; /* first > last: not served */
};

struct connection {
    int fd; /* -1: none */
    struct range ranges[KEYS_MAX];
};

struct node {
    int32_t id;
    char *host;
    int32_t port;
    struct connection *conn; /* NULL until asked */
};

struct client {
    char *client_id;
    int64_t timeout_ms;
    char address[300]; /* that answered */
    struct connection *first;
    struct node *nodes;
    size_t n_nodes;
    int32_t controller;
    char *cluster_id;
    int32_t correlation_id;
};

/* ---- one request, one answer
 * --------------------------------------------------------------------- */

static void connection_free(struct connection *conn)
{
    if (!conn)
        return;
    if (conn->fd >= 0)
        (void)close(conn->fd); /* nothing is written behind the last answer */
    sl_free(conn);
}
SL_DEFINE_AUTO(struct connection *, connection_free);

/* One attempt to ask something. */
struct call {
    struct client *client;
    const struct kafka_api *api;
    int16_t version;
    int64_t timeout_ms;
    const void *request;
    struct arena *arena;
    void *ret;
    struct sl_fault *fault;
};

static sl_err encode(const struct call *call, int32_t correlation_id, struct kafka_out *out)
{
    struct kafka_request_header header = {.request_api_key = call->api->key,
                                          .request_api_version = call->version,
                                          .correlation_id = correlation_id,
                                          .client_id = slice_str(call->client->client_id)};
    uint8_t *length = kafka_out_room(out, 4);
    kafka_request_header_message.encode(out, kafka_request_header_version(call->api, call->version),
                                        &header);
    call->api->request->encode(out, call->version, call->request);
    SL_TRY(kafka_out_finish(out));
    put_be32(length, (uint32_t)(out->bytes - 4));
    return SL_OK;
}

static sl_err decode(const struct call *call, int32_t correlation_id, struct slice frame)
{
    struct reader in = reader_over(frame, call->arena, SIZE_MAX);
    struct kafka_response_header header;
    kafka_response_header_message.decode(
        &in, kafka_response_header_version(call->api, call->version), &header);
    call->api->response->decode(&in, call->version, call->ret);
    SL_TRY(reader_finish(&in));
    return header.correlation_id == correlation_id ? SL_OK : SL_EPROTO;
}

static sl_err receive(const struct call *call, int fd, struct slice *ret_frame)
{
    uint8_t prefix[4];
    SL_TRY(transport_receive(fd, prefix, sizeof prefix, call->timeout_ms));
    uint32_t len = get_be32(prefix);
    if (len > ANSWER_BYTES_MAX)
        return SL_EPROTO;
    uint8_t *bytes = arena_alloc(call->arena, len ? len : 1, 1);
    if (!bytes)
        return SL_ENOMEM;
    SL_TRY(transport_receive(fd, bytes, len, call->timeout_ms));
    *ret_frame = slice_of(bytes, len);
    return SL_OK;
}

static sl_err exchange(const struct call *call, int fd)
{
    int32_t id = ++call->client->correlation_id;
    struct kafka_out out;
    kafka_out_init(&out, REQUEST_BYTES_MAX);
    sl_err err = encode(call, id, &out);
    if (err == SL_OK)
        err = transport_send(fd, out.pieces, out.n_pieces, call->timeout_ms);
    kafka_out_fini(&out);
    struct slice frame = {0};
    if (err == SL_OK)
        err = receive(call, fd, &frame);
    return err == SL_OK ? decode(call, id, frame) : err;
}

static sl_err explain(const struct call *call, sl_err err)
{
    switch (err) {
    case SL_ETIMEDOUT:
        return sl_fault_set(call->fault, err, "%s was not answered within %lld ms", call->api->name,
                            (long long)call->timeout_ms);
    case SL_ECLOSED:
        return sl_fault_set(call->fault, err,
                            "the broker closed the connection instead of answering %s",
                            call->api->name);
    case SL_EPROTO:
        return sl_fault_set(call->fault, err, "the answer to %s is not what Kafka's protocol says",
                            call->api->name);
    default:
        return sl_fault_set(call->fault, err, "%s failed: %s", call->api->name, sl_err_text(err));
    }
}

/* ---- connections
 * ----------------------------------------------------------------------------------- */

static sl_err ask_versions(struct client *c, struct connection *conn, struct sl_fault *fault)
{
    SL_AUTO(arena_free) struct arena *arena = arena_new(NULL);
    struct kafka_api_versions_request request = kafka_api_versions_request_default;
    request.client_software_name = slice_str("sluicectl");
    request.client_software_version = slice_str(SLUICE_VERSION);
    struct kafka_api_versions_response answer;
    struct call call = {.client = c,
                        .api = kafka_api(KAFKA_API_API_VERSIONS),
                        .version = 3,
                        .timeout_ms = c->timeout_ms,
                        .request = &request,
                        .arena = arena,
                        .ret = &answer,
                        .fault = fault};
    sl_err err = exchange(&call, conn->fd);
    if (err != SL_OK)
        return explain(&call, err);
    if (answer.error_code)
        return sl_fault_set(fault, SL_EPROTO, "the broker refused ApiVersions: %s",
                            kafka_error_name(answer.error_code));
    for (size_t i = 0; i < KEYS_MAX; i++)
        conn->ranges[i] = (struct range){1, 0};
    for (uint32_t i = 0; i < answer.n_api_keys; i++) {
        int16_t key = answer.api_keys[i].api_key;
        if (key >= 0 && key < KEYS_MAX)
            conn->ranges[key] =
                (struct range){answer.api_keys[i].min_version, answer.api_keys[i].max_version};
    }
    return SL_OK;
}

static sl_err connect_to(struct client *c, const char *host, int32_t port, struct sl_fault *fault,
                         struct connection **ret)
{
    SL_AUTO(connection_free) struct connection *conn = sl_new(struct connection);
    conn->fd = -1;
    SL_TRY(transport_connect(host, port, c->timeout_ms, fault, &conn->fd));
    SL_TRY(ask_versions(c, conn, fault));
    *ret = SL_TAKE(conn);
    return SL_OK;
}

static struct node *find_node(struct client *c, int32_t id)
{
    for (size_t i = 0; i < c->n_nodes; i++)
        if (c->nodes[i].id == id)
            return &c->nodes[i];
    return NULL;
}

static sl_err connection_of(struct client *c, int32_t id, struct sl_fault *fault,
                            struct connection **ret)
{
    struct node *node = find_node(c, id);
    if (id == CLIENT_ANY_NODE || !node || c->n_nodes == 1) {
        *ret = c->first;
        return SL_OK;
    }
    if (!node->conn)
        SL_TRY(connect_to(c, node->host, node->port, fault, &node->conn));
    *ret = node->conn;
    return SL_OK;
}

/* ---- versions and calls
 * ------------------------------------------------------------------------------ */

static sl_err choose_version(const struct connection *conn, const struct kafka_api *api,
                             int16_t version_max, struct sl_fault *fault, int16_t *ret)
{
    struct range theirs = conn->ranges[api->key];
    int16_t last = SL_MIN(SL_MIN(theirs.last, api->last_version), version_max);
    if (theirs.first > theirs.last)
        return sl_fault_set(fault, SL_EUNSUPPORTED, "the broker does not serve %s", api->name);
    if (last < SL_MAX(theirs.first, api->first_version))
        return sl_fault_set(fault, SL_EUNSUPPORTED,
                            "no common version of %s: the broker serves %d to %d", api->name,
                            theirs.first, theirs.last);
    *ret = last;
    return SL_OK;
}

sl_err client_version(struct client *c, int16_t api_key, int16_t version_max,
                      struct sl_fault *fault, int16_t *ret)
{
    return choose_version(c->first, kafka_api(api_key), version_max, fault, ret);
}

sl_err client_call(struct client *c, const struct client_request *request, struct arena *arena,
                   void *ret, struct sl_fault *fault)
{
    struct call call = {.client = c,
                        .api = kafka_api(request->api_key),
                        .timeout_ms = request->timeout_ms ? request->timeout_ms : c->timeout_ms,
                        .request = request->msg,
                        .arena = arena,
                        .ret = ret,
                        .fault = fault};
    SL_ASSERT(call.api);
    struct connection *conn = NULL;
    SL_TRY(connection_of(c, request->node, fault, &conn));
    SL_TRY(choose_version(conn, call.api, request->version_max, fault, &call.version));
    sl_err err = exchange(&call, conn->fd);
    return err == SL_OK ? SL_OK : explain(&call, err);
}

/* ---- bootstrap
 * --------------------------------------------------------------------------------------- */

static char *text_of(struct slice s)
{
    char *text = sl_alloc(s.len + 1, 1);
    if (s.len)
        memcpy(text, s.data, s.len);
    return text;
}

static sl_err learn_nodes(struct client *c, struct sl_fault *fault)
{
    SL_AUTO(arena_free) struct arena *arena = arena_new(NULL);
    struct kafka_metadata_response answer = kafka_metadata_response_default;
    struct client_request request = {.node = CLIENT_ANY_NODE,
                                     .api_key = KAFKA_API_METADATA,
                                     .version_max = CLIENT_VERSION_NEWEST,
                                     .msg = &kafka_metadata_request_default}; /* of no topic */
    SL_TRY(client_call(c, &request, arena, &answer, fault));
    c->n_nodes = SL_MIN(answer.n_brokers, (uint32_t)NODES_MAX);
    c->nodes = sl_new_array(struct node, c->n_nodes + 1);
    for (size_t i = 0; i < c->n_nodes; i++)
        c->nodes[i] = (struct node){.id = answer.brokers[i].node_id,
                                    .host = text_of(answer.brokers[i].host),
                                    .port = answer.brokers[i].port};
    c->controller = answer.controller_id;
    c->cluster_id = text_of(answer.cluster_id);
    return SL_OK;
}

/* "host:port" without brackets into host; false when it is neither. */
static bool split_address(const char *text, size_t len, char ret_host[256], int32_t *ret_port)
{
    const char *end = text + len, *colon = NULL;
    bool brackets = len > 0 && *text == '[';
    for (const char *p = text; p < end; p++)
        if (*p == ':' && (!brackets || (p > text && p[-1] == ']')))
            colon = p;
    const char *host_end = colon ? colon : end;
    *ret_port = PORT_DEFAULT;
    if (colon) {
        int64_t port;
        if (number_parse(colon + 1, (size_t)(end - colon - 1), 1, UINT16_MAX, &port) != SL_OK)
            return false;
        *ret_port = (int32_t)port;
    }
    if (brackets) {
        text++;
        host_end--;
    }
    if (host_end <= text || host_end - text > 255)
        return false;
    memcpy(ret_host, text, (size_t)(host_end - text));
    ret_host[host_end - text] = 0;
    return true;
}

static sl_err try_bootstrap(struct client *c, const char *text, size_t len, struct sl_fault *fault)
{
    char host[256];
    int32_t port;
    if (!split_address(text, len, host, &port))
        return sl_fault_set(fault, SL_EINVAL, "%.*s is not an address; write host:port", (int)len,
                            text);
    (void)snprintf(c->address, sizeof c->address, "%s:%d", host, port);
    return connect_to(c, host, port, fault, &c->first);
}

static sl_err try_all(struct client *c, const char *list, struct sl_fault *fault)
{
    sl_err err = sl_fault_set(fault, SL_EINVAL, "the list of brokers is empty; write host:port");
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        if (len > 0) {
            err = try_bootstrap(c, p, len, fault);
            if (err == SL_OK || err == SL_EINVAL)
                return err;
        }
        p += len + (p[len] == ',');
    }
    return err;
}

sl_err client_open(const struct client_cfg *cfg, struct sl_fault *fault, struct client **ret)
{
    SL_AUTO(client_close) struct client *c = sl_new(struct client);
    c->client_id = sl_strdup(cfg->client_id);
    c->timeout_ms = cfg->timeout_ms;
    SL_TRY(try_all(c, cfg->bootstrap, fault));
    SL_TRY(learn_nodes(c, fault));
    *ret = SL_TAKE(c);
    return SL_OK;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_nodes; i++) {
        sl_free(c->nodes[i].host);
        connection_free(c->nodes[i].conn);
    }
    sl_free(c->nodes);
    connection_free(c->first);
    sl_free(c->cluster_id);
    sl_free(c->client_id);
    sl_free(c);
}

size_t client_n_nodes(const struct client *c)
{
    return c->n_nodes;
}

struct client_node client_node(const struct client *c, size_t i)
{
    SL_ASSERT(i < c->n_nodes);
    return (struct client_node){c->nodes[i].id, c->nodes[i].host, c->nodes[i].port};
}

int32_t client_controller(const struct client *c)
{
    return c->controller;
}

const char *client_cluster_id(const struct client *c)
{
    return c->cluster_id;
}

const char *client_address(const struct client *c)
{
    return c->address;
}
