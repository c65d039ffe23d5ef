/* The rules of handles, checkpoints, CURRENT and recovery, one scene each. docs/storage-rules.md
 * names them. */
#include "storage/scene_for_test.h"

#include "base/log.h"

/* ---- handles ------------------------------------------------------------------------------ */

static void dirty_file(struct file_cache *cache, struct cached_file *f, const char *path)
{
    struct vfs_file *file = NULL;
    assert_int_equal(SL_OK, file_cache__pin(cache, f, path, VFS_WRITE | VFS_CREATE, &file));
    assert_int_equal(SL_OK, vfs_pwrite(file, "x", 1, 0));
    file_cache__wrote(cache, f, 1, 1);
    file_cache__unpin(cache, f);
}

struct syncer {
    struct file_cache *cache;
    struct cached_file *file;
    sl_err err;
};

static void sync_it(void *arg)
{
    struct syncer *s = arg;
    s->err = file_cache__sync(s->cache, s->file);
}

static void sync_twice(struct simfs *fs, sl_err expected)
{
    struct cached_file a = {0};
    struct file_cache *cache = file_cache__new(simfs_vfs(fs), 4, 0);
    struct syncer s[2] = {{cache, &a, SL_PENDING}, {cache, &a, SL_PENDING}};
    struct thread *threads[2];
    dirty_file(cache, &a, "/data/a");
    const struct simfs_fault fault = {.calls = SIMFS_SYNC, .n = 1, .err = SL_EIO};
    if (expected != SL_OK)
        simfs_set_fault(fs, &fault);
    uint64_t before = simfs_calls(fs, SIMFS_SYNC);
    for (int i = 0; i < 2; i++)
        assert_int_equal(SL_OK, thread_start("syncer", sync_it, &s[i], &threads[i]));
    for (int i = 0; i < 2; i++)
        thread_join(threads[i]);
    assert_int_equal(before + 1, simfs_calls(fs, SIMFS_SYNC));
    assert_int_equal(expected, s[0].err);
    assert_int_equal(expected, s[1].err);
    assert_int_equal(expected == SL_OK ? 1 : 0, a.synced_bytes);
    file_cache__forget(cache, &a);
    file_cache__free(cache);
}

static void sync_at_once(struct simfs *fs)
{
    sync_twice(fs, SL_OK);
    sync_twice(fs, SL_EIO);
}

static void P5_two_syncs_of_a_file_at_once_are_one_and_both_see_its_result(void **state)
{
    for (uint64_t seed = 1; seed < 20; seed++)
        play_seed(sync_at_once, seed);
}

enum { TOGETHER = 12, HOT = 4, FAILS = 7 };

static void sync_together(struct simfs *fs)
{
    struct cached_file files[TOGETHER] = {{.file = NULL}}, *all[TOGETHER];
    struct file_cache *cache = file_cache__new(simfs_vfs(fs), TOGETHER, 0);
    for (int i = 0; i < TOGETHER; i++) {
        char path[] = "/data/a";
        path[6] = (char)('a' + i);
        all[i] = &files[i];
        dirty_file(cache, &files[i], path);
        if (i == HOT) {
            assert_int_equal(SL_OK, file_cache__sync_group(cache, &files[i]));
            dirty_file(cache, &files[i], path);
            files[i].synced_bytes = 0; /* so that another sync shows */
        }
    }
    const struct simfs_fault fault = {.calls = SIMFS_SYNC, .n = FAILS, .err = SL_EIO};
    simfs_set_fault(fs, &fault);
    file_cache__sync_many(cache, all, TOGETHER);
    int fenced = 0;
    for (int i = 0; i < TOGETHER; i++) {
        fenced += files[i].fenced;
        assert_int_equal(i == HOT || files[i].fenced ? 0 : 1, files[i].synced_bytes);
    }
    assert_int_equal(1, fenced);
    uint64_t before = simfs_calls(fs, SIMFS_SYNC);
    file_cache__sync_many(cache, all, TOGETHER); /* nobody waited for the hot one since */
    assert_int_equal(before + 1, simfs_calls(fs, SIMFS_SYNC));
    assert_int_equal(1, files[HOT].synced_bytes);
    for (int i = 0; i < TOGETHER; i++)
        file_cache__forget(cache, &files[i]);
    file_cache__free(cache);
}

