/* Which partition a key goes to: as Kafka's Java clients choose, so keys meet their neighbours. */
#ifndef SLUICE_RECORD_PARTITIONER_H
#define SLUICE_RECORD_PARTITIONER_H

#include "base/slice.h"

/* murmur2 of Kafka's clients. Any thread. */
uint32_t partitioner_hash(struct slice key);
/* 0 .. n-1; n > 0. */
uint32_t partitioner_choose(struct slice key, uint32_t n_partitions);

#endif
