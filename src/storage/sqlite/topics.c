/* Topics of this engine. The router lets the local engine write and delete topic.meta and the rows
 * of meta.db, which decide; here follow the rows of sluice.db. */
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "base/log.h"

/* ---- rows ---------------------------------------------------------------------------------- */

static sl_err find_row(struct sqlog_db *db, const struct uuid *id, int64_t *ret,
                       struct sl_fault *fault)
{
    struct sqlog_out key = sqlog__out(db, ST_TOPIC_FIND);
    sqlog__put_blob(&key, slice_of(id->bytes, sizeof id->bytes));
    int rc = key.rc == SQLITE_OK ? sqlite3_step(key.stmt) : key.rc;
    sl_err err = rc == SQLITE_ROW || rc == SQLITE_DONE ? SL_OK : sqlog__error(db->db, rc, fault);
    *ret = rc == SQLITE_ROW ? sqlite3_column_int64(key.stmt, 0) : 0;
    (void)sqlite3_reset(key.stmt);          /* the step has said it */
    (void)sqlite3_clear_bindings(key.stmt); /* never fails */
    return err;
}

sl_err sqlog__topic_put(struct sqlog_db *db, const struct log_topic_spec *spec, int64_t *ret_row,
                        struct sl_fault *fault)
{
    SL_TRY(find_row(db, &spec->topic_id, ret_row, fault));
    if (*ret_row > 0)
        return SL_OK; /* new settings or partitions: nothing of them is here */
    struct sqlog_out o = sqlog__out(db, ST_TOPIC_PUT);
    sqlog__put_blob(&o, slice_of(spec->topic_id.bytes, sizeof spec->topic_id.bytes));
    sqlog__put_blob(&o, slice_of(spec->org.bytes, sizeof spec->org.bytes));
    sqlog__put_text(&o, slice_str(spec->name));
    sqlog__put_i64(&o, spec->number);
    sqlog__put_i64(&o, spec->created_ms);
    sqlog__put_crc(&o);
    SL_TRY(sqlog__put_end(&o, db, fault));
    *ret_row = sqlite3_last_insert_rowid(db->db);
    SL_ASSERT(*ret_row > 0);
    return SL_OK;
}

sl_err sqlog__topic_delete(struct sqlog_db *db, int64_t row_id, struct sl_fault *fault)
{
    static const enum sqlog_statement steps[] = {ST_DROPPED_PUT,         ST_TOPIC_PARTITIONS,
                                                 ST_TOPIC_PRODUCERS,     ST_TOPIC_EPOCHS,
                                                 ST_TOPIC_SUBSCRIPTIONS, ST_TOPIC_DELETE};
    for (size_t i = 0; i < SL_ARRAY_LEN(steps); i++) {
        struct sqlog_out o = sqlog__out(db, steps[i]);
        sqlog__put_i64(&o, row_id);
        SL_TRY(sqlog__put_end(&o, db, fault));
    }
    return SL_OK;
}

/* ---- write --------------------------------------------------------------------------------- */

/* The spec is the caller's until the call returns: a copy goes along. */
struct write_job {
    struct sqlog_job job; /* first */
    struct log_topic_spec spec;
    char *name;
    struct log_done *done;
    int64_t row_id;
};

static struct write_job *write_of(struct sqlog_job *j)
{
    return SL_CONTAINER_OF(j, struct write_job, job);
}

static sl_err write_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct write_job *w = write_of(j);
    return sqlog__topic_put(db, &w->spec, &w->row_id, &j->fault);
}

static void write_done(struct sqlog_job *j)
{
    struct write_job *w = write_of(j);
    struct log_done *d = w->done;
    d->err = j->err;
    d->fault = j->fault;
    if (j->err == SL_OK) {
        struct sqlog_topic *t = sqlog__topic(j->engine, &w->spec.topic_id);
        t->row_id = w->row_id;
        t->number = w->spec.number;
    }
    sl_free(w->name);
    sl_free(w);
    d->done(d);
}

void sqlog__topic_write(struct log_engine *base, const struct log_topic_spec *spec,
                        struct log_done *d)
{
    struct sqlog *e = sqlog__of(base);
    struct write_job *w = sl_new(struct write_job);
    w->job.engine = e;
    w->job.run = write_run;
    w->job.done = write_done;
    w->name = sl_strdup(spec->name);
    w->spec = (struct log_topic_spec){.org = spec->org,
                                      .topic_id = spec->topic_id,
                                      .number = spec->number,
                                      .created_ms = spec->created_ms,
                                      .name = w->name};
    w->done = d;
    sqlog__submit_job(e, &w->job); /* the first one makes the file */
}

/* ---- drop ---------------------------------------------------------------------------------- */

void sqlog__topic_block(struct sqlog *e, const struct uuid *topic_id, bool blocked)
{
    struct sqlog_topic *t = map_get(e->topics, topic_id->bytes, sizeof topic_id->bytes);
    if (!t)
        return;
    t->dropped = blocked;
    LIST_FOREACH_SAFE(node, &t->parts)
    {
        struct sqlog_part *p = SL_CONTAINER_OF(node, struct sqlog_part, topic_node);
        atomic_store(&p->dropped, blocked);
        if (blocked)
            sqlog__part_wake(p);
    }
}

static void forget_topic(struct sqlog *e, const struct uuid *topic_id)
{
    struct sqlog_topic *t = map_remove(e->topics, topic_id->bytes, sizeof topic_id->bytes);
    if (!t)
        return;
    LIST_FOREACH_SAFE(node, &t->parts)
    sqlog__part_unref(SL_CONTAINER_OF(node, struct sqlog_part, topic_node));
    sqlog__topic_unref(t);
}

struct drop_job {
    struct sqlog_job job; /* first */
    struct uuid topic_id;
    int64_t row_id;
    struct log_done *done;
};

static struct drop_job *drop_of(struct sqlog_job *j)
{
    return SL_CONTAINER_OF(j, struct drop_job, job);
}

static sl_err drop_run(struct sqlog_job *j, struct sqlog_db *db)
{
    struct drop_job *d = drop_of(j);
    SL_TRY(find_row(db, &d->topic_id, &d->row_id, &j->fault));
    return d->row_id > 0 ? sqlog__topic_delete(db, d->row_id, &j->fault) : SL_OK;
}

/* The topic is gone since meta.db does not have it; what stays here the next start deletes. */
static void drop_done(struct sqlog_job *j)
{
    struct drop_job *drop = drop_of(j);
    struct sqlog *e = j->engine;
    struct log_done *d = drop->done;
    if (j->err == SL_OK && drop->row_id > 0)
        sqlog__sweep_topic(e, drop->row_id);
    if (j->err != SL_OK)
        LOG_WARN("sqlite.drop_failed", "messages of a deleted topic go at the next start",
                 F_ERR(j->err), F_STR("what", j->fault.what));
    d->err = j->err == SL_EUNKNOWN_OUTCOME ? j->err : SL_OK;
    struct uuid topic_id = drop->topic_id;
    sl_free(drop);
    d->done(d);
    forget_topic(e, &topic_id);
}

void sqlog__topic_drop(struct log_engine *base, const struct uuid *topic_id, struct log_done *d)
{
    struct sqlog *e = sqlog__of(base);
    struct drop_job *drop = sl_new(struct drop_job);
    drop->job.engine = e;
    drop->job.run = drop_run;
    drop->job.done = drop_done;
    drop->topic_id = *topic_id;
    drop->done = d;
    sqlog__topic_block(e, topic_id, true);
    sqlog__submit_job(e, &drop->job);
}
