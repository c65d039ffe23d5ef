#include "storage/journal_format_int.h"

#include "base/byteorder.h"
#include "base/crc32c.h"

uint32_t journal__seed(const struct uuid *uuid)
{
    return crc32c(0, uuid->bytes, sizeof uuid->bytes);
}

void journal__write_header(uint8_t *p, uint64_t seq, const struct uuid *uuid, uint64_t before_end)
{
    memset(p, 0, JOURNAL_HEADER_BYTES);
    put_le32(p + JHDR_MAGIC, JOURNAL_MAGIC);
    put_le32(p + JHDR_VERSION, JOURNAL_VERSION);
    memcpy(p + JHDR_UUID, uuid->bytes, sizeof uuid->bytes);
    put_le64(p + JHDR_SEQ, seq);
    put_le64(p + JHDR_LSN, seq * JOURNAL_LSN_STRIDE + JOURNAL_FIRST_POS);
    put_le64(p + JHDR_BEFORE_END, before_end);
    put_le32(p + JHDR_CRC, crc32c(0, p, JHDR_CRC));
}

sl_err journal__parse_header(const uint8_t *data, size_t len, struct journal_head *ret)
{
    if (len < JOURNAL_HEADER_BYTES)
        return SL_EEND;
    if (get_le32(data + JHDR_MAGIC) != JOURNAL_MAGIC ||
        get_le32(data + JHDR_CRC) != crc32c(0, data, JHDR_CRC))
        return SL_ECORRUPT;
    if (get_le32(data + JHDR_VERSION) != JOURNAL_VERSION)
        return SL_EFORMAT;
    uint64_t seq = get_le64(data + JHDR_SEQ);
    if (seq > UINT64_MAX / JOURNAL_LSN_STRIDE - 2)
        return SL_ECORRUPT;
    struct uuid uuid;
    memcpy(uuid.bytes, data + JHDR_UUID, sizeof uuid.bytes);
    *ret = (struct journal_head){
        .seq = seq, .before_end = get_le64(data + JHDR_BEFORE_END), .seed = journal__seed(&uuid)};
    return SL_OK;
}

static uint32_t group_crc(uint32_t seed, const uint8_t *p)
{
    uint32_t crc = crc32c(seed, p, JGRP_CRC);
    return crc32c(crc, p + JGRP_LSN, JOURNAL_GROUP_BYTES - JGRP_LSN);
}

void journal__write_group(uint8_t *p, uint32_t seed, uint32_t len, uint64_t lsn,
                          uint64_t synced_lsn, uint32_t count)
{
    memset(p, 0, JOURNAL_GROUP_BYTES);
    put_le32(p + JGRP_MAGIC, JOURNAL_GROUP_MAGIC);
    put_le32(p + JGRP_LEN, len);
    put_le64(p + JGRP_LSN, lsn);
    put_le64(p + JGRP_SYNCED, synced_lsn);
    put_le32(p + JGRP_COUNT, count);
    put_le32(p + JGRP_CRC, group_crc(seed, p));
}

void journal__write_record(uint8_t *p, const struct journal_record *r)
{
    put_le32(p + JREC_LEN, r->len);
    put_le64(p + JREC_PID, r->pid);
    put_le64(p + JREC_SEG_BASE, r->seg_base);
    put_le64(p + JREC_SEG_POS, r->seg_pos);
    put_le64(p + JREC_BASE_OFFSET, r->base_offset);
    put_le16(p + JREC_TYPE, r->type);
    put_le16(p + JREC_FLAGS, r->flags);
}

uint32_t journal__record_crc(uint32_t seed, const uint8_t *head)
{
    uint32_t crc = crc32c(seed, head, JREC_CRC);
    return crc32c(crc, head + JREC_LSN, JOURNAL_RECORD_BYTES - JREC_LSN);
}

/* Bytes of a valid group header at pos, or 0. */
static size_t group_at(const struct journal_bytes *file, size_t pos, uint64_t *ret_synced_lsn)
{
    const uint8_t *p = file->data + pos;
    if (file->len - pos < JOURNAL_GROUP_BYTES || get_le32(p + JGRP_MAGIC) != JOURNAL_GROUP_MAGIC)
        return 0;
    if (get_le64(p + JGRP_LSN) != file->seq * JOURNAL_LSN_STRIDE + pos ||
        get_le32(p + JGRP_CRC) != group_crc(file->seed, p))
        return 0;
    *ret_synced_lsn = SL_MAX(*ret_synced_lsn, get_le64(p + JGRP_SYNCED));
    return JOURNAL_GROUP_BYTES;
}

static struct journal_record parse_record(const uint8_t *p)
{
    return (struct journal_record){
        .len = get_le32(p + JREC_LEN),
        .lsn = get_le64(p + JREC_LSN),
        .pid = get_le64(p + JREC_PID),
        .seg_base = get_le64(p + JREC_SEG_BASE),
        .seg_pos = get_le64(p + JREC_SEG_POS),
        .base_offset = get_le64(p + JREC_BASE_OFFSET),
        .type = get_le16(p + JREC_TYPE),
        .flags = get_le16(p + JREC_FLAGS),
    };
}

/* Bytes of a valid record at pos, padded, or 0. */
static size_t record_at(const struct journal_bytes *file, size_t pos, struct journal_record *ret)
{
    if (file->len - pos < JOURNAL_RECORD_BYTES)
        return 0;
    const uint8_t *p = file->data + pos;
    struct journal_record r = parse_record(p);
    if (r.lsn != file->seq * JOURNAL_LSN_STRIDE + pos ||
        r.len > file->len - pos - JOURNAL_RECORD_BYTES)
        return 0;
    if (r.type < JOURNAL_DATA || r.type > JOURNAL_PAD)
        return 0;
    uint32_t crc = crc32c(journal__record_crc(file->seed, p), p + JOURNAL_RECORD_BYTES, r.len);
    if (crc != get_le32(p + JREC_CRC))
        return 0;
    *ret = r;
    size_t bytes = JOURNAL_RECORD_BYTES + r.len;
    return SL_MIN((bytes + JOURNAL_ALIGN - 1) & ~(size_t)(JOURNAL_ALIGN - 1), file->len - pos);
}

sl_err journal__walk(const struct journal_bytes *file, size_t *pos,
                     const struct journal_visitor *visitor, uint64_t *ret_synced_lsn)
{
    for (; *pos < file->len;) {
        size_t n = group_at(file, *pos, ret_synced_lsn);
        struct journal_record r;
        if (n == 0) {
            n = record_at(file, *pos, &r);
            if (n == 0)
                return SL_OK;
            if (visitor)
                SL_TRY(visitor->record(visitor->arg, &r, file->data + *pos + JOURNAL_RECORD_BYTES));
        }
        *pos += n;
    }
    return SL_OK;
}

uint64_t journal__synced_proof(const struct journal_bytes *file, size_t pos, uint64_t lsn_max)
{
    uint64_t proof = 0;
    for (; pos < file->len; pos += JOURNAL_ALIGN) {
        uint64_t synced_lsn = 0;
        (void)group_at(file, pos, &synced_lsn);
        if (synced_lsn <= lsn_max)
            proof = SL_MAX(proof, synced_lsn);
    }
    return proof;
}
