#include "base/rng.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static void real_fill(struct rng *r, void *data, size_t len)
{
    uint8_t *p = data;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        SL_ASSERT(n > 0); /* every kernel that we support has it, and it never runs dry */
        p += n;
        len -= (size_t)n;
    }
}

struct rng rng_real = {.fill = real_fill};

static uint64_t rotate(uint64_t v, int bits)
{
    return (v << bits) | (v >> (64 - bits));
}

/* xoshiro256** by Blackman and Vigna. */
static uint64_t seeded_next(uint64_t s[4])
{
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

static void seeded_fill(struct rng *r, void *data, size_t len)
{
    struct rng_seeded *seeded = SL_CONTAINER_OF(r, struct rng_seeded, rng);
    uint8_t *p = data;
    while (len > 0) {
        uint64_t v = seeded_next(seeded->state);
        size_t n = SL_MIN(len, sizeof v);
        memcpy(p, &v, n);
        p += n;
        len -= n;
    }
}

void rng_seeded_init(struct rng_seeded *r, uint64_t seed)
{
    r->rng.fill = seeded_fill;
    for (int i = 0; i < 4; i++) { /* splitmix64, as its authors advise: never all zero */
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->state[i] = z ^ (z >> 31);
    }
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    SL_ASSERT(n > 0);
    uint64_t too_low = (0 - n) % n; /* 2^64 mod n: values below would favour small results */
    uint64_t v;
    do
        v = rng_u64(r);
    while (v < too_low);
    return v % n;
}
