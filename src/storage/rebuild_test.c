/* B04, B05: metadata that is truncated, zeroed, damaged, removed or restored from a backup costs no
 * record that was acknowledged, gives no offset twice, and removes no file. */
#include "storage/engine_for_test.h"

#include "base/log.h"
#include "sim/sim.h"
#include "sim/simfs.h"

enum { PARTS = 2, APPENDS = 24, PATHS_MAX = 200 };

struct batch_note {
    int64_t base, next;
    uint32_t crc;
};

/* What the program did, and the files that it left. */
struct history {
    struct simfs *fs, *backup; /* at the end; half way */
    bool clean;
    struct batch_note notes[PARTS][APPENDS];
};

struct trial {
    const struct history *history;
    struct simfs *image;
    void (*damage)(struct trial *t, const char *path);
    const char *path;
};

static struct log_topic_cfg cfg_of_test(void)
{
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 12000;
    cfg.index_interval_bytes = 500;
    return cfg;
}

static struct world *world_on(struct simfs *fs)
{
    struct world *w =
        new_world_on(simfs_vfs(fs), "/data", sim_clock(sim_current()), sim_rng(sim_current()));
    w->cfg.journal_file_bytes = 512 << 10;
    w->cfg.checkpoint_ms = 500;
    return w;
}

static void in_world(uint64_t seed, void (*fn)(void *arg), void *arg)
{
    const struct sim_opts opts = {.seed = seed, .abandons = true};
    struct sim *sim = sim_new(&opts);
    assert_int_equal(SIM_RETURNED, sim_run(sim, fn, arg));
    sim_free(sim);
}

/* ---- the program --------------------------------------------------------------------------- */

static void append_noted(struct world *w, struct history *h, int from, int to)
{
    for (int i = from * PARTS; i < to * PARTS; i++) {
        struct log_part *p = open_part(w, 1 + (uint64_t)i % PARTS, cfg_of_test());
        struct slice batch = test_batch(CODEC_NONE, 1 + i % 3, 700);
        struct batch_note *n = &h->notes[i % PARTS][i / PARTS];
        n->crc = get_be32(batch.data + BATCH_CRC);
        n->base = append_batch(w, p, batch, LOG_DURABLE);
        n->next = n->base + 1 + i % 3;
        if (i % 10 == 9)
            sim_sleep_ns(200000000);
    }
}

static void commit_offset(struct world *w, int64_t offset)
{
    const struct meta_op op = {
        .kind = META_OFFSET_PUT,
        .offset = {.group = "g", .topic_id = test_topic_id(1), .offset = offset, .expire_ms = -1}};
    struct meta_txn txn = {.ops = &op, .n_ops = 1};
    assert_int_equal(SL_OK, meta_commit(w->meta, &txn));
}

static void write_history(void *arg)
{
    struct history *h = arg;
    SL_ASSERT(vfs_ensure_dir(simfs_vfs(h->fs), "/data") == SL_OK);
    struct world *w = world_on(h->fs);
    open_world(w);
    make_topic(w, PARTS);
    append_noted(w, h, 0, APPENDS / 2);
    commit_offset(w, 11);
    sim_sleep_ns(INT64_C(1000000000));
    h->backup = simfs_image(h->fs, SIMFS_KILL, 1);
    append_noted(w, h, APPENDS / 2, APPENDS);
    commit_offset(w, 22);
    struct simfs *killed = simfs_image(h->fs, SIMFS_KILL, 1);
    SL_ASSERT(close_world(w) == SL_OK);
    if (!h->clean) {
        simfs_free(h->fs);
        h->fs = killed;
    } else {
        simfs_free(killed);
    }
    free_world(w);
}

static struct history make_history(bool clean)
{
    struct history h = {.fs = simfs_new(), .clean = clean};
    in_world(1, write_history, &h);
    return h;
}

static void free_history(struct history *h)
{
    simfs_free(h->fs);
    simfs_free(h->backup);
}

/* ---- kinds of damage ----------------------------------------------------------------------- */

static int64_t size_of(struct vfs *v, const char *path)
{
    struct vfs_stat st;
    return vfs_stat(v, path, &st) == SL_OK ? st.size : -1;
}

static struct vfs_file *open_file(struct trial *t, const char *path)
{
    struct vfs_file *f = NULL;
    assert_int_equal(SL_OK, vfs_open(simfs_vfs(t->image), path, VFS_WRITE | VFS_CREATE, &f));
    return f;
}

