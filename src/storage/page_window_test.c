#include "storage/page_window_int.h"

#include "storage/file_cache_int.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct cached_file a, b;

static void the_oldest_ranges_go_when_more_than_the_limit_is_held(void **state)
{
    (void)state;
    struct page_window *w = page_window__new(100);
    struct page_range out;
    page_window__add(w, (struct page_range){&a, 0, 60});
    page_window__add(w, (struct page_range){&b, 0, 40});
    assert_false(page_window__next_out(w, &out));
    page_window__add(w, (struct page_range){&a, 60, 61});
    assert_true(page_window__next_out(w, &out));
    assert_ptr_equal(out.file, &a);
    assert_int_equal(out.from, 0);
    assert_int_equal(out.to, 60);
    assert_false(page_window__next_out(w, &out));
    page_window__free(w);
}

static void a_forgotten_file_is_named_no_more_and_counts_no_more(void **state)
{
    (void)state;
    struct page_window *w = page_window__new(100);
    struct page_range out;
    page_window__add(w, (struct page_range){&a, 0, 90});
    page_window__add(w, (struct page_range){&b, 0, 10});
    page_window__add(w, (struct page_range){&a, 90, 120});
    page_window__forget(w, &a);
    assert_false(page_window__next_out(w, &out));
    page_window__add(w, (struct page_range){&b, 10, 101});
    assert_true(page_window__next_out(w, &out));
    assert_ptr_equal(out.file, &b);
    assert_int_equal(out.to, 10);
    page_window__free(w);
}

static void many_ranges_keep_their_order_while_the_ring_grows(void **state)
{
    (void)state;
    enum { HELD = 1000, ROUNDS = 5000 };
    struct page_window *w = page_window__new(HELD);
    uint64_t next_out = 0;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        page_window__add(w, (struct page_range){&a, i, i + 1});
        struct page_range out;
        while (page_window__next_out(w, &out))
            assert_int_equal(out.from, next_out++);
    }
    assert_int_equal(next_out, ROUNDS - HELD);
    page_window__free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_ranges_go_when_more_than_the_limit_is_held),
        cmocka_unit_test(a_forgotten_file_is_named_no_more_and_counts_no_more),
        cmocka_unit_test(many_ranges_keep_their_order_while_the_ring_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
