/* The inside of a group: one state machine without clock, disk or loop of its own.
 *
 * Time comes in as `now_ms` (monotonic). What the machine wants of the world goes through
 * struct group_host: answered calls are queued there (never answered inside a step, so that an
 * answer cannot re-enter), and rows to be made durable are handed over, one at a time, each
 * followed by group_stored(). After a step the owner arms one timer for group_next_deadline().
 * Owner of the structs: group.c (group), group_members.c (member). Core loop. */
#ifndef SLUICE_BROKER_GROUP_INT_H
#define SLUICE_BROKER_GROUP_INT_H

#include "base/map.h"
#include "base/rng.h"
#include "broker/group.h"

struct group;

enum {
    GROUP_NEW_MEMBER_JOIN_MS =
        5 * 60 * 1000,              /* a new member's wait in a long rebalance, as Kafka */
    GROUP_GENERATION_RESERVE = 100, /* generations made durable ahead of their use */
};
#define GROUP_NEVER INT64_MAX

struct group_host {
    const struct broker_cfg *cfg;
    struct rng *rng;
    const struct clock *clock; /* wall time of state changes only */
    struct list finished;      /* group_call.node: answered, waiting for broker_finish */
    size_t bytes;              /* held by all groups */
    uint64_t rebalances, expired_members, expired_offsets;
    /* Make the row durable, then call group_stored; never before this returns. */
    void (*store)(struct group_host *h, struct group *g, struct slice state, int64_t ceiling);
};

/* ---- members ------------------------------------------------------------------------------- */

struct member {
    struct broker_group_join *join; /* parked; NULL: its client went away meanwhile */
    struct broker_group_sync *sync;
    struct slice protocols;  /* encoded, in order of preference: group_members.c */
    struct slice assignment; /* both counted; after a store they point into the stored row */
    int64_t deadline_ms;     /* of the session; lazily looked at by expire_sessions() */
    uint64_t join_version;   /* the parked join waits for this row version; 0: for the rebalance */
    int32_t session_timeout_ms, rebalance_timeout_ms;
    bool is_new;        /* has not finished a rebalance yet */
    bool awaiting_join; /* has joined the rebalance under way */
    bool synced;        /* has asked for the assignment of this generation */
    uint16_t id_len, instance_len, client_id_len, client_host_len;
    char text[]; /* the four strings, one behind the other; an instance_len of 0: dynamic */
};

struct member_ids {
    struct slice id, instance_id, client_id, client_host;
};

struct member *member_new(const struct member_ids *ids);
void member_free(struct member *m); /* accepts NULL; no call may be parked */
SL_DEFINE_AUTO(struct member *, member_free);
struct slice member_id(const struct member *m);
struct slice member_instance(const struct member *m);
struct slice member_client_id(const struct member *m);
struct slice member_client_host(const struct member *m);
static inline bool member_is_static(const struct member *m)
{
    return m->instance_len != 0;
}

/* Members in join order; found by scan while few, by map beyond. */
struct member_set {
    struct member **items;
    uint32_t n, cap;
    struct map *by_id; /* NULL while few */
};
struct member *member_set_find(const struct member_set *s, struct slice id);
void member_set_add(struct member_set *s, struct member *m);
void member_set_remove(struct member_set *s, struct member *m);
void member_set_fini(struct member_set *s); /* frees the members */

/* Joined protocols as one block; SL_EPOLICY beyond GROUP_MEMBER_BYTES_MAX, SL_ENOMEM. */
sl_err member_protocols_encode(const struct group_protocol *p, uint32_t n,
                               struct slice *ret) SL_CHECKED;
/* Walks an encoded list: *pos from 0; false at the end. */
bool member_protocols_next(struct slice encoded, size_t *pos, struct group_protocol *ret);
/* Metadata for the protocol `name`, borrowed; data NULL: not supported. */
struct slice member_metadata(const struct member *m, struct slice name);
/* True when a consumer's subscription (ConsumerProtocolSubscription) names the topic. */
bool consumer_subscribes(struct slice metadata, struct slice topic);