static void truncate_half(struct trial *t, const char *path)
{
    SL_AUTO(vfs_close) struct vfs_file *f = open_file(t, path);
    assert_int_equal(SL_OK, vfs_truncate(f, size_of(simfs_vfs(t->image), path) / 2));
}

static void truncate_all(struct trial *t, const char *path)
{
    SL_AUTO(vfs_close) struct vfs_file *f = open_file(t, path);
    assert_int_equal(SL_OK, vfs_truncate(f, 0));
}

static void fill(struct trial *t, const char *path, bool zeros)
{
    SL_AUTO(vfs_close) struct vfs_file *f = open_file(t, path);
    int64_t size = size_of(simfs_vfs(t->image), path);
    uint8_t *bytes = sl_alloc((size_t)size + 1, 1);
    assert_int_equal(SL_OK, vfs_pread_full(f, bytes, (size_t)size, 0));
    for (int64_t i = 0; i < size; i++)
        bytes[i] = zeros ? 0 : (uint8_t)(bytes[i] ^ 0xa5);
    assert_int_equal(SL_OK, vfs_pwrite(f, bytes, (size_t)size, 0));
    sl_free(bytes);
}

static void zero_all(struct trial *t, const char *path)
{
    fill(t, path, true);
}

static void change_all(struct trial *t, const char *path)
{
    fill(t, path, false);
}

static void flip_some(struct trial *t, const char *path)
{
    uint64_t bits = (uint64_t)size_of(simfs_vfs(t->image), path) * 8;
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(SL_OK, simfs_flip_bit(t->image, path, bits * i / 6));
}

static void remove_it(struct trial *t, const char *path)
{
    assert_int_equal(SL_OK, vfs_unlink(simfs_vfs(t->image), path));
}

static void copy_file(struct vfs *from, struct vfs *to, const char *path)
{
    SL_AUTO(vfs_close) struct vfs_file *in = NULL;
    SL_AUTO(vfs_close) struct vfs_file *out = NULL;
    int64_t size = size_of(from, path);
    if (size < 0) {
        (void)vfs_unlink(to, path);
        return;
    }
    uint8_t *bytes = sl_alloc((size_t)size + 1, 1);
    assert_int_equal(SL_OK, vfs_open(from, path, VFS_READ, &in));
    assert_int_equal(SL_OK, vfs_open(to, path, VFS_WRITE | VFS_CREATE, &out));
    assert_int_equal(SL_OK, vfs_pread_full(in, bytes, (size_t)size, 0));
    assert_int_equal(SL_OK, vfs_pwrite(out, bytes, (size_t)size, 0));
    assert_int_equal(SL_OK, vfs_truncate(out, size));
    sl_free(bytes);
}

static void restore_it(struct trial *t, const char *path)
{
    copy_file(simfs_vfs(t->history->backup), simfs_vfs(t->image), path);
}

static void zero_header(struct trial *t, const char *path)
{
    static const uint8_t zeros[4096];
    SL_AUTO(vfs_close) struct vfs_file *f = open_file(t, path);
    assert_int_equal(SL_OK, vfs_pwrite(f, zeros, sizeof zeros, 0));
}

static void damage_header(struct trial *t, const char *path)
{
    static const uint8_t text[4096] = "not a journal";
    SL_AUTO(vfs_close) struct vfs_file *f = open_file(t, path);
    assert_int_equal(SL_OK, vfs_pwrite(f, text, sizeof text, 0));
}

/* ---- the comparison ------------------------------------------------------------------------ */

static void verify_part(const struct history *h, struct world *w, unsigned part)
{
    struct log_part *p = open_part(w, part + 1, cfg_of_test());
    for (int i = 0; i < APPENDS; i++) {
        const struct batch_note *n = &h->notes[part][i];
        struct call c = {0};
        struct batch_info info;
        assert_int_equal(SL_OK, read_at(w, &c, p, n->base, 1));
        assert_int_equal(SL_OK, batch_peek(c.read.data, &info));
        assert_int_equal(n->base, info.base_offset);
        assert_int_equal(n->crc, info.crc);
        slice_unref(&c.read.data);
    }
    struct log_part_state st = state_of(w, p);
    assert_int_equal(0, st.log_start);
    assert_int_equal(h->notes[part][APPENDS - 1].next, st.high_watermark);
    assert_int_equal(-1, st.damaged_from);
}

static sl_err check_topic_row(void *arg, const struct meta_topic *row)
{
    assert_string_equal("t", row->name);
    assert_int_equal(1, row->number);
    assert_int_equal(PARTS, row->partitions);
    ++*(int *)arg;
    return SL_OK;
}

