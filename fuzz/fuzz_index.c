/* Small files that recovery reads: index pages, CURRENT slots, topic.meta, producer snapshots. No
 * count they hold leads outside, and what is accepted survives a round trip. */
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "storage/current_int.h"
#include "storage/index_int.h"
#include "storage/producers_int.h"
#include "storage/topic_meta_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void page(uint8_t *p, size_t len)
{
    enum { SEED = 5, NUMBER = 2 };
    static const uint32_t sizes[] = {IDX_ENTRY_BYTES, TIX_ENTRY_BYTES};
    for (size_t i = 0; i < SL_ARRAY_LEN(sizes); i++) {
        if (len >= INDEX_PAGE_HEADER_BYTES) { /* a right checksum for what the count says */
            uint64_t used = INDEX_PAGE_HEADER_BYTES + (uint64_t)get_le16(p + 6) * sizes[i];
            if (used <= len)
                put_le32(p, crc32c(SEED, p + 4, (size_t)used - 4));
        }
        uint32_t n = index__parse_page(p, len, SEED, NUMBER, sizes[i]);
        SL_ASSERT((uint64_t)n * sizes[i] + INDEX_PAGE_HEADER_BYTES <= SL_MAX(len, (size_t)16));
    }
}

static void slot(uint8_t *p, size_t len)
{
    struct uuid cluster = {{0}};
    uint64_t counter, lsn;
    bool clean;
    if (len < CURRENT_SLOT_BYTES)
        return;
    memcpy(cluster.bytes, p + 28, sizeof cluster.bytes);
    put_le32(p + 60, crc32c(0, p, 60));
    if (current__parse(p, len, &cluster, &counter, &lsn, &clean) == SL_OK)
        SL_ASSERT(get_le32(p) == CURRENT_MAGIC);
}

static void topic(uint8_t *p, size_t len)
{
    struct topic_meta m;
    if (len < 4)
        return;
    put_be32(p + len - 4, crc32c(0, p, len - 4));
    if (topic_meta__parse(slice_of(p, len), &m) != SL_OK)
        return;
    SL_ASSERT(m.n_parts <= len / 12);
    topic_meta__fini(&m);
}

/* What loads is saved as something that loads to the same number of producers. */
static void snapshot(const uint8_t *p, size_t len)
{
    struct producers *t = NULL, *again = NULL;
    struct buf b;
    if (producers__load(slice_of(p, len), &t) != SL_OK)
        return;
    buf_init(&b, 1 << 22);
    if (producers__save(t, &b) == SL_OK && producers__count(t) > 0) {
        sl_err err = producers__load(slice_of(b.data, b.len), &again);
        SL_ASSERT(err == SL_OK);
        SL_ASSERT(producers__count(again) == producers__count(t));
        producers__free(again);
    }
    buf_fini(&b);
    producers__free(t);
}

/* Byte 0: which file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 16)
        return 0;
    size_t len = size - 1;
    uint8_t *copy = malloc(len + 1);
    SL_ASSERT(copy);
    memcpy(copy, data + 1, len);
    if (data[0] % 4 == 0)
        page(copy, len);
    else if (data[0] % 4 == 1)
        slot(copy, len);
    else if (data[0] % 4 == 2)
        topic(copy, len);
    else
        snapshot(copy, len);
    free(copy);
    return 0;
}
