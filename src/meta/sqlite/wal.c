#include "meta/sqlite/wal.h"

#include "base/alloc.h"
#include "base/byteorder.h"

/* https://sqlite.org/fileformat2.html, "The Write-Ahead Log". Numbers are big-endian; the words of
 * a checksum are as the magic number says. */
enum {
    HEADER_BYTES = 32,
    FRAME_HEADER_BYTES = 24,
    PAGE_BYTES = META_PAGE_BYTES,
    FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES,
    PAGE_OURS = META_PAGE_RESERVED_BYTES, /* at the end of a page: set on its way to meta.db */
    MAGIC_LITTLE = 0x377f0682,
    MAGIC_BIG = 0x377f0683,
    HDR_PAGE = 8,
    HDR_SALT = 16,
    HDR_SUM = 24,
    FRM_PAGE = 0,
    FRM_COMMIT = 4, /* size of the database: not 0 in the last frame of a transaction */
    FRM_SALT = 8,
    FRM_SUM = 16,
};

struct sum {
    uint32_t a, b;
};

struct wal {
    struct slice bytes;
    const uint8_t *salt; /* 8 bytes */
    size_t n_frames;
    bool big;
};

static struct sum add(bool big, struct sum s, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        s.a += (big ? get_be32(p + i) : get_le32(p + i)) + s.b;
        s.b += (big ? get_be32(p + i + 4) : get_le32(p + i + 4)) + s.a;
    }
    return s;
}

static const uint8_t *frame_at(const struct wal *w, size_t i)
{
    SL_ASSERT(i < w->n_frames);
    return w->bytes.data + HEADER_BYTES + i * FRAME_BYTES;
}

static struct sum sum_at(const uint8_t *p)
{
    return (struct sum){get_be32(p), get_be32(p + 4)};
}

/* The frame follows from what is stored in the one before it (or in the header). */
static bool follows(const struct wal *w, size_t i, struct sum before)
{
    const uint8_t *f = frame_at(w, i);
    if (memcmp(f + FRM_SALT, w->salt, 8) != 0)
        return false;
    struct sum s = add(w->big, before, f, FRM_SALT);
    s = add(w->big, s, f + FRAME_HEADER_BYTES, PAGE_BYTES);
    struct sum stored = sum_at(f + FRM_SUM);
    return s.a == stored.a && s.b == stored.b;
}

static bool is_commit(const struct wal *w, size_t i)
{
    return get_be32(frame_at(w, i) + FRM_COMMIT) != 0;
}

static bool header_holds(const uint8_t *p)
{
    uint32_t magic = get_be32(p);
    if (magic != MAGIC_LITTLE && magic != MAGIC_BIG)
        return false;
    struct sum s = add(magic == MAGIC_BIG, (struct sum){0}, p, HDR_SUM);
    struct sum stored = sum_at(p + HDR_SUM);
    return s.a == stored.a && s.b == stored.b;
}

/* SQLite reads up to here; the first frame that it does not believe. */
static size_t count_valid(const struct wal *w)
{
    struct sum before = sum_at(w->bytes.data + HDR_SUM);
    size_t i = 0;
    for (; i < w->n_frames && follows(w, i, before); i++)
        before = sum_at(frame_at(w, i) + FRM_SUM);
    return i;
}

/* Behind frame `bad`, a commit and a frame that was computed from it: a transaction begins only
 * when the one before it was synced, so `bad` had been on the disk. 0: none, else the last commit.
 */
static size_t proof_behind(const struct wal *w, size_t bad)
{
    size_t proof = 0;
    bool chained = false; /* a commit came before in this chain */
    size_t last_commit = 0;
    for (size_t i = bad + 1; i < w->n_frames; i++) {
        if (!follows(w, i, sum_at(frame_at(w, i - 1) + FRM_SUM))) {
            chained = false;
            continue;
        }
        if (chained)
            proof = last_commit;
        if (is_commit(w, i)) {
            chained = true;
            last_commit = i;
        }
    }
    return proof;
}

/* ---- a damaged header: was all of it in meta.db already? ------------------------------------- */