static void
P5_files_are_synced_together_without_the_hot_ones_and_each_has_its_own_result(void **state)
{
    play(sync_together);
}

static void close_dirty(struct simfs *fs)
{
    struct cached_file files[6] = {{.file = NULL}};
    struct file_cache *cache = file_cache__new(simfs_vfs(fs), 2, 0);
    for (int i = 0; i < 6; i++) {
        char path[] = "/data/0";
        path[6] = (char)('0' + i);
        dirty_file(cache, &files[i], path);
        assert_true(file_cache__open_count(cache) <= 2);
        for (int k = 0; k <= i; k++)
            assert_true(files[k].file || files[k].synced_bytes == 1); /* closed: synced before */
    }
    for (int i = 0; i < 6; i++)
        file_cache__forget(cache, &files[i]);
    file_cache__free(cache);
}

static void P5_a_handle_with_unsynced_bytes_is_never_closed(void **state)
{
    play(close_dirty);
}

enum { HOT_PARTS = 60, HOT_HANDLES = 12, HOT_ROUNDS = 5 };

/* Each append needs another handle: its sync comes in a sweep, at most one for each append, and no
 * checkpoint writes rows because of it. */
static void more_than_handles(struct simfs *fs)
{
    struct world *w = world_on(fs);
    w->cfg.open_files_max = HOT_HANDLES;
    w->cfg.checkpoint_ms = 1000000;
    open_world(w);
    make_topic(w, HOT_PARTS);
    struct log_part *parts[HOT_PARTS];
    for (uint32_t i = 0; i < HOT_PARTS; i++)
        parts[i] = open_part(w, i + 1, test_topic_cfg);
    uint64_t before = simfs_calls(fs, SIMFS_SYNC);
    for (int round = 0; round < HOT_ROUNDS; round++)
        for (uint32_t i = 0; i < HOT_PARTS; i++) {
            append_records(w, parts[i], 1, 100);
            assert_true(counters_of(w, parts[i]).open_files <= HOT_HANDLES + 1);
        }
    uint64_t syncs = simfs_calls(fs, SIMFS_SYNC) - before;
    uint64_t of_journal = (uint64_t)HOT_PARTS * HOT_ROUNDS + 10;
    assert_true(syncs <= 2 * of_journal);
    assert_int_equal(0, counters_of(w, parts[0]).checkpoints);
    struct simfs *image = simfs_image(fs, SIMFS_POWER_NONE, 1);
    end_world(w);
    w = world_on(image);
    open_world(w);
    for (uint32_t i = 0; i < HOT_PARTS; i++)
        assert_int_equal(HOT_ROUNDS, read_all(w, open_part(w, i + 1, test_topic_cfg), 0, 1 << 20));
    end_world(w);
    simfs_free(image);
}

static void with_more_hot_partitions_than_handles_syncs_come_in_sweeps(void **state)
{
    play(more_than_handles);
}

/* ---- CURRENT ------------------------------------------------------------------------------- */

struct slots {
    bool valid[2], clean[2];
    uint64_t counter[2], lsn[2];
};

static struct slots read_slots(struct world *w)
{
    struct slots s = {0};
    struct vfs_file *f = NULL;
    assert_int_equal(SL_OK, vfs_open(w->vfs, "/data/CURRENT", VFS_READ, &f));
    for (int i = 0; i < 2; i++) {
        uint8_t slot[CURRENT_SLOT_BYTES];
        assert_int_equal(SL_OK,
                         vfs_pread_full(f, slot, sizeof slot, (int64_t)i * CURRENT_SLOT_STRIDE));
        s.valid[i] = current__parse(slot, sizeof slot, &w->cfg.cluster_id, &s.counter[i], &s.lsn[i],
                                    &s.clean[i]) == SL_OK;
    }
    vfs_close(f);
    return s;
}

