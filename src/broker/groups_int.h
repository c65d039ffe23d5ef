/* All groups of the broker: look-up, timers, transactions. Shared by groups*.c. Core loop. */
#ifndef SLUICE_BROKER_GROUPS_INT_H
#define SLUICE_BROKER_GROUPS_INT_H

#include "broker/broker_int.h"
#include "broker/group_int.h"

enum { GROUP_OFFSETS_MAX = 5 * 1000 * 1000 }; /* committed offsets of all groups */

struct group_state {
    struct group_host host;
    struct broker *broker;
    struct map *by_name; /* key: organisation, then name */
    struct list all;     /* group.node */
    size_t n_txns;       /* transactions under way */
    size_t n_offsets;
    bool draining;
    struct timer sweep;
    size_t sweep_left; /* groups still to look at in this round */
};

/* One transaction on behalf of a group; `ops` are behind it in the same allocation. */
struct group_txn {
    struct meta_txn txn;
    struct group_state *groups;
    struct group *group;
    struct group_call *call; /* answered when it is done; or NULL */
    /* On the core loop, before the answer. */
    void (*settle)(struct group_txn *t);
    size_t cap;
    struct meta_op ops[];
};

struct group_state *groups__of(struct group_call *c);
/* Every call passes here first: the name, the principal's right, a broker that is not closing. */
sl_err groups__admit(struct group_call *c, enum operation op, bool empty_name_allowed) SL_CHECKED;
struct group *groups__find(struct group_state *gs, const struct uuid *org, struct slice name);
/* Finds or makes: SL_ELIMIT. */
sl_err groups__make(struct group_state *gs, const struct uuid *org, struct slice name,
                    struct group **ret) SL_CHECKED;
/* Ends a step: answers, arms the timer, frees the group when nobody would miss it. g may be gone
 * afterwards; NULL is accepted. */
void groups__end_step(struct group_state *gs, struct group *g);
/* Answers a call outside of any group. */
void groups__answer(struct group_state *gs, struct group_call *c, sl_err err);

/* SL_ENOMEM. */
sl_err groups__txn_new(struct group_state *gs, struct group *g, size_t n_ops,
                       struct group_txn **ret) SL_CHECKED;
struct meta_op *groups__txn_add(struct group_txn *t, enum meta_op_kind kind);
void groups__txn_submit(struct group_txn *t);
/* subscribe.c, subscriptions.c. Commits of others have ended: who waits to subscribe goes on. */
void subs__group_settled(struct broker *b, struct group *g);
/* An offset is being set by somebody else, no stream being open: what streams left above it is not
 * written any more. True: a row of ranges may be there, to be deleted; subs__ranges_gone then. */
bool subs__offset_set(struct broker *b, struct group *g, const struct uuid *topic_id,
                      int32_t partition);
void subs__ranges_gone(struct broker *b, struct group *g, const struct uuid *topic_id,
                       int32_t partition);
/* The group is being deleted, and it is. */
void subs__group_set(struct broker *b, struct group *g);
void subs__group_gone(struct broker *b, struct group *g);

static inline int64_t groups__now_ms(const struct group_state *gs)
{
    return loop_now_ms(gs->broker->env.loop);
}
/* Removes a group's row and offsets durably; `call` is answered then (may be NULL). */
sl_err groups__delete(struct group_state *gs, struct group *g, struct group_call *call) SL_CHECKED;

void groups__sweep_start(struct group_state *gs);
/* Whether the offset may be dropped now (wall time). */
bool groups__offset_expired(const struct group *g, const struct committed *c,
                            const struct topic *topic, int64_t now_ms, int64_t retention_ms);

#endif
