#include "base/reader.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct reader over(const void *data, size_t len)
{
    return reader_over(slice_of(data, len), NULL, 0);
}

static void what_the_writer_writes_the_reader_reads(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    write_u8(&b, 200);
    write_i8(&b, -3);
    write_bool(&b, true);
    write_i16(&b, -300);
    write_u16(&b, 60000);
    write_i32(&b, -70000);
    write_u32(&b, 4000000000u);
    write_i64(&b, INT64_MIN);
    write_f64(&b, 1.5);
    write_uvarint(&b, UINT64_MAX);
    write_varint(&b, INT64_MIN);
    write_varint(&b, -1);
    write_bytes(&b, "abc", 3);
    assert_int_equal(SL_OK, buf_check(&b));
    struct reader in = over(b.data, b.len);
    assert_int_equal(200, read_u8(&in));
    assert_int_equal(-3, read_i8(&in));
    assert_true(read_bool(&in));
    assert_int_equal(-300, read_i16(&in));
    assert_int_equal(60000, read_u16(&in));
    assert_int_equal(-70000, read_i32(&in));
    assert_true(read_u32(&in) == 4000000000u);
    assert_true(read_i64(&in) == INT64_MIN);
    assert_true(read_f64(&in) == 1.5);
    assert_true(read_uvarint64(&in) == UINT64_MAX);
    assert_true(read_varint64(&in) == INT64_MIN);
    assert_int_equal(-1, read_varint32(&in));
    assert_memory_equal("abc", read_raw(&in, 3), 3);
    assert_int_equal(SL_OK, reader_finish(&in));
    buf_fini(&b);
}

static void every_truncation_is_an_error_and_reads_nothing_behind_it(void **state)
{
    static const uint8_t whole[] = {1, 0, 2, 0, 0, 0, 3, 0x80, 0x80, 1, 5};
    for (size_t len = 0; len < sizeof whole; len++) {
        struct reader in = over(whole, len);
        (void)read_u8(&in);
        (void)read_i16(&in);
        (void)read_i32(&in);
        (void)read_uvarint32(&in);
        (void)read_u8(&in);
        assert_int_equal(SL_EPROTO, reader_finish(&in));
        assert_true(in.pos <= len);
    }
}

static void the_first_error_sticks_and_says_where(void **state)
{
    struct reader in = over("\0\1\2\3", 4);
    (void)read_u8(&in);
    assert_null(read_raw(&in, 4));
    assert_int_equal(0, read_u8(&in)); /* a byte is left, and still */
    reader_fail(&in, SL_EINVAL, "later");
    assert_int_equal(SL_EPROTO, reader_finish(&in));
    assert_int_equal(1, in.err_pos);
    assert_non_null(in.err_what);
}

static void bytes_that_are_left_over_are_an_error(void **state)
{
    struct reader in = over("ab", 2);
    (void)read_u8(&in);
    assert_int_equal(SL_EPROTO, reader_finish(&in));
    assert_int_equal(1, in.err_pos);
}

static void K02_varints_of_6_and_11_bytes_are_refused(void **state)
{
    static const uint8_t six[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    static const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                     0x80, 0x80, 0x80, 0x80, 0x00};
    struct reader in = over(six, sizeof six);
    (void)read_uvarint32(&in);
    assert_int_equal(SL_EPROTO, in.err);
    in = over(six, sizeof six);
    (void)read_varint32(&in);
    assert_int_equal(SL_EPROTO, in.err);
    in = over(eleven, sizeof eleven);
    (void)read_uvarint64(&in);
    assert_int_equal(SL_EPROTO, in.err);
    in = over(eleven, sizeof eleven);
    (void)read_varint64(&in);
    assert_int_equal(SL_EPROTO, in.err);
}