static void alternate(struct simfs *fs)
{
    struct world *w = new_data(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct slots s = read_slots(w);
    assert_true(s.valid[0] && s.valid[1]); /* from creation on */
    assert_int_equal(s.lsn[0], s.lsn[1]);
    int slot = -1;
    for (int i = 0; i < 6; i++) {
        append_many(w, p, 3);
        pass_ms(1500);
        s = read_slots(w);
        assert_true(s.valid[0] && s.valid[1]);
        assert_int_equal(1, s.counter[0] > s.counter[1] ? s.counter[0] - s.counter[1]
                                                        : s.counter[1] - s.counter[0]);
        int newest = s.counter[1] > s.counter[0];
        assert_true(s.lsn[newest] >= s.lsn[!newest]);
        slot = newest;
    }
    assert_true(slot >= 0);
    end_world(w);
}

static void the_slots_of_CURRENT_are_written_in_turn_and_valid_from_the_start(void **state)
{
    play(alternate);
}

static int32_t epoch_after(struct world *w)
{
    open_world(w);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    int32_t epoch = state_of(w, p).leader_epoch;
    assert_int_equal(5, read_all(w, p, 0, 1 << 20));
    assert_int_equal(SL_OK, close_world(w));
    return epoch;
}

static void flip_slot(struct simfs *fs, int slot)
{
    assert_int_equal(SL_OK, simfs_flip_bit(fs, "/data/CURRENT",
                                           ((uint64_t)slot * CURRENT_SLOT_STRIDE + 17) * 8));
}

/* Whichever slot is bad, both even: the start counts as unclean, and nothing is lost. */
static void bad_slots(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 5);
    assert_int_equal(SL_OK, close_world(w));
    assert_int_equal(0, epoch_after(w)); /* clean */
    flip_slot(fs, 0);
    assert_int_equal(1, epoch_after(w));
    flip_slot(fs, 1);
    assert_int_equal(2, epoch_after(w));
    assert_int_equal(2, epoch_after(w)); /* both are good again */
    flip_slot(fs, 0);
    flip_slot(fs, 1);
    assert_int_equal(3, epoch_after(w));
    free_world(w);
}

static void an_end_counts_as_clean_only_when_both_slots_are_valid(void **state)
{
    play(bad_slots);
}

/* A clean end, a start, and the power goes before anything is written. */
static void flag_cleared(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 5);
    assert_int_equal(SL_OK, close_world(w));
    open_world(w);
    struct simfs *image = simfs_image(fs, SIMFS_POWER_NONE, 1);
    end_world(w);
    w = world_on(image);
    struct slots s = read_slots(w);
    assert_true(s.valid[0] && s.valid[1] && !s.clean[0] && !s.clean[1]);
    assert_int_equal(s.lsn[0], s.lsn[1]); /* both name the new journal file */
    assert_int_equal(1, epoch_after(w));
    free_world(w);
    simfs_free(image);
}

static void
the_clean_flag_is_cleared_durably_and_both_slots_moved_before_the_first_append(void **state)
{
    play(flag_cleared);
}

/* ---- recovery -------------------------------------------------------------------------------- */

/* A direct group whose sync failed: the cache shows it, the disk does not have it. A recovery that
 * finds it shows it to readers, so it must be there after the power has gone, too. */
static void shown_by_cache(struct simfs *fs)
{
    struct world *w = world_on(fs);
    w->cfg.checkpoint_ms = 1000000;
    open_world(w);
    make_topic(w, 4);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 1, 300000);
    const struct simfs_fault fault = {
        .calls = SIMFS_SYNC, .n = 1, .more = 1000, .err = SL_EIO, .path_part = ".log"};
    simfs_set_fault(fs, &fault);
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 300000), LOG_DURABLE);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, append_finish(&c));
    struct simfs *killed = simfs_image(fs, SIMFS_KILL, 1);
    simfs_set_fault(fs, &(struct simfs_fault){0});
    (void)close_world(w);
    free_world(w);
    w = world_on(killed);
    open_world(w);
    int64_t shown = state_of(w, open_part(w, 1, test_topic_cfg)).high_watermark;
    struct simfs *dark = simfs_image(killed, SIMFS_POWER_NONE, 2);
    end_world(w);
    w = world_on(dark);
    open_world(w);
    p = open_part(w, 1, test_topic_cfg);
    assert_int_equal(shown, state_of(w, p).high_watermark);
    assert_int_equal(shown, read_all(w, p, 0, 1 << 20));
    end_world(w);
    simfs_free(dark);
    simfs_free(killed);
}

