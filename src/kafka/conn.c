/* A connection: receives frames, hands them on one after another, and closes.
 *
 * Where bytes arrive depends on what is expected. A frame that has begun gets a block of its own,
 * allocated as its bytes come. A connection whose last frame was large reads into a block of that
 * size, so that frames of equal size are never copied. All others read into the shard's scratch
 * memory, from which many small requests are taken with one read; they are copied. So a connection
 * that waits holds nothing. */
#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/log.h"
#include "kafka/kafka_int.h"

enum {
    PREFIX_BYTES = 4,
    FRAME_BYTES_MIN = 8, /* key, version, correlation id */
    SCRATCH_BYTES = 65536,
    STEP_BYTES = 16384, /* allocated before anything has arrived */
    LARGE_BYTES = 16384,
    SPARE_BYTES_MAX = 4 << 20,
    EXEMPTED_TIMEOUT_MS = 1000,
    STARVED_CHECK_MS = 100,
    RATE_BYTES_MIN = 65536, /* a second: who is slower has request_timeout_ms for the whole frame */
};

static const struct tcp_conn_ops ops;

/* ---- life ------------------------------------------------------------------------------------ */

static struct kafka_memory *memory_of(const struct kafka_conn *c)
{
    return c->shard->door->memory;
}

static void on_deadline(struct timer *t)
{
    struct kafka_conn *c = SL_CONTAINER_OF(t, struct kafka_conn, deadline);
    int64_t timeout_ms = c->shard->door->cfg.request_timeout_ms;
    SL_ASSERT(c->frame.got >= c->frame.got_in_time);
    size_t since = c->frame.got - c->frame.got_in_time;
    if (since * 1000 < (size_t)timeout_ms * RATE_BYTES_MIN) {
        kafka__conn_refuse(c, "the request was begun but not finished in time");
        return;
    }
    c->frame.got_in_time = c->frame.got; /* large, and on its way */
    timer_start(t, timeout_ms);
}

void kafka__conn_accept(struct kafka_shard *s, struct tcp_conn *tcp)
{
    struct kafka_conn *c = sl_new(struct kafka_conn);
    c->shard = s;
    c->tcp = tcp;
    list_init(&c->pending);
    timer_init(&c->deadline, s->loop, on_deadline);
    list_push_back(&s->conns, &c->node);
    list_push_back(&s->silent, &c->silent_node);
    kafka__count(&s->n_conns, 1);
    kafka__count(&s->n_accepted, 1);
    tcp_conn_start(tcp, &ops, c);
}

static void drop_frame(struct kafka_conn *c)
{
    block_unref(c->frame.block);
    c->frame = (struct kafka_frame){0};
}

/* What is left of a connection that can receive nothing any more. */
static void drop_received(struct kafka_conn *c)
{
    drop_frame(c);
    slice_unref(&c->input);
    timer_stop(&c->deadline);
    list_remove(&c->silent_node);
    list_remove(&c->unfinished_node);
    list_remove(&c->stalled_node);
    kafka__memory_finished(memory_of(c), c);
}

void kafka__conn_check(struct kafka_conn *c)
{
    if (c->tcp || c->n_pending > 0)
        return;
    struct kafka_shard *s = c->shard;
    SL_ASSERT(list_empty(&c->pending));
    SL_ASSERT(c->n_waiting == 0);
    SL_ASSERT(c->answer_bytes == 0);
    SL_ASSERT(!timer_running(&c->deadline));
    list_remove(&c->node);
    sl_free(c);
    kafka__count(&s->n_conns, (uint64_t)-1);
    kafka__shard_check(s);
}

static void on_close(struct tcp_conn *tcp, void *arg, sl_err why)
{
    struct kafka_conn *c = arg;
    c->tcp = NULL;
    c->closing = true;
    drop_received(c);
    kafka__pending_cancel(c);
    kafka__conn_check(c);
}

void kafka__conn_close(struct kafka_conn *c)
{
    c->closing = true;
    drop_received(c);
    if (c->tcp)
        tcp_conn_close(c->tcp);
}

static void close_politely(struct kafka_conn *c)
{
    c->closing = true;
    drop_received(c);
    if (c->tcp)
        tcp_conn_close_after_write(c->tcp);
}

void kafka__conn_refuse(struct kafka_conn *c, const char *reason)
{
    kafka__conn_refuse_request(c, -1, -1, reason);
}

void kafka__conn_refuse_request(struct kafka_conn *c, int16_t key, int16_t version,
                                const char *reason)
{
    if (c->closing)
        return;
    SL_ASSERT(c->tcp);
    kafka__count(&c->shard->n_refused, 1);
    if (!log_rate_limited("kafka.refused")) {
        char peer[ADDR_TEXT_BYTES];
        tcp_conn_peer(c->tcp, peer);
        LOG_WARN("kafka.refused", "closed a connection of the Kafka listener", F_STR("peer", peer),
                 F_STR("reason", reason), F_I64("api_key", key), F_I64("api_version", version));
    }
    kafka__conn_close(c);
}