static void K02_varints_with_bits_beyond_their_width_are_refused(void **state)
{
    static const uint8_t max32[] = {0xff, 0xff, 0xff, 0xff, 0x0f};
    static const uint8_t over32[] = {0xff, 0xff, 0xff, 0xff, 0x1f};
    static const uint8_t over64[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    struct reader in = over(max32, sizeof max32);
    assert_true(read_uvarint32(&in) == UINT32_MAX);
    assert_int_equal(SL_OK, reader_finish(&in));
    in = over(over32, sizeof over32);
    (void)read_uvarint32(&in);
    assert_int_equal(SL_EPROTO, in.err);
    in = over(over64, sizeof over64);
    (void)read_uvarint64(&in);
    assert_int_equal(SL_EPROTO, in.err);
}

static void K02_a_longer_form_than_needed_is_accepted_within_the_limit(void **state)
{
    static const uint8_t long_one[] = {0x81, 0x80, 0x80, 0x80, 0x00};
    struct reader in = over(long_one, sizeof long_one);
    assert_int_equal(1, read_uvarint32(&in));
    assert_int_equal(SL_OK, reader_finish(&in));
}

static void K02_lengths_that_the_bytes_cannot_hold_are_refused(void **state)
{
    static const int64_t bad[] = {-2,        -3,         INT32_MIN, 3,
                                  INT32_MAX, UINT32_MAX, INT64_MAX, INT64_MIN};
    bool is_null;
    for (size_t i = 0; i < SL_ARRAY_LEN(bad); i++) {
        struct reader in = over("12345678", 8);
        assert_int_equal(0, read_count(&in, bad[i], 4, &is_null));
        assert_int_equal(SL_EPROTO, in.err);
    }
    struct reader in = over("12345678", 8);
    assert_int_equal(2, read_count(&in, 2, 4, &is_null));
    assert_false(is_null);
    assert_int_equal(0, read_count(&in, -1, 4, &is_null));
    assert_true(is_null);
    assert_int_equal(SL_OK, in.err);
    assert_int_equal(0, read_count(&in, -1, 4, NULL)); /* null where none is allowed */
    assert_int_equal(SL_EPROTO, in.err);
    in = over("\x7f\xff\xff\xff", 4);
    assert_int_equal(0, read_array_len(&in, 1));
    assert_int_equal(SL_EPROTO, in.err);
}

/* A frame of one byte elements described by large structs: the budget stops it, not the machine. */
static void B27_a_reader_hands_out_no_more_than_eight_times_its_bytes(void **state)
{
    enum { FRAME = 1000, STRUCT_BYTES = 200 };
    static uint8_t frame[FRAME];
    struct arena *a = arena_new(NULL);
    struct reader in = reader_over(slice_of(frame, FRAME), a, (size_t)8 * FRAME);
    uint32_t n = read_count(&in, FRAME, 1, NULL);
    assert_int_equal(FRAME, n);
    assert_null(read_alloc(&in, n, STRUCT_BYTES));
    assert_int_equal(SL_EFULL, in.err);
    assert_true(arena_used(a) <= (size_t)8 * FRAME);

    in = reader_over(slice_of(frame, FRAME), a, (size_t)8 * FRAME);
    size_t handed_out = 0;
    while (read_alloc(&in, 1, STRUCT_BYTES))
        handed_out += STRUCT_BYTES;
    assert_int_equal(8 * FRAME, handed_out);
    assert_int_equal(SL_EFULL, in.err);
    arena_free(a);
}

static void B27_sizes_that_overflow_are_refused(void **state)
{
    struct arena *a = arena_new(NULL);
    struct reader in = reader_over(slice_of("x", 1), a, SIZE_MAX);
    assert_null(read_alloc(&in, SIZE_MAX / 2, 3));
    assert_int_equal(SL_EFULL, in.err);
    in = reader_over(slice_of("x", 1), a, SIZE_MAX);
    assert_null(read_alloc(&in, 0, 8)); /* nothing asked, nothing wrong */
    assert_int_equal(SL_OK, in.err);
    in = reader_over(slice_of("x", 1), NULL, SIZE_MAX);
    assert_null(read_alloc(&in, 1, 1));
    assert_int_equal(SL_EFULL, in.err);
    arena_free(a);
}

static void a_slice_keeps_the_block_when_it_is_referenced(void **state)
{
    struct block *block = block_new(4);
    memcpy(block_data(block), "abcd", 4);
    struct slice frame = slice_of_block(block, 0, 4);
    block_unref(block);
    struct reader in = reader_over(frame, NULL, 0);
    read_skip(&in, 1);
    struct slice borrowed = read_slice(&in, 2);
    struct slice kept = slice_ref(borrowed, 0, 2);
    slice_unref(&frame);
    assert_true(slice_eq_str(kept, "bc"));
    slice_unref(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_writer_writes_the_reader_reads),
        cmocka_unit_test(every_truncation_is_an_error_and_reads_nothing_behind_it),
        cmocka_unit_test(the_first_error_sticks_and_says_where),
        cmocka_unit_test(bytes_that_are_left_over_are_an_error),
        cmocka_unit_test(K02_varints_of_6_and_11_bytes_are_refused),
        cmocka_unit_test(K02_varints_with_bits_beyond_their_width_are_refused),
        cmocka_unit_test(K02_a_longer_form_than_needed_is_accepted_within_the_limit),
        cmocka_unit_test(K02_lengths_that_the_bytes_cannot_hold_are_refused),
        cmocka_unit_test(B27_a_reader_hands_out_no_more_than_eight_times_its_bytes),
        cmocka_unit_test(B27_sizes_that_overflow_are_refused),
        cmocka_unit_test(a_slice_keeps_the_block_when_it_is_referenced),
    };
    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
