#include "meta/sqlite/sqlite_int.h"

#include <stdio.h>

/* One row of each table: reads it, checks it, hands it over. SL_ECORRUPT: key names it. */
struct load_step {
    enum statement st;
    const char *table;
    sl_err (*row)(const struct meta_loader *l, struct row_in *in, char key[96]);
    size_t member; /* offset of the callback in meta_loader: NULL there skips the table */
};

static void key_of_pid(char key[96], uint64_t pid, const char *what, int64_t n)
{
    (void)snprintf(key, 96, "pid %llu, %s %lld", (unsigned long long)pid, what, (long long)n);
}

static sl_err load_topic(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_topic t = {.topic_id = meta__get_uuid(in)};
    t.org = meta__get_uuid(in);
    t.name = meta__get_text(in);
    t.number = meta__get_i64(in);
    t.partitions = (int32_t)meta__get_i64(in);
    t.created_ms = meta__get_i64(in);
    t.engine = meta__get_text(in);
    t.config_text = meta__get_blob(in);
    (void)snprintf(key, 96, "number %lld, name '%.40s'", (long long)t.number, t.name);
    return meta__get_end(in) ? l->topic(l->arg, &t) : SL_ECORRUPT;
}

static sl_err load_partition(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_partition p = {.pid = (uint64_t)meta__get_i64(in)};
    p.topic_id = meta__get_uuid(in);
    p.index = (int32_t)meta__get_i64(in);
    key_of_pid(key, p.pid, "partition", p.index);
    return meta__get_end(in) ? l->partition(l->arg, &p) : SL_ECORRUPT;
}

static sl_err load_log_state(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_log_state s = {.pid = (uint64_t)meta__get_i64(in)};
    s.log_start = meta__get_i64(in);
    s.next_offset = meta__get_i64(in);
    s.last_append_ms = meta__get_i64(in);
    s.producers = meta__get_blob(in);
    key_of_pid(key, s.pid, "next_offset", s.next_offset);
    return meta__get_end(in) ? l->log_state(l->arg, &s) : SL_ECORRUPT;
}

static sl_err load_segment(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_segment s = {.pid = (uint64_t)meta__get_i64(in)};
    s.base_offset = meta__get_i64(in);
    s.synced_bytes = meta__get_i64(in);
    s.last_append_ms = meta__get_i64(in);
    s.max_timestamp_ms = meta__get_i64(in);
    s.next_offset = meta__get_i64(in);
    s.state = (uint8_t)meta__get_i64(in);
    key_of_pid(key, s.pid, "base_offset", s.base_offset);
    return meta__get_end(in) ? l->segment(l->arg, &s) : SL_ECORRUPT;
}

static sl_err load_leader_epoch(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_leader_epoch e = {.pid = (uint64_t)meta__get_i64(in)};
    e.epoch = (int32_t)meta__get_i64(in);
    e.start_offset = meta__get_i64(in);
    key_of_pid(key, e.pid, "epoch", e.epoch);
    return meta__get_end(in) ? l->leader_epoch(l->arg, &e) : SL_ECORRUPT;
}

static sl_err load_group(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_group g = {.org = meta__get_uuid(in)};
    g.group = meta__get_text(in);
    g.generation_ceiling = meta__get_i64(in);
    g.state = meta__get_blob(in);
    (void)snprintf(key, 96, "group '%.80s'", g.group);
    return meta__get_end(in) ? l->group(l->arg, &g) : SL_ECORRUPT;
}

static sl_err load_offset(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_offset o = {.org = meta__get_uuid(in)};
    o.group = meta__get_text(in);
    o.topic_id = meta__get_uuid(in);
    o.partition = (int32_t)meta__get_i64(in);
    o.offset = meta__get_i64(in);
    o.leader_epoch = (int32_t)meta__get_i64(in);
    o.metadata = meta__get_blob(in);
    o.commit_ms = meta__get_i64(in);
    o.expire_ms = meta__get_i64(in);
    (void)snprintf(key, 96, "group '%.60s', partition %d", o.group, o.partition);
    return meta__get_end(in) ? l->offset(l->arg, &o) : SL_ECORRUPT;
}

static sl_err load_share(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_share s = {.org = meta__get_uuid(in)};
    s.group = meta__get_text(in);
    s.topic_id = meta__get_uuid(in);
    s.partition = (int32_t)meta__get_i64(in);
    s.ranges = meta__get_blob(in);
    (void)snprintf(key, 96, "group '%.60s', partition %d", s.group, s.partition);
    return meta__get_end(in) ? l->share(l->arg, &s) : SL_ECORRUPT;
}

static sl_err load_setting(const struct meta_loader *l, struct row_in *in, char key[96])
{
    struct meta_setting s = {.org = meta__get_uuid(in)};
    s.name = meta__get_text(in);
    s.value = meta__get_blob(in);
    (void)snprintf(key, 96, "name '%.80s'", s.name);
    return meta__get_end(in) ? l->setting(l->arg, &s) : SL_ECORRUPT;
}

#define STEP(st, table, member)                                                                    \
    {                                                                                              \
        ST_LOAD_##st, table, load_##member, offsetof(struct meta_loader, member)                   \
    }
static const struct load_step load_steps[] = {
    STEP(TOPICS, "topic", topic),
    STEP(PARTITIONS, "partition", partition),
    STEP(LOG_STATES, "log_state", log_state),
    STEP(SEGMENTS, "segment", segment),
    STEP(EPOCHS, "leader_epoch", leader_epoch),
    STEP(GROUPS, "consumer_group", group),
    STEP(OFFSETS, "group_offset", offset),
    STEP(SHARES, "group_share", share),
    STEP(SETTINGS, "setting", setting),
};

static bool wanted(const struct load_step *step, const struct meta_loader *l)
{
    void *callback = NULL;
    memcpy(&callback, (const char *)l + step->member, sizeof callback);
    return callback != NULL;
}

static sl_err load_table(struct sqlite_meta *m, const struct load_step *step,
                         const struct meta_loader *l, struct sl_fault *fault)
{
    sqlite3_stmt *stmt = m->statements[step->st];
    sl_err err = SL_OK;
    int rc;
    while (err == SL_OK && (rc = sqlite3_step(stmt)) != SQLITE_DONE) {
        if (rc != SQLITE_ROW) {
            err = meta__error(m, rc, fault);
            break;
        }
        char key[96] = "";
        struct row_in in = meta__row_in(stmt, step->table);
        err = step->row(l, &in, key);
        if (err == SL_ECORRUPT && fault && fault->where[0] == '\0') {
            (void)snprintf(fault->where, sizeof fault->where, "meta.db, table %s, %s", step->table,
                           key);
            (void)sl_fault_set(fault, err,
                               "the row fails its checksum: restore meta.db from a "
                               "backup or rebuild it");
        }
    }
    (void)sqlite3_reset(stmt);
    return err;
}

sl_err meta__load(struct sqlite_meta *m, const struct meta_loader *loader, struct sl_fault *fault)
{
    for (size_t i = 0; i < SL_ARRAY_LEN(load_steps); i++) {
        if (wanted(&load_steps[i], loader))
            SL_TRY(load_table(m, &load_steps[i], loader, fault));
    }
    return SL_OK;
}
