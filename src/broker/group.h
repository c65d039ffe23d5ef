/* Consumer groups of the classic kind and committed offsets: the calls that doors make.
 *
 * Every call begins with struct group_call. The door zeroes the struct, calls the initialiser,
 * fills the request part and submits; slices of the request are borrowed until done. A join waits
 * for its rebalance, a sync for the leader's assignment, everything that is written for its
 * commit: what is answered is durable. Answers point into memory that broker_group_..._fini
 * releases after the reply has been encoded. Source: Apache Kafka's group protocol as its clients
 * see it; DESIGN.md section 6 says what survives a restart. */
#ifndef SLUICE_BROKER_GROUP_H
#define SLUICE_BROKER_GROUP_H

#include "base/arena.h"
#include "base/list.h"
#include "base/slice.h"
#include "broker/broker.h"

enum {
    GROUP_NAME_BYTES_MAX = 1024,
    GROUP_PROTOCOLS_MAX = 64,             /* different names in one group */
    GROUP_MEMBER_BYTES_MAX = 1024 * 1024, /* K10: metadata, or assignment, of one member */
    GROUP_BYTES_MAX = 64 * 1024 * 1024,   /* all members of a group */
    GROUPS_MAX = 2 * 1000 * 1000,
};

/* The numbers are stored in meta.db: never renumbered. */
enum group_life {
    GROUP_EMPTY = 0,
    GROUP_PREPARING_REBALANCE = 1,
    GROUP_COMPLETING_REBALANCE = 2,
    GROUP_STABLE = 3,
    GROUP_DEAD = 4,
};
/* "PreparingRebalance", as Kafka spells it. */
const char *group_life_name(enum group_life life);

struct member;

struct group_call {
    struct broker_call call;
    struct slice group; /* in: the name */
    sl_err err;         /* out: of the whole call; parts have their own */
    struct list node;   /* internal */
};

struct group_protocol {
    struct slice name, metadata;
};

/* A member as others see it; slices without bytes (data NULL) are absent. */
struct group_member_view {
    struct slice member_id, instance_id, client_id, client_host;
    struct slice metadata, assignment; /* counted */
};

/* SL_EGROUP_ID, SL_ESESSION_TIMEOUT, SL_EMEMBER, SL_EMEMBER_REQUIRED (ret_member_id is the one to
 * use), SL_EINSTANCE_FENCED, SL_EGROUP_PROTOCOL, SL_EGROUP_FULL, SL_EPOLICY (too much metadata). */
struct broker_group_join {
    struct group_call head;
    struct slice member_id, instance_id, protocol_type, client_id, client_host;
    int32_t session_timeout_ms, rebalance_timeout_ms; /* rebalance < 0: as session */
    const struct group_protocol *protocols;
    uint32_t n_protocols;
    bool member_id_required;  /* a dynamic member must come back with the id it is given */
    bool can_skip_assignment; /* understands skip_assignment */
    /* out */
    int32_t generation;
    struct slice ret_member_id, ret_leader, ret_protocol_type, ret_protocol;
    bool skip_assignment;
    struct group_member_view *members; /* for the leader */
    uint32_t n_members;
    /* internal */
    struct arena *answer;
    struct slice old_leader;
    struct member *member; /* whose parked call this is */
};
void broker_group_join_init(struct broker_group_join *j);
void broker_group_join_fini(struct broker_group_join *j);

struct group_assignment {
    struct slice member_id, assignment;
};

struct broker_group_sync {
    struct group_call head;
    struct slice member_id, instance_id, protocol_type, protocol; /* the last two may be absent */
    int32_t generation;
    const struct group_assignment *assignments; /* from the leader */
    uint32_t n_assignments;
    /* out */
    struct slice ret_protocol_type, ret_protocol, ret_assignment; /* counted */
    struct member *member; /* internal: whose parked call this is */
};
void broker_group_sync_init(struct broker_group_sync *s);
void broker_group_sync_fini(struct broker_group_sync *s);

struct broker_group_heartbeat {
    struct group_call head;
    struct slice member_id, instance_id;
    int32_t generation;
};
void broker_group_heartbeat_init(struct broker_group_heartbeat *h);

struct group_leaver {
    struct slice member_id, instance_id;
    sl_err err; /* out */
};

struct broker_group_leave {
    struct group_call head;
    struct group_leaver *leavers;
    uint32_t n_leavers;
};
void broker_group_leave_init(struct broker_group_leave *l);

/* err: SL_EGROUP_MISSING with life GROUP_DEAD when there is no such group. */
struct broker_group_describe {
    struct group_call head;
    /* out */
    enum group_life life;
    int32_t generation;
    unsigned allowed; /* bit per enum operation that the principal may do */
    struct slice protocol_type, protocol;
    struct group_member_view *members;
    uint32_t n_members;
    struct arena *answer; /* internal */
};
void broker_group_describe_init(struct broker_group_describe *d);
void broker_group_describe_fini(struct broker_group_describe *d);

struct group_row {
    struct slice group, protocol_type;
    enum group_life life;
};

/* Every group of the principal's organisation; head.group is not used. */
struct broker_group_list {
    struct group_call head;
    unsigned lives; /* bit per enum group_life; 0: all */
    /* out */
    struct group_row *rows;
    uint32_t n_rows;
    struct arena *answer; /* internal */
};
void broker_group_list_init(struct broker_group_list *l);
void broker_group_list_fini(struct broker_group_list *l);

/* Removes an empty group with its offsets: SL_EGROUP_MISSING, SL_EGROUP_NOT_EMPTY. */
struct broker_group_delete {
    struct group_call head;
};
void broker_group_delete_init(struct broker_group_delete *d);

/* ---- committed offsets ---------------------------------------------------------------------- */

/* One partition in a commit, a fetch or a delete. */
struct group_offset {
    int32_t partition;
    int64_t offset; /* -1: none committed */
    int32_t leader_epoch;
    struct slice metadata;
    sl_err err; /* out */
};

struct group_offset_topic {
    struct slice name;
    struct uuid topic_id; /* of answers to "all topics", and where the topic is found by id */
    bool by_id;           /* topic_id says which topic, not name */
    struct group_offset *partitions;
    uint32_t n_partitions;
};

/* Durable before done. SL_EGENERATION, SL_EMEMBER, SL_EINSTANCE_FENCED, SL_EREBALANCE,
 * SL_EGROUP_MISSING; by partition SL_ETOPIC, SL_ETOPIC_ID, SL_EDENIED, SL_EOFFSET_META_BIG. */
struct broker_offset_commit {
    struct group_call head;
    struct slice member_id, instance_id;
    int32_t generation;   /* -1: a consumer outside of group management */
    int64_t retention_ms; /* -1: the broker's */
    struct group_offset_topic *topics;
    uint32_t n_topics;
};
void broker_offset_commit_init(struct broker_offset_commit *c);

struct broker_offset_fetch {
    struct group_call head;
    bool all_topics;                   /* then topics are made by the core, else filled in place */
    struct group_offset_topic *topics; /* in and out */
    uint32_t n_topics;
    struct arena *answer; /* internal */
};
void broker_offset_fetch_init(struct broker_offset_fetch *f);
void broker_offset_fetch_fini(struct broker_offset_fetch *f);

/* SL_EGROUP_MISSING, SL_EGROUP_NOT_EMPTY; by partition SL_ETOPIC, SL_EGROUP_SUBSCRIBED. */
struct broker_offset_delete {
    struct group_call head;
    struct group_offset_topic *topics;
    uint32_t n_topics;
};
void broker_offset_delete_init(struct broker_offset_delete *d);

#endif