/* Numbers that are given from now on were never given before. */
static void verify_rows(struct world *w)
{
    int n = 0;
    int64_t first = 0;
    const struct meta_loader loader = {.arg = &n, .topic = check_topic_row};
    assert_int_equal(SL_OK, meta_load(w->meta, &loader, NULL));
    assert_int_equal(1, n);
    if (!counters_of(w, open_part(w, 1, cfg_of_test())).metadata_rebuilt)
        return;
    assert_int_equal(SL_OK, meta_reserve(w->meta, "pid", 1, &first));
    assert_true(first > PARTS);
    assert_int_equal(SL_OK, meta_reserve(w->meta, "topic", 1, &first));
    assert_true(first > 1);
    assert_int_equal(SL_OK, meta_reserve(w->meta, "producer", 1, &first));
    assert_true(first > 100000);
}

struct paths {
    char name[PATHS_MAX][128];
    size_t n;
};

static void note_data(void *arg, const char *path, int64_t size)
{
    struct paths *all = arg;
    size_t len = strlen(path);
    if (len < 4 || strcmp(path + len - 4, ".log") != 0)
        return;
    assert_true(all->n < PATHS_MAX);
    (void)snprintf(all->name[all->n++], sizeof all->name[0], "%s", path);
}

static void verify(void *arg)
{
    struct trial *t = arg;
    struct paths *before = sl_new(struct paths);
    simfs_each_file(t->image, note_data, before);
    assert_true(before->n > 4);
    struct world *w = world_on(t->image);
    open_world(w);
    for (unsigned part = 0; part < PARTS; part++)
        verify_part(t->history, w, part);
    verify_rows(w);
    for (size_t i = 0; i < before->n; i++)
        assert_true(size_of(w->vfs, before->name[i]) >= 0);
    for (unsigned part = 0; part < PARTS; part++) {
        struct log_part *p = open_part(w, part + 1, cfg_of_test());
        assert_int_equal(t->history->notes[part][APPENDS - 1].next, append_records(w, p, 1, 10));
    }
    assert_int_equal(SL_OK, close_world(w));
    open_world(w); /* a clean end is one again */
    assert_false(counters_of(w, open_part(w, 1, cfg_of_test())).metadata_rebuilt);
    for (unsigned part = 0; part < PARTS; part++)
        assert_true(read_all(w, open_part(w, part + 1, cfg_of_test()), 0, 8192) >
                    t->history->notes[part][APPENDS - 1].base);
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
    sl_free(before);
}

typedef void (*damage_fn)(struct trial *t, const char *path);

static void try_one(const struct history *h, damage_fn damage, const char *path)
{
    struct trial t = {.history = h, .image = simfs_copy(h->fs)};
    if (size_of(simfs_vfs(t.image), path) >= 0) {
        damage(&t, path);
        in_world(2, verify, &t);
    }
    simfs_free(t.image);
}

static void try_all(const char *path, const damage_fn *kinds, size_t n)
{
    for (int clean = 0; clean < 2; clean++) {
        struct history h = make_history(clean);
        for (size_t i = 0; i < n; i++)
            try_one(&h, kinds[i], path);
        free_history(&h);
    }
}

static const damage_fn every_kind[] = {truncate_half, truncate_all, zero_all,  change_all,
                                       flip_some,     remove_it,    restore_it};

static void topic_meta_path(char ret[PATH_BYTES])
{
    struct uuid id = test_topic_id(1);
    char dir[PATH_BYTES];
    paths__topic_dir(dir, "/data", &id);
    paths__join(ret, dir, "topic.meta");
}

/* ---- one file ------------------------------------------------------------------------------ */

static void B04_any_damage_of_meta_db_loses_no_record(void **state)
{
    try_all("/data/meta.db", every_kind, SL_ARRAY_LEN(every_kind));
}

static void B04_any_damage_of_the_log_of_meta_db_loses_no_record(void **state)
{
    try_all("/data/meta.db-wal", every_kind, SL_ARRAY_LEN(every_kind));
}

static void B04_any_damage_of_CURRENT_loses_no_record(void **state)
{
    try_all("/data/CURRENT", every_kind, SL_ARRAY_LEN(every_kind));
}

static void B04_any_damage_of_topic_meta_loses_no_record(void **state)
{
    char path[PATH_BYTES];
    topic_meta_path(path);
    try_all(path, every_kind, SL_ARRAY_LEN(every_kind));
}

