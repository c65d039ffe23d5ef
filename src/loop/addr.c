#include "loop/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>

enum { HOST_BYTES = 256 };

static sl_err parse_port(const char *text, in_port_t *ret)
{
    uint32_t port = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 5)
        return SL_EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return SL_EINVAL;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    if (port > UINT16_MAX)
        return SL_EINVAL;
    *ret = htons((uint16_t)port);
    return SL_OK;
}

/* The host without brackets, and the port behind the last colon. */
static sl_err split(const char *text, char ret_host[HOST_BYTES], in_port_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return SL_EINVAL;
    SL_TRY(parse_port(colon + 1, ret_port));
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return SL_EINVAL; /* IPv6 without brackets */
    }
    if (len >= HOST_BYTES)
        return SL_EINVAL;
    memcpy(ret_host, text, len);
    ret_host[len] = '\0';
    return SL_OK;
}

static sl_err look_up(const char *host, union addr *ret)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return SL_EINVAL;
    const struct addrinfo *chosen = found;
    for (const struct addrinfo *a = found; a; a = a->ai_next) {
        if (a->ai_family == AF_INET) { /* what most clients try when a name has both */
            chosen = a;
            break;
        }
    }
    bool fits = chosen && chosen->ai_addrlen <= sizeof *ret;
    if (fits)
        memcpy(ret, chosen->ai_addr, chosen->ai_addrlen);
    freeaddrinfo(found);
    return fits ? SL_OK : SL_EINVAL;
}

sl_err addr_parse(const char *text, union addr *ret, bool *ret_any_host)
{
    char host[HOST_BYTES];
    in_port_t port;
    SL_TRY(split(text, host, &port));
    union addr a = {.v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any}};
    *ret_any_host = host[0] == '\0';
    if (host[0] && inet_pton(AF_INET6, host, &a.v6.sin6_addr) != 1) {
        a = (union addr){.v4 = {.sin_family = AF_INET}};
        if (inet_pton(AF_INET, host, &a.v4.sin_addr) != 1)
            SL_TRY(look_up(host, &a));
    }
    if (a.any.sa_family == AF_INET)
        a.v4.sin_port = port;
    else
        a.v6.sin6_port = port;
    *ret = a;
    return SL_OK;
}

socklen_t addr_len(const union addr *a)
{
    return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6;
}

uint16_t addr_port(const union addr *a)
{
    return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

static bool is_v4(const union addr *a)
{
    return a->any.sa_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr);
}

void addr_host(const union addr *a, char ret_text[ADDR_TEXT_BYTES])
{
    char zone[IF_NAMESIZE];
    const uint8_t *mapped = a->v6.sin6_addr.s6_addr + 12; /* the IPv4 address inside */
    const char *text = NULL;
    ret_text[0] = '\0';
    if (a->any.sa_family == AF_INET)
        text = inet_ntop(AF_INET, &a->v4.sin_addr, ret_text, ADDR_TEXT_BYTES);
    else if (a->any.sa_family == AF_INET6 && is_v4(a))
        text = inet_ntop(AF_INET, mapped, ret_text, ADDR_TEXT_BYTES);
    else if (a->any.sa_family == AF_INET6)
        text = inet_ntop(AF_INET6, &a->v6.sin6_addr, ret_text, ADDR_TEXT_BYTES);
    if (!text || is_v4(a) || !IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr))
        return;
    if (if_indextoname(a->v6.sin6_scope_id, zone)) {
        size_t len = strlen(ret_text);
        (void)snprintf(ret_text + len, ADDR_TEXT_BYTES - len, "%%%s", zone);
    }
}

void addr_text(const union addr *a, char ret_text[ADDR_TEXT_BYTES])
{
    char host[ADDR_TEXT_BYTES];
    addr_host(a, host);
    if (is_v4(a))
        (void)snprintf(ret_text, ADDR_TEXT_BYTES, "%.70s:%u", host, addr_port(a));
    else
        (void)snprintf(ret_text, ADDR_TEXT_BYTES, "[%.70s]:%u", host, addr_port(a));
}
