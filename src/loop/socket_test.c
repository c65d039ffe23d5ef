/* Both ends on this machine: ours on the loop, the peer a plain blocking socket on a thread. */
#include "loop/socket.h"

#include "base/alloc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* An owner that sends back what it receives. */
struct echo {
    struct tcp_conn *conn;
    uint8_t in[64];
    uint64_t received, drained;
    bool close_after_reply;
    sl_err why;
};

struct server {
    struct loop *loop, *other;
    struct tcp_listener *listener;
    void (*peer)(struct server *s); /* what the other side does, on its own thread */
    struct echo echo;
    unsigned accepted, closed, closes_wanted;
    struct loop *accepted_on;
    bool close_after_reply, reply_is_big, pauses, stop_other;
    char peer_text[ADDR_TEXT_BYTES], local_host[ADDR_TEXT_BYTES];
    uint16_t local_port;
    struct task end_task, resume_task;
    struct thread *other_thread;
};

static uint8_t *echo_buffer(struct tcp_conn *c, void *arg, size_t *ret_len)
{
    struct server *s = arg;
    if (s->pauses)
        return NULL;
    *ret_len = sizeof s->echo.in;
    return s->echo.in;
}

enum { BIG_BYTES = 8 << 20 };

static void echo_read(struct tcp_conn *c, void *arg, size_t n)
{
    struct server *s = arg;
    s->echo.received += n;
    struct slice parts[3] = {slice_copy(s->echo.in, n), slice_copy("", 0), {0}};
    if (s->reply_is_big) {
        struct block *b = block_new(BIG_BYTES);
        memset(block_data(b), 'x', BIG_BYTES);
        parts[2] = slice_of_block(b, 0, BIG_BYTES);
        block_unref(b);
    }
    tcp_conn_write(c, parts, s->reply_is_big ? 3 : 2);
    assert_true(tcp_conn_queued_bytes(c) >= n);
    if (s->close_after_reply)
        tcp_conn_close_after_write(c);
}

static void echo_drained(struct tcp_conn *c, void *arg)
{
    struct server *s = arg;
    s->echo.drained++;
    assert_int_equal(0, tcp_conn_queued_bytes(c));
}

static void end_listener(struct task *t)
{
    struct server *s = SL_CONTAINER_OF(t, struct server, end_task);
    tcp_listener_close(s->listener);
    loop_stop(s->loop);
}

static void echo_close(struct tcp_conn *c, void *arg, sl_err why)
{
    struct server *s = arg;
    s->echo.why = why;
    if (++s->closed < s->closes_wanted)
        return;
    s->end_task.run = end_listener;
    loop_post(s->loop, &s->end_task);
    if (s->other)
        loop_stop(s->other);
}

static const struct tcp_conn_ops echo_ops = {echo_buffer, echo_read, echo_drained, echo_close};

static void on_accept(void *arg, struct tcp_conn *conn)
{
    struct server *s = arg;
    s->accepted++;
    s->accepted_on = tcp_conn_loop(conn);
    assert_true(loop_is_current(s->accepted_on));
    s->echo.conn = conn;
    tcp_conn_peer(conn, s->peer_text);
    tcp_conn_local(conn, s->local_host, &s->local_port);
    tcp_conn_start(conn, &echo_ops, s);
}

static struct loop *pick_other(void *arg)
{
    return ((struct server *)arg)->other;
}

static void peer_main(void *arg)
{
    struct server *s = arg;
    s->peer(s);
}

static void run_loop(void *arg)
{
    loop_run(arg);
}

static void serve(struct server *s, const char *addr)
{
    struct tcp_listen_opts opts = {.addr = addr, .arg = s, .on_accept = on_accept};
    struct sl_fault fault = {0};
    struct thread *peer, *other = NULL;
    assert_int_equal(SL_OK, loop_new(&clock_real, &s->loop));
    if (s->stop_other) {
        assert_int_equal(SL_OK, loop_new(&clock_real, &s->other));
        assert_int_equal(SL_OK, thread_start("other", run_loop, s->other, &other));
        opts.pick_loop = pick_other;
    }
    if (s->closes_wanted == 0)
        s->closes_wanted = 1;
    assert_int_equal(SL_OK, tcp_listen(s->loop, &opts, &fault, &s->listener));
    assert_int_equal(SL_OK, thread_start("peer", peer_main, s, &peer));
    loop_run(s->loop);
    thread_join(peer);
    thread_join(other);
    loop_free(s->other);
    loop_free(s->loop);
}

/* ---- the peer's side ------------------------------------------------------------------------ */

