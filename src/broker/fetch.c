#include "broker/fetch.h"

#include "base/alloc.h"
#include "broker/fetch_int.h"

enum { LOOKS_A_TURN = 200 }; /* partitions looked at before others have their turn on the loop */

static void evaluate(struct fetch_run *run);
static void evaluate_todo(struct fetch_run *run);

/* ---- the end ----------------------------------------------------------------------------------
 */

/* Entries that had data or an error have more to say next time; the others rest. */
static void settle_told(struct fetch_run *run, bool had_data)
{
    for (struct list *node; (node = list_pop_front(&run->told));) {
        struct fetch_entry *e = SL_CONTAINER_OF(node, struct fetch_entry, node);
        if (had_data || e->err != SL_OK || !list_linked(&e->watch.node))
            list_push_back(&run->set->ready, node);
    }
}

static void run_free(struct fetch_run *run)
{
    timer_stop(&run->timer);
    list_remove(&run->node);
    if (run->session) {
        run->set->run = NULL;
        list_remove(&run->set->wake_node);
    } else if (run->set) {
        fetch__set_fini(run->set);
    }
    sl_free(run->order);
    sl_free(run);
}

static void end(struct fetch_run *run, sl_err err)
{
    struct broker_fetch *f = run->f;
    struct broker *b = f->call.broker;
    SL_ASSERT(f->run == run);
    SL_ASSERT(!run->reading); /* the log would write into what goes now */
    f->err = err;
    f->run = NULL;
    f->call.cancel = NULL;
    run_free(run);
    if (b->closing)
        fetch__sessions_drop(b->fetch);
    broker_finish(&f->call);
    if (b->closing && fetch__idle(b))
        broker__idle_check(b);
}

static void respond(struct fetch_run *run)
{
    SL_ASSERT(run->stage == FETCH_EVALUATING);
    SL_ASSERT(list_empty(&run->todo));
    fetch__results_build(run);
    settle_told(run, false);
    end(run, SL_OK);
}

/* ---- limits -------------------------------------------------------------------------------------
 */

/* What this response may hold beyond its first batch: the client's wish within the broker's limits,
 * the last of which shrinks while slow readers hold data (K09). */
static uint64_t response_bytes_max(const struct fetch_run *run)
{
    const struct broker *b = run->f->call.broker;
    uint64_t max = SL_MIN((uint64_t)SL_MAX(run->f->max_bytes, 0), (uint64_t)b->cfg.fetch_bytes_max);
    return SL_MIN(max, fetch__memory_share(b->fetch->memory));
}

static uint64_t room_left(const struct fetch_run *run)
{
    return run->bytes_max > run->collected ? run->bytes_max - run->collected : 0;
}

/* What is worth an answer: no more than a response can hold, whatever the client asked for. */
static uint64_t bytes_wanted(const struct fetch_run *run)
{
    uint64_t max = SL_MIN((uint64_t)SL_MAX(run->f->max_bytes, 0), run->bytes_max / 2);
    return SL_MIN((uint64_t)SL_MAX(run->f->min_bytes, 0), SL_MAX(max, (uint64_t)1));
}

/* ---- parking ------------------------------------------------------------------------------------
 */

static void note_size(struct fetch_entry *e)
{
    struct log_part_state state;
    log_part_state(e->set->state->broker->env.log, e->log, &state);
    e->bytes_seen = state.bytes;
    fetch__entry_arm(e, state.high_watermark);
}

/* Waits for more. Data is let go meanwhile: it will be read again, together with what comes. */
static void park(struct fetch_run *run)
{
    int64_t wait_ms = SL_MIN((int64_t)run->f->max_wait_ms, (int64_t)FETCH_WAIT_MS_MAX);
    int64_t spent_ms = loop_now_ms(run->timer.loop) - run->begin_ms;
    SL_ASSERT(run->stage == FETCH_EVALUATING);
    SL_ASSERT(!run->must_end);
    run->dropped = run->collected;
    run->stage = FETCH_PARKED;
    LIST_FOREACH (node, &run->told) {
        struct fetch_entry *e = SL_CONTAINER_OF(node, struct fetch_entry, node);
        if (e->data.len && e->topic)
            note_size(e);
        slice_unref(&e->data);
    }
    settle_told(run, true);
    if (!timer_running(&run->timer)) {
        run->f->call.broker->fetch->counters.parked++;
        timer_start(&run->timer, SL_MAX(wait_ms - spent_ms, 0));
    }
}

