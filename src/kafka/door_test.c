/* The door over real sockets on loopback, with handlers of our own in place of the broker's. */
#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/rng.h"
#include "kafka/kafka_int.h"
#include "kafka_codec/errors.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WAIT_MS = 20000, /* nothing here takes long; a test that waits so long has failed */
    PARKED_MAX = 20000,
    BIG_ANSWER = 1 << 20,
    HUGE_ANSWER = 32, /* of those */
};

/* ---- the broker that is not there
 * ----------------------------------------------------------------- */

const struct principal principal_anonymous = {.name = "anonymous"};
static atomic_int n_canceled;

void broker_cancel(struct broker_call *c)
{
    atomic_fetch_add(&n_canceled, 1);
    if (c->done)
        c->done(c);
}

/* ---- the server under test
 * ------------------------------------------------------------------------ */

struct server {
    struct loop *loop;
    struct thread *thread;
    struct mutex *mutex;
    struct cond *cond;
    struct kafka_door *door;
    struct kafka_door_cfg cfg;
    uint16_t port;
    bool is_stopped;
    /* requests that wait to be answered by the test; on the loop */
    struct kafka_request *parked[PARKED_MAX];
    size_t n_parked;
    atomic_size_t n_parked_seen;
};
static struct server *server;

struct job {
    struct task task;
    void (*fn)(void *arg);
    void *arg;
    bool is_done;
};

static void run_job(struct task *t)
{
    struct job *job = SL_CONTAINER_OF(t, struct job, task);
    job->fn(job->arg);
    mutex_lock(server->mutex);
    job->is_done = true;
    cond_broadcast(server->cond);
    mutex_unlock(server->mutex);
}

static void on_the_loop(void (*fn)(void *arg), void *arg)
{
    struct job job = {.task.run = run_job, .fn = fn, .arg = arg};
    loop_post(server->loop, &job.task);
    mutex_lock(server->mutex);
    while (!job.is_done)
        cond_wait(server->cond, server->mutex);
    mutex_unlock(server->mutex);
}

static void park(struct kafka_request *r)
{
    assert_true(server->n_parked < PARKED_MAX);
    server->parked[server->n_parked++] = r;
    atomic_store(&server->n_parked_seen, server->n_parked);
}

/* The checksum of the records comes back as base offset. */
static void answer_produce(struct kafka_request *r)
{
    const struct kafka_produce_request *in = r->in;
    struct kafka_produce_response_partition_produce_response partition =
        kafka_produce_response_partition_produce_response_default;
    struct kafka_produce_response_topic_produce_response topic = {
        .name = slice_str("t"), .n_partition_responses = 1, .partition_responses = &partition};
    struct kafka_produce_response out = kafka_produce_response_default;
    out.n_responses = 1;
    out.responses = &topic;
    if (in->n_topic_data && in->topic_data[0].n_partition_data) {
        struct slice records = in->topic_data[0].partition_data[0].records;
        partition.base_offset = crc32c(0, records.data, records.len);
    }
    kafka_reply(r, &out);
}

static void handle_produce(struct kafka_request *r)
{
    const struct kafka_produce_request *in = r->in;
    if (in->timeout_ms == -1)
        park(r);
    else if (in->acks == 0)
        kafka_reply_none(r);
    else
        answer_produce(r);
}

static struct block *big_block;

/* n times BIG_ANSWER bytes of records. */
static void answer_fetch(struct kafka_request *r, uint32_t n)
{
    struct slice records[HUGE_ANSWER];
    for (uint32_t i = 0; i < n; i++)
        records[i] = slice_of_block(big_block, 0, BIG_ANSWER);
    struct kafka_fetch_response_partition_data partition =
        kafka_fetch_response_partition_data_default;
    partition.records = (struct kafka_records){.slices = records, .n = n};
    struct kafka_fetch_response_fetchable_topic_response topic = {
        .topic = slice_str("t"), .n_partitions = 1, .partitions = &partition};
    struct kafka_fetch_response out = kafka_fetch_response_default;
    out.n_responses = 1;
    out.responses = &topic;
    kafka_reply(r, &out);
    for (uint32_t i = 0; i < n; i++)
        slice_unref(&records[i]);
}

static void handle_fetch(struct kafka_request *r)
{
    const struct kafka_fetch_request *in = r->in;
    if (in->max_wait_ms == -1) {
        park(r);
        return;
    }
    atomic_fetch_add(&server->n_parked_seen, 1);
    answer_fetch(r, 1);
}

/* More than any socket buffer takes. */
static void release_huge(void *unused)
{
    answer_fetch(server->parked[--server->n_parked], HUGE_ANSWER);
}

static void handle_default(struct kafka_request *r)
{
    kafka_reply(r, kafka_api(r->api_key)->response->defaults);
}

static struct broker_call waiting_call;

static void waiting_done(struct broker_call *c)
{
    struct kafka_request *r = server->parked[--server->n_parked];
    r->waiting = NULL;
    kafka_reply(r, &kafka_join_group_response_default);
}

static void handle_join(struct kafka_request *r)
{
    waiting_call.done = waiting_done;
    r->waiting = &waiting_call;
    park(r);
}

