/* The delivery engine: credit, acks, takeovers, deadlines, dead letters, durability. */
#include "broker/group.h"
#include "broker/subscribe_for_test.h"

static void with_scene(struct core *c, void (*body)(struct scene *s))
{
    struct scene *s = sl_new(struct scene);
    s->core = c;
    scene_open(s);
    body(s);
    scene_close(s);
    scene_forget(s);
    sl_free(s);
}

#define SCENE_TEST(name)                                                                           \
    static void name##_body(struct scene *s);                                                      \
    static void name##_core(struct core *c)                                                        \
    {                                                                                              \
        with_scene(c, name##_body);                                                                \
    }                                                                                              \
    static void name(void **state)                                                                 \
    {                                                                                              \
        in_core(name##_core);                                                                      \
    }                                                                                              \
    static void name##_body(struct scene *s)

static void ack(struct door *o, int64_t offset)
{
    subscription_ack(o->s, 0, offset, true);
}

static void give_room_back(struct door *o)
{
    size_t room = o->room;
    o->room = 0;
    subscription_room(o->s, room);
}

static int64_t cursor(struct scene *s, const char *group)
{
    const struct scene_row *r = scene_row(&s->meta, group, 0);
    return r->has_offset ? r->offset : -1;
}

static struct broker_subscription_counters counters(struct scene *s)
{
    struct broker_subscription_counters c;
    broker_subscription_counters(&s->core->broker, &c);
    return c;
}

/* ---- credit -----------------------------------------------------------------------------------
 */

SCENE_TEST(nothing_is_delivered_without_credit)
{
    scene_publish(s, 0, 10);
    struct door *o = door_with(s, "g", "a", 0);
    assert_int_equal(0, o->n);
    assert_int_equal(1, counters(s).blocked);
    subscription_credit(o->s, 3);
    scene_run(s, 1);
    assert_int_equal(3, o->n);
    subscription_credit(o->s, 2);
    subscription_credit(o->s, 2);
    scene_run(s, 1);
    assert_int_equal(7, o->n);
    for (int i = 0; i < o->n; i++)
        assert_int_equal(i, o->got[i]);
    door_free(o);
}

SCENE_TEST(W11_credit_saturates_and_never_wraps)
{
    struct door *o = door_with(s, "g", "a", UINT32_MAX);
    subscription_credit(o->s, UINT32_MAX);
    subscription_credit(o->s, 7);
    assert_true(o->s->credit == UINT32_MAX);
    scene_publish(s, 0, 10);
    scene_run(s, 1);
    assert_int_equal(10, o->n);
    assert_true(o->s->credit == UINT32_MAX - 10);
    subscription_room(o->s, SIZE_MAX);
    subscription_room(o->s, SIZE_MAX);
    assert_true(o->s->room > 0);
    door_free(o);
}

SCENE_TEST(W15_a_huge_grant_over_a_backlog_is_bounded_by_room)
{
    for (int i = 0; i < 200; i++)
        scene_add_batch(s, 0, test_batch(CODEC_NONE, 10, 10000)); /* 20 MB */
    struct door *o = door_new(s, "g", "a");
    o->keeps_room = true;
    o->call.room = 100000;
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, UINT32_MAX);
    scene_run(s, 50);
    assert_true(o->n >= 9 && o->n <= 11);
    assert_true(o->most_room < 100000 + 11000);
    assert_true(counters(s).memory_bytes <= 4 << 20);
    while (o->n < 2000) { /* as the peer reads on */
        int before = o->n;
        give_room_back(o);
        scene_run(s, 1);
        assert_true(o->n > before);
        assert_true(counters(s).memory_bytes <= 6 << 20);
    }
    door_free(o);
}

SCENE_TEST(W15_many_slow_groups_at_different_places_are_bounded)
{
    enum { GROUPS = 100 };
    struct door *doors[GROUPS];
    for (int i = 0; i < 300; i++)
        scene_add_batch(s, 0, test_batch(CODEC_NONE, 10, 10000)); /* 30 MB */
    for (int i = 0; i < GROUPS; i++) {
        char group[8];
        (void)snprintf(group, sizeof group, "g%d", i);
        doors[i] = door_new(s, group, "a");
        doors[i]->call.from = SUBSCRIBE_OFFSET;
        doors[i]->call.offset = 29 * i + 1;
        assert_int_equal(SL_OK, door_open(doors[i]));
        subscription_credit(doors[i]->s, 1);
        scene_run(s, 1);
        assert_int_equal(1, doors[i]->n);
        assert_true(counters(s).memory_bytes <= 16 << 20);
    }
    for (int i = 0; i < GROUPS; i++)
        door_free(doors[i]);
}

SCENE_TEST(a_message_larger_than_the_room_is_delivered_alone)
{
    for (int i = 0; i < 3; i++)
        scene_add_batch(s, 0, test_batch(CODEC_NONE, 1, 100000));
    struct door *o = door_new(s, "g", "a");
    o->keeps_room = true;
    o->call.room = 10;
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, 10);
    scene_run(s, 1);
    assert_int_equal(1, o->n);
    give_room_back(o);
    scene_run(s, 1);
    assert_int_equal(2, o->n);
    door_free(o);
}