/* What a parked run would find, from the growth of the logs that moved: no read to learn that it is
 * still too little. */
static bool has_enough(struct fetch_run *run)
{
    uint64_t found = run->dropped, wanted = bytes_wanted(run);
    SL_ASSERT(run->stage == FETCH_PARKED);
    if (wanted <= 1)
        return true;
    LIST_FOREACH (node, &run->set->ready) {
        struct fetch_entry *e = SL_CONTAINER_OF(node, struct fetch_entry, node);
        struct log_part_state state;
        if (!e->topic)
            return true; /* an error to tell */
        log_part_state(run->f->call.broker->env.log, e->log, &state);
        if (state.bytes < e->bytes_seen)
            return true; /* old segments went meanwhile: look */
        found += (uint64_t)(state.bytes - e->bytes_seen);
        if (!list_linked(&e->watch.node))
            fetch__entry_arm(e, state.high_watermark);
    }
    return found >= wanted;
}

static void wake_sets(struct task *t)
{
    struct fetch_state *s = SL_CONTAINER_OF(t, struct fetch_state, wake);
    s->wake_scheduled = false;
    for (struct list *node; (node = list_pop_front(&s->woken));) {
        struct fetch_set *set = SL_CONTAINER_OF(node, struct fetch_set, wake_node);
        if (set->run && set->run->stage == FETCH_PARKED && has_enough(set->run))
            evaluate(set->run);
    }
    if (s->broker->closing && fetch__idle(s->broker))
        broker__idle_check(s->broker);
}

void fetch__wake(struct fetch_set *set)
{
    struct fetch_state *s = set->state;
    SL_ASSERT(loop_is_current(s->broker->env.loop));
    if (!set->run || set->run->stage != FETCH_PARKED || list_linked(&set->wake_node))
        return;
    list_push_back(&s->woken, &set->wake_node);
    if (s->wake_scheduled)
        return;
    s->wake_scheduled = true;
    loop_defer(s->broker->env.loop, &s->wake);
}

static void end_now(struct fetch_run *run)
{
    run->must_end = true;
    if (run->stage == FETCH_PARKED)
        evaluate(run);
}

static void time_is_up(struct timer *t)
{
    end_now(SL_CONTAINER_OF(t, struct fetch_run, timer));
}

static void cancel_fetch(struct broker_call *c)
{
    struct broker_fetch *f = SL_CONTAINER_OF(c, struct broker_fetch, call);
    if (f->run)
        end_now(f->run);
}

/* ---- looking
 * ---------------------------------------------------------------------------------------- */

/* Answered: with data, with an error, or because a session's client knows something else. */
static void tell(struct fetch_run *run, struct fetch_entry *e)
{
    if (e->err != SL_OK)
        run->has_error = true;
    list_push_back(&run->told, &e->node);
}

static sl_err check_position(const struct fetch_entry *e, const struct log_part_state *state)
{
    if (e->leader_epoch >= 0 && e->leader_epoch < state->leader_epoch)
        return SL_ELEADER_FENCED;
    if (e->leader_epoch > state->leader_epoch)
        return SL_ELEADER_UNKNOWN;
    return e->offset < state->log_start || e->offset > state->log_end ? SL_EOFFSET : SL_OK;
}

/* Nothing to read. A full answer names it anyhow. */
static void rest(struct fetch_run *run, struct fetch_entry *e)
{
    fetch__entry_arm(e, e->high_watermark);
    if (!run->is_full &&
        (e->high_watermark != e->sent_watermark || e->log_start != e->sent_log_start))
        tell(run, e);
}

