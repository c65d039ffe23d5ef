#include "record/batch.h"

#include "base/byteorder.h"
#include "base/crc32c.h"

uint64_t batch_bytes(const uint8_t first12[12])
{
    int32_t length = (int32_t)get_be32(first12 + BATCH_LENGTH);
    if (length < BATCH_HEADER_BYTES - BATCH_LENGTH_OVERHEAD)
        return 0;
    return (uint64_t)length + BATCH_LENGTH_OVERHEAD;
}

static void read_header(const uint8_t *p, struct batch_info *info)
{
    info->base_offset = (int64_t)get_be64(p + BATCH_BASE_OFFSET);
    info->leader_epoch = (int32_t)get_be32(p + BATCH_LEADER_EPOCH);
    info->crc = get_be32(p + BATCH_CRC);
    info->attributes = get_be16(p + BATCH_ATTRIBUTES);
    info->last_offset_delta = (int32_t)get_be32(p + BATCH_LAST_OFFSET_DELTA);
    info->base_timestamp = (int64_t)get_be64(p + BATCH_BASE_TIMESTAMP);
    info->max_timestamp = (int64_t)get_be64(p + BATCH_MAX_TIMESTAMP);
    info->producer_id = (int64_t)get_be64(p + BATCH_PRODUCER_ID);
    info->producer_epoch = (int16_t)get_be16(p + BATCH_PRODUCER_EPOCH);
    info->base_sequence = (int32_t)get_be32(p + BATCH_BASE_SEQUENCE);
    info->record_count = (int32_t)get_be32(p + BATCH_RECORD_COUNT);
}

sl_err batch_peek(struct slice bytes, struct batch_info *ret)
{
    if (bytes.len <= BATCH_MAGIC)
        return SL_EEND;
    if (bytes.data[BATCH_MAGIC] != 2)
        return SL_EMAGIC;
    uint64_t total = batch_bytes(bytes.data);
    if (total == 0)
        return SL_ECORRUPT;
    if (total > bytes.len)
        return SL_EEND;
    read_header(bytes.data, ret);
    SL_ASSERT(total >= BATCH_HEADER_BYTES && total <= bytes.len);
    ret->bytes = (uint32_t)total;
    return SL_OK;
}

static uint32_t compute_crc(const uint8_t *batch, uint32_t bytes)
{
    SL_ASSERT(bytes >= BATCH_HEADER_BYTES);
    return crc32c(0, batch + BATCH_ATTRIBUTES, bytes - BATCH_ATTRIBUTES);
}

bool batch_crc_holds(const uint8_t *batch, const struct batch_info *info)
{
    return compute_crc(batch, info->bytes) == info->crc;
}

void batch_set_base_offset(uint8_t *batch, int64_t base_offset)
{
    SL_ASSERT(base_offset >= 0);
    put_be64(batch + BATCH_BASE_OFFSET, (uint64_t)base_offset);
}

void batch_set_leader_epoch(uint8_t *batch, int32_t leader_epoch)
{
    put_be32(batch + BATCH_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void batch_stamp_append_time(uint8_t *batch, uint32_t bytes, int64_t now_ms)
{
    uint16_t attributes = get_be16(batch + BATCH_ATTRIBUTES) | BATCH_LOG_APPEND_TIME;
    put_be16(batch + BATCH_ATTRIBUTES, attributes);
    put_be64(batch + BATCH_MAX_TIMESTAMP, (uint64_t)now_ms);
    put_be32(batch + BATCH_CRC, compute_crc(batch, bytes));
}

void batch_set_max_timestamp(uint8_t *batch, uint32_t bytes, int64_t max_timestamp_ms)
{
    put_be64(batch + BATCH_MAX_TIMESTAMP, (uint64_t)max_timestamp_ms);
    put_be32(batch + BATCH_CRC, compute_crc(batch, bytes));
}