SCENE_TEST(compressed_batches_and_several_batches_a_read)
{
    for (int i = 0; i < 20; i++)
        scene_add_batch(s, 0, test_batch(i % 2 ? CODEC_ZSTD : CODEC_NONE, 50, 100));
    scene_add_batch(s, 0, test_batch(CODEC_LZ4, 500, 4000)); /* by a worker */
    struct door *o = door_with(s, "g", "a", 5000);
    scene_run(s, 100);
    assert_int_equal(1500, o->n);
    for (int i = 0; i < o->n; i++)
        assert_int_equal(i, o->got[i]);
    assert_string_equal("abc", o->text);
    door_free(o);
}

/* ---- acks -------------------------------------------------------------------------------------
 */

SCENE_TEST(W3_an_ack_never_moves_delivery_back)
{
    scene_publish(s, 0, 40);
    struct door *o = door_with(s, "g", "a", 10);
    for (int64_t i = 0; i < 40; i += 2) { /* half a window behind, with each ack a grant */
        ack(o, i / 2);
        subscription_credit(o->s, 2);
        scene_run(s, 1);
    }
    assert_int_equal(40, o->n);
    for (int i = 0; i < o->n; i++)
        assert_int_equal(i, o->got[i]);
    ack(o, 3); /* old and repeated ones change nothing */
    ack(o, 39);
    ack(o, 39);
    scene_run(s, 1);
    assert_int_equal(40, o->n);
    assert_int_equal(40, cursor(s, "g"));
    door_free(o);
}

SCENE_TEST(W4_an_ack_of_what_was_not_delivered_is_ignored)
{
    scene_publish(s, 0, 10);
    scene_publish(s, 1, 10);
    struct door *o = door_with(s, "g", "a", 5);
    ack(o, 7);                           /* not delivered yet */
    subscription_ack(o->s, 1, 2, true);  /* not this stream's partition */
    subscription_ack(o->s, 99, 2, true); /* nobody's */
    subscription_ack(o->s, -1, 2, false);
    subscription_ack(o->s, 0, INT64_MAX, true);
    scene_run(s, 200);
    assert_int_equal(-1, cursor(s, "g"));
    assert_int_equal(5, counters(s).ignored_acks);
    ack(o, 4);
    scene_run(s, 200);
    assert_int_equal(5, cursor(s, "g"));
    door_free(o);
}

SCENE_TEST(individual_acks_leave_holes_and_survive_a_restart)
{
    scene_publish(s, 0, 6);
    struct door *o = door_with(s, "g", "a", 6);
    subscription_ack(o->s, 0, 1, false);
    subscription_ack(o->s, 0, 3, false);
    subscription_ack(o->s, 0, 0, false);
    scene_run(s, 200);
    assert_int_equal(2, cursor(s, "g"));
    door_free(o);
    scene_close(s);
    scene_open(s);
    o = door_with(s, "g", "b", 10);
    assert_int_equal(3, o->n);
    assert_int_equal(2, o->got[0]);
    assert_int_equal(4, o->got[1]);
    assert_int_equal(5, o->got[2]);
    assert_int_equal(2, o->counts[0]); /* the count survives as well */
    door_free(o);
}

