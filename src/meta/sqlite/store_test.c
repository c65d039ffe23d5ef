#include "base/alloc.h"
#include "meta/metastore.h"
#include "meta/sqlite_files.h"
#include "vfs/vfs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct world {
    char dir[64];
    char path[96];
    struct metastore *meta;
};

static void open_store(struct world *w)
{
    struct sl_fault fault = {0};
    sl_err err = meta_sqlite_open(vfs_real(), w->dir, &fault, &w->meta);
    if (err != SL_OK)
        print_message("# %s: %s\n", fault.where, fault.what);
    assert_int_equal(SL_OK, err);
}

static void reopen(struct world *w)
{
    meta_close(w->meta);
    w->meta = NULL;
    open_store(w);
}

static int setup(void **state)
{
    struct world *w = sl_new(struct world);
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/sluice-meta-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    (void)snprintf(w->path, sizeof w->path, "%s/meta.db", w->dir);
    open_store(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {"meta.db", "meta.db-wal", "meta.db-journal"};
    meta_close(w->meta);
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", w->dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(w->dir);
    sl_free(w);
    return 0;
}

static sl_err commit(struct world *w, const struct meta_op *ops, size_t n)
{
    struct meta_txn t = {.ops = ops, .n_ops = n};
    return meta_commit(w->meta, &t);
}

static struct uuid id_of(uint8_t n)
{
    struct uuid u = {.bytes = {n, 1, 2, 3}};
    return u;
}

static struct meta_op topic_op(uint8_t n, const char *name)
{
    return (struct meta_op){.kind = META_TOPIC_PUT,
                            .topic = {.topic_id = id_of(n),
                                      .name = name,
                                      .number = n,
                                      .partitions = 3,
                                      .created_ms = 1234,
                                      .engine = "local",
                                      .config_text = slice_str("retention.ms=5\n")}};
}

static struct meta_op partition_op(uint64_t pid, uint8_t topic, int32_t index)
{
    return (struct meta_op){.kind = META_PARTITION_PUT,
                            .partition = {.pid = pid, .topic_id = id_of(topic), .index = index}};
}

/* Everything loaded, as one text: what a test compares. */
struct seen {
    char text[4096];
    size_t len, rows;
};

__attribute__((format(printf, 2, 3))) static void note(struct seen *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s->text + s->len, sizeof s->text - s->len, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < sizeof s->text - s->len)
        s->len += (size_t)n;
    s->rows++;
}

static sl_err see_topic(void *arg, const struct meta_topic *t)
{
    note(arg, "topic %d %s %lld %d %lld %s %.*s;", t->topic_id.bytes[0], t->name,
         (long long)t->number, t->partitions, (long long)t->created_ms, t->engine,
         (int)t->config_text.len - 1, (const char *)t->config_text.data);
    return SL_OK;
}

static sl_err see_partition(void *arg, const struct meta_partition *p)
{
    note(arg, "part %llu %d %d;", (unsigned long long)p->pid, p->topic_id.bytes[0], p->index);
    return SL_OK;
}

static sl_err see_log_state(void *arg, const struct meta_log_state *s)
{
    note(arg, "state %llu %lld %lld %lld %.*s;", (unsigned long long)s->pid,
         (long long)s->log_start, (long long)s->next_offset, (long long)s->last_append_ms,
         (int)s->producers.len, (const char *)s->producers.data);
    return SL_OK;
}

static sl_err see_segment(void *arg, const struct meta_segment *s)
{
    note(arg, "segment %llu %lld %lld %lld %lld %lld %d;", (unsigned long long)s->pid,
         (long long)s->base_offset, (long long)s->synced_bytes, (long long)s->last_append_ms,
         (long long)s->max_timestamp_ms, (long long)s->next_offset, s->state);
    return SL_OK;
}

static sl_err see_leader_epoch(void *arg, const struct meta_leader_epoch *e)
{
    note(arg, "epoch %llu %d %lld;", (unsigned long long)e->pid, e->epoch,
         (long long)e->start_offset);
    return SL_OK;
}

static sl_err see_group(void *arg, const struct meta_group *g)
{
    note(arg, "group %s %lld %.*s;", g->group, (long long)g->generation_ceiling, (int)g->state.len,
         (const char *)g->state.data);
    return SL_OK;
}