static void read_ended(struct fetch_run *run, struct fetch_entry *e, sl_err err)
{
    e->err = err == SL_ETOPIC && e->set->by_id ? SL_ETOPIC_ID : err;
    e->data = run->read.data;
    run->read.data = (struct slice){0};
    run->collected += e->data.len;
    fetch__memory_charge(run->f->call.broker->fetch->memory, e->data);
    if (err != SL_OK || e->data.len)
        tell(run, e);
    else
        list_push_back(&run->set->ready, &e->node); /* its next batch did not fit: next time */
}

static void read_done(struct log_read *r)
{
    struct fetch_run *run = SL_CONTAINER_OF(r, struct fetch_run, read);
    SL_ASSERT(run->stage == FETCH_READING);
    SL_ASSERT(run->reading);
    run->stage = FETCH_EVALUATING;
    read_ended(run, SL_TAKE(run->reading), r->err);
    evaluate_todo(run);
}

/* SL_PENDING: read_done goes on. */
static sl_err read_entry(struct fetch_run *run, struct fetch_entry *e)
{
    uint64_t room = SL_MIN(room_left(run), (uint64_t)SL_MAX(e->bytes_max, 0));
    SL_ASSERT(!run->reading); /* one read at a time: `collected` is exact */
    SL_ASSERT(e->log);
    run->read = (struct log_read){.part = e->log,
                                  .offset = e->offset,
                                  .bytes_max = (uint32_t)room,
                                  .at_least_one = run->collected == 0,
                                  .done = read_done};
    sl_err err = log_read(run->f->call.broker->env.log, &run->read);
    if (err == SL_PENDING) {
        run->reading = e;
        run->stage = FETCH_READING;
        return err;
    }
    read_ended(run, e, err);
    return SL_OK;
}

static void begin_entry(struct fetch_entry *e)
{
    slice_unref(&e->data);
    e->err = SL_OK;
    e->high_watermark = e->log_start = -1;
}

/* SL_PENDING: a read is under way. */
static sl_err look_at(struct fetch_run *run, struct fetch_entry *e)
{
    struct broker *b = run->f->call.broker;
    struct log_part_state state;
    begin_entry(e);
    e->err = fetch__entry_resolve(e, run->f->call.who);
    if (e->err == SL_OK) {
        log_part_state(b->env.log, e->log, &state);
        e->err = check_position(e, &state);
    }
    if (e->err != SL_OK) {
        tell(run, e);
        return SL_OK;
    }
    SL_ASSERT(state.high_watermark <= state.log_end);
    e->high_watermark = state.high_watermark;
    e->log_start = state.log_start;
    e->bytes_seen = state.bytes;
    if (e->offset >= state.high_watermark) {
        rest(run, e);
        return SL_OK;
    }
    if (room_left(run) == 0 && run->collected > 0) {
        list_push_back(&run->set->ready, &e->node); /* of a full fetch: its data comes next time */
        return SL_OK;
    }
    return read_entry(run, e);
}

static bool is_enough(const struct fetch_run *run)
{
    return run->must_end || run->has_error || run->f->max_wait_ms <= 0 ||
           run->collected >= bytes_wanted(run) || run->set->n_entries == 0;
}

static bool may_go_on(const struct fetch_run *run)
{
    return run->is_full || run->collected == 0 || room_left(run) > 0;
}

static void go_on_looking(struct task *t)
{
    struct fetch_run *run = SL_CONTAINER_OF(t, struct fetch_run, again);
    run->stage = FETCH_EVALUATING;
    evaluate_todo(run);
}

static void evaluate_todo(struct fetch_run *run)
{
    for (int looks = 0; !list_empty(&run->todo) && may_go_on(run); looks++) {
        if (looks == LOOKS_A_TURN) {
            run->stage = FETCH_READING;
            run->again.run = go_on_looking;
            loop_post(run->timer.loop, &run->again);
            return;
        }
        struct list *node = list_pop_front(&run->todo);
        if (look_at(run, SL_CONTAINER_OF(node, struct fetch_entry, node)) == SL_PENDING)
            return;
    }
    /* what there was no room for comes first next time */
    list_splice(&run->todo, &run->set->ready);
    list_splice(&run->set->ready, &run->todo);
    if (is_enough(run))
        respond(run);
    else
        park(run);
}

