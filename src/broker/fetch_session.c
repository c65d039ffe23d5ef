/* Fetch sessions (KIP-227): the partitions of a consumer kept here, so that its next request names
 * only what changed. Bounded in number and in partitions; who finds no room works without one. */
#include "base/alloc.h"
#include "broker/fetch_int.h"

enum {
    SESSION_IDLE_MS = 120 * 1000,    /* an older one gives way to a new one */
    SESSION_PARTITIONS_MAX = 200000, /* of all sessions together */
    SESSION_NAME_BYTES_MAX = 255,
    KEY_BYTES_MAX = SESSION_NAME_BYTES_MAX + 4,
    EPOCH_NEW = 0,
    EPOCH_FINAL = -1,
};

struct entry_key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t len;
};

static void make_key(struct entry_key *key, bool by_id, struct slice name, const struct uuid *id,
                     int32_t index)
{
    const void *topic = by_id ? (const void *)id->bytes : (const void *)name.data;
    size_t len = by_id ? sizeof id->bytes : name.len;
    SL_ASSERT(len <= SESSION_NAME_BYTES_MAX);
    if (len)
        memcpy(key->bytes, topic, len);
    memcpy(key->bytes + len, &index, sizeof index);
    key->len = len + sizeof index;
}

/* ---- the entries of a session ------------------------------------------------------------------
 */

static struct fetch_entry *entry_new(struct fetch_session *s, const struct broker_fetch_part *part)
{
    size_t name_len = s->set.by_id ? 0 : part->topic.len;
    struct fetch_entry *e = sl_alloc(1, sizeof *e + name_len);
    fetch__entry_init(e, &s->set);
    if (name_len)
        memcpy(e + 1, part->topic.data, name_len);
    e->name = slice_of(e + 1, name_len);
    e->topic_id = part->topic_id;
    e->index = part->index;
    return e;
}

static void entry_free(struct fetch_session *s, struct fetch_entry *e)
{
    SL_ASSERT(e->set == &s->set);
    SL_ASSERT(s->set.n_entries > 0);
    SL_ASSERT(s->set.state->counters.session_partitions > 0);
    fetch__entry_fini(e);
    sl_free(e);
    s->set.n_entries--;
    s->set.state->counters.session_partitions--;
}

/* NULL: there are as many partitions in sessions as there may be. */
static struct fetch_entry *entry_put(struct fetch_session *s, const struct broker_fetch_part *part)
{
    struct entry_key key;
    make_key(&key, s->set.by_id, part->topic, &part->topic_id, part->index);
    struct fetch_entry *e = map_get(s->by_key, key.bytes, key.len);
    if (!e) {
        if (s->set.state->counters.session_partitions >= SESSION_PARTITIONS_MAX)
            return NULL;
        e = entry_new(s, part);
        sl_err err = map_put(s->by_key, key.bytes, key.len, e, NULL);
        SL_ASSERT(err == SL_OK); /* its ceiling is that of all sessions */
        s->set.n_entries++;
        s->set.state->counters.session_partitions++;
    }
    fetch__entry_update(e, part);
    return e;
}

static void forget(struct fetch_session *s, const struct broker_fetch *f)
{
    for (uint32_t i = 0; i < f->n_forgotten; i++) {
        const struct broker_fetch_forgotten *part = &f->forgotten[i];
        struct entry_key key;
        if (!s->set.by_id && part->topic.len > SESSION_NAME_BYTES_MAX)
            continue;
        make_key(&key, s->set.by_id, part->topic, &part->topic_id, part->index);
        struct fetch_entry *e = map_remove(s->by_key, key.bytes, key.len);
        if (e)
            entry_free(s, e);
    }
}

void fetch__session_each(struct fetch_session *session,
                         void (*fn)(struct fetch_entry *e, void *arg), void *arg)
{
    size_t i = 0;
    void *e;
    while (map_next(session->by_key, &i, NULL, &e))
        fn(e, arg);
}

/* ---- the sessions
 * ----------------------------------------------------------------------------------- */

static void free_one(struct fetch_entry *e, void *arg)
{
    entry_free(arg, e);
}

static void session_free(struct fetch_session *s)
{
    struct fetch_state *state = s->set.state;
    SL_ASSERT(!s->set.run);
    fetch__session_each(s, free_one, s);
    map_free(s->by_key);
    list_remove(&s->lru);
    (void)map_remove(state->sessions, &s->id, sizeof s->id); /* s itself */
    fetch__set_fini(&s->set);
    SL_ASSERT(state->counters.sessions > 0);
    SL_ASSERT(s->set.n_entries == 0);
    state->counters.sessions--;
    sl_free(s);
}

static struct fetch_session *session_find(struct fetch_state *state, int32_t id)
{
    return map_get(state->sessions, &id, sizeof id);
}

/* The least recently used one goes when nobody needs it now and it has been idle for long. */
static bool make_room(struct fetch_state *state, int64_t now_ms)
{
    if (state->counters.sessions < (uint32_t)state->broker->cfg.fetch_sessions_max)
        return true;
    if (list_empty(&state->lru))
        return false;
    struct fetch_session *oldest = SL_CONTAINER_OF(state->lru.next, struct fetch_session, lru);
    if (oldest->set.run || now_ms - oldest->used_ms < SESSION_IDLE_MS)
        return false;
    session_free(oldest);
    state->counters.sessions_evicted++;
    SL_ASSERT(state->counters.sessions < (uint32_t)state->broker->cfg.fetch_sessions_max);
    return true;
}

