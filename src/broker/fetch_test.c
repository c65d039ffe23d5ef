#include "broker/fetch.h"

#include "broker/core_for_test.h"
#include "broker/fetch_int.h"

struct fetched {
    struct broker_fetch f;
    struct broker_fetch_part parts[TEST_PARTITIONS];
    struct broker_fetch_forgotten forgotten[TEST_PARTITIONS];
    bool finished;
    int64_t finished_ms;
    struct loop *loop;
};

static void fetch_done(struct broker_call *call)
{
    struct fetched *f = SL_CONTAINER_OF(call, struct fetched, f.call);
    assert_false(f->finished);
    f->finished = true;
    f->finished_ms = loop_now_ms(f->loop);
}

/* A fetch of the first n partitions from offset 0: 500 ms, 1 byte, no session. */
static struct fetched *fetch_new(struct core *c, uint32_t n)
{
    struct fetched *f = sl_new(struct fetched);
    for (uint32_t i = 0; i < n; i++)
        f->parts[i] = (struct broker_fetch_part){
            .topic = slice_str("t"), .index = (int32_t)i, .bytes_max = 1 << 20, .leader_epoch = -1};
    f->f.parts = f->parts;
    f->f.n_parts = n;
    f->f.forgotten = f->forgotten;
    f->f.max_wait_ms = 500;
    f->f.min_bytes = 1;
    f->f.max_bytes = 50 << 20;
    f->f.session_epoch = -1;
    f->f.call.done = fetch_done;
    f->loop = c->loop;
    broker_fetch_init(&f->f);
    return f;
}

static struct fetched *fetch_submit(struct core *c, struct fetched *f)
{
    core_submit(c, &f->f.call);
    return f;
}

static void drop(struct fetched *f)
{
    assert_true(f->finished);
    broker_fetch_results_free(f->f.results);
    sl_free(f);
}

static void append_done(struct log_append *a)
{
}

/* n batches of one record with a value of value_bytes, committed. */
static void append(struct core *c, int32_t index, int n, size_t value_bytes)
{
    for (int i = 0; i < n; i++) {
        struct log_batch batch = {.bytes = test_batch(CODEC_NONE, 1, value_bytes)};
        assert_int_equal(SL_OK, batch_peek(batch.bytes, &batch.info));
        struct log_append a = {.part = c->partitions[index].log,
                               .batches = &batch,
                               .n_batches = 1,
                               .done = append_done};
        log_append(&c->log.engine, &a);
        slice_unref(&batch.bytes);
        fake_commit(&c->log);
    }
}

static int count_batches(struct slice records)
{
    int n = 0;
    while (records.len) {
        struct batch_info info;
        assert_int_equal(SL_OK, batch_peek(records, &info));
        records = slice_sub(records, info.bytes, records.len - info.bytes);
        n++;
    }
    return n;
}

/* ---- one fetch
 * ------------------------------------------------------------------------------------ */

static void data_that_is_there_comes_at_once(struct core *c)
{
    append(c, 1, 3, 100);
    struct fetched *f = fetch_submit(c, fetch_new(c, 2));
    assert_true(f->finished);
    assert_int_equal(SL_OK, f->f.err);
    assert_int_equal(2, f->f.results->n); /* without a session every partition is named */
    assert_int_equal(0, f->f.results->items[0].records.len);
    assert_int_equal(0, f->f.results->items[0].high_watermark);
    assert_int_equal(3, count_batches(f->f.results->items[1].records));
    assert_int_equal(3, f->f.results->items[1].high_watermark);
    drop(f);
}

static void a_fetch_that_finds_nothing_waits_and_is_woken_by_an_append(struct core *c)
{
    struct fetched *f = fetch_submit(c, fetch_new(c, 2));
    core_run(c, 100);
    assert_false(f->finished);
    int64_t before_ms = loop_now_ms(c->loop);
    append(c, 1, 1, 100);
    core_run(c, 1);
    assert_true(f->finished);
    assert_in_range(f->finished_ms - before_ms, 0, 1);
    assert_int_equal(1, count_batches(f->f.results->items[1].records));
    drop(f);
}

