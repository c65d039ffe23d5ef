/* Kill and power loss while messages are delivered and acknowledged: nothing comes again once its
 * cursor is durable, nothing is lost that was not acknowledged. */
#include "broker/subscribe_real_for_test.h"
#include "sim/crash.h"

enum { BATCHES = 10, IN_A_BATCH = 4, MESSAGES = BATCHES * IN_A_BATCH, ROUNDS = 2 };

struct oracle {
    uint64_t choices;      /* seed of this run's steps */
    struct rng_seeded rng; /* of the acks; on the core loop */
    bool created;          /* answered */
    int64_t published;     /* messages, answered */
    int64_t durable;       /* the highest cursor that was seen; -1: none */
    bool held[MESSAGES];   /* by the stream that is open */
    bool acked[MESSAGES];  /* an ack was sent */
    bool stored[MESSAGES]; /* ... and its stream's close was answered */
};

static void ack(struct oracle *o, int64_t first, int64_t last)
{
    for (int64_t i = first; i <= last; i++)
        o->acked[i] |= o->held[i];
}

/* Acknowledges most of them, some much later, and says what is durable meanwhile. */
static void on_message(struct taker *r, const struct delivered *d)
{
    struct oracle *o = r->user;
    uint64_t what = rng_below(&o->rng.rng, 10);
    o->durable = SL_MAX(o->durable, taker_cursor(r->w->b, "t"));
    o->held[d->offset] = true;
    if (what < 5) {
        ack(o, d->offset, d->offset);
        subscription_ack(r->s, 0, d->offset, false);
    } else if (what < 7) {
        ack(o, 0, d->offset);
        subscription_ack(r->s, 0, d->offset, true);
    } else if (what == 7) {
        o->held[d->offset] = false;
        subscription_nack(r->s, 0, d->offset, 20);
    }
}

static void round_of(struct admin_world *w, struct oracle *o, int batches)
{
    struct taker *r = sl_new(struct taker);
    taker_init(r, w, "t");
    r->on_message = on_message;
    r->user = o;
    assert_int_equal(SL_OK, taker_open(r));
    taker_grant(r);
    for (int i = 0; i < batches; i++) {
        assert_int_equal(SL_OK, taker_publish(w, "t", IN_A_BATCH));
        o->published += IN_A_BATCH;
        sim_sleep_ns(30 * 1000000);
    }
    taker_close(r);
    memcpy(o->stored, o->acked, sizeof o->stored);
    memset(o->held, 0, sizeof o->held);
    sl_free(r);
}

static void run(struct crash_test *t, struct simfs *fs)
{
    struct oracle *o = t->user;
    struct admin_world *w = sl_new(struct admin_world);
    w->fs = fs;
    w->cfg = admin_default_cfg;
    assert_int_equal(SL_OK, admin_open(w));
    assert_int_equal(SL_OK, admin_create(w, "t", 1));
    o->created = true;
    for (int i = 0; i < ROUNDS; i++)
        round_of(w, o, BATCHES / ROUNDS);
    admin_close(w);
    sl_free(w);
}

static void start(struct crash_test *t, struct rng *rng)
{
    struct oracle *o = t->user;
    *o = (struct oracle){.choices = rng_u64(rng), .durable = -1};
    rng_seeded_init(&o->rng, o->choices);
}

static const char *compare(const struct oracle *o, const struct taker *r, int64_t cursor)
{
    bool came[MESSAGES] = {0};
    if (cursor < o->durable)
        return crash_problem("the cursor was %lld and is %lld", (long long)o->durable,
                             (long long)cursor);
    for (int64_t i = 0; i < cursor; i++)
        if (!o->acked[i])
            return crash_problem("%lld is below the cursor and was not acknowledged", (long long)i);
    for (int i = 0; i < r->n; i++) {
        int64_t offset = r->got[i];
        if (offset < cursor || o->stored[offset])
            return crash_problem("%lld comes again", (long long)offset);
        came[offset] = true;
    }
    for (int64_t i = 0; i < o->published; i++)
        if (!came[i] && !o->acked[i])
            return crash_problem("%lld is lost", (long long)i);
    return NULL;
}

static const char *look(const struct oracle *o, struct admin_world *w)
{
    if (!admin_has(w, "t"))
        return o->created ? "the topic is gone" : NULL;
    struct taker *r = sl_new(struct taker);
    int64_t cursor = taker_cursor(w->b, "t");
    const char *problem = NULL;
    taker_init(r, w, "t");
    sl_err err = taker_open(r);
    if (err == SL_OK) {
        taker_drain(r);
        taker_close(r);
        problem = compare(o, r, cursor);
    } else {
        problem = crash_problem("subscribe: %s", sl_err_name(err));
    }
    sl_free(r);
    return problem;
}

static const char *check(struct crash_test *t, struct simfs *image, enum simfs_crash crash)
{
    struct admin_world *w = sl_new(struct admin_world);
    const char *problem = NULL;
    w->fs = image;
    w->cfg = admin_default_cfg;
    sl_err err = admin_open(w);
    if (err != SL_OK)
        problem =
            crash_problem("open: %s: %s: %s", sl_err_name(err), w->fault.where, w->fault.what);
    else
        problem = look(t->user, w);
    admin_close(w);
    sl_free(w);
    return problem;
}

static void B14_nothing_comes_again_once_its_cursor_is_durable_and_nothing_is_lost(void **state)
{
    struct oracle o;
    struct crash_test t = {.name = "B14 subscriptions",
                           .states = 600,
                           .one_in = 8,
                           .depth_max = 1,
                           .run = run,
                           .check = check,
                           .start = start,
                           .user = &o};
    crash_test(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(B14_nothing_comes_again_once_its_cursor_is_durable_and_nothing_is_lost),
    };
    return cmocka_run_group_tests_name("subscribe crash", tests, NULL, NULL);
}
