#include "storage/current_int.h"

#include "base/byteorder.h"
#include "base/crc32c.h"
#include "storage/paths_int.h"

#include <assert.h>

/* magic u32, version u32, counter u64, lsn u64, clean u32, cluster 16, zeros, crc u32;
 * little-endian */
enum {
    SLOT_MAGIC = 0,
    SLOT_VERSION = 4,
    SLOT_COUNTER = 8,
    SLOT_LSN = 16,
    SLOT_CLEAN = 24,
    SLOT_CLUSTER = 28,
    SLOT_CRC = 60,
};
static_assert(SLOT_CRC + 4 == CURRENT_SLOT_BYTES, "docs/formats/data-directory.md");

sl_err current__parse(const uint8_t *slot, size_t len, const struct uuid *cluster_id,
                      uint64_t *ret_counter, uint64_t *ret_lsn, bool *ret_clean)
{
    if (len < CURRENT_SLOT_BYTES || get_le32(slot + SLOT_MAGIC) != CURRENT_MAGIC)
        return SL_ECORRUPT;
    if (get_le32(slot + SLOT_CRC) != crc32c(0, slot, SLOT_CRC))
        return SL_ECORRUPT;
    if (get_le32(slot + SLOT_VERSION) != CURRENT_VERSION ||
        memcmp(slot + SLOT_CLUSTER, cluster_id->bytes, sizeof cluster_id->bytes) != 0)
        return SL_EFORMAT;
    *ret_counter = get_le64(slot + SLOT_COUNTER);
    *ret_lsn = get_le64(slot + SLOT_LSN);
    *ret_clean = get_le32(slot + SLOT_CLEAN) == 1;
    return SL_OK;
}

sl_err current__write(struct current *c, uint64_t lsn, bool clean)
{
    uint8_t slot[CURRENT_SLOT_BYTES] = {0};
    uint64_t counter = c->counter + 1;
    put_le32(slot + SLOT_MAGIC, CURRENT_MAGIC);
    put_le32(slot + SLOT_VERSION, CURRENT_VERSION);
    put_le64(slot + SLOT_COUNTER, counter);
    put_le64(slot + SLOT_LSN, lsn);
    put_le32(slot + SLOT_CLEAN, clean);
    memcpy(slot + SLOT_CLUSTER, c->cluster_id.bytes, sizeof c->cluster_id.bytes);
    put_le32(slot + SLOT_CRC, crc32c(0, slot, SLOT_CRC));
    int64_t pos = (int64_t)(counter % 2) * CURRENT_SLOT_STRIDE;
    SL_TRY(vfs_pwrite(c->file, slot, sizeof slot, pos));
    SL_TRY(vfs_datasync(c->file));
    c->counter = counter;
    c->older_lsn = c->lsn;
    c->lsn = lsn;
    return SL_OK;
}

static sl_err read_slots(struct current *c)
{
    int n_valid = 0;
    for (int i = 0; i < 2; i++) {
        uint8_t slot[CURRENT_SLOT_BYTES];
        uint64_t counter, lsn;
        bool clean;
        sl_err err = vfs_pread_full(c->file, slot, sizeof slot, (int64_t)i * CURRENT_SLOT_STRIDE);
        if (err == SL_OK)
            err = current__parse(slot, sizeof slot, &c->cluster_id, &counter, &lsn, &clean);
        if (err == SL_ECORRUPT || err == SL_EEND)
            continue;
        SL_TRY(err);
        n_valid++;
        if (n_valid == 1 || counter > c->counter) {
            c->older_lsn = n_valid == 1 ? lsn : c->lsn;
            c->counter = counter;
            c->lsn = lsn;
            c->clean = clean;
        } else {
            c->older_lsn = lsn;
        }
    }
    c->found = n_valid > 0;
    c->clean &= n_valid == 2;
    return SL_OK;
}

sl_err current__open(struct vfs *v, const char *data_dir, const struct uuid *cluster_id,
                     struct current *ret)
{
    char path[PATH_BYTES];
    paths__join(path, data_dir, "CURRENT");
    struct current c = {.cluster_id = *cluster_id};
    sl_err err = vfs_open(v, path, VFS_WRITE, &c.file);
    if (err == SL_ENOTFOUND) {
        uint8_t zeros[2 * CURRENT_SLOT_STRIDE] = {0};
        SL_TRY(vfs_replace_file(v, path, zeros, sizeof zeros));
        err = vfs_open(v, path, VFS_WRITE, &c.file);
    }
    SL_TRY(err);
    err = read_slots(&c);
    if (err != SL_OK) {
        vfs_close(c.file);
        return err;
    }
    *ret = c;
    return SL_OK;
}

void current__close(struct current *c)
{
    vfs_close(SL_TAKE(c->file));
}
