#include "broker/produce.h"

#include "broker/core_for_test.h"

struct produced {
    struct broker_produce p;
    struct broker_produce_part parts[4];
    int finished; /* the how-manieth to finish; 0: not yet */
};

static int n_finished;

static void produce_done(struct broker_call *call)
{
    struct produced *p = SL_CONTAINER_OF(call, struct produced, p.call);
    p->finished = ++n_finished;
}

/* One batch to partition `index`; the batch is consumed. */
static struct produced *produce(struct core *c, uint64_t source, int16_t acks, int32_t index,
                                struct slice batch)
{
    struct produced *p = sl_new(struct produced);
    p->parts[0].topic = slice_str("t");
    p->parts[0].index = index;
    p->parts[0].records = batch;
    p->p.parts = p->parts;
    p->p.n_parts = 1;
    p->p.acks = acks;
    p->p.timeout_ms = 30000;
    p->p.source = source;
    p->p.call.done = produce_done;
    broker_produce_init(&p->p);
    core_submit(c, &p->p.call);
    return p;
}

static void drop(struct produced *p)
{
    for (uint32_t i = 0; i < p->p.n_parts; i++)
        slice_unref(&p->parts[i].records);
    sl_free(p);
}

static sl_err outcome(struct core *c, struct produced *p)
{
    core_run(c, 500);
    fake_commit(&c->log);
    assert_true(p->finished);
    sl_err err = p->parts[0].err;
    drop(p);
    return err;
}

static int64_t base_offset_at(const struct core *c, int32_t index, int i)
{
    struct batch_info info;
    assert_true(i < c->partitions[index].log->n);
    assert_int_equal(SL_OK, batch_peek(c->partitions[index].log->batches[i], &info));
    return info.base_offset;
}

/* One good batch, one bad and one slow to check, each to a partition of its own. */
static struct produced *produce_three(struct core *c, struct slice slow, int32_t timeout_ms)
{
    struct produced *p = sl_new(struct produced);
    const struct slice records[] = {test_batch(CODEC_NONE, 2, 10), test_batch(CODEC_NONE, 2, 10),
                                    slow};
    for (int i = 0; i < 3; i++) {
        p->parts[i].topic = slice_str("t");
        p->parts[i].index = i;
        p->parts[i].records = records[i];
    }
    test_batch_bytes(records[1])[BATCH_HEADER_BYTES + 7] ^= 1;
    p->p.parts = p->parts;
    p->p.n_parts = 3;
    p->p.acks = -1;
    p->p.timeout_ms = timeout_ms;
    p->p.call.done = produce_done;
    broker_produce_init(&p->p);
    core_submit(c, &p->p.call);
    return p;
}

/* ---- what is answered ---------------------------------------------------------------------------
 */

static void answers_come_when_the_log_says_so(struct core *c)
{
    struct produced *p = produce(c, 1, -1, 0, test_batch(CODEC_NONE, 3, 10));
    struct produced *q = produce(c, 1, -1, 0, test_batch(CODEC_NONE, 2, 10));
    core_run(c, 100);
    assert_false(p->finished);
    fake_commit(&c->log);
    assert_true(p->finished && p->finished < q->finished);
    assert_int_equal(SL_OK, p->parts[0].err);
    assert_int_equal(0, p->parts[0].base_offset);
    assert_int_equal(3, q->parts[0].base_offset);
    assert_int_equal(-1, p->parts[0].log_append_ms);
    assert_int_equal(0, p->parts[0].log_start);
    drop(p);
    drop(q);
}

static void levels_follow_acks_and_idempotence(struct core *c)
{
    const int16_t acks[] = {0, 1, -1};
    const enum log_durability levels[] = {LOG_NONE, LOG_BUFFERED, LOG_DURABLE};
    for (int i = 0; i < 3; i++) {
        struct produced *p = produce(c, 1, acks[i], 0, test_batch(CODEC_NONE, 1, 10));
        assert_int_equal(levels[i], p->parts[0].append.durability);
        assert_int_equal(SL_OK, outcome(c, p));
    }
    struct slice batch = test_batch(CODEC_NONE, 1, 10);
    put_be64(test_batch_bytes(batch) + BATCH_PRODUCER_ID, 5);
    put_be16(test_batch_bytes(batch) + BATCH_PRODUCER_EPOCH, 0);
    put_be32(test_batch_bytes(batch) + BATCH_BASE_SEQUENCE, 0);
    test_batch_seal(test_batch_bytes(batch), batch.len);
    struct produced *p = produce(c, 1, 1, 0, batch);
    assert_int_equal(LOG_DURABLE, p->parts[0].append.durability);
    assert_int_equal(SL_OK, outcome(c, p));
}