/* The newest frame of each page, down from the last commit, has what meta.db has. */
static sl_err is_checkpointed(const struct wal *w, size_t last, struct vfs_file *db, bool *ret)
{
    uint32_t pages_max = get_be32(frame_at(w, last) + FRM_COMMIT);
    int64_t db_bytes = 0;
    SL_TRY(vfs_file_size(db, &db_bytes));
    *ret = db_bytes / PAGE_BYTES >= pages_max;
    if (!*ret)
        return SL_OK;
    uint8_t *seen = sl_try_alloc((size_t)pages_max + 1, 1);
    if (!seen)
        return SL_ENOMEM;
    memset(seen, 0, (size_t)pages_max + 1);
    sl_err err = SL_OK;
    for (size_t i = last + 1; err == SL_OK && *ret && i-- > 0;) {
        const uint8_t *f = frame_at(w, i);
        uint8_t page[PAGE_BYTES];
        size_t n = 0;
        uint32_t number = get_be32(f + FRM_PAGE);
        if (memcmp(f + FRM_SALT, w->salt, 8) != 0)
            break;
        if (number == 0 || number > pages_max || seen[number])
            continue;
        seen[number] = 1;
        err = vfs_pread(db, page, sizeof page, (int64_t)(number - 1) * PAGE_BYTES, &n);
        *ret =
            n == sizeof page && memcmp(page, f + FRAME_HEADER_BYTES, PAGE_BYTES - PAGE_OURS) == 0;
    }
    sl_free(seen);
    return err;
}

/* A restart of the log writes a new header first: torn, it leaves frames that meta.db has. */
static sl_err judge_without_header(struct wal *w, struct vfs_file *db, bool *ret_damaged)
{
    bool done = false;
    w->salt = frame_at(w, 0) + FRM_SALT;
    for (int big = 0; big < 2; big++) {
        w->big = big;
        size_t last = proof_behind(w, 0);
        if (last == 0)
            continue;
        SL_TRY(is_checkpointed(w, last, db, &done));
        *ret_damaged = !done;
        return SL_OK;
    }
    return SL_OK;
}

sl_err meta__wal_judge(struct slice bytes, struct vfs_file *db, bool *ret_damaged)
{
    *ret_damaged = false;
    if (bytes.len < HEADER_BYTES + FRAME_BYTES)
        return SL_OK;
    struct wal w = {.bytes = bytes, .n_frames = (bytes.len - HEADER_BYTES) / FRAME_BYTES};
    if (!header_holds(bytes.data))
        return judge_without_header(&w, db, ret_damaged);
    if (get_be32(bytes.data + HDR_PAGE) != PAGE_BYTES)
        return SL_OK; /* not as we write it: SQLite decides */
    w.salt = bytes.data + HDR_SALT;
    w.big = get_be32(bytes.data) == MAGIC_BIG;
    size_t valid = count_valid(&w);
    *ret_damaged = valid < w.n_frames && proof_behind(&w, valid) != 0;
    return SL_OK;
}

sl_err meta__wal_check(struct vfs *v, const char *db_path, const char *wal_path, bool *ret_damaged)
{
    SL_AUTO(vfs_close) struct vfs_file *db = NULL;
    SL_AUTO(vfs_close) struct vfs_file *wal = NULL;
    int64_t size = 0;
    *ret_damaged = false;
    sl_err err = vfs_open(v, wal_path, VFS_READ, &wal);
    if (err == SL_OK)
        err = vfs_open(v, db_path, VFS_READ, &db);
    if (err == SL_ENOTFOUND)
        return SL_OK;
    SL_TRY(err);
    SL_TRY(vfs_file_size(wal, &size));
    uint8_t *bytes = sl_try_alloc((size_t)size + 1, 1);
    if (!bytes)
        return SL_ENOMEM;
    err = vfs_pread_full(wal, bytes, (size_t)size, 0);
    if (err == SL_OK)
        err = meta__wal_judge(slice_of(bytes, (size_t)size), db, ret_damaged);
    sl_free(bytes);
    return err;
}
