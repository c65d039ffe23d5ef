/* What is left behind when things go wrong half way: index files, epochs, journal files, waits. On
 * simulated files, time and threads. */
#include "storage/scene_for_test.h"

#include "base/log.h"
#include "storage/journal_format_int.h"

/* ---- a trim and a rescue that does not end -------------------------------------------------- */

static void trim_behind_rescue(struct simfs *fs)
{
    struct world *w = new_data(fs);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_many(w, p, 5);
    const struct simfs_fault fault = {
        .calls = SIMFS_SYNC, .n = 1, .more = 1000000, .err = SL_EIO, .path_part = ".log"};
    simfs_set_fault(fs, &fault);
    pass_ms(3000);
    assert_int_equal(1, engine__of(w->engine)->unrescued);
    struct call c = {.part = p, .number = 2};
    int64_t before_ms = clock_monotonic_ms(&w->clock.clock);
    call(w, &c, run_trim);
    assert_int_equal(SL_ETIMEDOUT, c.done.err);
    assert_true(clock_monotonic_ms(&w->clock.clock) - before_ms < 10000);
    assert_int_equal(0, state_of(w, p).log_start); /* nothing happened */
    simfs_set_fault(fs, &(struct simfs_fault){0});
    pass_ms(3000);
    call(w, &c, run_trim);
    assert_int_equal(SL_OK, c.done.err);
    assert_int_equal(2, state_of(w, p).log_start);
    end_world(w);
}

static void F06_a_trim_does_not_wait_for_ever_for_a_rescue(void **state)
{
    play(trim_behind_rescue);
}

/* ---- index files ---------------------------------------------------------------------------- */

struct count {
    const char *suffix;
    int n;
};

static void count_file(void *arg, const char *path, int64_t size)
{
    struct count *c = arg;
    size_t n = strlen(path), m = strlen(c->suffix);
    c->n += n > m && strcmp(path + n - m, c->suffix) == 0;
}

static int files_with(const struct simfs *fs, const char *suffix)
{
    struct count c = {.suffix = suffix};
    simfs_each_file(fs, count_file, &c);
    return c.n;
}

/* The process is killed within the delay in which removed segments keep their files. */
static void index_leftovers(struct simfs *fs)
{
    struct world *w = new_data(fs);
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 20000;
    cfg.index_interval_bytes = 1000;
    cfg.file_delete_delay_ms = 60000;
    struct log_part *p = open_part(w, 1, cfg);
    append_many(w, p, 100);
    pass_ms(3000); /* a checkpoint writes the indexes */
    struct call c = {.part = p, .number = 100};
    call(w, &c, run_trim);
    assert_int_equal(SL_OK, c.done.err);
    pass_ms(100);
    assert_true(files_with(fs, ".deleted") > 2);
    struct simfs *image = simfs_image(fs, SIMFS_KILL, 3);
    end_world(w);
    w = world_on(image);
    open_world(w);
    assert_int_equal(0, files_with(image, ".deleted"));
    int logs = files_with(image, ".log");
    assert_true(files_with(image, ".idx") <= logs);
    assert_true(files_with(image, ".tix") <= logs);
    assert_int_equal(100, append_records(w, open_part(w, 1, cfg), 1, 10));
    end_world(w);
    simfs_free(image);
}

static void index_files_of_removed_segments_go_after_a_crash(void **state)
{
    play(index_leftovers);
}

/* ---- leader epochs -------------------------------------------------------------------------- */

static sl_err count_epoch(void *arg, const struct meta_leader_epoch *row)
{
    int *n = arg;
    *n += row->pid == 1;
    return SL_OK;
}

static int epoch_rows(struct world *w)
{
    int n = 0;
    const struct meta_loader loader = {.arg = &n, .leader_epoch = count_epoch};
    assert_int_equal(SL_OK, meta_load(w->meta, &loader, NULL));
    return n;
}

/* Six unclean starts; in two of the lives between something is written. */
static void epochs(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 3);
    struct simfs *now = simfs_image(fs, SIMFS_KILL, 1);
    end_world(w);
    for (int i = 0; i < 6; i++) {
        w = world_on(now);
        open_world(w);
        struct log_part *p = open_part(w, 1, test_topic_cfg);
        assert_int_equal(i + 1, state_of(w, p).leader_epoch);
        if (i == 2 || i == 4)
            append_many(w, p, 2);
        assert_true(epoch_rows(w) <= 3);
        struct simfs *next = simfs_image(now, SIMFS_POWER, (uint64_t)i);
        if (i == 5)
            assert_int_equal(3, epoch_rows(w)); /* from 3, from 5, from 7 */
        end_world(w);
        simfs_free(now);
        now = next;
    }
    simfs_free(now);
}

static void an_epoch_in_which_nothing_was_written_leaves_no_row(void **state)
{
    play(epochs);
}

/* ---- a journal that begins late ---------------------------------------------------------------
 */

/* Space for a journal file comes back, but for a while none for the LSN row. */
static void late_journal(struct simfs *fs)
{
    struct world *w = new_data(fs);
    append_many(w, open_part(w, 1, test_topic_cfg), 20);
    struct simfs *image = simfs_image(fs, SIMFS_KILL, 3);
    end_world(w);
    w = world_on(image);
    w->cfg.journal_files_max = 1;
    simfs_set_capacity(image, simfs_used_bytes(image) + (500 << 10));
    open_world(w);
    struct local_engine *e = engine__of(w->engine);
    assert_true(atomic_load(&e->needs_journal));
    size_t files = e->journal->n_files;
    simfs_set_capacity(image, 0);
    const struct simfs_fault fault = {
        .calls = SIMFS_WRITE, .n = 1, .more = 5, .err = SL_ENOSPC, .path_part = "meta.db"};
    simfs_set_fault(image, &fault);
    pass_ms(20000);
    assert_true(simfs_faults_seen(image) > 2);
    assert_false(atomic_load(&e->needs_journal));
    assert_true(e->journal->n_files <= files + 1);
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_many(w, p, 3);
    struct simfs *later = simfs_image(image, SIMFS_POWER_NONE, 4);
    end_world(w);
    w = world_on(later);
    open_world(w);
    assert_int_equal(23, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
    end_world(w);
    simfs_free(later);
    simfs_free(image);
}

static void
B07_a_journal_that_begins_late_takes_one_file_and_keeps_what_is_acknowledged(void **state)
{
    play(late_journal);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!getenv("CRASH_LOG"))
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F06_a_trim_does_not_wait_for_ever_for_a_rescue),
        cmocka_unit_test(index_files_of_removed_segments_go_after_a_crash),
        cmocka_unit_test(an_epoch_in_which_nothing_was_written_leaves_no_row),
        cmocka_unit_test(
            B07_a_journal_that_begins_late_takes_one_file_and_keeps_what_is_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
