/* Troubles that meet: a full disk and a crowd, a fenced file and a drop, a lost folder, a clock
 * that goes back over a crash. On simulated files, time and threads. */
#include "storage/scene_for_test.h"

#include "base/log.h"

/* ---- a full disk -------------------------------------------------------------------------- */

struct crowd {
    struct call call;
    struct call *appends;
    int n;
};

static void run_crowd(struct call *c)
{
    struct crowd *crowd = SL_CONTAINER_OF(c, struct crowd, call);
    for (int i = 0; i < crowd->n; i++) {
        crowd->appends[i].append.done = on_appended;
        log_append(c->w->engine, &crowd->appends[i].append);
    }
    call_finish(c);
}

/* All in one turn of the core loop: the result of each must be `expected`. */
static void append_crowd(struct world *w, struct log_part *p, sl_err expected)
{
    struct call appends[3] = {0};
    struct crowd crowd = {.appends = appends, .n = SL_ARRAY_LEN(appends)};
    for (int i = 0; i < crowd.n; i++) {
        struct call *c = &appends[i];
        c->w = w;
        c->batch.bytes = test_batch(CODEC_NONE, 1, 10);
        assert_int_equal(SL_OK, batch_peek(c->batch.bytes, &c->batch.info));
        c->append = (struct log_append){
            .part = p, .batches = &c->batch, .n_batches = 1, .durability = LOG_DURABLE};
    }
    call(w, &crowd.call, run_crowd);
    for (int i = 0; i < crowd.n; i++)
        assert_int_equal(expected, append_finish(&appends[i]));
}

static void full_at_start(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 20);
    struct simfs *image = simfs_image(fs, SIMFS_KILL, 3);
    end_world(w);
    w = world_on(image);
    w->cfg.journal_files_max = 1;
    simfs_set_capacity(image, simfs_used_bytes(image) + (500 << 10));
    open_world(w);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_crowd(w, p, SL_ENOSPC);
    simfs_set_capacity(image, 0);
    pass_ms(5000);
    append_crowd(w, p, SL_OK);
    assert_int_equal(23, read_all(w, p, 0, 1 << 20));
    end_world(w);
    simfs_free(image);
}

static void B07_several_appends_at_once_are_refused_without_a_journal(void **state)
{
    play(full_at_start);
}

/* ---- a fenced file ------------------------------------------------------------------------- */

/* Every sync of segments fails: the rescue cannot succeed, and would keep the journal for ever. */
static void drop_fenced(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 3);
    const struct simfs_fault fault = {
        .calls = SIMFS_SYNC, .n = 1, .more = 1000000, .err = SL_EIO, .path_part = ".log"};
    simfs_set_fault(fs, &fault);
    pass_ms(5000);
    assert_int_equal(1, engine__of(w->engine)->unrescued);
    struct call c = {0};
    call(w, &c, run_drop);
    assert_int_equal(SL_OK, c.done.err);
    pass_ms(5000);
    assert_int_equal(0, engine__of(w->engine)->unrescued);
    uint64_t before = checkpoint__count(engine__of(w->engine)->checkpoint);
    pass_ms(5000);
    assert_true(checkpoint__count(engine__of(w->engine)->checkpoint) > before);
    end_world(w);
}

static void F06_a_drop_ends_the_rescue_of_a_fenced_file(void **state)
{
    play(drop_fenced);
}

enum { CROWDED_PARTS = 6, CROWDED_ROUNDS = 20 };

/* More than the journal's two files hold is under way when a sync of the checkpoint fails: what the
 * fenced file waits for must get through, although no journal file becomes free before. */
static void fence_behind_full_journal(struct simfs *fs)
{
    struct world *w = world_on(fs);
    w->cfg.journal_files_max = 2;
    w->cfg.group_bytes_max = 1 << 20;
    w->cfg.checkpoint_ms = 30000;
    open_world(w);
    make_topic(w, CROWDED_PARTS);
    struct log_part *parts[CROWDED_PARTS];
    for (uint32_t i = 0; i < CROWDED_PARTS; i++)
        parts[i] = open_part(w, i + 1, test_topic_cfg);
    const struct simfs_fault fault = {
        .calls = SIMFS_SYNC, .n = 1, .err = SL_EIO, .path_part = ".log"};
    simfs_set_fault(fs, &fault);
    struct call *calls = sl_new_array(struct call, CROWDED_PARTS * CROWDED_ROUNDS);
    for (int i = 0; i < CROWDED_PARTS * CROWDED_ROUNDS; i++)
        append_start(w, &calls[i], parts[i % CROWDED_PARTS], test_batch(CODEC_NONE, 1, 60000),
                     LOG_DURABLE);
    pass_ms(20000);
    for (int i = 0; i < CROWDED_PARTS * CROWDED_ROUNDS; i++) {
        assert_true(calls[i].finished);
        (void)append_finish(&calls[i]);
    }
    assert_int_equal(1, simfs_faults_seen(fs));
    pass_ms(5000);
    for (uint32_t i = 0; i < CROWDED_PARTS; i++)
        append_records(w, parts[i], 1, 10);
    sl_free(calls);
    end_world(w);
}