static void a_fetch_waits_no_longer_than_it_may(struct core *c)
{
    int64_t begin_ms = loop_now_ms(c->loop);
    struct fetched *f = fetch_submit(c, fetch_new(c, 2));
    core_run(c, 1000);
    assert_true(f->finished);
    assert_in_range(f->finished_ms - begin_ms, 500, 510);
    assert_int_equal(SL_OK, f->f.err);
    drop(f);
}

static void K09_a_wait_is_capped_at_five_minutes(struct core *c)
{
    struct fetched *f = fetch_new(c, 1);
    int64_t begin_ms = loop_now_ms(c->loop);
    f->f.max_wait_ms = INT32_MAX;
    f->f.min_bytes = INT32_MAX;
    fetch_submit(c, f);
    core_run(c, 301000);
    assert_true(f->finished);
    assert_in_range(f->finished_ms - begin_ms, 299000, 300100);
    drop(f);
}

static void min_bytes_are_waited_for_without_reading_again_and_again(struct core *c)
{
    struct fetched *f = fetch_new(c, 2);
    f->f.min_bytes = 5000;
    f->f.max_wait_ms = 10000;
    fetch_submit(c, f);
    for (int i = 0; i < 20; i++) {
        append(c, i % 2, 1, 100);
        core_run(c, 10);
        assert_false(f->finished);
    }
    assert_in_range(c->log.n_reads, 0, 2);
    append(c, 0, 1, 2000);
    core_run(c, 10);
    assert_true(f->finished);
    assert_int_equal(11, count_batches(f->f.results->items[0].records));
    assert_int_equal(10, count_batches(f->f.results->items[1].records));
    drop(f);
}

static void more_min_bytes_than_a_response_holds_are_not_waited_for(struct core *c)
{
    struct fetched *f = fetch_new(c, 1);
    append(c, 0, 10, 1000000);
    f->f.min_bytes = 40 << 20;
    f->f.max_wait_ms = 60000;
    f->parts[0].bytes_max = 50 << 20;
    fetch_submit(c, f);
    assert_true(f->finished);
    assert_int_equal(8, count_batches(f->f.results->items[0].records));
    drop(f);
}

static void a_fetch_from_the_middle_of_a_batch_gets_the_whole_batch(struct core *c)
{
    struct log_batch batch = {.bytes = test_batch(CODEC_LZ4, 10, 100)};
    struct log_append a = {
        .part = c->partitions[0].log, .batches = &batch, .n_batches = 1, .done = append_done};
    struct batch_info info;
    assert_int_equal(SL_OK, batch_peek(batch.bytes, &batch.info));
    log_append(&c->log.engine, &a);
    fake_commit(&c->log);
    slice_unref(&batch.bytes);
    struct fetched *f = fetch_new(c, 1);
    f->parts[0].offset = 7;
    fetch_submit(c, f);
    assert_int_equal(SL_OK, batch_peek(f->f.results->items[0].records, &info));
    assert_int_equal(0, info.base_offset);
    assert_int_equal(10, info.record_count);
    drop(f);
}

static void the_first_batch_comes_whole_whatever_the_limits(struct core *c)
{
    append(c, 0, 2, 5000);
    append(c, 1, 2, 5000);
    struct fetched *f = fetch_new(c, 2);
    f->f.max_bytes = 10;
    f->parts[0].bytes_max = f->parts[1].bytes_max = 10;
    fetch_submit(c, f);
    assert_int_equal(1, count_batches(f->f.results->items[0].records));
    assert_int_equal(0, f->f.results->items[1].records.len);
    assert_int_equal(2, f->f.results->items[1].high_watermark); /* told all the same */
    drop(f);
}

static void limits_of_a_partition_and_of_the_response_hold(struct core *c)
{
    for (int32_t i = 0; i < 4; i++)
        append(c, i, 10, 1000);
    struct fetched *f = fetch_new(c, 4);
    f->f.max_bytes = 12000;
    f->parts[0].bytes_max = 3300;
    fetch_submit(c, f);
    assert_int_equal(3, count_batches(f->f.results->items[0].records));
    uint64_t total = 0;
    for (int i = 0; i < 4; i++)
        total += f->f.results->items[i].records.len;
    assert_in_range(total, 10000, 12000);
    drop(f);
}