void kafka__conn_stop(struct kafka_conn *c)
{
    if (c->closing)
        return;
    drop_received(c);
    kafka__pending_cancel(c);
    /* else reply.c comes here again with the last answer */
    if (c->n_pending == 0)
        close_politely(c);
}

/* ---- the deadline of an unfinished frame -------------------------------------------------------
 */

static bool is_unfinished(const struct kafka_conn *c)
{
    return c->prefix_got > 0 || (c->frame.block && c->frame.got < c->frame.bytes);
}

/* Time counts only while we read: what we hold back is not the peer's fault. */
static void deadline_pause(struct kafka_conn *c)
{
    if (!timer_running(&c->deadline))
        return;
    c->deadline_left_ms = SL_MAX(c->deadline.node.key - loop_now_ms(c->shard->loop), 1);
    timer_stop(&c->deadline);
}

static void deadline_update(struct kafka_conn *c)
{
    if (c->closing || !is_unfinished(c)) {
        timer_stop(&c->deadline);
        c->deadline_left_ms = 0;
        list_remove(&c->unfinished_node);
        return;
    }
    if (c->deadline_left_ms == 0)
        c->deadline_left_ms = c->shard->door->cfg.request_timeout_ms;
    if (!list_linked(&c->unfinished_node))
        list_push_back(&c->shard->unfinished, &c->unfinished_node);
    if (c->paused)
        deadline_pause(c);
    else if (!timer_running(&c->deadline))
        timer_start(&c->deadline, c->deadline_left_ms);
}

/* ---- where the next bytes go -------------------------------------------------------------------
 */

/* How much to allocate for a frame of which `got` bytes are here: all of it when the connection has
 * sent as large a one before, else at most twice what has come (K01). */
static size_t frame_room(const struct kafka_conn *c, size_t bytes, size_t got)
{
    size_t allowed = SL_MAX(SL_MAX(got * 2, (size_t)STEP_BYTES), c->frame_bytes_seen);
    return SL_MIN(bytes, allowed);
}

static bool grow_frame(struct kafka_conn *c)
{
    struct kafka_frame *f = &c->frame;
    size_t room = frame_room(c, f->bytes, f->got);
    SL_ASSERT(room > f->got);
    struct block *b = kafka__memory_block(memory_of(c), room);
    if (!b)
        return false;
    memcpy(block_data(b), block_data(f->block) + f->at, f->got);
    kafka__memory_charge(memory_of(c), b, f->got);
    block_unref(f->block);
    f->block = b;
    f->at = 0;
    f->room = room;
    return true;
}

static uint8_t *spare_buffer(struct kafka_conn *c, size_t *ret_len)
{
    struct kafka_shard *s = c->shard;
    size_t wanted = c->frame_bytes_last + PREFIX_BYTES;
    if (s->spare_bytes != wanted) {
        block_unref(s->spare);
        s->spare = kafka__memory_block(memory_of(c), wanted);
        s->spare_bytes = s->spare ? wanted : 0;
    }
    if (!s->spare) {
        c->frame_bytes_last = 0; /* memory is short: no blocks on suspicion */
        *ret_len = SCRATCH_BYTES;
        return s->scratch;
    }
    *ret_len = s->spare_bytes;
    return block_data(s->spare);
}

static bool reads_spare(const struct kafka_conn *c)
{
    return !c->frame.block && c->prefix_got == 0 && c->frame_bytes_last >= LARGE_BYTES &&
           c->frame_bytes_last < SPARE_BYTES_MAX;
}

static uint8_t *next_buffer(struct kafka_conn *c, size_t *ret_len)
{
    struct kafka_frame *f = &c->frame;
    if (f->block) {
        if (f->got == f->room && !grow_frame(c)) {
            kafka__conn_refuse(c, "no memory for the request");
            return NULL;
        }
        *ret_len = f->room - f->got;
        return block_data(f->block) + f->at + f->got;
    }
    if (reads_spare(c))
        return spare_buffer(c, ret_len);
    *ret_len = SCRATCH_BYTES;
    return c->shard->scratch;
}

/* Something that was received waits: a whole frame, or bytes that were not looked at. */
static bool holds_input(const struct kafka_conn *c)
{
    return c->input.len > 0 || (c->frame.block && c->frame.got == c->frame.bytes);
}

/* Everybody waits for the one that is exempted: it has to be quick. */
static void hurry(struct kafka_conn *c)
{
    int64_t left = c->deadline.node.key - loop_now_ms(c->shard->loop);
    if (timer_running(&c->deadline) && left > EXEMPTED_TIMEOUT_MS)
        timer_start(&c->deadline, EXEMPTED_TIMEOUT_MS);
}

