/* Inside of fetch, shared by fetch*.c only. Owners: fetch.c (run, state), fetch_set.c (set, entry),
 * fetch_session.c (session), fetch_memory.c (memory).
 *
 * A set is what one fetch looks at: the partitions of a request, or of a session. An entry of it is
 * in the `ready` list when it has to be looked at (the request named it, it had more data than
 * fitted, its watch fired), or rests with its watch armed at the high watermark. So a fetch costs
 * the ready entries only. A run is one fetch from submit to answer; a set has at most one. */
#ifndef SLUICE_BROKER_FETCH_INT_H
#define SLUICE_BROKER_FETCH_INT_H

#include "broker/broker_int.h"
#include "broker/fetch.h"

struct fetch_memory;
struct fetch_set;

struct fetch_entry {
    struct list node; /* in the set's ready list or one of its run; unlinked: rests */
    struct log_watch watch;
    struct fetch_set *set;
    struct topic *topic; /* borrowed; NULL: not looked up, or gone */
    struct log_part *log;
    struct slice name; /* sessions: behind the entry; else the request's */
    struct uuid topic_id;
    int32_t index, leader_epoch, bytes_max;
    int64_t offset;
    int64_t sent_watermark, sent_log_start; /* what the client was told last; -1: nothing */
    int64_t bytes_seen;                     /* size of the log when it was looked at */
    /* the result of looking at it */
    sl_err err;
    int64_t high_watermark, log_start;
    struct slice data; /* counted */
};

struct fetch_set {
    struct list node; /* of fetch_state.sets */
    struct list wake_node;
    struct fetch_state *state;
    struct fetch_run *run; /* the fetch under way, or NULL */
    struct list ready;
    bool by_id;
    struct fetch_entry *entries; /* without a session: owned array */
    uint32_t n_entries;
};

struct fetch_session {
    struct fetch_set set;
    struct map *by_key; /* its entries, owned */
    struct list lru;
    int32_t id, epoch; /* epoch: the one that the next request must have */
    int64_t used_ms;
};

enum fetch_stage { FETCH_EVALUATING, FETCH_READING, FETCH_PARKED };

struct fetch_run {
    struct list node; /* of fetch_state.runs */
    struct broker_fetch *f;
    struct fetch_set *set;
    struct fetch_session *session; /* NULL: none, the set goes with the run */
    struct fetch_entry **order;    /* full fetch of a session: in the request's order */
    enum fetch_stage stage;
    bool is_full;   /* answers every partition of the request */
    bool has_error; /* answered at once */
    bool must_end;  /* time is up, or the call was canceled */
    struct list todo, told;
    uint64_t collected, dropped; /* bytes found now, and when it was parked */
    int64_t begin_ms;
    struct timer timer;
    struct log_read read;
    struct fetch_entry *reading;
    uint64_t bytes_max; /* of the response, beyond its first batch */
    struct task again;  /* goes on looking in the next turn */
};

struct fetch_state {
    struct broker *broker;
    struct list sets, runs;
    struct fetch_memory *memory;
    struct map *sessions; /* by id */
    struct list lru;      /* of sessions, least recently used first */
    struct list woken;    /* sets whose parked run has something to look at */
    struct task wake;
    bool wake_scheduled;
    struct broker_fetch_counters counters;
};

/* fetch_set.c */
void fetch__set_init(struct fetch_set *set, struct fetch_state *state, bool by_id);
/* Over the parts of a request, all of them ready. */
struct fetch_set *fetch__set_of_request(struct fetch_state *state, const struct broker_fetch *f);
/* Disarms and frees what the set has; a set of a request itself, too. */
void fetch__set_fini(struct fetch_set *set);
void fetch__entry_init(struct fetch_entry *e, struct fetch_set *set);
void fetch__entry_fini(struct fetch_entry *e);
void fetch__entry_update(struct fetch_entry *e, const struct broker_fetch_part *part);
/* The partition's handle, with the caller's right to read it checked. */
sl_err fetch__entry_resolve(struct fetch_entry *e, const struct principal *who) SL_CHECKED;
/* Rests until the high watermark passes `above`. */
void fetch__entry_arm(struct fetch_entry *e, int64_t above);

/* fetch_session.c */
sl_err fetch__sessions_open(struct fetch_state *s) SL_CHECKED;
/* All that no fetch uses now: their watches must be gone before the log is closed. */
void fetch__sessions_drop(struct fetch_state *s);
void fetch__sessions_close(struct fetch_state *s);
/* Finds, makes or ends the session that the request speaks of, brings it up to date with the
 * request, and fills run->session, set, order and is_full. */
sl_err fetch__session_begin(struct fetch_run *run) SL_CHECKED;
/* Every entry of a session is passed to fn. */
void fetch__session_each(struct fetch_session *session,
                         void (*fn)(struct fetch_entry *e, void *arg), void *arg);

/* fetch_memory.c */
struct fetch_memory *fetch__memory_new(void);
void fetch__memory_unref(struct fetch_memory *m);
/* Counts the block of a read, which nobody else has, until it is freed. */
void fetch__memory_charge(struct fetch_memory *m, struct slice data);
size_t fetch__memory_used(const struct fetch_memory *m);
/* What one more response may take. */
uint64_t fetch__memory_share(const struct fetch_memory *m);

/* fetch_results.c: moves what the run found into its answer. */
void fetch__results_build(struct fetch_run *run);

/* fetch.c: the set's parked run should look again, at the end of this turn. */
void fetch__wake(struct fetch_set *set);

#endif
