/* A producer's batch: validation never reads outside, and what it accepts the iterator reads record
 * for record, in the same order and with the same greatest time. */
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "record/records.h"
#include "record/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT_BYTES_MAX = 4 << 20 };

static void iterate(struct slice batch, const struct batch_info *info, int64_t max_timestamp_ms)
{
    struct buf scratch;
    struct record_iterator it;
    struct record r;
    struct record_header h;
    int64_t latest_ms = -1;
    buf_init(&scratch, OUTPUT_BYTES_MAX);
    sl_err opened = records_open(batch, &scratch, &it);
    SL_ASSERT(opened == SL_OK);
    for (int32_t i = 0; i < info->record_count; i++) {
        sl_err err = records_next(&it, &r);
        SL_ASSERT(err == SL_OK);
        SL_ASSERT(r.offset == info->base_offset + i);
        latest_ms = SL_MAX(latest_ms, r.timestamp_ms);
        uint32_t n = r.n_headers;
        while (record_next_header(&r, &h) == SL_OK)
            n--;
        SL_ASSERT(n == 0);
    }
    SL_ASSERT(records_next(&it, &r) == SL_EEND);
    SL_ASSERT(latest_ms == max_timestamp_ms);
    buf_fini(&scratch);
}

/* Half of the inputs get a right length and checksum, so that the fuzzer gets behind them. */
static void seal(uint8_t *p, size_t len)
{
    put_be32(p + BATCH_LENGTH, (uint32_t)(len - BATCH_LENGTH_OVERHEAD));
    put_be32(p + BATCH_CRC, crc32c(0, p + BATCH_ATTRIBUTES, len - BATCH_ATTRIBUTES));
}

static void check(struct slice batch)
{
    const struct batch_rules rules = {.output_bytes_max = OUTPUT_BYTES_MAX,
                                      .before_max_ms = INT64_MAX,
                                      .after_max_ms = INT64_MAX};
    struct batch_info info;
    struct batch_verdict v;
    struct batch_check *c = batch_check_new();
    int64_t offset, timestamp_ms;
    if (batch_validate(c, batch, &rules, &info, &v) == SL_OK)
        iterate(batch, &info, v.max_timestamp_ms);
    else
        SL_ASSERT(v.why && v.err != SL_EBUG);
    if (records_find_timestamp(batch, 1000, &offset, &timestamp_ms) == SL_OK)
        SL_ASSERT(timestamp_ms >= 1000);
    batch_check_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice batch = slice_copy(data, size);
    check(batch);
    if (size >= BATCH_HEADER_BYTES) {
        seal(block_data(batch.block), size);
        check(batch);
    }
    slice_unref(&batch);
    return 0;
}
