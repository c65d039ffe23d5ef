#include "storage/index_int.h"

#include "base/alloc.h"
#include "sim/simfs.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { SEED = 9, N = 3000 };

/* Entry i: offset 10 i, position 100 i, times rise by 5. */
static void write_entries(struct vfs *v, uint32_t from, uint32_t to)
{
    struct index_entry *e = sl_new_array(struct index_entry, to - from);
    for (uint32_t i = from; i < to; i++)
        e[i - from] = (struct index_entry){(int64_t)i * 5, 1000 + i, i * 10, i * 100};
    assert_int_equal(SL_OK, index__write(v, "/a.idx", "/a.tix", SEED, e, to - from));
    sl_free(e);
}

static uint32_t position_of(struct vfs *v, uint32_t rel)
{
    uint32_t found = 0, pos = 0;
    assert_int_equal(SL_OK, index__find(v, "/a.idx", SEED, rel, &found, &pos));
    assert_true(found <= rel);
    assert_int_equal(found * 10, pos);
    return pos;
}

static void entries_are_found_however_they_were_written(void **state)
{
    struct simfs *fs = simfs_new();
    struct vfs *v = simfs_vfs(fs);
    uint32_t rel;
    for (uint32_t i = 1, next; i < N; i = next) { /* pages are filled over several writes */
        next = SL_MIN(i + 1 + i % 700, (uint32_t)N);
        write_entries(v, i, next);
    }
    for (uint32_t rel_offset = 10; rel_offset < N * 10; rel_offset += 37)
        assert_int_equal(rel_offset / 10 * 100, position_of(v, rel_offset));
    assert_int_equal((N - 1) * 100, position_of(v, UINT32_MAX));
    assert_int_equal(SL_ENOTFOUND, index__find(v, "/a.idx", SEED, 9, &rel, &rel));
    for (int64_t t = 6; t < N * 5; t += 13) {
        assert_int_equal(SL_OK, index__find_time(v, "/a.tix", SEED, t, &rel));
        assert_int_equal((t - 1) / 5 * 10, rel);
    }
    simfs_free(fs);
}

static void a_wrong_page_makes_the_answer_earlier_never_wrong(void **state)
{
    struct simfs *fs = simfs_new();
    struct vfs *v = simfs_vfs(fs);
    uint32_t rel, pos;
    write_entries(v, 0, N);
    for (uint64_t page = 0; page < 6; page++) {
        struct simfs *copy = simfs_copy(fs);
        assert_int_equal(SL_OK, simfs_flip_bit(copy, "/a.idx", (page * 4096 + 100) * 8));
        for (uint32_t rel_offset = 0; rel_offset < N * 10; rel_offset += 111) {
            sl_err err = index__find(simfs_vfs(copy), "/a.idx", SEED, rel_offset, &rel, &pos);
            if (err == SL_ENOTFOUND)
                assert_true(page == 0 && rel_offset < 5110);
            else
                assert_true(rel <= rel_offset && pos == rel * 10);
        }
        simfs_free(copy);
    }
    assert_int_equal(SL_ENOTFOUND, index__find(v, "/a.idx", SEED + 1, 500, &rel, &pos));
    simfs_free(fs);
}

static void a_cut_forgets_what_comes_behind(void **state)
{
    struct simfs *fs = simfs_new();
    struct vfs *v = simfs_vfs(fs);
    uint32_t rel;
    write_entries(v, 0, N);
    for (uint32_t keep = N - 1; keep > 400; keep -= 333) {
        assert_int_equal(SL_OK, index__cut(v, "/a.idx", "/a.tix", SEED, keep * 10));
        assert_int_equal((keep - 1) * 100, position_of(v, UINT32_MAX));
        assert_int_equal(SL_OK, index__find_time(v, "/a.tix", SEED, INT64_MAX, &rel));
        assert_int_equal((keep - 1) * 10, rel);
    }
    assert_int_equal(SL_OK, index__cut(v, "/a.idx", "/a.tix", SEED, 0));
    assert_int_equal(SL_ENOTFOUND, index__find(v, "/a.idx", SEED, 100, &rel, &rel));
    write_entries(v, 1, 5);
    assert_int_equal(400, position_of(v, 1000));
    simfs_free(fs);
}

static void the_tail_in_memory_keeps_the_interval(void **state)
{
    struct index_tail t = {.next_pos = 4096};
    for (uint32_t pos = 0; pos < 100000; pos += 700) {
        const struct index_entry e = {.rel_offset = pos / 700, .pos = pos};
        index_tail__add(&t, &e, 4096);
    }
    assert_true(t.n > 15 && t.n <= 24);
    assert_null(index_tail__find(&t, 2));
    for (uint32_t rel = 10; rel < 140; rel++) {
        const struct index_entry *e = index_tail__find(&t, rel);
        assert_true(e->rel_offset <= rel);
        assert_true(rel * 700 - e->pos < 4096 + 2 * 700);
    }
    index_tail__drop(&t, t.n);
    assert_null(t.entries);
    index_tail__fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_however_they_were_written),
        cmocka_unit_test(a_wrong_page_makes_the_answer_earlier_never_wrong),
        cmocka_unit_test(a_cut_forgets_what_comes_behind),
        cmocka_unit_test(the_tail_in_memory_keeps_the_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
