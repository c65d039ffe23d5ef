/* A journal file: whatever validates lies inside of the file, at the LSN it names, and a walk ends.
 */
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "storage/journal_format_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    const uint8_t *file;
    size_t len;
    uint64_t seq, last_lsn, records;
};

static sl_err on_record(void *arg, const struct journal_record *r, const uint8_t *payload)
{
    struct seen *s = arg;
    SL_ASSERT(r->lsn / JOURNAL_LSN_STRIDE == s->seq);
    SL_ASSERT(r->lsn > s->last_lsn || s->records == 0);
    SL_ASSERT(payload == s->file + r->lsn % JOURNAL_LSN_STRIDE + JOURNAL_RECORD_BYTES);
    SL_ASSERT(r->len <= s->len - (size_t)(payload - s->file));
    s->last_lsn = r->lsn;
    s->records++;
    return SL_OK;
}

/* Gives what stands at a 64-byte step a right LSN and checksum, so that the fuzzer gets behind
 * them. */
static void seal(uint8_t *file, size_t len, size_t pos, uint32_t seed, uint64_t seq)
{
    uint8_t *p = file + pos;
    uint64_t lsn = seq * JOURNAL_LSN_STRIDE + pos;
    if (get_le32(p) == JOURNAL_GROUP_MAGIC) {
        journal__write_group(p, seed, get_le32(p + JGRP_LEN), lsn, get_le64(p + JGRP_SYNCED),
                             get_le32(p + JGRP_COUNT));
        return;
    }
    uint32_t n = get_le32(p + JREC_LEN);
    if (n > len - pos - JOURNAL_RECORD_BYTES)
        return;
    put_le64(p + JREC_LSN, lsn);
    uint32_t crc = journal__record_crc(seed, p);
    put_le32(p + JREC_CRC, crc32c(crc, p + JOURNAL_RECORD_BYTES, n));
}

static void walk(const uint8_t *file, size_t len, uint64_t seq, uint32_t seed)
{
    struct seen seen = {.file = file, .len = len, .seq = seq};
    const struct journal_visitor visitor = {.arg = &seen, .record = on_record};
    const struct journal_bytes bytes = {.data = file, .len = len, .seed = seed, .seq = seq};
    uint64_t synced_lsn = 0;
    for (size_t start = 0; start + JOURNAL_ALIGN <= len; start += JOURNAL_ALIGN) {
        size_t pos = start;
        seen.last_lsn = seen.records = 0;
        SL_ASSERT(journal__walk(&bytes, &pos, &visitor, &synced_lsn) == SL_OK);
        SL_ASSERT(pos >= start && pos <= len);
    }
    uint64_t proof = journal__synced_proof(&bytes, 0, UINT64_MAX);
    SL_ASSERT(proof >= synced_lsn);
}

/* Byte 0: whether checksums are put right; the rest is the file, its sequence number 3. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { SEQ = 3, SEED = 17, LEN_MAX = 1 << 16 };
    struct journal_head head;
    if (size < 1 || size > LEN_MAX)
        return 0;
    if (journal__parse_header(data + 1, size - 1, &head) == SL_OK)
        SL_ASSERT(head.seq <= UINT64_MAX / JOURNAL_LSN_STRIDE - 2);
    size_t len = size - 1;
    uint8_t *file = malloc(len + 1);
    SL_ASSERT(file);
    memcpy(file, data + 1, len);
    for (size_t pos = 0; (data[0] & 1) && pos + JOURNAL_ALIGN <= len; pos += JOURNAL_ALIGN)
        seal(file, len, pos, SEED, SEQ);
    walk(file, len, SEQ, SEED);
    free(file);
    return 0;
}
