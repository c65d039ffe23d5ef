/* What sluice.db has, read once at the start: topics, partitions, producers, leader epochs, what is
 * left to delete. Damage of a partition's own row is mended from its messages. */
#include "storage/sqlite/files.h"
#include "storage/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES_MAX = 4096, RING_BATCH_BYTES = 16 };

struct load {
    struct sqlog *e;
    sqlite3 *db;
    struct map *wanted; /* topics of this engine in meta.db, by uuid: struct wanted */
    struct map *by_row; /* struct sqlog_topic by row id */
    int64_t *dropped;   /* rows of topics whose messages are not all deleted */
    size_t n_dropped;
    bool clean;
    struct sl_fault *fault;
};

struct wanted {
    struct uuid id, org;
    char *name;
    int64_t number, created_ms;
    bool found;
};

/* ---- the file ------------------------------------------------------------------------------ */

static sl_err make_path(const struct sqlog *e, char ret[PATH_BYTES_MAX])
{
    int n = snprintf(ret, PATH_BYTES_MAX, "%s/sluice.db", e->dir);
    return n > 0 && n < PATH_BYTES_MAX ? SL_OK : SL_EINVAL;
}

sl_err sqlog__open_db(struct sqlog *e, struct sl_fault *fault)
{
    char path[PATH_BYTES_MAX];
    SL_ASSERT(!e->opened);
    SL_TRY(make_path(e, path));
    sl_err err = sqlite_files_keep_wal(e->env.vfs, e->dir, "sluice.db");
    if (err != SL_OK)
        return sl_fault_set(fault, err, "sluice.db-wal could not be read or synced");
    SL_TRY(sqlog__connect(path, sqlog__files_name(e->files), false, &e->writer.db.db, fault));
    err = sqlog__migrate(e->writer.db.db, fault);
    if (err == SL_OK)
        err = sqlog__prepare(&e->writer.db, fault);
    if (err != SL_OK)
        sqlog__disconnect(&e->writer.db);
    e->opened = err == SL_OK;
    return err;
}

/* Calls each() for every row. */
static sl_err each_row(struct load *l, const char *sql,
                       sl_err (*each)(struct load *l, sqlite3_stmt *row))
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL);
    sl_err err = SL_OK;
    if (rc == SQLITE_OK)
        while (err == SL_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
            err = each(l, stmt);
    if (err == SL_OK && rc != SQLITE_DONE)
        err = sqlog__error(l->db, rc, l->fault);
    (void)sqlite3_finalize(stmt);
    return err;
}

static sl_err damaged(const char *table, int64_t topic_row, int64_t part)
{
    LOG_ERROR("sqlite.row_damaged", "a row fails its checksum and is not used",
              F_STR("table", table), F_I64("topic_id", topic_row), F_I64("part", part));
    return SL_OK;
}

/* ---- topics: meta.db alone decides which there are ------------------------------------------ */

static sl_err want(void *arg, const struct meta_topic *row)
{
    struct load *l = arg;
    if (log_engine_by_name(row->engine) != LOG_ENGINE_SQLITE)
        return SL_OK;
    struct wanted *w = sl_new(struct wanted);
    w->id = row->topic_id;
    w->org = row->org;
    w->name = sl_strdup(row->name);
    w->number = row->number;
    w->created_ms = row->created_ms;
    return map_put(l->wanted, w->id.bytes, sizeof w->id.bytes, w, NULL);
}

static void adopt(struct load *l, const struct wanted *w, int64_t row_id)
{
    struct sqlog_topic *t = sqlog__topic(l->e, &w->id);
    t->row_id = row_id;
    t->number = w->number;
    SL_ASSERT(map_put(l->by_row, &row_id, sizeof row_id, t, NULL) == SL_OK);
}

/* A topic that meta.db does not know was deleted, or its creation failed half way. */
static sl_err remove_topic(struct load *l, int64_t row_id)
{
    LOG_INFO("sqlite.topic_removed", "messages of a topic that is gone are deleted",
             F_I64("topic_id", row_id));
    return sqlog__topic_delete(&l->e->writer.db, row_id, l->fault);
}

