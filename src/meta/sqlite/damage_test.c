/* D6 for meta.db: one flipped bit anywhere is found or changes nothing; the file is never deleted.
 */
#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/log.h"
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

static struct sum whole_again;

static sl_err see_proof(void *arg, const struct meta_setting *row)
{
    if (strcmp(row->name, META_LSN_SETTING) == 0)
        *(bool *)arg = true;
    return SL_OK;
}

static void in_sim(uint64_t seed, void (*fn)(void *arg))
{
    const struct sim_opts opts = {.seed = seed};
    struct sim *sim = sim_new(&opts);
    struct simfs *fs = simfs_new();
    assert_int_equal(SIM_RETURNED, sim_run(sim, fn, fs));
    simfs_free(fs);
    sim_free(sim);
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
    in_sim(6, flip_bits);
}

/* ---- recovery ------------------------------------------------------------------------------- */

static sl_err recover(struct simfs *fs, struct sum *ret, bool *ret_proof)
{
    struct metastore *m = NULL;
    struct sl_fault fault = {0};
    struct meta_loader l = {.arg = ret,
                            .topic = see_topic,
                            .partition = see_partition,
                            .segment = see_segment,
                            .offset = see_offset};
    struct meta_loader settings = {.arg = ret_proof, .setting = see_proof};
    *ret = (struct sum){0};
    *ret_proof = false;
    sl_err err = meta_sqlite_recover(simfs_vfs(fs), "/data", &fault, &m);
    if (err != SL_OK)
        return err;
    err = meta_load(m, &l, &fault);
    if (err == SL_OK)
        err = meta_load(m, &settings, &fault);
    meta_close(m);
    return err;
}

static bool is_kept(struct simfs *fs, const char *name)
{
    char path[128];
    struct vfs_stat st;
    (void)snprintf(path, sizeof path, "/data/quarantine/%s.1", name);
    return vfs_stat(simfs_vfs(fs), path, &st) == SL_OK;
}

enum { RECOVERIES = 200, ROWS_OF_A_PAGE = 250 };

/* Behind the first page, which says where the tables are, a flip costs the rows of its page. */
static void salvage_after_flips(void *arg)
{
    struct rng *rng = sim_rng(sim_current());
    struct simfs *fs = arg;
    struct sum whole, sum;
    struct vfs_stat st;
    bool proof;
    int salvaged = 0;
    make_store(fs);
    assert_int_equal(SL_OK, recover(fs, &whole, &proof));
    assert_int_equal(SL_OK, vfs_stat(simfs_vfs(fs), "/data/meta.db", &st));
    for (int i = 0; i < RECOVERIES; i++) {
        struct simfs *damaged = simfs_copy(fs);
        uint64_t bit = UINT64_C(4096) * 8 + rng_below(rng, ((uint64_t)st.size - 4096) * 8);
        assert_int_equal(SL_OK, simfs_flip_bit(damaged, "/data/meta.db", bit));
        assert_int_equal(SL_OK, recover(damaged, &sum, &proof));
        if (is_kept(damaged, "meta.db")) {
            salvaged++;
            assert_false(proof); /* so the storage engine scans its files */
        } else {
            assert_int_equal(whole.crc, sum.crc);
        }
        if (sum.rows + SEGMENTS + ROWS_OF_A_PAGE < whole.rows)
            fail_msg("bit %llu: %llu rows of %llu are left", (unsigned long long)bit,
                     (unsigned long long)sum.rows, (unsigned long long)whole.rows);
        assert_int_equal(SL_OK, recover(damaged, &whole_again, &proof));
        assert_int_equal(sum.crc, whole_again.crc); /* once is enough */
        simfs_free(damaged);
    }
    assert_true(salvaged > RECOVERIES / 2);
}

static void B04_a_damaged_store_keeps_the_rows_of_its_other_pages(void **state)
{
    in_sim(7, salvage_after_flips);
}

/* ---- the log -------------------------------------------------------------------------------- */

enum { COMMITS = 12, LOG_FLIPS = 700, SEEN_OF_TWO_OFFSETS = 4 };

static sl_err commit_one(struct metastore *m, int i)
{
    char group[16];
    (void)snprintf(group, sizeof group, "group-%d", i);
    const uint8_t lsn[8] = {1};
    const struct meta_op ops[] = {
        {.kind = META_OFFSET_PUT,
         .offset = {.group = group, .topic_id = {.bytes = {1, 1}}, .offset = i}},
        {.kind = META_SETTING_PUT,
         .setting = {.name = META_LSN_SETTING, .value = slice_of(lsn, sizeof lsn)}}};
    struct meta_txn t = {.ops = ops, .n_ops = 2};
    return meta_commit(m, &t);
}

