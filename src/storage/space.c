/* Disk full (F04): appends are refused before ENOSPC, a ballast file is given up so that deletes
 * and the metastore still have room, and when space returns everything heals by itself. */
#include "storage/local_int.h"

#include "base/alloc.h"
#include "base/log.h"

enum { CHECK_MS = 200, CHUNK_BYTES = 1 << 20 };
#define HEAL_MARGIN_BYTES (UINT64_C(8) << 20)

bool space__has(struct local_engine *e, uint64_t bytes)
{
    struct vfs_space space;
    if (vfs_space(e->env.vfs, e->data_dir, &space) != SL_OK)
        return true; /* not known: let the write itself decide */
    return space.free_bytes >= 0 && (uint64_t)space.free_bytes >= bytes;
}

void space__check(struct local_engine *e, uint64_t bytes)
{
    e->space.bytes += bytes;
    int64_t now_ms = clock_monotonic_ms(e->env.clock);
    if (e->space.bytes < e->cfg.reserve_bytes / 4 && now_ms - e->space.last_ms < CHECK_MS)
        return;
    e->space.bytes = 0;
    e->space.last_ms = now_ms;
    if (atomic_load(&e->refusing) || space__has(e, e->cfg.reserve_bytes))
        return;
    atomic_store(&e->refusing, true);
    LOG_ERROR("disk.full", "appends are refused until there is space; reads and deletes go on",
              F_STR("dir", e->data_dir), F_I64("reserve_bytes", e->cfg.reserve_bytes));
}

static void ballast_path(struct local_engine *e, char ret[PATH_BYTES])
{
    paths__join(ret, e->data_dir, "ballast");
}

void space__release_ballast(struct local_engine *e)
{
    char path[PATH_BYTES];
    if (!atomic_exchange(&e->space.has_ballast, false))
        return;
    ballast_path(e, path);
    if (vfs_unlink(e->env.vfs, path) == SL_OK)
        LOG_WARN("ballast.released", "space for deletes", F_STR("file", path));
}

static sl_err fill_ballast(struct local_engine *e, const char *path)
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(vfs_open(e->env.vfs, path, VFS_WRITE | VFS_CREATE, &f));
    int64_t size = 0;
    SL_TRY(vfs_file_size(f, &size));
    uint8_t *zeros = sl_alloc(1, CHUNK_BYTES);
    sl_err err = SL_OK;
    for (uint64_t pos = (uint64_t)size; err == SL_OK && pos < e->cfg.ballast_bytes;
         pos += CHUNK_BYTES)
        err =
            vfs_pwrite(f, zeros, (size_t)SL_MIN(e->cfg.ballast_bytes - pos, (uint64_t)CHUNK_BYTES),
                       (int64_t)pos);
    sl_free(zeros);
    return err == SL_OK ? vfs_datasync(f) : err;
}

static void take_ballast(struct local_engine *e)
{
    char path[PATH_BYTES];
    ballast_path(e, path);
    sl_err err = fill_ballast(e, path);
    if (err == SL_OK) {
        atomic_store(&e->space.has_ballast, true);
        return;
    }
    if (vfs_unlink(e->env.vfs, path) == SL_OK) /* what was filled is worth more free */
        LOG_WARN("ballast.failed", "no ballast file yet", F_ERR(err));
}

void space__healed(struct task *t)
{
    struct local_engine *e = SL_CONTAINER_OF(t, struct local_engine, healed.task);
    SL_ASSERT(loop_is_current(e->env.loop));
    if (e->healed.err != SL_OK) {
        engine__die(e, "the journal could not be begun");
        return;
    }
    e->completed_lsn = e->healed.lsn;
    atomic_store(&e->needs_journal, false); /* at the next tick appends are accepted again */
}

/* The thread that writes the journal begins it; this one writes CURRENT; the core loop gets the
 * LSN. Without space for any of it: again at the next tick. */
static void begin_journal(struct local_engine *e)
{
    sl_err err = writer__start_journal(e->writer, &e->healed.lsn);
    if (err == SL_OK)
        err = recovery__publish_journal(e, e->healed.lsn);
    if (err == SL_ENOSPC)
        return;
    e->healed.err = err;
    e->space.told = true;
    loop_post(e->env.loop, &e->healed.task);
}

void space__tick(struct local_engine *e)
{
    bool wants_ballast = e->cfg.ballast_bytes != UINT64_MAX && !atomic_load(&e->space.has_ballast);
    uint64_t needed = e->cfg.reserve_bytes + HEAL_MARGIN_BYTES;
    if (atomic_load(&e->refusing) && !space__has(e, e->cfg.reserve_bytes))
        space__release_ballast(e);
    bool wants_journal = atomic_load(&e->needs_journal);
    if (wants_ballast)
        needed += e->cfg.ballast_bytes;
    if (wants_journal)
        needed += e->cfg.journal_file_bytes;
    if (!wants_ballast && !atomic_load(&e->refusing))
        return;
    if (!space__has(e, needed))
        return;
    if (wants_journal) {
        if (!e->space.told)
            begin_journal(e);
        return;
    }
    if (wants_ballast)
        take_ballast(e);
    if (atomic_exchange(&e->refusing, false))
        LOG_INFO("disk.healed", "appends are accepted again", F_STR("dir", e->data_dir));
}