static void offsets_outside_the_log_are_told_exactly(struct core *c)
{
    append(c, 0, 5, 10);
    c->partitions[0].log->log_start = 2;
    const int64_t offsets[] = {0, 1, 2, 5, 6};
    const sl_err errs[] = {SL_EOFFSET, SL_EOFFSET, SL_OK, SL_OK, SL_EOFFSET};
    for (size_t i = 0; i < SL_ARRAY_LEN(offsets); i++) {
        struct fetched *f = fetch_new(c, 1);
        f->parts[0].offset = offsets[i];
        f->f.max_wait_ms = 0;
        fetch_submit(c, f);
        assert_int_equal(errs[i], f->f.results->items[0].err);
        drop(f);
    }
}

static void leader_epochs_are_checked_as_in_kafka(struct core *c)
{
    c->partitions[0].log->leader_epoch = 3;
    const int32_t epochs[] = {-1, 2, 3, 4};
    const sl_err errs[] = {SL_OK, SL_ELEADER_FENCED, SL_OK, SL_ELEADER_UNKNOWN};
    for (size_t i = 0; i < SL_ARRAY_LEN(epochs); i++) {
        struct fetched *f = fetch_new(c, 1);
        f->parts[0].leader_epoch = epochs[i];
        f->f.max_wait_ms = 0;
        fetch_submit(c, f);
        assert_int_equal(errs[i], f->f.results->items[0].err);
        drop(f);
    }
}

static void unknown_topics_and_partitions_are_told_at_once(struct core *c)
{
    struct fetched *f = fetch_new(c, 2);
    f->parts[0].topic = slice_str("nope");
    f->parts[1].index = 77;
    fetch_submit(c, f);
    assert_true(f->finished);
    assert_int_equal(SL_ETOPIC, f->f.results->items[0].err);
    assert_int_equal(SL_ETOPIC, f->f.results->items[1].err);
    drop(f);
    f = fetch_new(c, 1);
    f->f.by_id = true;
    f->parts[0].topic_id.bytes[3] = 9;
    fetch_submit(c, f);
    assert_int_equal(SL_ETOPIC_ID, f->f.results->items[0].err);
    drop(f);
    f = fetch_new(c, 1);
    f->f.by_id = true;
    f->parts[0].topic_id = c->topic.id;
    f->f.max_wait_ms = 0;
    fetch_submit(c, f);
    assert_int_equal(SL_OK, f->f.results->items[0].err);
    drop(f);
}

static void slow_reads_are_waited_for_one_after_the_other(struct core *c)
{
    append(c, 0, 2, 100);
    append(c, 2, 2, 100);
    c->log.slow_reads = true;
    struct fetched *f = fetch_submit(c, fetch_new(c, 3));
    assert_false(f->finished);
    fake_finish_reads(&c->log);
    assert_false(f->finished);
    fake_finish_reads(&c->log);
    assert_true(f->finished);
    assert_int_equal(2, count_batches(f->f.results->items[0].records));
    assert_int_equal(2, count_batches(f->f.results->items[2].records));
    drop(f);
}

static void a_fetch_of_many_partitions_gives_way_to_others(struct core *c)
{
    enum { MANY = 500 };
    struct broker_fetch_part *parts = sl_new_array(struct broker_fetch_part, MANY);
    struct fetched *f = fetch_new(c, 1);
    append(c, 3, 1, 10);
    for (int i = 0; i < MANY; i++) {
        parts[i] = f->parts[0];
        parts[i].index = i % TEST_PARTITIONS;
        parts[i].offset = i % TEST_PARTITIONS == 3 ? 1 : 0;
    }
    parts[MANY - 1].index = 3;
    parts[MANY - 1].offset = 0;
    f->f.parts = parts;
    f->f.n_parts = MANY;
    fetch_submit(c, f);
    assert_false(f->finished);
    core_run(c, 1);
    assert_true(f->finished);
    assert_int_equal(MANY, f->f.results->n);
    assert_int_equal(1, count_batches(f->f.results->items[MANY - 1].records));
    drop(f);
    sl_free(parts);
}

static void a_canceled_fetch_ends_now(struct core *c)
{
    struct fetched *f = fetch_submit(c, fetch_new(c, 1));
    assert_false(f->finished);
    broker_cancel(&f->f.call);
    core_run(c, 1);
    assert_true(f->finished);
    drop(f);
}