static int connect_to(const struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(tcp_listener_port(s->listener))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(0, connect(fd, (struct sockaddr *)&a, sizeof a));
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(strlen(text), send(fd, text, strlen(text), MSG_NOSIGNAL));
}

static size_t receive(int fd, void *data, size_t len)
{
    size_t n = 0;
    while (n < len) {
        ssize_t got = recv(fd, (char *)data + n, len - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

static void peer_talks(struct server *s)
{
    char in[16] = "";
    int fd = connect_to(s);
    for (int i = 0; i < 3; i++) {
        send_text(fd, "hello");
        assert_int_equal(5, receive(fd, in, 5));
        assert_string_equal("hello", in);
    }
    close(fd);
}

static void what_is_written_arrives_and_the_end_of_the_peer_is_told(void **state)
{
    struct server s = {.peer = peer_talks};
    serve(&s, "127.0.0.1:0");
    assert_int_equal(SL_EEND, s.echo.why);
    assert_int_equal(15, s.echo.received);
    assert_true(s.echo.drained >= 1);
    assert_string_equal("127.0.0.1", s.local_host);
    assert_int_equal(0, strncmp(s.peer_text, "127.0.0.1:", 10));
}

static void on_a_socket_of_both_families_ipv4_peers_have_ipv4_addresses(void **state)
{
    struct server s = {.peer = peer_talks};
    serve(&s, ":0");
    assert_string_equal("127.0.0.1", s.local_host);
    assert_int_equal(0, strncmp(s.peer_text, "127.0.0.1:", 10));
}

static void a_connection_lives_on_the_loop_that_was_picked(void **state)
{
    struct server s = {.peer = peer_talks, .stop_other = true};
    serve(&s, "localhost:0");
    assert_ptr_equal(s.other, s.accepted_on);
    assert_int_equal(15, s.echo.received);
}

static void peer_reads_big_reply(struct server *s)
{
    uint8_t *in = sl_alloc(BIG_BYTES + 1, 1);
    int fd = connect_to(s);
    send_text(fd, "!");
    assert_int_equal(BIG_BYTES + 1, receive(fd, in, BIG_BYTES + 1));
    assert_int_equal('!', in[0]);
    assert_int_equal('x', in[BIG_BYTES]);
    char more;
    assert_int_equal(0, recv(fd, &more, 1, 0)); /* an end, not a reset */
    close(fd);
    sl_free(in);
}

static void a_polite_close_sends_all_that_was_queued_first(void **state)
{
    struct server s = {
        .peer = peer_reads_big_reply, .reply_is_big = true, .close_after_reply = true};
    serve(&s, "127.0.0.1:0");
    assert_int_equal(SL_EEND, s.echo.why);
}

static void peer_sends_more_than_is_read(struct server *s)
{
    char in[8];
    int fd = connect_to(s);
    char junk[4096] = "junk";
    assert_int_equal(sizeof junk, send(fd, junk, sizeof junk, MSG_NOSIGNAL));
    assert_int_equal(4, receive(fd, in, 4));
    assert_memory_equal("junk", in, 4);
    close(fd);
}

static void a_polite_close_survives_input_that_nobody_wants(void **state)
{
    struct server s = {.peer = peer_sends_more_than_is_read, .close_after_reply = true};
    serve(&s, "127.0.0.1:0");
    assert_int_equal(sizeof s.echo.in, s.echo.received);
}

static void close_conn(struct task *t)
{
    struct server *s = SL_CONTAINER_OF(t, struct server, resume_task);
    tcp_conn_close(s->echo.conn);
}

static void peer_is_reset(struct server *s)
{
    int fd = connect_to(s);
    char in[4];
    send_text(fd, "abcd");
    assert_int_equal(4, receive(fd, in, 4));
    s->resume_task.run = close_conn;
    loop_post(s->loop, &s->resume_task);
    assert_int_equal(0, receive(fd, in, 1));
    close(fd);
}

static void close_is_told_once_later_as_closed(void **state)
{
    struct server s = {.peer = peer_is_reset};
    serve(&s, "127.0.0.1:0");
    assert_int_equal(SL_ECLOSED, s.echo.why);
    assert_int_equal(1, s.closed);
}

static void resume_conn(struct task *t)
{
    struct server *s = SL_CONTAINER_OF(t, struct server, resume_task);
    if (!s->echo.conn) { /* the kernel has accepted it, the loop not yet */
        loop_post(s->loop, t);
        return;
    }
    assert_int_equal(0, s->echo.received);
    s->pauses = false;
    tcp_conn_resume(s->echo.conn);
}

static void peer_waits_for_resume(struct server *s)
{
    char in[4];
    int fd = connect_to(s);
    send_text(fd, "abcd");
    s->resume_task.run = resume_conn;
    loop_post(s->loop, &s->resume_task);
    assert_int_equal(4, receive(fd, in, 4));
    close(fd);
}

static void nothing_is_read_while_the_owner_gives_no_memory(void **state)
{
    struct server s = {.peer = peer_waits_for_resume, .pauses = true};
    serve(&s, "127.0.0.1:0");
    assert_int_equal(4, s.echo.received);
}

/* ---- limits and errors ----------------------------------------------------------------------- */

enum { DESCRIPTORS_MAX = 128 };

static void peer_comes_when_no_descriptor_is_left(struct server *s)
{
    char in[8];
    int first = connect_to(s), taken[DESCRIPTORS_MAX], n_taken = 0;
    send_text(first, "abc");
    assert_int_equal(3, receive(first, in, 3)); /* the server has accepted it */
    struct rlimit before, few;
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
    int second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    few = before;
    few.rlim_cur = DESCRIPTORS_MAX;
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &few));
    for (int fd; (fd = fcntl(first, F_DUPFD_CLOEXEC, 0)) >= 0;)
        taken[n_taken++] = fd;
    assert_int_equal(EMFILE, errno);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(tcp_listener_port(s->listener))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(0, connect(second, (struct sockaddr *)&a, sizeof a));
    assert_true(recv(second, in, 1, 0) <= 0); /* refused, not left waiting */
    send_text(first, "def");
    assert_int_equal(3, receive(first, in, 3)); /* the others go on */
    while (n_taken > 0)
        close(taken[--n_taken]);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
    int third = connect_to(s);
    send_text(third, "xyz");
    assert_int_equal(3, receive(third, in, 3)); /* and so does accepting */
    close(first);
    close(second);
    close(third);
}

static void F12_without_descriptors_one_is_refused_and_the_others_go_on(void **state)
{
    struct server s = {.peer = peer_comes_when_no_descriptor_is_left, .closes_wanted = 2};
    serve(&s, "127.0.0.1:0");
    assert_int_equal(2, s.accepted);
}

static void an_address_in_use_is_named_with_a_way_out(void **state)
{
    struct loop *l;
    struct tcp_listener *first, *second;
    struct sl_fault fault = {0};
    char addr[32];
    assert_int_equal(SL_OK, loop_new(&clock_real, &l));
    struct tcp_listen_opts opts = {.addr = "127.0.0.1:0", .on_accept = on_accept};
    assert_int_equal(SL_OK, tcp_listen(l, &opts, &fault, &first));
    (void)snprintf(addr, sizeof addr, "127.0.0.1:%u", tcp_listener_port(first));
    opts.addr = addr;
    assert_int_equal(SL_EADDRINUSE, tcp_listen(l, &opts, &fault, &second));
    assert_string_equal(addr, fault.where);
    assert_non_null(strstr(fault.what, "another port"));
    tcp_listener_close(first);
    loop_stop(l);
    loop_run(l);
    loop_free(l);
}

static void addresses_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "",      "127.0.0.1", "127.0.0.1:",   "127.0.0.1:65536", "::1:9092",
        "[::1]", ":-1",       "127.0.0.1:9x", "256.1.1.1:1x",    "[::1:9092"};
    struct loop *l;
    struct tcp_listener *s;
    assert_int_equal(SL_OK, loop_new(&clock_real, &l));
    for (size_t i = 0; i < SL_ARRAY_LEN(bad); i++) {
        struct tcp_listen_opts opts = {.addr = bad[i], .on_accept = on_accept};
        struct sl_fault fault = {0};
        assert_int_equal(SL_EINVAL, tcp_listen(l, &opts, &fault, &s));
        assert_string_equal(bad[i], fault.where);
    }
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_arrives_and_the_end_of_the_peer_is_told),
        cmocka_unit_test(on_a_socket_of_both_families_ipv4_peers_have_ipv4_addresses),
        cmocka_unit_test(a_connection_lives_on_the_loop_that_was_picked),
        cmocka_unit_test(a_polite_close_sends_all_that_was_queued_first),
        cmocka_unit_test(a_polite_close_survives_input_that_nobody_wants),
        cmocka_unit_test(close_is_told_once_later_as_closed),
        cmocka_unit_test(nothing_is_read_while_the_owner_gives_no_memory),
        cmocka_unit_test(F12_without_descriptors_one_is_refused_and_the_others_go_on),
        cmocka_unit_test(an_address_in_use_is_named_with_a_way_out),
        cmocka_unit_test(addresses_that_are_none_are_refused),
    };
    return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
