#include "storage/engine_for_test.h"

static void an_acknowledged_batch_is_read_at_its_offset(void **state)
{
    struct world *w = *state;
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    assert_int_equal(0, append_records(w, p, 3, 100));
    assert_int_equal(3, append_records(w, p, 2, 100));
    struct log_part_state s = state_of(w, p);
    assert_int_equal(0, s.log_start);
    assert_int_equal(5, s.high_watermark);
    assert_int_equal(5, s.log_end);
    assert_int_equal(5, read_all(w, p, 0, 1 << 20));
}

static void reads_outside_of_the_log_are_refused_exactly(void **state)
{
    struct world *w = *state;
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct call c = {0};
    append_records(w, p, 3, 10);
    assert_int_equal(SL_EOFFSET, read_at(w, &c, p, -1, 1000));
    assert_int_equal(SL_EOFFSET, read_at(w, &c, p, 4, 1000));
    assert_int_equal(SL_OK, read_at(w, &c, p, 3, 1000));
    assert_int_equal(0, c.read.data.len);
}

static void a_read_in_the_middle_starts_with_the_batch_that_holds_the_offset(void **state)
{
    struct world *w = *state;
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    for (int i = 0; i < 50; i++)
        append_records(w, p, 10, 300);
    for (int64_t offset = 0; offset < 500; offset += 7) {
        struct call c = {0};
        struct batch_info info;
        assert_int_equal(SL_OK, read_at(w, &c, p, offset, 1));
        assert_int_equal(SL_OK, batch_peek(c.read.data, &info));
        assert_true(info.base_offset <= offset && batch_last_offset(&info) >= offset);
        if (is_local()) /* others may make batches of their own */
            assert_int_equal(offset / 10 * 10, info.base_offset);
        assert_int_equal(c.read.data.len, info.bytes); /* bytes_max 1: one batch, whole */
        slice_unref(&c.read.data);
    }
}

static void B22_a_reader_that_goes_on_never_skips(void **state)
{
    struct world *w = *state;
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 20000;
    struct log_part *p = open_part(w, 1, cfg);
    for (int i = 0; i < 100; i++)
        append_records(w, p, 1 + i % 5, 50 + (size_t)i * 7);
    if (is_local())
        assert_true(state_of(w, p).segments > 3);
    for (uint32_t bytes_max = 1; bytes_max < 100000; bytes_max = bytes_max * 5 + 3)
        assert_int_equal(300, read_all(w, p, 0, bytes_max));
}

static void a_clean_restart_keeps_everything_and_the_leader_epoch(void **state)
{
    struct world *w = *state;
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 4000;
    struct log_part *p = open_part(w, 1, cfg);
    for (int i = 0; i < 20; i++)
        append_records(w, p, 5, 100);
    assert_int_equal(SL_OK, close_world(w));
    open_world(w);
    p = open_part(w, 1, cfg);
    struct log_part_state s = state_of(w, p);
    assert_int_equal(100, s.high_watermark);
    assert_int_equal(0, s.leader_epoch);
    assert_int_equal(100, read_all(w, p, 0, 1 << 20));
    assert_int_equal(100, append_records(w, p, 1, 10));
    assert_int_equal(101, read_all(w, p, 0, 1 << 20));
}

static void B01_what_was_acknowledged_survives_kill_9(void **state)
{
    struct world *w = *state;
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct log_part *q = open_part(w, 2, test_topic_cfg);
    for (int i = 0; i < 30; i++) {
        append_records(w, p, 5, 100);
        append_records(w, q, 2, 1000);
    }
    crash_and_reopen(w);
    p = open_part(w, 1, test_topic_cfg);
    q = open_part(w, 2, test_topic_cfg);
    assert_int_equal(150, read_all(w, p, 0, 1 << 20));
    assert_int_equal(60, read_all(w, q, 0, 1 << 20));
    assert_int_equal(150, append_records(w, p, 1, 10));
}

