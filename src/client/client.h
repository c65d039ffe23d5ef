/* A small blocking Kafka client on the generated codec: for sluicectl, tests and load programs.
 *
 * It finds the brokers through a bootstrap list, keeps one connection to each that is asked, and
 * speaks the newest version that both sides know. One request at a time. Works with any Kafka
 * broker. One thread. */
#ifndef SLUICE_CLIENT_CLIENT_H
#define SLUICE_CLIENT_CLIENT_H

#include "base/arena.h"
#include "base/slice.h"

struct client;

struct client_cfg {
    const char *bootstrap; /* "host:port", several with commas; the port may be left out: 9092 */
    const char *client_id;
    int64_t timeout_ms; /* of each connect and each answer */
};

struct client_node {
    int32_t id;
    const char *host; /* the client's, for its life */
    int32_t port;
};

enum {
    CLIENT_ANY_NODE = -1,
    CLIENT_VERSION_NEWEST = INT16_MAX,
};

/* Connects to the first broker of the list that answers and learns of the others. SL_EINVAL: the
 * list; SL_EIO, SL_ETIMEDOUT, SL_ECLOSED, SL_EPROTO: nobody answered as a Kafka broker does. */
sl_err client_open(const struct client_cfg *cfg, struct sl_fault *fault,
                   struct client **ret) SL_CHECKED;
void client_close(struct client *c); /* accepts NULL */
SL_DEFINE_AUTO(struct client *, client_close);

struct client_request {
    int32_t node; /* CLIENT_ANY_NODE: whichever is connected */
    int16_t api_key;
    int16_t version_max; /* CLIENT_VERSION_NEWEST, or the last one whose fields are filled */
    int64_t timeout_ms;  /* of the answer; 0: the client's. For what may wait at the broker */
    const void *msg;     /* the generated struct */
};

/* Asks a broker and waits for its answer into `ret`, the generated struct of the response. The
 * answer and all it points to live in `arena`. Error codes in the answer are the caller's business.
 * SL_EUNSUPPORTED: no common version up to version_max. */
sl_err client_call(struct client *c, const struct client_request *request, struct arena *arena,
                   void *ret, struct sl_fault *fault) SL_CHECKED;
/* The version that client_call would speak with the broker that was asked first. */
sl_err client_version(struct client *c, int16_t api_key, int16_t version_max,
                      struct sl_fault *fault, int16_t *ret) SL_CHECKED;

/* Known brokers, as of client_open. */
size_t client_n_nodes(const struct client *c);
struct client_node client_node(const struct client *c, size_t i);
int32_t client_controller(const struct client *c);
const char *client_cluster_id(const struct client *c); /* "" when the cluster has none */
/* "host:port" that answered, as the user gave it. */
const char *client_address(const struct client *c);

#endif