static void a_closing_core_answers_who_waits_and_refuses_who_comes(struct core *c)
{
    struct fetched *f = fetch_submit(c, fetch_new(c, 1));
    fetch__close(&c->broker);
    assert_true(f->finished);
    assert_int_equal(SL_OK, f->f.err);
    drop(f);
    c->broker.closed = c->broker.closing = true;
    f = fetch_submit(c, fetch_new(c, 1));
    assert_int_equal(SL_ECLOSED, f->f.err);
    assert_null(f->f.results);
    drop(f);
    c->broker.closed = c->broker.closing = false;
}

static void a_topic_that_goes_ends_the_wait(struct core *c)
{
    struct fetched *f = fetch_submit(c, fetch_new(c, 1));
    size_t key_len = sizeof c->topic.org.bytes + 1;
    uint8_t key[sizeof c->topic.org.bytes + 1] = {0};
    key[key_len - 1] = 't';
    assert_ptr_equal(&c->topic, map_remove(c->broker.topics_by_name, key, key_len));
    fetch__topic_gone(&c->broker, &c->topic);
    core_run(c, 1);
    assert_true(f->finished);
    assert_int_equal(SL_ETOPIC, f->f.results->items[0].err);
    drop(f);
}

/* ---- sessions
 * --------------------------------------------------------------------------------------- */

/* A new session over n partitions; returns its id. */
static int32_t session_begin(struct core *c, uint32_t n)
{
    struct fetched *f = fetch_new(c, n);
    f->f.session_epoch = 0;
    f->f.max_wait_ms = 0;
    fetch_submit(c, f);
    assert_int_equal(SL_OK, f->f.err);
    int32_t id = f->f.ret_session_id;
    assert_int_equal(n, f->f.results->n);
    drop(f);
    return id;
}

static struct fetched *session_next(struct core *c, int32_t id, int32_t epoch, uint32_t n_changed)
{
    struct fetched *f = fetch_new(c, n_changed);
    f->f.session_id = id;
    f->f.session_epoch = epoch;
    f->f.max_wait_ms = 0;
    return f;
}

static void an_incremental_fetch_names_only_what_changed(struct core *c)
{
    int32_t id = session_begin(c, 8);
    assert_int_not_equal(0, id);
    struct fetched *f = fetch_submit(c, session_next(c, id, 1, 0));
    assert_int_equal(SL_OK, f->f.err);
    assert_int_equal(id, f->f.ret_session_id);
    assert_int_equal(0, f->f.results->n);
    drop(f);
    append(c, 5, 2, 100);
    f = fetch_submit(c, session_next(c, id, 2, 0));
    assert_int_equal(1, f->f.results->n);
    assert_int_equal(5, f->f.results->items[0].index);
    assert_true(slice_eq_str(f->f.results->items[0].topic, "t"));
    assert_int_equal(2, count_batches(f->f.results->items[0].records));
    drop(f);
    f = session_next(c, id, 3, 1); /* the client moved on in partition 5 */
    f->parts[0].index = 5;
    f->parts[0].offset = 2;
    fetch_submit(c, f);
    assert_int_equal(0, f->f.results->n);
    drop(f);
}

static void data_that_the_client_did_not_take_comes_again(struct core *c)
{
    int32_t id = session_begin(c, 2);
    append(c, 0, 1, 100);
    for (int32_t epoch = 1; epoch < 4; epoch++) {
        struct fetched *f = fetch_submit(c, session_next(c, id, epoch, 0));
        assert_int_equal(1, f->f.results->n);
        assert_int_equal(1, count_batches(f->f.results->items[0].records));
        drop(f);
    }
}

static void a_session_parks_and_is_woken(struct core *c)
{
    int32_t id = session_begin(c, 8);
    struct fetched *f = session_next(c, id, 1, 0);
    f->f.max_wait_ms = 1000;
    fetch_submit(c, f);
    core_run(c, 50);
    assert_false(f->finished);
    append(c, 3, 1, 10);
    core_run(c, 1);
    assert_true(f->finished);
    assert_int_equal(1, f->f.results->n);
    assert_int_equal(3, f->f.results->items[0].index);
    drop(f);
}

