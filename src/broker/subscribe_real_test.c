/* Subscriptions on the real log and metastore, in a simulated world. */
#include "broker/subscribe_real_for_test.h"

#include <string.h>

static void ack_it(struct taker *r, const struct delivered *d)
{
    subscription_ack(r->s, d->partition, d->offset, true);
}

static void nack_it(struct taker *r, const struct delivered *d)
{
    if (d->offset == 2)
        subscription_nack(r->s, d->partition, d->offset, 0);
    else
        subscription_ack(r->s, d->partition, d->offset, false);
}

static void reject_it(struct taker *r, const struct delivered *d)
{
    subscription_reject(r->s, d->partition, d->offset);
}

static void sleep_ms(int64_t ms)
{
    sim_sleep_ns(ms * 1000000);
}

/* What is in the topic, by a tail. */
static void read_all(struct admin_world *w, struct taker *r, const char *topic)
{
    taker_init(r, w, topic);
    r->call.mode = SUBSCRIBE_TAIL;
    assert_int_equal(SL_OK, taker_open(r));
    taker_drain(r);
    taker_close(r);
}

ADMIN_TEST(what_is_acknowledged_does_not_come_again_after_a_restart)
{
    struct taker r;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, taker_publish(w, "t", 20));
    taker_init(&r, w, "t");
    r.on_message = ack_it;
    assert_int_equal(SL_OK, taker_open(&r));
    taker_grant(&r);
    sleep_ms(50);
    assert_int_equal(20, r.n);
    taker_close(&r);
    assert_int_equal(SL_OK, taker_publish(w, "t", 3));
    admin_reopen(w);
    taker_init(&r, w, "t");
    assert_int_equal(SL_OK, taker_open(&r));
    taker_drain(&r);
    taker_close(&r);
    assert_int_equal(3, r.n);
    assert_int_equal(20, r.got[0]);
    admin_reopen(w); /* with rows of ranges: they are read, and say how often it came */
    taker_init(&r, w, "t");
    assert_int_equal(SL_OK, taker_open(&r));
    taker_drain(&r);
    taker_close(&r);
    assert_int_equal(3, r.n);
    assert_int_equal(2, r.counts[0]);
}

ADMIN_TEST(a_message_that_is_never_acknowledged_becomes_a_dead_letter)
{
    struct taker r;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, taker_publish(w, "t", 4));
    taker_init(&r, w, "t");
    r.call.deliveries_max = 3;
    r.on_message = nack_it;
    assert_int_equal(SL_OK, taker_open(&r));
    taker_grant(&r);
    sleep_ms(500);
    assert_int_equal(6, r.n); /* three times offset 2 */
    taker_close(&r);
    assert_int_equal(4, taker_cursor(w->b, "t"));
    read_all(w, &r, "t.dlq");
    assert_int_equal(1, r.n);
    assert_non_null(strstr(r.headers, "trace=abc;"));
    assert_non_null(strstr(r.headers, "sluice-dlq-reason=delivered as often as allowed"));
    assert_non_null(strstr(r.headers, "sluice-dlq-topic=t;"));
    assert_non_null(strstr(r.headers, "sluice-dlq-offset=2;"));
    assert_non_null(strstr(r.headers, "sluice-dlq-deliveries=3;"));
    assert_non_null(strstr(r.headers, "sluice-dlq-group=g;"));
}

ADMIN_TEST(a_rejected_message_becomes_a_dead_letter_at_once)
{
    struct taker r;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, taker_publish(w, "t", 40)); /* more than may be on their way */
    taker_init(&r, w, "t");
    r.call.dead_letter_topic = slice_str("graveyard");
    r.on_message = reject_it;
    assert_int_equal(SL_OK, taker_open(&r));
    taker_grant(&r);
    sleep_ms(500);
    assert_int_equal(40, r.n);
    taker_close(&r);
    assert_int_equal(40, taker_cursor(w->b, "t"));
    read_all(w, &r, "graveyard");
    assert_int_equal(40, r.n);
    assert_non_null(strstr(r.headers, "sluice-dlq-reason=rejected by its consumer;"));
}

ADMIN_TEST(a_topic_that_grows_and_goes)
{
    struct taker r, tail;
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    taker_init(&r, w, "t");
    r.on_message = ack_it;
    assert_int_equal(SL_OK, taker_open(&r));
    taker_grant(&r);
    taker_init(&tail, w, "t");
    tail.call.mode = SUBSCRIBE_TAIL;
    assert_int_equal(SL_OK, taker_open(&tail));
    taker_grant(&tail);
    assert_int_equal(SL_OK, admin_grow(w, "t", 3));
    struct broker_produce_part part = {
        .topic = slice_str("t"), .index = 2, .records = test_batch(CODEC_NONE, 5, 10)};
    struct broker_produce p = {.acks = -1, .timeout_ms = 30000, .parts = &part, .n_parts = 1};
    broker_produce_init(&p);
    admin_call(w, &p.call);
    slice_unref(&part.records);
    assert_int_equal(SL_OK, part.err);
    sleep_ms(50);
    assert_int_equal(5, r.n);
    assert_int_equal(5, tail.n);
    assert_int_equal(SL_OK, admin_delete(w, "t"));
    taker_wait(&r, &r.has_ended);
    taker_wait(&tail, &tail.has_ended);
    assert_int_equal(SL_ETOPIC, r.end);
    taker_close(&r);
    taker_close(&tail);
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(-1, taker_cursor(w->b, "t"));
}

/* ---- a door on another loop -------------------------------------------------------------------
 */

static void run_loop(void *arg)
{
    loop_run(arg);
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

ADMIN_TEST(a_door_on_another_loop_gets_the_same_in_order)
{
    struct taker r;
    struct loop *home;
    struct thread *thread;
    assert_int_equal(SL_OK, loop_new(w->b->env.clock, &home));
    assert_int_equal(SL_OK, thread_start("door", run_loop, home, &thread));
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    assert_int_equal(SL_OK, taker_publish(w, "t", 100));
    taker_init(&r, w, "t");
    r.home = home;
    r.call.room = 500; /* many deliveries */
    r.on_message = ack_it;
    assert_int_equal(SL_OK, taker_open(&r));
    taker_drain(&r);
    assert_int_equal(100, r.n);
    for (int i = 0; i < r.n; i++)
        assert_int_equal(i, r.got[i]);
    taker_close(&r);
    on_loop(w, home, stop_loop, home);
    thread_join(thread);
    loop_free(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_acknowledged_does_not_come_again_after_a_restart),
        cmocka_unit_test(a_message_that_is_never_acknowledged_becomes_a_dead_letter),
        cmocka_unit_test(a_rejected_message_becomes_a_dead_letter_at_once),
        cmocka_unit_test(a_topic_that_grows_and_goes),
        cmocka_unit_test(a_door_on_another_loop_gets_the_same_in_order),
    };
    return cmocka_run_group_tests_name("subscribe real", tests, NULL, NULL);
}