/* Looks at everything that is ready; responds, parks or waits for a read. */
static void evaluate(struct fetch_run *run)
{
    SL_ASSERT(list_empty(&run->todo));
    SL_ASSERT(list_empty(&run->told));
    SL_ASSERT(run->stage != FETCH_READING);
    run->stage = FETCH_EVALUATING;
    run->collected = 0;
    run->bytes_max = response_bytes_max(run);
    list_splice(&run->todo, &run->set->ready);
    evaluate_todo(run);
}

/* ---- the call
 * ------------------------------------------------------------------------------------------ */

static void run_fetch(struct broker_call *c)
{
    struct broker_fetch *f = SL_CONTAINER_OF(c, struct broker_fetch, call);
    struct fetch_state *s = c->broker->fetch;
    SL_ASSERT(loop_is_current(c->broker->env.loop));
    struct fetch_run *run = sl_new(struct fetch_run);
    run->f = f;
    run->begin_ms = loop_now_ms(c->broker->env.loop);
    run->must_end = c->canceled || c->broker->closing;
    list_init(&run->todo);
    list_init(&run->told);
    list_push_back(&s->runs, &run->node);
    timer_init(&run->timer, c->broker->env.loop, time_is_up);
    f->run = run;
    f->results = NULL;
    f->ret_session_id = 0;
    s->counters.fetches++;
    sl_err err = c->broker->closing ? SL_ECLOSED : fetch__session_begin(run);
    if (err != SL_OK) {
        end(run, err);
        return;
    }
    c->cancel = cancel_fetch;
    evaluate(run);
}

void broker_fetch_init(struct broker_fetch *f)
{
    f->call.run = run_fetch;
}

void broker_fetch_counters(const struct broker *b, struct broker_fetch_counters *ret)
{
    *ret = b->fetch->counters;
    ret->memory_bytes = fetch__memory_used(b->fetch->memory);
}

/* ---- life with the broker
 * --------------------------------------------------------------------------------- */

sl_err fetch__open(struct broker *b)
{
    struct fetch_state *s = sl_new(struct fetch_state);
    s->broker = b;
    s->wake.run = wake_sets;
    s->memory = fetch__memory_new();
    list_init(&s->sets);
    list_init(&s->runs);
    list_init(&s->woken);
    b->fetch = s;
    return fetch__sessions_open(s);
}

/* Everybody who waits is answered with what there is. */
void fetch__close(struct broker *b)
{
    struct fetch_state *s = b->fetch;
    struct list runs;
    list_init(&runs);
    list_splice(&runs, &s->runs);
    for (struct list *node; (node = list_pop_front(&runs));) {
        list_push_back(&s->runs, node);
        end_now(SL_CONTAINER_OF(node, struct fetch_run, node));
    }
    fetch__sessions_drop(s);
}

void fetch__free(struct broker *b)
{
    struct fetch_state *s = b->fetch;
    if (!s)
        return;
    SL_ASSERT(list_empty(&s->runs));
    fetch__sessions_close(s);
    fetch__memory_unref(s->memory);
    sl_free(s);
    b->fetch = NULL;
}

bool fetch__idle(const struct broker *b)
{
    return !b->fetch || (list_empty(&b->fetch->runs) && !b->fetch->wake_scheduled);
}

static void drop_topic(struct fetch_entry *e, void *topic)
{
    if (e->topic != topic)
        return;
    list_remove(&e->watch.node);
    e->topic = NULL;
    e->log = NULL;
    struct fetch_run *run = e->set->run;
    if (run)
        run->has_error = true; /* ends at once; who asks again is told */
    if (!list_linked(&e->node) && !(run && run->reading == e))
        list_push_back(&e->set->ready, &e->node);
    fetch__wake(e->set);
}

void fetch__topic_gone(struct broker *b, struct topic *t)
{
    LIST_FOREACH (node, &b->fetch->sets) {
        struct fetch_set *set = SL_CONTAINER_OF(node, struct fetch_set, node);
        for (uint32_t i = 0; i < set->n_entries && set->entries; i++)
            drop_topic(&set->entries[i], t);
        if (!set->entries)
            fetch__session_each(SL_CONTAINER_OF(set, struct fetch_session, set), drop_topic, t);
    }
}