static sl_err see_topic(struct load *l, sqlite3_stmt *row)
{
    struct sqlog_in in = sqlog__in(row);
    struct slice id = sqlog__get_blob(&in);
    int64_t row_id = sqlite3_column_int64(row, 6);
    struct wanted *w = map_get(l->wanted, id.data, id.len);
    (void)sqlog__get_blob(&in); /* org */
    (void)sqlog__get_blob(&in); /* name */
    (void)sqlog__get_i64(&in);  /* number */
    (void)sqlog__get_i64(&in);  /* created_at */
    bool holds = sqlog__get_end(&in);
    if (!holds) /* nothing is deleted because of a row that cannot be believed */
        SL_TRY(damaged("topics", row_id, -1));
    if (!w)
        return holds ? remove_topic(l, row_id) : SL_OK;
    w->found = true;
    adopt(l, w, row_id);
    return SL_OK;
}

static sl_err add_missing(struct load *l)
{
    void *value = NULL;
    for (size_t i = 0; map_next(l->wanted, &i, NULL, &value);) {
        struct wanted *w = value;
        const struct log_topic_spec spec = {.org = w->org,
                                            .topic_id = w->id,
                                            .number = w->number,
                                            .created_ms = w->created_ms,
                                            .name = w->name};
        int64_t row_id = 0;
        if (w->found)
            continue;
        LOG_WARN("sqlite.topic_missing", "sluice.db does not know a topic: it starts empty",
                 F_STR("topic", w->name));
        SL_TRY(sqlog__topic_put(&l->e->writer.db, &spec, &row_id, l->fault));
        adopt(l, w, row_id);
    }
    return SL_OK;
}

/* ---- partitions ---------------------------------------------------------------------------- */

static struct sqlog_part *part_of(struct load *l, sqlite3_stmt *row)
{
    int64_t topic_row = sqlite3_column_int64(row, 0);
    struct sqlog_topic *t = map_get(l->by_row, &topic_row, sizeof topic_row);
    return t ? sqlog__part_of(t, (int32_t)sqlite3_column_int64(row, 1)) : NULL;
}

/* log_start, next offset and bytes as the messages say; 0 when there is none. */
static sl_err query_messages(struct load *l, const struct sqlog_part *p, struct sqlog_row *ret)
{
    static const char sql[] =
        "SELECT min(off),max(off)+1,sum(coalesce(length(key),0)+coalesce(length(payload),0)+"
        "coalesce(length(headers),0)),max(appended_at),max(max_at) FROM messages "
        "WHERE topic_id=?1 AND part=?2";
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(l->db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_bind_int64(stmt, 1, p->topic->row_id);
        (void)sqlite3_bind_int64(stmt, 2, p->id.index);
        rc = sqlite3_step(stmt);
    }
    sl_err err = rc == SQLITE_ROW ? SL_OK : sqlog__error(l->db, rc, l->fault);
    if (err == SL_OK && sqlite3_column_type(stmt, 1) != SQLITE_NULL)
        *ret = (struct sqlog_row){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                  sqlite3_column_int64(stmt, 2), sqlite3_column_int64(stmt, 3),
                                  sqlite3_column_int64(stmt, 4)};
    (void)sqlite3_finalize(stmt);
    return err;
}

static sl_err see_partition(struct load *l, sqlite3_stmt *row)
{
    struct sqlog_part *p = part_of(l, row);
    if (!p)
        return SL_OK;
    struct sqlog_in in = sqlog__in(row);
    int64_t topic_row = sqlog__get_i64(&in), index = sqlog__get_i64(&in);
    p->row.log_start = sqlog__get_i64(&in);
    p->row.next_offset = sqlog__get_i64(&in);
    p->row.bytes = sqlog__get_i64(&in);
    p->row.last_append_ms = sqlog__get_i64(&in);
    p->row.max_at = sqlog__get_i64(&in);
    if (!sqlog__get_end(&in)) {
        SL_TRY(damaged("partitions", topic_row, index));
        SL_TRY(query_messages(l, p, &p->row));
    }
    p->kept = p->row;
    p->log_start = p->row.log_start;
    p->high_watermark = p->plan_next = p->row.next_offset;
    p->bytes = p->row.bytes;
    p->last_append_ms = p->row.last_append_ms;
    atomic_store(&p->deleted_below, p->row.log_start);
    p->needs_sweep = p->row.log_start > 0;
    return SL_OK;
}

