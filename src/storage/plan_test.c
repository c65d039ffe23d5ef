#include "storage/plan_int.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct batch_info batch(int64_t id, int16_t epoch, int32_t sequence, int32_t count)
{
    return (struct batch_info){.producer_id = id,
                               .producer_epoch = epoch,
                               .base_sequence = sequence,
                               .last_offset_delta = count - 1,
                               .record_count = count};
}

/* A partition as the engine keeps it. */
struct log {
    struct producers *producers;
    int64_t next;
};

static struct plan_verdict plan(const struct log *l, const struct batch_info *b)
{
    return plan__batch(producers__find(l->producers, b->producer_id), b, l->next);
}

/* Plans and, when told, completes; the base offset. */
static int64_t write(struct log *l, struct batch_info b, bool completes)
{
    struct plan_verdict v = plan(l, &b);
    assert_int_equal(SL_OK, v.err);
    assert_false(v.duplicate);
    b.base_offset = v.base_offset;
    producers__plan(&l->producers, &b, v.base_offset);
    if (completes)
        producers__complete(l->producers, &b, v.base_offset, 1000);
    l->next = v.base_offset + b.last_offset_delta + 1;
    return v.base_offset;
}

static void refused(const struct log *l, struct batch_info b, sl_err err)
{
    struct plan_verdict v = plan(l, &b);
    assert_int_equal(err, v.err);
}

static void duplicate_of(const struct log *l, struct batch_info b, int64_t base_offset)
{
    struct plan_verdict v = plan(l, &b);
    assert_int_equal(SL_OK, v.err);
    assert_true(v.duplicate);
    assert_int_equal(base_offset, v.base_offset);
}

static void an_unknown_producer_may_start_with_any_sequence(void **state)
{
    struct log l = {0};
    assert_int_equal(0, write(&l, batch(7, 3, 4711, 5), true));
    assert_int_equal(5, write(&l, batch(7, 3, 4716, 1), true));
    producers__free(l.producers);
}

static void a_new_epoch_starts_at_zero_and_fences_the_old_one(void **state)
{
    struct log l = {0};
    write(&l, batch(7, 0, 0, 5), true);
    refused(&l, batch(7, 1, 5, 1), SL_ESEQ);
    write(&l, batch(7, 1, 0, 1), true);
    refused(&l, batch(7, 0, 5, 1), SL_EPRODUCER_FENCED);
    producers__free(l.producers);
}

static void B08_a_repeat_within_five_batches_answers_its_original_offset(void **state)
{
    struct log l = {0};
    for (int i = 0; i < 7; i++)
        write(&l, batch(7, 0, i * 10, 10), true);
    for (int i = 2; i < 7; i++)
        duplicate_of(&l, batch(7, 0, i * 10, 10), (int64_t)i * 10);
    refused(&l, batch(7, 0, 10, 10), SL_ESEQ_OLD);
    refused(&l, batch(7, 0, 60, 5), SL_ESEQ_OLD); /* half a repeat is none */
    refused(&l, batch(7, 0, 71, 1), SL_ESEQ);
    producers__free(l.producers);
}

static void B08_a_repeat_of_a_batch_under_way_is_a_duplicate_too(void **state)
{
    struct log l = {0};
    write(&l, batch(7, 0, 0, 1), true);
    write(&l, batch(7, 0, 1, 1), false);
    write(&l, batch(7, 0, 2, 1), false);
    duplicate_of(&l, batch(7, 0, 1, 1), 1);
    duplicate_of(&l, batch(7, 0, 0, 1), 0);
    producers__free(l.producers);
}

static void sequences_wrap_at_two_to_the_31(void **state)
{
    struct log l = {0};
    write(&l, batch(7, 0, INT32_MAX - 1, 4), true); /* MAX-1, MAX, 0, 1 */
    duplicate_of(&l, batch(7, 0, INT32_MAX - 1, 4), 0);
    refused(&l, batch(7, 0, 3, 1), SL_ESEQ);
    refused(&l, batch(7, 0, INT32_MAX - 5, 1), SL_ESEQ_OLD);
    assert_int_equal(4, write(&l, batch(7, 0, 2, 1), true));
    producers__free(l.producers);
}

static void after_a_failure_sequences_return_to_the_last_completed_batch(void **state)
{
    struct log l = {0};
    write(&l, batch(7, 0, 0, 1), true);
    write(&l, batch(7, 0, 1, 1), false);
    write(&l, batch(8, 0, 0, 1), false);
    producers__reset_planned(l.producers);
    l.next = 1;
    assert_null(producers__find(l.producers, 8)); /* it never wrote anything */
    refused(&l, batch(7, 0, 2, 1), SL_ESEQ);
    assert_int_equal(1, write(&l, batch(7, 0, 1, 1), true));
    producers__free(l.producers);
}

static void a_snapshot_holds_completed_batches_only(void **state)
{
    struct log l = {0};
    struct buf b;
    struct producers *loaded = NULL;
    for (int64_t id = 0; id < 100; id++)
        for (int i = 0; i < 6; i++)
            write(&l, batch(id, 2, i, 1), true);
    write(&l, batch(5, 2, 6, 1), false);
    buf_init(&b, 1 << 20);
    assert_int_equal(SL_OK, producers__save(l.producers, &b));
    assert_int_equal(SL_OK, producers__load(slice_of(b.data, b.len), &loaded));
    assert_int_equal(100, producers__count(loaded));
    const struct producer *p = producers__find(loaded, 5);
    assert_int_equal(5, p->done.n);
    assert_int_equal(5, p->done.batch[4].last_sequence);
    assert_int_equal(0, p->planned_count);
    for (size_t cut = 0; cut < b.len; cut++) {
        struct producers *half = NULL;
        if (cut > 0)
            assert_int_not_equal(SL_OK, producers__load(slice_of(b.data, cut), &half));
        assert_null(half);
    }
    producers__free(loaded);
    producers__free(l.producers);
    buf_fini(&b);
}

static void producers_that_are_quiet_expire_and_others_are_still_found(void **state)
{
    struct producers *t = NULL;
    for (int64_t id = 0; id < 1000; id++) {
        struct batch_info b = batch(id * 7, 0, 0, 1);
        producers__apply(&t, &b, id);
    }
    producers__expire(t, 500);
    assert_int_equal(500, producers__count(t));
    for (int64_t id = 0; id < 1000; id++)
        assert_int_equal(id >= 500, producers__find(t, id * 7) != NULL);
    producers__free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_producer_may_start_with_any_sequence),
        cmocka_unit_test(a_new_epoch_starts_at_zero_and_fences_the_old_one),
        cmocka_unit_test(B08_a_repeat_within_five_batches_answers_its_original_offset),
        cmocka_unit_test(B08_a_repeat_of_a_batch_under_way_is_a_duplicate_too),
        cmocka_unit_test(sequences_wrap_at_two_to_the_31),
        cmocka_unit_test(after_a_failure_sequences_return_to_the_last_completed_batch),
        cmocka_unit_test(a_snapshot_holds_completed_batches_only),
        cmocka_unit_test(producers_that_are_quiet_expire_and_others_are_still_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
