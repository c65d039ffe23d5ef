/* Kafka's primitive types on the wire: what the generated decoders and encoders are made of.
 *
 * Decoding uses base/reader (first error sticks, lengths are checked against the bytes left).
 * Encoding goes to a kafka_out: small owned blocks and spliced slices, ready for writev. Strings
 * are copied; record data is referenced, never copied. `flexible` chooses the compact forms of
 * KIP-482. One thread at a time. */
#ifndef SLUICE_KAFKA_CODEC_WIRE_H
#define SLUICE_KAFKA_CODEC_WIRE_H

#include "base/byteorder.h"
#include "base/reader.h"
#include "base/uuid.h"

/* Record data of a response: whole batches from several places, sent without a copy. Zeroed: no
 * bytes, not null. Decoding gives one slice. */
struct kafka_records {
    struct slice *slices;
    uint32_t n;
    bool is_null;
};

/* ---- reading ------------------------------------------------------------------------------- */

enum {
    KAFKA_TAGS_MAX = 1024, /* tagged fields of one struct */
    KAFKA_STRING_BYTES_MAX = INT16_MAX,
};

/* Bytes that decoding `frame` bytes may allocate; the constant is for small, dense requests. */
static inline size_t kafka_alloc_max(size_t frame)
{
    return 7 * frame + 16384;
}

/* data NULL: null, which is an error unless allowed. Never NULL otherwise. Uncounted references. */
struct slice kafka_read_string(struct reader *in, bool flexible, bool may_be_null);
struct slice kafka_read_bytes(struct reader *in, bool flexible, bool may_be_null);
struct kafka_records kafka_read_records(struct reader *in, bool flexible, bool may_be_null);
struct uuid kafka_read_uuid(struct reader *in);
/* is_null NULL: null is an error. At most bytes left / element_bytes_min. */
uint32_t kafka_read_count(struct reader *in, bool flexible, size_t element_bytes_min,
                          bool *is_null);

/* One by one: while (kafka_next_tag(in, &tags)) { switch (tags.tag) ... }. Tags must rise. The
 * reader ends at the field's last byte while it is read; what is not read is skipped, unless
 * kafka_tag_known() says that it should have been read whole. */
struct kafka_tags {
    uint32_t left, tag;
    size_t end, outer_len;
    bool started, open, is_known;
};
bool kafka_next_tag(struct reader *in, struct kafka_tags *tags);
void kafka_skip_tags(struct reader *in);

/* ---- writing ------------------------------------------------------------------------------- */

enum { KAFKA_OUT_INLINE = 4 };

struct kafka_out {
    struct slice *pieces; /* counted; inline_pieces until there are more */
    uint32_t n_pieces, cap_pieces;
    struct slice inline_pieces[KAFKA_OUT_INLINE];
    struct block *block; /* the one that is filled */
    uint8_t *pos, *end;  /* its free bytes */
    uint8_t *cut;        /* first byte that no piece covers yet */
    size_t block_bytes;  /* size of the next block */
    size_t bytes;        /* written in all */
    size_t bytes_max;
    uint32_t errors;     /* error codes that are not NONE */
    int16_t first_error; /* the first of them */
    bool failed;         /* memory, or bytes_max */
    bool measuring;      /* counts only */
};

void kafka_out_init(struct kafka_out *out, size_t bytes_max);
void kafka_out_fini(struct kafka_out *out); /* drops what was not taken */
/* Ends the writing. SL_EFULL when something did not fit. The pieces are out->pieces, n_pieces; who
 * takes the references sets n_pieces to 0. */
sl_err kafka_out_finish(struct kafka_out *out) SL_CHECKED;
/* n contiguous bytes to fill; NULL when measuring or failed. */
uint8_t *kafka_out_room(struct kafka_out *out, size_t n);

void kafka_put_raw(struct kafka_out *out, const void *data, size_t len);
void kafka_put_u8(struct kafka_out *out, uint8_t v);
void kafka_put_u16(struct kafka_out *out, uint16_t v);
void kafka_put_error_code(struct kafka_out *out, int16_t code);
void kafka_put_u32(struct kafka_out *out, uint32_t v);
void kafka_put_u64(struct kafka_out *out, uint64_t v);
void kafka_put_uvarint(struct kafka_out *out, uint32_t v);
/* null_ok false: null is written as empty. */
void kafka_put_string(struct kafka_out *out, struct slice s, bool flexible, bool null_ok);
void kafka_put_bytes(struct kafka_out *out, struct slice s, bool flexible, bool null_ok);
/* References slices that have a block, copies those that borrow. */
void kafka_put_records(struct kafka_out *out, const struct kafka_records *r, bool flexible,
                       bool null_ok);
void kafka_put_record_bytes(struct kafka_out *out, struct slice s, bool flexible, bool null_ok);
void kafka_put_uuid(struct kafka_out *out, const struct uuid *u);
void kafka_put_count(struct kafka_out *out, uint32_t n, bool is_null, bool flexible);
/* Tag, length and what `put` writes for the field's owner; put is called twice. */
void kafka_put_tagged(struct kafka_out *out, uint32_t tag,
                      void (*put)(struct kafka_out *out, int16_t version, const void *owner),
                      int16_t version, const void *owner);

#endif
