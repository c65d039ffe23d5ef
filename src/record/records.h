/* Records of a batch: a zero-copy iterator, and the exact answer to "which offset has this time".
 *
 * The iterator is for batches that were validated once (stored, or fetched from a broker), but it
 * trusts nothing: broken bytes end it with SL_ERECORD. Any thread. */
#ifndef SLUICE_RECORD_RECORDS_H
#define SLUICE_RECORD_RECORDS_H

#include "base/buf.h"
#include "base/reader.h"
#include "record/batch.h"

struct record {
    int64_t offset, timestamp_ms;
    struct slice key, value; /* borrowed from the batch; data NULL: null */
    uint32_t n_headers;
    struct reader headers; /* at the first header: record_next_header */
};

struct record_header {
    struct slice name, value; /* value.data NULL: null */
};

struct record_iterator {
    struct batch_info info;
    struct reader in;
    int32_t left;
};

/* Over one whole batch. A compressed one is decompressed into `scratch` (emptied first; must live
 * as long as the records; its ceiling is the limit, SL_EFULL beyond it); an uncompressed one is
 * read where it is and scratch may be NULL. Errors: those of batch_peek, SL_ECODEC, SL_ECORRUPT. */
sl_err records_open(struct slice batch, struct buf *scratch,
                    struct record_iterator *ret) SL_CHECKED;
/* SL_OK, SL_EEND after the last record, SL_ERECORD. */
sl_err records_next(struct record_iterator *it, struct record *ret) SL_CHECKED;
/* SL_OK, SL_EEND, SL_ERECORD. */
sl_err record_next_header(struct record *r, struct record_header *ret) SL_CHECKED;

/* The first record of the batch whose time is at least timestamp_ms: its offset and time. With
 * LogAppendTime all have the batch's. SL_EEND: none. The batch's max timestamp as argument finds
 * the record that has it. Decompresses window by window and may take long: for workers. */
sl_err records_find_timestamp(struct slice batch, int64_t timestamp_ms, int64_t *ret_offset,
                              int64_t *ret_timestamp_ms) SL_CHECKED;
/* The same among the records from offset_min on, and the highest time of them: for a batch in the
 * middle of which the log starts. */
sl_err records_find_timestamp_from(struct slice batch, int64_t offset_min, int64_t timestamp_ms,
                                   int64_t *ret_offset, int64_t *ret_timestamp_ms) SL_CHECKED;
sl_err records_max_timestamp_from(struct slice batch, int64_t offset_min,
                                  int64_t *ret_timestamp_ms) SL_CHECKED;

#endif
