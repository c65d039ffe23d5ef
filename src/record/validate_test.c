#include "record/validate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record/batches_for_test.h"
#include "record/records.h"

static const struct batch_rules rules_default = {
    .now_ms = TEST_BATCH_TIME_MS, .before_max_ms = INT64_MAX, .after_max_ms = 3600000};

static sl_err validate(struct slice b, const struct batch_rules *rules, struct batch_verdict *v)
{
    struct batch_info info;
    SL_AUTO(batch_check_free) struct batch_check *c = batch_check_new();
    sl_err err = batch_validate(c, b, rules, &info, v);
    assert_int_equal(err, v->err);
    assert_true((err == SL_OK) == (v->why == NULL));
    return err;
}

/* A good batch of three records in which one field of the header is replaced. */
static sl_err with_field(size_t at, size_t bytes, uint64_t value)
{
    struct slice b = test_batch(CODEC_NONE, 3, 20);
    struct batch_verdict v;
    uint8_t be[8];
    put_be64(be, value);
    memcpy(test_batch_bytes(b) + at, be + 8 - bytes, bytes);
    if (at != BATCH_LENGTH)
        put_be32(test_batch_bytes(b) + BATCH_CRC,
                 crc32c(0, b.data + BATCH_ATTRIBUTES, b.len - BATCH_ATTRIBUTES));
    sl_err err = validate(b, &rules_default, &v);
    slice_unref(&b);
    return err;
}

static sl_err with_payload(unsigned codec, int32_t count, const void *payload, size_t len,
                           struct batch_verdict *v)
{
    struct slice b = test_batch_of(codec, count, payload, len);
    sl_err err = validate(b, &rules_default, v);
    slice_unref(&b);
    return err;
}

static void good_batches_of_every_codec_and_size_pass(void **state)
{
    const int counts[] = {1, 2, 63, 64, 65, 1000};
    const size_t sizes[] = {0, 100, 1000, 70000};
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++)
        for (size_t i = 0; i < SL_ARRAY_LEN(counts); i++)
            for (size_t j = 0; j < SL_ARRAY_LEN(sizes); j++) {
                if (counts[i] * sizes[j] > 8 << 20)
                    continue;
                struct slice b = test_batch((enum codec)codec, counts[i], sizes[j]);
                struct batch_verdict v;
                assert_int_equal(SL_OK, validate(b, &rules_default, &v));
                assert_int_equal(TEST_BATCH_TIME_MS + counts[i] - 1, v.max_timestamp_ms);
                slice_unref(&b);
            }
}

static void K05_a_wrong_checksum_is_corrupt(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 3, 20);
    struct batch_verdict v;
    test_batch_bytes(b)[BATCH_HEADER_BYTES + 5] ^= 1;
    assert_int_equal(SL_ECORRUPT, validate(b, &rules_default, &v));
    slice_unref(&b);
}

static void K05_counts_that_lie_are_refused(void **state)
{
    assert_int_equal(SL_ERECORD, with_field(BATCH_RECORD_COUNT, 4, 0));
    assert_int_equal(SL_ERECORD, with_field(BATCH_RECORD_COUNT, 4, 2));
    assert_int_equal(SL_ERECORD, with_field(BATCH_RECORD_COUNT, 4, (uint64_t)-1));
    assert_int_equal(SL_ERECORD, with_field(BATCH_LAST_OFFSET_DELTA, 4, 3));
    assert_int_equal(SL_ERECORD, with_field(BATCH_LAST_OFFSET_DELTA, 4, (uint64_t)-1));
    struct slice b = test_batch(CODEC_NONE, 3, 20);
    struct batch_verdict v;
    put_be32(test_batch_bytes(b) + BATCH_RECORD_COUNT, 4);
    put_be32(test_batch_bytes(b) + BATCH_LAST_OFFSET_DELTA, 3);
    test_batch_seal(test_batch_bytes(b), b.len);
    assert_int_equal(SL_ERECORD, validate(b, &rules_default, &v)); /* one record too few */
    put_be32(test_batch_bytes(b) + BATCH_RECORD_COUNT, 2);
    put_be32(test_batch_bytes(b) + BATCH_LAST_OFFSET_DELTA, 1);
    test_batch_seal(test_batch_bytes(b), b.len);
    assert_int_equal(SL_ERECORD, validate(b, &rules_default, &v)); /* one too many */
    slice_unref(&b);
}

