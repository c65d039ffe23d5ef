/* The pure part of retention, for its tests. */
#ifndef SLUICE_STORAGE_RETENTION_INT_H
#define SLUICE_STORAGE_RETENTION_INT_H

#include "storage/local_int.h"

struct retention_time {
    int64_t append_ms;    /* the partition's append clock */
    int64_t monotonic_ms; /* of the loop */
};

/* How many of the oldest segments may go. */
uint32_t retention__segments_to_drop(const struct log_part *p, const struct retention_time *now);

#endif
