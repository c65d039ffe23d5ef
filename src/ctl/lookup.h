/* What several commands look up first: topics, their partitions, offsets, coordinators. One thread.
 */
#ifndef SLUICE_CTL_LOOKUP_H
#define SLUICE_CTL_LOOKUP_H

#include "ctl/ctl.h"
#include "kafka_codec/messages.h"

enum { OFFSET_LATEST = -1, OFFSET_EARLIEST = -2 };

/* A partition and an offset that belongs to it: its end, what a group has committed, ... */
struct ctl_partition {
    struct slice topic; /* in the command's arena */
    int32_t index, leader;
    int64_t offset; /* -1: none */
};

/* All of these: CTL_OK, or what went wrong has been said. */

/* Topics of these names, NULL: all. Names are not created. Errors of topics are the caller's. */
int topic_metadata(struct ctl *c, const char *const *names, size_t n,
                   struct kafka_metadata_response *ret);
/* The partitions of a topic that has to exist, by index. */
int topic_partitions(struct ctl *c, const char *name, struct ctl_partition **ret, size_t *ret_n);
/* Fills the offsets: OFFSET_LATEST, OFFSET_EARLIEST, or of the first record since a time in ms (-1:
 * there is none). */
int list_offsets(struct ctl *c, struct ctl_partition *partitions, size_t n, int64_t timestamp);
/* The broker that leads a group. */
int find_coordinator(struct ctl *c, const char *group, int32_t *ret_node);
/* What a group has committed, in the order of the broker's answer. */
int committed_offsets(struct ctl *c, int32_t node, const char *group, struct ctl_partition **ret,
                      size_t *ret_n);
/* Text of a slice, in the command's arena. */
const char *text_of(struct ctl *c, struct slice s);

#endif
