/* The rules of the commit path, one scene each: order, both paths, what fails with what, and what a
 * power cut finds behind each acknowledgement. docs/storage-rules.md names them. */
#include "storage/scene_for_test.h"

#include "base/log.h"

enum { LARGE = 300000 }; /* a record that takes the direct path */

static struct simfs_fault failing(unsigned calls, const char *path_part)
{
    return (struct simfs_fault){.calls = calls, .n = 1, .err = SL_EIO, .path_part = path_part};
}

/* Checkpoints only when something asks for one. */
static struct world *quiet_world(struct simfs *fs)
{
    struct world *w = world_on(fs);
    w->cfg.checkpoint_ms = 1000000;
    open_world(w);
    make_topic(w, 4);
    return w;
}

/* The machine crashes now; the world goes on in what it left, and the other one ends. */
static struct world *crash(struct simfs *fs, struct world *w, enum simfs_crash kind,
                           struct simfs **ret_image)
{
    *ret_image = simfs_image(fs, kind, 5);
    end_world(w);
    w = world_on(*ret_image);
    w->cfg.checkpoint_ms = 1000000;
    return w;
}

static int64_t size_of(struct world *w, uint64_t pid, int64_t base)
{
    char path[PATH_BYTES];
    struct vfs_stat st = {0};
    segment_file(w, pid, base, ".log", path);
    return vfs_stat(w->vfs, path, &st) == SL_OK ? st.size : -1;
}

/* ---- order -------------------------------------------------------------------------------- */

static void levels(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 1, 10);
    simfs_set_sync_time(fs, INT64_C(5000000000));
    struct call early = {0}, late = {0};
    append_start(w, &early, p, test_batch(CODEC_NONE, 1, 10), LOG_BUFFERED);
    append_start(w, &late, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    assert_int_equal(SL_OK, append_finish(&early));
    assert_false(late.finished);
    assert_int_equal(1, state_of(w, p).high_watermark); /* a crash could still take it back */
    assert_int_equal(SL_OK, append_finish(&late));
    assert_int_equal(1, early.append.base_offset);
    assert_int_equal(2, late.append.base_offset);
    assert_int_equal(3, state_of(w, p).high_watermark);
    simfs_set_sync_time(fs, 0);
    end_world(w);
}

static void BUFFERED_is_answered_before_the_sync_DURABLE_and_readers_wait_for_it(void **state)
{
    play(levels);
}

struct ordered {
    struct call call;
    int *counter, place;
};

static void note_place(struct log_append *a)
{
    struct ordered *o =
        SL_CONTAINER_OF(SL_CONTAINER_OF(a, struct call, append), struct ordered, call);
    o->place = (*o->counter)++;
    call_finish(&o->call);
}

static void run_ordered(struct call *c)
{
    c->append.done = note_place;
    log_append(c->w->engine, &c->append);
}

enum { ORDERED = 30 };

static void start_ordered(struct world *w, struct ordered *o, struct log_part *p, size_t bytes)
{
    o->call.batch.bytes = test_batch(CODEC_NONE, 1, bytes);
    assert_int_equal(SL_OK, batch_peek(o->call.batch.bytes, &o->call.batch.info));
    o->call.append = (struct log_append){
        .part = p, .batches = &o->call.batch, .n_batches = 1, .durability = LOG_DURABLE};
    call_start(w, &o->call, run_ordered);
}

static void in_submit_order(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct ordered *all = sl_new_array(struct ordered, ORDERED);
    int counter = 0;
    for (int i = 0; i < ORDERED; i++) {
        all[i].counter = &counter;
        start_ordered(w, &all[i], p, i % 7 == 3 ? LARGE : 100); /* either path */
    }
    for (int i = 0; i < ORDERED; i++) {
        assert_int_equal(SL_OK, append_finish(&all[i].call));
        assert_int_equal(i, all[i].place);
        assert_int_equal(i, all[i].call.append.base_offset);
    }
    sl_free(all);
    assert_int_equal(ORDERED, read_all(w, p, 0, 1 << 20));
    end_world(w);
}

static void appends_of_a_partition_complete_in_the_order_they_were_submitted(void **state)
{
    play(in_submit_order);
}

/* ---- paths -------------------------------------------------------------------------------- */

