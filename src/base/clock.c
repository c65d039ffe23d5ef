#include "base/clock.h"

#include "base/err.h"

#include <time.h>

static struct timespec now_of(clockid_t id)
{
    struct timespec ts;
    int failed = clock_gettime(id, &ts);
    SL_ASSERT(!failed);
    return ts;
}

static int64_t real_monotonic_ns(const struct clock *c)
{
    struct timespec ts = now_of(CLOCK_MONOTONIC);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t real_wall_ms(const struct clock *c)
{
    struct timespec ts = now_of(CLOCK_REALTIME);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const struct clock clock_real = {.monotonic_ns = real_monotonic_ns, .wall_ms = real_wall_ms};
