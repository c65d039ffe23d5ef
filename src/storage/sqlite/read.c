/* Reads: rows become uncompressed batches. On a worker, with a connection of the pool; the high
 * watermark of the moment bounds them, so nothing is seen that a crash could take back. */
#include "storage/sqlite/files.h"
#include "storage/sqlite/message.h"
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"

#include <stdio.h>

enum { READ_BYTES_MAX = 16 << 20, PATH_BYTES_MAX = 4096 };

static const char *const read_sql[READ_COUNT] = {
#define READ(name, sql) [READ_##name] = (sql),
#include "storage/sqlite/reads.def"
#undef READ
};

/* ---- the pool -------------------------------------------------------------------------------- */

static void reader_free(struct sqlog_reader *r)
{
    for (size_t i = 0; i < READ_COUNT; i++)
        (void)sqlite3_finalize(r->statements[i]);
    (void)sqlite3_close(r->db);
    sl_free(r);
}

static sl_err reader_new(struct sqlog *e, struct sqlog_reader **ret)
{
    char path[PATH_BYTES_MAX];
    (void)snprintf(path, sizeof path, "%s/sluice.db", e->dir);
    struct sqlog_reader *r = sl_new(struct sqlog_reader);
    sl_err err = sqlog__connect(path, sqlog__files_name(e->files), true, &r->db, NULL);
    for (size_t i = 0; err == SL_OK && i < READ_COUNT; i++) {
        int rc = sqlite3_prepare_v3(r->db, read_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &r->statements[i], NULL);
        if (rc != SQLITE_OK)
            err = sqlog__error(r->db, rc, NULL);
    }
    if (err == SL_OK)
        *ret = r;
    else
        reader_free(r);
    return err;
}

/* At most one for each worker. */
sl_err sqlog__reader_take(struct sqlog *e, struct sqlog_reader **ret)
{
    mutex_lock(e->pool_lock);
    struct list *node = list_pop_front(&e->pool);
    mutex_unlock(e->pool_lock);
    if (!node)
        return reader_new(e, ret);
    *ret = SL_CONTAINER_OF(node, struct sqlog_reader, node);
    return SL_OK;
}

void sqlog__reader_give(struct sqlog *e, struct sqlog_reader *r)
{
    mutex_lock(e->pool_lock);
    list_push_front(&e->pool, &r->node);
    mutex_unlock(e->pool_lock);
}

void sqlog__pool_free(struct sqlog *e)
{
    struct list *node;
    while ((node = list_pop_front(&e->pool)))
        reader_free(SL_CONTAINER_OF(node, struct sqlog_reader, node));
}

/* ---- one read -------------------------------------------------------------------------------- */

struct read_job {
    struct work work;
    struct sqlog *engine;
    struct log_read *read;
    struct sqlog_part *part; /* counted */
    int64_t end;             /* the high watermark */
    /* worker */
    struct batch_builder *builder;
    int64_t builder_base, builder_time_ms;
    int32_t builder_epoch;
    int64_t epoch_end;
    bool builder_append_time;
    struct buf out;
    struct slice data;
    sl_err err;
};

static sl_err flush(struct read_job *j)
{
    struct slice batch;
    struct batch_info info;
    if (batch_builder_count(j->builder) == 0)
        return SL_OK;
    SL_TRY(batch_builder_finish(j->builder, &batch_producer_none, &batch));
    uint8_t *bytes = (uint8_t *)batch.data; /* ours alone */
    sl_err err = batch_peek(batch, &info);
    batch_set_base_offset(bytes, j->builder_base);
    batch_set_leader_epoch(bytes, j->builder_epoch);
    if (j->builder_append_time)
        batch_stamp_append_time(bytes, info.bytes, j->builder_time_ms);
    if (err == SL_OK)
        err = buf_append(&j->out, batch.data, batch.len);
    slice_unref(&batch);
    return err;
}

/* A batch has one leader epoch and, with LogAppendTime, one time. */
static bool fits_batch(const struct read_job *j, const struct message_row *row)
{
    if (batch_builder_count(j->builder) == 0)
        return true;
    return row->offset < j->epoch_end && row->append_time == j->builder_append_time &&
           (!row->append_time || row->timestamp_ms == j->builder_time_ms);
}

static sl_err add_row(struct read_job *j, const struct message_row *row)
{
    if (!fits_batch(j, row))
        SL_TRY(flush(j));
    if (batch_builder_count(j->builder) == 0) {
        j->builder_base = row->offset;
        j->builder_time_ms = row->timestamp_ms;
        j->builder_append_time = row->append_time;
        j->builder_epoch = sqlog__epoch_at(j->part, row->offset, &j->epoch_end);
    }
    return message__add(j->builder, row);
}