static void F06_a_fenced_file_does_not_wait_for_a_journal_that_waits_for_it(void **state)
{
    play(fence_behind_full_journal);
}

/* What was appended since the last checkpoint is not in the rows of a topic that is half gone. */
static void drop_fails(struct simfs *fs)
{
    struct world *w = world_on(fs);
    w->cfg.checkpoint_ms = 1000000;
    open_world(w);
    make_topic(w, 4);
    append_many(w, open_part(w, 1, test_topic_cfg), 20);
    const struct simfs_fault fault = {.calls = SIMFS_ALL & ~(unsigned)SIMFS_READ,
                                      .n = 1,
                                      .err = SL_EIO,
                                      .path_part = "topic.meta"};
    simfs_set_fault(fs, &fault);
    struct call c = {0};
    call(w, &c, run_drop);
    assert_int_equal(SL_EIO, c.done.err);
    (void)close_world(w);
    open_world(w);
    assert_int_equal(20, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
    assert_int_equal(20, append_records(w, open_part(w, 1, test_topic_cfg), 1, 10));
    end_world(w);
}

static void B05_a_topic_whose_drop_failed_is_whole_after_a_restart(void **state)
{
    play(drop_fails);
}

/* ---- handles ------------------------------------------------------------------------------- */

struct opener {
    struct file_cache *cache;
    struct cached_file file;
};

static void open_one_more(void *arg)
{
    struct opener *o = arg;
    struct vfs_file *f = NULL;
    SL_ASSERT(file_cache__pin(o->cache, &o->file, "/data/c", VFS_WRITE | VFS_CREATE, &f) == SL_OK);
    file_cache__unpin(o->cache, &o->file);
}

static void make_dirty(struct file_cache *cache, struct cached_file *f, const char *path)
{
    struct vfs_file *file = NULL;
    assert_int_equal(SL_OK, file_cache__pin(cache, f, path, VFS_WRITE | VFS_CREATE, &file));
    assert_int_equal(SL_OK, vfs_pwrite(file, "x", 1, 0));
    file_cache__wrote(cache, f, 1, 1);
    file_cache__unpin(cache, f);
}

/* A third file needs room; the dirty ones are cleaned for that, and their owner lets them go. */
static void forget_after(struct simfs *fs, int64_t delay_us)
{
    struct cached_file a = {0}, b = {0};
    struct opener o = {.cache = file_cache__new(simfs_vfs(fs), 2, UINT64_MAX)};
    make_dirty(o.cache, &a, "/data/a");
    make_dirty(o.cache, &b, "/data/b");
    struct thread *t = NULL;
    assert_int_equal(SL_OK, thread_start("opener", open_one_more, &o, &t));
    sim_sleep_ns(delay_us * 1000);
    file_cache__forget(o.cache, &b);
    file_cache__forget(o.cache, &a);
    thread_join(t);
    file_cache__forget(o.cache, &o.file);
    file_cache__free(o.cache);
}

static void forget_while_cleaned(struct simfs *fs)
{
    simfs_set_sync_time(fs, 1000000);
    for (int64_t us = 0; us < 2000; us += 100)
        forget_after(fs, us);
}

static void a_file_is_forgotten_while_another_thread_cleans_handles(void **state)
{
    play(forget_while_cleaned);
}

/* The sync failed between the writer's look at the fence and the end of its write. */
static void write_to_fenced(struct simfs *fs)
{
    struct cached_file a = {0}, b = {0};
    struct file_cache *cache = file_cache__new(simfs_vfs(fs), 1, UINT64_MAX);
    struct vfs_file *file = NULL;
    assert_int_equal(SL_OK, file_cache__pin(cache, &a, "/data/a", VFS_WRITE | VFS_CREATE, &file));
    file_cache__fence(cache, &a);
    file_cache__wrote(cache, &a, 1, 1);
    file_cache__unpin(cache, &a);
    assert_int_equal(SL_EIO, file_cache__sync(cache, &a));
    assert_false(a.dirty); /* a handle that can never become clean would be tried for ever */
    make_dirty(cache, &b, "/data/b");
    assert_int_equal(1, file_cache__open_count(cache));
    file_cache__forget(cache, &a);
    file_cache__forget(cache, &b);
    file_cache__free(cache);
}

static void F06_a_fenced_file_is_never_dirty_again(void **state)
{
    play(write_to_fenced);
}

/* ---- what somebody removed ------------------------------------------------------------------ */

static void lose_segment(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 3);
    assert_int_equal(SL_OK, close_world(w));
    char path[PATH_BYTES];
    segment_file(w, 1, 0, ".log", path);
    assert_int_equal(SL_OK, vfs_unlink(w->vfs, path));
    open_world(w);
    struct call c = {0};
    assert_int_equal(SL_EIO, read_at(w, &c, open_part(w, 1, test_topic_cfg), 0, 1000));
    end_world(w);
}

