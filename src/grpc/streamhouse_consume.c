/* streamhouse.StreamHouse/Consume: records from an offset on, as many as asked for and as fit. */
#include "broker/fetch.h"
#include "broker/offsets.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "grpc/streamhouse.h"
#include "proto/streamhouse.pb-c.h"
#include "record/records.h"

enum {
    FETCH_BYTES_MAX = 4 << 20,
    ANSWER_BYTES_MAX = 3 << 20, /* clients take 4 MiB unless told otherwise */
    RECORDS_MAX = 10000,
    SCRATCH_BYTES_MAX = 64 << 20, /* of one batch, decompressed */
    RECORD_BYTES = 64,            /* about what a record costs beside its bytes */
};

struct consume_job {
    struct broker_fetch call;
    struct broker_fetch_part part;
    struct broker_list_offsets ends; /* when the fetch tells no watermark */
    struct broker_offsets_part end;
    struct grpc_call *c;
    Streamhouse__ConsumeResponse out;
    uint32_t max;
    size_t bytes;
    int64_t next; /* behind the last one that is answered */
    bool full;
};

static ProtobufCBinaryData copy(struct grpc_call *c, struct slice s, bool *ok)
{
    uint8_t *p = arena_alloc(c->arena, s.len + 1, 1);
    if (p && s.len)
        memcpy(p, s.data, s.len);
    *ok &= p != NULL;
    return (ProtobufCBinaryData){.len = p ? s.len : 0, .data = p};
}

/* What a string map can carry; the rest is for other doors. */
static bool put_headers(struct grpc_call *c, struct record *r, Streamhouse__ConsumedRecord *ret)
{
    struct record_header h;
    ret->headers = arena_alloc(c->arena, r->n_headers + 1, sizeof(void *));
    while (ret->headers && record_next_header(r, &h) == SL_OK) {
        if (!grpc_is_utf8(h.name) || !h.value.data || !grpc_is_utf8(h.value))
            continue;
        Streamhouse__ConsumedRecord__HeadersEntry *e = arena_alloc(c->arena, 1, sizeof *e);
        if (!e)
            return false;
        streamhouse__consumed_record__headers_entry__init(e);
        e->key = grpc_text(c, h.name);
        e->value = grpc_text(c, h.value);
        if (!e->key || !e->value)
            return false;
        ret->headers[ret->n_headers++] = e;
    }
    return ret->headers != NULL;
}

static sl_err put_record(struct consume_job *j, struct record *r)
{
    bool ok = true;
    size_t bytes = r->key.len + r->value.len + RECORD_BYTES * (1 + (size_t)r->n_headers);
    j->full =
        j->out.n_records == j->max || (j->out.n_records > 0 && j->bytes + bytes > ANSWER_BYTES_MAX);
    if (j->full)
        return SL_OK;
    Streamhouse__ConsumedRecord *m = arena_alloc(j->c->arena, 1, sizeof *m);
    if (!m)
        return SL_ENOMEM;
    streamhouse__consumed_record__init(m);
    m->offset = (uint64_t)r->offset;
    m->timestamp = r->timestamp_ms < 0 ? 0 : (uint64_t)r->timestamp_ms;
    m->key = copy(j->c, r->key, &ok);
    m->value = copy(j->c, r->value, &ok);
    if (!ok || !put_headers(j->c, r, m))
        return SL_ENOMEM;
    j->out.records[j->out.n_records++] = m;
    j->bytes += bytes;
    j->next = r->offset + 1;
    return SL_OK;
}

static sl_err put_batch(struct consume_job *j, struct slice batch, struct buf *scratch)
{
    struct record_iterator it;
    struct record r;
    SL_TRY(records_open(batch, scratch, &it));
    if (it.info.attributes & BATCH_CONTROL)
        return SL_OK;
    for (sl_err err; !j->full && (err = records_next(&it, &r)) != SL_EEND;) {
        SL_TRY(err);
        if (r.offset >= j->part.offset)
            SL_TRY(put_record(j, &r));
    }
    return SL_OK;
}

