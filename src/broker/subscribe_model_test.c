/* The delivery engine against a small model, from seeds: several streams of one group, credits,
 * acks, releases, deadlines, takeovers, restarts from what was durable.
 *
 * SUBSCRIBE_SEEDS=n asks for another number of runs, SUBSCRIBE_SEED=n for those from that one on; a
 * failure prints the seed that repeats it. */
#include "broker/subscribe_for_test.h"

enum { SLOTS = 3, STEPS = 60, OFFSETS_MAX = 600, DEADLINE_MS = 300, DEADLINE_SLACK_MS = 20 };

enum fate { UNSEEN, AVAILABLE, HELD, ACKED };

struct seen {
    enum fate fate;
    int holder;    /* held: slot */
    int64_t at_ms; /* held: deadline; available: not before */
    uint32_t count;
};

struct model;

struct slot {
    struct model *m;
    int number;
    struct door *door; /* NULL: closed */
    uint32_t credit;
    int64_t newest; /* highest offset that was delivered here for the first time; -1 */
    bool has_deadline;
    const char *id;
};

struct model {
    struct scene *s;
    struct rng_seeded rng;
    struct seen seen[OFFSETS_MAX];
    int64_t end; /* of the log */
    struct slot slots[SLOTS];
    uint64_t deliveries;
};

static uint64_t below(struct model *m, uint64_t n)
{
    return rng_below(&m->rng.rng, n);
}

static int64_t now_ms(const struct model *m)
{
    return loop_now_ms(m->s->core->loop);
}

static struct share_part *part(struct model *m)
{
    struct broker *b = &m->s->core->broker;
    struct group *g = groups__find(b->groups, &principal_anonymous.org, slice_str("g"));
    struct share_topic *t = g ? share_topic_find(g, &m->s->core->topic.id) : NULL;
    return t && t->parts[0]->open ? t->parts[0] : NULL;
}

/* ---- what is delivered -------------------------------------------------------------------------
 */

static bool may_come(const struct model *m, const struct seen *x)
{
    switch (x->fate) {
    case UNSEEN:
        return true;
    case AVAILABLE:
    case HELD: /* its deadline has passed */
        return x->at_ms <= now_ms(m);
    case ACKED:
        return false;
    }
    SL_UNREACHABLE();
}

static void on_message(struct slot *slot, const struct delivered *d)
{
    struct model *m = slot->m;
    struct seen *x = &m->seen[d->offset];
    assert_true(slot->credit > 0);
    slot->credit--;
    assert_true(d->offset < m->end);
    if (!may_come(m, x))
        (void)printf("offset %lld came to %d: fate %d of %d until %lld, now %lld\n",
                     (long long)d->offset, slot->number, x->fate, x->holder, (long long)x->at_ms,
                     (long long)now_ms(m));
    assert_true(may_come(m, x));
    assert_int_equal(x->count + 1, d->count);
    if (x->fate == UNSEEN) {
        assert_true(d->offset > slot->newest); /* in order, the first time */
        slot->newest = d->offset;
    }
    *x = (struct seen){HELD, slot->number, SHARE_NEVER, d->count};
    if (slot->has_deadline) {
        const struct share_run *run = share_run_of(&part(m)->share, d->offset);
        x->at_ms = run->at_ms;
        assert_in_range(x->at_ms - now_ms(m), DEADLINE_MS - 1, DEADLINE_MS + DEADLINE_SLACK_MS);
    }
    m->deliveries++;
}

static void deliver(void *arg, struct delivery *d)
{
    struct slot *slot = arg;
    for (uint32_t i = 0; i < d->n_items; i++)
        on_message(slot, &d->items[i]);
    subscription_room(slot->door->s, d->room);
    delivery_free(d);
}

static void free_held(struct model *m, int slot)
{
    for (int64_t i = 0; i < m->end; i++)
        if (m->seen[i].fate == HELD && m->seen[i].holder == slot)
            m->seen[i] = (struct seen){AVAILABLE, -1, 0, m->seen[i].count};
}

static void closed(void *arg)
{
}

static void close_slot(struct slot *slot)
{
    if (!slot->door)
        return;
    free_held(slot->m, slot->number);
    if (slot->door->s)
        subscription_close(slot->door->s, closed, NULL);
    sl_free(SL_TAKE(slot->door));
    slot->credit = 0;
}

static void ended(void *arg, sl_err err, const char *reason)
{
    struct slot *slot = arg;
    if (slot->door)
        close_slot(slot);
}

static const struct subscription_events model_events = {deliver, ended};

/* ---- steps ------------------------------------------------------------------------------------
 */