static void wrong_acks_topics_and_partitions_are_refused(struct core *c)
{
    assert_int_equal(SL_EACKS, outcome(c, produce(c, 1, 2, 0, test_batch(CODEC_NONE, 1, 1))));
    assert_int_equal(SL_EACKS, outcome(c, produce(c, 1, -2, 0, test_batch(CODEC_NONE, 1, 1))));
    assert_int_equal(SL_ETOPIC, outcome(c, produce(c, 1, 1, 99, test_batch(CODEC_NONE, 1, 1))));
    assert_int_equal(SL_ETOPIC, outcome(c, produce(c, 1, 1, -1, test_batch(CODEC_NONE, 1, 1))));
    c->topic.id.bytes[0] = 8; /* the map still knows it as 7 */
    struct produced *p = sl_new(struct produced);
    p->p.by_id = true;
    p->p.parts = p->parts;
    p->p.n_parts = 1;
    p->parts[0].topic_id = c->topic.id;
    p->p.call.done = produce_done;
    broker_produce_init(&p->p);
    core_submit(c, &p->p.call);
    assert_int_equal(SL_ETOPIC_ID, outcome(c, p));
}

static void a_batch_above_max_message_bytes_is_refused(struct core *c)
{
    c->topic.config.max_message_bytes = 1000;
    assert_int_equal(SL_OK, outcome(c, produce(c, 1, 1, 0, test_batch(CODEC_NONE, 1, 800))));
    assert_int_equal(SL_EBATCH_BIG,
                     outcome(c, produce(c, 1, 1, 0, test_batch(CODEC_NONE, 1, 1000))));
    assert_int_equal(1, c->partitions[0].log->n);
}

static void log_append_time_is_asked_of_the_log(struct core *c)
{
    c->topic.config.message_timestamp_type = TIMESTAMP_LOG_APPEND_TIME;
    struct produced *p = produce(c, 1, 1, 0, test_batch(CODEC_NONE, 2, 10));
    assert_true(p->parts[0].append.append_time);
    fake_commit(&c->log);
    assert_int_equal(4711, p->parts[0].log_append_ms);
    drop(p);
}

static void a_wrong_max_timestamp_is_put_right_before_it_is_stored(struct core *c)
{
    struct slice batch = test_batch(CODEC_NONE, 3, 10);
    struct batch_info info;
    batch_set_max_timestamp(test_batch_bytes(batch), (uint32_t)batch.len, 5);
    assert_int_equal(SL_OK, outcome(c, produce(c, 1, -1, 0, batch)));
    assert_int_equal(SL_OK, batch_peek(c->partitions[0].log->batches[0], &info));
    assert_int_equal(TEST_BATCH_TIME_MS + 2, info.max_timestamp);
    assert_true(batch_crc_holds(c->partitions[0].log->batches[0].data, &info));
}

static void B36_an_unknown_outcome_stays_unknown(struct core *c)
{
    c->log.append_err = SL_EUNKNOWN_OUTCOME;
    assert_int_equal(SL_EUNKNOWN_OUTCOME,
                     outcome(c, produce(c, 1, -1, 0, test_batch(CODEC_NONE, 1, 1))));
    c->log.append_err = SL_ENOSPC;
    assert_int_equal(SL_ENOSPC, outcome(c, produce(c, 1, -1, 0, test_batch(CODEC_NONE, 1, 1))));
}

static void K05_a_broken_batch_says_which_rule_and_spares_its_neighbours(struct core *c)
{
    struct produced *p = produce_three(c, test_batch(CODEC_NONE, 2, 10), 30000);
    fake_commit(&c->log);
    assert_true(p->finished);
    assert_int_equal(SL_OK, p->parts[0].err);
    assert_int_equal(SL_ECORRUPT, p->parts[1].err);
    assert_non_null(p->parts[1].why);
    assert_int_equal(SL_OK, p->parts[2].err);
    assert_int_equal(0, c->partitions[1].log->n);
    drop(p);
}

