#include "storage/journal_format_int.h"

#include "base/alloc.h"
#include "base/log.h"
#include "sim/sim.h"
#include "sim/simfs.h"
#include "storage/paths_int.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { FILE_BYTES = 64 << 10, SEEN_MAX = 256 };

struct stage {
    struct simfs *fs;
    struct journal *journal;
    struct journal_group group;
    uint64_t start_lsn;
    void (*play)(struct stage *s);
    /* of the last replay */
    uint64_t seen[SEEN_MAX];
    size_t n_seen;
    struct journal_replay result;
};

static sl_err see(void *arg, const struct journal_record *r, const uint8_t *payload)
{
    struct stage *s = arg;
    assert_true(s->n_seen < SEEN_MAX);
    for (uint32_t i = 0; i < r->len; i++)
        assert_int_equal((uint8_t)r->base_offset, payload[i]);
    s->seen[s->n_seen++] = r->base_offset;
    return SL_OK;
}

static void open_journal(struct stage *s)
{
    assert_int_equal(SL_OK, journal__open(simfs_vfs(s->fs), "/data", FILE_BYTES, 4,
                                          sim_rng(sim_current()), &s->journal));
}

static void reopen(struct stage *s)
{
    journal__close(s->journal);
    open_journal(s);
}

static void replay(struct stage *s, uint64_t from_lsn)
{
    const struct journal_visitor visitor = {.arg = s, .record = see};
    s->n_seen = 0;
    assert_int_equal(SL_OK, journal__replay(s->journal, from_lsn, &visitor, &s->result));
}

/* One record with `len` bytes of the value `n`, in a group of its own. */
static void append(struct stage *s, uint64_t n, uint32_t len)
{
    uint8_t *payload = sl_alloc(1, len + 1);
    memset(payload, (int)n, len);
    const struct journal_record r = {.pid = 1, .base_offset = n, .type = JOURNAL_DATA, .len = len};
    journal_group__reset(&s->group);
    journal_group__add(&s->group, &r);
    journal_group__payload(&s->group, payload, len);
    assert_int_equal(SL_OK, journal__append(s->journal, &s->group));
    sl_free(payload);
}

static void append_synced(struct stage *s, uint64_t n, uint32_t len)
{
    append(s, n, len);
    assert_int_equal(SL_OK, journal__sync(s->journal));
}

static void grow(struct stage *s)
{
    while (journal__grow(s->journal) == SL_OK)
        ;
}

static void flip(struct stage *s, uint32_t file_number, uint64_t byte)
{
    char dir[PATH_BYTES], path[PATH_BYTES];
    paths__journal_dir(dir, "/data");
    paths__journal_file(path, dir, file_number);
    assert_int_equal(SL_OK, simfs_flip_bit(s->fs, path, byte * 8));
}

static void expect(const struct stage *s, const uint64_t *values, size_t n)
{
    assert_int_equal(n, s->n_seen);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(values[i], s->seen[i]);
}

static void run_stage(void *arg)
{
    struct stage *s = arg;
    assert_int_equal(SL_OK, vfs_ensure_dir(simfs_vfs(s->fs), "/data"));
    open_journal(s);
    assert_int_equal(SL_OK, journal__start(s->journal, 0, &s->start_lsn));
    s->play(s);
    journal__close(s->journal);
    journal_group__fini(&s->group);
}

static void play(void (*fn)(struct stage *s))
{
    const struct sim_opts opts = {.seed = 3};
    struct stage s = {.fs = simfs_new(), .play = fn};
    struct sim *sim = sim_new(&opts);
    assert_int_equal(SIM_RETURNED, sim_run(sim, run_stage, &s));
    sim_free(sim);
    simfs_free(s.fs);
}

static void in_order(struct stage *s)
{
    const uint64_t all[] = {1, 2, 3}, later[] = {3};
    append_synced(s, 1, 100);
    append_synced(s, 2, 0);
    uint64_t lsn = journal__end_lsn(s->journal);
    append_synced(s, 3, 5000);
    reopen(s);
    replay(s, s->start_lsn);
    expect(s, all, 3);
    assert_int_equal(0, s->result.damaged);
    replay(s, lsn);
    expect(s, later, 1);
}

static void what_was_synced_is_replayed_in_order_from_any_group(void **state)
{
    play(in_order);
}

static void many_files(struct stage *s)
{
    uint64_t last = 0, kept_lsn = 0;
    for (uint64_t n = 0; n < 100; n++) { /* about three to a file */
        kept_lsn = last;
        append_synced(s, n, 15000);
        assert_true(journal__end_lsn(s->journal) > last);
        last = journal__end_lsn(s->journal);
        while (journal__grow(s->journal) == SL_OK)
            ;
        journal__recycle(s->journal, kept_lsn); /* the file before may still be needed */
    }
    reopen(s);
    replay(s, kept_lsn);
    assert_true(s->n_seen >= 1);
    assert_int_equal(99, s->seen[s->n_seen - 1]);
    for (size_t i = 1; i < s->n_seen; i++)
        assert_int_equal(s->seen[i - 1] + 1, s->seen[i]);
    replay(s, 0); /* bytes of former lives do not come back */
    for (size_t i = 1; i < s->n_seen; i++)
        assert_true(s->seen[i] > s->seen[i - 1]);
}

