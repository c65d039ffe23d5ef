/* Values by themselves: numbers with units, addresses, and how a person writes them. */
#include "base/option.h"

#include <ctype.h>
#include <inttypes.h>

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first: printing takes the first one that divides. */
static const struct unit byte_units[] = {
    {"TiB", (int64_t)1 << 40},
    {"GiB", 1 << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"T", (int64_t)1 << 40},
    {"G", 1 << 30},
    {"M", 1 << 20},
    {"K", 1 << 10},
    {"TB", 1000000000000},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"KB", 1000},
    {"B", 1},
    {"bytes", 1},
};
static const struct unit time_units[] = {
    {"d", DAYS(1)},    {"h", HOURS(1)},    {"min", MINUTES(1)}, {"s", SECONDS(1)},
    {"ms", 1},         {"w", DAYS(7)},     {"m", MINUTES(1)},   {"day", DAYS(1)},
    {"days", DAYS(1)}, {"hour", HOURS(1)}, {"sec", 1000},       {"hours", HOURS(1)},
};

/* Decimal digits with an optional minus; *rest is behind them. */
static sl_err parse_integer(const char *text, int64_t *ret, const char **rest)
{
    bool negative = *text == '-';
    const char *p = negative ? text + 1 : text;
    int64_t n = 0;
    if (!isdigit((unsigned char)*p))
        return SL_EINVAL;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(n, (int64_t)10, &n) ||
            __builtin_add_overflow(n, (int64_t)(*p - '0'), &n))
            return SL_EINVAL;
    *ret = negative ? -n : n;
    *rest = p;
    return SL_OK;
}

static sl_err find_unit(const struct unit *units, size_t n_units, const char *name, int64_t *ret)
{
    bool exact = false;
    for (size_t i = 0; i < n_units && !exact; i++) {
        exact = strcmp(units[i].name, name) == 0;
        if (exact)
            *ret = units[i].factor;
    }
    for (size_t i = 0; i < n_units && !exact; i++) {
        exact = strcasecmp(units[i].name, name) == 0;
        if (exact)
            *ret = units[i].factor;
    }
    return exact ? SL_OK : SL_EINVAL;
}

static sl_err parse_with_unit(const char *text, const struct unit *units, size_t n_units,
                              int64_t *ret)
{
    int64_t n, factor = 1;
    const char *rest;
    SL_TRY(parse_integer(text, &n, &rest));
    while (*rest == ' ')
        rest++;
    if (*rest)
        SL_TRY(find_unit(units, n_units, rest, &factor));
    if (__builtin_mul_overflow(n, factor, &n))
        return SL_EINVAL;
    *ret = n;
    return SL_OK;
}

sl_err option_parse_bytes(const char *text, int64_t *ret)
{
    return parse_with_unit(text, byte_units, SL_ARRAY_LEN(byte_units), ret);
}

sl_err option_parse_ms(const char *text, int64_t *ret)
{
    return parse_with_unit(text, time_units, SL_ARRAY_LEN(time_units), ret);
}

sl_err option_parse_count(const char *text, int64_t *ret)
{
    int64_t n;
    const char *rest;
    SL_TRY(parse_integer(text, &n, &rest));
    if (*rest)
        return SL_EINVAL;
    *ret = n;
    return SL_OK;
}

/* Letters, digits and what host names, IPv6 literals and zones need: nothing for a shell or a log.
 */
static bool is_host(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr(".-_:%", text[i]))
            return false;
    return len < OPTION_HOST_BYTES;
}

static sl_err parse_port(const char *text, int *ret)
{
    int64_t n;
    SL_TRY(option_parse_count(text, &n));
    if (n < 0 || n > UINT16_MAX)
        return SL_EINVAL;
    *ret = (int)n;
    return SL_OK;
}

/* Cuts the text into host and what follows its colon (NULL: no port). */
static sl_err split_addr(const char *text, struct slice *ret_host, const char **ret_port)
{
    *ret_port = NULL;
    if (*text == '[') {
        const char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return SL_EINVAL;
        *ret_host = slice_of(text + 1, (size_t)(end - text - 1));
        *ret_port = end[1] ? end + 2 : NULL;
        return ret_host->len ? SL_OK : SL_EINVAL;
    }
    const char *colon = strchr(text, ':');
    if (colon && strchr(colon + 1, ':')) { /* a bare IPv6 literal */
        *ret_host = slice_str(text);
        return SL_OK;
    }
    *ret_host = slice_of(text, colon ? (size_t)(colon - text) : strlen(text));
    *ret_port = colon ? colon + 1 : NULL;
    return SL_OK;
}

sl_err option_parse_addr(const char *text, char ret_host[OPTION_HOST_BYTES], int *ret_port)
{
    struct slice host;
    const char *port_text;
    int port = -1;
    if (*text && !text[strspn(text, "0123456789")]) { /* a number alone is a port */
        SL_TRY(parse_port(text, &port));
        *ret_host = '\0';
        *ret_port = port;
        return SL_OK;
    }
    SL_TRY(split_addr(text, &host, &port_text));
    if (!is_host((const char *)host.data, host.len))
        return SL_EINVAL;
    if (port_text)
        SL_TRY(parse_port(port_text, &port));
    memcpy(ret_host, host.data, host.len);
    ret_host[host.len] = '\0';
    *ret_port = port;
    return SL_OK;
}

static void print_with_unit(int64_t n, const struct unit *units, size_t n_units, const char *last,
                            struct buf *out)
{
    for (size_t i = 0; i < n_units && n > 0; i++)
        if (n % units[i].factor == 0) {
            (void)buf_printf(out, "%" PRId64 " %s", n / units[i].factor, units[i].name);
            return;
        }
    if (n == -1)
        (void)buf_append(out, "-1", 2);
    else
        (void)buf_printf(out, "%" PRId64 " %s", n, last);
}

void option_print_bytes(int64_t n, struct buf *out)
{
    print_with_unit(n, byte_units, 4, "bytes", out); /* the first four: binary units */
}

void option_print_ms(int64_t n, struct buf *out)
{
    print_with_unit(n, time_units, 5, "ms", out); /* the first five: one word for each unit */
}
