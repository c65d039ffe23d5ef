/* Inside of the Kafka door, shared by the files of this folder only.
 *
 * A door has one shard per loop; a connection, its requests and its counters belong to a shard and
 * are touched on its loop alone. Only memory.c's counters cross threads. Owners of the structs:
 * door.c (door, shard), conn.c (conn), dispatch.c (pending), memory.c (memory). */
#ifndef SLUICE_KAFKA_KAFKA_INT_H
#define SLUICE_KAFKA_KAFKA_INT_H

#include "kafka/kafka.h"
#include "kafka/request.h"
#include "loop/socket.h"

#include <stdatomic.h>

struct kafka_shard;
struct kafka_watcher;

/* ---- what is served (routes.c from api_keys.def; tests have their own)
 * --------------------------- */

enum kafka_route_flags {
    /* Answers are small, so the next request need not wait for this one's. Without it a request is
     * dispatched when the one before it has been answered, as Kafka does; what is flagged may be
     * still under way. */
    KAFKA_CONCURRENT = 1,
};

struct kafka_route {
    int16_t key, first_version, last_version; /* as advertised */
    void (*handler)(struct kafka_request *r);
    unsigned flags;
};
extern const struct kafka_route kafka__routes[];
extern const size_t kafka__n_routes;

/* ---- bytes of requests that are held (memory.c) ------------------------------------------------
 */

/* Counted, because blocks may outlive the door. */
struct kafka_memory;
struct kafka_memory *kafka__memory_new(size_t bytes_max);
void kafka__memory_unref(struct kafka_memory *m);
/* kafka__conn_resume_stalled() runs on the shard's loop when bytes became free after a refusal. All
 * shards are added before traffic; each leaves on its own loop. */
void kafka__memory_watch(struct kafka_memory *m, struct kafka_shard *s);
void kafka__memory_unwatch(struct kafka_shard *s);
enum kafka_admission {
    KAFKA_REFUSED,  /* kafka__conn_resume_stalled() says when to ask again */
    KAFKA_ADMITTED, /* there is room */
    KAFKA_EXEMPTED, /* there is none, but somebody has to finish: until kafka__memory_finished() */
};
/* Whether the connection may receive more. The last eighth is for what begins: so large requests
 * do not keep small ones out. Beyond the limit one connection at a time may go on, and of a shard
 * it is the one with the oldest unfinished frame. */
enum kafka_admission kafka__memory_admits(struct kafka_memory *m, const void *conn, bool has_begun,
                                          bool is_oldest);
void kafka__memory_finished(struct kafka_memory *m, const void *conn);
size_t kafka__memory_used(const struct kafka_memory *m);
/* A block for `size` received bytes. NULL when memory is short. Charge what arrives in it; the
 * charge ends with the block, on whichever thread that happens. */
struct block *kafka__memory_block(struct kafka_memory *m, size_t size);
size_t kafka__memory_room(struct block *b); /* at least the size it was made for */
void kafka__memory_charge(struct kafka_memory *m, struct block *b, size_t n);

/* ---- door and shards (door.c) ------------------------------------------------------------------
 */

struct kafka_counters {
    atomic_uint_fast64_t requests, errors, request_bytes, response_bytes, latency_ns_sum;
    atomic_uint_fast64_t latency[KAFKA_LATENCY_BUCKETS];
};

struct kafka_shard {
    struct kafka_door *door;
    struct loop *loop;
    struct list conns;      /* all, kafka_conn.node */
    struct list silent;     /* those that never sent anything, oldest first */
    struct list unfinished; /* those with a frame that has begun, oldest first */
    struct list stalled;    /* those that wait for memory */
    uint8_t *scratch;       /* where small requests arrive */
    struct block *spare;    /* where the next large one arrives, if it is like the last */
    size_t spare_bytes;
    struct arena *arenas[32]; /* recycled */
    size_t n_arenas;
    struct budget arena_budget;
    struct kafka_watcher *watcher; /* memory.c's, which outlives the shard */
    struct task stop_task, stopped_task;
    struct timer stop_timer;
    struct timer starved_timer; /* while connections wait for memory */
    bool stopping, is_reported;
    size_t n_pending; /* requests under way */
    atomic_uint_fast64_t n_conns, n_accepted, n_refused, n_under_way;
    struct kafka_counters *counters; /* one per route */
};

struct kafka_door {
    struct kafka_door_cfg cfg;
    struct broker *broker;
    const struct kafka_route *routes;
    size_t n_routes;
    const struct kafka_route *by_key[KAFKA_APIS_MAX * 2];
    struct kafka_memory *memory;
    struct tcp_listener *listener;
    uint16_t port;
    struct kafka_shard *shards;
    size_t n_shards, next_shard;
    size_t n_stopped;
    void (*on_stopped)(void *arg);
    void *on_stopped_arg;
    int64_t stop_timeout_ms;
};