SCENE_TEST(a_cumulative_ack_covers_only_what_its_stream_holds)
{
    scene_publish(s, 0, 2);
    struct door *a = door_with(s, "g", "a", 1), *b = door_with(s, "g", "b", 1);
    assert_int_equal(0, a->got[0]);
    assert_int_equal(1, b->got[0]);
    ack(b, 1);
    scene_run(s, 200);
    assert_int_equal(0, cursor(s, "g"));
    ack(a, 0);
    scene_run(s, 200);
    assert_int_equal(2, cursor(s, "g"));
    door_free(a);
    door_free(b);
}

SCENE_TEST(W14_acks_of_one_commit_share_one_sync)
{
    scene_publish(s, 0, 100);
    struct door *o = door_with(s, "g", "a", 100);
    s->meta.hold = true;
    ack(o, 0);
    scene_run(s, 1); /* this one is on its way */
    int before = s->meta.n_commits;
    for (int64_t i = 1; i < 100; i++) {
        ack(o, i);
        core_run(s->core, 0);
    }
    assert_int_equal(1, s->meta.n_queued);
    s->meta.hold = false;
    scene_run(s, 1);
    scene_run(s, 1);
    assert_int_equal(100, cursor(s, "g"));
    assert_true(s->meta.n_commits - before <= 2);
    door_free(o);
}

SCENE_TEST(acks_are_durable_when_close_is_done)
{
    scene_publish(s, 0, 10);
    struct door *o = door_with(s, "g", "a", 10);
    s->meta.hold = true;
    ack(o, 9);
    struct subscription *sub = SL_TAKE(o->s);
    subscription_close(sub, door_closed, o);
    scene_run(s, 50);
    assert_false(o->closed);
    s->meta.hold = false;
    scene_run(s, 5);
    scene_run(s, 5);
    assert_true(o->closed);
    assert_int_equal(10, cursor(s, "g"));
    sl_free(o);
}

SCENE_TEST(the_retention_of_a_cursor_begins_when_its_last_stream_goes)
{
    scene_publish(s, 0, 1);
    struct door *o = door_with(s, "g", "a", 10);
    ack(o, 0);
    scene_run(s, 10);
    scene_run(s, 3600 * 1000); /* six times as long as offsets are kept here */
    assert_non_null(scene_group(s, "g"));
    door_free(o);
    scene_run(s, 5 * 60 * 1000);
    assert_non_null(scene_group(s, "g"));
    scene_run(s, 20 * 60 * 1000);
    scene_run(s, 1000);
    assert_null(scene_group(s, "g"));
}

SCENE_TEST(acks_above_a_start_that_never_moved_are_kept)
{
    scene_publish(s, 0, 3);
    struct door *o = door_with(s, "g", "a", 10);
    subscription_ack(o->s, 0, 1, false);
    scene_run(s, 200);
    door_free(o);
    scene_run(s, 3 * 60 * 1000); /* groups that nobody would miss go every minute */
    scene_run(s, 1);
    o = door_with(s, "g", "a", 10);
    assert_int_equal(2, o->n);
    assert_int_equal(0, o->got[0]);
    assert_int_equal(2, o->got[1]);
    door_free(o);
}

SCENE_TEST(a_commit_that_is_refused_is_tried_again)
{
    scene_publish(s, 0, 10);
    struct door *o = door_with(s, "g", "a", 10);
    s->meta.err = SL_ENOSPC;
    ack(o, 4);
    scene_run(s, 10);
    assert_int_equal(-1, cursor(s, "g"));
    s->meta.err = SL_OK;
    scene_run(s, 1500);
    scene_run(s, 10);
    assert_int_equal(5, cursor(s, "g"));
    door_free(o);
}

/* ---- nacks, deadlines -------------------------------------------------------------------------
 */