static int32_t unused_id(struct fetch_state *state)
{
    int32_t id;
    do {
        id = (int32_t)(rng_u64(state->broker->env.rng) & INT32_MAX);
    } while (id == 0 || session_find(state, id));
    return id;
}

static struct fetch_session *session_new(struct fetch_state *state, bool by_id)
{
    struct fetch_session *s = sl_new(struct fetch_session);
    fetch__set_init(&s->set, state, by_id);
    s->by_key = map_new(SESSION_PARTITIONS_MAX);
    s->id = unused_id(state);
    s->epoch = 1;
    list_push_back(&state->lru, &s->lru);
    sl_err err = map_put(state->sessions, &s->id, sizeof s->id, s, NULL);
    SL_ASSERT(err == SL_OK); /* make_room has seen to it */
    state->counters.sessions++;
    state->counters.sessions_made++;
    SL_ASSERT(state->counters.sessions == map_count(state->sessions));
    return s;
}

static void touch(struct fetch_session *s, int64_t now_ms)
{
    s->used_ms = now_ms;
    list_remove(&s->lru);
    list_push_back(&s->set.state->lru, &s->lru);
}

static bool fits_a_session(const struct broker_fetch *f)
{
    for (uint32_t i = 0; !f->by_id && i < f->n_parts; i++)
        if (f->parts[i].topic.len > SESSION_NAME_BYTES_MAX)
            return false;
    return f->n_parts > 0;
}

/* ---- what a request means
 * ---------------------------------------------------------------------------- */

static void begin_without(struct fetch_run *run)
{
    run->set = fetch__set_of_request(run->f->call.broker->fetch, run->f);
    run->is_full = true;
}

static void begin_new(struct fetch_run *run)
{
    struct broker_fetch *f = run->f;
    struct fetch_state *state = f->call.broker->fetch;
    if (!fits_a_session(f) || !make_room(state, run->begin_ms)) {
        begin_without(run);
        return;
    }
    struct fetch_session *s = session_new(state, f->by_id);
    run->order = sl_new_array(struct fetch_entry *, f->n_parts);
    for (uint32_t i = 0; i < f->n_parts; i++) {
        run->order[i] = entry_put(s, &f->parts[i]);
        if (!run->order[i]) {
            session_free(s);
            sl_free(SL_TAKE(run->order));
            begin_without(run);
            return;
        }
    }
    run->session = s;
    run->is_full = true;
    f->ret_session_id = s->id;
}

static sl_err begin_incremental(struct fetch_run *run)
{
    struct broker_fetch *f = run->f;
    struct fetch_session *s = session_find(f->call.broker->fetch, f->session_id);
    if (!s)
        return SL_EFETCH_SESSION;
    if (s->epoch != f->session_epoch || s->set.run)
        return SL_EFETCH_EPOCH;
    if (s->set.by_id != f->by_id)
        return SL_EFETCH_IDS;
    if (f->n_parts && !fits_a_session(f))
        return SL_EFETCH_SESSION; /* the client begins anew, and gets none */
    forget(s, f);
    for (uint32_t i = 0; i < f->n_parts; i++)
        if (!entry_put(s, &f->parts[i]))
            return SL_EFETCH_SESSION;
    s->epoch = s->epoch == INT32_MAX ? 1 : s->epoch + 1;
    run->session = s;
    f->ret_session_id = s->id;
    return SL_OK;
}

static void end_session(struct fetch_run *run)
{
    struct fetch_session *old = session_find(run->f->call.broker->fetch, run->f->session_id);
    if (old && !old->set.run)
        session_free(old);
}

sl_err fetch__session_begin(struct fetch_run *run)
{
    const struct broker_fetch *f = run->f;
    if (f->session_epoch == EPOCH_FINAL || f->session_epoch == EPOCH_NEW) {
        if (f->session_id != 0)
            end_session(run);
        if (f->session_epoch == EPOCH_NEW)
            begin_new(run);
        else
            begin_without(run);
    } else {
        SL_TRY(begin_incremental(run));
    }
    run->set = run->session ? &run->session->set : run->set;
    if (run->session)
        touch(run->session, run->begin_ms);
    SL_ASSERT(!run->set->run);
    SL_ASSERT(run->is_full || run->session);
    run->set->run = run;
    return SL_OK;
}

sl_err fetch__sessions_open(struct fetch_state *s)
{
    s->sessions = map_new((size_t)SL_MAX(s->broker->cfg.fetch_sessions_max, 1));
    list_init(&s->lru);
    return SL_OK;
}

void fetch__sessions_drop(struct fetch_state *s)
{
    LIST_FOREACH_SAFE(node, &s->lru)
    {
        struct fetch_session *session = SL_CONTAINER_OF(node, struct fetch_session, lru);
        if (!session->set.run)
            session_free(session);
    }
}

void fetch__sessions_close(struct fetch_state *s)
{
    fetch__sessions_drop(s);
    SL_ASSERT(list_empty(&s->lru));
    map_free(s->sessions);
}
