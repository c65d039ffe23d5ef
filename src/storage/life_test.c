/* What happens to a log beside appends and reads: retention, trim, drop, look-ups, disk full. On
 * simulated files and time, so that days pass at once. */
#include "storage/engine_for_test.h"

#include "base/log.h"
#include "sim/sim.h"
#include "sim/simfs.h"

struct scene {
    struct simfs *fs;
    struct world *w;
    void (*play)(struct world *w);
    bool done;
};

static struct simfs *scene_fs; /* of the test that runs */

static void play_scene(void *arg)
{
    struct scene *s = arg;
    SL_ASSERT(vfs_ensure_dir(simfs_vfs(s->fs), "/data") == SL_OK);
    struct world *w =
        new_world_on(simfs_vfs(s->fs), "/data", sim_clock(sim_current()), sim_rng(sim_current()));
    w->cfg.journal_file_bytes = 2 << 20;
    w->cfg.checkpoint_ms = 1000;
    open_world(w);
    make_topic(w, 4);
    s->play(w);
    SL_ASSERT(close_world(w) == SL_OK);
    free_world(w);
    s->done = true;
}

static void play(void (*fn)(struct world *w))
{
    const struct sim_opts opts = {.seed = 7};
    struct scene s = {.fs = simfs_new(), .play = fn};
    struct sim *sim = sim_new(&opts);
    scene_fs = s.fs;
    assert_int_equal(SIM_RETURNED, sim_run(sim, play_scene, &s));
    assert_true(s.done);
    sim_free(sim);
    simfs_free(s.fs);
}

static void pass_ms(int64_t ms)
{
    sim_sleep_ns(ms * 1000000);
}

static struct log_topic_cfg small_segments(void)
{
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 5000;
    return cfg;
}

static void append_many(struct world *w, struct log_part *p, int n)
{
    for (int i = 0; i < n; i++)
        append_records(w, p, 1, 900);
}

/* ---- retention --------------------------------------------------------------------------- */

static void size_drops_the_oldest(struct world *w)
{
    struct log_topic_cfg cfg = small_segments();
    cfg.retention_bytes = 12000;
    struct log_part *p = open_part(w, 1, cfg);
    append_many(w, p, 50);
    pass_ms(10000);
    struct log_part_state s = state_of(w, p);
    assert_true(s.log_start > 30);
    assert_true(s.bytes >= 12000 && s.bytes < 12000 + 2 * 5000);
    assert_int_equal(50, s.high_watermark);
    assert_int_equal(50 - s.log_start, read_all(w, p, s.log_start, 1 << 20));
    struct call c = {0};
    assert_int_equal(SL_EOFFSET, read_at(w, &c, p, s.log_start - 1, 100));
    if (!is_local())
        return;
    char path[PATH_BYTES];
    struct vfs_stat st;
    segment_file(w, 1, 0, ".log", path);
    assert_int_equal(SL_ENOTFOUND, vfs_stat(w->vfs, path, &st));
    segment_file(w, 1, 0, ".log.deleted", path);
    assert_int_equal(SL_ENOTFOUND, vfs_stat(w->vfs, path, &st));
}

static void retention_by_size_drops_the_oldest_segments_whole(void **state)
{
    play(size_drops_the_oldest);
}

static void time_drops_everything(struct world *w)
{
    struct log_topic_cfg cfg = small_segments();
    cfg.retention_ms = 60000;
    struct log_part *p = open_part(w, 1, cfg);
    append_many(w, p, 20);
    pass_ms(30000);
    assert_int_equal(0, state_of(w, p).log_start);
    append_many(w, p, 1);
    pass_ms(40000); /* the first ones are old, the last one is not */
    struct log_part_state s = state_of(w, p);
    assert_true(s.log_start > 0);
    assert_true(s.log_start <= 20);
    pass_ms(200000); /* a quiet partition's last segment goes, too */
    s = state_of(w, p);
    assert_int_equal(21, s.log_start);
    assert_int_equal(21, s.high_watermark);
    assert_int_equal(0, s.bytes);
    assert_int_equal(21, append_records(w, p, 1, 10));
    assert_int_equal(SL_OK, close_world(w));
    open_world(w);
    p = open_part(w, 1, cfg);
    assert_int_equal(21, state_of(w, p).log_start);
    assert_int_equal(1, read_all(w, p, 21, 1000));
}