static void K05_header_fields_that_clients_may_not_set_are_refused(void **state)
{
    assert_int_equal(SL_ERECORD, with_field(BATCH_BASE_OFFSET, 8, 5));
    assert_int_equal(SL_EMAGIC, with_field(BATCH_MAGIC, 1, 0));
    assert_int_equal(SL_EMAGIC, with_field(BATCH_MAGIC, 1, 1));
    assert_int_equal(SL_EMAGIC, with_field(BATCH_MAGIC, 1, 3));
    assert_int_equal(SL_ERECORD, with_field(BATCH_ATTRIBUTES, 2, BATCH_CONTROL));
    assert_int_equal(SL_ERECORD, with_field(BATCH_ATTRIBUTES, 2, BATCH_DELETE_HORIZON));
    assert_int_equal(SL_ETIMESTAMP, with_field(BATCH_ATTRIBUTES, 2, BATCH_LOG_APPEND_TIME));
    assert_int_equal(SL_ETXN_STATE, with_field(BATCH_ATTRIBUTES, 2, BATCH_TRANSACTIONAL));
    assert_int_equal(SL_ECODEC, with_field(BATCH_ATTRIBUTES, 2, 5));
    assert_int_equal(SL_ECODEC, with_field(BATCH_ATTRIBUTES, 2, 7));
    assert_int_equal(SL_ERECORD, with_field(BATCH_LENGTH, 4, 1000));
    assert_int_equal(SL_ERECORD, with_field(BATCH_LENGTH, 4, 60));
    assert_int_equal(SL_ECORRUPT, with_field(BATCH_LENGTH, 4, 12));
    assert_int_equal(SL_ERECORD, with_field(BATCH_PRODUCER_ID, 8, 9)); /* and no sequence */
    assert_int_equal(SL_ERECORD, with_field(BATCH_PRODUCER_ID, 8, (uint64_t)-2));
}

static void K05_two_batches_or_half_of_one_are_refused(void **state)
{
    struct slice b = test_batch(CODEC_NONE, 3, 20);
    struct batch_verdict v;
    uint8_t two[1024];
    memcpy(two, b.data, b.len);
    memcpy(two + b.len, b.data, b.len);
    assert_int_equal(SL_ERECORD, validate(slice_of(two, 2 * b.len), &rules_default, &v));
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(SL_ERECORD, validate(slice_of(b.data, n), &rules_default, &v));
    slice_unref(&b);
}

static void K05_record_times_outside_the_range_are_refused(void **state)
{
    struct batch_rules rules = rules_default;
    struct slice b = test_batch(CODEC_NONE, 3, 20);
    struct batch_verdict v;
    rules.now_ms = TEST_BATCH_TIME_MS + 1000;
    rules.before_max_ms = 999;
    assert_int_equal(SL_ETIMESTAMP, validate(b, &rules, &v));
    assert_int_equal(0, v.record_index);
    rules.before_max_ms = 1000;
    assert_int_equal(SL_OK, validate(b, &rules, &v));
    rules.now_ms = TEST_BATCH_TIME_MS - 1000;
    rules.after_max_ms = 1001;
    assert_int_equal(SL_ETIMESTAMP, validate(b, &rules, &v));
    assert_int_equal(2, v.record_index);
    rules.append_time = true;
    assert_int_equal(SL_OK, validate(b, &rules, &v));
    slice_unref(&b);
    assert_int_equal(SL_ETIMESTAMP, with_field(BATCH_BASE_TIMESTAMP, 8, (uint64_t)INT64_MAX));
    assert_int_equal(SL_ETIMESTAMP, with_field(BATCH_BASE_TIMESTAMP, 8, (uint64_t)INT64_MIN));
    assert_int_equal(SL_ETIMESTAMP, with_field(BATCH_BASE_TIMESTAMP, 8, (uint64_t)-5));
}

