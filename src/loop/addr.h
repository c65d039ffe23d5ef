/* Texts of socket addresses and back. Private to this folder. */
#ifndef SLUICE_LOOP_ADDR_H
#define SLUICE_LOOP_ADDR_H

#include "base/err.h"
#include "loop/socket.h"

#include <netinet/in.h>

/* Both families in the room of the larger one. */
union addr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "host:port", "[v6]:port", ":port"; names are looked up (blocking). *ret_any_host: no host was
 * given, so that IPv4's wildcard may stand in where IPv6 is switched off. SL_EINVAL. */
sl_err addr_parse(const char *text, union addr *ret, bool *ret_any_host) SL_CHECKED;
socklen_t addr_len(const union addr *a);
uint16_t addr_port(const union addr *a);
/* IPv4-mapped ones as IPv4; link-local ones with their zone. */
void addr_host(const union addr *a, char ret_text[ADDR_TEXT_BYTES]);
/* "10.0.0.1:4711", "[::1]:4711". */
void addr_text(const union addr *a, char ret_text[ADDR_TEXT_BYTES]);

#endif