static const struct kafka_route routes[] = {
    {KAFKA_API_PRODUCE, 0, 13, handle_produce, KAFKA_CONCURRENT},
    {KAFKA_API_FETCH, 4, 18, handle_fetch, 0},
    {KAFKA_API_METADATA, 0, 13, handle_default, 0},
    {KAFKA_API_JOIN_GROUP, 0, 9, handle_join, 0},
    {KAFKA_API_HEARTBEAT, 0, 4, handle_default, 0},
    {KAFKA_API_API_VERSIONS, 0, 5, kafka_handle_api_versions, 0},
};

static void start_door(void *unused)
{
    struct sl_fault fault = {0};
    server->cfg.addr = "127.0.0.1:0";
    sl_err err = kafka__door_start(&server->cfg, routes, SL_ARRAY_LEN(routes), NULL, &server->loop,
                                   1, &fault, &server->door);
    if (err != SL_OK)
        fail_msg("%s", fault.what);
    server->port = kafka_door_port(server->door);
}

static void on_stopped(void *arg)
{
    server->is_stopped = true;
    kafka_door_free(server->door);
    loop_stop(server->loop);
}

static void stop_door(void *unused)
{
    kafka_door_stop(server->door, 100, on_stopped, NULL);
}

static void stop_door_patiently(void *unused)
{
    kafka_door_stop(server->door, 1 << 30, on_stopped, NULL);
}

static void run_loop(void *arg)
{
    loop_run(arg);
}

/* The real clock, and what the test adds to it. */
static _Atomic int64_t passed_ns;

static int64_t shifted_ns(const struct clock *c)
{
    return clock_monotonic_ns(&clock_real) + passed_ns;
}

static int64_t shifted_wall_ms(const struct clock *c)
{
    return clock_wall_ms(&clock_real);
}

static const struct clock shifted_clock = {shifted_ns, shifted_wall_ms};

static void start(struct kafka_door_cfg cfg)
{
    server->cfg = cfg;
    assert_int_equal(SL_OK, loop_new(&shifted_clock, &server->loop));
    assert_int_equal(SL_OK, thread_start("kafka", run_loop, server->loop, &server->thread));
    on_the_loop(start_door, NULL);
}

static int setup(void **state)
{
    server = sl_new(struct server);
    server->mutex = mutex_new();
    server->cond = cond_new();
    big_block = block_new(BIG_ANSWER);
    memset(block_data(big_block), 7, BIG_ANSWER);
    atomic_store(&n_canceled, 0);
    log_configure(open("/dev/null", O_WRONLY), LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    start((struct kafka_door_cfg){0});
    return 0;
}

static void stop(void)
{
    if (server->loop == NULL)
        return;
    if (!server->is_stopped)
        on_the_loop(stop_door, NULL);
    thread_join(server->thread);
    loop_free(server->loop);
    server->loop = NULL;
    server->is_stopped = false;
    server->n_parked = 0;
    atomic_store(&server->n_parked_seen, 0);
}

static void restart(struct kafka_door_cfg cfg)
{
    stop();
    start(cfg);
}

static int teardown(void **state)
{
    stop();
    mutex_free(server->mutex);
    cond_free(server->cond);
    sl_free(server);
    block_unref(big_block);
    return 0;
}

static struct kafka_door_metrics metrics(void)
{
    struct kafka_door_metrics m;
    kafka_door_metrics(server->door, &m);
    return m;
}

/* Tests look at what other threads do; they wait for it, never for time to pass. */
static void wait_until(bool (*is_true)(size_t n), size_t n)
{
    for (int i = 0; i < WAIT_MS && !is_true(n); i++)
        (void)usleep(1000);
    assert_true(is_true(n));
}

static struct timer last_timer;
static atomic_size_t n_last_fired;

static void on_last_timer(struct timer *t)
{
    atomic_fetch_add(&n_last_fired, 1);
}

static void start_last_timer(void *unused)
{
    timer_init(&last_timer, server->loop, on_last_timer);
    timer_start(&last_timer, 0);
}

static bool has_fired(size_t n)
{
    return atomic_load(&n_last_fired) == n;
}

/* Afterwards the loop has fired what was due. */
static void pass_ms(int64_t ms)
{
    size_t before = atomic_load(&n_last_fired);
    passed_ns += ms * 1000000;
    on_the_loop(start_last_timer, NULL); /* due after all others that are */
    wait_until(has_fired, before + 1);
}

static bool has_parked(size_t n)
{
    return atomic_load(&server->n_parked_seen) == n;
}

static bool has_connections(size_t n)
{
    return metrics().connections == n;
}

static bool holds_bytes(size_t n)
{
    return metrics().request_bytes == n;
}

/* ---- the client
 * ----------------------------------------------------------------------------------- */

static int client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(server->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    int one = 1;
    assert_int_equal(0, setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait));
    assert_int_equal(0, setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    assert_int_equal(0, connect(fd, (struct sockaddr *)&addr, sizeof addr));
    return fd;
}

static void send_all(int fd, const void *data, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);
        if (n < 0)
            return; /* closed: what follows sees it */
        sent += (size_t)n;
    }
}

static bool is_closed(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0) <= 0;
}