/* As kafka_door_start, with other routes: for tests. */
/* NOLINTNEXTLINE(readability-function-size): kafka_door_start and the routes, for tests */
sl_err kafka__door_start(const struct kafka_door_cfg *cfg, const struct kafka_route *routes,
                         size_t n_routes, struct broker *broker, struct loop *const *loops,
                         size_t n_loops, struct sl_fault *fault,
                         struct kafka_door **ret) SL_CHECKED;
/* NULL: not served. */
const struct kafka_route *kafka__route(const struct kafka_door *door, int16_t key);
/* Something ended; reports the end of a stopping shard. */
void kafka__shard_check(struct kafka_shard *s);
struct arena *kafka__arena_get(struct kafka_shard *s);
void kafka__arena_put(struct kafka_shard *s, struct arena *a);

/* Only the shard's loop writes: a plain add that other threads may read. */
static inline void kafka__count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- connections (conn.c) ----------------------------------------------------------------------
 */

/* The request being received. Bytes are body bytes, without the length in front. */
struct kafka_frame {
    struct block *block; /* NULL: none */
    size_t at;           /* where the body starts in the block */
    size_t bytes;        /* of the whole body */
    size_t got;
    size_t room;        /* body bytes that the block has room for */
    size_t got_in_time; /* when the deadline was last extended */
};

struct kafka_conn {
    struct list node, silent_node, unfinished_node, stalled_node;
    struct kafka_shard *shard;
    struct tcp_conn *tcp; /* NULL: gone */
    struct list pending;  /* kafka_pending.node, in request order */
    size_t n_pending;
    size_t n_waiting;    /* of those, not answered yet and not KAFKA_CONCURRENT */
    size_t answer_bytes; /* encoded, waiting for an earlier answer */
    struct kafka_frame frame;
    struct slice input;      /* received, not looked at yet; block NULL: the shard's scratch */
    size_t frame_bytes_seen; /* largest complete frame: so much is allocated at once */
    size_t frame_bytes_last; /* of the last frame */
    struct timer deadline;   /* for an unfinished frame, while we read */
    int64_t deadline_left_ms;
    int64_t held_since_ms; /* a request waits because answers are not read; 0: none does */
    size_t held_bytes;     /* of answers, when that was last looked at */
    uint8_t prefix[4];     /* length of a frame, as far as received */
    uint8_t prefix_got;
    bool paused; /* asked for memory and got none: to be resumed */
    bool pumping, closing;
};

void kafka__conn_accept(struct kafka_shard *s, struct tcp_conn *tcp);
/* Dispatches what has been received and may run; reads on, or stops reading. */
void kafka__conn_pump(struct kafka_conn *c);
/* Closes because of what the peer did; reason is static text. Counts, and says so in the log. */
void kafka__conn_refuse(struct kafka_conn *c, const char *reason);
/* As above, for a whole request. */
void kafka__conn_refuse_request(struct kafka_conn *c, int16_t key, int16_t version,
                                const char *reason);
/* True for codes that a sound client does not cause: its request is worth a line in the log. */
bool kafka__is_bad_input(int16_t code);
void kafka__conn_stop(struct kafka_conn *c); /* answers what is under way, then closes */
void kafka__conn_close(struct kafka_conn *c);
/* Frees the connection when nothing refers to it any more. */
void kafka__conn_check(struct kafka_conn *c);
void kafka__conn_resume_stalled(struct kafka_shard *s);
/* Connections wait for memory: those that keep some and do not read their answers are closed. */
void kafka__conn_on_starved(struct timer *t);

/* ---- requests (dispatch.c, reply.c)
 * --------------------------------------------------------------- */

struct kafka_pending {
    struct kafka_request r;
    struct list node;
    const struct kafka_route *route;
    const struct kafka_api *api;
    struct kafka_out out; /* the answer, once it is there */
    bool is_answered, is_canceled;
};

/* Takes over the frame's reference. The handler may have answered before this returns. */
void kafka__dispatch(struct kafka_conn *c, struct slice frame);
/* Whether the connection's next request may start now. */
bool kafka__may_dispatch(const struct kafka_conn *c);
/* Whether answers that are not read forbid it. */
bool kafka__is_full(const struct kafka_conn *c);
/* Answers with this message of `version`, whatever the request's own is. */
void kafka__reply_with(struct kafka_pending *p, int16_t version, const void *msg);
/* Drops all requests that the broker does not have; the connection is gone. */
void kafka__pending_cancel(struct kafka_conn *c);

void kafka_handle_api_versions(struct kafka_request *r);
/* Produce below version 3: advertised because of KAFKA-18659, but refused. */
void kafka__refuse_old_produce(struct kafka_request *r);

#endif
