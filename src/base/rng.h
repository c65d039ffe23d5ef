/* Chance as a table: the real one reads getrandom, the simulated one a seed. Any thread. */
#ifndef SLUICE_BASE_RNG_H
#define SLUICE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    void (*fill)(struct rng *r, void *data, size_t len);
};

extern struct rng rng_real;

/* Deterministic xoshiro256** for simulations and tests; the caller owns the memory. */
struct rng_seeded {
    struct rng rng; /* first: use &x.rng wherever a struct rng is asked for */
    uint64_t state[4];
};
void rng_seeded_init(struct rng_seeded *r, uint64_t seed);

static inline uint64_t rng_u64(struct rng *r)
{
    uint64_t v;
    r->fill(r, &v, sizeof v);
    return v;
}
/* Uniform in [0, n); n > 0. */
uint64_t rng_below(struct rng *r, uint64_t n);

#endif
