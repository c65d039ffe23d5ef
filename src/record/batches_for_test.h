/* For tests of this folder and of those above it: batches with a known content, and ways to break
 * one field and make the checksum hold again. Only test files include it. */
#ifndef SLUICE_RECORD_BATCHES_FOR_TEST_H
#define SLUICE_RECORD_BATCHES_FOR_TEST_H

#include "base/byteorder.h"
#include "base/crc32c.h"
#include "record/builder.h"

#include <stdio.h>
#include <stdlib.h>

enum { TEST_BATCH_TIME_MS = 1700000000 };

/* n records: key "k<i>", value of value_bytes bytes, time TEST_BATCH_TIME_MS + i, one header. The
 * caller unrefs it. */
static inline struct slice test_batch(enum codec codec, int n, size_t value_bytes)
{
    struct batch_builder *b = batch_builder_new(codec, 256 << 20);
    uint8_t *value = calloc(1, value_bytes + 1);
    struct slice batch;
    for (int i = 0; i < n; i++) {
        char key[16];
        struct new_header h = {slice_str("trace"), slice_str("abc")};
        (void)snprintf(key, sizeof key, "k%d", i);
        for (size_t j = 0; j < value_bytes; j++)
            value[j] = (uint8_t)("abcdefgh"[(j * 7 + (size_t)i) % 8]);
        struct new_record r = {.timestamp_ms = TEST_BATCH_TIME_MS + i,
                               .key = slice_str(key),
                               .value = slice_of(value, value_bytes),
                               .headers = &h,
                               .n_headers = 1};
        SL_ASSERT(batch_builder_add(b, &r) == SL_OK);
    }
    SL_ASSERT(batch_builder_finish(b, &batch_producer_none, &batch) == SL_OK);
    free(value);
    batch_builder_free(b);
    return batch;
}

/* The bytes of a batch that nobody else holds. */
static inline uint8_t *test_batch_bytes(struct slice batch)
{
    return block_data(batch.block) + (batch.data - block_data(batch.block));
}

/* Length and checksum agree with `len` bytes again. */
static inline void test_batch_seal(uint8_t *batch, size_t len)
{
    put_be32(batch + BATCH_LENGTH, (uint32_t)(len - BATCH_LENGTH_OVERHEAD));
    put_be32(batch + BATCH_CRC, crc32c(0, batch + BATCH_ATTRIBUTES, len - BATCH_ATTRIBUTES));
}

/* An uncompressed or otherwise framed batch of one's own payload; the caller unrefs it. */
static inline struct slice test_batch_of(unsigned codec, int32_t count, const void *payload,
                                         size_t len)
{
    struct slice batch = test_batch(CODEC_NONE, 1, 0);
    struct block *block = block_new(BATCH_HEADER_BYTES + len);
    uint8_t *p = block_data(block);
    memcpy(p, batch.data, BATCH_HEADER_BYTES);
    memcpy(p + BATCH_HEADER_BYTES, payload, len);
    put_be16(p + BATCH_ATTRIBUTES, (uint16_t)codec);
    put_be32(p + BATCH_RECORD_COUNT, (uint32_t)count);
    put_be32(p + BATCH_LAST_OFFSET_DELTA, (uint32_t)(count - 1));
    test_batch_seal(p, BATCH_HEADER_BYTES + len);
    slice_unref(&batch);
    struct slice s = slice_of_block(block, 0, BATCH_HEADER_BYTES + len);
    block_unref(block);
    return s;
}

#endif