SCENE_TEST(a_released_message_comes_again_after_its_delay)
{
    scene_publish(s, 0, 3);
    struct door *o = door_with(s, "g", "a", 10);
    subscription_nack(o->s, 0, 1, 500);
    scene_run(s, 400);
    assert_int_equal(3, o->n);
    scene_run(s, 200);
    assert_int_equal(4, o->n);
    assert_int_equal(1, o->got[3]);
    assert_int_equal(2, o->counts[3]);
    subscription_nack(o->s, 0, 1, 0);
    scene_run(s, 1);
    assert_int_equal(5, o->n);
    assert_int_equal(3, o->counts[4]);
    door_free(o);
}

SCENE_TEST(a_delay_outlives_the_stream)
{
    scene_publish(s, 0, 1);
    struct door *o = door_with(s, "g", "a", 10);
    subscription_nack(o->s, 0, 0, 500);
    scene_run(s, 1);
    door_free(o);
    o = door_with(s, "g", "a", 10);
    scene_run(s, 300);
    assert_int_equal(0, o->n);
    scene_run(s, 300);
    assert_int_equal(1, o->n);
    subscription_nack(o->s, 0, 0, 500);
    scene_run(s, 1);
    door_free(o);
    scene_run(s, 1000);
    assert_true(list_empty(&scene_group(s, "g")->shares)); /* nobody needs it any more */
}

SCENE_TEST(a_deadline_gives_the_message_to_another_and_an_extension_keeps_it)
{
    scene_publish(s, 0, 2);
    struct door *a = door_new(s, "g", "a");
    a->call.ack_deadline_ms = 1000;
    assert_int_equal(SL_OK, door_open(a));
    subscription_credit(a->s, 2);
    scene_run(s, 1);
    struct door *b = door_with(s, "g", "b", 10);
    assert_int_equal(2, a->n);
    scene_run(s, 500);
    subscription_extend(a->s, 0, 1, 5000);
    scene_run(s, 700);
    assert_int_equal(1, b->n);
    assert_int_equal(0, b->got[0]);
    assert_int_equal(2, b->counts[0]);
    ack(a, 0); /* not its any more */
    scene_run(s, 1);
    assert_int_equal(-1, cursor(s, "g"));
    scene_run(s, 5000);
    assert_int_equal(2, b->n);
    assert_int_equal(2, counters(s).expired);
    door_free(a);
    door_free(b);
}

SCENE_TEST(a_message_is_not_delivered_before_its_time)
{
    char at[24];
    int64_t now_ms = clock_wall_ms(sim_clock(s->core->sim));
    (void)snprintf(at, sizeof at, "%lld", (long long)now_ms + 1000);
    scene_publish_with(s, SUBSCRIPTION_DELIVER_AT, at);
    scene_publish_with(s, "x", "y");
    struct door *o = door_with(s, "g", "a", 10);
    assert_int_equal(1, o->n);
    assert_int_equal(1, o->got[0]);
    scene_run(s, 900);
    assert_int_equal(1, o->n);
    scene_run(s, 200);
    assert_int_equal(2, o->n);
    assert_int_equal(0, o->got[1]);
    assert_int_equal(1, o->counts[1]);
    door_free(o);
}

/* ---- several streams --------------------------------------------------------------------------
 */

SCENE_TEST(W2_a_takeover_ends_only_the_old_stream)
{
    scene_publish(s, 0, 4);
    struct door *old = door_with(s, "g", "same", 2), *other = door_with(s, "g", "other", 1);
    struct door *young = door_with(s, "g", "same", 10);
    assert_true(old->has_ended);
    assert_int_equal(SL_EINSTANCE_FENCED, old->end);
    assert_false(young->has_ended);
    assert_false(other->has_ended);
    assert_int_equal(3, young->n); /* what the old one held, and the rest */
    assert_int_equal(0, young->got[0]);
    assert_int_equal(2, young->counts[0]);
    ack(old, 1); /* too late */
    scene_run(s, 1);
    assert_int_equal(-1, cursor(s, "g"));
    door_free(old); /* leaves, and takes nobody with it */
    scene_publish(s, 0, 1);
    scene_run(s, 1);
    assert_int_equal(4, young->n);
    assert_false(young->has_ended);
    door_free(young);
    door_free(other);
}