static void two_paths(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 1, 100);
    assert_int_equal(0, counters_of(w, p).direct_groups);
    append_records(w, p, 1, LARGE);
    assert_int_equal(1, counters_of(w, p).direct_groups);
    append_records(w, p, 1, 100);
    assert_int_equal(2, counters_of(w, p).journal_groups);
    struct simfs *image;
    w = crash(fs, w, SIMFS_POWER_NONE, &image);
    open_world(w);
    assert_int_equal(3, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
    end_world(w);
    simfs_free(image);
}

static void a_large_group_of_few_segments_is_synced_directly_others_by_the_journal(void **state)
{
    play(two_paths);
}

/* The journal cannot be written: what it would have named is in the segment already. */
static void segments_first(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 1, 100);
    int64_t before = size_of(w, 1, 0);
    const struct simfs_fault fault = failing(SIMFS_WRITE, ".jnl");
    simfs_set_fault(fs, &fault);
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 100), LOG_DURABLE);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, append_finish(&c));
    assert_int_equal(2 * before, size_of(w, 1, 0));
    pass_ms(10);
    assert_true(w->fatal);
    sim_stop(sim_current()); /* as the process would */
    sim_yield("stop", 0);
}

static void stop_scene(void (*fn)(struct simfs *fs))
{
    const struct sim_opts opts = {.seed = 7, .abandons = true};
    struct scene s = {.fs = simfs_new(), .play = fn};
    struct sim *sim = sim_new(&opts);
    assert_int_equal(SIM_STOPPED, sim_run(sim, play_scene, &s));
    sim_free(sim);
    simfs_free(s.fs);
}

static void a_segment_is_written_before_the_journal_names_its_bytes(void **state)
{
    stop_scene(segments_first);
}

/* Its rows cannot be written any more. */
static void lose_rows(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_records(w, open_part(w, 1, test_topic_cfg), 1, 100);
    const struct simfs_fault fault = failing(SIMFS_SYNC, "meta.db");
    simfs_set_fault(fs, &fault);
    pass_ms(3000); /* a checkpoint */
    assert_true(w->fatal);
    sim_stop(sim_current());
    sim_yield("stop", 0);
}

static void P5_a_failed_sync_of_the_metastore_ends_the_process(void **state)
{
    stop_scene(lose_rows);
}

/* More partitions than a transaction takes: a checkpoint that ends behind some of them leaves rows
 * of two checkpoints and the LSN of the older one. */
static void die_between_slices(struct simfs *fs)
{
    enum { DIRTY = 2 * CHECKPOINT_SLICE + 100, COMMITS = 4 };
    struct world *w = world_on(fs);
    w->cfg.checkpoint_ms = 1000000;
    open_world(w);
    make_topic(w, DIRTY);
    for (uint64_t i = 0; i < DIRTY; i++)
        append_records(w, open_part(w, i + 1, test_topic_cfg), 1, 10);
    /* The last of three slices and the LSN row; in one transaction there would be two commits. */
    const struct simfs_fault fault = {
        .calls = SIMFS_SYNC, .n = COMMITS - 1, .err = SL_EIO, .path_part = "meta.db"};
    simfs_set_fault(fs, &fault);
    checkpoint__request(engine__of(w->engine)->checkpoint);
    pass_ms(60000);
    assert_int_equal(1, simfs_faults_seen(fs));
    assert_true(w->fatal);
    struct simfs *image = simfs_image(fs, SIMFS_POWER, 5);
    struct world *after = world_on(image);
    open_world(after);
    for (uint64_t i = 0; i < DIRTY; i++)
        assert_int_equal(1,
                         state_of(after, open_part(after, i + 1, test_topic_cfg)).high_watermark);
    end_world(after);
    simfs_free(image);
    sim_stop(sim_current());
    sim_yield("stop", 0);
}

static void a_checkpoint_that_ends_between_its_slices_loses_nothing(void **state)
{
    stop_scene(die_between_slices);
}

/* ---- what fails ----------------------------------------------------------------------------- */