static bool memory_admits(struct kafka_conn *c)
{
    struct kafka_shard *s = c->shard;
    bool is_oldest = !list_empty(&s->unfinished) && s->unfinished.next == &c->unfinished_node;
    switch (kafka__memory_admits(s->door->memory, c, c->frame.block || reads_spare(c), is_oldest)) {
    case KAFKA_ADMITTED:
        return true;
    case KAFKA_EXEMPTED:
        hurry(c);
        return true;
    case KAFKA_REFUSED:
        break;
    }
    if (!list_linked(&c->stalled_node))
        list_push_back(&s->stalled, &c->stalled_node);
    if (!timer_running(&s->starved_timer))
        timer_start(&s->starved_timer, STARVED_CHECK_MS);
    return false;
}

static uint8_t *read_buffer(struct tcp_conn *tcp, void *arg, size_t *ret_len)
{
    struct kafka_conn *c = arg;
    uint8_t *p = NULL;
    if (!c->closing && !c->shard->stopping && !holds_input(c) && memory_admits(c))
        p = next_buffer(c, ret_len);
    if (!p) {
        c->paused = true;
        deadline_pause(c);
    }
    return p;
}

static void resume_reading(struct kafka_conn *c)
{
    if (!c->paused || c->closing || c->shard->stopping || holds_input(c))
        return;
    c->paused = false;
    list_remove(&c->stalled_node);
    deadline_update(c);
    tcp_conn_resume(c->tcp);
}

/* A peer that reads gets its time anew. */
static void judge_held(struct kafka_conn *c, int64_t now_ms)
{
    if (c->closing || c->held_since_ms == 0)
        return;
    size_t bytes = c->answer_bytes + tcp_conn_queued_bytes(c->tcp);
    if (bytes < c->held_bytes)
        c->held_since_ms = now_ms;
    c->held_bytes = bytes;
    if (now_ms - c->held_since_ms >= c->shard->door->cfg.request_timeout_ms)
        kafka__conn_refuse(c, "its answers are not read, and others wait for the memory it holds");
}

void kafka__conn_on_starved(struct timer *t)
{
    struct kafka_shard *s = SL_CONTAINER_OF(t, struct kafka_shard, starved_timer);
    if (list_empty(&s->stalled))
        return;
    LIST_FOREACH_SAFE(node, &s->conns)
    judge_held(SL_CONTAINER_OF(node, struct kafka_conn, node), loop_now_ms(s->loop));
    timer_start(t, STARVED_CHECK_MS);
}

void kafka__conn_resume_stalled(struct kafka_shard *s)
{
    /* Who finds no memory again stalls anew, behind the others. */
    struct list again;
    list_init(&again);
    list_splice(&again, &s->stalled);
    for (struct list *node; (node = list_pop_front(&again));)
        resume_reading(SL_CONTAINER_OF(node, struct kafka_conn, stalled_node));
}

/* ---- frames out of bytes -----------------------------------------------------------------------
 */

static const char *why_length_is_wrong(const uint8_t prefix[PREFIX_BYTES])
{
    static const char *const http[] = {"GET ", "POST", "PUT ", "HEAD",
                                       "DELE", "OPTI", "PATC", "PRI "};
    for (size_t i = 0; i < SL_ARRAY_LEN(http); i++)
        if (memcmp(prefix, http[i], PREFIX_BYTES) == 0)
            return "this is HTTP; the listener speaks Kafka's protocol only";
    if (prefix[0] == 0x16 && prefix[1] == 3)
        return "this is TLS; the listener is a plain one (security.protocol=PLAINTEXT)";
    if ((int32_t)get_be32(prefix) < FRAME_BYTES_MIN)
        return "the length of the request is too small to be one";
    return "the length of the request is above the limit";
}

/* Moves what it needs of the input into the prefix; true when that is whole. */
static bool take_prefix(struct kafka_conn *c)
{
    SL_ASSERT(c->prefix_got < PREFIX_BYTES);
    size_t n = SL_MIN(c->input.len, (size_t)(PREFIX_BYTES - c->prefix_got));
    memcpy(c->prefix + c->prefix_got, c->input.data, n);
    c->prefix_got = (uint8_t)(c->prefix_got + n);
    c->input.data += n;
    c->input.len -= n;
    return c->prefix_got == PREFIX_BYTES;
}

/* The frame may stay where its first bytes arrived when the block has room for all of it and is
 * not much larger. */
static bool adopt_input(struct kafka_conn *c, size_t bytes)
{
    struct block *b = c->input.block;
    if (!b)
        return false;
    size_t at = (size_t)(c->input.data - block_data(b)), room = kafka__memory_room(b);
    if (bytes > room - at || bytes < room / 2)
        return false;
    c->frame = (struct kafka_frame){.block = block_ref(b), .at = at, .bytes = bytes, .room = bytes};
    return true;
}

