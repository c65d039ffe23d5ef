#include "record/validate.h"

#include "base/alloc.h"
#include "record/record_int.h"

enum { OUTPUT_BYTES_MAX = 64 << 20 };

struct batch_check {
    struct slice batch;
    struct batch_info info;
    struct batch_rules rules;
    struct record_stream stream;
    struct decoder *decoder; /* made at the first compressed batch */
    int32_t next_record;
    int64_t max_timestamp_ms;
    uint64_t clock_position; /* where in the stream the clock was asked last */
    bool started;            /* the CRC holds and the stream is open */
    uint8_t *window;         /* with the decoder */
};

struct batch_check *batch_check_new(void)
{
    return sl_new(struct batch_check);
}

void batch_check_free(struct batch_check *c)
{
    if (!c)
        return;
    decoder_free(c->decoder);
    sl_free(c->window);
    sl_free(c);
}

static sl_err refuse(struct batch_verdict *v, sl_err err, const char *why)
{
    *v = (struct batch_verdict){.err = err, .why = why, .record_index = -1, .max_timestamp_ms = -1};
    return err;
}

static sl_err check_counts(const struct batch_info *info, struct batch_verdict *v)
{
    if (info->base_offset != 0)
        return refuse(v, SL_ERECORD, "the base offset of a produced batch must be 0");
    if (info->record_count <= 0)
        return refuse(v, SL_ERECORD, "the batch has no records");
    if (info->last_offset_delta != info->record_count - 1)
        return refuse(v, SL_ERECORD, "the last offset delta does not agree with the record count");
    return SL_OK;
}

static sl_err check_attributes(const struct batch_info *info, const struct batch_rules *rules,
                               struct batch_verdict *v)
{
    unsigned codec = info->attributes & BATCH_CODEC_MASK;
    if (info->attributes & BATCH_CONTROL)
        return refuse(v, SL_ERECORD, "clients may not write control records");
    if (info->attributes & BATCH_DELETE_HORIZON)
        return refuse(v, SL_ERECORD, "clients may not set a delete horizon");
    if (codec >= CODEC_COUNT || (codec == CODEC_ZSTD && rules->old_codecs_only))
        return refuse(v, SL_ECODEC, "this compression codec is not supported");
    if (info->attributes & BATCH_LOG_APPEND_TIME)
        return refuse(v, SL_ETIMESTAMP, "a producer may not set the timestamp type LogAppendTime");
    return SL_OK;
}

static sl_err check_producer(const struct batch_info *info, const struct batch_rules *rules,
                             struct batch_verdict *v)
{
    if ((info->attributes & BATCH_TRANSACTIONAL) && !rules->transactions)
        return refuse(v, SL_ETXN_STATE, "transactions are not supported here");
    if (info->producer_id < -1)
        return refuse(v, SL_ERECORD, "the producer id is negative");
    if (info->producer_id >= 0 && (info->producer_epoch < 0 || info->base_sequence < 0))
        return refuse(v, SL_ERECORD, "a batch with a producer id has no epoch or sequence");
    return SL_OK;
}

static sl_err peek_exactly_one(struct slice bytes, struct batch_info *ret_info,
                               struct batch_verdict *v)
{
    sl_err err = batch_peek(bytes, ret_info);
    if (err == SL_EMAGIC)
        return refuse(v, SL_EMAGIC, "only record batches of format 2 are accepted");
    if (err == SL_ECORRUPT)
        return refuse(v, SL_ECORRUPT, "the batch length is smaller than a header");
    if (err != SL_OK || ret_info->bytes != bytes.len)
        return refuse(v, SL_ERECORD, "a partition's records must be exactly one whole batch");
    return SL_OK;
}

sl_err batch_check_header(struct slice bytes, const struct batch_rules *rules,
                          struct batch_info *ret_info, struct batch_verdict *v)
{
    SL_TRY(peek_exactly_one(bytes, ret_info, v));
    if (rules->batch_bytes_max && ret_info->bytes > rules->batch_bytes_max)
        return refuse(v, SL_EBATCH_BIG, "the batch exceeds max.message.bytes");
    SL_TRY(check_counts(ret_info, v));
    SL_TRY(check_attributes(ret_info, rules, v));
    SL_TRY(check_producer(ret_info, rules, v));
    return refuse(v, SL_OK, NULL); /* nothing to refuse: an empty verdict */
}

void batch_check_start(struct batch_check *c, struct slice batch, const struct batch_info *info,
                       const struct batch_rules *rules)
{
    SL_ASSERT(info->bytes == batch.len); /* batch_check_header has passed */
    c->batch = slice_of(batch.data, batch.len);
    c->info = *info;
    c->rules = *rules;
    c->next_record = 0;
    c->max_timestamp_ms = -1;
    c->clock_position = 0;
    c->started = false;
}