static void K05_records_whose_bytes_do_not_add_up_are_refused(void **state)
{
    struct batch_verdict v;
    /* length, attributes, time, offset, key -1, value -1, no headers: the smallest record */
    const uint8_t good[] = {12, 0, 0, 0, 1, 1, 0};
    assert_int_equal(SL_OK, with_payload(0, 1, good, 7, &v));
    const uint8_t bad[][9] = {
        {10, 0, 0, 0, 1, 1, 0},                  /* shorter than its fields */
        {14, 0, 0, 0, 1, 1, 0, 0},               /* longer than its fields */
        {11, 0, 0, 0, 1, 1, 0},                  /* negative length */
        {12, 0, 0, 2, 1, 1, 0},                  /* offset delta 1 */
        {12, 0, 0, 1, 1, 1, 0},                  /* offset delta -1 */
        {12, 0, 0, 0, 3, 1, 0},                  /* key length -2 */
        {12, 0, 0, 0, 1, 40, 0},                 /* value beyond its record */
        {12, 0, 0, 0, 1, 1, 1},                  /* header count -1 */
        {12, 0, 0, 0, 1, 1, 126},                /* 63 headers in no bytes */
        {16, 0, 0, 0, 1, 1, 2, 1, 1},            /* header name null */
        {0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, /* a number of 6 bytes */
        {0xff, 0xff, 0xff, 0xff, 0x7f, 0},       /* a number above 32 bits */
        {12, 0, 0, 0, 1, 1, 0, 0},               /* one byte behind the last record */
    };
    const size_t lens[] = {7, 8, 7, 7, 7, 7, 7, 7, 7, 9, 7, 6, 8};
    for (size_t i = 0; i < SL_ARRAY_LEN(lens); i++) {
        assert_int_equal(SL_ERECORD, with_payload(0, 1, bad[i], lens[i], &v));
        for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) { /* and when packed */
            struct buf packed;
            buf_init(&packed, 4096);
            assert_int_equal(SL_OK,
                             codec_compress((enum codec)codec, slice_of(bad[i], lens[i]), &packed));
            assert_int_equal(SL_ERECORD, with_payload(codec, 1, packed.data, packed.len, &v));
            buf_fini(&packed);
        }
    }
}

static void K05_a_huge_header_count_costs_nothing(void **state)
{
    struct batch_verdict v;
    const uint8_t record[] = {20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f};
    assert_int_equal(SL_ERECORD, with_payload(0, 1, record, sizeof record, &v));
}

static void K05_compression_inside_compression_is_refused(void **state)
{
    struct slice inner = test_batch(CODEC_GZIP, 2, 50);
    struct buf packed;
    struct batch_verdict v;
    buf_init(&packed, 4096);
    assert_int_equal(SL_OK, codec_compress(CODEC_GZIP, inner, &packed));
    assert_int_equal(SL_ERECORD, with_payload(CODEC_GZIP, 2, packed.data, packed.len, &v));
    buf_fini(&packed);
    slice_unref(&inner);
}

static void K06_a_batch_that_decompresses_beyond_the_limit_is_refused(void **state)
{
    struct batch_rules rules = rules_default;
    struct batch_verdict v;
    rules.output_bytes_max = 200000;
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct slice b = test_batch((enum codec)codec, 300, 1000);
        assert_int_equal(SL_ERECORD, validate(b, &rules, &v));
        assert_int_equal(SL_OK, validate(b, &rules_default, &v));
        slice_unref(&b);
    }
}

static int64_t ticking_ns(const struct clock *c)
{
    static int64_t now_ns;
    return now_ns += 1000000;
}

static void K06_a_long_batch_gives_way_and_goes_on_later(void **state)
{
    const struct clock clock = {.monotonic_ns = ticking_ns};
    struct slice b = test_batch(CODEC_GZIP, 3000, 1000);
    struct batch_info info;
    struct batch_verdict v;
    SL_AUTO(batch_check_free) struct batch_check *c = batch_check_new();
    assert_int_equal(SL_OK, batch_check_header(b, &rules_default, &info, &v));
    batch_check_start(c, b, &info, &rules_default);
    int pauses = 0;
    while (batch_check_run(c, &clock, clock_monotonic_ns(&clock) + 5000000, &v) == SL_PENDING)
        pauses++;
    assert_int_equal(SL_OK, v.err);
    assert_int_equal(TEST_BATCH_TIME_MS + 2999, v.max_timestamp_ms);
    assert_in_range(pauses, 5, 20);
    slice_unref(&b);
}

