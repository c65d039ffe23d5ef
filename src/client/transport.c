#include "client/transport.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int64_t deadline_after(int64_t timeout_ms)
{
    return clock_monotonic_ms(&clock_real) + timeout_ms;
}

/* Waits for the event; SL_ETIMEDOUT at the deadline. */
static sl_err wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms(&clock_real);
        if (left <= 0)
            return SL_ETIMEDOUT;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)SL_MIN(left, (int64_t)INT32_MAX));
        if (n > 0)
            return SL_OK;
        if (n < 0 && errno != EINTR)
            return sl_err_from_errno(errno);
    }
}

/* 0 or an errno. */
static int connect_before(int fd, const struct addrinfo *to, int64_t deadline_ms)
{
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (wait_for(fd, POLLOUT, deadline_ms) != SL_OK)
        return ETIMEDOUT;
    int failed = 0;
    socklen_t len = sizeof failed;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0)
        return errno;
    return failed;
}

static int try_address(const struct addrinfo *to, int64_t deadline_ms, int *ret_fd)
{
    int fd = socket(to->ai_family, to->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int failed = connect_before(fd, to, deadline_ms);
    if (failed) {
        (void)close(fd); /* it never carried anything */
        return failed;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
                     sizeof one); /* slower without, not wrong */
    *ret_fd = fd;
    return 0;
}

sl_err transport_connect(const char *host, int32_t port, int64_t timeout_ms, struct sl_fault *fault,
                         int *ret_fd)
{
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int unknown = getaddrinfo(host, service, &hints, &found);
    if (unknown)
        return sl_fault_set(fault, SL_EIO, "cannot find the address of %s: %s", host,
                            gai_strerror(unknown));
    int64_t deadline_ms = deadline_after(timeout_ms);
    int failed = EHOSTUNREACH;
    for (struct addrinfo *to = found; to && failed; to = to->ai_next)
        failed = try_address(to, deadline_ms, ret_fd);
    freeaddrinfo(found);
    if (!failed)
        return SL_OK;
    return sl_fault_set(fault, failed == ETIMEDOUT ? SL_ETIMEDOUT : SL_EIO,
                        "cannot connect to %s port %d: %s", host, port, strerrordesc_np(failed));
}

sl_err transport_send(int fd, const struct slice *pieces, size_t n, int64_t timeout_ms)
{
    int64_t deadline_ms = deadline_after(timeout_ms);
    for (size_t i = 0; i < n; i++) {
        for (size_t sent = 0; sent < pieces[i].len;) {
            int more = i + 1 < n ? MSG_MORE : 0;
            ssize_t done =
                send(fd, pieces[i].data + sent, pieces[i].len - sent, MSG_NOSIGNAL | more);
            if (done >= 0)
                sent += (size_t)done;
            else if (errno == EAGAIN)
                SL_TRY(wait_for(fd, POLLOUT, deadline_ms));
            else if (errno != EINTR)
                return errno == EPIPE || errno == ECONNRESET ? SL_ECLOSED
                                                             : sl_err_from_errno(errno);
        }
    }
    return SL_OK;
}

sl_err transport_receive(int fd, void *data, size_t len, int64_t timeout_ms)
{
    int64_t deadline_ms = deadline_after(timeout_ms);
    for (size_t got = 0; got < len;) {
        ssize_t n = recv(fd, (char *)data + got, len - got, 0);
        if (n > 0)
            got += (size_t)n;
        else if (n == 0 || errno == ECONNRESET)
            return SL_ECLOSED;
        else if (errno == EAGAIN)
            SL_TRY(wait_for(fd, POLLIN, deadline_ms));
        else if (errno != EINTR)
            return sl_err_from_errno(errno);
    }
    return SL_OK;
}
