#include "meta/sqlite/sqlite_int.h"

#include <stdio.h>

static const int64_t COUNTER_FIRST = 1;

sl_err meta__error(struct sqlite_meta *m, int rc, struct sl_fault *fault)
{
    if (fault)
        (void)snprintf(fault->where, sizeof fault->where, "meta.db");
    const char *text = m->db ? sqlite3_errmsg(m->db) : sqlite3_errstr(rc);
    int extended = m->db ? sqlite3_extended_errcode(m->db) : rc;
    if (extended == SQLITE_IOERR_DATA || rc == SQLITE_IOERR_DATA) {
        if (fault)
            (void)snprintf(fault->where, sizeof fault->where, "meta.db, page %lld",
                           (long long)m->files.damaged_page);
        return sl_fault_set(fault, SL_ECORRUPT,
                            "the page fails its checksum: restore a backup, or rebuild it");
    }
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return sl_fault_set(fault, SL_ENOSPC, "the disk is full: free some space");
    case SQLITE_NOMEM:
        return sl_fault_set(fault, SL_ENOMEM, "%s", text);
    case SQLITE_CONSTRAINT:
        return sl_fault_set(fault, SL_EEXISTS, "%s", text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return sl_fault_set(fault, SL_ECORRUPT, "%s: restore a backup, or rebuild it", text);
    case SQLITE_IOERR:
        return sl_fault_set(fault, SL_EUNKNOWN_OUTCOME, "%s (SQLite code %d)", text, extended);
    case SQLITE_CANTOPEN:
        return sl_fault_set(fault, SL_EIO, "%s", text);
    default:
        return sl_fault_set(fault, SL_EBUG, "%s (SQLite code %d)", text, extended);
    }
}

sl_err meta__run(struct sqlite_meta *m, enum statement st, struct sl_fault *fault)
{
    sqlite3_stmt *stmt = m->statements[st];
    int rc = sqlite3_step(stmt);
    sl_err err = rc == SQLITE_DONE || rc == SQLITE_ROW ? SL_OK : meta__error(m, rc, fault);
    (void)sqlite3_reset(stmt); /* repeats the result of the step */
    return err;
}

/* ---- topics and partitions ------------------------------------------------------------------ */

static sl_err put_topic(struct sqlite_meta *m, const struct meta_topic *t, struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_TOPIC_PUT, "topic");
    meta__put_uuid(&r, &t->topic_id);
    meta__put_uuid(&r, &t->org);
    meta__put_text(&r, t->name);
    meta__put_i64(&r, t->number);
    meta__put_i64(&r, t->partitions);
    meta__put_i64(&r, t->created_ms);
    meta__put_text(&r, t->engine);
    meta__put_blob(&r, t->config_text.data, t->config_text.len);
    return meta__put_end(&r, m, fault);
}

static sl_err delete_topic(struct sqlite_meta *m, const struct uuid *id, struct sl_fault *fault)
{
    static const enum statement steps[] = {
        ST_TOPIC_LOG_STATES, ST_TOPIC_SEGMENTS,   ST_TOPIC_EPOCHS, ST_TOPIC_OFFSETS,
        ST_TOPIC_SHARES,     ST_TOPIC_PARTITIONS, ST_TOPIC_DELETE};
    for (size_t i = 0; i < SL_ARRAY_LEN(steps); i++) {
        struct row_out r = meta__row_out(m, steps[i], "");
        meta__put_uuid(&r, id);
        SL_TRY(meta__put_end_plain(&r, m, fault));
    }
    return SL_OK;
}

static sl_err put_partition(struct sqlite_meta *m, const struct meta_partition *p,
                            struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_PARTITION_PUT, "partition");
    meta__put_i64(&r, (int64_t)p->pid);
    meta__put_uuid(&r, &p->topic_id);
    meta__put_i64(&r, p->index);
    return meta__put_end(&r, m, fault);
}

/* ---- what recovery trusts ------------------------------------------------------------------- */

static sl_err put_log_state(struct sqlite_meta *m, const struct meta_log_state *s,
                            struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_LOG_STATE_PUT, "log_state");
    meta__put_i64(&r, (int64_t)s->pid);
    meta__put_i64(&r, s->log_start);
    meta__put_i64(&r, s->next_offset);
    meta__put_i64(&r, s->last_append_ms);
    meta__put_blob(&r, s->producers.data, s->producers.len);
    return meta__put_end(&r, m, fault);
}

/* What the row holds now, its producers as a counted copy; unchanged when there is none. */
static sl_err get_log_state(struct sqlite_meta *m, struct meta_log_state *row,
                            struct sl_fault *fault)
{
    sqlite3_stmt *get = m->statements[ST_LOG_STATE_GET];
    bool holds = true;
    (void)sqlite3_bind_int64(get, 1, (int64_t)row->pid);
    int rc = sqlite3_step(get);
    if (rc == SQLITE_ROW) {
        struct row_in in = meta__row_in(get, "log_state");
        (void)meta__get_i64(&in);
        row->log_start = meta__get_i64(&in);
        row->next_offset = meta__get_i64(&in);
        row->last_append_ms = meta__get_i64(&in);
        struct slice bytes = meta__get_blob(&in);
        row->producers = slice_copy(bytes.data, bytes.len);
        holds = meta__get_end(&in);
    }
    (void)sqlite3_reset(get);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return meta__error(m, rc, fault);
    if (!holds)
        return sl_fault_set(fault, SL_ECORRUPT, "log_state row of pid %llu fails its checksum",
                            (unsigned long long)row->pid);
    return SL_OK;
}

