/* Inside of the core, shared by the files of this folder only: the broker, its topics and
 * partitions. Owner of the structs: broker.c (broker), topic.c (topic, partition). */
#ifndef SLUICE_BROKER_BROKER_INT_H
#define SLUICE_BROKER_BROKER_INT_H

#include "base/list.h"
#include "base/map.h"
#include "broker/broker.h"
#include "broker/topic_config.h"
#include "meta/metastore.h"
#include "storage/log_engine.h"

struct fetch_state;   /* fetch.c: sessions, parked fetches */
struct produce_state; /* produce.c: checks under way */
struct group_state;   /* groups.c: groups, members, offsets */
struct subscriptions; /* subscriptions.c: streams, what groups have of topics */
struct group;
struct topic_state; /* topics.c: work under way */

struct partition {
    struct topic *topic; /* borrowed: the topic owns its partitions */
    int32_t index;
    uint64_t pid;
    struct log_part *log; /* borrowed: the engine's */
};

enum topic_life {
    TOPIC_CREATING, /* invisible until its rows are durable */
    TOPIC_LIVE,
    TOPIC_DELETING,
};

struct topic {
    struct uuid org, id;
    char *name;
    int64_t number;
    enum topic_life life;
    struct topic_config config; /* parsed values of every setting, overrides marked */
    struct partition *partitions;
    int32_t n_partitions;
    int64_t created_ms;
    struct old_array *old_arrays; /* topics.c: what partitions pointed to before it grew */
    bool changing;       /* a change is under way: creation, deletion, config, partitions */
    struct list waiters; /* struct topic_wait: woken when a change has ended */
};

/* Waits for a topic's change to end; woken on the core loop, unlinked. The topic may be gone: look
 * it up again. */
struct topic_wait {
    struct list node;
    void (*wake)(struct topic_wait *w);
};

struct broker {
    struct broker_cfg cfg;
    struct broker_env env;
    struct map *topics_by_name; /* key: org bytes, then name */
    struct map *topics_by_id;   /* key: uuid bytes */
    int64_t n_partitions;
    struct topic_config topic_defaults; /* what a topic's setting is when it does not say */
    struct topic_state *topics;
    struct fetch_state *fetch;
    struct produce_state *produce;
    struct group_state *groups;
    struct subscriptions *subscriptions;
    bool closing, closed; /* closed: the owner has been told */
    struct task closed_task;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* A live topic, or NULL. */
struct topic *broker__topic(struct broker *b, const struct uuid *org, struct slice name);
struct topic *broker__topic_by_id(struct broker *b, const struct uuid *id);
/* NULL when the index is out of range. */
struct partition *broker__partition(struct topic *t, int32_t index);
/* Called by topics.c when a topic starts being deleted: whoever holds its partitions lets go. */
void produce__topic_gone(struct broker *b, struct topic *t);
void fetch__topic_gone(struct broker *b, struct topic *t);
void groups__topic_gone(struct broker *b, struct topic *t);
void subs__topic_gone(struct broker *b, struct topic *t); /* before groups__topic_gone */
/* It has more partitions now. */
void subs__topic_grown(struct broker *b, struct topic *t);

/* A transaction of the metastore failed with SL_EUNKNOWN_OUTCOME: says so and asks the program to
 * end (env.fatal). Other errors: does nothing. To be called by every part that gets one. */
void broker__check_meta(struct broker *b, sl_err err, const struct sl_fault *fault);

sl_err topics__open(struct broker *b, struct sl_fault *fault) SL_CHECKED;
sl_err produce__open(struct broker *b) SL_CHECKED;
sl_err fetch__open(struct broker *b) SL_CHECKED;
sl_err groups__open(struct broker *b, struct sl_fault *fault) SL_CHECKED;
sl_err subs__open(struct broker *b, struct sl_fault *fault) SL_CHECKED; /* after groups__open */
/* When the broker starts closing: what waits without end is finished now. */
void fetch__close(struct broker *b);
void groups__close(struct broker *b);
void subs__close(struct broker *b);
/* In broker_free, when all are idle; accept a part that was never opened. */
void topics__free(struct broker *b);
void produce__free(struct broker *b);
void fetch__free(struct broker *b);
void groups__free(struct broker *b);
void subs__free(struct broker *b); /* before groups__free */
/* True when the part has nothing under way; asked by broker__idle_check. */
bool topics__idle(const struct broker *b);
bool produce__idle(const struct broker *b);
bool fetch__idle(const struct broker *b);
bool groups__idle(const struct broker *b);
bool subs__idle(const struct broker *b);
/* To be called by a part that just became idle while the broker is closing. */
void broker__idle_check(struct broker *b);

#endif
