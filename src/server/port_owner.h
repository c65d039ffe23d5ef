/* Who listens on a TCP port of this machine: for the message about a port in use. Linux only;
 * elsewhere, and for processes of other users, nobody is found. Blocking. */
#ifndef SLUICE_SERVER_PORT_OWNER_H
#define SLUICE_SERVER_PORT_OWNER_H

#include "base/slice.h"

enum { PORT_OWNER_NAME_BYTES = 32 };

/* false: not found. The name is that of /proc/PID/comm. */
bool port_owner_find(uint16_t port, int64_t *ret_pid, char ret_name[PORT_OWNER_NAME_BYTES]);

/* One line of /proc/net/tcp: the inode of the socket if it listens on the port, else 0. */
uint64_t port_owner_parse_line(struct slice line, uint16_t port);

#endif