static sl_err see_offset(void *arg, const struct meta_offset *o)
{
    note(arg, "offset %s %d %d %lld %d %zu %lld %lld;", o->group, o->topic_id.bytes[0],
         o->partition, (long long)o->offset, o->leader_epoch, o->metadata.len,
         (long long)o->commit_ms, (long long)o->expire_ms);
    return SL_OK;
}

static sl_err see_share(void *arg, const struct meta_share *s)
{
    note(arg, "share %s %d %d %.*s;", s->group, s->topic_id.bytes[0], s->partition,
         (int)s->ranges.len, (const char *)s->ranges.data);
    return SL_OK;
}

static sl_err see_setting(void *arg, const struct meta_setting *s)
{
    note(arg, "setting %d %s %.*s;", s->org.bytes[0], s->name, (int)s->value.len,
         (const char *)s->value.data);
    return SL_OK;
}

static sl_err load(struct world *w, struct seen *seen, struct sl_fault *fault)
{
    struct meta_loader all = {.arg = seen,
                              .topic = see_topic,
                              .partition = see_partition,
                              .log_state = see_log_state,
                              .segment = see_segment,
                              .leader_epoch = see_leader_epoch,
                              .group = see_group,
                              .offset = see_offset,
                              .share = see_share,
                              .setting = see_setting};
    *seen = (struct seen){0};
    return meta_load(w->meta, &all, fault);
}

static void assert_rows(struct world *w, const char *expected)
{
    struct seen seen;
    assert_int_equal(SL_OK, load(w, &seen, NULL));
    assert_string_equal(expected, seen.text);
}

/* Runs SQL on the closed file, so that pages are whole and a row is not. */
static void tamper(struct world *w, const char *sql)
{
    sqlite3 *db = NULL;
    struct sqlite_files files = {0};
    meta_close(w->meta);
    w->meta = NULL;
    assert_int_equal(SL_OK, sqlite_files_register(&files, vfs_real()));
    assert_int_equal(SQLITE_OK, sqlite3_open_v2(w->path, &db, SQLITE_OPEN_READWRITE, files.name));
    assert_int_equal(SQLITE_OK,
                     sqlite3_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL));
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, sql, NULL, NULL, NULL));
    assert_int_equal(SQLITE_OK, sqlite3_close(db));
    sqlite_files_unregister(&files);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static const struct meta_log_state state_row = {.pid = 7,
                                                .log_start = 10,
                                                .next_offset = 90,
                                                .last_append_ms = 555,
                                                .producers = {(const uint8_t *)"PROD", 4, NULL}};

static void put_one_of_each(struct world *w)
{
    struct meta_op ops[] = {
        topic_op(1, "orders"),
        partition_op(7, 1, 0),
        {.kind = META_LOG_STATE_PUT, .log_state = state_row},
        {.kind = META_SEGMENT_PUT, .segment = {7, 80, 4096, 556, 557, 90, 2}},
        {.kind = META_SEGMENT_PUT, .segment = {7, 0, 1 << 20, 550, 551, 80, 1}},
        {.kind = META_LEADER_EPOCH_PUT, .leader_epoch = {7, 3, 40}},
        {.kind = META_GROUP_PUT,
         .group = {.group = "g", .generation_ceiling = 107, .state = slice_str("STATE")}},
        {.kind = META_OFFSET_PUT,
         .offset = {.group = "g",
                    .topic_id = id_of(1),
                    .offset = 88,
                    .leader_epoch = 3,
                    .metadata = slice_of("a\0b", 3),
                    .commit_ms = 600,
                    .expire_ms = -1}},
        {.kind = META_SHARE_PUT,
         .share = {.group = "g", .topic_id = id_of(1), .ranges = slice_str("RANGES")}},
        {.kind = META_SETTING_PUT, .setting = {.name = "lsn", .value = slice_str("64")}},
    };
    assert_int_equal(SL_OK, commit(w, ops, SL_ARRAY_LEN(ops)));
}

static const char one_of_each[] =
    "topic 1 orders 1 3 1234 local retention.ms=5;part 7 1 0;state 7 10 90 555 PROD;"
    "segment 7 0 1048576 550 551 80 1;segment 7 80 4096 556 557 90 2;epoch 7 3 40;"
    "group g 107 STATE;offset g 1 0 88 3 3 600 -1;share g 1 0 RANGES;setting 0 lsn 64;";