/* A frame with its length in front, in memory of its own. */
static struct slice request(const struct kafka_api *api, int16_t version, int32_t correlation_id,
                            const void *msg)
{
    struct kafka_out out;
    kafka_out_init(&out, 64 << 20);
    struct kafka_request_header header = {.request_api_key = api->key,
                                          .request_api_version = version,
                                          .correlation_id = correlation_id,
                                          .client_id = slice_str("test")};
    kafka_put_u32(&out, 0);
    kafka_request_header_message.encode(&out, kafka_request_header_version(api, version), &header);
    api->request->encode(&out, version, msg ? msg : api->request->defaults);
    assert_int_equal(SL_OK, kafka_out_finish(&out));
    struct block *b = block_new(out.bytes);
    size_t len = 0;
    for (uint32_t i = 0; i < out.n_pieces; i++) {
        memcpy(block_data(b) + len, out.pieces[i].data, out.pieces[i].len);
        len += out.pieces[i].len;
    }
    put_be32(block_data(b), (uint32_t)(len - 4));
    kafka_out_fini(&out);
    return (struct slice){.data = block_data(b), .len = len, .block = b};
}

static void send_request(int fd, int16_t key, int16_t version, int32_t id, const void *msg)
{
    struct slice frame = request(kafka_api(key), version, id, msg);
    send_all(fd, frame.data, frame.len);
    slice_unref(&frame);
}

/* The correlation id of the next answer, whose body goes to `into`; -1: closed. */
static int32_t receive(int fd, struct slice *into)
{
    uint8_t prefix[4];
    if (recv(fd, prefix, sizeof prefix, MSG_WAITALL) != sizeof prefix)
        return -1;
    size_t len = get_be32(prefix);
    struct block *b = block_new(len);
    assert_int_equal(len, recv(fd, block_data(b), len, MSG_WAITALL));
    int32_t id = (int32_t)get_be32(block_data(b));
    if (into)
        *into = slice_of_block(b, 4, len - 4);
    block_unref(b);
    return id;
}

/* A Produce of `len` bytes; timeout -1 parks it. */
static struct slice produce_frame(int32_t id, int32_t timeout_ms, struct slice records)
{
    struct kafka_produce_request_partition_produce_data partition = {.records = records};
    struct kafka_produce_request_topic_produce_data topic = {
        .name = slice_str("t"), .n_partition_data = 1, .partition_data = &partition};
    struct kafka_produce_request msg = {
        .acks = -1, .timeout_ms = timeout_ms, .n_topic_data = 1, .topic_data = &topic};
    return request(kafka_api(KAFKA_API_PRODUCE), 9, id, &msg);
}

static void produce(int fd, int32_t id, int32_t timeout_ms, struct slice records)
{
    struct slice frame = produce_frame(id, timeout_ms, records);
    send_all(fd, frame.data, frame.len);
    slice_unref(&frame);
}

static int64_t produced_checksum(struct slice body)
{
    struct arena *arena = arena_new(NULL);
    struct reader in = reader_over(body, arena, 65536);
    (void)read_u8(&in); /* the header's tags */
    struct kafka_produce_response out;
    kafka_produce_response_message.decode(&in, 9, &out);
    assert_int_equal(SL_OK, reader_finish(&in));
    int64_t base = out.responses[0].partition_responses[0].base_offset;
    arena_free(arena);
    return base;
}

/* ---- versions and keys
 * ------------------------------------------------------------------------------ */

static struct kafka_api_versions_response ask_versions(int fd, int16_t version, int16_t answered,
                                                       const void *msg, struct arena *arena)
{
    send_request(fd, KAFKA_API_API_VERSIONS, version, 1, msg);
    struct slice body;
    assert_int_equal(1, receive(fd, &body));
    struct reader in = reader_over(body, arena, 65536);
    struct kafka_api_versions_response out;
    kafka_api_versions_response_message.decode(&in, answered, &out);
    assert_int_equal(SL_OK, reader_finish(&in));
    slice_unref(&body); /* the names in it are not looked at */
    return out;
}

static void ApiVersions_states_exactly_what_is_served(void **state)
{
    int fd = client();
    struct arena *arena = arena_new(NULL);
    struct kafka_api_versions_request msg = kafka_api_versions_request_default;
    msg.client_software_name = slice_str("test");
    msg.client_software_version = slice_str("1.0");
    for (int16_t version = 0; version <= 5; version++) {
        struct kafka_api_versions_response out = ask_versions(fd, version, version, &msg, arena);
        assert_int_equal(0, out.error_code);
        assert_int_equal(SL_ARRAY_LEN(routes), out.n_api_keys);
        for (size_t i = 0; i < out.n_api_keys; i++) {
            assert_int_equal(routes[i].key, out.api_keys[i].api_key);
            assert_int_equal(routes[i].first_version, out.api_keys[i].min_version);
            assert_int_equal(routes[i].last_version, out.api_keys[i].max_version);
        }
        assert_int_equal(version >= 3 ? 1 : 0, out.n_finalized_features);
    }
    arena_free(arena);
    close(fd);
}

