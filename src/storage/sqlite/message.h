/* Records as rows: from batches into sluice.db, and back into uncompressed batches. */
#ifndef SLUICE_STORAGE_SQLITE_MESSAGE_H
#define SLUICE_STORAGE_SQLITE_MESSAGE_H

#include "base/buf.h"
#include "record/builder.h"
#include "storage/sqlite/rows.h"

/* Where the records of one batch go. */
struct message_place {
    int64_t topic_row, topic_number;
    int32_t partition;
    int64_t base_offset;
    int64_t append_ms;
    bool append_time; /* records take append_ms as their time */
};

struct message_sums {
    int64_t max_at, bytes;
};

/* Checks that the batch can be read and holds exactly the offsets that were planned. `scratch`
 * (decompressed records) is used by message__insert right after it. SL_ECORRUPT, SL_ERECORD,
 * SL_ECODEC, SL_EFULL. */
sl_err message__check(struct slice batch, struct buf *scratch) SL_CHECKED;
/* Inserts all records of a batch that message__check has seen. sums->max_at: the highest time so
 * far; sums->bytes grows by what the rows take. Errors: those of sqlog__error. */
sl_err message__insert(struct sqlog_db *db, struct slice batch, struct buf *scratch,
                       const struct message_place *place, struct message_sums *sums,
                       struct sl_fault *fault) SL_CHECKED;

/* One row of READ_MESSAGES. Pointers live until the next step. */
struct message_row {
    int64_t offset, timestamp_ms;
    bool append_time;
    struct slice key, value, headers; /* headers: as stored */
};

/* SL_ECORRUPT: the row fails its checksum. */
sl_err message__get(sqlite3_stmt *stmt, struct message_row *ret) SL_CHECKED;
/* Adds the row to a batch. SL_EFULL; SL_ECORRUPT: its headers make no sense. */
sl_err message__add(struct batch_builder *b, const struct message_row *row) SL_CHECKED;
/* What the row adds to a batch, at most about. */
size_t message__bytes(const struct message_row *row);

#endif