static void rows_of_every_kind_are_there_after_a_restart(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    assert_rows(w, one_of_each);
    reopen(w);
    assert_rows(w, one_of_each);
}

static void putting_a_row_again_replaces_it(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    put_one_of_each(w);
    assert_rows(w, one_of_each);
}

static void deleting_a_topic_takes_its_partitions_logs_and_offsets_along(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    struct meta_op other[] = {topic_op(2, "other"), partition_op(8, 2, 0)};
    assert_int_equal(SL_OK, commit(w, other, 2));
    struct meta_op op = {.kind = META_TOPIC_DELETE, .topic = {.topic_id = id_of(1)}};
    assert_int_equal(SL_OK, commit(w, &op, 1));
    assert_rows(w, "topic 2 other 2 3 1234 local retention.ms=5;part 8 2 0;group g 107 STATE;"
                   "setting 0 lsn 64;");
}

static void deleting_rows_one_by_one_leaves_the_others(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    struct meta_op ops[] = {
        {.kind = META_SEGMENT_DELETE, .segment = {.pid = 7, .base_offset = 0}},
        {.kind = META_OFFSET_DELETE, .offset = {.group = "g", .topic_id = id_of(1)}},
        {.kind = META_SETTING_DELETE, .setting = {.name = "lsn"}},
    };
    assert_int_equal(SL_OK, commit(w, ops, SL_ARRAY_LEN(ops)));
    assert_rows(w, "topic 1 orders 1 3 1234 local retention.ms=5;part 7 1 0;"
                   "state 7 10 90 555 PROD;segment 7 80 4096 556 557 90 2;epoch 7 3 40;"
                   "group g 107 STATE;");
}

static void deleting_a_group_takes_its_offsets_along(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    struct meta_op op = {.kind = META_GROUP_DELETE, .group = {.group = "g"}};
    assert_int_equal(SL_OK, commit(w, &op, 1));
    struct seen seen;
    assert_int_equal(SL_OK, load(w, &seen, NULL));
    assert_null(strstr(seen.text, "group g"));
    assert_null(strstr(seen.text, "share g"));
    assert_null(strstr(seen.text, "offset g"));
}

static void a_new_log_start_keeps_the_rest_of_the_row(void **state)
{
    struct world *w = *state;
    struct meta_op ops[] = {
        {.kind = META_LOG_STATE_PUT, .log_state = state_row},
        {.kind = META_LOG_START_PUT, .log_state = {.pid = 7, .log_start = 60}},
        {.kind = META_LOG_START_PUT, .log_state = {.pid = 8, .log_start = 5}},
    };
    assert_int_equal(SL_OK, commit(w, ops, SL_ARRAY_LEN(ops)));
    /* next_offset stays what a checkpoint saved: recovery replays the journal from there */
    assert_rows(w, "state 7 60 90 555 PROD;state 8 5 0 -1 ;");
}

static void the_same_names_live_in_two_organisations(void **state)
{
    struct world *w = *state;
    struct meta_op a = topic_op(1, "orders"), b = topic_op(2, "orders");
    b.topic.org = id_of(9);
    assert_int_equal(SL_OK, commit(w, &a, 1));
    assert_int_equal(SL_OK, commit(w, &b, 1));
    struct meta_op c = topic_op(3, "orders");
    assert_int_equal(SL_EEXISTS, commit(w, &c, 1));
}

static void a_refused_transaction_leaves_nothing_of_itself(void **state)
{
    struct world *w = *state;
    struct meta_op first = topic_op(1, "orders");
    assert_int_equal(SL_OK, commit(w, &first, 1));
    struct meta_op ops[] = {partition_op(9, 5, 0), topic_op(2, "orders")};
    assert_int_equal(SL_EEXISTS, commit(w, ops, 2));
    assert_rows(w, "topic 1 orders 1 3 1234 local retention.ms=5;");
}

static void numbers_of_a_counter_are_never_given_twice(void **state)
{
    struct world *w = *state;
    int64_t first = 0;
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 10, &first));
    assert_int_equal(1, first);
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 1, &first));
    assert_int_equal(11, first);
    assert_int_equal(SL_OK, meta_reserve(w->meta, "topic", 1, &first));
    assert_int_equal(1, first);
    reopen(w);
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 5, &first));
    assert_int_equal(12, first);
}