static void K04_ApiVersions_of_a_future_version_gets_version_0_with_error_35(void **state)
{
    int fd = client();
    struct arena *arena = arena_new(NULL);
    static const uint8_t future[] = {0, 0, 0, 13, 0, 18, 0, 99, 0, 0, 0, 1, 0, 1, 'x', 9, 9};
    send_all(fd, future, sizeof future);
    struct slice body;
    assert_int_equal(1, receive(fd, &body));
    struct reader in = reader_over(body, arena, 65536);
    struct kafka_api_versions_response out;
    kafka_api_versions_response_message.decode(&in, 0, &out);
    assert_int_equal(SL_OK, reader_finish(&in));
    assert_int_equal(KAFKA_ERR_UNSUPPORTED_VERSION, out.error_code);
    assert_int_equal(SL_ARRAY_LEN(routes), out.n_api_keys);
    slice_unref(&body);
    /* and the connection goes on */
    send_request(fd, KAFKA_API_HEARTBEAT, 4, 2, NULL);
    assert_int_equal(2, receive(fd, NULL));
    arena_free(arena);
    close(fd);
}

static void software_names_that_KIP_511_forbids_are_refused(void **state)
{
    int fd = client();
    struct arena *arena = arena_new(NULL);
    static const char *const names[] = {"", "-x", "x-", "a b", "a/b"};
    struct kafka_api_versions_request msg = kafka_api_versions_request_default;
    msg.client_software_version = slice_str("1.0");
    for (size_t i = 0; i < SL_ARRAY_LEN(names); i++) {
        msg.client_software_name = slice_str(names[i]);
        assert_int_equal(KAFKA_ERR_INVALID_REQUEST, ask_versions(fd, 3, 3, &msg, arena).error_code);
    }
    msg.client_software_name = slice_str("librdkafka-2.0.x");
    assert_int_equal(0, ask_versions(fd, 3, 3, &msg, arena).error_code);
    arena_free(arena);
    close(fd);
}

static void K04_keys_and_versions_that_are_not_served_close_the_connection(void **state)
{
    static const struct {
        int16_t key, version;
    } cases[] = {{99, 0}, {-1, 0}, {4, 0}, {INT16_MAX, 0}, {3, 14}, {3, -1}, {1, 3}, {12, 5}};
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++) {
        int fd = client();
        uint8_t frame[16] = {0, 0, 0, 12};
        put_be16(frame + 4, (uint16_t)cases[i].key);
        put_be16(frame + 6, (uint16_t)cases[i].version);
        send_all(fd, frame, sizeof frame);
        assert_true(is_closed(fd));
        close(fd);
    }
    assert_int_equal(SL_ARRAY_LEN(cases), metrics().refused);
}

static void K04_a_frame_cut_at_any_byte_is_refused_in_every_version(void **state)
{
    size_t n = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(routes); i++) {
        const struct kafka_api *api = kafka_api(routes[i].key);
        for (int16_t v = routes[i].first_version; v <= routes[i].last_version; v++) {
            struct slice frame = request(api, v, 1, NULL);
            uint8_t *cut = malloc(frame.len);
            assert_non_null(cut);
            memcpy(cut, frame.data, frame.len);
            for (size_t len = 4; len < frame.len; len++, n++) {
                int fd = client();
                put_be32(cut, (uint32_t)(len - 4));
                send_all(fd, cut, len);
                assert_true(is_closed(fd));
                close(fd);
            }
            free(cut);
            slice_unref(&frame);
        }
    }
    assert_true(n > 500);
    wait_until(has_connections, 0);
    wait_until(holds_bytes, 0);
}

static void Produce_below_version_3_answers_UNSUPPORTED_VERSION(void **state)
{
    int fd = client();
    struct kafka_produce_request_partition_produce_data partition = {.index = 3};
    struct kafka_produce_request_topic_produce_data topic = {
        .name = slice_str("t"), .n_partition_data = 1, .partition_data = &partition};
    struct kafka_produce_request msg = {.acks = 1, .n_topic_data = 1, .topic_data = &topic};
    struct arena *arena = arena_new(NULL);
    for (int16_t version = 0; version <= 2; version++) {
        send_request(fd, KAFKA_API_PRODUCE, version, 5, &msg);
        struct slice body;
        assert_int_equal(5, receive(fd, &body));
        struct reader in = reader_over(body, arena, 65536);
        struct kafka_produce_response out;
        kafka_produce_response_message.decode(&in, version, &out);
        assert_int_equal(SL_OK, reader_finish(&in));
        assert_int_equal(3, out.responses[0].partition_responses[0].index);
        assert_int_equal(KAFKA_ERR_UNSUPPORTED_VERSION,
                         out.responses[0].partition_responses[0].error_code);
        slice_unref(&body);
    }
    assert_int_equal(3, metrics().apis[0].errors);
    arena_free(arena);
    close(fd);
}

/* ---- frames
 * --------------------------------------------------------------------------------------- */

static void K01_lengths_that_no_request_has_are_refused_at_once(void **state)
{
    static const uint32_t lengths[] = {
        0, 1, 7, 0xffffffff, 0x80000000, 0x7fffffff, (100 << 20) + 1};
    for (size_t i = 0; i < SL_ARRAY_LEN(lengths); i++) {
        int fd = client();
        uint8_t prefix[4];
        put_be32(prefix, lengths[i]);
        send_all(fd, prefix, sizeof prefix);
        assert_true(is_closed(fd));
        close(fd);
    }
    assert_int_equal(0, metrics().request_bytes);
}

static bool holds_at_least(size_t n)
{
    return metrics().request_bytes >= n;
}

