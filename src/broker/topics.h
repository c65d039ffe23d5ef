/* Topics: creating, deleting, growing and looking at them.
 *
 * The door fills the request part of a call, calls its initialiser and submits it. Slices of the
 * request are borrowed until done. Texts of the answer live in call memory that ..._fini frees,
 * after the reply has been encoded. A whole call fails only with SL_ECLOSED (stopping). */
#ifndef SLUICE_BROKER_TOPICS_H
#define SLUICE_BROKER_TOPICS_H

#include "base/arena.h"
#include "base/slice.h"
#include "broker/broker.h"
#include "broker/topic_config.h"

/* One request may create this many partitions, as in Kafka; more is SL_EPOLICY. */
enum { CREATE_PARTITIONS_MAX = 10000 };

struct setting_text {
    struct slice name;
    struct slice value;
    bool value_is_null;
};

/* Brokers of one partition, as a client assigns them. */
struct replica_assignment {
    int32_t partition;
    const int32_t *broker_ids;
    uint32_t n_broker_ids;
};

/* Internal: how many items of a call have no answer yet, and memory of what they are told. */
struct call_items {
    struct broker_call *call;
    struct arena *arena;
    uint32_t left;
};

/* ---- create --------------------------------------------------------------------------------- */

/* SL_EEXISTS, SL_ETOPIC_NAME, SL_EPARTITIONS, SL_EREPLICATION, SL_EASSIGNMENT, SL_ECONFIG,
 * SL_EPOLICY (too many partitions), SL_EINVAL (named twice), SL_ENOSPC, SL_EDENIED. */
struct broker_create_topic {
    /* in */
    struct slice name;
    int32_t n_partitions;       /* -1: the broker's default, or as assigned */
    int16_t replication_factor; /* -1 or 1 */
    const struct replica_assignment *assignments;
    uint32_t n_assignments;
    const struct setting_text *settings;
    uint32_t n_settings;
    /* out */
    sl_err err;
    const char *message; /* NULL: nothing beyond err */
    struct uuid topic_id;
    struct topic_config config; /* as created; n_partitions is filled too */
};

struct broker_create_topics {
    struct broker_call call;
    /* in */
    bool validate_only; /* the same answers, nothing is created */
    bool kafka_names;   /* refuse the names that Kafka refuses */
    struct broker_create_topic *topics;
    uint32_t n_topics;
    /* out */
    sl_err err;
    struct topic_config defaults; /* of the broker */
    /* internal */
    struct call_items items;
};
void broker_create_topics_init(struct broker_create_topics *c);
void broker_create_topics_fini(struct broker_create_topics *c);

/* ---- delete --------------------------------------------------------------------------------- */

/* SL_ETOPIC, SL_ETOPIC_ID, SL_EINVAL (named twice), SL_EDENIED, errors of the log. */
struct broker_delete_topic {
    /* in: a name, or (data NULL) an id */
    struct slice name;
    struct uuid topic_id; /* out as well */
    /* out */
    sl_err err;
    const char *message;
    const char *ret_name; /* NULL: not known */
};

struct broker_delete_topics {
    struct broker_call call;
    struct broker_delete_topic *topics;
    uint32_t n_topics;
    sl_err err;
    /* internal */
    struct call_items items;
};
void broker_delete_topics_init(struct broker_delete_topics *c);
void broker_delete_topics_fini(struct broker_delete_topics *c);

/* ---- more partitions ------------------------------------------------------------------------ */

/* SL_ETOPIC, SL_EPARTITIONS, SL_EASSIGNMENT, SL_EPOLICY, SL_EINVAL (named twice), SL_EDENIED. */
struct broker_grow_topic {
    struct slice name;
    int32_t count;                                /* partitions it shall have */
    const struct replica_assignment *assignments; /* of the new ones; partition is not used */
    uint32_t n_assignments;
    bool has_assignments;
    sl_err err;
    const char *message;
};

struct broker_grow_topics {
    struct broker_call call;
    bool validate_only;
    struct broker_grow_topic *topics;
    uint32_t n_topics;
    sl_err err;
    struct call_items items;
};
void broker_grow_topics_init(struct broker_grow_topics *c);
void broker_grow_topics_fini(struct broker_grow_topics *c);

/* ---- look ----------------------------------------------------------------------------------- */

/* SL_ETOPIC, SL_ETOPIC_ID, SL_ETOPIC_NAME, SL_EPOLICY, SL_EDENIED, SL_ELIMIT (too many are being
 * created for this call: ask again). */
struct broker_topic_view {
    /* in: a name, or (data NULL) an id */
    struct slice name;
    struct uuid topic_id;
    /* out; name points into call memory when the topic was asked for by id or with `all` */
    sl_err err;
    int32_t n_partitions;
    int32_t *leader_epochs; /* n_partitions */
    int64_t number, created_ms;
    const struct topic_config *config; /* NULL: not asked for */
};

struct broker_metadata {
    struct broker_call call;
    bool all;
    bool with_config;
    bool allow_create;                /* missing topics are created when the broker does that */
    struct broker_topic_view *topics; /* in; with `all` out, sorted by name */
    uint32_t n_topics;
    sl_err err;
    /* internal */
    struct call_items items;
    uint32_t n_created;
};
void broker_metadata_init(struct broker_metadata *c);
void broker_metadata_fini(struct broker_metadata *c);

#endif
