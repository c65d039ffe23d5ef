/* The broker core: topics, partitions, groups, producers. One thread owns all of it, no locks.
 *
 * Doors talk to it through calls. A call is a struct that begins with struct broker_call; the door
 * fills the request part, submits it, and gets `done` on its own loop once the answer part is
 * filled. With the door on the core loop a call is a plain function call (done may then come before
 * broker_submit returns); otherwise it is a message there and one back. The families of calls are
 * declared in topics.h, produce.h, fetch.h, offsets.h, groups.h beside this file. */
#ifndef SLUICE_BROKER_BROKER_H
#define SLUICE_BROKER_BROKER_H

#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "loop/loop.h"

struct broker;
struct log_engine;
struct metastore;
struct workers;

/* Who asks. Lives as long as its connection. */
struct principal {
    struct uuid org;  /* zero: the default organisation */
    const char *name; /* "anonymous" without authentication */
    enum { PRINCIPAL_NONE, PRINCIPAL_PASSWORD, PRINCIPAL_KEY, PRINCIPAL_CERTIFICATE } proof;
};
extern const struct principal principal_anonymous;

enum resource_type {
    RESOURCE_CLUSTER,
    RESOURCE_TOPIC,
    RESOURCE_GROUP,
    RESOURCE_TRANSACTIONAL_ID,
};

enum operation {
    OPERATION_READ,
    OPERATION_WRITE,
    OPERATION_CREATE,
    OPERATION_DELETE,
    OPERATION_ALTER,
    OPERATION_DESCRIBE,
    OPERATION_CLUSTER_ACTION,
    OPERATION_DESCRIBE_CONFIGS,
    OPERATION_ALTER_CONFIGS,
    OPERATION_IDEMPOTENT_WRITE,
};

/* The one gate that every broker call passes: SL_OK or SL_EDENIED. `name` is the resource's, NULL
 * for the cluster. Rules come with authentication; until then everybody may do everything. */
sl_err authorize(struct broker *b, const struct principal *who, enum operation op,
                 enum resource_type type, const char *name) SL_CHECKED;

struct broker_call {
    struct task task; /* internal: travels between loops */
    struct broker *broker;
    struct loop *home; /* the door's loop: done is called there */
    const struct principal *who;
    void (*run)(struct broker_call *c);  /* set by the call's initialiser; on the core loop */
    void (*done)(struct broker_call *c); /* set by the door; exactly once */
    /* Set by the call while it waits (fetch, join, sync), else NULL; on the core loop, once, when
     * broker_cancel arrived: finishes the call with SL_ECANCELED or as it stands. */
    void (*cancel)(struct broker_call *c);
    bool canceled; /* the door lost interest: finish soon, done is still called */
    /* internal */
    struct task cancel_task;
    bool cancel_under_way, done_waits; /* home loop: done is held back until the cancel is back */
    bool finished;                     /* core loop */
};

/* Hands the call to the core. Any loop; calls of one loop arrive in order. */
void broker_submit(struct broker_call *c);
/* Core only: the answer is filled; c may be gone when this returns. */
void broker_finish(struct broker_call *c);
/* Asks a call that waits (fetch, join, sync) to finish now. From its home loop. */
void broker_cancel(struct broker_call *c);

/* Settings of the broker; all live for its whole life. Server fills it from the option table. */
struct broker_cfg {
    const char *cluster_id; /* base64 uuid text */
    const char *data_dir;   /* what DescribeLogDirs calls it; NULL: "data" */
    /* "PLAINTEXT://HOST:PORT" as DescribeConfigs tells them: where the Kafka door listens, and what
     * clients are told. Borrowed buffers that may be filled later; NULL: empty. */
    const char *listeners, *advertised_listeners;
    int32_t node_id;
    bool auto_create_topics;
    int32_t num_partitions;                             /* of created topics when not said */
    int32_t partitions_max;                             /* of the whole broker: K08 [200,000] */
    int64_t offsets_retention_ms;                       /* [7 days] */
    int64_t group_session_min_ms, group_session_max_ms; /* [6 s, 30 min] */
    int64_t group_initial_rebalance_delay_ms;           /* [0: dev-friendly; Kafka 3 s] */
    int32_t group_members_max;                          /* [INT32_MAX -> 10,000] */
    size_t offset_metadata_bytes_max;                   /* [4096] */
    int32_t fetch_sessions_max;                         /* [1000] */
    int64_t message_bytes_max;                          /* max.message.bytes default [1048588] */
    int64_t producer_expiry_ms;                         /* [1 day] */
    int64_t fetch_bytes_max;                            /* per response [57,671,680] */
    const char *topic_defaults; /* "retention.ms=1\n..": what topics do not set; or NULL */
};

struct broker_env {
    const struct clock *clock;
    struct rng *rng;
    struct loop *loop; /* the core loop */
    struct log_engine *log;
    struct metastore *meta;
    struct workers *workers;
    /* The process must end (a commit of unknown outcome); on the core loop. NULL: only logged. */
    void (*fatal)(void *arg, sl_err err);
    void *fatal_arg;
};

/* Loads topics, groups and offsets from the metastore. Blocking; before the loop runs. */
sl_err broker_open(const struct broker_cfg *cfg, const struct broker_env *env,
                   struct sl_fault *fault, struct broker **ret) SL_CHECKED;
/* Ends waiting calls (fetch: as timed out; joins: SL_ECLOSED), refuses new ones with SL_ECLOSED and
 * calls done when nothing is under way. The log engine is closed by the caller afterwards. */
void broker_close(struct broker *b, void (*done)(void *arg), void *arg);
void broker_free(struct broker *b); /* after close; accepts NULL */
SL_DEFINE_AUTO(struct broker *, broker_free);
const struct broker_cfg *broker_config(const struct broker *b);

#endif