static void K01_memory_grows_with_what_arrives_not_with_what_is_announced(void **state)
{
    enum { CONNS = 20, SENT = 20000 };
    int fds[CONNS];
    uint8_t *bytes = calloc(1, SENT);
    put_be32(bytes, 90 << 20);
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < CONNS; i++) {
        fds[i] = client();
        send_all(fds[i], bytes, SENT);
    }
    wait_until(holds_at_least, (size_t)CONNS * (SENT - 4));
    struct mallinfo2 after = mallinfo2();
    size_t more = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    assert_true(more <= (size_t)CONNS * (2 * SENT + 16384));
    for (int i = 0; i < CONNS; i++)
        close(fds[i]);
    free(bytes);
    wait_until(holds_bytes, 0);
}

static void frames_of_any_size_in_pieces_of_any_size_arrive_whole(void **state)
{
    enum { ROUNDS = 60, BYTES_MAX = 3 << 20 };
    struct rng_seeded rng;
    rng_seeded_init(&rng, 11);
    uint8_t *bytes = malloc(BYTES_MAX);
    assert_non_null(bytes);
    rng.rng.fill(&rng.rng, bytes, BYTES_MAX);
    int fd = client();
    for (int32_t i = 0; i < ROUNDS; i++) {
        size_t max = (size_t)1 << (4 + rng_below(&rng.rng, 18));
        struct slice records = slice_of(bytes, rng_below(&rng.rng, SL_MIN(max, (size_t)BYTES_MAX)));
        struct slice frame = produce_frame(i, 1, records);
        size_t piece = 1 + rng_below(&rng.rng, frame.len / 3 + 1);
        for (size_t sent = 0; sent < frame.len; sent += piece)
            send_all(fd, frame.data + sent, SL_MIN(piece, frame.len - sent));
        struct slice body;
        assert_int_equal(i, receive(fd, &body));
        assert_int_equal(crc32c(0, records.data, records.len), produced_checksum(body));
        slice_unref(&body);
        slice_unref(&frame);
    }
    free(bytes);
    close(fd);
    wait_until(holds_bytes, 0);
}

static void many_requests_in_one_packet_are_all_answered(void **state)
{
    enum { N = 2000 };
    struct slice one = request(kafka_api(KAFKA_API_HEARTBEAT), 4, 0, NULL);
    uint8_t *all = malloc(one.len * N);
    assert_non_null(all);
    for (uint32_t i = 0; i < N; i++) {
        memcpy(all + i * one.len, one.data, one.len);
        put_be32(all + i * one.len + 8, i);
    }
    int fd = client();
    send_all(fd, all, one.len * N);
    for (int32_t i = 0; i < N; i++)
        assert_int_equal(i, receive(fd, NULL));
    slice_unref(&one);
    free(all);
    close(fd);
}

static void large_frames_back_to_back_arrive_whole(void **state)
{
    enum { N = 40, BYTES = 100000 };
    uint8_t *bytes = malloc(BYTES);
    assert_non_null(bytes);
    int fd = client();
    for (int32_t i = 0; i < N; i++) {
        memset(bytes, i, BYTES);
        produce(fd, i, 1, slice_of(bytes, BYTES - (size_t)(i % 7)));
    }
    for (int32_t i = 0; i < N; i++) {
        struct slice body;
        assert_int_equal(i, receive(fd, &body));
        memset(bytes, i, BYTES);
        assert_int_equal(crc32c(0, bytes, BYTES - (size_t)(i % 7)), produced_checksum(body));
        slice_unref(&body);
    }
    free(bytes);
    close(fd);
    wait_until(holds_bytes, 0);
}

/* ---- order, pipelining, back-pressure
 * ---------------------------------------------------------------- */

static void release_last(void *n)
{
    for (size_t i = *(size_t *)n; i > 0; i--)
        answer_produce(server->parked[--server->n_parked]);
    atomic_store(&server->n_parked_seen, server->n_parked);
}

static void answers_leave_in_the_order_of_the_requests(void **state)
{
    int fd = client();
    for (int32_t i = 0; i < 10; i++)
        produce(fd, i, -1, slice_str("x"));
    wait_until(has_parked, 10);
    size_t n = 10;
    on_the_loop(release_last, &n); /* the newest first */
    for (int32_t i = 0; i < 10; i++)
        assert_int_equal(i, receive(fd, NULL));
    close(fd);
}

static void a_request_waits_for_the_one_before_it_unless_that_is_concurrent(void **state)
{
    int fd = client();
    send_request(fd, KAFKA_API_JOIN_GROUP, 9, 1, NULL);
    produce(fd, 2, -1, slice_str("x"));
    wait_until(has_parked, 1); /* the join, nothing else */
    send_request(fd, KAFKA_API_HEARTBEAT, 4, 3, NULL);
    assert_int_equal(1, metrics().requests_under_way);
    close(fd);
}

static void K14_pipelined_requests_beyond_the_cap_wait_outside(void **state)
{
    restart((struct kafka_door_cfg){.pipelined_max = 50});
    int fd = client();
    for (int32_t i = 0; i < 500; i++)
        produce(fd, i, -1, slice_str("x"));
    wait_until(has_parked, 50);
    for (int32_t got = 0; got < 500; got += 50) {
        size_t n = 50;
        wait_until(has_parked, 50);
        assert_int_equal(50, metrics().requests_under_way);
        on_the_loop(release_last, &n);
        for (int32_t i = 0; i < 50; i++)
            assert_int_equal(got + i, receive(fd, NULL));
    }
    close(fd);
}