static void a_raised_counter_starts_above_what_was_found(void **state)
{
    struct world *w = *state;
    int64_t first = 0;
    struct meta_op op = {.kind = META_COUNTER_RAISE, .counter = {.name = "pid", .at_least = 500}};
    assert_int_equal(SL_OK, commit(w, &op, 1));
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 1, &first));
    assert_int_equal(501, first);
    assert_int_equal(SL_OK, commit(w, &op, 1));
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 1, &first));
    assert_int_equal(502, first);
}

static void B04_a_damaged_row_is_named_and_nothing_is_deleted(void **state)
{
    static const struct {
        const char *sql, *named;
    } cases[] = {
        {"UPDATE log_state SET next_offset=next_offset+1", "log_state, pid 7"},
        {"UPDATE segment SET synced_bytes=1 WHERE base_offset=80", "base_offset 80"},
        {"UPDATE leader_epoch SET start_offset=0", "leader_epoch, pid 7"},
        {"UPDATE partition SET part=1", "partition, pid 7"},
        {"UPDATE topic SET partitions=1", "'orders'"},
        {"UPDATE group_offset SET offset=99", "group 'g'"},
        {"UPDATE group_share SET ranges=x'39'", "group 'g'"},
        {"UPDATE setting SET value=x'39'", "'lsn'"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        put_one_of_each(w);
        tamper(w, cases[i].sql);
        open_store(w);
        struct seen seen;
        struct sl_fault fault = {0};
        assert_int_equal(SL_ECORRUPT, load(w, &seen, &fault));
        assert_non_null(strstr(fault.where, cases[i].named));
    }
}

static void B04_a_damaged_counter_gives_no_numbers(void **state)
{
    struct world *w = *state;
    int64_t first = 0;
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 10, &first));
    tamper(w, "UPDATE counter SET next=1");
    open_store(w);
    assert_int_equal(SL_ECORRUPT, meta_reserve(w->meta, "pid", 1, &first));
    struct meta_op op = {.kind = META_COUNTER_RAISE, .counter = {.name = "pid", .at_least = 500}};
    assert_int_equal(SL_ECORRUPT, commit(w, &op, 1));
}

static void O04_a_store_of_a_newer_version_is_refused(void **state)
{
    struct world *w = *state;
    tamper(w, "INSERT INTO migration(version,name) VALUES(999,'future')");
    struct sl_fault fault = {0};
    assert_int_equal(SL_EFORMAT, meta_sqlite_open(vfs_real(), w->dir, &fault, &w->meta));
    assert_non_null(strstr(fault.what, "999"));
}

static void O04_a_file_that_is_no_database_is_refused_and_left_alone(void **state)
{
    struct world *w = *state;
    char before[8192], after[8192];
    meta_close(w->meta);
    w->meta = NULL;
    memset(before, 'x', sizeof before);
    FILE *f = fopen(w->path, "wb");
    assert_int_equal(sizeof before, fwrite(before, 1, sizeof before, f));
    assert_int_equal(0, fclose(f));
    struct sl_fault fault = {0};
    assert_int_equal(SL_ECORRUPT, meta_sqlite_open(vfs_real(), w->dir, &fault, &w->meta));
    f = fopen(w->path, "rb");
    assert_int_equal(sizeof after, fread(after, 1, sizeof after, f));
    assert_int_equal(0, fclose(f));
    assert_memory_equal(before, after, sizeof after);
}

static void a_store_without_write_ahead_log_files_is_opened_again(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    tamper(w, "PRAGMA journal_mode=DELETE");
    open_store(w);
    assert_rows(w, one_of_each);
}

static sl_err count_row(void *arg, const struct meta_partition *p)
{
    ++*(size_t *)arg;
    return SL_OK;
}

