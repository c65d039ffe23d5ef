/* A blocking TCP stream with deadlines. Private to this folder. One thread. */
#ifndef SLUICE_CLIENT_TRANSPORT_H
#define SLUICE_CLIENT_TRANSPORT_H

#include "base/slice.h"

/* "host:port", "[v6]:port"; a name is looked up and its addresses are tried in turn. SL_ETIMEDOUT,
 * SL_EIO with a fault that says what failed and what to do. *ret_fd is the caller's to close. */
sl_err transport_connect(const char *host, int32_t port, int64_t timeout_ms, struct sl_fault *fault,
                         int *ret_fd) SL_CHECKED;
sl_err transport_send(int fd, const struct slice *pieces, size_t n, int64_t timeout_ms) SL_CHECKED;
/* Exactly len bytes. SL_ECLOSED: the peer closed. */
sl_err transport_receive(int fd, void *data, size_t len, int64_t timeout_ms) SL_CHECKED;

#endif