static void F20_a_removed_segment_is_an_error_of_the_disk_to_its_readers(void **state)
{
    play(lose_segment);
}

static void lose_topic_folder(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 3);
    struct simfs *image = simfs_image(fs, SIMFS_KILL, 3);
    end_world(w);
    w = world_on(image);
    char dir[PATH_BYTES];
    struct uuid id = test_topic_id(1);
    paths__topic_dir(dir, w->dir, &id);
    assert_int_equal(SL_OK, paths__remove_tree(w->vfs, dir));
    assert_int_equal(SL_OK, try_open(w));
    assert_int_equal(3, append_records(w, open_part(w, 1, test_topic_cfg), 1, 10));
    end_world(w);
    simfs_free(image);
}

static void F20_a_removed_topic_folder_stops_no_start(void **state)
{
    play(lose_topic_folder);
}

/* ---- clocks --------------------------------------------------------------------------------- */

static int64_t append_stamped(struct world *w, struct log_part *p)
{
    struct call c = {.append = {.append_time = true}};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    assert_int_equal(SL_OK, append_finish(&c));
    return c.append.log_append_ms;
}

static void clock_back_over_crash(struct simfs *fs)
{
    struct world *w = new_data(fs);
    w->clock.wall_ms = 5000000;
    assert_int_equal(5000000, append_stamped(w, open_part(w, 1, test_topic_cfg)));
    struct simfs *image = simfs_image(fs, SIMFS_KILL, 3);
    end_world(w);
    w = world_on(image);
    w->clock.wall_ms = 4000000;
    open_world(w);
    assert_int_equal(5000000, append_stamped(w, open_part(w, 1, test_topic_cfg)));
    end_world(w);
    simfs_free(image);
}

static void F09_log_append_time_does_not_go_back_over_a_crash(void **state)
{
    play(clock_back_over_crash);
}

/* ---- a disk that stalls --------------------------------------------------------------------- */

static void run_abandon(struct call *c)
{
    log_abandon(c->w->engine, &c->append);
    call_finish(c);
}

static struct slice idempotent_batch(int32_t sequence)
{
    struct slice batch = test_batch(CODEC_NONE, 3, 10);
    uint8_t *bytes = test_batch_bytes(batch);
    put_be64(bytes + BATCH_PRODUCER_ID, 5);
    put_be16(bytes + BATCH_PRODUCER_EPOCH, 0);
    put_be32(bytes + BATCH_BASE_SEQUENCE, (uint32_t)sequence);
    test_batch_seal(bytes, batch.len);
    return batch;
}

static void abandon_stalled(struct simfs *fs)
{
    struct world *w = new_data(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct call first = {0}, abandoned = {0}, repeat = {0};
    append_records(w, p, 7, 10);
    simfs_set_sync_time(fs, INT64_C(10000000000));
    append_start(w, &first, p, idempotent_batch(0), LOG_DURABLE);
    pass_ms(1);
    assert_false(first.finished);
    call(w, &first, run_abandon);
    slice_unref(&first.batch.bytes);
    memset(&first, 0xee, sizeof first); /* the engine does not look at it again */
    append_start(w, &repeat, p, idempotent_batch(0), LOG_DURABLE);
    pass_ms(1);
    assert_false(repeat.finished);
    assert_int_equal(7, state_of(w, p).high_watermark);
    assert_int_equal(SL_OK, append_finish(&repeat));
    assert_true(repeat.append.duplicate);
    assert_int_equal(7, repeat.append.base_offset);
    assert_int_equal(10, state_of(w, p).high_watermark);
    append_start(w, &abandoned, p, idempotent_batch(3), LOG_DURABLE);
    pass_ms(1);
    call(w, &abandoned, run_abandon); /* and nobody asks again before the end */
    slice_unref(&abandoned.batch.bytes);
    end_world(w);
}

static void F08_an_abandoned_append_goes_on_and_its_repeat_gets_its_offset(void **state)
{
    play(abandon_stalled);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(B07_several_appends_at_once_are_refused_without_a_journal),
        cmocka_unit_test(F06_a_drop_ends_the_rescue_of_a_fenced_file),
        cmocka_unit_test(F06_a_fenced_file_does_not_wait_for_a_journal_that_waits_for_it),
        cmocka_unit_test(B05_a_topic_whose_drop_failed_is_whole_after_a_restart),
        cmocka_unit_test(a_file_is_forgotten_while_another_thread_cleans_handles),
        cmocka_unit_test(F06_a_fenced_file_is_never_dirty_again),
        cmocka_unit_test(F20_a_removed_segment_is_an_error_of_the_disk_to_its_readers),
        cmocka_unit_test(F20_a_removed_topic_folder_stops_no_start),
        cmocka_unit_test(F08_an_abandoned_append_goes_on_and_its_repeat_gets_its_offset),
        cmocka_unit_test(F09_log_append_time_does_not_go_back_over_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