static void retention_by_time_seals_and_drops_a_quiet_partition(void **state)
{
    play(time_drops_everything);
}

static void clock_jumps(struct world *w)
{
    struct log_topic_cfg cfg = small_segments();
    cfg.retention_ms = 3600000;
    struct log_part *p = open_part(w, 1, cfg);
    append_many(w, p, 20);
    w->clock.wall_ms = clock_wall_ms(w->clock.base) + INT64_C(10) * 365 * 86400000;
    pass_ms(60000);
    assert_int_equal(0, state_of(w, p).log_start);
    assert_int_equal(SL_OK, close_world(w));
    open_world(w); /* and not by a restart either */
    p = open_part(w, 1, cfg);
    pass_ms(60000);
    assert_int_equal(0, state_of(w, p).log_start);
    w->clock.wall_ms = 1000; /* backwards: append times never go back */
    append_many(w, p, 1);
    pass_ms(60000);
    assert_int_equal(21, read_all(w, p, 0, 1 << 20));
}

static void B26_a_jump_of_the_wall_clock_deletes_nothing(void **state)
{
    play(clock_jumps);
}

/* ---- trim and drop ----------------------------------------------------------------------- */

static void run_trim(struct call *c)
{
    c->done.done = on_done;
    log_trim(c->w->engine, c->part, c->number, &c->done);
}

static void trim_part(struct world *w)
{
    struct log_part *p = open_part(w, 1, small_segments());
    append_many(w, p, 20);
    struct call c = {.part = p, .number = 13};
    call(w, &c, run_trim);
    assert_int_equal(SL_OK, c.done.err);
    assert_int_equal(13, state_of(w, p).log_start);
    struct call r = {0};
    assert_int_equal(SL_EOFFSET, read_at(w, &r, p, 12, 100));
    assert_int_equal(7, read_all(w, p, 13, 1 << 20));
    pass_ms(3000);
    c.number = 20;
    call(w, &c, run_trim);
    assert_int_equal(SL_OK, c.done.err);
    assert_int_equal(20, append_records(w, p, 1, 10));
    assert_int_equal(SL_OK, close_world(w));
    open_world(w);
    p = open_part(w, 1, small_segments());
    assert_int_equal(20, state_of(w, p).log_start);
    assert_true(state_of(w, p).segments <= 2);
    assert_int_equal(1, read_all(w, p, 20, 1 << 20));
}

static void a_trim_moves_the_start_for_good(void **state)
{
    play(trim_part);
}

static void run_drop(struct call *c)
{
    struct uuid id = test_topic_id(1);
    c->done.done = on_done;
    log_topic_drop(c->w->engine, &id, &c->done);
}

static void on_moved(struct log_watch *watch)
{
    call_finish(SL_CONTAINER_OF(watch, struct call, watch));
}

static void run_watch(struct call *c)
{
    c->watch.moved = on_moved;
    log_watch(c->w->engine, c->part, &c->watch);
}

static void drop_topic(struct world *w)
{
    struct log_part *p = open_part(w, 1, small_segments());
    append_many(w, p, 20);
    struct call watch = {.part = p, .watch = {.above = 20}};
    call_start(w, &watch, run_watch);
    struct call c = {0}, a = {0};
    call_start(w, &c, run_drop);
    call_wait(&c);
    assert_int_equal(SL_OK, c.done.err);
    call_wait(&watch); /* whoever waited learns it */
    (void)a;
    pass_ms(5000);
    char dir[PATH_BYTES];
    struct uuid id = test_topic_id(1);
    struct vfs_stat st;
    paths__topic_dir(dir, w->dir, &id);
    assert_int_equal(SL_ENOTFOUND, vfs_stat(w->vfs, dir, &st));
    paths__deleted_topic_dir(dir, w->dir, &id);
    assert_int_equal(SL_ENOTFOUND, vfs_stat(w->vfs, dir, &st));
    assert_int_equal(SL_OK, close_world(w));
    open_world(w);
    if (is_local())
        assert_int_equal(0, map_count(engine__of(w->engine)->parts));
    else /* as of a topic that nobody has made */
        assert_int_equal(0, state_of(w, open_part(w, 1, small_segments())).high_watermark);
}

