#include "storage/sqlite/files.h"

#include "base/alloc.h"
#include "meta/sqlite_files.h"
#include "vfs/vfs.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct sqlog_files {
    sqlite3_vfs base;
    sqlite3_vfs *unix_vfs; /* borrowed: SQLite's; NULL: `ours` is in use */
    struct sqlite_files ours;
    const struct clock *clock;
    char name[40];
    _Atomic uint64_t syncs, sync_ns, fail_at;
    atomic_bool sync_failed; /* sticks */
};

/* The unix file follows. */
struct watched_file {
    sqlite3_file base;
    struct sqlog_files *files;
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return (sqlite3_file *)((struct watched_file *)f + 1);
}

static struct sqlog_files *files_of(sqlite3_file *f)
{
    return ((struct watched_file *)f)->files;
}

/* ---- one file ---------------------------------------------------------------------------- */

static int file_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int file_read(sqlite3_file *f, void *data, int len, sqlite3_int64 pos)
{
    return real_of(f)->pMethods->xRead(real_of(f), data, len, pos);
}

static int file_write(sqlite3_file *f, const void *data, int len, sqlite3_int64 pos)
{
    if (atomic_load_explicit(&files_of(f)->sync_failed, memory_order_relaxed))
        return SQLITE_IOERR_WRITE;
    return real_of(f)->pMethods->xWrite(real_of(f), data, len, pos);
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static bool fails_now(struct sqlog_files *files)
{
    uint64_t at = atomic_load(&files->fail_at);
    return at > 0 && atomic_fetch_sub(&files->fail_at, 1) == 1;
}

static int file_sync(sqlite3_file *f, int flags)
{
    struct sqlog_files *files = files_of(f);
    if (atomic_load(&files->sync_failed))
        return SQLITE_IOERR_FSYNC;
    int64_t start_ns = clock_monotonic_ns(files->clock);
    int rc = fails_now(files) ? SQLITE_IOERR_FSYNC : real_of(f)->pMethods->xSync(real_of(f), flags);
    atomic_fetch_add(&files->syncs, 1);
    atomic_fetch_add(&files->sync_ns, (uint64_t)(clock_monotonic_ns(files->clock) - start_ns));
    if (rc != SQLITE_OK)
        atomic_store(&files->sync_failed, true);
    return rc;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *ret)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), ret);
}

static int file_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int file_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int file_reserved(sqlite3_file *f, int *ret)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret);
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int file_sector_bytes(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int file_characteristics(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int file_shm_map(sqlite3_file *f, int region, int bytes, int extend, void volatile **ret)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), region, bytes, extend, ret);
}

static int file_shm_lock(sqlite3_file *f, int first, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), first, n, flags);
}

static void file_shm_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int file_shm_unmap(sqlite3_file *f, int remove)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), remove);
}

static const sqlite3_io_methods watched_methods = {
    .iVersion = 2, /* no mapping (RELIABILITY: SIGBUS) */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_bytes,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

/* ---- names ------------------------------------------------------------------------------- */

static sqlite3_vfs *unix_of(sqlite3_vfs *v)
{
    return ((struct sqlog_files *)v->pAppData)->unix_vfs;
}

static int files_open(sqlite3_vfs *v, const char *path, sqlite3_file *ret, int flags,
                      int *ret_flags)
{
    struct watched_file *f = (struct watched_file *)ret;
    memset(ret, 0, (size_t)v->szOsFile);
    f->files = v->pAppData;
    int rc = unix_of(v)->xOpen(unix_of(v), path, real_of(ret), flags, ret_flags);
    if (real_of(ret)->pMethods) /* set also by some calls that fail: then SQLite closes it */
        f->base.pMethods = &watched_methods;
    return rc;
}

static int files_delete(sqlite3_vfs *v, const char *path, int sync_directory)
{
    return unix_of(v)->xDelete(unix_of(v), path, sync_directory);
}

static int files_access(sqlite3_vfs *v, const char *path, int flags, int *ret)
{
    return unix_of(v)->xAccess(unix_of(v), path, flags, ret);
}

static int files_whole_path(sqlite3_vfs *v, const char *path, int size, char *ret)
{
    return unix_of(v)->xFullPathname(unix_of(v), path, size, ret);
}

static int files_randomness(sqlite3_vfs *v, int len, char *ret)
{
    return unix_of(v)->xRandomness(unix_of(v), len, ret);
}

static int files_sleep(sqlite3_vfs *v, int microseconds)
{
    return unix_of(v)->xSleep(unix_of(v), microseconds);
}

static int files_time(sqlite3_vfs *v, double *ret)
{
    return unix_of(v)->xCurrentTime(unix_of(v), ret);
}

static int files_last_error(sqlite3_vfs *v, int size, char *ret)
{
    return unix_of(v)->xGetLastError(unix_of(v), size, ret);
}

/* ---- life -------------------------------------------------------------------------------- */

static sl_err watch_unix(struct sqlog_files *f)
{
    f->unix_vfs = sqlite3_vfs_find("unix");
    if (!f->unix_vfs)
        return SL_EUNSUPPORTED;
    static_assert(sizeof(struct watched_file) % sizeof(int64_t) == 0, "the unix file is aligned");
    (void)snprintf(f->name, sizeof f->name, "sluice-unix-%p", (void *)f);
    f->base = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = (int)sizeof(struct watched_file) + f->unix_vfs->szOsFile,
        .mxPathname = f->unix_vfs->mxPathname,
        .zName = f->name,
        .pAppData = f,
        .xOpen = files_open,
        .xDelete = files_delete,
        .xAccess = files_access,
        .xFullPathname = files_whole_path,
        .xRandomness = files_randomness,
        .xSleep = files_sleep,
        .xCurrentTime = files_time,
        .xGetLastError = files_last_error,
    };
    return sqlite3_vfs_register(&f->base, 0) == SQLITE_OK ? SL_OK : SL_ENOMEM;
}

sl_err sqlog__files_new(struct vfs *vfs, const struct clock *clock, struct sqlog_files **ret)
{
    if (sqlite3_initialize() != SQLITE_OK)
        return SL_ENOMEM;
    struct sqlog_files *f = sl_new(struct sqlog_files);
    f->clock = clock;
    f->ours.shared = true;
    sl_err err = vfs == vfs_real() ? watch_unix(f) : sqlite_files_register(&f->ours, vfs);
    if (err == SL_OK)
        *ret = f;
    else
        sl_free(f);
    return err;
}

void sqlog__files_free(struct sqlog_files *f)
{
    if (!f)
        return;
    if (f->unix_vfs)
        (void)sqlite3_vfs_unregister(&f->base); /* fails only when absent */
    else
        sqlite_files_unregister(&f->ours);
    sl_free(f);
}

const char *sqlog__files_name(const struct sqlog_files *f)
{
    return f->unix_vfs ? f->name : f->ours.name;
}

uint64_t sqlog__files_syncs(const struct sqlog_files *f, uint64_t *ret_ns)
{
    *ret_ns = atomic_load(&f->sync_ns);
    return atomic_load(&f->syncs);
}

bool sqlog__files_broken(const struct sqlog_files *f)
{
    return atomic_load(&f->sync_failed) || f->ours.sync_failed;
}

void sqlog__files_fail_sync(struct sqlog_files *f, uint64_t n)
{
    atomic_store(&f->fail_at, n);
}
