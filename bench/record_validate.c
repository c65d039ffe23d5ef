/* How fast produced batches are checked: record_validate [seconds]. One thread, everything in the
 * processor's cache; prints a line per codec and record size. */
#include "record/batches_for_test.h"
#include "record/validate.h"

#include <stdlib.h>

static void run(enum codec codec, int count, size_t value_bytes, double seconds)
{
    const struct batch_rules rules = {
        .now_ms = TEST_BATCH_TIME_MS, .before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX};
    struct slice batch = test_batch(codec, count, value_bytes);
    struct batch_check *c = batch_check_new();
    struct batch_info info;
    struct batch_verdict v;
    int64_t begin_ns = clock_monotonic_ns(&clock_real), spent_ns;
    uint64_t rounds = 0;
    do {
        for (int i = 0; i < 16; i++)
            if (batch_validate(c, batch, &rules, &info, &v) != SL_OK)
                abort();
        rounds += 16;
        spent_ns = clock_monotonic_ns(&clock_real) - begin_ns;
    } while ((double)spent_ns < seconds * 1e9);
    double s = (double)spent_ns / 1e9;
    (void)printf("%-6s %6zu B x %5d: %8.2f GB/s stored, %8.2f GB/s of values, %7.2f M records/s\n",
                 codec_name(codec), value_bytes, count, (double)(rounds * batch.len) / s / 1e9,
                 (double)(rounds * (uint64_t)count * value_bytes) / s / 1e9,
                 (double)(rounds * (uint64_t)count) / s / 1e6);
    batch_check_free(c);
    slice_unref(&batch);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++) {
        run((enum codec)codec, 64, 1000, seconds);
        run((enum codec)codec, 160, 100, seconds);
        run((enum codec)codec, 1000, 10, seconds);
    }
    return 0;
}