static void recycled_files_never_show_their_former_life(void **state)
{
    play(many_files);
}

/* Groups of 192 bytes: a header, and a record of 52 + 40 bytes padded to 128. */
static void torn_end(struct stage *s)
{
    const uint64_t kept[] = {1, 2};
    append_synced(s, 1, 40);
    append_synced(s, 2, 40);
    append(s, 3, 40); /* one group that no sync covered */
    reopen(s);
    flip(s, 1, JOURNAL_FIRST_POS + 2 * 192 + 64 + 60);
    replay(s, s->start_lsn);
    expect(s, kept, 2);
    assert_int_equal(0, s->result.damaged);
}

static void an_invalid_record_above_every_known_sync_is_the_torn_end(void **state)
{
    play(torn_end);
}

static void damage(struct stage *s)
{
    const uint64_t kept[] = {1, 3, 4};
    for (uint64_t n = 1; n <= 4; n++)
        append_synced(s, n, 40);
    reopen(s);
    flip(s, 1, JOURNAL_FIRST_POS + 192 + 64 + 60);
    replay(s, s->start_lsn);
    expect(s, kept, 3);
    assert_int_equal(1, s->result.damaged);
}

static void B03_an_invalid_record_below_a_known_sync_hides_no_other(void **state)
{
    play(damage);
}

static void header_damage(struct stage *s)
{
    const uint64_t all[] = {1, 2};
    append_synced(s, 1, 40);
    append_synced(s, 2, 40);
    flip(s, 1, 9);
    reopen(s);
    replay(s, s->start_lsn);
    expect(s, all, 2);
}

static void B03_a_damaged_file_header_has_a_copy(void **state)
{
    play(header_damage);
}

static void new_life(struct stage *s)
{
    append_synced(s, 1, 40);
    uint64_t before = journal__end_lsn(s->journal), after;
    reopen(s);
    assert_int_equal(SL_OK, journal__start(s->journal, 0, &after));
    assert_true(after > before); /* never behind a cut: another file, another UUID */
    assert_true(after / JOURNAL_LSN_STRIDE > before / JOURNAL_LSN_STRIDE);
}

static void a_start_begins_another_file_above_every_lsn(void **state)
{
    play(new_life);
}

/* What a recovery cut stays cut: its offsets belong to others by now. */
static void cut_stays_cut(struct stage *s)
{
    const uint64_t kept[] = {1, 2}, later[] = {1, 2, 5};
    uint64_t lsn = 0;
    append_synced(s, 1, 40);
    append_synced(s, 2, 40);
    append(s, 3, 40);
    append(s, 4, 40);
    flip(s, 1, JOURNAL_FIRST_POS + 2 * 192 + 64 + 60); /* the crash tore 3, not 4 */
    reopen(s);
    replay(s, s->start_lsn);
    expect(s, kept, 2);
    assert_int_equal(SL_OK, journal__start(s->journal, s->result.stop_lsn, &lsn));
    append_synced(s, 5, 40);
    reopen(s);
    replay(s, 0);
    expect(s, later, 3);
    assert_int_equal(0, s->result.damaged);
}

static void B03_a_tail_that_a_recovery_cut_is_never_taken_for_synced(void **state)
{
    play(cut_stays_cut);
}

/* The file that a second recovery begins names the end of the last file with a header: here one in
 * which nothing was written before the next crash. */
static void cut_stays_cut_over_two(struct stage *s)
{
    const uint64_t later[] = {1, 5};
    uint64_t lsn = 0;
    append_synced(s, 1, 40);
    append(s, 3, 40);
    append(s, 4, 40);
    flip(s, 1, JOURNAL_FIRST_POS + 192 + 64 + 60);
    for (int i = 0; i < 2; i++) {
        reopen(s);
        replay(s, 0);
        assert_int_equal(SL_OK, journal__start(s->journal, s->result.stop_lsn, &lsn));
    }
    append_synced(s, 5, 40);
    reopen(s);
    replay(s, 0);
    expect(s, later, 2);
}

static void B03_also_when_the_recovery_crashed_before_its_first_group(void **state)
{
    play(cut_stays_cut_over_two);
}

/* Damage in the last group of a file: the header of the next one proves that it had been synced. */
static void damage_at_end(struct stage *s)
{
    grow(s);
    append_synced(s, 1, 30000);
    append_synced(s, 2, 30000);
    append_synced(s, 3, 30000); /* in the next file */
    const uint64_t kept[] = {1, 3};
    reopen(s);
    flip(s, 1, JOURNAL_FIRST_POS + 30144 + 3000);
    replay(s, s->start_lsn);
    expect(s, kept, 2);
    assert_int_equal(1, s->result.damaged);
}

