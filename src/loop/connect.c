#include "base/alloc.h"
#include "loop/conn.h"
#include "loop/loop_int.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connect under way; frees itself. */
struct connecting {
    uv_poll_t poll;
    struct loop *loop;
    int fd; /* -1: given away or closed */
    union addr peer;
    struct timer deadline;
    struct tcp_connect_opts opts;
};

static void on_poll_closed(uv_handle_t *handle)
{
    sl_free(handle->data);
}

/* The poll handle goes first: libuv watches a descriptor with one handle at a time. */
static void finish(struct connecting *k, int sys_errno)
{
    struct tcp_conn *conn = NULL;
    sl_err err = sys_errno ? sl_err_from_errno(sys_errno) : SL_OK;
    struct tcp_connect_opts opts = k->opts;
    SL_ASSERT(k->fd >= 0);
    timer_stop(&k->deadline);
    (void)uv_poll_stop(&k->poll); /* never fails */
    uv_close((uv_handle_t *)&k->poll, on_poll_closed);
    int fd = k->fd;
    k->fd = -1;
    if (err != SL_OK)
        (void)close(fd); /* it never carried anything */
    else
        err = conn__open(k->loop, fd, &k->peer, &conn);
    opts.done(opts.arg, conn, sys_errno == ETIMEDOUT ? SL_ETIMEDOUT : err, sys_errno);
}

static void on_deadline(struct timer *t)
{
    finish(SL_CONTAINER_OF(t, struct connecting, deadline), ETIMEDOUT);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    struct connecting *k = poll->data;
    int failed = 0;
    socklen_t len = sizeof failed;
    if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0)
        failed = errno;
    if (!failed && status < 0) /* libuv says EBADF for any error of a socket */
        failed = -status;
    finish(k, failed);
}

sl_err tcp_connect(struct loop *l, const struct tcp_connect_opts *opts)
{
    union addr peer = {0};
    bool any_host = false;
    SL_ASSERT(loop_is_current(l));
    SL_TRY(addr_parse(opts->addr, &peer, &any_host));
    if (any_host || addr_port(&peer) == 0)
        return SL_EINVAL;
    int fd = socket(peer.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return sl_err_from_errno(errno);
    /* What fails at once is told by the poll as well: an error makes a socket writable. */
    if (connect(fd, &peer.any, addr_len(&peer)) != 0 && errno != EINPROGRESS &&
        errno != ECONNREFUSED) {
        sl_err err = sl_err_from_errno(errno);
        (void)close(fd); /* it never carried anything */
        return err;
    }
    struct connecting *k = sl_new(struct connecting);
    *k = (struct connecting){.loop = l, .fd = fd, .peer = peer, .opts = *opts};
    k->poll.data = k;
    timer_init(&k->deadline, l, on_deadline);
    int failed = uv_poll_init(&l->uv, &k->poll, fd);
    SL_ASSERT(!failed); /* the descriptor is new */
    k->poll.data = k;
    failed = uv_poll_start(&k->poll, UV_WRITABLE, on_writable);
    SL_ASSERT(!failed);
    timer_start(&k->deadline, opts->timeout_ms);
    return SL_OK;
}