/* ---- order
 * ------------------------------------------------------------------------------------------ */

static struct slice slow_batch(int records)
{
    struct slice b = test_batch(CODEC_GZIP, records, 1000);
    if (b.len > 16 * 1024) /* for a worker */
        return b;
    slice_unref(&b);
    return slow_batch(records * 2);
}

static void batches_of_a_connection_keep_their_order_across_a_slow_check(struct core *c)
{
    struct produced *slow = produce(c, 1, -1, 0, slow_batch(1000));
    struct produced *fast = produce(c, 1, -1, 0, test_batch(CODEC_NONE, 1, 10));
    struct produced *other_partition = produce(c, 1, -1, 1, test_batch(CODEC_NONE, 1, 10));
    struct produced *other_source = produce(c, 2, -1, 0, test_batch(CODEC_NONE, 1, 10));
    fake_commit(&c->log);
    assert_false(slow->finished || fast->finished);
    assert_true(other_partition->finished && other_source->finished);
    core_run(c, 1000);
    fake_commit(&c->log);
    assert_true(slow->finished && slow->finished < fast->finished);
    assert_int_equal(0, other_source->parts[0].base_offset);
    assert_int_equal(1, slow->parts[0].base_offset);
    assert_int_equal(1, base_offset_at(c, 0, 1));
    assert_true(fast->parts[0].base_offset > slow->parts[0].base_offset);
    drop(slow);
    drop(fast);
    drop(other_partition);
    drop(other_source);
}

static void a_refused_slow_batch_lets_the_next_one_pass(struct core *c)
{
    struct slice batch = slow_batch(1000);
    test_batch_bytes(batch)[batch.len - 100] ^= 1;
    struct produced *slow = produce(c, 1, -1, 0, batch);
    struct produced *fast = produce(c, 1, -1, 0, test_batch(CODEC_NONE, 1, 10));
    core_run(c, 1000);
    fake_commit(&c->log);
    assert_int_equal(SL_ECORRUPT, slow->parts[0].err);
    assert_int_equal(SL_OK, fast->parts[0].err);
    assert_int_equal(0, fast->parts[0].base_offset);
    drop(slow);
    drop(fast);
}

static void many_slow_checks_run_four_at_a_time_and_all_end(struct core *c)
{
    struct produced *p[20];
    for (int i = 0; i < 20; i++)
        p[i] = produce(c, 1, -1, i % 2, slow_batch(1000));
    core_run(c, 5000);
    fake_commit(&c->log);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(SL_OK, p[i]->parts[0].err);
        assert_int_equal(p[i]->parts[0].base_offset, base_offset_at(c, i % 2, i / 2));
        drop(p[i]);
    }
    assert_true(produce__idle(&c->broker));
}

static int64_t hasty_ns(const struct clock *c)
{
    static int64_t now_ns;
    return now_ns += 300 * 1000; /* each look at it costs a third of a millisecond */
}

static int64_t hasty_wall_ms(const struct clock *c)
{
    return TEST_BATCH_TIME_MS;
}

static void K06_a_small_batch_that_decompresses_for_long_leaves_the_loop(struct core *c)
{
    const struct clock hasty = {.monotonic_ns = hasty_ns, .wall_ms = hasty_wall_ms};
    struct slice bomb = test_batch(CODEC_LZ4, 5, 600000);
    struct broker_produce_counters counters;
    assert_in_range(bomb.len, 1000, 64 * 1024);
    c->broker.env.clock = &hasty;
    struct produced *p = produce(c, 1, -1, 0, bomb);
    struct produced *q = produce(c, 1, -1, 0, test_batch(CODEC_LZ4, 5, 60));
    broker_produce_counters(&c->broker, &counters);
    assert_int_equal(1, counters.worker_checks);
    core_run(c, 1000);
    fake_commit(&c->log);
    assert_int_equal(SL_OK, p->parts[0].err);
    assert_int_equal(0, p->parts[0].base_offset);
    assert_int_equal(5, q->parts[0].base_offset);
    drop(p);
    drop(q);
    c->broker.env.clock = sim_clock(c->sim);
}