static void failed_write(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg), *other = open_part(w, 2, test_topic_cfg);
    append_records(w, p, 3, 100);
    int64_t before = size_of(w, 1, 0);
    uint64_t journal_end = journal__end_lsn(engine__of(w->engine)->journal);
    const struct simfs_fault fault = failing(SIMFS_WRITE, ".log");
    simfs_set_fault(fs, &fault);
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 2, 100), LOG_DURABLE);
    assert_int_equal(SL_EIO, append_finish(&c));
    assert_int_equal(before, size_of(w, 1, 0)); /* cut off again */
    assert_int_equal(3, state_of(w, p).log_end);
    assert_int_equal(journal_end, journal__end_lsn(engine__of(w->engine)->journal));
    append_records(w, other, 1, 100);
    assert_int_equal(3, append_records(w, p, 1, 50)); /* its offset again */
    struct simfs *image;
    w = crash(fs, w, SIMFS_POWER_NONE, &image);
    open_world(w);
    assert_int_equal(4, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
    end_world(w);
    simfs_free(image);
}

static void D5_an_append_that_could_not_be_written_is_cut_off_and_never_journaled(void **state)
{
    play(failed_write);
}

static void fail_behind(struct simfs *fs)
{
    struct world *w = world_on(fs);
    w->cfg.group_bytes_max = 2000; /* many groups */
    open_world(w);
    make_topic(w, 4);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 1, 100);
    const struct simfs_fault fault = failing(SIMFS_WRITE, ".log");
    simfs_set_fault(fs, &fault);
    struct call *calls = sl_new_array(struct call, ORDERED);
    for (int i = 0; i < ORDERED; i++)
        append_start(w, &calls[i], p, test_batch(CODEC_NONE, 1, 900), LOG_DURABLE);
    int failed = 0;
    int64_t next = 1;
    for (int i = 0; i < ORDERED; i++) {
        sl_err err = append_finish(&calls[i]);
        assert_true(err == SL_OK || err == SL_EIO);
        failed += err != SL_OK;
        if (err == SL_OK) /* those behind begin where the last good one ended */
            assert_int_equal(next++, calls[i].append.base_offset);
    }
    assert_true(failed > 1); /* not only the one whose write failed */
    sl_free(calls);
    assert_int_equal(next, read_all(w, p, 0, 1 << 20));
    end_world(w);
}

static void when_an_append_fails_all_that_was_planned_behind_it_fails_too(void **state)
{
    play(fail_behind);
}

static void direct_sync_fails(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 3, 100);
    const struct simfs_fault fault = failing(SIMFS_SYNC, ".log");
    simfs_set_fault(fs, &fault);
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, LARGE), LOG_DURABLE);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, append_finish(&c));
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    assert_int_equal(SL_EIO, append_finish(&c)); /* read-only, for now */
    assert_int_equal(3, state_of(w, p).high_watermark);
    pass_ms(3000);
    assert_int_equal(3, read_all(w, p, 0, 1 << 20));
    assert_int_equal(3, append_records(w, p, 1, 10));
    assert_true(counters_of(w, p).fenced_files == 1);
    struct simfs *image;
    w = crash(fs, w, SIMFS_POWER_NONE, &image);
    open_world(w);
    assert_int_equal(4, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
    end_world(w);
    simfs_free(image);
}

static void
F06_a_failed_direct_sync_is_unknown_and_read_only_until_a_new_segment_is_durable(void **state)
{
    play(direct_sync_fails);
}

/* ---- what the journal knows of direct groups ----------------------------------------------------
 */

/* A bit of a direct batch is wrong after a crash: below a known sync that is damage of one range,
 * not the torn end of the log. */
static void damaged_direct(struct simfs *fs, bool last, int64_t idle_ms)
{
    int64_t n = last ? 2 : 3;
    struct world *w = quiet_world(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 1, LARGE);
    int64_t one = size_of(w, 1, 0);
    append_records(w, p, 1, LARGE);
    if (!last)
        append_records(w, p, 1, 100); /* syncs the journal */
    pass_ms(idle_ms);
    struct simfs *image;
    w = crash(fs, w, SIMFS_POWER_NONE, &image);
    char path[PATH_BYTES];
    segment_file(w, 1, 0, ".log", path);
    assert_int_equal(SL_OK, simfs_flip_bit(image, path, (uint64_t)(1000 + (last ? one : 0)) * 8));
    open_world(w);
    p = open_part(w, 1, test_topic_cfg);
    assert_int_equal(n, state_of(w, p).high_watermark);
    struct call c = {0};
    assert_int_equal(SL_ECORRUPT, read_at(w, &c, p, last ? 1 : 0, 100));
    assert_int_equal(SL_OK, read_at(w, &c, p, last ? 0 : 1, 100));
    slice_unref(&c.read.data);
    assert_int_equal(n, append_records(w, p, 1, 10)); /* no offset is given twice */
    end_world(w);
    simfs_free(image);
}

