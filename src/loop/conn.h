/* How a listener makes connections. Private to this folder. */
#ifndef SLUICE_LOOP_CONN_H
#define SLUICE_LOOP_CONN_H

#include "loop/addr.h"

/* Takes over the descriptor, on the loop of the connection. On error it is closed. */
sl_err conn__open(struct loop *l, int fd, const union addr *peer, struct tcp_conn **ret) SL_CHECKED;

#endif