static bool is_full(const struct read_job *j, const struct message_row *row)
{
    size_t len = j->out.len + message__bytes(row);
    size_t open = batch_builder_count(j->builder) ? batch_builder_bytes(j->builder)
                                                  : (size_t)BATCH_HEADER_BYTES;
    bool empty = j->out.len == 0 && batch_builder_count(j->builder) == 0;
    size_t max = SL_MIN((size_t)j->read->bytes_max, (size_t)READ_BYTES_MAX);
    return len + open > max && !(empty && j->read->at_least_one);
}

/* SL_OK: as much as there is, or as fits. Anything else is about the row at `next`. */
static sl_err read_rows(struct read_job *j, sqlite3_stmt *stmt, sqlite3 *db)
{
    int64_t next = j->read->offset;
    struct message_row row;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        SL_TRY(message__get(stmt, &row));
        if (row.offset != next++)
            return SL_ECORRUPT; /* a row is missing */
        if (is_full(j, &row))
            return SL_OK;
        SL_TRY(add_row(j, &row));
    }
    if (rc != SQLITE_DONE)
        return sqlog__error(db, rc, NULL);
    return next == j->end ? SL_OK : SL_ECORRUPT;
}

static sl_err collect(struct read_job *j, struct sqlog_reader *r)
{
    sqlite3_stmt *stmt = r->statements[READ_MESSAGES];
    (void)sqlite3_bind_int64(stmt, 1, j->part->topic->row_id); /* binding numbers never fails */
    (void)sqlite3_bind_int64(stmt, 2, j->part->id.index);
    (void)sqlite3_bind_int64(stmt, 3, j->read->offset);
    (void)sqlite3_bind_int64(stmt, 4, j->end);
    sl_err err = read_rows(j, stmt, r->db);
    (void)sqlite3_reset(stmt); /* the step has said it */
    sl_err flushed = flush(j);
    if (j->out.len > 0 && flushed == SL_OK)
        return SL_OK; /* damage behind good rows is the next read's answer */
    return err != SL_OK ? err : flushed;
}

static void worker_run(struct work *w)
{
    struct read_job *j = SL_CONTAINER_OF(w, struct read_job, work);
    struct sqlog_reader *r = NULL;
    j->err = sqlog__reader_take(j->engine, &r);
    if (j->err != SL_OK)
        return;
    buf_init(&j->out, (size_t)INT32_MAX);
    j->builder = batch_builder_new(CODEC_NONE, (size_t)INT32_MAX);
    j->err = collect(j, r);
    if (j->err == SL_OK && j->out.len > 0) {
        j->data = buf_take_slice(&j->out);
        if (!j->data.data)
            j->err = SL_ENOMEM;
    }
    batch_builder_free(j->builder);
    buf_fini(&j->out);
    sqlog__reader_give(j->engine, r);
}

/* ---- core loop ------------------------------------------------------------------------------- */

/* A row that is not there: retention was faster. */
static sl_err explain(const struct read_job *j)
{
    if (atomic_load(&j->part->dropped))
        return SL_ETOPIC;
    if (j->err == SL_OK)
        return SL_OK;
    if (j->read->offset < SL_MAX(atomic_load(&j->part->deleted_below), j->part->log_start))
        return SL_EOFFSET;
    return j->err == SL_ECORRUPT || j->err == SL_ENOMEM ? j->err : SL_EIO;
}

static void worker_done(struct work *w)
{
    struct read_job *j = SL_CONTAINER_OF(w, struct read_job, work);
    struct sqlog *e = j->engine;
    struct log_read *r = j->read;
    r->err = explain(j);
    if (r->err == SL_OK) {
        r->data = j->data;
        e->counters.read_bytes += j->data.len;
    } else {
        slice_unref(&j->data);
    }
    sqlog__part_unref(j->part);
    sl_free(j);
    e->jobs_pending--;
    r->done(r);
    sqlog__idle_check(e);
}

sl_err sqlog__read(struct log_engine *base, struct log_read *r)
{
    struct sqlog *e = sqlog__of(base);
    struct sqlog_part *p = sqlog__part(r->part);
    r->data = (struct slice){0};
    r->err = SL_OK;
    if (atomic_load_explicit(&p->dropped, memory_order_relaxed))
        r->err = SL_ETOPIC;
    else if (e->closing)
        r->err = SL_ECLOSED;
    else if (r->offset < p->log_start || r->offset > p->high_watermark)
        r->err = SL_EOFFSET;
    if (r->err != SL_OK || r->offset == p->high_watermark)
        return r->err; /* at the high watermark: nothing yet */
    struct read_job *j = sl_new(struct read_job);
    j->engine = e;
    j->read = r;
    j->part = sqlog__part_ref(p);
    j->end = p->high_watermark;
    j->work.run = worker_run;
    j->work.done = worker_done;
    e->jobs_pending++;
    workers_submit(e->env.workers, e->env.loop, &j->work);
    return SL_PENDING;
}
