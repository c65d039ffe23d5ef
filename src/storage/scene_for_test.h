/* For tests of this folder: a scene on simulated files, time and threads, from one seed. Only test
 * files include it. */
#ifndef SLUICE_STORAGE_SCENE_FOR_TEST_H
#define SLUICE_STORAGE_SCENE_FOR_TEST_H

#include "sim/sim.h"
#include "sim/simfs.h"
#include "storage/engine_for_test.h"

struct scene {
    struct simfs *fs;
    void (*play)(struct simfs *fs);
    bool done;
};

static inline void play_scene(void *arg)
{
    struct scene *s = arg;
    SL_ASSERT(vfs_ensure_dir(simfs_vfs(s->fs), "/data") == SL_OK);
    s->play(s->fs);
    s->done = true;
}

static inline void play_seed(void (*fn)(struct simfs *fs), uint64_t seed)
{
    const struct sim_opts opts = {.seed = seed};
    struct scene s = {.fs = simfs_new(), .play = fn};
    struct sim *sim = sim_new(&opts);
    assert_int_equal(SIM_RETURNED, sim_run(sim, play_scene, &s));
    assert_true(s.done);
    sim_free(sim);
    simfs_free(s.fs);
}

static inline void play(void (*fn)(struct simfs *fs))
{
    play_seed(fn, 7);
}

static inline struct world *world_on(struct simfs *fs)
{
    struct world *w =
        new_world_on(simfs_vfs(fs), "/data", sim_clock(sim_current()), sim_rng(sim_current()));
    w->cfg.journal_file_bytes = 2 << 20;
    w->cfg.checkpoint_ms = 1000;
    return w;
}

static inline struct world *new_data(struct simfs *fs)
{
    struct world *w = world_on(fs);
    open_world(w);
    make_topic(w, 4);
    return w;
}

static inline void end_world(struct world *w)
{
    assert_int_equal(SL_OK, close_world(w));
    free_world(w);
}

static inline void pass_ms(int64_t ms)
{
    sim_sleep_ns(ms * 1000000);
}

static inline void append_many(struct world *w, struct log_part *p, int n)
{
    for (int i = 0; i < n; i++)
        append_records(w, p, 1, 900);
}

static inline void run_drop(struct call *c)
{
    struct uuid id = test_topic_id(1);
    c->done.done = on_done;
    log_topic_drop(c->w->engine, &id, &c->done);
}

static inline void run_trim(struct call *c)
{
    c->done.done = on_done;
    log_trim(c->w->engine, c->part, c->number, &c->done);
}

#endif
