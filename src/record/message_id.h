/* Ids of messages: UUIDs (version 7) that say where their record is, so nothing is looked up.
 *
 * RFC 9562's unix_ts_ms is the record's time, rand_a the low 12 bits of the topic's number (a check
 * against ids of other topics), rand_b partition (14 bits) and offset (48 bits). Pure. */
#ifndef SLUICE_RECORD_MESSAGE_ID_H
#define SLUICE_RECORD_MESSAGE_ID_H

#include "base/slice.h"
#include "base/uuid.h"

enum { MESSAGE_ID_PARTITIONS_MAX = 1 << 14 };

struct message_id {
    int64_t timestamp_ms; /* clamped to 0 .. 2^48-1 */
    int64_t topic_number; /* its low 12 bits count */
    int32_t partition;    /* below MESSAGE_ID_PARTITIONS_MAX, or ids of partitions repeat */
    int64_t offset;       /* below 2^48 */
};

void message_id_format(const struct message_id *id, char ret_text[UUID_TEXT_BYTES]);
/* SL_EINVAL: no id of ours. topic_number has its low 12 bits only: message_id_is_of compares. */
sl_err message_id_parse(struct slice text, struct message_id *ret) SL_CHECKED;
bool message_id_is_of(const struct message_id *id, int64_t topic_number);

#endif