static void B05_a_dropped_topic_is_gone_and_stays_gone(void **state)
{
    play(drop_topic);
}

static void a_watch_fires_when_the_watermark_passes(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct call early = {.part = p, .watch = {.above = 0}}, late = {.part = p};
    call_start(w, &early, run_watch);
    append_records(w, p, 2, 10);
    call_wait(&early);
    late.watch.above = 1; /* above already: fires in a later turn */
    call(w, &late, run_watch);
}

static void a_watch_fires_once_also_when_armed_late(void **state)
{
    play(a_watch_fires_when_the_watermark_passes);
}

/* ---- look-ups ---------------------------------------------------------------------------- */

static void on_found(struct log_lookup *l)
{
    call_finish(SL_CONTAINER_OF(l, struct call, lookup));
}

static void run_lookup(struct call *c)
{
    c->lookup.done = on_found;
    if (log_lookup(c->w->engine, &c->lookup) != SL_PENDING)
        call_finish(c);
}

static int64_t offset_for(struct world *w, struct log_part *p, int64_t time_ms)
{
    struct call c = {.lookup = {.part = p, .kind = LOG_BY_TIMESTAMP, .timestamp_ms = time_ms}};
    call(w, &c, run_lookup);
    assert_int_equal(SL_OK, c.lookup.err);
    return c.lookup.offset;
}

static struct slice batch_at(int64_t time_ms, int n)
{
    struct batch_builder *b = batch_builder_new(CODEC_LZ4, 1 << 20);
    static const char value[300] = "value";
    for (int i = 0; i < n; i++) {
        struct new_record r = {.timestamp_ms = time_ms + i, .value = slice_of(value, sizeof value)};
        SL_ASSERT(batch_builder_add(b, &r) == SL_OK);
    }
    struct slice batch;
    SL_ASSERT(batch_builder_finish(b, &batch_producer_none, &batch) == SL_OK);
    batch_builder_free(b);
    return batch;
}

static void check_times(struct world *w, struct log_part *p)
{
    for (int64_t t = 0; t < 400; t += 3)
        assert_int_equal(t, offset_for(w, p, 1000 + t * 10));
    assert_int_equal(1, offset_for(w, p, 1001)); /* the first one at or after */
    assert_int_equal(-1, offset_for(w, p, 1000 + 4000));
    assert_int_equal(0, offset_for(w, p, -5));
    struct call c = {.lookup = {.part = p, .kind = LOG_MAX_TIMESTAMP}};
    call(w, &c, run_lookup);
    assert_int_equal(399, c.lookup.offset);
    assert_int_equal(1000 + 3990, c.lookup.found_timestamp_ms);
}

static void times(struct world *w)
{
    struct log_topic_cfg cfg = small_segments();
    cfg.index_interval_bytes = 200;
    struct log_part *p = open_part(w, 1, cfg);
    for (int i = 0; i < 400; i++)
        append_batch(w, p, batch_at(1000 + i * 10, 1), LOG_DURABLE);
    check_times(w, p);
    pass_ms(5000); /* a checkpoint moves the index to its files */
    check_times(w, p);
    assert_int_equal(SL_OK, close_world(w));
    open_world(w);
    check_times(w, open_part(w, 1, cfg));
}

static void offsets_are_found_by_time_in_memory_in_files_and_after_a_restart(void **state)
{
    play(times);
}

static void time_in_batch(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_batch(w, p, batch_at(1000, 50), LOG_DURABLE);
    append_batch(w, p, batch_at(2000, 50), LOG_DURABLE);
    assert_int_equal(17, offset_for(w, p, 1017));
    assert_int_equal(50, offset_for(w, p, 1500));
    assert_int_equal(99, offset_for(w, p, 2049));
}