static void a_topic_deleted_during_a_check_is_told(struct core *c)
{
    struct produced *slow = produce(c, 1, -1, 0, slow_batch(1000));
    produce__topic_gone(&c->broker, &c->topic);
    core_run(c, 1000);
    assert_true(slow->finished);
    assert_int_equal(SL_ETOPIC, slow->parts[0].err);
    assert_int_equal(0, c->partitions[0].log->n);
    drop(slow);
}

/* ---- a log that stalls ------------------------------------------------------------------------
 */

static void F08_a_stalled_log_is_told_at_the_timeout_and_the_append_goes_on(struct core *c)
{
    struct broker_produce_counters counters;
    struct slice records = test_batch(CODEC_NONE, 3, 10);
    struct produced *p = produce(c, 1, -1, 0, records);
    core_run(c, 29900);
    assert_false(p->finished);
    core_run(c, 200);
    assert_true(p->finished);
    assert_int_equal(SL_ETIMEDOUT, p->parts[0].err);
    assert_int_equal(-1, p->parts[0].base_offset);
    drop(p); /* the request is gone while the log is not finished with it */
    fake_commit(&c->log);
    assert_int_equal(1, c->partitions[0].log->n_abandoned);
    assert_int_equal(3, c->partitions[0].log->log_end);
    broker_produce_counters(&c->broker, &counters);
    assert_int_equal(1, counters.timed_out_batches);
    assert_int_equal(0, counters.batches);
    assert_true(produce__idle(&c->broker));
}

static void F08_only_what_the_log_has_times_out_and_not_before_all_is_checked(struct core *c)
{
    struct produced *p = produce_three(c, slow_batch(1000), 200);
    core_run(c, 20000);
    assert_true(p->finished);
    assert_int_equal(SL_ETIMEDOUT, p->parts[0].err);
    assert_int_equal(SL_ECORRUPT, p->parts[1].err);
    assert_int_equal(SL_ETIMEDOUT, p->parts[2].err);
    drop(p);
    fake_commit(&c->log);
    assert_int_equal(2, c->partitions[0].log->log_end);
    assert_int_equal(0, c->partitions[1].log->log_end);
    assert_true(c->partitions[2].log->log_end >= 1000);
}

static void a_timeout_of_zero_leaves_time_for_a_sync(struct core *c)
{
    struct produced *p = produce_three(c, test_batch(CODEC_NONE, 2, 10), 0);
    core_run(c, 50);
    assert_false(p->finished);
    fake_commit(&c->log);
    assert_int_equal(SL_OK, p->parts[0].err);
    core_run(c, 500); /* and the timer does not fire for a request that is gone */
    drop(p);
}

static void who_waits_for_no_answer_does_not_time_out(struct core *c)
{
    struct produced *p = produce(c, 1, 0, 0, test_batch(CODEC_NONE, 1, 10));
    core_run(c, 60000);
    assert_false(p->finished);
    assert_int_equal(SL_OK, outcome(c, p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(answers_come_when_the_log_says_so),
        CORE_TEST(levels_follow_acks_and_idempotence),
        CORE_TEST(wrong_acks_topics_and_partitions_are_refused),
        CORE_TEST(a_batch_above_max_message_bytes_is_refused),
        CORE_TEST(log_append_time_is_asked_of_the_log),
        CORE_TEST(a_wrong_max_timestamp_is_put_right_before_it_is_stored),
        CORE_TEST(B36_an_unknown_outcome_stays_unknown),
        CORE_TEST(K05_a_broken_batch_says_which_rule_and_spares_its_neighbours),
        CORE_TEST(batches_of_a_connection_keep_their_order_across_a_slow_check),
        CORE_TEST(a_refused_slow_batch_lets_the_next_one_pass),
        CORE_TEST(many_slow_checks_run_four_at_a_time_and_all_end),
        CORE_TEST(K06_a_small_batch_that_decompresses_for_long_leaves_the_loop),
        CORE_TEST(a_topic_deleted_during_a_check_is_told),
        CORE_TEST(F08_a_stalled_log_is_told_at_the_timeout_and_the_append_goes_on),
        CORE_TEST(F08_only_what_the_log_has_times_out_and_not_before_all_is_checked),
        CORE_TEST(a_timeout_of_zero_leaves_time_for_a_sync),
        CORE_TEST(who_waits_for_no_answer_does_not_time_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
