/* Produce, fetch and list offsets on the real log engine and metastore, in a simulated world. */
#include "broker/admin_for_test.h"
#include "broker/fetch.h"
#include "broker/offsets.h"
#include "broker/produce.h"
#include "record/batches_for_test.h"
#include "record/records.h"

/* Appends one batch, which is consumed; the part's answer. */
static struct broker_produce_part produce(struct admin_world *w, int32_t index, struct slice batch)
{
    struct broker_produce_part *part = sl_new(struct broker_produce_part);
    struct broker_produce p = {.acks = -1, .parts = part, .n_parts = 1};
    part->topic = slice_str("t");
    part->index = index;
    part->records = batch;
    broker_produce_init(&p);
    admin_call(w, &p.call);
    struct broker_produce_part answer = *part;
    slice_unref(&part->records);
    sl_free(part);
    return answer;
}

static struct slice idempotent(int32_t sequence, int16_t epoch, int n)
{
    struct slice b = test_batch(CODEC_NONE, n, 50);
    put_be64(test_batch_bytes(b) + BATCH_PRODUCER_ID, 77);
    put_be16(test_batch_bytes(b) + BATCH_PRODUCER_EPOCH, (uint16_t)epoch);
    put_be32(test_batch_bytes(b) + BATCH_BASE_SEQUENCE, (uint32_t)sequence);
    test_batch_seal(test_batch_bytes(b), b.len);
    return b;
}

struct fetched {
    struct broker_fetch f;
    struct broker_fetch_part part;
};

static void fetch_begin(struct fetched *f, int64_t offset, int32_t wait_ms)
{
    *f = (struct fetched){
        .part = {
            .topic = slice_str("t"), .offset = offset, .bytes_max = 1 << 20, .leader_epoch = -1}};
    f->f.parts = &f->part;
    f->f.n_parts = 1;
    f->f.max_wait_ms = wait_ms;
    f->f.min_bytes = 1;
    f->f.max_bytes = 1 << 20;
    f->f.session_epoch = -1;
    broker_fetch_init(&f->f);
}

/* Counts the records from `offset` on, checking that offsets rise by one; the error otherwise. */
static sl_err count_records(struct admin_world *w, int64_t offset, int64_t *ret_next)
{
    struct fetched f;
    fetch_begin(&f, offset, 0);
    admin_call(w, &f.f.call);
    assert_int_equal(SL_OK, f.f.err);
    struct broker_fetch_result *r = &f.f.results->items[0];
    struct slice records = r->records;
    sl_err err = r->err;
    while (err == SL_OK && records.len) {
        struct record_iterator it;
        struct record record;
        struct buf scratch;
        buf_init(&scratch, 1 << 20);
        assert_int_equal(SL_OK, records_open(records, &scratch, &it));
        while (records_next(&it, &record) == SL_OK)
            if (record.offset >= offset)
                assert_int_equal(offset++, record.offset);
        buf_fini(&scratch);
        records = slice_sub(records, it.info.bytes, records.len - it.info.bytes);
    }
    broker_fetch_results_free(f.f.results);
    *ret_next = offset;
    return err;
}

static struct broker_offsets_part list(struct admin_world *w, int64_t timestamp_ms)
{
    struct broker_offsets_part part = {
        .topic = slice_str("t"), .current_leader_epoch = -1, .timestamp_ms = timestamp_ms};
    struct broker_list_offsets l = {.parts = &part, .n_parts = 1};
    broker_list_offsets_init(&l);
    admin_call(w, &l.call);
    assert_int_equal(SL_OK, part.err);
    return part;
}

ADMIN_TEST(records_of_every_codec_come_back_also_after_a_restart)
{
    int64_t next;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct broker_produce_part part = produce(w, 0, test_batch((enum codec)codec, 10, 100));
        assert_int_equal(SL_OK, part.err);
        assert_int_equal(10 * codec, part.base_offset);
    }
    for (int round = 0; round < 2; round++) {
        assert_int_equal(SL_OK, count_records(w, 0, &next));
        assert_int_equal(10 * CODEC_COUNT, next);
        assert_int_equal(SL_OK, count_records(w, 23, &next)); /* the middle of a batch */
        assert_int_equal(10 * CODEC_COUNT, next);
        assert_int_equal(SL_EOFFSET, count_records(w, 10 * CODEC_COUNT + 1, &next));
        admin_reopen(w);
    }
}