static void open_slot(struct slot *slot)
{
    struct model *m = slot->m;
    static const char *const ids[] = {"a", "a", "b", ""};
    if (slot->door)
        return;
    slot->id = ids[below(m, 4)];
    slot->has_deadline = below(m, 2);
    slot->newest = -1;
    for (int i = 0; i < SLOTS; i++) /* the one that is taken over holds nothing any more */
        if (&m->slots[i] != slot && m->slots[i].door && slot->id[0] &&
            !strcmp(m->slots[i].id, slot->id)) {
            free_held(m, i);
            m->slots[i].credit = 0;
        }
    slot->door = door_new(m->s, "g", slot->id);
    slot->door->call.ack_deadline_ms = slot->has_deadline ? DEADLINE_MS : 0;
    slot->door->call.room = 1 + below(m, 2000);
    slot->door->call.events = &model_events;
    slot->door->call.arg = slot;
    m->s->meta.hold = false; /* it waits for what is being committed */
    assert_int_equal(SL_OK, door_open(slot->door));
}

static void publish(struct model *m)
{
    int n = 1 + (int)below(m, 12);
    if (m->end + n > OFFSETS_MAX)
        return;
    m->end += n; /* delivered before this returns */
    scene_add_batch(m->s, 0, test_batch(below(m, 4) ? CODEC_NONE : CODEC_LZ4, n, 10));
}

static void expire(struct model *m)
{
    for (int64_t i = 0; i < m->end; i++)
        if (m->seen[i].fate == HELD && m->seen[i].at_ms <= now_ms(m))
            m->seen[i] = (struct seen){AVAILABLE, -1, 0, m->seen[i].count};
}

/* What the model thinks an ack covers. */
static void model_ack(struct model *m, int slot, int64_t first, int64_t last)
{
    const struct share_part *p = part(m);
    if (last >= p->share.next) /* was not delivered to anybody: ignored as a whole */
        return;
    for (int64_t i = first; i <= last; i++)
        if (m->seen[i].fate == HELD && m->seen[i].holder == slot)
            m->seen[i] = (struct seen){ACKED, -1, 0, 0};
}

static void settle(struct slot *slot)
{
    struct model *m = slot->m;
    if (!slot->door || !slot->door->s || !m->end || !part(m))
        return;
    int64_t o = (int64_t)below(m, (uint64_t)m->end);
    int64_t delay_ms = (int64_t)below(m, 3) * 100;
    uint64_t what = below(m, 6);
    struct seen *x = &m->seen[o];
    expire(m);
    bool holds = x->fate == HELD && x->holder == slot->number && o < part(m)->share.next;
    if (what < 2) {
        model_ack(m, slot->number, 0, o);
        subscription_ack(slot->door->s, 0, o, true);
    } else if (what < 4) {
        model_ack(m, slot->number, o, o);
        subscription_ack(slot->door->s, 0, o, false);
    } else if (what == 4) {
        if (holds)
            *x = (struct seen){AVAILABLE, -1, delay_ms ? now_ms(m) + delay_ms : 0, x->count};
        subscription_nack(slot->door->s, 0, o, delay_ms);
    } else {
        int64_t own_ms = slot->has_deadline ? now_ms(m) + DEADLINE_MS : SHARE_NEVER;
        if (holds)
            x->at_ms = delay_ms ? now_ms(m) + delay_ms : own_ms;
        subscription_extend(slot->door->s, 0, o, delay_ms);
    }
}