static sl_err put_batches(struct consume_job *j, struct slice bytes)
{
    struct batch_info info;
    struct buf scratch;
    sl_err err = SL_OK;
    buf_init(&scratch, SCRATCH_BYTES_MAX);
    while (err == SL_OK && !j->full && batch_peek(bytes, &info) == SL_OK) {
        err = put_batch(j, slice_sub(bytes, 0, info.bytes), &scratch);
        bytes = slice_sub(bytes, info.bytes, bytes.len - info.bytes);
    }
    buf_fini(&scratch);
    return err;
}

static void reply(struct consume_job *j, const struct broker_fetch_result *r)
{
    sl_err err = r->records.data ? put_batches(j, r->records) : SL_OK;
    if (err != SL_OK) {
        grpc_fail(j->c, grpc_status_of(err), "Read failed: %s", sl_err_text(err));
        return;
    }
    j->out.high_watermark = r->high_watermark < 0 ? 0 : (uint64_t)r->high_watermark;
    j->out.has_more = j->out.n_records > 0 && (uint64_t)j->next < j->out.high_watermark;
    grpc_reply(j->c, &j->out.base);
}

/* At or behind the end, or before the start: no records. */
static void told_end(struct broker_call *b)
{
    struct consume_job *j = SL_CONTAINER_OF(b, struct consume_job, ends.call);
    const struct broker_fetch_result nothing = {.high_watermark = j->end.offset};
    if (j->end.err == SL_OK)
        reply(j, &nothing);
    else
        grpc_fail(j->c, grpc_status_of(j->end.err), "Read failed: %s", sl_err_text(j->end.err));
}

static void ask_end(struct consume_job *j)
{
    j->c->on_cancel = NULL;
    j->end = (struct broker_offsets_part){.topic = j->part.topic,
                                          .index = j->part.index,
                                          .current_leader_epoch = -1,
                                          .timestamp_ms = OFFSET_LATEST};
    j->ends.parts = &j->end;
    j->ends.n_parts = 1;
    broker_list_offsets_init(&j->ends);
    grpc_submit(j->c, &j->ends.call, told_end);
}

static void fetched(struct broker_call *b)
{
    struct consume_job *j = SL_CONTAINER_OF(b, struct consume_job, call.call);
    const Streamhouse__ConsumeRequest *in = (const Streamhouse__ConsumeRequest *)j->c->request;
    struct broker_fetch_results *results = j->call.results;
    static const struct broker_fetch_result nothing = {.err = SL_ECANCELED, .high_watermark = -1};
    const struct broker_fetch_result *r = results && results->n ? &results->items[0] : &nothing;
    sl_err err = j->call.err != SL_OK ? j->call.err : r->err;
    if (err == SL_OK)
        reply(j, r);
    else if (err == SL_EOFFSET)
        ask_end(j);
    else if (err == SL_ETOPIC)
        streamhouse__not_found(j->c, in->topic, in->partition);
    else
        grpc_fail(j->c, grpc_status_of(err), "Read failed: %s", sl_err_text(err));
    broker_fetch_results_free(results);
}

static void cancel(struct grpc_call *c)
{
    struct consume_job *j = c->job;
    broker_cancel(&j->call.call);
}

void grpc_streamhouse_consume(struct grpc_call *c)
{
    const Streamhouse__ConsumeRequest *in = (const Streamhouse__ConsumeRequest *)c->request;
    struct consume_job *j = grpc_alloc(c, 1, sizeof *j);
    if (!j)
        return;
    j->c = c;
    j->max = SL_MIN(in->max_records, (uint32_t)RECORDS_MAX);
    streamhouse__consume_response__init(&j->out);
    j->out.records = grpc_alloc(c, j->max, sizeof(void *));
    if (!j->out.records)
        return;
    j->part = (struct broker_fetch_part){
        .topic = slice_str(in->topic),
        .index = (int32_t)SL_MIN(in->partition, (uint32_t)INT32_MAX),
        .offset = (int64_t)SL_MIN(in->offset, (uint64_t)INT64_MAX),
        .bytes_max = FETCH_BYTES_MAX,
        .leader_epoch = -1,
    };
    j->call.max_bytes = FETCH_BYTES_MAX;
    j->call.session_epoch = -1;
    j->call.parts = &j->part;
    j->call.n_parts = 1;
    c->job = j;
    c->on_cancel = cancel;
    broker_fetch_init(&j->call);
    grpc_submit(c, &j->call.call, fetched);
}