static void the_exact_record_is_found_inside_a_compressed_batch(void **state)
{
    play(time_in_batch);
}

static void expect_max(struct world *w, struct log_part *p, int64_t offset, int64_t time_ms)
{
    struct call c = {.lookup = {.part = p, .kind = LOG_MAX_TIMESTAMP}};
    call(w, &c, run_lookup);
    assert_int_equal(SL_OK, c.lookup.err);
    assert_int_equal(offset, c.lookup.offset);
    assert_int_equal(time_ms, c.lookup.found_timestamp_ms);
}

static void trim_to(struct world *w, struct log_part *p, int64_t offset)
{
    struct call c = {.part = p, .number = offset};
    call(w, &c, run_trim);
    assert_int_equal(SL_OK, c.done.err);
}

static struct slice batch_of_times(enum codec codec, const int64_t *times_ms, int n)
{
    struct batch_builder *b = batch_builder_new(codec, 1 << 20);
    for (int i = 0; i < n; i++) {
        struct new_record r = {.timestamp_ms = times_ms[i], .value = slice_str("v")};
        SL_ASSERT(batch_builder_add(b, &r) == SL_OK);
    }
    struct slice batch;
    SL_ASSERT(batch_builder_finish(b, &batch_producer_none, &batch) == SL_OK);
    batch_builder_free(b);
    return batch;
}

/* The log start goes through two batches of one segment, and behind them. */
static void max_of_rest(struct world *w)
{
    static const int64_t first[] = {4000, 9000, 2000}, second[] = {3000, 7000, 6000, 500};
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_batch(w, p, batch_of_times(CODEC_NONE, first, 3), LOG_DURABLE);
    append_batch(w, p, batch_of_times(CODEC_LZ4, second, 4), LOG_DURABLE);
    expect_max(w, p, 1, 9000);
    trim_to(w, p, 1);
    expect_max(w, p, 1, 9000);
    trim_to(w, p, 2);
    expect_max(w, p, 4, 7000);
    assert_int_equal(2, offset_for(w, p, 100)); /* in the middle of a batch */
    trim_to(w, p, 5);
    expect_max(w, p, 5, 6000);
    trim_to(w, p, 6);
    expect_max(w, p, 6, 500);
    trim_to(w, p, 7);
    expect_max(w, p, -1, -1);
    append_batch(w, p, batch_at(50, 1), LOG_DURABLE);
    expect_max(w, p, 7, 50);
}

static void the_max_timestamp_is_that_of_what_a_trim_left(void **state)
{
    play(max_of_rest);
}

/* ---- idempotence, limits, disk full ------------------------------------------------------- */

static struct slice sequenced(int64_t id, int16_t epoch, int32_t sequence)
{
    struct batch_builder *b = batch_builder_new(CODEC_NONE, 1 << 20);
    struct new_record r = {.timestamp_ms = 1, .value = slice_str("v")};
    SL_ASSERT(batch_builder_add(b, &r) == SL_OK);
    const struct batch_producer producer = {id, epoch, sequence};
    struct slice batch;
    SL_ASSERT(batch_builder_finish(b, &producer, &batch) == SL_OK);
    batch_builder_free(b);
    return batch;
}

static sl_err append_sequence(struct world *w, struct log_part *p, int32_t sequence,
                              int64_t *ret_offset, bool *ret_duplicate)
{
    struct call c = {0};
    append_start(w, &c, p, sequenced(900, 1, sequence), LOG_DURABLE);
    sl_err err = append_finish(&c);
    *ret_offset = c.append.base_offset;
    *ret_duplicate = c.append.duplicate;
    return err;
}