static void damage_inside_a_compressed_batch_is_not_retriable(void **state)
{
    struct batch_verdict v;
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct slice b = test_batch((enum codec)codec, 30, 100);
        test_batch_bytes(b)[b.len - 9] ^= 0x40;
        test_batch_bytes(b)[BATCH_HEADER_BYTES + 3] ^= 0x40;
        test_batch_seal(test_batch_bytes(b), b.len);
        assert_int_equal(SL_ERECORD, validate(b, &rules_default, &v));
        slice_unref(&b);
    }
}

static void a_keyless_record_on_a_compacted_topic_is_refused(void **state)
{
    struct batch_rules rules = rules_default;
    struct batch_verdict v;
    const uint8_t keyless[] = {12, 0, 0, 0, 1, 1, 0};
    struct slice b = test_batch_of(0, 1, keyless, sizeof keyless);
    rules.keys_required = true;
    assert_int_equal(SL_ERECORD, validate(b, &rules, &v));
    assert_int_equal(0, v.record_index);
    slice_unref(&b);
    b = test_batch(CODEC_NONE, 2, 5);
    assert_int_equal(SL_OK, validate(b, &rules, &v));
    slice_unref(&b);
}

static void max_message_bytes_counts_the_whole_batch(void **state)
{
    struct batch_rules rules = rules_default;
    struct batch_verdict v;
    struct slice b = test_batch(CODEC_NONE, 2, 100);
    rules.batch_bytes_max = (uint32_t)b.len;
    assert_int_equal(SL_OK, validate(b, &rules, &v));
    rules.batch_bytes_max--;
    assert_int_equal(SL_EBATCH_BIG, validate(b, &rules, &v));
    slice_unref(&b);
}

static void zstd_is_refused_in_requests_that_do_not_know_it(void **state)
{
    struct batch_rules rules = rules_default;
    struct batch_verdict v;
    struct slice b = test_batch(CODEC_ZSTD, 2, 100);
    rules.old_codecs_only = true;
    assert_int_equal(SL_ECODEC, validate(b, &rules, &v));
    slice_unref(&b);
}

static void what_validation_accepts_the_iterator_reads(void **state)
{
    struct slice b = test_batch(CODEC_LZ4, 100, 300);
    struct record_iterator it;
    struct record r;
    struct record_header h;
    struct buf scratch;
    buf_init(&scratch, 1 << 20);
    assert_int_equal(SL_OK, records_open(b, &scratch, &it));
    for (int i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(SL_OK, records_next(&it, &r));
        assert_int_equal(i, r.offset);
        assert_int_equal(TEST_BATCH_TIME_MS + i, r.timestamp_ms);
        assert_true(slice_eq_str(r.key, key));
        assert_int_equal(300, r.value.len);
        assert_int_equal(1, r.n_headers);
        assert_int_equal(SL_OK, record_next_header(&r, &h));
        assert_true(slice_eq_str(h.name, "trace"));
        assert_true(slice_eq_str(h.value, "abc"));
        assert_int_equal(SL_EEND, record_next_header(&r, &h));
    }
    assert_int_equal(SL_EEND, records_next(&it, &r));
    buf_fini(&scratch);
    slice_unref(&b);
}

static void a_time_is_found_at_its_exact_offset(void **state)
{
    int64_t offset, timestamp_ms;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct slice b = test_batch((enum codec)codec, 100, 1000);
        batch_set_base_offset(test_batch_bytes(b), 5000);
        assert_int_equal(
            SL_OK, records_find_timestamp(b, TEST_BATCH_TIME_MS + 42, &offset, &timestamp_ms));
        assert_int_equal(5042, offset);
        assert_int_equal(TEST_BATCH_TIME_MS + 42, timestamp_ms);
        assert_int_equal(SL_OK, records_find_timestamp(b, 0, &offset, &timestamp_ms));
        assert_int_equal(5000, offset);
        assert_int_equal(
            SL_EEND, records_find_timestamp(b, TEST_BATCH_TIME_MS + 100, &offset, &timestamp_ms));
        batch_stamp_append_time(test_batch_bytes(b), (uint32_t)b.len, TEST_BATCH_TIME_MS + 500);
        assert_int_equal(
            SL_OK, records_find_timestamp(b, TEST_BATCH_TIME_MS + 100, &offset, &timestamp_ms));
        assert_int_equal(5000, offset);
        assert_int_equal(TEST_BATCH_TIME_MS + 500, timestamp_ms);
        slice_unref(&b);
    }
}