static void K14_who_does_not_read_its_answers_is_not_given_more(void **state)
{
    enum { N = 100 };
    int fd = client();
    for (int32_t i = 0; i < N; i++)
        send_request(fd, KAFKA_API_FETCH, 12, i, NULL);
    /* another connection is served meanwhile, and by then the first has met its limit */
    int other = client();
    for (int32_t i = 0; i < 50; i++) {
        send_request(other, KAFKA_API_HEARTBEAT, 4, i, NULL);
        assert_int_equal(i, receive(other, NULL));
    }
    /* 4 MiB here, and what the two socket buffers take */
    assert_true(atomic_load(&server->n_parked_seen) < 30);
    for (int32_t i = 0; i < N; i++)
        assert_int_equal(i, receive(fd, NULL));
    assert_int_equal(N, atomic_load(&server->n_parked_seen));
    close(fd);
    close(other);
}

/* ---- memory of all requests together
 * ------------------------------------------------------------------ */

static bool is_readable(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void requests_wait_while_others_hold_the_memory(void **state)
{
    enum { BYTES = 300000 };
    restart((struct kafka_door_cfg){.request_bytes_max = 512 << 10});
    uint8_t *bytes = calloc(1, BYTES);
    int held[2] = {client(), client()};
    for (int i = 0; i < 2; i++)
        produce(held[i], i, -1, slice_of(bytes, BYTES));
    wait_until(has_parked, 2); /* the second exceeds the limit: it was the oldest unfinished one */
    int third = client();
    send_request(third, KAFKA_API_HEARTBEAT, 4, 9, NULL);
    int fourth = client();
    produce(fourth, 10, 1, slice_of(bytes, BYTES));
    assert_false(is_readable(third));
    size_t n = 2;
    on_the_loop(release_last, &n);
    assert_int_equal(9, receive(third, NULL));
    assert_int_equal(10, receive(fourth, NULL));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(i, receive(held[i], NULL));
        close(held[i]);
    }
    close(third);
    close(fourth);
    free(bytes);
    wait_until(holds_bytes, 0);
}

static void K14_who_holds_memory_and_does_not_read_is_closed_when_others_need_it(void **state)
{
    enum { BYTES = 300000 };
    restart((struct kafka_door_cfg){.request_bytes_max = 256 << 10, .request_timeout_ms = 200});
    uint8_t *bytes = calloc(1, BYTES);
    int greedy = client(), other = client();
    struct kafka_fetch_request wait = kafka_fetch_request_default;
    wait.max_wait_ms = -1;
    send_request(greedy, KAFKA_API_FETCH, 12, 1, &wait);
    produce(greedy, 2, 1, slice_of(bytes, BYTES)); /* received, but behind the fetch */
    wait_until(holds_at_least, BYTES);
    on_the_loop(release_huge, NULL); /* which is answered, and not read */
    send_request(other, KAFKA_API_HEARTBEAT, 4, 1, NULL);
    assert_int_equal(1, receive(other, NULL));
    int large = client();
    produce(large, 2, 1, slice_of(bytes, BYTES));
    assert_int_equal(2, receive(large, NULL));
    close(greedy);
    close(other);
    close(large);
    free(bytes);
}

static void K13_a_slow_request_does_not_keep_all_others_waiting(void **state)
{
    enum { BYTES = 300000, SLOW = 3 };
    restart((struct kafka_door_cfg){.request_bytes_max = 256 << 10});
    uint8_t *bytes = calloc(1, BYTES);
    struct slice frame = produce_frame(1, 1, slice_of(bytes, BYTES));
    int slow[SLOW];
    for (int i = 0; i < SLOW; i++) {
        slow[i] = client();
        send_all(slow[i], frame.data, frame.len - 1); /* and never the last byte */
    }
    int other = client();
    send_all(other, frame.data, frame.len);
    assert_int_equal(1, receive(other, NULL)); /* long before their 10 s are over */
    for (int i = 0; i < SLOW; i++)
        close(slow[i]);
    close(other);
    slice_unref(&frame);
    free(bytes);
}

static void one_request_larger_than_the_limit_of_all_passes(void **state)
{
    enum { BYTES = 5 << 20 };
    restart((struct kafka_door_cfg){.request_bytes_max = 1 << 20});
    uint8_t *bytes = calloc(1, BYTES);
    int fd = client();
    produce(fd, 1, 1, slice_of(bytes, BYTES));
    assert_int_equal(1, receive(fd, NULL));
    close(fd);
    free(bytes);
}

static void an_idle_connection_holds_less_than_1_KiB(void **state)
{
    enum { N = 400 };
    int fds[N];
    /* the first ones pay for what stays: arenas, caches */
    for (int i = 0; i < 2; i++) {
        fds[i] = client();
        send_request(fds[i], KAFKA_API_HEARTBEAT, 4, i, NULL);
        assert_int_equal(i, receive(fds[i], NULL));
    }
    struct mallinfo2 before = mallinfo2();
    for (int i = 2; i < N; i++) {
        fds[i] = client();
        send_request(fds[i], KAFKA_API_HEARTBEAT, 4, i, NULL);
        assert_int_equal(i, receive(fds[i], NULL));
    }
    struct mallinfo2 after = mallinfo2();
    size_t each = (after.uordblks - before.uordblks) / (N - 2);
    assert_true(each < 1024);
    for (int i = 0; i < N; i++)
        close(fds[i]);
}