static void B04_any_damage_of_a_journal_file_loses_no_record_that_is_in_its_segment(void **state)
{
    static const damage_fn kinds[] = {truncate_half, truncate_all, zero_all,     change_all,
                                      remove_it,     zero_header,  damage_header};
    char path[PATH_BYTES], dir[PATH_BYTES];
    paths__journal_dir(dir, "/data");
    for (uint32_t i = 1; i <= 4; i++) {
        paths__journal_file(path, dir, i);
        try_all(path, kinds, SL_ARRAY_LEN(kinds));
    }
}

/* ---- several ------------------------------------------------------------------------------- */

static void remove_meta_and_log(struct trial *t, const char *path)
{
    (void)vfs_unlink(simfs_vfs(t->image), "/data/meta.db");
    (void)vfs_unlink(simfs_vfs(t->image), "/data/meta.db-wal");
}

static void restore_meta_and_log(struct trial *t, const char *path)
{
    restore_it(t, "/data/meta.db");
    restore_it(t, "/data/meta.db-wal");
}

static void remove_meta_and_CURRENT(struct trial *t, const char *path)
{
    remove_meta_and_log(t, path);
    (void)vfs_unlink(simfs_vfs(t->image), "/data/CURRENT");
}

static void remove_all_but_topics(struct trial *t, const char *path)
{
    remove_meta_and_CURRENT(t, path);
    assert_int_equal(SL_OK, paths__remove_tree(simfs_vfs(t->image), "/data/journal"));
}

static void B04_without_meta_db_everything_is_found_in_the_folders(void **state)
{
    static const damage_fn kinds[] = {remove_meta_and_log, remove_meta_and_CURRENT,
                                      remove_all_but_topics};
    try_all("/data/topics", kinds, SL_ARRAY_LEN(kinds));
}

static void B05_a_restored_meta_db_is_brought_up_to_date(void **state)
{
    static const damage_fn kinds[] = {restore_meta_and_log};
    try_all("/data/topics", kinds, SL_ARRAY_LEN(kinds));
}

/* ---- more than one topic, rescues, whole logs that went -------------------------------------- */

struct simple {
    struct simfs *fs, *image;
};

static void run_alone(void (*fn)(void *arg))
{
    struct simple s = {.fs = simfs_new()};
    in_world(3, fn, &s);
    simfs_free(s.image);
    simfs_free(s.fs);
}

static struct world *begin(struct simple *s)
{
    SL_ASSERT(vfs_ensure_dir(simfs_vfs(s->fs), "/data") == SL_OK);
    struct world *w = world_on(s->fs);
    open_world(w);
    make_topic(w, PARTS);
    return w;
}

static void append_some(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        append_records(w, open_part(w, 1, test_topic_cfg), 1, 900);
}

/* The backup is from before the rescue: it knows nothing of the segment that the log goes on in. */
static void rescue_after_backup(void *arg)
{
    struct simple *s = arg;
    struct world *w = begin(s);
    append_some(w, 5);
    sim_sleep_ns(INT64_C(2000000000));
    struct simfs *backup = simfs_image(s->fs, SIMFS_KILL, 1);
    const struct simfs_fault fault = {
        .calls = SIMFS_SYNC, .n = 1, .err = SL_EIO, .path_part = ".log"};
    simfs_set_fault(s->fs, &fault); /* the next checkpoint, which may begin at any time */
    append_some(w, 5);
    sim_sleep_ns(INT64_C(2000000000));
    assert_int_equal(1, simfs_faults_seen(s->fs));
    append_some(w, 5);
    sim_sleep_ns(INT64_C(2000000000));
    s->image = simfs_image(s->fs, SIMFS_KILL, 1);
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
    copy_file(simfs_vfs(backup), simfs_vfs(s->image), "/data/meta.db");
    copy_file(simfs_vfs(backup), simfs_vfs(s->image), "/data/meta.db-wal");
    simfs_free(backup);
    w = world_on(s->image);
    open_world(w);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    assert_true(counters_of(w, p).metadata_rebuilt);
    assert_int_equal(15, read_all(w, p, 0, 1 << 20));
    assert_int_equal(15, append_records(w, p, 1, 10));
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
}

static void B05_a_meta_db_from_before_a_rescue_loses_no_record(void **state)
{
    run_alone(rescue_after_backup);
}

