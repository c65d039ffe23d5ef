/* RecordBatch v2 (Kafka's stored and sent unit): header access, checks and stamps.
 *
 * Layout: docs/formats/record-batch.md (Kafka message format, magic 2). All integers big-endian.
 * The CRC covers bytes from `attributes` on, so base offset and leader epoch are set without
 * touching it. Any thread; a batch is written only before it is shared. */
#ifndef SLUICE_RECORD_BATCH_H
#define SLUICE_RECORD_BATCH_H

#include "base/slice.h"

enum batch_layout {
    BATCH_BASE_OFFSET = 0,
    BATCH_LENGTH = 8, /* int32: bytes behind this field */
    BATCH_LEADER_EPOCH = 12,
    BATCH_MAGIC = 16,
    BATCH_CRC = 17,
    BATCH_ATTRIBUTES = 21,
    BATCH_LAST_OFFSET_DELTA = 23,
    BATCH_BASE_TIMESTAMP = 27,
    BATCH_MAX_TIMESTAMP = 35,
    BATCH_PRODUCER_ID = 43,
    BATCH_PRODUCER_EPOCH = 51,
    BATCH_BASE_SEQUENCE = 53,
    BATCH_RECORD_COUNT = 57,
    BATCH_HEADER_BYTES = 61,
    BATCH_LENGTH_OVERHEAD = 12, /* bytes before and of the length field */
};

enum batch_attributes {
    BATCH_CODEC_MASK = 0x07, /* 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd */
    BATCH_LOG_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON = 0x40,
};

struct batch_info {
    int64_t base_offset;
    uint32_t bytes; /* whole batch, header included */
    int32_t leader_epoch;
    uint32_t crc;
    uint16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp, max_timestamp; /* ms since 1970; -1: none */
    int64_t producer_id;                   /* -1: none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};

/* Reads the header at the start of `bytes`. SL_EEND: fewer bytes than the batch says (or than a
 * header). SL_EMAGIC: magic is not 2. SL_ECORRUPT: a length below the header's. Does not check
 * the CRC. */
sl_err batch_peek(struct slice bytes, struct batch_info *ret) SL_CHECKED;
/* Total bytes of the batch that starts here, from its first 12 bytes; 0: less than a header. */
uint64_t batch_bytes(const uint8_t first12[12]);
/* True when the CRC of the whole batch (info from batch_peek) holds. */
bool batch_crc_holds(const uint8_t *batch, const struct batch_info *info);
static inline int64_t batch_last_offset(const struct batch_info *info)
{
    return info->base_offset + info->last_offset_delta;
}

void batch_set_base_offset(uint8_t *batch, int64_t base_offset);
void batch_set_leader_epoch(uint8_t *batch, int32_t leader_epoch);
/* LogAppendTime: sets the attribute bit and max timestamp, then computes the CRC anew. */
void batch_stamp_append_time(uint8_t *batch, uint32_t bytes, int64_t now_ms);
/* Puts right a max timestamp that a producer got wrong, and the CRC. */
void batch_set_max_timestamp(uint8_t *batch, uint32_t bytes, int64_t max_timestamp_ms);

#endif