/* ---- time, strangers, endings
 * ------------------------------------------------------------------------- */

static void K13_a_request_that_is_begun_and_not_finished_is_closed(void **state)
{
    restart((struct kafka_door_cfg){.request_timeout_ms = 50});
    static const uint8_t begun[] = {0, 0, 0, 20, 0, 18, 0, 0};
    for (size_t len = 1; len <= sizeof begun; len++) {
        int fd = client();
        send_all(fd, begun, len);
        assert_true(is_closed(fd));
        close(fd);
    }
    assert_int_equal(sizeof begun, metrics().refused);
}

static struct slice large_request(size_t bytes)
{
    struct slice records = slice_of_block(big_block, 0, bytes);
    struct slice frame = produce_frame(1, 30000, records);
    slice_unref(&records);
    return frame;
}

static void K13_a_byte_in_ten_seconds_is_closed_wherever_it_drips(void **state)
{
    static const size_t starts[] = {1, 3, 4, 9, 20, 100, 1000, 20000, 300000, 800000};
    struct slice frame = large_request(900000);
    for (size_t i = 0; i < SL_ARRAY_LEN(starts); i++) {
        int fd = client();
        int drips = 0;
        send_all(fd, frame.data, starts[i]);
        for (; drips < 4 && metrics().refused == i; drips++) {
            pass_ms(9990);
            send_all(fd, frame.data + starts[i] + (size_t)drips, 1);
        }
        assert_true(is_closed(fd));
        assert_int_equal(i + 1, metrics().refused);
        close(fd);
    }
    wait_until(has_connections, 0);
    wait_until(holds_bytes, 0);
    slice_unref(&frame);
}

static void K13_a_large_request_at_70_KB_a_second_is_served(void **state)
{
    enum { STEP = 70000 };
    struct slice frame = large_request(1000000);
    int fd = client();
    for (size_t sent = 0; sent < frame.len; sent += STEP) {
        send_all(fd, frame.data + sent, SL_MIN((size_t)STEP, frame.len - sent));
        if (sent + STEP < frame.len)
            wait_until(holds_at_least, sent + STEP - 4);
        pass_ms(1000);
    }
    assert_int_equal(1, receive(fd, NULL));
    assert_int_equal(0, metrics().refused);
    slice_unref(&frame);
    close(fd);
}

static void K13_time_does_not_count_while_the_broker_holds_the_request_back(void **state)
{
    restart((struct kafka_door_cfg){.request_timeout_ms = 50});
    int fd = client();
    send_request(fd, KAFKA_API_JOIN_GROUP, 9, 1, NULL);
    wait_until(has_parked, 1);
    struct slice next = request(kafka_api(KAFKA_API_HEARTBEAT), 4, 2, NULL);
    send_all(fd, next.data, next.len);     /* has to wait for the join */
    send_all(fd, next.data, next.len - 1); /* and this one is not even read */
    int watch = client();
    send_all(watch, "\0", 1);
    assert_true(is_closed(watch)); /* so 50 ms have passed */
    assert_false(is_readable(fd));
    wait_until(has_connections, 1);
    slice_unref(&next);
    close(watch);
    close(fd);
}

static void K13_a_silent_connection_makes_room_for_another(void **state)
{
    restart((struct kafka_door_cfg){.connections_max = 3});
    int busy = client();
    send_request(busy, KAFKA_API_HEARTBEAT, 4, 1, NULL);
    assert_int_equal(1, receive(busy, NULL));
    int silent[2] = {client(), client()};
    wait_until(has_connections, 3);
    int late = client();
    send_request(late, KAFKA_API_HEARTBEAT, 4, 2, NULL);
    assert_int_equal(2, receive(late, NULL));
    assert_true(is_closed(silent[0]));
    send_request(busy, KAFKA_API_HEARTBEAT, 4, 3, NULL);
    assert_int_equal(3, receive(busy, NULL));
    for (int i = 0; i < 2; i++)
        close(silent[i]);
    close(late);
    close(busy);
}

static void K15_HTTP_and_TLS_are_closed_at_once(void **state)
{
    static const char *const greetings[] = {"GET / HTTP/1.1\r\n\r\n", "POST /topics HTTP/1.1\r\n",
                                            "\x16\x03\x01\x02\x00\x01", "PRI * HTTP/2.0\r\n\r\n",
                                            "HEAD / HTTP/1.0\r\n"};
    for (size_t i = 0; i < SL_ARRAY_LEN(greetings); i++) {
        int fd = client();
        send_all(fd, greetings[i], strlen(greetings[i]));
        assert_true(is_closed(fd));
        close(fd);
    }
}

static void a_peer_that_goes_cancels_what_waits_for_it(void **state)
{
    int fd = client();
    send_request(fd, KAFKA_API_JOIN_GROUP, 9, 1, NULL);
    wait_until(has_parked, 1);
    close(fd);
    wait_until(has_connections, 0);
    assert_int_equal(1, atomic_load(&n_canceled));
    assert_int_equal(0, metrics().requests_under_way);
}