static void idempotence(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    int64_t offset;
    bool duplicate;
    for (int i = 0; i < 8; i++)
        assert_int_equal(SL_OK, append_sequence(w, p, i, &offset, &duplicate));
    for (int restart = 0; restart < 2; restart++) {
        assert_int_equal(SL_OK, append_sequence(w, p, 5, &offset, &duplicate));
        assert_true(duplicate);
        assert_int_equal(5, offset);
        assert_int_equal(SL_ESEQ, append_sequence(w, p, 9, &offset, &duplicate));
        assert_int_equal(SL_ESEQ_OLD, append_sequence(w, p, 1, &offset, &duplicate));
        assert_int_equal(8, state_of(w, p).high_watermark);
        assert_int_equal(SL_OK, close_world(w));
        open_world(w);
        p = open_part(w, 1, test_topic_cfg);
    }
    assert_int_equal(SL_OK, append_sequence(w, p, 8, &offset, &duplicate));
    assert_false(duplicate);
    assert_int_equal(8, offset);
}

static void B08_a_retry_is_answered_with_its_first_offset_also_after_a_restart(void **state)
{
    play(idempotence);
}

/* Two appends in one turn: the repeat waits for the group of the original. */
static void repeat_under_way(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct call a = {0}, b = {0}, c = {0};
    append_start(w, &a, p, sequenced(900, 1, 0), LOG_DURABLE);
    append_start(w, &b, p, sequenced(900, 1, 0), LOG_DURABLE);
    append_start(w, &c, p, sequenced(900, 1, 1), LOG_DURABLE);
    assert_int_equal(SL_OK, append_finish(&a));
    assert_int_equal(SL_OK, append_finish(&b));
    assert_int_equal(SL_OK, append_finish(&c));
    assert_false(a.append.duplicate);
    assert_true(b.append.duplicate);
    assert_int_equal(0, b.append.base_offset);
    assert_int_equal(1, c.append.base_offset);
    assert_int_equal(2, read_all(w, p, 0, 1000));
}

static void B08_a_repeat_of_what_is_under_way_gets_its_result(void **state)
{
    play(repeat_under_way);
}

static void full_disk(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_many(w, p, 5);
    simfs_set_capacity(scene_fs, simfs_used_bytes(scene_fs) + (900 << 10)); /* below reserve */
    struct call c = {0};
    sl_err err = SL_OK;
    int64_t acked = 5;
    for (int i = 0; i < 1000 && err == SL_OK; i++) {
        append_start(w, &c, p, test_batch(CODEC_NONE, 1, 5000), LOG_DURABLE);
        err = append_finish(&c);
        acked += err == SL_OK;
    }
    assert_int_equal(SL_ENOSPC, err);
    assert_int_equal(acked, read_all(w, p, 0, 1 << 20)); /* reads go on */
    assert_true(counters_of(w, p).refusing_appends);
    simfs_set_capacity(scene_fs, 0);
    pass_ms(5000);
    assert_int_equal(acked, append_records(w, p, 1, 10));
}

static void F04_a_full_disk_refuses_appends_serves_reads_and_heals(void **state)
{
    play(full_disk);
}

/* All journal files are full of records that count, and there is no room for one more. */
static void full_at_start(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    append_many(w, p, 20);
    struct simfs *image = simfs_image(scene_fs, SIMFS_KILL, 3);
    struct simfs *own = scene_fs;
    assert_int_equal(SL_OK, close_world(w));
    w->vfs = simfs_vfs(image);
    w->cfg.journal_files_max = 1;
    simfs_set_capacity(image, simfs_used_bytes(image) + (500 << 10));
    open_world(w);
    p = open_part(w, 1, test_topic_cfg);
    assert_int_equal(20, read_all(w, p, 0, 1 << 20));
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    assert_int_equal(SL_ENOSPC, append_finish(&c));
    simfs_set_capacity(image, 0);
    pass_ms(5000);
    assert_int_equal(20, append_records(w, p, 1, 10));
    assert_int_equal(21, read_all(w, p, 0, 1 << 20));
    assert_int_equal(SL_OK, close_world(w));
    w->vfs = simfs_vfs(own);
    open_world(w);
    simfs_free(image);
}

static void B07_a_full_disk_at_start_serves_reads_and_heals(void **state)
{
    play(full_at_start);
}

