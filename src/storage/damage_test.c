/* D6, B03, B04: one flipped bit anywhere costs at most the batch it hit, is never served, and
 * nothing is deleted because of it. After a clean end, and after a kill. */
#include "storage/engine_for_test.h"

#include "base/log.h"
#include "sim/sim.h"
#include "sim/simfs.h"

enum { PARTS = 2, APPENDS = 30 };

struct batch_note {
    int64_t base, next;
    uint32_t crc;
};

struct damage {
    struct simfs *fs;    /* as the program left it */
    struct simfs *image; /* with one bit flipped */
    struct batch_note notes[PARTS][APPENDS];
    bool clean;
    const char *path;
    uint64_t bit;
    unsigned lost;
    bool refused; /* to open */
};

static struct log_topic_cfg cfg_of_test(void)
{
    struct log_topic_cfg cfg = test_topic_cfg;
    cfg.segment_bytes = 30000;
    cfg.index_interval_bytes = 500;
    return cfg;
}

static struct world *world_on(struct simfs *fs)
{
    struct world *w =
        new_world_on(simfs_vfs(fs), "/data", sim_clock(sim_current()), sim_rng(sim_current()));
    w->cfg.journal_file_bytes = 512 << 10;
    w->cfg.checkpoint_ms = 500;
    return w;
}

static void write_data(void *arg)
{
    struct damage *d = arg;
    SL_ASSERT(vfs_ensure_dir(simfs_vfs(d->fs), "/data") == SL_OK);
    struct world *w = world_on(d->fs);
    open_world(w);
    make_topic(w, PARTS);
    for (int i = 0; i < APPENDS * PARTS; i++) {
        struct log_part *p = open_part(w, 1 + (uint64_t)i % PARTS, cfg_of_test());
        struct slice batch = test_batch(CODEC_NONE, 1 + i % 3, i == 20 ? 150000 : 700);
        struct batch_note *n = &d->notes[i % PARTS][i / PARTS];
        n->crc = get_be32(batch.data + BATCH_CRC);
        n->base = append_batch(w, p, batch, LOG_DURABLE);
        n->next = n->base + 1 + i % 3;
        if (i % 10 == 9)
            sim_sleep_ns(200000000);
    }
    if (!d->clean) { /* what kill -9 leaves */
        struct simfs *image = simfs_image(d->fs, SIMFS_KILL, 1);
        SL_ASSERT(close_world(w) == SL_OK);
        simfs_free(d->fs);
        d->fs = image;
    } else {
        SL_ASSERT(close_world(w) == SL_OK);
    }
    w->vfs = NULL;
    mutex_free(w->mutex);
    cond_free(w->cond);
    sl_free(w);
}

/* Every batch is there with its bytes, or its own read says that it is damaged. */
static void verify_part(struct damage *d, struct world *w, unsigned part)
{
    struct log_part *p = open_part(w, part + 1, cfg_of_test());
    for (int i = 0; i < APPENDS; i++) {
        const struct batch_note *n = &d->notes[part][i];
        struct call c = {0};
        sl_err err = read_at(w, &c, p, n->base, 1);
        if (err == SL_ECORRUPT) {
            d->lost++;
            continue;
        }
        struct batch_info info;
        assert_int_equal(SL_OK, err);
        assert_int_equal(SL_OK, batch_peek(c.read.data, &info));
        assert_int_equal(n->base, info.base_offset);
        assert_int_equal(n->crc, info.crc);
        assert_true(batch_crc_holds(c.read.data.data, &info));
        slice_unref(&c.read.data);
    }
    int64_t end = d->notes[part][APPENDS - 1].next;
    assert_true(state_of(w, p).high_watermark >= end);
    assert_true(append_records(w, p, 1, 10) >= end); /* and it takes appends */
}

static void verify(void *arg)
{
    struct damage *d = arg;
    struct world *w = world_on(d->image);
    sl_err err = try_open(w);
    if (err != SL_OK) {
        d->refused = true;
        close_rest(w);
        free_world(w);
        return;
    }
    for (unsigned part = 0; part < PARTS; part++)
        verify_part(d, w, part);
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
}

static void in_world(uint64_t seed, void (*fn)(void *arg), struct damage *d)
{
    const struct sim_opts opts = {.seed = seed, .abandons = true};
    struct sim *sim = sim_new(&opts);
    assert_int_equal(SIM_RETURNED, sim_run(sim, fn, d));
    sim_free(sim);
}

struct pick {
    struct damage *damage;
    uint64_t left; /* bytes to pass before the one that is hit */
    bool found;
    char path[256];
};

static void pick_byte(void *arg, const char *path, int64_t size)
{
    struct pick *p = arg;
    if (p->found)
        return;
    /* Journals are mostly zeros. */
    uint64_t bytes =
        strstr(path, ".jnl") ? SL_MIN((uint64_t)size, (uint64_t)200000) : (uint64_t)size;
    if (p->left >= bytes) {
        p->left -= bytes;
        return;
    }
    p->found = true;
    (void)snprintf(p->path, sizeof p->path, "%s", path);
}

static void count_bytes(void *arg, const char *path, int64_t size)
{
    struct pick all = {.left = UINT64_MAX / 2};
    pick_byte(&all, path, size);
    *(uint64_t *)arg += UINT64_MAX / 2 - all.left;
}

static void flip_many(bool clean, unsigned flips)
{
    struct damage d = {.fs = simfs_new(), .clean = clean};
    struct rng_seeded rng;
    uint64_t total = 0;
    unsigned lost = 0;
    rng_seeded_init(&rng, clean ? 11 : 12);
    in_world(1, write_data, &d);
    simfs_each_file(d.fs, count_bytes, &total);
    for (unsigned i = 0; i < flips; i++) {
        struct pick pick = {.left = rng_below(&rng.rng, total)};
        simfs_each_file(d.fs, pick_byte, &pick);
        d.image = simfs_copy(d.fs);
        d.path = pick.path;
        d.bit = pick.left * 8 + rng_below(&rng.rng, 8);
        d.lost = 0;
        d.refused = false;
        assert_int_equal(SL_OK, simfs_flip_bit(d.image, d.path, d.bit));
        in_world(i + 2, verify, &d);
        if (d.lost > 1 || d.refused)
            fail_msg("bit %llu of %s: %u batches lost, refused %d", (unsigned long long)d.bit,
                     d.path, d.lost, d.refused);
        lost += d.lost;
        simfs_free(d.image);
    }
    print_message("# %u flips, %u batches lost\n", flips, lost);
    if (clean)
        assert_true(lost > flips / 20); /* the test hits what it claims to hit */
    simfs_free(d.fs);
}

/* FLIPS in the environment: half of them for each kind of end. */
static unsigned flips_wanted(void)
{
    const char *text = getenv("FLIPS"); /* NOLINT(concurrency-mt-unsafe): there is one thread */
    return text && *text ? (unsigned)strtoul(text, NULL, 10) / 2 : 2500;
}

static void D6_B03_a_flipped_bit_after_a_clean_end_costs_at_most_its_batch(void **state)
{
    flip_many(true, flips_wanted());
}

static void D6_B03_a_flipped_bit_after_a_kill_costs_at_most_its_batch(void **state)
{
    flip_many(false, flips_wanted());
}

int main(void)
{
    if (!getenv("CRASH_LOG"))
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D6_B03_a_flipped_bit_after_a_clean_end_costs_at_most_its_batch),
        cmocka_unit_test(D6_B03_a_flipped_bit_after_a_kill_costs_at_most_its_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
