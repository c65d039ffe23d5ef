#include "record/partitioner.h"

#include "base/byteorder.h"

enum { MULTIPLIER = 0x5bd1e995, SEED = (int)0x9747b28c };

uint32_t partitioner_hash(struct slice key)
{
    const uint32_t m = MULTIPLIER;
    uint32_t h = (uint32_t)SEED ^ (uint32_t)key.len;
    size_t i = 0;
    for (; i + 4 <= key.len; i += 4) {
        uint32_t k = get_le32(key.data + i) * m;
        h = h * m ^ (k ^ k >> 24) * m;
    }
    if (i < key.len) {
        uint32_t rest = 0;
        for (size_t left = key.len - i; left > 0; left--)
            rest = rest << 8 | key.data[i + left - 1];
        h = (h ^ rest) * m;
    }
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

uint32_t partitioner_choose(struct slice key, uint32_t n_partitions)
{
    return (partitioner_hash(key) & INT32_MAX) % n_partitions;
}