static void the_leader_epoch_rises_at_a_start_that_was_not_clean(void **state)
{
    struct world *w = *state;
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_records(w, p, 5, 100);
    crash_and_reopen(w);
    p = open_part(w, 1, test_topic_cfg);
    assert_int_equal(1, state_of(w, p).leader_epoch);
    append_records(w, p, 5, 100);
    crash_and_reopen(w);
    p = open_part(w, 1, test_topic_cfg);
    assert_int_equal(2, state_of(w, p).leader_epoch);
    int32_t epoch;
    int64_t end;
    assert_int_equal(SL_OK, log_epoch_end(w->engine, p, 0, &epoch, &end));
    assert_int_equal(0, epoch);
    assert_int_equal(5, end);
    assert_int_equal(SL_OK, log_epoch_end(w->engine, p, 1, &epoch, &end));
    assert_int_equal(1, epoch);
    assert_int_equal(10, end);
    assert_int_equal(SL_ELEADER_UNKNOWN, log_epoch_end(w->engine, p, 3, &epoch, &end));
}

enum { MANY = 100, FEW_FILES = 16 };

static int setup_many(void **state)
{
    struct world *w = new_world();
    w->cfg.open_files_max = FEW_FILES;
    w->cfg.checkpoint_ms = 300;
    open_world(w);
    make_topic(w, MANY);
    *state = w;
    return 0;
}

/* All partitions append in one turn, round after round: handles go round while groups are open. */
static void many_partitions_share_few_open_files(void **state)
{
    struct world *w = *state;
    struct log_part **parts = sl_new_array(struct log_part *, MANY);
    struct call *calls = sl_new_array(struct call, MANY);
    for (int i = 0; i < MANY; i++)
        parts[i] = open_part(w, (uint64_t)i + 1, test_topic_cfg);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < MANY; i++)
            append_start(w, &calls[i], parts[i], test_batch(CODEC_NONE, 1, 100), LOG_DURABLE);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(SL_OK, append_finish(&calls[i]));
            assert_int_equal(round, calls[i].append.base_offset);
        }
    }
    for (int i = 0; i < MANY; i++)
        assert_int_equal(4, read_all(w, parts[i], 0, 1 << 20));
    if (is_local())
        assert_true(counters_of(w, parts[0]).open_files <= FEW_FILES);
    crash_and_reopen(w);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(4, read_all(w, open_part(w, (uint64_t)i + 1, test_topic_cfg), 0, 1 << 20));
    sl_free(parts);
    sl_free(calls);
}

static void an_idle_partition_needs_little_memory(void **state)
{
    print_message("# partition %zu bytes, segment %zu bytes\n", sizeof(struct log_part),
                  sizeof(struct segment));
    assert_true(sizeof(struct log_part) + sizeof(struct segment) < 1200);
}

static sl_err count_name(void *arg, const char *name)
{
    (*(size_t *)arg)++;
    return SL_OK;
}

static size_t journal_files(struct world *w)
{
    char dir[PATH_MAX];
    size_t n = 0;
    (void)snprintf(dir, sizeof dir, "%s/journal", w->dir);
    assert_int_equal(SL_OK, vfs_list_dir(w->vfs, dir, count_name, &n));
    return n;
}

static void B06_crash_after_crash_makes_no_more_journal_files(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 12; i++) {
        struct log_part *p = open_part(w, 1, test_topic_cfg);
        assert_int_equal(i, append_records(w, p, 1, 100));
        crash_and_reopen(w);
    }
    assert_int_equal(12, read_all(w, open_part(w, 1, test_topic_cfg), 0, 1 << 20));
    assert_true(journal_files(w) <= 5); /* the first four, and one while none was free */
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(an_acknowledged_batch_is_read_at_its_offset),
        CASE(reads_outside_of_the_log_are_refused_exactly),
        CASE(a_read_in_the_middle_starts_with_the_batch_that_holds_the_offset),
        CASE(B22_a_reader_that_goes_on_never_skips),
        CASE(a_clean_restart_keeps_everything_and_the_leader_epoch),
        CASE(B01_what_was_acknowledged_survives_kill_9),
        CASE(the_leader_epoch_rises_at_a_start_that_was_not_clean),
        cmocka_unit_test_setup_teardown(many_partitions_share_few_open_files, setup_many,
                                        world_teardown),
        CASE(B06_crash_after_crash_makes_no_more_journal_files), /* of local: from here on */
        cmocka_unit_test(an_idle_partition_needs_little_memory),
    };
    choose_engine(argc, argv);
    return run_suite(tests, SL_ARRAY_LEN(tests), 2);
}