static sl_err see_producer(struct load *l, sqlite3_stmt *row)
{
    struct sqlog_part *p = part_of(l, row);
    if (!p)
        return SL_OK;
    struct sqlog_in in = sqlog__in(row);
    int64_t topic_row = sqlog__get_i64(&in), index = sqlog__get_i64(&in);
    struct batch_info info = {.producer_id = sqlog__get_i64(&in),
                              .producer_epoch = (int16_t)sqlog__get_i64(&in)};
    (void)sqlog__get_i64(&in); /* the last sequence: the ring has it */
    int64_t append_ms = sqlog__get_i64(&in);
    struct slice ring = sqlog__get_blob(&in);
    if (!sqlog__get_end(&in) || ring.len % RING_BATCH_BYTES != 0 || info.producer_id < 0)
        return damaged("producers", topic_row, index);
    for (size_t i = 0; i < ring.len; i += RING_BATCH_BYTES) {
        uint32_t first = get_be32(ring.data + i), last = get_be32(ring.data + i + 4);
        info.base_sequence = (int32_t)(first & INT32_MAX);
        info.last_offset_delta = (int32_t)((last - first) & INT32_MAX);
        info.base_offset = (int64_t)get_be64(ring.data + i + 8);
        producers__apply(&p->producers, &info, append_ms);
    }
    return SL_OK;
}

static sl_err see_epoch(struct load *l, sqlite3_stmt *row)
{
    struct sqlog_part *p = part_of(l, row);
    if (!p)
        return SL_OK;
    struct sqlog_in in = sqlog__in(row);
    int64_t topic_row = sqlog__get_i64(&in), index = sqlog__get_i64(&in);
    int64_t epoch = sqlog__get_i64(&in), start_offset = sqlog__get_i64(&in);
    if (!sqlog__get_end(&in) || epoch < p->leader_epoch || epoch > INT32_MAX)
        return damaged("epochs", topic_row, index);
    sqlog__set_epoch(p, (int32_t)epoch, start_offset);
    return SL_OK;
}

static sl_err see_dropped(struct load *l, sqlite3_stmt *row)
{
    l->dropped = sl_realloc(l->dropped, l->n_dropped + 1, sizeof l->dropped[0]);
    l->dropped[l->n_dropped++] = sqlite3_column_int64(row, 0);
    return SL_OK;
}

/* ---- an unclean start ---------------------------------------------------------------------- */

static sl_err see_state(struct load *l, sqlite3_stmt *row)
{
    struct sqlog_in in = sqlog__in(row);
    (void)sqlog__get_blob(&in);
    int64_t value = sqlog__get_i64(&in);
    l->clean = sqlog__get_end(&in) && value != 0;
    return SL_OK;
}

static sl_err put_epoch(struct load *l, const struct sqlog_part *p)
{
    struct sqlog_out gone = sqlog__out(&l->e->writer.db, ST_EPOCHS_FROM);
    sqlog__put_i64(&gone, p->topic->row_id);
    sqlog__put_i64(&gone, p->id.index);
    sqlog__put_i64(&gone, p->high_watermark);
    SL_TRY(sqlog__put_end(&gone, &l->e->writer.db, l->fault));
    struct sqlog_out o = sqlog__out(&l->e->writer.db, ST_EPOCH_PUT);
    sqlog__put_i64(&o, p->topic->row_id);
    sqlog__put_i64(&o, p->id.index);
    sqlog__put_i64(&o, p->leader_epoch);
    sqlog__put_i64(&o, p->high_watermark);
    sqlog__put_crc(&o);
    return sqlog__put_end(&o, &l->e->writer.db, l->fault);
}

