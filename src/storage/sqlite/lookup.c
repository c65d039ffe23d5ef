/* Offsets by time, through the index on max_at: the highest time so far never falls along the
 * offsets, so the first row that reaches a time is the first record that has it. Only when a trim
 * took the record that made it high are rows walked. */
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"

struct lookup_job {
    struct work work;
    struct sqlog *engine;
    struct log_lookup *lookup;
    struct sqlog_part *part; /* counted */
    int64_t start, end;      /* offsets that count */
    sl_err err;
};

struct found {
    int64_t offset, time_ms;
};

static void none(struct log_lookup *l)
{
    l->offset = l->found_timestamp_ms = -1;
    l->leader_epoch = -1;
}

/* The first row; SL_EEND: none. */
static sl_err query(const struct lookup_job *j, struct sqlog_reader *r,
                    enum sqlog_read_statement st, int64_t from, int64_t time_ms, struct found *ret)
{
    sqlite3_stmt *stmt = r->statements[st];
    (void)sqlite3_bind_int64(stmt, 1, j->part->topic->row_id); /* binding numbers never fails */
    (void)sqlite3_bind_int64(stmt, 2, j->part->id.index);
    (void)sqlite3_bind_int64(stmt, 3, from);
    (void)sqlite3_bind_int64(stmt, 4, j->end);
    if (sqlite3_bind_parameter_count(stmt) >= 5)
        (void)sqlite3_bind_int64(stmt, 5, time_ms);
    int rc = sqlite3_step(stmt);
    sl_err err = SL_OK;
    if (rc == SQLITE_ROW) {
        ret->offset = sqlite3_column_int64(stmt, 0);
        ret->time_ms = sqlite3_column_int64(stmt, 1);
    } else {
        err = rc == SQLITE_DONE ? SL_EEND : sqlog__error(r->db, rc, NULL);
    }
    (void)sqlite3_reset(stmt); /* the step has said it */
    return err;
}

static sl_err find_time(const struct lookup_job *j, struct sqlog_reader *r, int64_t time_ms,
                        struct found *ret)
{
    SL_TRY(query(j, r, READ_FIRST_AT, j->start, time_ms, ret));
    if (ret->time_ms >= time_ms)
        return SL_OK;
    return query(j, r, READ_NEXT_AT, ret->offset, time_ms, ret);
}

static sl_err find_highest(const struct lookup_job *j, struct sqlog_reader *r, struct found *ret)
{
    struct found last = {-1, -1};
    SL_TRY(query(j, r, READ_LAST, j->start, 0, &last));
    sl_err err = query(j, r, READ_FIRST_AT, j->start, last.time_ms, ret);
    if (err == SL_OK && ret->time_ms == last.time_ms)
        return SL_OK;
    return query(j, r, READ_HIGHEST, j->start, 0, ret);
}

static void worker_run(struct work *w)
{
    struct lookup_job *j = SL_CONTAINER_OF(w, struct lookup_job, work);
    struct log_lookup *l = j->lookup;
    struct sqlog_reader *r = NULL;
    struct found found = {-1, -1};
    int64_t end;
    j->err = sqlog__reader_take(j->engine, &r);
    if (j->err != SL_OK)
        return;
    j->err = l->kind == LOG_MAX_TIMESTAMP ? find_highest(j, r, &found)
                                          : find_time(j, r, l->timestamp_ms, &found);
    sqlog__reader_give(j->engine, r);
    if (j->err == SL_OK) {
        l->offset = found.offset;
        l->found_timestamp_ms = found.time_ms;
        l->leader_epoch = sqlog__epoch_at(j->part, found.offset, &end);
    } else if (j->err == SL_EEND) {
        j->err = SL_OK;
    }
}

static void worker_done(struct work *w)
{
    struct lookup_job *j = SL_CONTAINER_OF(w, struct lookup_job, work);
    struct sqlog *e = j->engine;
    struct log_lookup *l = j->lookup;
    l->err = j->err == SL_OK || j->err == SL_ECORRUPT ? j->err : SL_EIO;
    if (atomic_load(&j->part->dropped))
        l->err = SL_ETOPIC;
    sqlog__part_unref(j->part);
    sl_free(j);
    e->jobs_pending--;
    l->done(l);
    sqlog__idle_check(e);
}

sl_err sqlog__lookup(struct log_engine *base, struct log_lookup *l)
{
    struct sqlog *e = sqlog__of(base);
    struct sqlog_part *p = sqlog__part(l->part);
    none(l);
    l->err = SL_OK;
    if (atomic_load_explicit(&p->dropped, memory_order_relaxed))
        l->err = SL_ETOPIC;
    else if (e->closing)
        l->err = SL_ECLOSED;
    if (l->err != SL_OK || p->log_start == p->high_watermark)
        return l->err;
    struct lookup_job *j = sl_new(struct lookup_job);
    j->engine = e;
    j->lookup = l;
    j->part = sqlog__part_ref(p);
    j->start = p->log_start;
    j->end = p->high_watermark;
    j->work.run = worker_run;
    j->work.done = worker_done;
    e->jobs_pending++;
    workers_submit(e->env.workers, e->env.loop, &j->work);
    return SL_PENDING;
}