/* A store whose log was not moved into it, as kill -9 leaves it. */
static struct simfs *make_log(struct simfs *fs)
{
    struct metastore *m = NULL;
    make_store(fs);
    assert_int_equal(SL_OK, meta_sqlite_open(simfs_vfs(fs), "/data", NULL, &m));
    for (int i = 0; i < COMMITS; i++)
        assert_int_equal(SL_OK, commit_one(m, 1000 + i));
    struct simfs *killed = simfs_image(fs, SIMFS_KILL, 1);
    meta_close(m);
    return killed;
}

/* What is lost is told, unless it is the last two commits, which prove nothing about themselves. */
static void flip_log(void *arg)
{
    struct rng *rng = sim_rng(sim_current());
    struct simfs *killed = make_log(arg);
    struct sum whole, sum;
    struct vfs_stat st;
    bool proof;
    int told = 0, silent = 0;
    struct simfs *copy = simfs_copy(killed);
    assert_int_equal(SL_OK, recover(copy, &whole, &proof));
    assert_true(proof);
    simfs_free(copy);
    assert_int_equal(SL_OK, vfs_stat(simfs_vfs(killed), "/data/meta.db-wal", &st));
    for (int i = 0; i < LOG_FLIPS; i++) {
        uint64_t bit = i < 256 ? (uint64_t)i : rng_below(rng, (uint64_t)st.size * 8);
        struct simfs *damaged = simfs_copy(killed);
        assert_int_equal(SL_OK, simfs_flip_bit(damaged, "/data/meta.db-wal", bit));
        assert_int_equal(SL_OK, recover(damaged, &sum, &proof));
        if (is_kept(damaged, "meta.db-wal")) {
            told++;
            assert_false(proof);
        } else if (sum.rows + SEEN_OF_TWO_OFFSETS < whole.rows) {
            fail_msg("bit %llu: %llu rows are gone, and nobody noticed", (unsigned long long)bit,
                     (unsigned long long)(whole.rows - sum.rows));
        } else {
            silent += sum.rows < whole.rows;
        }
        assert_int_equal(SL_OK, recover(damaged, &whole_again, &proof));
        assert_int_equal(sum.crc, whole_again.crc);
        simfs_free(damaged);
    }
    print_message("# %d of %d flips were told, %d cost one of the last two commits\n", told,
                  LOG_FLIPS, silent);
    assert_true(told > LOG_FLIPS / 2);
    simfs_free(killed);
}

static void D6_a_flipped_bit_in_the_log_is_told_from_its_end(void **state)
{
    in_sim(8, flip_log);
}

/* Cut anywhere, it is an end as power loss leaves it: no alarm. */
static void cut_log(void *arg)
{
    struct simfs *killed = make_log(arg);
    struct vfs_stat st;
    struct sum sum;
    bool proof;
    assert_int_equal(SL_OK, vfs_stat(simfs_vfs(killed), "/data/meta.db-wal", &st));
    for (int64_t size = 0; size < st.size; size += 1001) {
        struct simfs *cut = simfs_copy(killed);
        struct vfs_file *f = NULL;
        assert_int_equal(SL_OK, vfs_open(simfs_vfs(cut), "/data/meta.db-wal", VFS_WRITE, &f));
        assert_int_equal(SL_OK, vfs_truncate(f, size));
        vfs_close(f);
        assert_int_equal(SL_OK, recover(cut, &sum, &proof));
        assert_false(is_kept(cut, "meta.db-wal"));
        simfs_free(cut);
    }
    simfs_free(killed);
}

static void D6_a_log_that_was_cut_is_no_damage(void **state)
{
    in_sim(9, cut_log);
}

int main(void)
{
    if (!getenv("CRASH_LOG")) /* NOLINT(concurrency-mt-unsafe): there is one thread */
        log_configure(2, LOG_LEVEL_ERROR + 1, LOG_FORMAT_AUTO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(B04_a_damaged_store_keeps_the_rows_of_its_other_pages),
        cmocka_unit_test(D6_a_flipped_bit_in_the_log_is_told_from_its_end),
        cmocka_unit_test(D6_a_log_that_was_cut_is_no_damage),
        cmocka_unit_test(D6_a_flipped_bit_is_found_or_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