SCENE_TEST(W2_exclusive_takes_over_all)
{
    struct door *a = door_with(s, "g", "a", 2), *b = door_with(s, "g", "", 2);
    struct door *c = door_new(s, "g", "c");
    c->call.mode = SUBSCRIBE_EXCLUSIVE;
    assert_int_equal(SL_OK, door_open(c));
    scene_run(s, 1);
    assert_int_equal(SL_EINSTANCE_FENCED, a->end);
    assert_int_equal(SL_EINSTANCE_FENCED, b->end);
    assert_int_equal(1, counters(s).streams);
    assert_false(c->has_ended);
    door_free(a);
    door_free(b);
    door_free(c);
}

SCENE_TEST(streams_of_a_group_share_and_groups_do_not)
{
    struct door *a = door_with(s, "g", "a", 1000), *b = door_with(s, "g", "b", 1000);
    struct door *c = door_with(s, "h", "a", 1000);
    scene_publish(s, 0, 200);
    scene_run(s, 5);
    assert_int_equal(200, a->n + b->n);
    assert_true(a->n >= 60 && b->n >= 60);
    assert_int_equal(200, c->n);
    bool seen[200] = {0};
    for (int i = 0; i < a->n + b->n; i++) {
        int64_t offset = i < a->n ? a->got[i] : b->got[i - a->n];
        assert_false(seen[offset]);
        seen[offset] = true;
    }
    door_free(a); /* what it held goes to the other */
    scene_run(s, 5);
    assert_int_equal(200, b->n);
    door_free(b);
    door_free(c);
}

SCENE_TEST(many_groups_at_the_tail_share_a_read)
{
    struct door *doors[30];
    for (int i = 0; i < 30; i++) {
        char group[8];
        (void)snprintf(group, sizeof group, "g%d", i);
        doors[i] = door_with(s, group, "a", 100);
    }
    uint64_t before = counters(s).reads;
    scene_publish(s, 0, 5);
    scene_run(s, 2);
    assert_int_equal(1, counters(s).reads - before);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(5, doors[i]->n);
        door_free(doors[i]);
    }
}

/* ---- where it starts --------------------------------------------------------------------------
 */

SCENE_TEST(W8_the_place_where_LATEST_started_is_stored)
{
    scene_publish(s, 0, 5);
    struct door *o = door_new(s, "g", "a");
    o->call.from = SUBSCRIBE_LATEST;
    s->meta.hold = true;
    assert_int_equal(SL_PENDING, door_open(o)); /* not before it is durable */
    s->meta.hold = false;
    scene_run(s, 1);
    assert_true(o->answered);
    assert_int_equal(5, cursor(s, "g"));
    door_free(o); /* without an ack */
    scene_publish(s, 0, 3);
    scene_close(s);
    scene_open(s);
    o = door_new(s, "g", "a");
    o->call.from = SUBSCRIBE_LATEST; /* resumes, and misses nothing */
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, 10);
    scene_run(s, 1);
    assert_int_equal(3, o->n);
    assert_int_equal(5, o->got[0]);
    door_free(o);
}

static struct door *door_at(struct scene *s, int64_t offset, sl_err expected)
{
    struct door *o = door_new(s, "g", "at");
    o->call.from = SUBSCRIBE_OFFSET;
    o->call.offset = offset;
    assert_int_equal(expected, door_open(o));
    if (o->s)
        subscription_credit(o->s, 100);
    scene_run(s, 1);
    return o;
}

SCENE_TEST(W13_an_offset_below_the_cursor_is_read_again_privately)
{
    scene_publish(s, 0, 10);
    struct door *o = door_with(s, "g", "a", 6);
    ack(o, 5);
    scene_run(s, 5);
    struct door *p = door_at(s, 2, SL_OK);
    assert_int_equal(8, p->n); /* 2 to 5 again, then its share of the group's */
    for (int i = 0; i < 8; i++)
        assert_int_equal(2 + i, p->got[i]);
    assert_int_equal(0, p->counts[3]);
    assert_int_equal(1, p->counts[4]);
    ack(p, 3);
    scene_run(s, 5);
    assert_int_equal(6, cursor(s, "g"));
    assert_int_equal(0, counters(s).ignored_acks);
    door_free(p);
    door_free(o);
}

