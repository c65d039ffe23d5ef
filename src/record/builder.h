/* Builds one RecordBatch v2 from single records: for our client and for doors that speak records.
 *
 * The builder holds at most bytes_max of uncompressed records and is reusable. One thread. */
#ifndef SLUICE_RECORD_BUILDER_H
#define SLUICE_RECORD_BUILDER_H

#include "record/batch.h"
#include "record/codec.h"

struct batch_builder;

struct new_header {
    struct slice name, value; /* value.data NULL: null */
};

struct new_record {
    int64_t timestamp_ms;
    struct slice key, value; /* data NULL: null */
    const struct new_header *headers;
    uint32_t n_headers;
};

/* Who produces: producer_id -1 for nobody in particular. */
struct batch_producer {
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
};
extern const struct batch_producer batch_producer_none;

struct batch_builder *batch_builder_new(enum codec codec, size_t bytes_max);
void batch_builder_free(struct batch_builder *b);
SL_DEFINE_AUTO(struct batch_builder *, batch_builder_free);

/* Copies the record. SL_EFULL: it does not fit any more (the builder is as before). */
sl_err batch_builder_add(struct batch_builder *b, const struct new_record *r) SL_CHECKED;
int32_t batch_builder_count(const struct batch_builder *b);
size_t batch_builder_bytes(const struct batch_builder *b); /* uncompressed, header included */
/* The batch, CRC set, base offset 0; the caller unrefs it. The builder is empty afterwards.
 * SL_EEND: no record was added. SL_ENOMEM. */
sl_err batch_builder_finish(struct batch_builder *b, const struct batch_producer *producer,
                            struct slice *ret) SL_CHECKED;

#endif
