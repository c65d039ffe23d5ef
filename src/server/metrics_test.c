#include "server/metrics.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void O07_labels_of_peers_cannot_break_the_page(void **state)
{
    static const char hostile[] = "a\"} 1\nsluice_ready 0\n\\x\x1b[31m\xff\0end";
    struct buf out;
    buf_init(&out, 1000);
    metrics_print_label(slice_of(hostile, sizeof hostile - 1), &out);
    write_u8(&out, 0);
    assert_string_equal("a\\\"} 1\\nsluice_ready 0\\n\\\\x?[31m??end", (const char *)out.data);
    buf_fini(&out);
}

static void the_committed_page_is_the_one_made_from_the_table(void **state)
{
    struct buf page;
    buf_init(&page, 1 << 20);
    metrics_print_page(&page);
    FILE *f = fopen("docs/metrics.md", "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    (void)fclose(f);
    if (n != page.len || memcmp(text, page.data, n) != 0)
        fail_msg("docs/metrics.md is out of date: build/sluice metrics-docs >docs/metrics.md");
    free(text);
    buf_fini(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(O07_labels_of_peers_cannot_break_the_page),
        cmocka_unit_test(the_committed_page_is_the_one_made_from_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
