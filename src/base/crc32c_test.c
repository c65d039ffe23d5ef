#include "base/crc32c.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* RFC 3720, B.4 */
static void published_vectors_match(void **state)
{
    uint8_t zeros[32] = {0}, ones[32], up[32];
    for (int i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
    }
    assert_int_equal(0xe3069283, crc32c(0, "123456789", 9));
    assert_int_equal(0x8a9136aa, crc32c(0, zeros, 32));
    assert_int_equal(0x62a8ab43, crc32c(0, ones, 32));
    assert_int_equal(0x46dd794e, crc32c(0, up, 32));
    assert_int_equal(0x46dd794e, crc32c_portable(0, up, 32));
    assert_int_equal(0, crc32c(0, NULL, 0));
}

static void both_versions_agree_at_all_lengths_and_alignments(void **state)
{
    enum { BYTES = 40000 };
    struct rng_seeded r;
    rng_seeded_init(&r, 1);
    uint8_t *data = malloc(BYTES + 16);
    r.rng.fill(&r.rng, data, BYTES + 16);
    for (size_t len = 0; len < 1200; len++)
        assert_int_equal(crc32c_portable(7, data + len % 9, len), crc32c(7, data + len % 9, len));
    for (int i = 0; i < 200; i++) {
        size_t len = rng_below(&r.rng, BYTES);
        assert_int_equal(crc32c_portable(0, data + i % 16, len), crc32c(0, data + i % 16, len));
    }
    free(data);
}

static void pieces_continue_each_other(void **state)
{
    uint8_t data[5000];
    struct rng_seeded r;
    rng_seeded_init(&r, 2);
    r.rng.fill(&r.rng, data, sizeof data);
    uint32_t whole = crc32c(0, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 123)
        assert_int_equal(whole, crc32c(crc32c(0, data, cut), data + cut, sizeof data - cut));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_match),
        cmocka_unit_test(both_versions_agree_at_all_lengths_and_alignments),
        cmocka_unit_test(pieces_continue_each_other),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
