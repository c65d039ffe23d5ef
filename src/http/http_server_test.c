/* A real loop and real sockets: the client is a thread with a blocking socket.
 */
#include "http/http_server.h"

#include "base/alloc.h"
#include "http/http1.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A clock that the test moves, on top of the real one, so that deadlines need no sleep. */
static int64_t skipped_ms;

static int64_t monotonic_ns(const struct clock *c)
{
    return clock_monotonic_ns(&clock_real) +
           __atomic_load_n(&skipped_ms, __ATOMIC_SEQ_CST) * 1000000;
}

static int64_t wall_ms(const struct clock *c)
{
    return 1700000000000; /* Tue, 14 Nov 2023 22:13:20 GMT */
}

static const struct clock test_clock = {monotonic_ns, wall_ms};

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_exchange *waiting; /* of /later */
    struct thread *client;
    void (*client_run)(struct fixture *f);
    struct task end;
    struct timer nudge;
    int fd;
    size_t n_received;
    char received[1 << 20];
};

/* Due every ms of real time, and whenever one timer is due the loop looks at all of them: so a
 * clock that jumps is noticed. */
static void look_at_the_clock(struct timer *t)
{
    timer_start(t, 1);
}

static void handle_hello(struct http_exchange *x)
{
    http_reply_text(x, 200, "hello\n");
}

static void handle_big(struct http_exchange *x)
{
    static char big[100000];
    memset(big, 'x', sizeof big);
    http_reply(x, 200, "text/plain", slice_copy(big, sizeof big));
}

static void handle_echo(struct http_exchange *x)
{
    http_reply(x, 200, "text/plain", slice_copy(x->request->body.data, x->request->body.len));
}

static void handle_later(struct http_exchange *x)
{
    struct fixture *f = x->arg;
    f->waiting = x;
}

static const struct http_route routes[] = {
    {"GET", "/hello", handle_hello},
    {"GET", "/big", handle_big},
    {"POST", "/echo", handle_echo},
    {"GET", "/later", handle_later},
};

static void on_stopped(void *arg)
{
    struct fixture *f = arg;
    loop_stop(f->loop);
}

/* The client has ended: take the server down. */
static void end(struct task *t)
{
    struct fixture *f = SL_CONTAINER_OF(t, struct fixture, end);
    timer_stop(&f->nudge);
    http_server_stop(f->server, 0, on_stopped, f);
    if (f->waiting)
        http_reply_text(f->waiting, 200, "too late\n");
}

static void client_main(void *arg)
{
    struct fixture *f = arg;
    f->client_run(f);
    (void)close(f->fd);
    loop_post(f->loop, &f->end);
}

static void connect_client(struct fixture *f)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(http_server_port(f->server)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(0, connect(f->fd, (struct sockaddr *)&addr, sizeof addr));
}

/* Runs a server and a client thread against it until the client ends. */
static struct fixture *run(void (*client)(struct fixture *f), size_t connections_max)
{
    struct fixture *f = sl_new(struct fixture);
    skipped_ms = 0;
    f->client_run = client;
    f->end.run = end;
    assert_int_equal(SL_OK, loop_new(&test_clock, &f->loop));
    timer_init(&f->nudge, f->loop, look_at_the_clock);
    timer_start(&f->nudge, 1);
    struct http_server_opts opts = {.addr = "127.0.0.1:0",
                                    .backlog = 16,
                                    .connections_max = connections_max,
                                    .body_bytes_max = 100000,
                                    .routes = routes,
                                    .n_routes = SL_ARRAY_LEN(routes),
                                    .arg = f};
    assert_int_equal(SL_OK, http_server_start(f->loop, &opts, NULL, &f->server));
    connect_client(f);
    assert_int_equal(SL_OK, thread_start("client", client_main, f, &f->client));
    loop_run(f->loop);
    thread_join(f->client);
    http_server_free(f->server);
    loop_free(f->loop);
    return f;
}