static void no_answer_is_sent_where_none_is_wanted(void **state)
{
    int fd = client();
    struct kafka_produce_request msg = {.acks = 0};
    send_request(fd, KAFKA_API_PRODUCE, 9, 1, &msg);
    send_request(fd, KAFKA_API_HEARTBEAT, 4, 2, NULL);
    assert_int_equal(2, receive(fd, NULL));
    close(fd);
}

static void stopping_answers_what_is_under_way(void **state)
{
    int fd = client(), idle = client();
    produce(fd, 1, -1, slice_str("x"));
    wait_until(has_parked, 1);
    on_the_loop(stop_door, NULL);
    assert_true(is_closed(idle));
    size_t n = 1;
    on_the_loop(release_last, &n);
    assert_int_equal(1, receive(fd, NULL));
    assert_true(is_closed(fd));
    close(fd);
    close(idle);
    thread_join(server->thread);
    assert_true(server->is_stopped);
    loop_free(server->loop);
    server->loop = NULL;
}

static void stopping_ends_requests_that_wait(void **state)
{
    int fd = client();
    send_request(fd, KAFKA_API_JOIN_GROUP, 9, 1, NULL);
    wait_until(has_parked, 1);
    on_the_loop(stop_door_patiently, NULL);
    assert_int_equal(1, receive(fd, NULL));
    assert_true(is_closed(fd));
    close(fd);
    thread_join(server->thread); /* would never end if the door waited for its timeout */
    assert_int_equal(1, atomic_load(&n_canceled));
    loop_free(server->loop);
    server->loop = NULL;
}

static void stopping_does_not_wait_for_a_peer_that_does_not_read(void **state)
{
    int fd = client();
    for (int32_t i = 0; i < 30; i++)
        send_request(fd, KAFKA_API_FETCH, 12, i, NULL);
    assert_int_equal(0, receive(fd, NULL));
    on_the_loop(stop_door, NULL);
    thread_join(server->thread);
    assert_true(server->is_stopped);
    loop_free(server->loop);
    server->loop = NULL;
    close(fd);
}

static void requests_and_bytes_are_counted_by_api(void **state)
{
    int fd = client();
    send_request(fd, KAFKA_API_HEARTBEAT, 4, 1, NULL);
    assert_int_equal(1, receive(fd, NULL));
    struct kafka_door_metrics m = metrics();
    const struct kafka_api_metrics *api = &m.apis[4];
    assert_string_equal("Heartbeat", api->name);
    assert_int_equal(1, api->requests);
    assert_int_equal(0, api->errors);
    assert_true(api->request_bytes > 10);
    assert_true(api->response_bytes > 8);
    uint64_t sum = 0;
    for (size_t i = 0; i < KAFKA_LATENCY_BUCKETS; i++)
        sum += api->latency[i];
    assert_int_equal(1, sum);
    assert_int_equal(1, m.connections_total);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ApiVersions_states_exactly_what_is_served),
        TEST(K04_ApiVersions_of_a_future_version_gets_version_0_with_error_35),
        TEST(software_names_that_KIP_511_forbids_are_refused),
        TEST(K04_keys_and_versions_that_are_not_served_close_the_connection),
        TEST(K04_a_frame_cut_at_any_byte_is_refused_in_every_version),
        TEST(Produce_below_version_3_answers_UNSUPPORTED_VERSION),
        TEST(K01_lengths_that_no_request_has_are_refused_at_once),
        TEST(K01_memory_grows_with_what_arrives_not_with_what_is_announced),
        TEST(frames_of_any_size_in_pieces_of_any_size_arrive_whole),
        TEST(many_requests_in_one_packet_are_all_answered),
        TEST(large_frames_back_to_back_arrive_whole),
        TEST(answers_leave_in_the_order_of_the_requests),
        TEST(a_request_waits_for_the_one_before_it_unless_that_is_concurrent),
        TEST(K14_pipelined_requests_beyond_the_cap_wait_outside),
        TEST(K14_who_does_not_read_its_answers_is_not_given_more),
        TEST(requests_wait_while_others_hold_the_memory),
        TEST(K14_who_holds_memory_and_does_not_read_is_closed_when_others_need_it),
        TEST(K13_a_slow_request_does_not_keep_all_others_waiting),
        TEST(one_request_larger_than_the_limit_of_all_passes),
        TEST(an_idle_connection_holds_less_than_1_KiB),
        TEST(K13_a_request_that_is_begun_and_not_finished_is_closed),
        TEST(K13_a_byte_in_ten_seconds_is_closed_wherever_it_drips),
        TEST(K13_a_large_request_at_70_KB_a_second_is_served),
        TEST(K13_time_does_not_count_while_the_broker_holds_the_request_back),
        TEST(K13_a_silent_connection_makes_room_for_another),
        TEST(K15_HTTP_and_TLS_are_closed_at_once),
        TEST(a_peer_that_goes_cancels_what_waits_for_it),
        TEST(no_answer_is_sent_where_none_is_wanted),
        TEST(stopping_answers_what_is_under_way),
        TEST(stopping_ends_requests_that_wait),
        TEST(stopping_does_not_wait_for_a_peer_that_does_not_read),
        TEST(requests_and_bytes_are_counted_by_api),
    };
    return cmocka_run_group_tests_name("kafka/door", tests, NULL, NULL);
}
