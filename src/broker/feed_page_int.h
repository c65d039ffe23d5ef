/* Pages of a feed: feed.c walks them, feed_page.c reads and unpacks them. */
#ifndef SLUICE_BROKER_FEED_PAGE_INT_H
#define SLUICE_BROKER_FEED_PAGE_INT_H

#include "broker/feed_int.h"
#include "broker/fetch_int.h"

struct feed_page {
    struct list node; /* feed.pages */
    struct list kept; /* feed.kept; linked: one reference */
    struct feed *feed;
    struct log_part *log;
    uint32_t refs;
    bool reading, unpacking;
    int64_t first, end; /* what the read was for, and behind its last batch */
    struct slice data;
    sl_err err;
    struct list waiters; /* feed_walker.wait */
    struct log_read read;
    /* the batch that was unpacked last */
    int64_t unpacked_base; /* -1: none */
    struct slice unpacked;
    sl_err unpack_err;
    struct work work;
    struct slice packed; /* borrowed from data */
};

struct feed {
    struct broker *broker;
    struct fetch_memory *memory;
    struct list pages, kept;
    size_t kept_bytes;
    uint32_t n_kept, n_busy;
    struct list starved; /* feed_walker.wait: for memory */
    struct timer retry;
    struct feed_counters counters;
};

/* A counted page with the offset, or one that is being read. NULL: not now, memory is short. */
struct feed_page *feed__page(struct feed *f, struct log_part *log, int64_t offset, int64_t end);
void feed__page_unref(struct feed_page *p);
/* The records of the compressed batch: counted. SL_PENDING: the page's waiters are woken. */
sl_err feed__unpack(struct feed_page *p, struct slice batch, const struct batch_info *info,
                    struct slice *ret) SL_CHECKED;

#endif