static void client_send(struct fixture *f, const char *text)
{
    size_t len = strlen(text);
    if (write(f->fd, text, len) != (ssize_t)len)
        abort();
}

/* Reads until the peer closes or `text` has come `times` times. */
static void client_read_until(struct fixture *f, const char *text, unsigned times)
{
    for (;;) {
        unsigned found = 0;
        for (const char *p = f->received; text && (p = strstr(p, text)); p++)
            found++;
        if (text && found >= times)
            return;
        ssize_t n =
            read(f->fd, f->received + f->n_received, sizeof f->received - 1 - f->n_received);
        if (n <= 0)
            return;
        f->n_received += (size_t)n;
    }
}

static void client_read_all(struct fixture *f)
{
    client_read_until(f, NULL, 0);
}

static unsigned count(const struct fixture *f, const char *text)
{
    unsigned found = 0;
    for (const char *p = f->received; (p = strstr(p, text)); p++)
        found++;
    return found;
}

static void get_hello(struct fixture *f)
{
    client_send(f, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client_read_all(f);
}

static void an_answer_is_complete_to_the_byte(void **state)
{
    struct fixture *f = run(get_hello, 10);
    assert_string_equal("HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
                        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
                        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                        "Connection: close\r\n\r\nhello\n",
                        f->received);
    sl_free(f);
}

static void keep_alive_and_others(struct fixture *f)
{
    client_send(f, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client_read_until(f, "hello\n", 1);
    client_send(f, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client_send(f, "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    client_send(f, "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    client_send(f, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                   "Content-Length: 4\r\n\r\n");
    client_read_until(f, "100 Continue", 1);
    client_send(f, "ping");
    client_send(f, "TRACE /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client_read_all(f);
}

static void H05_requests_of_a_connection_are_answered_in_order(void **state)
{
    struct fixture *f = run(keep_alive_and_others, 10);
    assert_int_equal(1, count(f, "hello\n")); /* HEAD has none */
    assert_int_equal(2,
                     count(f, "HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
                              "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"));
    assert_int_equal(2, count(f, "HTTP/1.1 405 Method Not Allowed"));
    assert_int_equal(2, count(f, "Allow: GET, HEAD\r\n"));
    assert_int_equal(1, count(f, "HTTP/1.1 404 Not Found"));
    assert_int_equal(1, count(f, "\r\n\r\nping"));
    assert_true(strstr(f->received, "404") < strstr(f->received, "100 Continue"));
    assert_int_equal(1, count(f, "Connection: close"));
    sl_free(f);
}

static void send_garbage(struct fixture *f)
{
    client_send(f, "GET /hello HTTP/1.1\r\nHost : a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client_read_all(f);
}

static void H01_nothing_behind_a_refused_request_is_read(void **state)
{
    struct fixture *f = run(send_garbage, 10);
    assert_int_equal(1, count(f, "HTTP/1.1 400 Bad Request"));
    assert_int_equal(0, count(f, "200 OK"));
    assert_int_equal(1, count(f, "Connection: close"));
    sl_free(f);
}

static void pipeline(struct fixture *f)
{
    for (int i = 0; i < 60; i++) /* 6 MB of answers, while nothing is read */
        client_send(f, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    client_send(f, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    size_t total = 0;
    char last[8] = "";
    for (;;) {
        ssize_t n = read(f->fd, f->received, sizeof f->received - 1);
        if (n <= 0)
            break;
        total += (size_t)n;
        if (n >= 6)
            memcpy(last, f->received + n - 6, 6);
    }
    f->n_received = total;
    memcpy(f->received, last, sizeof last);
}

static void H05_pipelined_requests_wait_until_their_answers_are_read(void **state)
{
    struct fixture *f = run(pipeline, 10);
    assert_true(f->n_received > 6000000);
    assert_string_equal("hello\n", f->received);
    sl_free(f);
}

static void skip_time(int64_t ms)
{
    __atomic_add_fetch(&skipped_ms, ms, __ATOMIC_SEQ_CST);
}

struct turn {
    struct task task;
    struct mutex *mutex;
    struct cond *cond;
    bool is_over;
};

static void turn_over(struct task *t)
{
    struct turn *turn = SL_CONTAINER_OF(t, struct turn, task);
    mutex_lock(turn->mutex);
    turn->is_over = true;
    cond_signal(turn->cond);
    mutex_unlock(turn->mutex);
}

/* What was sent before has been read by the loop afterwards: it looks at all sockets each turn. */
static void wait_turns(struct fixture *f)
{
    struct turn turn = {.task.run = turn_over, .mutex = mutex_new(), .cond = cond_new()};
    for (int i = 0; i < 3; i++) {
        mutex_lock(turn.mutex);
        turn.is_over = false;
        loop_post(f->loop, &turn.task);
        while (!turn.is_over)
            cond_wait(turn.cond, turn.mutex);
        mutex_unlock(turn.mutex);
    }
    cond_free(turn.cond);
    mutex_free(turn.mutex);
}

static void slow_head(struct fixture *f)
{
    client_send(f, "GET /hello HTTP/1.1\r\n");
    wait_turns(f); /* the bytes must be there before the clock moves */
    skip_time(11000);
    wait_turns(f);
    client_read_all(f);
}

static void H03_a_head_that_takes_too_long_is_answered_408(void **state)
{
    struct fixture *f = run(slow_head, 10);
    assert_int_equal(1, count(f, "HTTP/1.1 408 Request Timeout"));
    sl_free(f);
}

static void slow_body(struct fixture *f)
{
    client_send(f, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nabc");
    wait_turns(f);
    skip_time(11000);
    wait_turns(f);
    client_read_all(f);
}

static void H03_a_body_that_trickles_is_answered_408(void **state)
{
    struct fixture *f = run(slow_body, 10);
    assert_int_equal(1, count(f, "HTTP/1.1 408 Request Timeout"));
    sl_free(f);
}

static void wait_idle(struct fixture *f)
{
    client_send(f, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client_read_until(f, "hello\n", 1);
    skip_time(61000);
    wait_turns(f);
    client_read_all(f);
}

static void H03_an_idle_connection_is_closed(void **state)
{
    struct fixture *f = run(wait_idle, 10);
    assert_int_equal(1, count(f, "HTTP/1.1 "));
    sl_free(f);
}

static void leave_while_handled(struct fixture *f)
{
    client_send(f, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_turns(f);
}

static void an_exchange_outlives_its_connection(void **state)
{
    struct fixture *f = run(leave_while_handled, 10);
    assert_non_null(f->waiting);
    sl_free(f);
}

static void connect_twice(struct fixture *f)
{
    get_hello(f);
    struct fixture *second = sl_new(struct fixture);
    second->server = f->server;
    struct fixture *third = sl_new(struct fixture);
    third->server = f->server;
    connect_client(second);
    client_send(second, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client_read_until(second, "hello\n", 1);
    connect_client(third);
    client_read_all(third); /* closed at once */
    (void)close(second->fd);
    (void)close(third->fd);
    sl_free(second);
    sl_free(third);
}

static void connections_beyond_the_limit_are_closed_at_once(void **state)
{
    struct fixture *f = run(connect_twice, 1);
    assert_int_equal(1, count(f, "200 OK"));
    sl_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_complete_to_the_byte),
        cmocka_unit_test(H05_requests_of_a_connection_are_answered_in_order),
        cmocka_unit_test(H01_nothing_behind_a_refused_request_is_read),
        cmocka_unit_test(H05_pipelined_requests_wait_until_their_answers_are_read),
        cmocka_unit_test(H03_a_head_that_takes_too_long_is_answered_408),
        cmocka_unit_test(H03_a_body_that_trickles_is_answered_408),
        cmocka_unit_test(H03_an_idle_connection_is_closed),
        cmocka_unit_test(an_exchange_outlives_its_connection),
        cmocka_unit_test(connections_beyond_the_limit_are_closed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
