/* alloc, arena, buf, slice and err. */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void an_arena_gives_zeroed_aligned_memory_and_charges_its_budget(void **state)
{
    struct budget budget = {.max = 1 << 20};
    struct arena *a = arena_new(&budget);
    for (size_t size = 1; size < 3000; size += 37) {
        uint8_t *p = arena_alloc(a, 1, size);
        assert_non_null(p);
        assert_int_equal(0, (uintptr_t)p % 16);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(0, p[i]);
        memset(p, 0xee, size);
    }
    assert_true(budget.used > 0);
    assert_int_equal(budget.used, arena_used(a));
    arena_reset(a);
    uint8_t *p = arena_alloc(a, 1, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(0, p[i]);
    arena_free(a);
    assert_int_equal(0, budget.used);
    arena_free(NULL);
}

static void an_arena_beyond_its_budget_says_no_and_stays_usable(void **state)
{
    struct budget budget = {.max = 20000};
    struct arena *a = arena_new(&budget);
    assert_null(arena_alloc(a, 1, 100000));
    assert_null(arena_alloc(a, SIZE_MAX, 2));
    assert_null(arena_alloc(a, 1, SIZE_MAX));
    assert_non_null(arena_alloc(a, 1, 100));
    assert_true(budget.used <= budget.max);
    assert_string_equal("abc", arena_strndup(a, "abcdef", 3));
    arena_free(a);
}

static void a_request_that_needs_the_nth_allocation_gets_null_when_it_fails(void **state)
{
    struct arena *a = arena_new(NULL);
    sl_alloc_fail_at(1);
    assert_null(arena_alloc(a, 1, 100));
    assert_non_null(arena_alloc(a, 1, 100));
    arena_free(a);
}

static void a_buffer_ends_at_its_ceiling_and_remembers_it(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(SL_OK, buf_append(&b, "12345678", 8));
    assert_int_equal(SL_EFULL, buf_append(&b, "abc", 3));
    assert_int_equal(8, b.len);
    write_u8(&b, 1); /* would fit, but a message with a hole is none */
    assert_int_equal(SL_EFULL, buf_check(&b));
    buf_reset(&b);
    write_u8(&b, 1);
    assert_int_equal(SL_OK, buf_check(&b));
    assert_int_equal(1, b.len);
    buf_fini(&b);
}

static void a_buffer_prints_and_gives_its_bytes_away(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(SL_OK, buf_printf(&b, "%d-%s", 42, "x"));
    struct slice s = buf_take_slice(&b);
    assert_true(slice_eq_str(s, "42-x"));
    assert_int_equal(0, b.len);
    slice_unref(&s);
    assert_null(s.data);
    buf_fini(&b);
}

static unsigned freed;

static void count_free(void *arg)
{
    freed += *(unsigned *)arg;
}

static void a_block_is_freed_by_its_last_reference_and_says_so(void **state)
{
    unsigned step = 1;
    freed = 0;
    struct block *block = block_new(8);
    block_on_free(block, count_free, &step);
    memcpy(block_data(block), "abcdefgh", 8);
    struct slice whole = slice_of_block(block, 0, block_size(block));
    struct slice part = slice_ref(whole, 2, 3);
    block_unref(block);
    slice_unref(&whole);
    assert_int_equal(0, freed);
    assert_true(slice_eq_str(part, "cde"));
    slice_unref(&part);
    assert_int_equal(1, freed);
    slice_unref(&part); /* empty now: nothing happens */
    assert_null(block_new(SIZE_MAX));
}

static void a_borrowed_slice_has_no_count(void **state)
{
    struct slice s = slice_str("hello");
    struct slice part = slice_ref(s, 1, 4);
    assert_null(part.block);
    assert_true(slice_eq_str(part, "ello"));
    assert_false(slice_eq(s, part));
    assert_true(slice_eq(slice_of("", 0), slice_of(NULL, 0)));
}

static void errors_have_names_sentences_and_an_errno(void **state)
{
    for (int e = 0; e < SL_ERR_COUNT; e++) {
        assert_non_null(sl_err_name((sl_err)e));
        assert_true(strlen(sl_err_text((sl_err)e)) > 3);
    }
    assert_string_equal("ECORRUPT", sl_err_name(SL_ECORRUPT));
    assert_int_equal(SL_CLASS_DATA, sl_err_class(SL_ECORRUPT));
    assert_true(sl_err_retriable(SL_ENOSPC));
    assert_int_equal(SL_ENOSPC, sl_err_from_errno(EDQUOT));
    assert_int_equal(SL_EIO, sl_err_from_errno(EXDEV));
    struct sl_fault fault;
    assert_int_equal(SL_EIO, sl_fault_set(&fault, SL_EIO, "disk %d", 3));
    assert_string_equal("disk 3", fault.what);
    assert_int_equal(SL_EIO, sl_fault_set(NULL, SL_EIO, "nobody asks"));
}

static size_t resident_bytes(void)
{
    char text[128] = "", *resident = NULL;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(fgets(text, sizeof text, f));
    (void)fclose(f);
    (void)strtoul(text, &resident, 10); /* the first number is the size of all mappings */
    return strtoul(resident, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static void freed_memory_goes_back_to_the_system(void **state)
{
    enum { N = 40000, SIZE = 700 };
    void **pieces = sl_new_array(void *, N);
    for (int i = 0; i < N; i++)
        pieces[i] = memset(sl_alloc(1, SIZE), 1, SIZE);
    size_t before = resident_bytes();
    for (int i = 0; i < N - 1; i++) /* the last one pins the end of the heap */
        sl_free(pieces[i]);
    if (mallinfo2().fordblks < (size_t)N / 2 * SIZE) {
        assert_false(sl_alloc_trim(1 << 20)); /* a sanitizer's allocator */
    } else {
        assert_false(sl_alloc_trim((size_t)N * SIZE * 4));
        assert_true(sl_alloc_trim(1 << 20));
        assert_true(resident_bytes() + (size_t)N / 2 * SIZE < before);
    }
    sl_free(pieces[N - 1]);
    sl_free(pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_and_charges_its_budget),
        cmocka_unit_test(an_arena_beyond_its_budget_says_no_and_stays_usable),
        cmocka_unit_test(a_request_that_needs_the_nth_allocation_gets_null_when_it_fails),
        cmocka_unit_test(a_buffer_ends_at_its_ceiling_and_remembers_it),
        cmocka_unit_test(a_buffer_prints_and_gives_its_bytes_away),
        cmocka_unit_test(a_block_is_freed_by_its_last_reference_and_says_so),
        cmocka_unit_test(a_borrowed_slice_has_no_count),
        cmocka_unit_test(errors_have_names_sentences_and_an_errno),
        cmocka_unit_test(freed_memory_goes_back_to_the_system),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