static void first_direct(struct simfs *fs)
{
    damaged_direct(fs, false, 0);
}

static void last_direct(struct simfs *fs)
{
    damaged_direct(fs, true, 500);
}

static void a_direct_group_is_known_to_be_synced_from_the_one_behind_it(void **state)
{
    play(first_direct);
}

static void the_last_direct_group_is_covered_when_the_writer_is_idle(void **state)
{
    play(last_direct);
}

/* Nothing but large groups, and never a pause: the journal is synced all the same. */
static void only_direct(struct simfs *fs)
{
    enum { GROUPS = 60, DAMAGED = 5 };
    struct world *w = quiet_world(fs);
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 64 << 20;
    simfs_set_sync_time(fs, 1000);
    struct log_part *p = open_part(w, 1, cfg);
    int64_t one = 0;
    for (int i = 0; i < GROUPS; i++) {
        append_records(w, p, 1, LARGE);
        one = i == 0 ? size_of(w, 1, 0) : one;
    }
    struct simfs *image;
    w = crash(fs, w, SIMFS_POWER_NONE, &image);
    char path[PATH_BYTES];
    segment_file(w, 1, 0, ".log", path);
    assert_int_equal(SL_OK, simfs_flip_bit(image, path, (uint64_t)(1000 + DAMAGED * one) * 8));
    open_world(w);
    p = open_part(w, 1, cfg);
    struct call c = {0};
    assert_int_equal(SL_ECORRUPT, read_at(w, &c, p, DAMAGED, 100));
    assert_int_equal(SL_OK, read_at(w, &c, p, DAMAGED + 1, 100));
    slice_unref(&c.read.data);
    assert_int_equal(GROUPS, state_of(w, p).high_watermark);
    end_world(w);
    simfs_free(image);
}

static void the_journal_is_synced_after_16_MiB_of_direct_groups_without_a_pause(void **state)
{
    play(only_direct);
}

/* ---- roll --------------------------------------------------------------------------------- */

static void roll(struct simfs *fs)
{
    struct world *w = quiet_world(fs);
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 3000;
    struct log_part *p = open_part(w, 1, cfg);
    append_many(w, p, 4); /* the second segment begins at 2 or 3 */
    assert_int_equal(2, state_of(w, p).segments);
    int64_t base = part__active(p)->base_offset;
    int64_t old_bytes = size_of(w, 1, 0);
    struct simfs *image;
    w = crash(fs, w, SIMFS_POWER_NONE, &image);
    assert_int_equal(old_bytes, size_of(w, 1, 0)); /* before recovery: only what was synced */
    assert_true(size_of(w, 1, base) >= 0);
    open_world(w);
    assert_int_equal(4, read_all(w, open_part(w, 1, cfg), 0, 1 << 20));
    end_world(w);
    simfs_free(image);
}

static void B06_a_roll_is_durable_before_a_record_names_the_new_segment(void **state)
{
    play(roll);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!getenv("CRASH_LOG"))
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(BUFFERED_is_answered_before_the_sync_DURABLE_and_readers_wait_for_it),
        cmocka_unit_test(appends_of_a_partition_complete_in_the_order_they_were_submitted),
        cmocka_unit_test(a_large_group_of_few_segments_is_synced_directly_others_by_the_journal),
        cmocka_unit_test(a_segment_is_written_before_the_journal_names_its_bytes),
        cmocka_unit_test(P5_a_failed_sync_of_the_metastore_ends_the_process),
        cmocka_unit_test(a_checkpoint_that_ends_between_its_slices_loses_nothing),
        cmocka_unit_test(D5_an_append_that_could_not_be_written_is_cut_off_and_never_journaled),
        cmocka_unit_test(when_an_append_fails_all_that_was_planned_behind_it_fails_too),
        cmocka_unit_test(
            F06_a_failed_direct_sync_is_unknown_and_read_only_until_a_new_segment_is_durable),
        cmocka_unit_test(a_direct_group_is_known_to_be_synced_from_the_one_behind_it),
        cmocka_unit_test(the_last_direct_group_is_covered_when_the_writer_is_idle),
        cmocka_unit_test(the_journal_is_synced_after_16_MiB_of_direct_groups_without_a_pause),
        cmocka_unit_test(B06_a_roll_is_durable_before_a_record_names_the_new_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