static void D7_what_a_recovery_accepts_is_written_again_and_synced(void **state)
{
    for (uint64_t seed = 1; seed < 12; seed++)
        play_seed(shown_by_cache, seed);
}

/* The power goes at once after a recovery, in which nothing was appended. */
static void again_and_again(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 5);
    struct simfs *now = simfs_image(fs, SIMFS_POWER_NONE, 1);
    end_world(w);
    for (uint64_t i = 0; i < 5; i++) {
        w = world_on(now);
        open_world(w);
        struct slots s = read_slots(w);
        assert_int_equal(s.lsn[0], s.lsn[1]);
        assert_int_equal(engine__of(w->engine)->completed_lsn, s.lsn[0]);
        assert_int_equal(5, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
        struct simfs *next = simfs_image(now, SIMFS_POWER_NONE, i);
        end_world(w);
        simfs_free(now);
        now = next;
    }
    simfs_free(now);
}

static void D8_a_recovery_begins_another_journal_file_and_moves_both_slots_to_it(void **state)
{
    play(again_and_again);
}

/* ---- what goes --------------------------------------------------------------------------------
 */

static bool is_there(struct world *w, const char *ext)
{
    char path[PATH_BYTES];
    struct vfs_stat st;
    segment_file(w, 1, 0, ext, path);
    return vfs_stat(w->vfs, path, &st) == SL_OK;
}

static void removal_order(struct simfs *fs)
{
    struct world *w = new_data(fs);
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 5000;
    cfg.file_delete_delay_ms = 60000;
    struct log_part *p = open_part(w, 1, cfg);
    append_many(w, p, 20);
    pass_ms(3000);
    const struct simfs_fault fault = {
        .calls = SIMFS_WRITE, .n = 1, .more = 20, .err = SL_ENOSPC, .path_part = "meta.db"};
    simfs_set_fault(fs, &fault);
    struct call c = {.part = p, .number = 20};
    call(w, &c, run_trim);
    assert_int_equal(SL_ENOSPC, c.done.err); /* the row stays: so does the file, under its name */
    pass_ms(100);
    assert_true(is_there(w, ".log"));
    simfs_set_fault(fs, &(struct simfs_fault){0});
    call(w, &c, run_trim);
    assert_int_equal(SL_OK, c.done.err);
    pass_ms(100);
    assert_false(is_there(w, ".log"));
    assert_true(is_there(w, ".log.deleted"));
    pass_ms(58000);
    assert_true(is_there(w, ".log.deleted"));
    pass_ms(5000);
    assert_false(is_there(w, ".log.deleted"));
    end_world(w);
}

static void a_segment_loses_its_row_then_its_name_and_its_bytes_after_the_delay(void **state)
{
    play(removal_order);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!getenv("CRASH_LOG"))
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(P5_two_syncs_of_a_file_at_once_are_one_and_both_see_its_result),
        cmocka_unit_test(
            P5_files_are_synced_together_without_the_hot_ones_and_each_has_its_own_result),
        cmocka_unit_test(P5_a_handle_with_unsynced_bytes_is_never_closed),
        cmocka_unit_test(with_more_hot_partitions_than_handles_syncs_come_in_sweeps),
        cmocka_unit_test(the_slots_of_CURRENT_are_written_in_turn_and_valid_from_the_start),
        cmocka_unit_test(an_end_counts_as_clean_only_when_both_slots_are_valid),
        cmocka_unit_test(
            the_clean_flag_is_cleared_durably_and_both_slots_moved_before_the_first_append),
        cmocka_unit_test(D7_what_a_recovery_accepts_is_written_again_and_synced),
        cmocka_unit_test(D8_a_recovery_begins_another_journal_file_and_moves_both_slots_to_it),
        cmocka_unit_test(a_segment_loses_its_row_then_its_name_and_its_bytes_after_the_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
