/* The delivery engine, shared by its files only: streams, and what groups have of topics.
 *
 * A share topic is a group on a topic while streams are open (or what they left is not durable
 * yet); its parts each have a machine (share_int.h), two walkers (ahead, and again for what is
 * delivered again), and are queued as a turn when there may be something to do. A turn moves
 * messages into the drafts of streams; drafts are handed to the doors when all turns have run, so a
 * door never sees the engine half way. Core loop, but for what says otherwise. */
#ifndef SLUICE_BROKER_SUBSCRIBE_INT_H
#define SLUICE_BROKER_SUBSCRIBE_INT_H

#include "broker/feed_int.h"
#include "broker/group_int.h"
#include "broker/groups_int.h"
#include "broker/share_int.h"
#include "broker/subscribe.h"

struct subscriptions;
struct share_topic;

/* Something that wants to look whether it can go on; queued at most once. */
struct turn {
    struct list node;
    void (*run)(struct turn *t);
};

/* Why a part or a lane stopped looking. */
enum stop {
    STOP_NOT,    /* queued */
    STOP_END,    /* nothing is there: its watch or timer queues it */
    STOP_STREAM, /* no stream can take more: credit or room queue it */
    STOP_FULL,   /* too many ranges, or dead letters on their way: settling queues it */
    STOP_READ,   /* its walker waits, and queues it */
};

/* ---- filters -------------------------------------------------------------------------------- */

struct condition {
    struct slice name, value; /* into `text` of the filter */
    bool is_prefix;
};

struct filter {
    uint32_t n;
    uint8_t *text;
    struct condition conditions[SUBSCRIPTION_CONDITIONS_MAX];
};

/* SL_EINVAL beyond the limits. */
sl_err filter_init(struct filter *f, const struct broker_subscribe *s) SL_CHECKED;
void filter_fini(struct filter *f);
bool filter_equal(const struct filter *a, const struct filter *b);

/* A found record with its headers decoded. */
struct message {
    struct record record;
    struct delivery_header *headers; /* the engine's scratch: until the next one */
    uint32_t n_headers;
    size_t bytes; /* of key, value, headers, and what they take in a delivery */
};
/* SL_ECORRUPT, SL_ENOMEM. */
sl_err message_open(struct subscriptions *e, const struct record *r,
                    struct message *ret) SL_CHECKED;
bool filter_passes(const struct filter *f, const struct message *m);
/* Wall time before which it is not to be delivered; 0: none. */
int64_t message_deliver_at(const struct message *m);

/* ---- streams -------------------------------------------------------------------------------- */

/* A stream's private reading of a partition: a tail, or a re-read below the cursor. */
struct lane {
    struct turn turn;
    struct subscription *sub;
    int32_t partition;
    struct log_part *log;
    int64_t at; /* the next offset to look at */
    enum stop stop;
    bool done; /* a re-read that has reached the cursor */
    struct feed_walker walker;
    struct log_watch watch;
};

enum stream_life {
    STREAM_OPENING, /* its start is not durable yet: the call waits */
    STREAM_OPEN,
    STREAM_ENDED,   /* the door was told, or will be */
    STREAM_CLOSING, /* the door has closed it */
};

struct store_wait {
    struct list node;
    uint64_t commit; /* the commit with this number is waited for */
    void (*stored)(struct store_wait *w, sl_err err);
};

struct subscription {
    struct subscriptions *engine;
    struct loop *home;
    const struct subscription_events *events;
    void *arg;
    /* core loop */
    struct list node;     /* of the share topic, or of the engine's tails; ended: of none */
    struct list all_node; /* subscriptions.all */
    enum stream_life life;
    struct share_topic *share; /* NULL: a tail, or ended */
    struct uuid topic_id;
    struct uuid org;
    char *id;
    size_t id_len;
    int32_t partition; /* -1: all */
    uint32_t credit;
    int64_t room; /* negative: the last message was larger than it */
    int64_t ack_deadline_ms;
    struct filter filter; /* of a tail */
    struct lane **lanes;
    uint32_t n_lanes;
    struct delivery_box *draft;
    struct list draft_node; /* subscriptions.drafts */
    bool draining, jumped;
    struct list drain_node, end_node; /* of subscriptions.draining, .ending */
    uint64_t n_ignored;
    sl_err end_err;
    const char *end_reason;
    struct broker_subscribe *call; /* while opening */
    struct store_wait wait;
    struct task end_task, done_task;
    /* home loop */
    bool closed;
    struct task close_task;
    void (*done)(void *arg);
    void *done_arg;
};

/* ---- groups on topics ----------------------------------------------------------------------- */

struct share_part {
    struct turn turn;
    struct share_topic *of;
    int32_t index;
    struct log_part *log;
    bool open; /* has a cursor: the machine is valid */
    struct share share;
    struct feed_walker ahead, again;
    struct log_watch watch;
    struct timer timer;
    enum stop stop;
    int64_t log_start, end;       /* as of this turn; end: the high watermark */
    struct subscription *current; /* gets the next messages, while it can: */
    uint32_t current_left;
    uint32_t n_dead; /* dead letters on their way */
    /* durability */
    struct list dirty;   /* subscriptions.dirty: the cursor is to be committed */
    struct list ranges;  /* subscriptions.ranges: the ranges are */
    bool must_store;     /* the cursor is, although it did not move */
    bool has_offset;     /* the group has one, or it is in a commit */
    bool ranges_now;     /* with the next commit, whenever they were written last */
    int64_t sent_cursor; /* in a commit, or durable, or where everybody starts */
    uint64_t sent_changes;
};