/* Nothing is left of the log but where it goes on. */
static void lose_meta_of_empty_log(void *arg)
{
    struct simple *s = arg;
    struct world *w = begin(s);
    struct log_topic_cfg cfg = test_topic_cfg;
    append_some(w, 9);
    cfg.retention_ms = 1000;
    struct log_part *p = open_part(w, 1, cfg);
    sim_sleep_ns(INT64_C(30000000000));
    assert_int_equal(9, state_of(w, p).log_start);
    assert_int_equal(SL_OK, close_world(w));
    assert_int_equal(SL_OK, vfs_unlink(w->vfs, "/data/meta.db"));
    open_world(w);
    p = open_part(w, 1, cfg);
    assert_int_equal(9, state_of(w, p).log_start);
    assert_int_equal(9, append_records(w, p, 1, 10));
    assert_int_equal(1, read_all(w, p, 9, 1 << 20));
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
}

static void B04_offsets_of_a_log_that_retention_emptied_are_not_given_again(void **state)
{
    run_alone(lose_meta_of_empty_log);
}

static void write_topic(struct world *w, uint8_t n, const char *name, int64_t number)
{
    struct log_part_id id = {100 + n, test_topic_id(n), 0};
    struct call c = {.spec = {.topic_id = test_topic_id(n),
                              .number = number,
                              .name = name,
                              .parts = &id,
                              .n_parts = 1}};
    call(w, &c, run_topic_write);
    assert_int_equal(SL_OK, c.done.err);
}

static sl_err note_topic(void *arg, const struct meta_topic *row)
{
    if (strcmp(row->name, "t") != 0) {
        assert_string_equal("made later", row->name);
        assert_int_equal(7, row->topic_id.bytes[0]);
        assert_int_equal(9, row->number);
    }
    ++*(int *)arg;
    return SL_OK;
}

static void drop_topic(struct call *c)
{
    struct uuid id = test_topic_id(5);
    c->done.done = on_done;
    log_topic_drop(c->w->engine, &id, &c->done);
}

/* Five is deleted, six was never finished, seven has the same name, eight's file is damaged. */
static void several_topics(void *arg)
{
    struct simple *s = arg;
    int n = 0;
    struct call c = {0};
    char dir[PATH_BYTES], path[PATH_BYTES];
    struct vfs_stat st;
    struct world *w = begin(s);
    write_topic(w, 5, "deleted", 5);
    call(w, &c, drop_topic);
    write_topic(w, 6, "made later", 6);
    write_topic(w, 7, "made later", 9);
    write_topic(w, 8, "damaged", 8);
    assert_int_equal(SL_OK, close_world(w));
    assert_int_equal(SL_OK, vfs_unlink(w->vfs, "/data/meta.db"));
    struct uuid id = test_topic_id(8);
    paths__topic_dir(dir, "/data", &id);
    paths__join(path, dir, "topic.meta");
    assert_int_equal(SL_OK, simfs_flip_bit(s->fs, path, 200));
    open_world(w);
    const struct meta_loader loader = {.arg = &n, .topic = note_topic};
    assert_int_equal(SL_OK, meta_load(w->meta, &loader, NULL));
    assert_int_equal(2, n);
    assert_int_equal(SL_OK, vfs_stat(w->vfs, path, &st)); /* kept */
    id = test_topic_id(6);
    paths__topic_dir(dir, "/data", &id);
    assert_int_equal(SL_OK, vfs_stat(w->vfs, dir, &st));
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
}

static void B05_deleted_topics_stay_away_and_folders_that_make_no_sense_are_kept(void **state)
{
    run_alone(several_topics);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!getenv("CRASH_LOG")) /* NOLINT(concurrency-mt-unsafe): there is one thread */
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(B04_any_damage_of_meta_db_loses_no_record),
        cmocka_unit_test(B04_any_damage_of_the_log_of_meta_db_loses_no_record),
        cmocka_unit_test(B04_any_damage_of_CURRENT_loses_no_record),
        cmocka_unit_test(B04_any_damage_of_topic_meta_loses_no_record),
        cmocka_unit_test(B04_any_damage_of_a_journal_file_loses_no_record_that_is_in_its_segment),
        cmocka_unit_test(B04_without_meta_db_everything_is_found_in_the_folders),
        cmocka_unit_test(B05_a_restored_meta_db_is_brought_up_to_date),
        cmocka_unit_test(B05_a_meta_db_from_before_a_rescue_loses_no_record),
        cmocka_unit_test(B04_offsets_of_a_log_that_retention_emptied_are_not_given_again),
        cmocka_unit_test(B05_deleted_topics_stay_away_and_folders_that_make_no_sense_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
