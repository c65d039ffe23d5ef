#include "record/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record/batches_for_test.h"

static void the_header_of_a_batch_reads_back(void **state)
{
    struct slice b = test_batch(CODEC_ZSTD, 3, 10);
    struct batch_info info;
    assert_int_equal(SL_OK, batch_peek(b, &info));
    assert_int_equal(b.len, info.bytes);
    assert_int_equal(0, info.base_offset);
    assert_int_equal(CODEC_ZSTD, info.attributes);
    assert_int_equal(2, info.last_offset_delta);
    assert_int_equal(3, info.record_count);
    assert_int_equal(TEST_BATCH_TIME_MS, info.base_timestamp);
    assert_int_equal(TEST_BATCH_TIME_MS + 2, info.max_timestamp);
    assert_int_equal(-1, info.producer_id);
    assert_int_equal(b.len, batch_bytes(b.data));
    assert_true(batch_crc_holds(b.data, &info));
    slice_unref(&b);
}

static void offset_and_epoch_are_set_without_touching_the_checksum(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 3, 10);
    struct batch_info info;
    batch_set_base_offset(test_batch_bytes(b), 1234567890123);
    batch_set_leader_epoch(test_batch_bytes(b), 7);
    assert_int_equal(SL_OK, batch_peek(b, &info));
    assert_int_equal(1234567890123, info.base_offset);
    assert_int_equal(1234567890125, batch_last_offset(&info));
    assert_int_equal(7, info.leader_epoch);
    assert_true(batch_crc_holds(b.data, &info));
    slice_unref(&b);
}

static void log_append_time_sets_bit_time_and_checksum(void **state)
{
    struct slice b = test_batch(CODEC_GZIP, 2, 10);
    struct batch_info info;
    batch_stamp_append_time(test_batch_bytes(b), (uint32_t)b.len, 42);
    assert_int_equal(SL_OK, batch_peek(b, &info));
    assert_int_equal(BATCH_LOG_APPEND_TIME | CODEC_GZIP, info.attributes);
    assert_int_equal(42, info.max_timestamp);
    assert_true(batch_crc_holds(b.data, &info));
    slice_unref(&b);
}

static void a_wrong_max_timestamp_is_put_right(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 2, 10);
    struct batch_info info;
    batch_set_max_timestamp(test_batch_bytes(b), (uint32_t)b.len, 99);
    assert_int_equal(SL_OK, batch_peek(b, &info));
    assert_int_equal(99, info.max_timestamp);
    assert_true(batch_crc_holds(b.data, &info));
    slice_unref(&b);
}

static void K05_a_length_below_the_header_is_corrupt(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 1, 10);
    struct batch_info info;
    put_be32(test_batch_bytes(b) + BATCH_LENGTH, 48);
    assert_int_equal(SL_ECORRUPT, batch_peek(b, &info));
    put_be32(test_batch_bytes(b) + BATCH_LENGTH, UINT32_MAX);
    assert_int_equal(SL_ECORRUPT, batch_peek(b, &info));
    assert_int_equal(0, batch_bytes(b.data));
    slice_unref(&b);
}

static void a_batch_cut_at_any_byte_is_not_whole(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 1, 10);
    struct batch_info info;
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(SL_EEND, batch_peek(slice_of(b.data, n), &info));
    slice_unref(&b);
}

static void every_flipped_bit_behind_the_checksum_is_seen(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 1, 4);
    struct batch_info info;
    assert_int_equal(SL_OK, batch_peek(b, &info));
    for (size_t bit = (size_t)BATCH_ATTRIBUTES * 8; bit < b.len * 8; bit++) {
        test_batch_bytes(b)[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(batch_crc_holds(b.data, &info));
        test_batch_bytes(b)[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    slice_unref(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_header_of_a_batch_reads_back),
        cmocka_unit_test(offset_and_epoch_are_set_without_touching_the_checksum),
        cmocka_unit_test(log_append_time_sets_bit_time_and_checksum),
        cmocka_unit_test(a_wrong_max_timestamp_is_put_right),
        cmocka_unit_test(K05_a_length_below_the_header_is_corrupt),
        cmocka_unit_test(a_batch_cut_at_any_byte_is_not_whole),
        cmocka_unit_test(every_flipped_bit_behind_the_checksum_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