static void grant(struct slot *slot)
{
    uint32_t n = 1 + (uint32_t)below(slot->m, 15);
    if (!slot->door || !slot->door->s)
        return;
    slot->credit += n;
    subscription_credit(slot->door->s, n);
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static int64_t model_cursor(const struct model *m)
{
    int64_t i = 0;
    while (i < m->end && m->seen[i].fate == ACKED)
        i++;
    return i;
}

static void compare_offset(const struct model *m, const struct share *s, int64_t o)
{
    const struct seen *x = &m->seen[o];
    const struct share_run *run = share_run_of(s, o);
    if (o < s->cursor) {
        assert_int_equal(ACKED, x->fate);
        return;
    }
    if (!run) {
        assert_true(x->fate == UNSEEN || (x->fate == AVAILABLE && !x->count));
        return;
    }
    static const enum fate fates[] = {
        [SHARE_AVAILABLE] = AVAILABLE, [SHARE_ACKED] = ACKED, [SHARE_HELD] = HELD};
    if (fates[run->state] != x->fate)
        (void)printf("offset %lld: fate %d until %lld, run %d until %lld, now %lld\n", (long long)o,
                     x->fate, (long long)x->at_ms, run->state, (long long)run->at_ms,
                     (long long)now_ms(m));
    assert_int_equal(fates[run->state], x->fate);
    if (run->state != SHARE_ACKED)
        assert_int_equal(x->count, run->count);
}

static void compare(struct model *m)
{
    const struct share_part *p = part(m);
    uint32_t able = 0;
    expire(m);
    if (!p)
        return;
    share_check(&p->share);
    assert_int_equal(model_cursor(m), p->share.cursor);
    for (int64_t o = 0; o < m->end; o++)
        compare_offset(m, &p->share, o);
    for (int i = 0; i < SLOTS; i++)
        if (m->slots[i].door && m->slots[i].door->s) {
            assert_int_equal(m->slots[i].credit, m->slots[i].door->s->credit);
            able += m->slots[i].credit > 0;
        }
    for (int64_t o = 0; o < m->end && able; o++) /* nobody waits without a reason */
        assert_false(m->seen[o].fate != HELD && may_come(m, &m->seen[o]));
}

/* ---- restarts ---------------------------------------------------------------------------------
 */

/* The rows as they are now are what the next start finds. */
static void restart(struct model *m, bool is_kill)
{
    struct scene_meta *meta = &m->s->meta;
    struct scene_row row = *scene_row(meta, "g", 0);
    row.ranges = slice_ref(row.ranges, 0, row.ranges.len);
    for (int i = 0; i < SLOTS; i++)
        close_slot(&m->slots[i]);
    scene_close(m->s);
    struct scene_row *now = scene_row(meta, "g", 0);
    if (is_kill) { /* what the closing wrote never was */
        slice_unref(&now->ranges);
        *now = row;
    } else {
        slice_unref(&row.ranges);
    }
    scene_open(m->s);
    assert_true(!now->has_offset || now->offset <= model_cursor(m));
    if (!is_kill)
        assert_int_equal(model_cursor(m), now->has_offset ? now->offset : 0);
}

/* Nothing is acknowledged that was not, and nothing below the durable cursor comes again. */
static void adopt(struct model *m, bool is_kill)
{
    const struct share *s = &part(m)->share;
    for (int64_t o = 0; o < m->end; o++) {
        struct seen *x = &m->seen[o];
        const struct share_run *run = share_run_of(s, o);
        bool acked = o < s->cursor || (run && run->state == SHARE_ACKED);
        if (acked)
            assert_int_equal(ACKED, x->fate);
        else if (!is_kill)
            assert_int_not_equal(ACKED, x->fate);
        uint32_t count = run && !acked ? run->count : 0;
        if (!acked && x->fate != ACKED)
            assert_true(count <= x->count && (is_kill || count == x->count));
        *x = (struct seen){acked ? ACKED : run ? AVAILABLE : UNSEEN, -1, 0, count};
    }
}

static void start_again(struct model *m)
{
    bool is_kill = below(m, 2);
    restart(m, is_kill);
    struct slot *slot = &m->slots[below(m, SLOTS)];
    open_slot(slot);
    adopt(m, is_kill);
}

static void step(struct model *m)
{
    struct slot *slot = &m->slots[below(m, SLOTS)];
    uint64_t what = below(m, 100);
    if (what < 15)
        publish(m);
    else if (what < 35)
        grant(slot);
    else if (what < 75)
        settle(slot);
    else if (what < 85)
        open_slot(slot);
    else if (what < 89)
        close_slot(slot);
    else if (what < 91)
        m->s->meta.hold = !m->s->meta.hold;
    else if (what < 93)
        start_again(m);
    if (what % 3)
        scene_run(m->s, what >= 93 ? (int64_t)below(m, 400) : 1);
}

static void run_seed(struct core *c, uint64_t seed)
{
    struct model *m = sl_new(struct model);
    m->s = sl_new(struct scene);
    m->s->core = c;
    rng_seeded_init(&m->rng, seed);
    for (int i = 0; i < SLOTS; i++)
        m->slots[i] = (struct slot){.m = m, .number = i};
    scene_open(m->s);
    open_slot(&m->slots[0]);
    for (int i = 0; i < STEPS; i++) {
        step(m);
        if (m->s->meta.hold)
            continue;
        scene_run(m->s, 1);
        compare(m);
    }
    for (int i = 0; i < SLOTS; i++)
        close_slot(&m->slots[i]);
    scene_close(m->s);
    scene_forget(m->s);
    sl_free(m->s);
    sl_free(m);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t seed_now;

static void one_seed(struct core *c)
{
    run_seed(c, seed_now);
}

static void the_engine_does_what_the_model_says(void **state)
{
    uint64_t first = env_number("SUBSCRIBE_SEED", 1), n = env_number("SUBSCRIBE_SEEDS", 2000);
    if (getenv("SUBSCRIBE_SEED") && !getenv("SUBSCRIBE_SEEDS")) /* NOLINT(concurrency-mt-unsafe) */
        n = 1;
    for (seed_now = first; seed_now < first + n; seed_now++)
        in_core(one_seed);
}

static int say_seed(void **state)
{
    (void)printf("the last seed was %llu\n", (unsigned long long)seed_now);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_engine_does_what_the_model_says, say_seed),
    };
    return cmocka_run_group_tests_name("subscribe model", tests, NULL, NULL);
}
