/* D6 for meta.db: one flipped bit anywhere is found or changes nothing; the file is never deleted.
 */
#include "base/alloc.h"
#include "base/crc32c.h"
#include "meta/metastore.h"
#include "sim/sim.h"
#include "sim/simfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOPICS = 20, PARTITIONS = 600, SEGMENTS = 900, OFFSETS = 300 };

/* A sum over everything that a load shows: equal sums, equal stores. */
struct sum {
    uint64_t rows;
    uint32_t crc;
};

static void add(struct sum *s, const void *data, size_t len)
{
    s->rows++;
    s->crc = crc32c(s->crc, data, len);
}

static sl_err see_topic(void *arg, const struct meta_topic *t)
{
    add(arg, t->name, strlen(t->name));
    add(arg, &t->partitions, sizeof t->partitions);
    return SL_OK;
}

static sl_err see_partition(void *arg, const struct meta_partition *p)
{
    add(arg, &p->pid, sizeof p->pid);
    return SL_OK;
}

static sl_err see_segment(void *arg, const struct meta_segment *s)
{
    const int64_t all[] = {(int64_t)s->pid, s->base_offset, s->synced_bytes, s->next_offset};
    add(arg, all, sizeof all);
    return SL_OK;
}

static sl_err see_offset(void *arg, const struct meta_offset *o)
{
    add(arg, &o->offset, sizeof o->offset);
    add(arg, o->metadata.data, o->metadata.len);
    return SL_OK;
}

static sl_err look(struct simfs *fs, struct sum *ret)
{
    struct metastore *m = NULL;
    struct sl_fault fault = {0};
    struct meta_loader l = {.arg = ret,
                            .topic = see_topic,
                            .partition = see_partition,
                            .segment = see_segment,
                            .offset = see_offset};
    *ret = (struct sum){0};
    sl_err err = meta_sqlite_open(simfs_vfs(fs), "/data", &fault, &m);
    if (err != SL_OK)
        return err;
    err = meta_load(m, &l, &fault);
    meta_close(m);
    return err;
}

static struct meta_op *fill(size_t *ret_n)
{
    static char names[TOPICS][16], groups[OFFSETS][16];
    struct meta_op *ops = sl_new_array(struct meta_op, TOPICS + PARTITIONS + SEGMENTS + OFFSETS);
    size_t n = 0;
    for (int i = 0; i < TOPICS; i++) {
        (void)snprintf(names[i], sizeof names[i], "topic-%d", i);
        ops[n].kind = META_TOPIC_PUT;
        ops[n++].topic = (struct meta_topic){.topic_id = {.bytes = {(uint8_t)i, 1}},
                                             .name = names[i],
                                             .number = i + 1,
                                             .partitions = 30,
                                             .engine = "local"};
    }
    for (int i = 0; i < PARTITIONS; i++) {
        ops[n].kind = META_PARTITION_PUT;
        ops[n++].partition = (struct meta_partition){
            .pid = (uint64_t)i + 1, .topic_id = {.bytes = {(uint8_t)(i / 30), 1}}, .index = i % 30};
    }
    for (int i = 0; i < SEGMENTS; i++) {
        ops[n].kind = META_SEGMENT_PUT;
        ops[n++].segment =
            (struct meta_segment){(uint64_t)(i % PARTITIONS) + 1, i, 1000 + i, i, i, i + 5, 1};
    }
    for (int i = 0; i < OFFSETS; i++) {
        (void)snprintf(groups[i], sizeof groups[i], "group-%d", i);
        ops[n].kind = META_OFFSET_PUT;
        ops[n++].offset = (struct meta_offset){.group = groups[i],
                                               .topic_id = {.bytes = {1, 1}},
                                               .offset = i,
                                               .metadata = slice_str("some metadata")};
    }
    *ret_n = n;
    return ops;
}

static void make_store(struct simfs *fs)
{
    struct metastore *m = NULL;
    struct meta_txn t = {0};
    struct meta_op *ops = fill(&t.n_ops);
    t.ops = ops;
    assert_int_equal(SL_OK, vfs_ensure_dir(simfs_vfs(fs), "/data"));
    assert_int_equal(SL_OK, meta_sqlite_open(simfs_vfs(fs), "/data", NULL, &m));
    assert_int_equal(SL_OK, meta_commit(m, &t));
    meta_close(m); /* the log is gone: everything is in meta.db */
    sl_free(ops);
}

enum { FLIPS = 4000 };

static void flip_bits(void *arg)
{
    struct rng *rng = sim_rng(sim_current());
    struct simfs *fs = arg;
    struct sum whole;
    struct vfs_stat st;
    int found = 0, harmless = 0, escaped = 0;
    make_store(fs);
    assert_int_equal(SL_OK, look(fs, &whole));
    assert_int_equal(SL_OK, vfs_stat(simfs_vfs(fs), "/data/meta.db", &st));
    for (int i = 0; i < FLIPS; i++) {
        struct simfs *damaged = simfs_copy(fs);
        struct sum sum;
        uint64_t bit =
            i < 800 ? (uint64_t)i : rng_below(rng, (uint64_t)st.size * 8); /* header too */
        assert_int_equal(SL_OK, simfs_flip_bit(damaged, "/data/meta.db", bit));
        sl_err err = look(damaged, &sum);
        if (err == SL_OK && (sum.rows != whole.rows || sum.crc != whole.crc))
            print_message("# bit %llu: %llu rows instead of %llu, and nobody noticed\n",
                          (unsigned long long)bit, (unsigned long long)sum.rows,
                          (unsigned long long)whole.rows),
                escaped++;
        found += err != SL_OK;
        harmless += err == SL_OK;
        assert_int_equal(SL_OK, vfs_stat(simfs_vfs(damaged), "/data/meta.db", &st));
        simfs_free(damaged);
    }
    print_message("# %d of %d flips were found, %d changed nothing\n", found, FLIPS, harmless);
    assert_true(found > 0);
    assert_int_equal(0, escaped);
}

static void D6_a_flipped_bit_is_found_or_changes_nothing(void **state)
{
    const struct sim_opts opts = {.seed = 6};
    struct sim *sim = sim_new(&opts);
    struct simfs *fs = simfs_new();
    assert_int_equal(SIM_RETURNED, sim_run(sim, flip_bits, fs));
    simfs_free(fs);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(D6_a_flipped_bit_is_found_or_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