/* The checksum covers the whole row, so the rest of it is read first. */
static sl_err put_log_start(struct sqlite_meta *m, const struct meta_log_state *s,
                            struct sl_fault *fault)
{
    struct meta_log_state row = {.pid = s->pid, .last_append_ms = -1};
    sl_err err = get_log_state(m, &row, fault);
    if (err == SL_OK) {
        row.log_start = s->log_start;
        err = put_log_state(m, &row, fault);
    }
    slice_unref(&row.producers);
    return err;
}

static sl_err put_segment(struct sqlite_meta *m, const struct meta_segment *s,
                          struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_SEGMENT_PUT, "segment");
    meta__put_i64(&r, (int64_t)s->pid);
    meta__put_i64(&r, s->base_offset);
    meta__put_i64(&r, s->synced_bytes);
    meta__put_i64(&r, s->last_append_ms);
    meta__put_i64(&r, s->max_timestamp_ms);
    meta__put_i64(&r, s->next_offset);
    meta__put_i64(&r, s->state);
    return meta__put_end(&r, m, fault);
}

static sl_err delete_segment(struct sqlite_meta *m, const struct meta_segment *s,
                             struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_SEGMENT_DELETE, "");
    meta__put_i64(&r, (int64_t)s->pid);
    meta__put_i64(&r, s->base_offset);
    return meta__put_end_plain(&r, m, fault);
}

static sl_err put_leader_epoch(struct sqlite_meta *m, const struct meta_leader_epoch *e,
                               struct sl_fault *fault)
{
    /* Epochs in which nothing was written leave no trace: one row for each start offset. */
    struct row_out old = meta__row_out(m, ST_EPOCH_PRUNE, "");
    meta__put_i64(&old, (int64_t)e->pid);
    meta__put_i64(&old, e->epoch);
    meta__put_i64(&old, e->start_offset);
    SL_TRY(meta__put_end_plain(&old, m, fault));
    struct row_out r = meta__row_out(m, ST_EPOCH_PUT, "leader_epoch");
    meta__put_i64(&r, (int64_t)e->pid);
    meta__put_i64(&r, e->epoch);
    meta__put_i64(&r, e->start_offset);
    return meta__put_end(&r, m, fault);
}

/* ---- groups and offsets --------------------------------------------------------------------- */

static sl_err put_group(struct sqlite_meta *m, const struct meta_group *g, struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_GROUP_PUT, "consumer_group");
    meta__put_uuid(&r, &g->org);
    meta__put_text(&r, g->group);
    meta__put_i64(&r, g->generation_ceiling);
    meta__put_blob(&r, g->state.data, g->state.len);
    return meta__put_end(&r, m, fault);
}

static sl_err delete_group(struct sqlite_meta *m, const struct meta_group *g,
                           struct sl_fault *fault)
{
    static const enum statement steps[] = {ST_GROUP_OFFSETS, ST_GROUP_SHARES, ST_GROUP_DELETE};
    for (size_t i = 0; i < SL_ARRAY_LEN(steps); i++) {
        struct row_out r = meta__row_out(m, steps[i], "");
        meta__put_uuid(&r, &g->org);
        meta__put_text(&r, g->group);
        SL_TRY(meta__put_end_plain(&r, m, fault));
    }
    return SL_OK;
}

static void put_offset_key(struct row_out *r, const struct meta_offset *o)
{
    meta__put_uuid(r, &o->org);
    meta__put_text(r, o->group);
    meta__put_uuid(r, &o->topic_id);
    meta__put_i64(r, o->partition);
}

static void put_share_key(struct row_out *r, const struct meta_share *s)
{
    meta__put_uuid(r, &s->org);
    meta__put_text(r, s->group);
    meta__put_uuid(r, &s->topic_id);
    meta__put_i64(r, s->partition);
}

static sl_err put_share(struct sqlite_meta *m, const struct meta_share *s, struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_SHARE_PUT, "group_share");
    put_share_key(&r, s);
    meta__put_blob(&r, s->ranges.data, s->ranges.len);
    return meta__put_end(&r, m, fault);
}

static sl_err delete_share(struct sqlite_meta *m, const struct meta_share *s,
                           struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_SHARE_DELETE, "");
    put_share_key(&r, s);
    return meta__put_end_plain(&r, m, fault);
}

static sl_err put_offset(struct sqlite_meta *m, const struct meta_offset *o, struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_OFFSET_PUT, "group_offset");
    put_offset_key(&r, o);
    meta__put_i64(&r, o->offset);
    meta__put_i64(&r, o->leader_epoch);
    meta__put_blob(&r, o->metadata.data, o->metadata.len);
    meta__put_i64(&r, o->commit_ms);
    meta__put_i64(&r, o->expire_ms);
    return meta__put_end(&r, m, fault);
}

