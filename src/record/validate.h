/* Checks a producer's batch before anything of it is stored (catalogue K05, K06).
 *
 * Two steps, so that the second may run on a worker: batch_check_header is cheap and decides
 * whether the batch is worth it; the records step checks the CRC and walks every record,
 * decompressing window by window. Nothing is ever decompressed as a whole (snappy's raw form
 * aside), nothing is written. Any thread; a batch_check serves one batch at a time. */
#ifndef SLUICE_RECORD_VALIDATE_H
#define SLUICE_RECORD_VALIDATE_H

#include "base/clock.h"
#include "record/batch.h"

/* What a topic and a request allow. */
struct batch_rules {
    uint32_t batch_bytes_max;  /* max.message.bytes; 0: not checked */
    uint64_t output_bytes_max; /* decompressed; 0: 64 MiB */
    int64_t now_ms;            /* for the two ranges of record times */
    int64_t before_max_ms;     /* message.timestamp.before.max.ms; INT64_MAX: any */
    int64_t after_max_ms;      /* message.timestamp.after.max.ms */
    bool append_time;          /* the topic stamps: the producer's times do not matter */
    bool keys_required;        /* a compacted topic */
    bool transactions;         /* transactional batches are allowed */
    bool old_codecs_only;      /* the request's version does not know zstd */
};

struct batch_verdict {
    sl_err err;
    const char *why;          /* static sentence, NULL when fine */
    int32_t record_index;     /* of the record that breaks a rule, -1: the batch does */
    int64_t max_timestamp_ms; /* of the records; -1: none has one */
};

/* Checks that `bytes` is exactly one batch of format 2, its size and all fields of its header.
 * Returns v->err: SL_EMAGIC, SL_ECORRUPT, SL_ERECORD, SL_EBATCH_BIG, SL_ECODEC, SL_ETXN_STATE,
 * SL_ETIMESTAMP (the producer set LogAppendTime). */
sl_err batch_check_header(struct slice bytes, const struct batch_rules *rules,
                          struct batch_info *ret_info, struct batch_verdict *v) SL_CHECKED;

struct batch_check; /* reusable scratch: one window and the decoders */

struct batch_check *batch_check_new(void);
void batch_check_free(struct batch_check *c);
SL_DEFINE_AUTO(struct batch_check *, batch_check_free);

/* Starts over a batch whose header is fine (all borrowed until the check has ended). */
void batch_check_start(struct batch_check *c, struct slice batch, const struct batch_info *info,
                       const struct batch_rules *rules);
/* Goes on with the records. SL_PENDING: `clock` passed deadline_ns, call again (K06: no batch keeps
 * a worker for itself). Else the end, v is filled and v->err returned: SL_ECORRUPT (CRC),
 * SL_ERECORD, SL_ETIMESTAMP, SL_ENOMEM. clock NULL: no deadline. */
sl_err batch_check_run(struct batch_check *c, const struct clock *clock, int64_t deadline_ns,
                       struct batch_verdict *v) SL_CHECKED;

/* Both steps at once. */
sl_err batch_validate(struct batch_check *c, struct slice bytes, const struct batch_rules *rules,
                      struct batch_info *ret_info, struct batch_verdict *v) SL_CHECKED;

#endif