SCENE_TEST(W13_an_offset_above_the_cursor_counts_with_the_first_ack)
{
    scene_publish(s, 0, 10);
    struct door *o = door_at(s, 6, SL_OK);
    assert_int_equal(4, o->n);
    assert_int_equal(6, o->got[0]);
    scene_run(s, 200);
    assert_int_equal(-1, cursor(s, "g"));
    struct door *b = door_new(s, "g", "b");
    assert_int_equal(SL_EGROUP_PROTOCOL, door_open(b)); /* it would get what is skipped */
    door_free(o);
    o = door_with(s, "g", "c", 1); /* nothing was acknowledged */
    assert_int_equal(0, o->got[0]);
    struct door *p = door_at(s, 6, SL_EGROUP_PROTOCOL);
    door_free(p);
    door_free(o);
    o = door_at(s, 6, SL_OK);
    ack(o, 6);
    scene_run(s, 200);
    assert_int_equal(7, cursor(s, "g"));
    assert_int_equal(SL_OK, door_open(b));
    door_free(b);
    door_free(o);
}

SCENE_TEST(W11_an_offset_beyond_the_end_waits)
{
    scene_publish(s, 0, 2);
    struct door *o = door_at(s, 4, SL_OK);
    assert_int_equal(0, o->n);
    scene_publish(s, 0, 2);
    scene_run(s, 2);
    assert_int_equal(0, o->n);
    scene_publish(s, 0, 2);
    scene_run(s, 2);
    assert_int_equal(2, o->n);
    assert_int_equal(4, o->got[0]);
    door_free(o);
    o = door_at(s, INT64_MAX - 1, SL_OK);
    scene_run(s, 2);
    assert_int_equal(0, o->n);
    door_free(o);
    o = door_at(s, -1, SL_EINVAL);
    door_free(o);
}

SCENE_TEST(a_tail_owns_no_cursor)
{
    scene_publish(s, 0, 3);
    scene_publish(s, 3, 3);
    struct door *o = door_new(s, "", "");
    o->call.mode = SUBSCRIBE_TAIL;
    o->call.partition = -1;
    o->call.from = SUBSCRIBE_LATEST;
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, 4);
    scene_publish(s, 0, 3);
    scene_publish(s, 3, 3);
    scene_run(s, 2);
    assert_int_equal(4, o->n);
    assert_int_equal(0, o->counts[0]);
    subscription_ack(o->s, 0, 3, true);
    scene_run(s, 300);
    assert_int_equal(0, s->meta.n_commits);
    assert_int_equal(0, list_empty(&s->core->broker.groups->all) ? 0 : 1);
    door_free(o);
}

SCENE_TEST(filtered_messages_count_as_acknowledged)
{
    const struct subscribe_condition only = {slice_str("kind"), slice_str("a"), false};
    for (int i = 0; i < 6; i++)
        scene_publish_with(s, "kind", i % 3 == 2 ? "a" : "b");
    struct door *o = door_new(s, "g", "a");
    o->call.filter = &only;
    o->call.n_filter = 1;
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, 10);
    scene_run(s, 200);
    assert_int_equal(2, o->n);
    assert_int_equal(2, o->got[0]);
    assert_int_equal(5, o->got[1]);
    assert_int_equal(2, cursor(s, "g"));
    struct door *b = door_new(s, "g", "b"); /* without a filter */
    assert_int_equal(SL_EGROUP_PROTOCOL, door_open(b));
    door_free(b);
    ack(o, 5);
    scene_run(s, 5);
    assert_int_equal(6, cursor(s, "g"));
    door_free(o);
}