ADMIN_TEST(B08_a_repeated_batch_gets_its_first_offset_also_after_a_restart)
{
    int64_t next;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    for (int i = 0; i < 5; i++)
        assert_int_equal(3 * i, produce(w, 0, idempotent(3 * i, 0, 3)).base_offset);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5; i++) {
            struct broker_produce_part part = produce(w, 0, idempotent(3 * i, 0, 3));
            assert_int_equal(SL_OK, part.err);
            assert_int_equal(3 * i, part.base_offset);
        }
        assert_int_equal(SL_ESEQ, produce(w, 0, idempotent(99, 0, 3)).err);
        admin_reopen(w);
    }
    assert_int_equal(SL_OK, count_records(w, 0, &next));
    assert_int_equal(15, next);
    assert_int_equal(SL_OK, produce(w, 0, idempotent(0, 1, 1)).err); /* a new epoch starts at 0 */
    assert_int_equal(SL_EPRODUCER_FENCED, produce(w, 0, idempotent(15, 0, 1)).err);
}

ADMIN_TEST(a_waiting_fetch_is_woken_by_the_log_itself)
{
    struct fetched f;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    fetch_begin(&f, 0, 60000);
    admin_submit(w, &f.f.call);
    sim_sleep_ns(1000000000);
    assert_null(f.f.results);
    struct broker_produce_part part = produce(w, 0, test_batch(CODEC_NONE, 2, 10));
    assert_int_equal(SL_OK, part.err); /* has waited for the fetch, too */
    assert_int_equal(2, f.f.results->items[0].high_watermark);
    assert_true(f.f.results->items[0].records.len > 0);
    broker_fetch_results_free(f.f.results);
}

ADMIN_TEST(a_waiting_fetch_hears_that_its_topic_is_deleted)
{
    struct fetched f;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    fetch_begin(&f, 0, 60000);
    admin_submit(w, &f.f.call);
    sim_sleep_ns(1000000000);
    assert_int_equal(SL_OK, admin_delete(w, "t"));
    assert_int_equal(SL_ETOPIC, f.f.results->items[0].err);
    broker_fetch_results_free(f.f.results);
}

ADMIN_TEST(times_are_found_exactly_in_every_codec)
{
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++)
        assert_int_equal(SL_OK, produce(w, 0, test_batch((enum codec)codec, 10, 100)).err);
    struct broker_offsets_part part = list(w, TEST_BATCH_TIME_MS + 4);
    assert_int_equal(4, part.offset);
    assert_int_equal(TEST_BATCH_TIME_MS + 4, part.found_timestamp_ms);
    part = list(w, OFFSET_MAX_TIMESTAMP);
    assert_int_equal(9, part.offset);
    assert_int_equal(TEST_BATCH_TIME_MS + 9, part.found_timestamp_ms);
    assert_int_equal(-1, list(w, TEST_BATCH_TIME_MS + 10).offset);
    assert_int_equal(0, list(w, OFFSET_EARLIEST).offset);
    assert_int_equal(10 * CODEC_COUNT, list(w, OFFSET_LATEST).offset);
}

ADMIN_TEST(LogAppendTime_rises_and_is_rewritten_in_every_batch)
{
    int64_t last_ms = 0;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, admin_set(w, "t", "message.timestamp.type", "LogAppendTime"));
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        struct broker_produce_part part = produce(w, 0, test_batch((enum codec)codec, 10, 100));
        assert_int_equal(SL_OK, part.err);
        assert_true(part.log_append_ms > TEST_BATCH_TIME_MS);
        assert_true(part.log_append_ms >= last_ms);
        last_ms = part.log_append_ms;
        assert_int_equal(last_ms, list(w, OFFSET_MAX_TIMESTAMP).found_timestamp_ms);
    }
}

ADMIN_TEST(a_fetch_session_ends_with_the_core_and_is_unknown_afterwards)
{
    struct fetched f;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    fetch_begin(&f, 0, 0);
    f.f.session_epoch = 0;
    admin_call(w, &f.f.call);
    int32_t id = f.f.ret_session_id;
    assert_int_not_equal(0, id);
    broker_fetch_results_free(f.f.results);
    admin_reopen(w);
    fetch_begin(&f, 0, 0);
    f.f.session_id = id;
    f.f.session_epoch = 1;
    admin_call(w, &f.f.call);
    assert_int_equal(SL_EFETCH_SESSION, f.f.err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_every_codec_come_back_also_after_a_restart),
        cmocka_unit_test(B08_a_repeated_batch_gets_its_first_offset_also_after_a_restart),
        cmocka_unit_test(a_waiting_fetch_is_woken_by_the_log_itself),
        cmocka_unit_test(a_waiting_fetch_hears_that_its_topic_is_deleted),
        cmocka_unit_test(times_are_found_exactly_in_every_codec),
        cmocka_unit_test(LogAppendTime_rises_and_is_rewritten_in_every_batch),
        cmocka_unit_test(a_fetch_session_ends_with_the_core_and_is_unknown_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