static void an_idle_session_of_many_partitions_costs_no_look_at_them(struct core *c)
{
    int32_t id = session_begin(c, 8);
    struct broker *b = &c->broker;
    struct fetch_session *s = map_get(b->fetch->sessions, &id, sizeof id);
    assert_non_null(s);
    assert_true(list_empty(&s->set.ready));
    append(c, 3, 1, 10);
    assert_false(list_empty(&s->set.ready));
    assert_ptr_equal(s->set.ready.next, s->set.ready.prev); /* one entry to look at */
}

static void forgotten_partitions_are_gone_and_new_ones_join(struct core *c)
{
    int32_t id = session_begin(c, 2);
    struct fetched *f = session_next(c, id, 1, 1);
    f->forgotten[0] = (struct broker_fetch_forgotten){.topic = slice_str("t"), .index = 0};
    f->f.n_forgotten = 1;
    f->parts[0].index = 6;
    drop(fetch_submit(c, f));
    append(c, 0, 1, 10);
    append(c, 6, 1, 10);
    f = fetch_submit(c, session_next(c, id, 2, 0));
    assert_int_equal(1, f->f.results->n);
    assert_int_equal(6, f->f.results->items[0].index);
    drop(f);
}

static void wrong_ids_epochs_and_ways_of_naming_are_refused(struct core *c)
{
    int32_t id = session_begin(c, 2);
    struct fetched *f = fetch_submit(c, session_next(c, id + 1, 1, 0));
    assert_int_equal(SL_EFETCH_SESSION, f->f.err);
    drop(f);
    f = fetch_submit(c, session_next(c, id, 2, 0));
    assert_int_equal(SL_EFETCH_EPOCH, f->f.err);
    assert_int_equal(0, f->f.ret_session_id);
    drop(f);
    f = session_next(c, id, 1, 0);
    f->f.by_id = true;
    assert_int_equal(SL_EFETCH_IDS, fetch_submit(c, f)->f.err);
    drop(f);
    f = fetch_submit(c, session_next(c, id, 1, 0)); /* none of them harmed it */
    assert_int_equal(SL_OK, f->f.err);
    drop(f);
}

static void a_final_epoch_ends_the_session(struct core *c)
{
    int32_t id = session_begin(c, 2);
    struct fetched *f = session_next(c, id, -1, 1);
    fetch_submit(c, f);
    assert_int_equal(SL_OK, f->f.err);
    assert_int_equal(0, f->f.ret_session_id);
    assert_int_equal(1, f->f.results->n);
    drop(f);
    f = fetch_submit(c, session_next(c, id, 1, 0));
    assert_int_equal(SL_EFETCH_SESSION, f->f.err);
    drop(f);
}

static void K09_sessions_are_bounded_and_idle_ones_give_way(struct core *c)
{
    int32_t ids[3];
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(0, ids[i] = session_begin(c, 1));
    assert_int_equal(0, session_begin(c, 1)); /* full of young ones: works without a session */
    core_run(c, 121000);
    drop(fetch_submit(c, session_next(c, ids[0], 1, 0)));
    assert_int_not_equal(0, session_begin(c, 1));
    struct fetched *f = fetch_submit(c, session_next(c, ids[1], 1, 0));
    assert_int_equal(SL_EFETCH_SESSION, f->f.err); /* the least recently used one went */
    drop(f);
    f = fetch_submit(c, session_next(c, ids[0], 2, 0));
    assert_int_equal(SL_OK, f->f.err);
    drop(f);
    struct broker_fetch_counters counters;
    broker_fetch_counters(&c->broker, &counters);
    assert_int_equal(3, counters.sessions);
    assert_int_equal(1, counters.sessions_evicted);
}