SCENE_TEST(what_retention_took_counts_as_acknowledged)
{
    scene_publish(s, 0, 5);
    scene_publish(s, 0, 5);
    s->core->partitions[0].log->log_start = 5;
    struct door *o = door_with(s, "g", "a", 10);
    assert_int_equal(5, o->n);
    assert_int_equal(5, o->got[0]);
    subscription_nack(o->s, 0, 6, 1000);
    s->core->partitions[0].log->log_start = 8;
    ack(o, 5);
    scene_run(s, 1500);
    assert_int_equal(5, o->n);
    assert_int_equal(7, cursor(s, "g"));
    door_free(o);
}

/* ---- ends -------------------------------------------------------------------------------------
 */

SCENE_TEST(a_drained_stream_ends_when_nothing_is_left_for_its_credit)
{
    scene_publish(s, 0, 5);
    struct door *o = door_new(s, "g", "a");
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, 3);
    subscription_drain(o->s);
    scene_run(s, 2);
    assert_int_equal(3, o->n);
    assert_true(o->has_ended);
    assert_int_equal(SL_OK, o->end);
    door_free(o);
    o = door_new(s, "h", "a");
    assert_int_equal(SL_OK, door_open(o));
    subscription_credit(o->s, 30);
    subscription_drain(o->s);
    scene_run(s, 2);
    assert_int_equal(5, o->n);
    assert_true(o->has_ended);
    door_free(o);
}

SCENE_TEST(a_deleted_topic_ends_its_streams)
{
    scene_publish(s, 0, 5);
    struct door *o = door_with(s, "g", "a", 3);
    struct broker *b = &s->core->broker;
    s->core->log.slow_reads = true;
    subs__topic_gone(b, &s->core->topic);
    scene_run(s, 2);
    assert_true(o->has_ended);
    assert_int_equal(SL_ETOPIC, o->end);
    assert_true(list_empty(&s->core->partitions[0].log->watches));
    door_free(o);
}

/* ---- beside Kafka's doors ---------------------------------------------------------------------
 */

static void ignore(struct broker_call *call)
{
}

struct kafka_commit {
    struct broker_offset_commit call;
    struct group_offset_topic topic;
    struct group_offset part;
};

static void start_commit(struct scene *s, struct kafka_commit *k, const char *group, int64_t offset)
{
    *k = (struct kafka_commit){.part = {.partition = 0, .offset = offset, .leader_epoch = -1}};
    broker_offset_commit_init(&k->call);
    k->topic = (struct group_offset_topic){
        .name = slice_str("t"), .partitions = &k->part, .n_partitions = 1};
    k->call.topics = &k->topic;
    k->call.n_topics = 1;
    k->call.head.group = slice_str(group);
    k->call.head.call.done = ignore;
    core_submit(s->core, &k->call.head.call);
}

SCENE_TEST(the_cursor_is_the_committed_offset_of_all_doors)
{
    struct kafka_commit k;
    scene_publish(s, 0, 10);
    struct door *o = door_with(s, "g", "a", 10);
    subscription_ack(o->s, 0, 0, false);
    subscription_ack(o->s, 0, 5, false);
    start_commit(s, &k, "g", 4); /* while a stream is open */
    assert_int_equal(SL_EMEMBER, k.call.head.err);
    door_free(o);
    assert_int_equal(1, cursor(s, "g"));
    assert_non_null(scene_row(&s->meta, "g", 0)->ranges.data);
    start_commit(s, &k, "g", 4);
    scene_run(s, 1);
    assert_int_equal(SL_OK, k.part.err);
    assert_int_equal(4, cursor(s, "g"));
    assert_null(scene_row(&s->meta, "g", 0)->ranges.data); /* in the same transaction */
    o = door_with(s, "g", "a", 10);
    assert_int_equal(6, o->n);
    assert_int_equal(4, o->got[0]);
    assert_int_equal(5, o->got[1]);
    door_free(o);
}

SCENE_TEST(a_subscribe_waits_for_commits_under_way)
{
    struct kafka_commit k;
    scene_publish(s, 0, 10);
    s->meta.hold = true;
    start_commit(s, &k, "g", 4);
    struct door *o = door_new(s, "g", "a");
    assert_int_equal(SL_PENDING, door_open(o));
    s->meta.hold = false;
    scene_run(s, 1);
    assert_true(o->answered);
    subscription_credit(o->s, 1);
    scene_run(s, 1);
    assert_int_equal(4, o->got[0]);
    door_free(o);
}