static sl_err delete_offset(struct sqlite_meta *m, const struct meta_offset *o,
                            struct sl_fault *fault)
{
    struct meta_share share = {
        .org = o->org, .group = o->group, .topic_id = o->topic_id, .partition = o->partition};
    SL_TRY(delete_share(m, &share, fault));
    struct row_out r = meta__row_out(m, ST_OFFSET_DELETE, "");
    put_offset_key(&r, o);
    return meta__put_end_plain(&r, m, fault);
}

/* ---- settings and counters ------------------------------------------------------------------ */

static sl_err put_setting(struct sqlite_meta *m, const struct meta_setting *s,
                          struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_SETTING_PUT, "setting");
    meta__put_uuid(&r, &s->org);
    meta__put_text(&r, s->name);
    meta__put_blob(&r, s->value.data, s->value.len);
    return meta__put_end(&r, m, fault);
}

static sl_err delete_setting(struct sqlite_meta *m, const struct meta_setting *s,
                             struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_SETTING_DELETE, "");
    meta__put_uuid(&r, &s->org);
    meta__put_text(&r, s->name);
    return meta__put_end_plain(&r, m, fault);
}

static sl_err get_counter(struct sqlite_meta *m, const char *name, int64_t *ret_next,
                          struct sl_fault *fault)
{
    sqlite3_stmt *get = m->statements[ST_COUNTER_GET];
    int64_t next = COUNTER_FIRST;
    bool holds = true;
    (void)sqlite3_bind_text(get, 1, name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(get);
    if (rc == SQLITE_ROW) {
        struct row_in in = meta__row_in(get, "counter");
        (void)meta__get_text(&in);
        next = meta__get_i64(&in);
        holds = meta__get_end(&in);
    }
    (void)sqlite3_reset(get);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return meta__error(m, rc, fault);
    if (!holds)
        return sl_fault_set(fault, SL_ECORRUPT, "counter row '%s' fails its checksum", name);
    *ret_next = next;
    return SL_OK;
}

static sl_err put_counter(struct sqlite_meta *m, const char *name, int64_t next,
                          struct sl_fault *fault)
{
    struct row_out r = meta__row_out(m, ST_COUNTER_PUT, "counter");
    meta__put_text(&r, name);
    meta__put_i64(&r, next);
    return meta__put_end(&r, m, fault);
}

static sl_err raise_counter(struct sqlite_meta *m, const struct meta_counter *c,
                            struct sl_fault *fault)
{
    int64_t next = 0;
    SL_TRY(get_counter(m, c->name, &next, fault));
    return next > c->at_least ? SL_OK : put_counter(m, c->name, c->at_least + 1, fault);
}

static sl_err take_counter(struct sqlite_meta *m, const struct meta_counter *c,
                           struct sl_fault *fault)
{
    int64_t next = 0;
    SL_TRY(get_counter(m, c->name, &next, fault));
    if (c->n < 0 || next > INT64_MAX - c->n)
        return sl_fault_set(fault, SL_ELIMIT, "counter '%s' is used up", c->name);
    SL_TRY(put_counter(m, c->name, next + c->n, fault));
    *c->ret_first = next;
    return SL_OK;
}

sl_err meta__apply(struct sqlite_meta *m, const struct meta_op *op, struct sl_fault *fault)
{
    switch (op->kind) {
    case META_TOPIC_PUT:
        return put_topic(m, &op->topic, fault);
    case META_TOPIC_DELETE:
        return delete_topic(m, &op->topic.topic_id, fault);
    case META_PARTITION_PUT:
        return put_partition(m, &op->partition, fault);
    case META_LOG_STATE_PUT:
        return put_log_state(m, &op->log_state, fault);
    case META_LOG_START_PUT:
        return put_log_start(m, &op->log_state, fault);
    case META_SEGMENT_PUT:
        return put_segment(m, &op->segment, fault);
    case META_SEGMENT_DELETE:
        return delete_segment(m, &op->segment, fault);
    case META_LEADER_EPOCH_PUT:
        return put_leader_epoch(m, &op->leader_epoch, fault);
    case META_GROUP_PUT:
        return put_group(m, &op->group, fault);
    case META_GROUP_DELETE:
        return delete_group(m, &op->group, fault);
    case META_OFFSET_PUT:
        return put_offset(m, &op->offset, fault);
    case META_OFFSET_DELETE:
        return delete_offset(m, &op->offset, fault);
    case META_SHARE_PUT:
        return put_share(m, &op->share, fault);
    case META_SHARE_DELETE:
        return delete_share(m, &op->share, fault);
    case META_SETTING_PUT:
        return put_setting(m, &op->setting, fault);
    case META_SETTING_DELETE:
        return delete_setting(m, &op->setting, fault);
    case META_COUNTER_RAISE:
        return raise_counter(m, &op->counter, fault);
    case META_COUNTER_TAKE:
        return take_counter(m, &op->counter, fault);
    }
    SL_UNREACHABLE();
}
