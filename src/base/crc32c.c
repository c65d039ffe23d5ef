#include "base/crc32c.h"

#include "base/byteorder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define POLY_REVERSED 0x82f63b78u

/* ---- tables, eight bytes a step ------------------------------------------------------------ */

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? POLY_REVERSED : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
}

static uint32_t step8(uint32_t crc, uint64_t word)
{
    word ^= crc;
    crc = 0;
    for (int k = 0; k < 8; k++)
        crc ^= table[7 - k][(word >> (8 * k)) & 0xff];
    return crc;
}

uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    (void)pthread_once(&table_once, table_fill); /* fails only for an invalid argument */
    const uint8_t *p = data;
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8)
        crc = step8(crc, get_le64(p));
    for (; len > 0; p++, len--)
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

/* ---- SSE4.2: three lanes, because crc32 has a latency of three and a throughput of one ------- */

#if defined(__x86_64__)

static const size_t LANE_LONG = 4096, LANE_SHORT = 256;

/* x^(8 n - 33) mod P, reversed, for n = one lane and n = two lanes: the product of such a constant
 * and a crc, reduced by one crc32 step, is that crc moved over n bytes. */
struct fold {
    uint64_t over_one, over_two;
};
static const struct fold fold_long = {.over_one = 0x82f89c77, .over_two = 0x54a86326};
static const struct fold fold_short = {.over_one = 0xb9e02b86, .over_two = 0xdd7e3b0c};

__attribute__((target("sse4.2,pclmul"))) static uint64_t fold_crc(uint64_t crc, uint64_t constant)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)constant), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The crc after three lanes of `lane` bytes each. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t
three_lanes(uint64_t crc, const uint8_t *p, size_t lane, const struct fold *fold)
{
    uint64_t b = 0, c = 0;
    for (size_t i = 0; i < lane; i += 8) {
        crc = _mm_crc32_u64(crc, get_le64(p + i));
        b = _mm_crc32_u64(b, get_le64(p + lane + i));
        c = _mm_crc32_u64(c, get_le64(p + 2 * lane + i));
    }
    return fold_crc(crc, fold->over_two) ^ fold_crc(b, fold->over_one) ^ c;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse42(uint32_t start,
                                                                      const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t crc = (uint32_t)~start;
    for (; len >= 3 * LANE_LONG; p += 3 * LANE_LONG, len -= 3 * LANE_LONG)
        crc = three_lanes(crc, p, LANE_LONG, &fold_long);
    for (; len >= 3 * LANE_SHORT; p += 3 * LANE_SHORT, len -= 3 * LANE_SHORT)
        crc = three_lanes(crc, p, LANE_SHORT, &fold_short);
    for (; len >= 8; p += 8, len -= 8)
        crc = _mm_crc32_u64(crc, get_le64(p));
    uint32_t crc32 = (uint32_t)crc;
    for (; len > 0; p++, len--)
        crc32 = _mm_crc32_u8(crc32, *p);
    return ~crc32;
}

static bool has_sse42(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#endif

/* ---- choice -------------------------------------------------------------------------------- */

typedef uint32_t (*crc32c_fn)(uint32_t crc, const void *data, size_t len);

static uint32_t choose(uint32_t crc, const void *data, size_t len);
static _Atomic(crc32c_fn) chosen = choose;

static uint32_t choose(uint32_t crc, const void *data, size_t len)
{
    crc32c_fn fn = crc32c_portable;
#if defined(__x86_64__)
    if (has_sse42())
        fn = crc32c_sse42;
#endif
    atomic_store_explicit(&chosen, fn, memory_order_relaxed);
    return fn(crc, data, len);
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return atomic_load_explicit(&chosen, memory_order_relaxed)(crc, data, len);
}