SCENE_TEST(kafka_members_and_streams_exclude_each_other)
{
    struct broker_group_join j = {0};
    const struct group_protocol p = {slice_str("range"), slice_str("x")};
    j.head.group = slice_str("g");
    j.head.call.done = ignore;
    j.protocol_type = slice_str("consumer");
    j.session_timeout_ms = j.rebalance_timeout_ms = 10000;
    j.protocols = &p;
    j.n_protocols = 1;
    struct door *o = door_with(s, "g", "a", 1);
    broker_group_join_init(&j);
    core_submit(s->core, &j.head.call);
    scene_run(s, 1);
    assert_int_equal(SL_EGROUP_PROTOCOL, j.head.err);
    broker_group_join_fini(&j);
    door_free(o);
    broker_group_join_init(&j);
    core_submit(s->core, &j.head.call);
    scene_run(s, 1);
    assert_int_equal(SL_OK, j.head.err);
    o = door_new(s, "g", "a");
    assert_int_equal(SL_EGROUP_NOT_EMPTY, door_open(o));
    broker_group_join_fini(&j);
    sl_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_delivered_without_credit),
        cmocka_unit_test(W11_credit_saturates_and_never_wraps),
        cmocka_unit_test(W15_a_huge_grant_over_a_backlog_is_bounded_by_room),
        cmocka_unit_test(W15_many_slow_groups_at_different_places_are_bounded),
        cmocka_unit_test(a_message_larger_than_the_room_is_delivered_alone),
        cmocka_unit_test(compressed_batches_and_several_batches_a_read),
        cmocka_unit_test(W3_an_ack_never_moves_delivery_back),
        cmocka_unit_test(W4_an_ack_of_what_was_not_delivered_is_ignored),
        cmocka_unit_test(individual_acks_leave_holes_and_survive_a_restart),
        cmocka_unit_test(a_cumulative_ack_covers_only_what_its_stream_holds),
        cmocka_unit_test(W14_acks_of_one_commit_share_one_sync),
        cmocka_unit_test(acks_are_durable_when_close_is_done),
        cmocka_unit_test(the_retention_of_a_cursor_begins_when_its_last_stream_goes),
        cmocka_unit_test(acks_above_a_start_that_never_moved_are_kept),
        cmocka_unit_test(a_commit_that_is_refused_is_tried_again),
        cmocka_unit_test(a_released_message_comes_again_after_its_delay),
        cmocka_unit_test(a_delay_outlives_the_stream),
        cmocka_unit_test(a_deadline_gives_the_message_to_another_and_an_extension_keeps_it),
        cmocka_unit_test(a_message_is_not_delivered_before_its_time),
        cmocka_unit_test(W2_a_takeover_ends_only_the_old_stream),
        cmocka_unit_test(W2_exclusive_takes_over_all),
        cmocka_unit_test(streams_of_a_group_share_and_groups_do_not),
        cmocka_unit_test(many_groups_at_the_tail_share_a_read),
        cmocka_unit_test(W8_the_place_where_LATEST_started_is_stored),
        cmocka_unit_test(W13_an_offset_below_the_cursor_is_read_again_privately),
        cmocka_unit_test(W13_an_offset_above_the_cursor_counts_with_the_first_ack),
        cmocka_unit_test(W11_an_offset_beyond_the_end_waits),
        cmocka_unit_test(a_tail_owns_no_cursor),
        cmocka_unit_test(filtered_messages_count_as_acknowledged),
        cmocka_unit_test(what_retention_took_counts_as_acknowledged),
        cmocka_unit_test(a_drained_stream_ends_when_nothing_is_left_for_its_credit),
        cmocka_unit_test(a_deleted_topic_ends_its_streams),
        cmocka_unit_test(the_cursor_is_the_committed_offset_of_all_doors),
        cmocka_unit_test(a_subscribe_waits_for_commits_under_way),
        cmocka_unit_test(kafka_members_and_streams_exclude_each_other),
    };
    return cmocka_run_group_tests_name("subscribe", tests, NULL, NULL);
}