/* ---- committed offsets, in memory --------------------------------------------------------- */

struct committed {
    int64_t offset, commit_ms, expire_ms; /* expire -1: by the broker's retention */
    int32_t leader_epoch, partition;
    struct group_text *metadata; /* NULL: empty */
};

struct group_text {
    uint32_t len;
    char bytes[];
};

struct offset_topic {
    struct uuid topic_id;
    struct committed *items; /* by partition */
    uint32_t n, cap;
};

struct group_offsets {
    struct offset_topic **topics; /* by topic id */
    uint32_t n, cap;
    size_t count, bytes; /* bytes: metadata */
};

struct offset_topic *group_offsets_topic(const struct group_offsets *o, const struct uuid *id);
struct committed *group_offsets_find(const struct group_offsets *o, const struct uuid *id,
                                     int32_t partition);
/* Inserts or replaces; `metadata` is copied. */
void group_offsets_put(struct group_offsets *o, const struct uuid *id, const struct committed *c,
                       struct slice metadata);
void group_offsets_remove(struct group_offsets *o, const struct uuid *id, int32_t partition);
void group_offsets_remove_topic(struct group_offsets *o, const struct uuid *id);
void group_offsets_clear(struct group_offsets *o);
struct slice committed_metadata(const struct committed *c);

/* ---- the group ----------------------------------------------------------------------------- */

struct supported_protocol {
    struct slice name; /* counted copy */
    uint32_t count;    /* members that support it */
};

struct group {
    struct group_host *host;
    struct uuid org;
    char *name;
    size_t name_len;
    enum group_life life;
    int64_t changed_wall_ms; /* when life was entered */

    int32_t generation;
    int64_t next_generation;              /* above every one that anybody may have been told */
    struct slice protocol_type, protocol; /* counted; data NULL: none */
    struct member_set members;
    struct member_set pending; /* ids given out by SL_EMEMBER_REQUIRED; only id and deadline */
    struct map *by_instance;   /* static members; NULL while there is none */
    struct member *leader;
    struct supported_protocol *supported;
    uint32_t n_supported;
    uint32_t n_awaiting; /* members with awaiting_join */
    size_t bytes;        /* metadata and assignments, charged to the host */
    size_t member_bytes; /* the members without those, as well */

    bool initial;          /* the rebalance under way started from empty */
    bool new_member_added; /* since the initial delay began */
    bool join_due;         /* the join phase ends as soon as the generation may be told */
    bool assigned;         /* the leader has sent the assignment of this generation */
    int64_t initial_left_ms;
    int64_t join_deadline_ms, sync_deadline_ms, session_scan_ms; /* GROUP_NEVER: none */

    /* durability: versions of the row, counted up by what must be stored */
    bool storing, sending_ceiling; /* sending_ceiling: the same state with a higher ceiling */
    bool sending_void;             /* group_forget came after it */
    bool has_row;
    uint64_t version, version_tried, version_durable, sync_version;
    int64_t ceiling, ceiling_sent; /* no generation above `ceiling` has been told */
    struct slice stored, sending;  /* the row's state: durable, and on its way */

    struct group_offsets offsets; /* only what is durable */

    /* streams: subscriptions share the group's messages (subscribe.h), not beside members */
    uint32_t n_streams;     /* open, or about to be */
    struct list shares;     /* share_topic.node */
    struct list share_rows; /* share_row.node: ranges that are durable */

    /* the owner's */
    uint32_t n_txns; /* transactions under way that name this group */
    struct timer timer;
    struct list node;
};

struct group *group_new(struct group_host *host, const struct uuid *org, struct slice name);
void group_free(struct group *g); /* accepts NULL; no call may be parked */
SL_DEFINE_AUTO(struct group *, group_free);

