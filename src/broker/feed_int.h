/* Reading for subscriptions: pages of the log, shared by all who are at the same place.
 *
 * A page is the result of one read, counted by who walks it; the newest few are kept, so that the
 * groups at the tail of a partition share one read and one decompression. A walker goes through
 * pages and finds records. Pages are small when much is pinned already, and wait when too much is.
 * Core loop; large batches are decompressed by the workers. */
#ifndef SLUICE_BROKER_FEED_INT_H
#define SLUICE_BROKER_FEED_INT_H

#include "broker/broker_int.h"
#include "record/records.h"

struct feed;
struct feed_page;

struct feed_walker {
    struct feed *feed;
    struct log_part *log;
    struct feed_page *page; /* counted; NULL: none */
    size_t pos;             /* in the page: the batch behind the one that is open */
    int64_t passed;         /* the page's records below were walked past */
    bool in_batch, has_record;
    struct record_iterator it;
    struct slice unpacked; /* counted: what `it` reads when the batch is compressed */
    struct record record;  /* found: the first at or behind `from` */
    int64_t from;
    struct list wait; /* for a page, its next batch, or memory */
    void (*wake)(struct feed_walker *w);
};

struct feed_counters {
    uint64_t reads, read_bytes;
};

struct feed *feed_new(struct broker *b);
void feed_free(struct feed *f); /* no walker has a page any more; accepts NULL */
/* The pages that are kept for nobody in particular go. */
void feed_forget_kept(struct feed *f);
/* The partition is about to go. */
void feed_forget(struct feed *f, const struct log_part *log);
bool feed_is_idle(const struct feed *f); /* no read under way */
/* Who cannot go on now should let go of its page (feed_walker_rest). */
bool feed_is_tight(const struct feed *f);
size_t feed_memory(const struct feed *f);
void feed_counters(const struct feed *f, struct feed_counters *ret);

void feed_walker_init(struct feed_walker *w, struct feed *f, struct log_part *log,
                      void (*wake)(struct feed_walker *w));
/* Lets go of its page, and of what it waits for. */
void feed_walker_rest(struct feed_walker *w);
static inline bool feed_walker_waits(const struct feed_walker *w)
{
    return list_linked(&w->wait);
}
/* The first message at or behind `offset`, which is below the high watermark `end`.
 * SL_OK: *ret, which lives until the walker's next call; its slices name their block, uncounted.
 * SL_CONTINUE: there is none in [offset, *ret_next). SL_PENDING: wake is called, later. Errors:
 * SL_ECORRUPT, SL_EIO, SL_EOFFSET (below the log start), SL_ETOPIC. */
sl_err feed_find(struct feed_walker *w, int64_t offset, int64_t end, struct record *ret,
                 int64_t *ret_next) SL_CHECKED;

#endif