struct share_topic {
    struct list node; /* group.shares */
    struct subscriptions *engine;
    struct group *group;
    struct topic *topic; /* NULL: gone */
    struct uuid topic_id;
    struct share_part **parts;
    int32_t n_parts;
    struct list streams; /* subscription.node */
    uint32_t n_streams;
    uint32_t n_busy; /* commits, dead letters under way */
    struct filter filter;
    uint32_t deliveries_max; /* as the newest stream says, like the next two */
    bool has_dead_letters;
    char *dead_topic;
};

/* A row of ranges that is durable. */
struct share_row {
    struct list node; /* group.share_rows */
    struct group *group;
    struct uuid topic_id;
    int32_t partition;
    struct slice ranges;
};

struct subscriptions {
    struct broker *broker;
    struct feed *feed;
    struct list all, tails;
    struct list turns;
    bool scheduled, running;
    struct task run_task;
    struct list drafts, outbox, draining, ending;
    struct delivery_header *headers; /* scratch of message_open */
    uint32_t headers_cap;
    struct list parked; /* broker_subscribe.node: for commits of others under way */
    /* durability */
    struct map *rows; /* key: group, topic id, partition */
    struct list dirty, ranges, waits;
    uint64_t n_commits, n_committed; /* begun, ended */
    struct share_commit *commit;     /* under way, or NULL */
    bool flush_scheduled, failed;    /* failed: the last commit */
    bool ranges_due;                 /* all that are waiting */
    bool ranges_now;                 /* some are (share_part.ranges_now) */
    struct task flush_task;
    struct timer ranges_timer, retry_timer;
    uint32_t n_dead_letters;
    struct broker_subscription_counters counters;
};

static inline int64_t subs__now_ms(const struct subscriptions *e)
{
    return loop_now_ms(e->broker->env.loop);
}

/* subscribe.c: who waits for commits of others is refused. */
void subs__end_parked(struct subscriptions *e);

/* subscriptions.c: turns */
void subs__queue(struct subscriptions *e, struct turn *t);
/* Makes sure that drafts are handed out and drained streams told, at the end of this turn. */
void subs__schedule(struct subscriptions *e);

/* share_topic.c */
struct share_topic *share_topic_find(struct group *g, const struct uuid *topic_id);
struct share_topic *share_topic_make(struct subscriptions *e, struct group *g, struct topic *t);
/* The part has a cursor from here on. SL_ECORRUPT, SL_EFORMAT: its ranges cannot be read. */
sl_err share_part_open(struct share_part *p, enum subscribe_from from) SL_CHECKED;
/* What it knows is void: somebody else has set the group's offset. */
void share_part_forget(struct share_part *p);
void share_topic_forget(struct share_topic *t);
/* The topic has more partitions now. */
void share_topic_grow(struct share_topic *t);
/* Frees it when nobody needs it any more; true: it is gone. */
bool share_topic_end_step(struct share_topic *t);
void share_part_wake(struct share_part *p);
void share_topic_wake(struct share_topic *t, int32_t partition);
bool share_part_is_clean(const struct share_part *p);

/* share_pump.c */
void share_part_run(struct turn *t);
void share_part_walked(struct feed_walker *ahead);
void share_part_walked_again(struct feed_walker *again);

/* lane.c */
/* Another one of the stream's; it is queued. */
void lane_add(struct subscription *s, int32_t partition, struct log_part *log, int64_t at);
/* Nothing happens by itself any more; lane_free frees. */
void lane_rest(struct lane *l);
void lane_free(struct lane *l);

/* delivery.c */
bool stream_can_take(const struct subscription *s);
/* SL_ENOMEM. Takes credit and room. */
sl_err stream_deliver(struct subscription *s, int32_t partition, const struct message *m,
                      uint32_t count) SL_CHECKED;
void deliveries_hand_out(struct subscriptions *e);
void stream_drop_draft(struct subscription *s);

/* subscription.c */
/* Takes it out of the group; what it held is available. The door is told, later. */
void stream_end(struct subscription *s, sl_err err, const char *reason);
void streams_tell_ended(struct subscriptions *e);
/* The door knows it now. */
void stream_opened(struct subscription *s);
/* Out of the group without a word to the door, which does not know it. */
void stream_undo(struct subscription *s);
void streams_tell_drained(struct subscriptions *e);
void stream_free(struct subscription *s);
/* Something of the stream's was settled, or it may take more: its parts look again. */
void stream_wake(struct subscription *s);
bool stream_reads(const struct subscription *s, int32_t partition);

/* share_store.c */
void share_store_init(struct subscriptions *e);
void share_store_fini(struct subscriptions *e);
/* The machine changed: what must be durable will be, soon. */
void share_part_changed(struct share_part *p);
/* As soon as possible, with its ranges. */
void share_part_store_now(struct share_part *p);
/* Nothing of it is to be written any more. */
void share_part_forget_stores(struct share_part *p);
/* w->stored is called when all that is to be written now is durable, or was refused. */
void share_store_wait(struct subscriptions *e, struct store_wait *w,
                      void (*stored)(struct store_wait *w, sl_err err));
struct share_row *share_row_find(struct subscriptions *e, const struct group *g,
                                 const struct uuid *topic_id, int32_t partition);
void share_row_put(struct subscriptions *e, struct group *g, const struct uuid *topic_id,
                   int32_t partition, struct slice ranges);
void share_row_remove(struct subscriptions *e, struct share_row *row); /* accepts NULL */

/* dead_letter.c: holds the message, publishes it, and acknowledges it then; or makes it available
 * again. SL_ENOMEM: not now. */
sl_err dead_letter_send(struct share_part *p, const struct message *m, const char *reason,
                        uint32_t deliveries) SL_CHECKED;

#endif