static void null_key_value_and_header_value_survive(void **state)
{
    SL_AUTO(batch_builder_free) struct batch_builder *b = batch_builder_new(CODEC_NONE, 1000);
    const struct new_header header = {slice_str("h"), {0}};
    const struct new_record tombstone = {.timestamp_ms = 5, .headers = &header, .n_headers = 1};
    const struct new_record empty = {
        .timestamp_ms = 3, .key = slice_str(""), .value = slice_str("")};
    struct slice batch;
    struct record_iterator it;
    struct record r;
    struct record_header h;
    assert_int_equal(SL_EEND, batch_builder_finish(b, &batch_producer_none, &batch));
    assert_int_equal(SL_OK, batch_builder_add(b, &tombstone));
    assert_int_equal(SL_OK, batch_builder_add(b, &empty));
    assert_int_equal(2, batch_builder_count(b));
    assert_int_equal(SL_OK, batch_builder_finish(b, &batch_producer_none, &batch));
    assert_int_equal(SL_OK, records_open(batch, NULL, &it));
    assert_int_equal(5, it.info.max_timestamp);
    assert_int_equal(SL_OK, records_next(&it, &r));
    assert_null(r.key.data);
    assert_null(r.value.data);
    assert_int_equal(SL_OK, record_next_header(&r, &h));
    assert_null(h.value.data);
    assert_int_equal(SL_OK, records_next(&it, &r));
    assert_non_null(r.key.data);
    assert_non_null(r.value.data);
    assert_int_equal(3, r.timestamp_ms);
    slice_unref(&batch);
}

static void a_full_builder_stays_as_it_was(void **state)
{
    SL_AUTO(batch_builder_free) struct batch_builder *b = batch_builder_new(CODEC_NONE, 200);
    uint8_t value[100] = {0};
    const struct new_record r = {.value = slice_of(value, sizeof value)};
    struct slice batch;
    struct batch_verdict v;
    assert_int_equal(SL_OK, batch_builder_add(b, &r));
    assert_int_equal(SL_EFULL, batch_builder_add(b, &r));
    assert_int_equal(1, batch_builder_count(b));
    assert_int_equal(SL_OK, batch_builder_finish(b, &batch_producer_none, &batch));
    assert_int_equal(SL_OK, validate(batch, &rules_default, &v));
    slice_unref(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_batches_of_every_codec_and_size_pass),
        cmocka_unit_test(K05_a_wrong_checksum_is_corrupt),
        cmocka_unit_test(K05_counts_that_lie_are_refused),
        cmocka_unit_test(K05_header_fields_that_clients_may_not_set_are_refused),
        cmocka_unit_test(K05_two_batches_or_half_of_one_are_refused),
        cmocka_unit_test(K05_record_times_outside_the_range_are_refused),
        cmocka_unit_test(K05_records_whose_bytes_do_not_add_up_are_refused),
        cmocka_unit_test(K05_a_huge_header_count_costs_nothing),
        cmocka_unit_test(K05_compression_inside_compression_is_refused),
        cmocka_unit_test(K06_a_batch_that_decompresses_beyond_the_limit_is_refused),
        cmocka_unit_test(K06_a_long_batch_gives_way_and_goes_on_later),
        cmocka_unit_test(damage_inside_a_compressed_batch_is_not_retriable),
        cmocka_unit_test(a_keyless_record_on_a_compacted_topic_is_refused),
        cmocka_unit_test(max_message_bytes_counts_the_whole_batch),
        cmocka_unit_test(zstd_is_refused_in_requests_that_do_not_know_it),
        cmocka_unit_test(what_validation_accepts_the_iterator_reads),
        cmocka_unit_test(a_time_is_found_at_its_exact_offset),
        cmocka_unit_test(null_key_value_and_header_value_survive),
        cmocka_unit_test(a_full_builder_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