static sl_err open_stream(struct batch_check *c)
{
    unsigned codec = c->info.attributes & BATCH_CODEC_MASK;
    struct slice payload =
        slice_sub(c->batch, BATCH_HEADER_BYTES, c->info.bytes - BATCH_HEADER_BYTES);
    if (codec == CODEC_NONE) {
        stream__over(&c->stream, payload);
        return SL_OK;
    }
    if (!c->decoder) {
        c->decoder = decoder_new();
        c->window = sl_new_array(uint8_t, STREAM_WINDOW_BYTES);
    }
    uint64_t output_max =
        c->rules.output_bytes_max ? c->rules.output_bytes_max : (uint64_t)OUTPUT_BYTES_MAX;
    return stream__start(&c->stream, c->decoder, c->window, codec, payload, output_max);
}

static sl_err refuse_record(const struct batch_check *c, struct batch_verdict *v, sl_err err,
                            const char *why)
{
    (void)refuse(v, err, why); /* returned below */
    v->record_index = c->next_record;
    return err;
}

/* What went wrong while reading: damage inside a batch whose CRC holds was sent like that, so it is
 * never an answer that makes the client try again. */
static sl_err refuse_stream(const struct batch_check *c, struct batch_verdict *v, sl_err err)
{
    switch (err) {
    case SL_ENOMEM:
        return refuse(v, err, "not enough memory to decompress the batch");
    case SL_EFULL:
        return refuse(v, SL_ERECORD, "the batch decompresses to more than is allowed");
    case SL_ECORRUPT:
        return refuse(v, SL_ERECORD, "the batch cannot be decompressed");
    default:
        return refuse_record(c, v, SL_ERECORD, c->stream.why);
    }
}

static inline bool is_time_allowed(const struct batch_rules *rules, int64_t timestamp_ms)
{
    int64_t age_ms;
    if (timestamp_ms == -1)
        return true;
    if (timestamp_ms < 0 || __builtin_sub_overflow(rules->now_ms, timestamp_ms, &age_ms))
        return false;
    return age_ms <= rules->before_max_ms && -age_ms <= rules->after_max_ms;
}

static inline sl_err check_record(struct batch_check *c, const struct record_head *r,
                                  struct batch_verdict *v)
{
    int64_t timestamp_ms;
    if (r->offset_delta != c->next_record)
        return refuse_record(c, v, SL_ERECORD, "offset deltas must be 0, 1, 2 and so on");
    if (c->rules.keys_required && !r->has_key)
        return refuse_record(c, v, SL_ERECORD, "a compacted topic accepts no record without key");
    if (__builtin_add_overflow(c->info.base_timestamp, r->timestamp_delta, &timestamp_ms))
        return refuse_record(c, v, SL_ETIMESTAMP, "a record time is out of range");
    if (!c->rules.append_time && !is_time_allowed(&c->rules, timestamp_ms))
        return refuse_record(c, v, SL_ETIMESTAMP, "a record time is out of range");
    if (timestamp_ms > c->max_timestamp_ms)
        c->max_timestamp_ms = timestamp_ms;
    return SL_OK;
}

/* The clock is asked once per window of a compressed batch. */
static bool is_time_up(struct batch_check *c, const struct clock *clock, int64_t deadline_ns)
{
    uint64_t position = stream__position(&c->stream);
    if (!clock || position < c->clock_position + STREAM_WINDOW_BYTES)
        return false;
    c->clock_position = position;
    return clock_monotonic_ns(clock) >= deadline_ns;
}

static sl_err begin(struct batch_check *c, struct batch_verdict *v)
{
    if (!batch_crc_holds(c->batch.data, &c->info))
        return refuse(v, SL_ECORRUPT, "the checksum of the batch does not hold");
    sl_err err = open_stream(c);
    if (err != SL_OK)
        return refuse_stream(c, v, err);
    c->started = true;
    return SL_OK;
}

sl_err batch_check_run(struct batch_check *c, const struct clock *clock, int64_t deadline_ns,
                       struct batch_verdict *v)
{
    struct record_head head;
    if (!c->started)
        SL_TRY(begin(c, v));
    while (c->next_record < c->info.record_count) {
        sl_err err = stream__next(&c->stream, &head);
        if (err != SL_OK)
            return refuse_stream(c, v, err);
        SL_TRY(check_record(c, &head, v));
        c->next_record++;
        if (is_time_up(c, clock, deadline_ns))
            return SL_PENDING;
    }
    SL_ASSERT(c->next_record == c->info.record_count);
    sl_err err = stream__finish(&c->stream);
    if (err != SL_OK)
        return refuse_stream(c, v, err);
    *v = (struct batch_verdict){.record_index = -1, .max_timestamp_ms = c->max_timestamp_ms};
    return SL_OK;
}

sl_err batch_validate(struct batch_check *c, struct slice bytes, const struct batch_rules *rules,
                      struct batch_info *ret_info, struct batch_verdict *v)
{
    SL_TRY(batch_check_header(bytes, rules, ret_info, v));
    batch_check_start(c, bytes, ret_info, rules);
    return batch_check_run(c, NULL, 0, v);
}