/* Rises by one at every start that was not clean, above everything ever seen. */
static sl_err raise_epochs(struct load *l)
{
    void *value = NULL;
    for (size_t i = 0; map_next(l->e->parts, &i, NULL, &value);) {
        struct sqlog_part *p = value;
        sqlog__set_epoch(p, p->leader_epoch + 1, p->high_watermark);
        SL_TRY(put_epoch(l, p));
    }
    return SL_OK;
}

sl_err sqlog__put_clean(struct sqlog_db *db, bool clean, struct sl_fault *fault)
{
    struct sqlog_out o = sqlog__out(db, ST_STATE_PUT);
    sqlog__put_text(&o, slice_str("clean"));
    sqlog__put_i64(&o, clean);
    sqlog__put_crc(&o);
    return sqlog__put_end(&o, db, fault);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static sl_err load_topics(struct load *l)
{
    SL_TRY(each_row(l, "SELECT uuid,org,name,number,created_at,crc,id FROM topics", see_topic));
    return add_missing(l);
}

static sl_err load_rows(struct load *l)
{
    SL_TRY(load_topics(l));
    SL_TRY(each_row(l,
                    "SELECT topic_id,part,log_start,next_off,bytes,last_append_ms,max_at,crc "
                    "FROM partitions",
                    see_partition));
    SL_TRY(each_row(l,
                    "SELECT topic_id,part,producer_id,epoch,last_seq,appended_at,ring,crc "
                    "FROM producers",
                    see_producer));
    SL_TRY(each_row(l,
                    "SELECT topic_id,part,epoch,start_off,crc FROM epochs "
                    "ORDER BY topic_id,part,epoch",
                    see_epoch));
    SL_TRY(each_row(l, "SELECT name,value,crc FROM state WHERE name='clean'", see_state));
    if (!l->clean)
        SL_TRY(raise_epochs(l));
    return sqlog__put_clean(&l->e->writer.db, false, l->fault);
}

static sl_err load_all(struct load *l)
{
    struct sqlog_db *db = &l->e->writer.db;
    SL_TRY(sqlog__run(db, ST_BEGIN, l->fault));
    SL_TRY(load_rows(l));
    SL_TRY(each_row(l, "SELECT topic_id FROM dropped", see_dropped));
    return sqlog__run(db, ST_COMMIT, l->fault);
}

static bool has_file(const struct sqlog *e)
{
    char path[PATH_BYTES_MAX];
    struct vfs_stat st;
    return make_path(e, path) == SL_OK && vfs_stat(e->env.vfs, path, &st) == SL_OK;
}

static void load_fini(struct load *l)
{
    void *value = NULL;
    for (size_t i = 0; map_next(l->wanted, &i, NULL, &value);) {
        sl_free(((struct wanted *)value)->name);
        sl_free(value);
    }
    map_free(l->wanted);
    map_free(l->by_row);
    sl_free(l->dropped);
}

/* Jobs run on the writer's thread, which has the connection from now on. */
static void start_sweeps(struct load *l)
{
    void *value = NULL;
    for (size_t i = 0; i < l->n_dropped; i++)
        sqlog__sweep_topic(l->e, l->dropped[i]);
    for (size_t i = 0; map_next(l->e->parts, &i, NULL, &value);) {
        struct sqlog_part *p = value;
        if (p->needs_sweep)
            sqlog__sweep(p);
    }
}

static sl_err load_file(struct load *l)
{
    SL_TRY(sqlog__open_db(l->e, l->fault));
    l->db = l->e->writer.db.db;
    SL_TRY(load_all(l));
    start_sweeps(l);
    return SL_OK;
}

/* Without such topics there is no file. */
sl_err sqlog__load(struct sqlog *e, struct sl_fault *fault)
{
    struct load l = {
        .e = e, .fault = fault, .wanted = map_new(SIZE_MAX), .by_row = map_new(SIZE_MAX)};
    const struct meta_loader loader = {.arg = &l, .topic = want};
    sl_err err = meta_load(e->env.meta, &loader, fault);
    if (err == SL_OK && (has_file(e) || map_count(l.wanted) > 0))
        err = load_file(&l);
    load_fini(&l);
    return err;
}