/* The journal (or what stands for it) cannot be synced: whether the append happened is not known,
 * and the process must end.
 */
static void lose_journal(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    const struct simfs_fault fault = {.calls = SIMFS_SYNC,
                                      .n = 1,
                                      .err = SL_EIO,
                                      .path_part = is_local() ? ".jnl" : "sluice.db-wal"};
    append_many(w, p, 2);
    simfs_set_fault(scene_fs, &fault);
    struct call c = {0};
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, append_finish(&c));
    assert_int_equal(2, state_of(w, p).high_watermark); /* nobody saw it */
    append_start(w, &c, p, test_batch(CODEC_NONE, 1, 10), LOG_DURABLE);
    assert_int_equal(SL_EUNKNOWN_OUTCOME, append_finish(&c));
    assert_true(w->fatal);
    sim_stop(sim_current()); /* as the process would */
    sim_yield("stop", 0);
}

static void B36_a_lost_journal_is_an_unknown_outcome_and_ends_the_process(void **state)
{
    const struct sim_opts opts = {.seed = 7, .abandons = true};
    struct scene s = {.fs = simfs_new(), .play = lose_journal};
    struct sim *sim = sim_new(&opts);
    scene_fs = s.fs;
    assert_int_equal(SIM_STOPPED, sim_run(sim, play_scene, &s));
    sim_free(sim);
    simfs_free(s.fs);
}

static void append_time(struct world *w)
{
    struct log_part *p = open_part(w, 1, test_topic_cfg);
    struct call c = {0};
    w->clock.wall_ms = 5000000;
    c.append.append_time = true;
    append_start(w, &c, p, test_batch(CODEC_NONE, 3, 10), LOG_DURABLE);
    assert_int_equal(SL_OK, append_finish(&c));
    assert_int_equal(5000000, c.append.log_append_ms);
    w->clock.wall_ms = 4000000; /* back: the stamp stays */
    append_start(w, &c, p, test_batch(CODEC_NONE, 3, 10), LOG_DURABLE);
    assert_int_equal(SL_OK, append_finish(&c));
    assert_int_equal(5000000, c.append.log_append_ms);
    assert_int_equal(6, read_all(w, p, 0, 1000)); /* checks the CRC */
    assert_int_equal(0, offset_for(w, p, 4999999));
}

static void log_append_time_stamps_a_valid_batch_and_never_goes_back(void **state)
{
    play(append_time);
}

int main(int argc, char **argv)
{
    log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retention_by_size_drops_the_oldest_segments_whole),
        cmocka_unit_test(retention_by_time_seals_and_drops_a_quiet_partition),
        cmocka_unit_test(B26_a_jump_of_the_wall_clock_deletes_nothing),
        cmocka_unit_test(a_trim_moves_the_start_for_good),
        cmocka_unit_test(B05_a_dropped_topic_is_gone_and_stays_gone),
        cmocka_unit_test(a_watch_fires_once_also_when_armed_late),
        cmocka_unit_test(offsets_are_found_by_time_in_memory_in_files_and_after_a_restart),
        cmocka_unit_test(the_max_timestamp_is_that_of_what_a_trim_left),
        cmocka_unit_test(the_exact_record_is_found_inside_a_compressed_batch),
        cmocka_unit_test(B08_a_retry_is_answered_with_its_first_offset_also_after_a_restart),
        cmocka_unit_test(B08_a_repeat_of_what_is_under_way_gets_its_result),
        cmocka_unit_test(F04_a_full_disk_refuses_appends_serves_reads_and_heals),
        cmocka_unit_test(log_append_time_stamps_a_valid_batch_and_never_goes_back),
        cmocka_unit_test(B36_a_lost_journal_is_an_unknown_outcome_and_ends_the_process),
        cmocka_unit_test(
            B07_a_full_disk_at_start_serves_reads_and_heals), /* of local: from here on */
    };
    choose_engine(argc, argv);
    return run_suite(tests, SL_ARRAY_LEN(tests), 1);
}