static void K09_slow_readers_shrink_what_a_response_may_hold(struct core *c)
{
    struct fetched *held[40];
    uint64_t total = 0;
    append(c, 0, 30, 1000000);
    for (int i = 0; i < 40; i++) { /* nobody frees what was answered */
        held[i] = fetch_new(c, 1);
        held[i]->parts[0].bytes_max = 50 << 20;
        fetch_submit(c, held[i]);
        assert_true(count_batches(held[i]->f.results->items[0].records) >= 1);
        total += held[i]->f.results->items[0].records.len;
    }
    assert_in_range(total, 40 << 20, 110 << 20);
    assert_int_equal(1, count_batches(held[39]->f.results->items[0].records));
    for (int i = 0; i < 40; i++)
        drop(held[i]);
    assert_int_equal(0, fetch__memory_used(c->broker.fetch->memory));
    struct fetched *f = fetch_new(c, 1);
    f->parts[0].bytes_max = 50 << 20;
    fetch_submit(c, f);
    assert_int_equal(8, count_batches(f->f.results->items[0].records));
    drop(f);
}

static void what_did_not_fit_comes_first_next_time(struct core *c)
{
    int32_t id = session_begin(c, 3);
    int seen[3] = {0};
    for (int32_t i = 0; i < 3; i++)
        append(c, i, 4, 1000);
    for (int32_t epoch = 1; epoch <= 3; epoch++) {
        struct fetched *f = session_next(c, id, epoch, 0);
        f->f.max_bytes = 4000; /* one partition's worth */
        fetch_submit(c, f);
        assert_true(f->f.results->n >= 1);
        seen[f->f.results->items[0].index]++;
        drop(f);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(1, seen[i]);
}

static void a_topic_deleted_and_created_again_is_not_confused_in_an_old_session(struct core *c)
{
    int32_t id = session_begin(c, 1);
    struct uuid old = c->topic.id;
    fetch__topic_gone(&c->broker, &c->topic);
    assert_ptr_equal(&c->topic, map_remove(c->broker.topics_by_id, old.bytes, sizeof old.bytes));
    c->topic.id.bytes[5] = 99;
    append(c, 0, 1, 10);
    struct fetched *f = fetch_submit(c, session_next(c, id, 1, 0));
    assert_int_equal(1, f->f.results->n); /* by name: the new topic is found and read */
    assert_int_equal(1, count_batches(f->f.results->items[0].records));
    drop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(data_that_is_there_comes_at_once),
        CORE_TEST(a_fetch_that_finds_nothing_waits_and_is_woken_by_an_append),
        CORE_TEST(a_fetch_waits_no_longer_than_it_may),
        CORE_TEST(K09_a_wait_is_capped_at_five_minutes),
        CORE_TEST(min_bytes_are_waited_for_without_reading_again_and_again),
        CORE_TEST(more_min_bytes_than_a_response_holds_are_not_waited_for),
        CORE_TEST(a_fetch_from_the_middle_of_a_batch_gets_the_whole_batch),
        CORE_TEST(the_first_batch_comes_whole_whatever_the_limits),
        CORE_TEST(limits_of_a_partition_and_of_the_response_hold),
        CORE_TEST(offsets_outside_the_log_are_told_exactly),
        CORE_TEST(leader_epochs_are_checked_as_in_kafka),
        CORE_TEST(unknown_topics_and_partitions_are_told_at_once),
        CORE_TEST(slow_reads_are_waited_for_one_after_the_other),
        CORE_TEST(a_fetch_of_many_partitions_gives_way_to_others),
        CORE_TEST(a_canceled_fetch_ends_now),
        CORE_TEST(a_closing_core_answers_who_waits_and_refuses_who_comes),
        CORE_TEST(a_topic_that_goes_ends_the_wait),
        CORE_TEST(an_incremental_fetch_names_only_what_changed),
        CORE_TEST(data_that_the_client_did_not_take_comes_again),
        CORE_TEST(a_session_parks_and_is_woken),
        CORE_TEST(an_idle_session_of_many_partitions_costs_no_look_at_them),
        CORE_TEST(forgotten_partitions_are_gone_and_new_ones_join),
        CORE_TEST(wrong_ids_epochs_and_ways_of_naming_are_refused),
        CORE_TEST(a_final_epoch_ends_the_session),
        CORE_TEST(K09_sessions_are_bounded_and_idle_ones_give_way),
        CORE_TEST(K09_slow_readers_shrink_what_a_response_may_hold),
        CORE_TEST(what_did_not_fit_comes_first_next_time),
        CORE_TEST(a_topic_deleted_and_created_again_is_not_confused_in_an_old_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
