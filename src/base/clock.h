/* Time as a table, so that a test can own it. monotonic_* never goes back and decides timeouts and
 * safety; wall_ms is for record times only. Any thread. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*monotonic_ns)(const struct clock *c);
    int64_t (*wall_ms)(const struct clock *c); /* since 1970 */
};

extern const struct clock clock_real;

static inline int64_t clock_monotonic_ns(const struct clock *c)
{
    return c->monotonic_ns(c);
}
static inline int64_t clock_monotonic_ms(const struct clock *c)
{
    return c->monotonic_ns(c) / 1000000;
}
static inline int64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c);
}

#endif
