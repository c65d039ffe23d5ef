#include "broker/offsets.h"

#include "broker/core_for_test.h"

static int n_done;

static void call_done(struct broker_call *call)
{
    n_done++;
}

static void append_done(struct log_append *a)
{
}

static void append(struct core *c, int records)
{
    struct log_batch batch = {.bytes = test_batch(CODEC_GZIP, records, 10)};
    struct log_append a = {
        .part = c->partitions[0].log, .batches = &batch, .n_batches = 1, .done = append_done};
    assert_int_equal(SL_OK, batch_peek(batch.bytes, &batch.info));
    log_append(&c->log.engine, &a);
    fake_commit(&c->log);
    slice_unref(&batch.bytes);
}

static struct broker_offsets_part list(struct core *c, int64_t timestamp_ms, int32_t leader_epoch)
{
    struct broker_offsets_part part = {.topic = slice_str("t"),
                                       .current_leader_epoch = leader_epoch,
                                       .timestamp_ms = timestamp_ms};
    struct broker_list_offsets l = {.parts = &part, .n_parts = 1};
    n_done = 0;
    l.call.done = call_done;
    broker_list_offsets_init(&l);
    core_submit(c, &l.call);
    assert_int_equal(1, n_done);
    return part;
}

static void earliest_and_latest_are_those_of_the_log(struct core *c)
{
    append(c, 10);
    c->partitions[0].log->log_start = 4;
    assert_int_equal(10, list(c, OFFSET_LATEST, -1).offset);
    assert_int_equal(4, list(c, OFFSET_EARLIEST, -1).offset);
    assert_int_equal(4, list(c, OFFSET_EARLIEST_LOCAL, -1).offset);
    assert_int_equal(-1, list(c, OFFSET_LATEST_TIERED, -1).offset);
    assert_int_equal(-1, list(c, OFFSET_EARLIEST_PENDING_UPLOAD, -1).offset);
    assert_int_equal(SL_EUNSUPPORTED, list(c, -7, -1).err);
}

static void a_timestamp_is_answered_with_the_exact_record(struct core *c)
{
    append(c, 10);
    struct broker_offsets_part part = list(c, TEST_BATCH_TIME_MS + 7, -1);
    assert_int_equal(7, part.offset);
    assert_int_equal(TEST_BATCH_TIME_MS + 7, part.found_timestamp_ms);
    part = list(c, TEST_BATCH_TIME_MS + 10, -1);
    assert_int_equal(SL_OK, part.err);
    assert_int_equal(-1, part.offset);
    assert_int_equal(-1, part.found_timestamp_ms);
}

static void max_timestamp_names_the_record_that_has_it(struct core *c)
{
    assert_int_equal(-1, list(c, OFFSET_MAX_TIMESTAMP, -1).offset);
    append(c, 10);
    append(c, 5); /* older ones behind */
    struct broker_offsets_part part = list(c, OFFSET_MAX_TIMESTAMP, -1);
    assert_int_equal(9, part.offset);
    assert_int_equal(TEST_BATCH_TIME_MS + 9, part.found_timestamp_ms);
}

static void leader_epochs_are_checked_and_told(struct core *c)
{
    append(c, 25);
    c->partitions[0].log->leader_epoch = 3; /* the log for tests: epoch n ends at 10 (n + 1) */
    assert_int_equal(SL_ELEADER_FENCED, list(c, OFFSET_LATEST, 2).err);
    assert_int_equal(SL_ELEADER_UNKNOWN, list(c, OFFSET_LATEST, 4).err);
    assert_int_equal(3, list(c, OFFSET_LATEST, 3).leader_epoch);
    assert_int_equal(0, list(c, OFFSET_EARLIEST, 3).leader_epoch);
    c->partitions[0].log->log_start = 15;
    assert_int_equal(1, list(c, OFFSET_EARLIEST, -1).leader_epoch);
}

static void the_end_of_an_epoch_is_told(struct core *c)
{
    append(c, 45);
    c->partitions[0].log->leader_epoch = 3;
    struct broker_epoch_part parts[] = {
        {.topic = slice_str("t"), .current_leader_epoch = 3, .epoch = 1},
        {.topic = slice_str("t"), .current_leader_epoch = -1, .epoch = 3},
        {.topic = slice_str("t"), .current_leader_epoch = 2, .epoch = 1},
        {.topic = slice_str("x"), .current_leader_epoch = -1, .epoch = 1},
    };
    struct broker_epoch_ends e = {.parts = parts, .n_parts = SL_ARRAY_LEN(parts)};
    n_done = 0;
    e.call.done = call_done;
    broker_epoch_ends_init(&e);
    core_submit(c, &e.call);
    assert_int_equal(1, n_done);
    assert_int_equal(20, parts[0].end_offset);
    assert_int_equal(1, parts[0].ret_epoch);
    assert_int_equal(45, parts[1].end_offset);
    assert_int_equal(SL_ELEADER_FENCED, parts[2].err);
    assert_int_equal(-1, parts[2].end_offset);
    assert_int_equal(SL_ETOPIC, parts[3].err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(earliest_and_latest_are_those_of_the_log),
        CORE_TEST(a_timestamp_is_answered_with_the_exact_record),
        CORE_TEST(max_timestamp_names_the_record_that_has_it),
        CORE_TEST(leader_epochs_are_checked_and_told),
        CORE_TEST(the_end_of_an_epoch_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