static sl_err count_segment(void *arg, const struct meta_segment *s)
{
    ++*(size_t *)arg;
    return SL_OK;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void rows_of_20000_partitions_load_in_under_a_second(void **state)
{
    enum { N = 20000 };
    struct world *w = *state;
    struct meta_op *ops = sl_new_array(struct meta_op, N);
    for (int i = 0; i < N; i++)
        ops[i] = partition_op((uint64_t)i + 1, 1, i);
    assert_int_equal(SL_OK, commit(w, ops, N));
    for (int i = 0; i < N; i++)
        ops[i] = (struct meta_op){.kind = META_SEGMENT_PUT, .segment = {.pid = (uint64_t)i + 1}};
    assert_int_equal(SL_OK, commit(w, ops, N));
    sl_free(ops);
    size_t rows = 0;
    struct meta_loader l = {.arg = &rows, .partition = count_row, .segment = count_segment};
    int64_t start = now_ms();
    reopen(w);
    assert_int_equal(SL_OK, meta_load(w->meta, &l, NULL));
    assert_int_equal(2 * N, rows);
    assert_true(now_ms() - start < 1000);
}

static sl_err refuse_row(void *arg, const struct meta_topic *t)
{
    return SL_ELIMIT;
}

static void a_loader_that_refuses_a_row_stops_the_load(void **state)
{
    struct world *w = *state;
    put_one_of_each(w);
    struct meta_loader l = {.topic = refuse_row};
    assert_int_equal(SL_ELIMIT, meta_load(w->meta, &l, NULL));
    assert_rows(w, one_of_each);
}

/* ---- completions on a loop ------------------------------------------------------------------ */

enum { N_QUEUED = 50 };

struct queued {
    struct meta_txn txn;
    struct meta_op op;
    char name[16];
    struct order *order;
};

struct order {
    struct loop *loop;
    struct queued items[N_QUEUED];
    size_t n_done;
    bool in_order;
};

static void queued_done(struct meta_txn *t)
{
    struct queued *q = SL_CONTAINER_OF(t, struct queued, txn);
    struct order *o = q->order;
    o->in_order = o->in_order && q == &o->items[o->n_done] && loop_is_current(o->loop);
    if (++o->n_done == N_QUEUED)
        loop_stop(o->loop);
}

static void queued_transactions_complete_in_order_and_only_the_bad_ones_are_refused(void **state)
{
    struct world *w = *state;
    struct order *o = sl_new(struct order);
    o->in_order = true;
    assert_int_equal(SL_OK, loop_new(&clock_real, &o->loop));
    for (size_t i = 0; i < N_QUEUED; i++) {
        struct queued *q = &o->items[i];
        q->order = o;
        (void)snprintf(q->name, sizeof q->name, "t%zu", i % 10 == 9 ? i - 1 : i);
        q->op = topic_op((uint8_t)(i + 1), q->name);
        q->txn = (struct meta_txn){.ops = &q->op, .n_ops = 1, .home = o->loop, .done = queued_done};
        meta_submit(w->meta, &q->txn);
    }
    loop_run(o->loop);
    assert_int_equal(N_QUEUED, o->n_done);
    assert_true(o->in_order);
    for (size_t i = 0; i < N_QUEUED; i++)
        assert_int_equal(i % 10 == 9 ? SL_EEXISTS : SL_OK, o->items[i].txn.err);
    loop_free(o->loop);
    sl_free(o);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_of_every_kind_are_there_after_a_restart),
        TEST(putting_a_row_again_replaces_it),
        TEST(deleting_a_topic_takes_its_partitions_logs_and_offsets_along),
        TEST(deleting_rows_one_by_one_leaves_the_others),
        TEST(deleting_a_group_takes_its_offsets_along),
        TEST(a_new_log_start_keeps_the_rest_of_the_row),
        TEST(the_same_names_live_in_two_organisations),
        TEST(a_refused_transaction_leaves_nothing_of_itself),
        TEST(numbers_of_a_counter_are_never_given_twice),
        TEST(a_raised_counter_starts_above_what_was_found),
        TEST(B04_a_damaged_row_is_named_and_nothing_is_deleted),
        TEST(B04_a_damaged_counter_gives_no_numbers),
        TEST(O04_a_store_of_a_newer_version_is_refused),
        TEST(O04_a_file_that_is_no_database_is_refused_and_left_alone),
        TEST(a_store_without_write_ahead_log_files_is_opened_again),
        TEST(rows_of_20000_partitions_load_in_under_a_second),
        TEST(a_loader_that_refuses_a_row_stops_the_load),
        TEST(queued_transactions_complete_in_order_and_only_the_bad_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