static bool begin_frame(struct kafka_conn *c)
{
    uint32_t bytes = get_be32(c->prefix);
    SL_ASSERT(c->prefix_got == PREFIX_BYTES);
    SL_ASSERT(!c->frame.block);
    if (bytes < FRAME_BYTES_MIN || bytes > c->shard->door->cfg.frame_bytes_max) {
        kafka__conn_refuse(c, why_length_is_wrong(c->prefix));
        return false;
    }
    c->prefix_got = 0;
    size_t here = SL_MIN((size_t)bytes, c->input.len);
    if (adopt_input(c, bytes)) {
        c->frame.got = here;
    } else {
        size_t room = here == bytes ? bytes : frame_room(c, bytes, here);
        struct block *b = kafka__memory_block(memory_of(c), room);
        if (!b) {
            kafka__conn_refuse(c, "no memory for the request");
            return false;
        }
        if (here > 0)
            memcpy(block_data(b), c->input.data, here);
        kafka__memory_charge(memory_of(c), b, here);
        c->frame = (struct kafka_frame){.block = b, .bytes = bytes, .got = here, .room = room};
    }
    SL_ASSERT(c->frame.got <= c->frame.room);
    SL_ASSERT(c->frame.room <= c->frame.bytes);
    c->input.data += here;
    c->input.len -= here;
    return true;
}

/* True when a whole frame is there. */
static bool next_frame(struct kafka_conn *c)
{
    if (!c->frame.block) {
        if (c->input.len == 0 || !take_prefix(c) || !begin_frame(c))
            return false;
    }
    return c->frame.got == c->frame.bytes;
}

static void dispatch_frame(struct kafka_conn *c)
{
    struct kafka_frame f = c->frame;
    SL_ASSERT(f.got == f.bytes);
    struct slice frame = {.data = block_data(f.block) + f.at, .len = f.bytes, .block = f.block};
    if (!kafka__may_dispatch(c)) {
        if (kafka__is_full(c) && c->held_since_ms == 0)
            c->held_since_ms = loop_now_ms(c->shard->loop);
        return;
    }
    c->held_since_ms = 0;
    c->frame = (struct kafka_frame){0};
    c->frame_bytes_last = f.bytes;
    c->frame_bytes_seen = SL_MAX(c->frame_bytes_seen, f.bytes);
    kafka__memory_finished(memory_of(c), c);
    timer_stop(&c->deadline);
    c->deadline_left_ms = 0;
    list_remove(&c->unfinished_node);
    kafka__dispatch(c, frame);
}

/* What could not be handed on yet moves out of the shard's scratch memory. */
static void keep_input(struct kafka_conn *c)
{
    struct slice rest = c->input;
    if (rest.len == 0) {
        slice_unref(&c->input);
        return;
    }
    if (rest.block)
        return;
    struct block *b = kafka__memory_block(memory_of(c), rest.len);
    if (!b) {
        kafka__conn_refuse(c, "no memory for the request");
        return;
    }
    memcpy(block_data(b), rest.data, rest.len);
    kafka__memory_charge(memory_of(c), b, rest.len);
    c->input = (struct slice){.data = block_data(b), .len = rest.len, .block = b};
}

void kafka__conn_pump(struct kafka_conn *c)
{
    if (c->pumping || c->closing)
        return;
    c->pumping = true;
    while (!c->closing && !c->shard->stopping && next_frame(c)) {
        dispatch_frame(c);
        if (c->frame.block)
            break; /* it has to wait */
    }
    c->pumping = false;
    if (c->closing)
        return;
    keep_input(c);
    deadline_update(c);
    resume_reading(c);
}

static void on_read(struct tcp_conn *tcp, void *arg, size_t n)
{
    struct kafka_conn *c = arg;
    struct kafka_shard *s = c->shard;
    list_remove(&c->silent_node);
    if (c->closing)
        return;
    if (c->frame.block) {
        c->frame.got += n;
        SL_ASSERT(c->frame.got <= c->frame.room);
        kafka__memory_charge(memory_of(c), c->frame.block, n);
    } else if (reads_spare(c)) {
        struct block *b = SL_TAKE(s->spare);
        s->spare_bytes = 0;
        kafka__memory_charge(memory_of(c), b, n);
        c->input = (struct slice){.data = block_data(b), .len = n, .block = b};
    } else {
        c->input = slice_of(s->scratch, n);
    }
    kafka__conn_pump(c);
}

static void on_drained(struct tcp_conn *tcp, void *arg)
{
    kafka__conn_pump(arg);
}

static const struct tcp_conn_ops ops = {read_buffer, on_read, on_drained, on_close};
