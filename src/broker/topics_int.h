/* Changes of topics, shared by topics.c, topic_create.c, topic_delete.c and topic_alter.c. */
#ifndef SLUICE_BROKER_TOPICS_INT_H
#define SLUICE_BROKER_TOPICS_INT_H

#include "base/buf.h"
#include "base/op.h"
#include "broker/broker_int.h"

struct topic_state {
    struct broker *broker;
    struct map *collisions; /* org + name with '.' as '_': the topic that took it first */
    int64_t calls;          /* calls and changes under way */
    /* producer_ids.c: ids [next, end) are reserved; waiting: calls until a block arrives */
    int64_t producer_id_next, producer_id_end;
    struct list producer_waiting;
    struct meta_txn producer_txn;
    struct meta_op producer_op;
    int64_t producer_first;
    bool producer_reserving;
};

/* One change of one topic: an op whose phases wait for the metastore and the log engine. Owned by
 * whoever starts it; `ended` is called once, last, on the core loop. */
struct topic_change {
    struct op op;
    struct broker *b;
    struct topic *topic;
    void (*ended)(struct topic_change *c, sl_err err);
    struct sl_fault fault; /* of the error */
    /* internal */
    struct meta_txn txn;
    struct meta_op take[2]; /* numbers from counters */
    struct meta_op *rows;   /* owned; of the transaction that makes it true */
    size_t n_rows;
    struct log_done log;
    struct log_part_id *ids; /* owned; partitions of the topic after the change */
    int32_t n_ids;
    struct topic_config config; /* the topic's after the change */
    struct buf config_text;
    int64_t number, first_pid;
    sl_err first_err; /* why it is being undone */
};

/* ---- topics.c ---- */
/* The topic of that name in any state, or NULL. */
struct topic *topics__find(struct broker *b, const struct uuid *org, struct slice name);
/* The topic that a new one of this name would collide with ('.' and '_' count as equal), or NULL.
 */
struct topic *topics__collision(struct broker *b, const struct uuid *org, struct slice name);
/* A topic in state CREATING, in the table of names, with no partitions yet; counts `partitions`
 * against the limit. SL_EPOLICY: too many. */
sl_err topics__add(struct broker *b, const struct uuid *org, struct slice name, int32_t partitions,
                   struct topic **ret) SL_CHECKED;
/* Gives it partitions [n_partitions, n_partitions + n) with these ids, opened in the log. */
void topics__extend(struct broker *b, struct topic *t, const struct log_part_id *ids, int32_t n);
void topics__publish(struct broker *b, struct topic *t); /* CREATING -> LIVE */
/* Out of every table and freed; `counted` partitions go from the limit. */
void topics__remove(struct broker *b, struct topic *t, int32_t counted);
/* Runs w->wake when the change of t has ended. */
void topics__wait(struct topic *t, struct topic_wait *w);
/* Wakes all: their number is what waits now, those who wait again come later. */
void topics__wake(struct list *waiters);
void topics__enter(struct broker *b); /* a call or change begins .. */
void topics__leave(struct broker *b); /* .. and has ended */

/* ---- topic_change.c ---- */
/* Starters for the phases of a change; all SL_PENDING. */
sl_err change__take_numbers(struct topic_change *c, bool topic_number, int32_t n_pids);
sl_err change__write_files(struct topic_change *c);
sl_err change__commit_rows(struct topic_change *c);
sl_err change__drop_files(struct topic_change *c);
/* Prepares ids and rows: partitions [0, n_old) as they are, [n_old, n_ids) from first_pid on. */
void change__prepare(struct topic_change *c);
void change__fini(struct topic_change *c);

#endif
