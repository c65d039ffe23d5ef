#include "base/alloc.h"
#include "base/log.h"
#include "loop/conn.h"
#include "loop/loop_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_PER_TURN = 64, PAUSE_MS = 100, BACKLOG_DEFAULT = 1024 };

struct tcp_listener {
    uv_poll_t poll;
    struct loop *loop;
    int fd;
    int reserve_fd; /* given up for a moment to accept and refuse when there is no other (F12) */
    uint16_t port;
    struct timer pause;
    void *arg;
    void (*on_accept)(void *arg, struct tcp_conn *conn);
    struct loop *(*pick_loop)(void *arg);
};

/* A connection on its way to another loop; it needs nothing of the listener any more. */
struct handover {
    struct task task;
    struct loop *loop;
    int fd;
    union addr peer;
    void *arg;
    void (*on_accept)(void *arg, struct tcp_conn *conn);
};

/* ---- accepting ------------------------------------------------------------------------------ */

static void adopt(struct loop *l, int fd, const union addr *peer,
                  void (*on_accept)(void *arg, struct tcp_conn *conn), void *arg)
{
    struct tcp_conn *conn;
    sl_err err = conn__open(l, fd, peer, &conn);
    if (err == SL_OK)
        on_accept(arg, conn);
    else if (!log_rate_limited("tcp.open_failed"))
        LOG_WARN("tcp.open_failed", "a new connection could not be used", F_ERR(err));
}

static void on_handover(struct task *t)
{
    struct handover *h = SL_CONTAINER_OF(t, struct handover, task);
    adopt(h->loop, h->fd, &h->peer, h->on_accept, h->arg);
    sl_free(h);
}

static void hand_over(struct tcp_listener *s, int fd, const union addr *peer)
{
    struct loop *l = s->pick_loop ? s->pick_loop(s->arg) : s->loop;
    if (l == s->loop) {
        adopt(l, fd, peer, s->on_accept, s->arg);
        return;
    }
    struct handover *h = sl_new(struct handover);
    *h = (struct handover){.task = {.run = on_handover},
                           .loop = l,
                           .fd = fd,
                           .peer = *peer,
                           .arg = s->arg,
                           .on_accept = s->on_accept};
    loop_post(l, &h->task);
}

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void start_polling(struct tcp_listener *s)
{
    int failed = uv_poll_start(&s->poll, UV_READABLE, on_readable);
    SL_ASSERT(!failed); /* the descriptor is ours and open */
}

static void on_pause_over(struct timer *t)
{
    start_polling(SL_CONTAINER_OF(t, struct tcp_listener, pause));
}

/* No descriptor is left: the peer that waits longest gets an end instead of silence, and nobody
 * else is tried for a while, so that the loop does not spin. */
static void refuse_and_pause(struct tcp_listener *s, int sys_errno)
{
    (void)close(s->reserve_fd); /* only read */
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        (void)close(fd); /* refused: its result interests nobody */
    s->reserve_fd = open_reserve();
    (void)uv_poll_stop(&s->poll); /* never fails */
    timer_start(&s->pause, PAUSE_MS);
    if (!log_rate_limited("tcp.accept_paused"))
        LOG_WARN("tcp.accept_paused", "no file descriptor for a new connection: it was refused",
                 F_I64("port", s->port), F_I64("errno", sys_errno));
}

static bool is_out_of_resources(int sys_errno)
{
    return sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == ENOBUFS ||
           sys_errno == ENOMEM;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct tcp_listener *s = poll->data;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        union addr peer = {0};
        socklen_t len = sizeof peer;
        int fd = accept4(s->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(s, fd, &peer);
            if (uv_is_closing((uv_handle_t *)&s->poll))
                return; /* on_accept closed the listener */
            continue;
        }
        if (is_out_of_resources(errno))
            refuse_and_pause(s, errno);
        if (errno != EINTR && errno != ECONNABORTED)
            return; /* nobody waits, or one that gave up: the next event tells */
    }
}

/* ---- opening ------------------------------------------------------------------------------- */

