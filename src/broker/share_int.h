/* What a group has of one partition: which offsets are held, acknowledged or available.
 *
 * A machine without clock, disk or loop. Below `cursor` everything is acknowledged, from `next` on
 * nothing was looked at, and [cursor, next) is covered by runs without gaps: every offset is in
 * exactly one of the states. Time comes in as monotonic ms. Owners are opaque. */
#ifndef SLUICE_BROKER_SHARE_INT_H
#define SLUICE_BROKER_SHARE_INT_H

#include "base/slice.h"

#define SHARE_NEVER INT64_MAX

enum {
    /* Settling may split runs beyond SHARE_RUNS_MAX, where delivery pauses, up to this many. */
    SHARE_RUNS_CEILING = 20000,
    SHARE_IMAGE_VERSION = 1,
};

enum share_state { SHARE_AVAILABLE = 0, SHARE_ACKED = 1, SHARE_HELD = 2 };

struct share_run {
    int64_t first, last;
    int64_t at_ms;     /* held: its deadline or SHARE_NEVER; available: not before; acked: 0 */
    const void *owner; /* held */
    uint32_t count;    /* deliveries */
    uint8_t state;     /* enum share_state */
    bool rejected;     /* available: to be a dead letter, whatever the count */
};

struct share {
    int64_t cursor, next;
    int64_t floor; /* deliver from here on only, until something is acked; 0: none */
    struct share_run *runs;
    uint32_t head, n, cap;                 /* runs[head .. head+n) are in use */
    uint64_t n_held, n_available, n_acked; /* offsets */
    int64_t ready_ms, expire_ms; /* lower bounds: of what is available, of deadlines of the held */
    uint64_t changes;            /* counts up with each change of the runs */
};

void share_init(struct share *s, int64_t cursor);
void share_fini(struct share *s);

/* The lowest offset that may be delivered now: available and due, else `next`. */
int64_t share_pick(struct share *s, int64_t now_ms);
/* The run of an offset in [cursor, next); else NULL. */
const struct share_run *share_run_of(const struct share *s, int64_t offset);
/* Whether holding it keeps the number of runs within bounds, or nothing else would go on. */
bool share_may_hold(const struct share *s, int64_t offset, const void *owner, int64_t deadline_ms);
/* Whether one more delayed offset keeps the number of runs within bounds. */
bool share_may_delay(const struct share *s, int64_t offset);
/* Picked: now held by `owner`. Returns its delivery count, one higher if it is delivered. */
uint32_t share_hold(struct share *s, int64_t offset, const void *owner, int64_t deadline_ms,
                    bool is_delivery);
/* Picked: not before at_ms. */
void share_delay(struct share *s, int64_t offset, int64_t at_ms);
/* Nothing to deliver in [first, end), first being picked: what nobody holds counts as acked. */
void share_skip(struct share *s, int64_t first, int64_t end);

/* The settling of [first, last], as far as `owner` holds it: the number of offsets it concerned.
 * 0 as well when it would take too many runs. */
uint64_t share_ack(struct share *s, int64_t first, int64_t last, const void *owner);
/* The same of one offset, but without ending a jump. */
uint64_t share_done(struct share *s, int64_t offset, const void *owner);
uint64_t share_release(struct share *s, int64_t first, int64_t last, const void *owner,
                       int64_t at_ms, bool rejected);
uint64_t share_extend(struct share *s, int64_t first, int64_t last, const void *owner,
                      int64_t deadline_ms);
/* All that the owner holds is available. */
uint64_t share_release_all(struct share *s, const void *owner);
/* What has a deadline of now or before is available. */
uint64_t share_expire(struct share *s, int64_t now_ms);

/* From `offset`, above the cursor, on only: the first ack counts all below as acked. */
void share_jump(struct share *s, int64_t offset);
void share_unjump(struct share *s);

/* When the last delay of what is available ends; 0: none. O(runs). */
int64_t share_last_delay(const struct share *s);
/* The next time after now at which something happens by itself (not exact: may be early). */
int64_t share_next_event(const struct share *s, int64_t now_ms);

/* The runs as stored, held as available (docs/formats/group-ranges.md); no bytes when there is
 * nothing to say beyond the cursor. SL_ENOMEM. */
sl_err share_image_encode(const struct share *s, struct slice *ret) SL_CHECKED;
/* Fills a machine that is as after share_init; what is below its cursor is ignored. SL_ECORRUPT,
 * SL_EFORMAT (newer). On error it is as after share_init. */
sl_err share_image_load(struct share *s, struct slice image) SL_CHECKED;

/* Every invariant; for tests and debugging, O(runs). */
void share_check(const struct share *s);

/* ---- share_runs.c: the array ------------------------------------------------------------------
 */

static inline struct share_run *share__at(const struct share *s, uint32_t i)
{
    return &s->runs[s->head + i];
}
/* The index of the run with this offset; it must be in [cursor, next). */
uint32_t share__index(const struct share *s, int64_t offset);
/* A run begins at `offset`, too: returns its index (n when it is `next`). */
uint32_t share__split(struct share *s, int64_t offset);
/* Appends [next, last]. */
void share__append(struct share *s, const struct share_run *run);
/* Joins equal neighbours among the runs [from - 1, to], and moves the cursor. */
void share__tidy(struct share *s, uint32_t from, uint32_t to);
/* Before a run is changed, and behind: the counts of offsets by state. */
void share__count(struct share *s, const struct share_run *run, int sign);

#endif
