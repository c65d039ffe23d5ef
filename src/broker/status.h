/* What health pages and metrics read of the core. On the core loop; nothing is kept. */
#ifndef SLUICE_BROKER_STATUS_H
#define SLUICE_BROKER_STATUS_H

#include "base/slice.h"
#include "storage/log_engine.h"

struct broker;

struct broker_counts {
    int64_t topics, partitions, groups, group_members, committed_offsets;
    uint64_t rebalances, expired_members;
};

/* A group's distance from the end of a topic, over the partitions it has committed offsets of. */
struct broker_group_lag {
    struct slice group; /* any bytes */
    const char *topic;
    int64_t partitions, records;
};

struct broker_partition_status {
    const char *topic;
    int32_t partition;
    struct log_part_state log;
};

void broker_counts(const struct broker *b, struct broker_counts *ret);
/* Every partition of every live topic; false from `each` ends it. Costs a few dozen ns each. */
void broker_each_partition(struct broker *b,
                           bool (*each)(void *arg, const struct broker_partition_status *p),
                           void *arg);
/* Every pair of a group and a topic with committed offsets; false from `each` ends it. */
void broker_each_group_lag(struct broker *b,
                           bool (*each)(void *arg, const struct broker_group_lag *lag), void *arg);

#endif