static sl_err explain(struct sl_fault *fault, const char *addr, int sys_errno)
{
    if (fault) {
        fault->sys_errno = sys_errno;
        (void)snprintf(fault->where, sizeof fault->where, "%s", addr);
    }
    switch (sys_errno) {
    case EADDRINUSE:
        return sl_fault_set(fault, SL_EADDRINUSE,
                            "another program listens there: stop it, or choose another port "
                            "(0 takes a free one)");
    case EACCES:
    case EPERM:
        return sl_fault_set(fault, SL_EACCES,
                            "the system does not allow it: choose a port above 1023");
    case EADDRNOTAVAIL:
        return sl_fault_set(fault, SL_EINVAL, "this machine does not have that address");
    case EAFNOSUPPORT:
        return sl_fault_set(fault, SL_EINVAL, "this machine does not speak that protocol");
    default:
        return sl_fault_set(fault, sl_err_from_errno(sys_errno), "the system refused to listen");
    }
}

/* The socket, or minus errno. */
static int open_socket(const union addr *a, int backlog)
{
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1, off = 0;
    int failed = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!failed && a->any.sa_family == AF_INET6) /* IPv4 too, whatever the system's default */
        failed = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (!failed)
        failed = bind(fd, &a->any, addr_len(a));
    if (!failed)
        failed = listen(fd, backlog);
    if (!failed)
        return fd;
    int sys_errno = errno;
    (void)close(fd); /* never used */
    return -sys_errno;
}

static int open_any(const char *text, union addr *a, bool any_host, int backlog)
{
    int fd = open_socket(a, backlog);
    if (fd != -EAFNOSUPPORT || !any_host)
        return fd;
    *a = (union addr){.v4 = {.sin_family = AF_INET, .sin_port = a->v6.sin6_port}};
    return open_socket(a, backlog); /* a machine without IPv6 */
}

static uint16_t port_of(int fd)
{
    union addr a = {0};
    socklen_t len = sizeof a;
    int failed = getsockname(fd, &a.any, &len);
    SL_ASSERT(!failed);
    return addr_port(&a);
}

sl_err tcp_listen(struct loop *l, const struct tcp_listen_opts *opts, struct sl_fault *fault,
                  struct tcp_listener **ret)
{
    SL_ASSERT(loop_is_current(l));
    union addr a;
    bool any_host;
    if (addr_parse(opts->addr, &a, &any_host) != SL_OK) {
        (void)explain(fault, opts->addr, 0);
        return sl_fault_set(
            fault, SL_EINVAL,
            "not an address, or a name that is not known here: HOST:PORT, [IPV6]:PORT "
            "or :PORT is expected");
    }
    int fd =
        open_any(opts->addr, &a, any_host, opts->backlog > 0 ? opts->backlog : BACKLOG_DEFAULT);
    if (fd < 0)
        return explain(fault, opts->addr, -fd);
    struct tcp_listener *s = sl_new(struct tcp_listener);
    int failed = uv_poll_init(&l->uv, &s->poll, fd);
    if (failed) {
        (void)close(fd); /* never used */
        sl_free(s);
        return explain(fault, opts->addr, -failed);
    }
    s->loop = l;
    s->fd = fd;
    s->reserve_fd = open_reserve();
    s->port = port_of(fd);
    s->arg = opts->arg;
    s->on_accept = opts->on_accept;
    s->pick_loop = opts->pick_loop;
    s->poll.data = s;
    timer_init(&s->pause, l, on_pause_over);
    start_polling(s);
    *ret = s;
    return SL_OK;
}

uint16_t tcp_listener_port(const struct tcp_listener *s)
{
    return s->port;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct tcp_listener *s = handle->data;
    (void)close(s->fd); /* nothing was written to it */
    (void)close(s->reserve_fd);
    sl_free(s);
}

void tcp_listener_close(struct tcp_listener *s)
{
    if (!s)
        return;
    SL_ASSERT(loop_is_current(s->loop));
    timer_stop(&s->pause);
    (void)uv_poll_stop(&s->poll); /* never fails */
    uv_close((uv_handle_t *)&s->poll, on_listener_closed);
}