static void B03_the_next_file_proves_the_last_group_of_the_one_before(void **state)
{
    play(damage_at_end);
}

/* Neither copy of the newest header can be read. */
static void lsn_after_lost_header(struct stage *s)
{
    uint64_t before, after;
    grow(s);
    append_synced(s, 1, 40000);
    append_synced(s, 2, 40000); /* in the second file */
    before = journal__end_lsn(s->journal);
    for (int again = 0; again < 2; again++) { /* at the second start its file is aside already */
        if (again == 0) {
            flip(s, 2, 9);
            flip(s, 2, JOURNAL_HEADER_COPY_POS + 9);
        }
        reopen(s);
        journal__begin_above(s->journal, s->start_lsn);
        assert_int_equal(SL_OK, journal__start(s->journal, 0, &after));
        assert_true(after > before);
        before = after;
    }
    reopen(s);
    journal__begin_above(s->journal, 1000 * JOURNAL_LSN_STRIDE); /* as CURRENT says */
    assert_int_equal(SL_OK, journal__start(s->journal, 0, &after));
    assert_true(after > 1000 * JOURNAL_LSN_STRIDE);
}

static void B03_an_lsn_is_never_used_twice_also_when_the_newest_header_is_lost(void **state)
{
    play(lsn_after_lost_header);
}

static void start_again(struct stage *s)
{
    uint64_t first, second;
    reopen(s);
    assert_int_equal(SL_OK, journal__start(s->journal, 0, &first));
    size_t files = s->journal->n_files;
    assert_int_equal(SL_OK, journal__start(s->journal, 0, &second));
    assert_int_equal(first, second);
    assert_int_equal(files, s->journal->n_files);
}

static void a_start_that_is_tried_again_takes_no_other_file(void **state)
{
    play(start_again);
}

/* As the format promises: the file before is on disk before the first group of the next completes.
 */
static void roll_order(struct stage *s)
{
    grow(s);
    append(s, 1, 40000); /* nobody has synced it */
    append_synced(s, 2, 40000);
    const uint64_t all[] = {1, 2};
    struct simfs *image = simfs_image(s->fs, SIMFS_POWER_NONE, 1), *before = s->fs;
    s->fs = image;
    reopen(s);
    replay(s, s->start_lsn);
    expect(s, all, 2);
    journal__close(s->journal);
    s->fs = before;
    open_journal(s);
    simfs_free(image);
}

static void a_group_in_the_next_file_proves_the_whole_file_before_it(void **state)
{
    play(roll_order);
}

/* A group goes to one file: what does not fit begins the next one. */
static void whole_groups(struct stage *s)
{
    grow(s);
    for (uint64_t n = 0; n < 12; n++) {
        append_synced(s, n, 20000);
        journal__recycle(s->journal, journal__end_lsn(s->journal));
    }
    for (size_t i = 0; i < s->journal->n_files; i++) {
        struct journal_file *f = &s->journal->files[i];
        uint8_t *bytes = sl_alloc(FILE_BYTES, 1);
        size_t pos = JOURNAL_FIRST_POS;
        uint64_t ignored = 0;
        assert_int_equal(SL_OK, vfs_pread_full(f->file, bytes, FILE_BYTES, 0));
        const struct journal_bytes file = {bytes, FILE_BYTES, f->seed, f->seq};
        assert_int_equal(SL_OK, journal__walk(&file, &pos, NULL, &ignored));
        if (f->state != JFILE_CURRENT && f->seq > 0)
            assert_int_equal(JOURNAL_FIRST_POS + 3 * 20160, pos);
        sl_free(bytes);
    }
}

static void a_group_never_spans_files(void **state)
{
    play(whole_groups);
}

int main(void)
{
    log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_is_replayed_in_order_from_any_group),
        cmocka_unit_test(recycled_files_never_show_their_former_life),
        cmocka_unit_test(an_invalid_record_above_every_known_sync_is_the_torn_end),
        cmocka_unit_test(B03_an_invalid_record_below_a_known_sync_hides_no_other),
        cmocka_unit_test(B03_a_damaged_file_header_has_a_copy),
        cmocka_unit_test(a_start_begins_another_file_above_every_lsn),
        cmocka_unit_test(B03_a_tail_that_a_recovery_cut_is_never_taken_for_synced),
        cmocka_unit_test(B03_also_when_the_recovery_crashed_before_its_first_group),
        cmocka_unit_test(B03_the_next_file_proves_the_last_group_of_the_one_before),
        cmocka_unit_test(B03_an_lsn_is_never_used_twice_also_when_the_newest_header_is_lost),
        cmocka_unit_test(a_start_that_is_tried_again_takes_no_other_file),
        cmocka_unit_test(a_group_in_the_next_file_proves_the_whole_file_before_it),
        cmocka_unit_test(a_group_never_spans_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