/* The steps. Each answers through host->finished, at once or later. */
void group_join(struct group *g, struct broker_group_join *j, int64_t now_ms);
void group_sync(struct group *g, struct broker_group_sync *s, int64_t now_ms);
sl_err group_heartbeat(struct group *g, const struct broker_group_heartbeat *h, int64_t now_ms);
void group_leave(struct group *g, struct group_leaver *leavers, uint32_t n, int64_t now_ms);
/* Whether an offset commit of this sender is taken now; counts as a sign of life. */
sl_err group_may_commit(struct group *g, const struct broker_offset_commit *c, int64_t now_ms);
void group_tick(struct group *g, int64_t now_ms);
void group_stored(struct group *g, sl_err err, int64_t now_ms);
/* The earliest time at which group_tick has something to do. */
int64_t group_next_deadline(const struct group *g);
/* The client of a parked join or sync has gone: answers it, keeps the member. */
void group_cancel_join(struct group *g, struct broker_group_join *j);
void group_cancel_sync(struct group *g, struct broker_group_sync *s, int64_t now_ms);
/* Answers everything that is parked. */
void group_end_calls(struct group *g, sl_err err);
/* The row is being deleted: forget what made it, as for a new group; generations go on. */
void group_forget(struct group *g);
/* Nobody would miss it: no members, ids, offsets, row or work. */
bool group_is_idle(const struct group *g);
/* Some member's subscription names the topic (consumer groups only). */
bool group_subscribes(const struct group *g, struct slice topic);

/* ---- the row ------------------------------------------------------------------------------- */

/* The state as stored (docs/formats/group-state.md); members' slices point into it afterwards. */
sl_err group_image_encode(struct group *g, struct slice *ret) SL_CHECKED;
/* Fills a fresh group; sessions start at now_ms. SL_ECORRUPT, SL_EFORMAT (newer). */
sl_err group_image_load(struct group *g, struct slice state, int64_t ceiling,
                        int64_t now_ms) SL_CHECKED;

/* ---- shared by group*.c --------------------------------------------------------------------- */

void group__set_life(struct group *g, enum group_life life);
struct slice group__keep(struct arena *a, struct slice s);
void group__finish(struct group *g, struct group_call *c, sl_err err);
void group__fail_join(struct group *g, struct broker_group_join *j, sl_err err);
/* As SL_OK answers of the current generation. with_members: for the leader. */
void group__answer_join(struct group *g, const struct member *m, struct broker_group_join *j,
                        bool with_members);
/* Answers a parked sync with the member's assignment; without one nothing. */
void group__answer_sync(struct group *g, struct member *m);
void group__fail_sync(struct group *g, struct member *m, sl_err err);
/* A static member came back under a new id and the group went on. */
void group__answer_replaced(struct group *g, struct member *m, struct broker_group_join *j);
void group__touch(struct group *g, struct member *m, int64_t now_ms);
/* Into and out of `members` or `pending`, with its memory charged to the host; drop frees it. */
void group__keep_member(struct group *g, struct member_set *s, struct member *m);
void group__drop_member(struct group *g, struct member_set *s, struct member *m);
sl_err group__validate(const struct group *g, struct slice id, struct slice instance,
                       struct member **ret) SL_CHECKED;
/* Into the table and the static index; the first one gives the group its type. */
void group__add(struct group *g, struct member *m, struct slice protocol_type);
/* Out of everything, its calls answered with err, freed. */
void group__remove(struct group *g, struct member *m, sl_err err);
/* Both take ownership of the slice. */
void group__set_protocols(struct group *g, struct member *m, struct slice protocols);
void group__set_assignment(struct group *g, struct member *m, struct slice assignment);
bool group__supports(const struct group *g, const struct broker_group_join *j);
struct slice group__select_protocol(const struct group *g); /* borrowed */
void group__index_static(struct group *g, struct member *m);
void group__set_awaiting(struct group *g, struct member *m, bool awaiting);
/* Starts a rebalance, or leaves the one under way to the pump. */
void group__rebalance(struct group *g, int64_t now_ms);
void group__members_left(struct group *g, int64_t now_ms);
/* Runs what can go on: end of the join phase, the assignment, rows to store. */
void group__pump(struct group *g, int64_t now_ms);

#endif
