#include "base/uuid.h"

#include <string.h>

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex[] = "0123456789abcdef";

struct uuid uuid_random(struct rng *r)
{
    struct uuid u;
    do
        r->fill(r, u.bytes, sizeof u.bytes);
    while (u.bytes[0] >> 2 == 62); /* '-' */
    u.bytes[6] = (uint8_t)((u.bytes[6] & 0x0f) | 0x40);
    u.bytes[8] = (uint8_t)((u.bytes[8] & 0x3f) | 0x80);
    return u;
}

bool uuid_is_zero(const struct uuid *u)
{
    static const struct uuid zero;
    return uuid_equal(u, &zero);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void uuid_format(const struct uuid *u, char ret_text[UUID_TEXT_BYTES])
{
    char *p = ret_text;
    for (size_t i = 0; i < sizeof u->bytes; i++) {
        if (dash_before(i))
            *p++ = '-';
        *p++ = hex[u->bytes[i] >> 4];
        *p++ = hex[u->bytes[i] & 0xf];
    }
    *p = '\0';
}

/* The value of a digit, or -1. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static sl_err parse_hex(const char *text, struct uuid *ret)
{
    struct uuid u;
    for (size_t i = 0; i < sizeof u.bytes; i++) {
        if (dash_before(i) && *text++ != '-')
            return SL_EINVAL;
        int high = hex_value(text[0]);
        int low = high < 0 ? -1 : hex_value(text[1]);
        if (low < 0)
            return SL_EINVAL;
        u.bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    *ret = u;
    return SL_OK;
}

static sl_err parse_base64(const char *text, struct uuid *ret)
{
    struct uuid u = {0};
    uint32_t bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < UUID_BASE64_BYTES - 1; i++) {
        const char *digit = strchr(base64url, text[i]);
        if (!digit)
            return SL_EINVAL;
        bits = bits << 6 | (uint32_t)(digit - base64url);
        if (i % 4 == 3) {
            u.bytes[n++] = (uint8_t)(bits >> 16);
            u.bytes[n++] = (uint8_t)(bits >> 8);
            u.bytes[n++] = (uint8_t)bits;
        }
    }
    if (bits & 0xf) /* 22 digits are 132 bits: the last four carry nothing */
        return SL_EINVAL;
    u.bytes[n] = (uint8_t)(bits >> 4);
    *ret = u;
    return SL_OK;
}

sl_err uuid_parse(const char *text, struct uuid *ret)
{
    size_t len = strlen(text);
    if (len == UUID_TEXT_BYTES - 1)
        return parse_hex(text, ret);
    if (len == UUID_BASE64_BYTES - 1)
        return parse_base64(text, ret);
    return SL_EINVAL;
}

void uuid_format_base64(const struct uuid *u, char ret_text[UUID_BASE64_BYTES])
{
    char *p = ret_text;
    for (size_t i = 0; i < 15; i += 3) {
        const uint8_t *b = u->bytes + i;
        uint32_t bits = (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *p++ = base64url[bits >> shift & 63];
    }
    *p++ = base64url[u->bytes[15] >> 2];
    *p++ = base64url[(u->bytes[15] & 3) << 4];
    *p = '\0';
}
