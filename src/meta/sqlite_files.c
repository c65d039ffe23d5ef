#include "meta/sqlite_files.h"

#include "base/byteorder.h"
#include "base/crc32c.h"
#include "vfs/vfs.h"

#include <stdio.h>
#include <string.h>

enum {
    PATH_BYTES_MAX = 4096,
    SECTOR_BYTES = 4096,
};

struct open_file {
    sqlite3_file base;
    struct sqlite_files *files;
    struct vfs_file *file;
    const char *path;            /* SQLite keeps it until close */
    bool directory_owed;         /* made by us: its entry is durable after the first sync */
    bool has_pages;              /* meta.db itself: its pages carry checksums */
    struct sqlite_holder holder; /* shared files: its locks */
};

static struct open_file *as_file(sqlite3_file *f)
{
    return (struct open_file *)f;
}

static struct sqlite_files *as_files(sqlite3_vfs *v)
{
    return (struct sqlite_files *)v->pAppData;
}

static int code_of(sl_err err, int otherwise)
{
    if (err == SL_OK)
        return SQLITE_OK;
    return err == SL_ENOSPC ? SQLITE_FULL : otherwise;
}

static sl_err sync_parent(struct vfs *vfs, const char *path)
{
    char dir[PATH_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (len >= sizeof dir)
        return SL_EINVAL;
    memcpy(dir, path, len);
    dir[len] = '\0';
    if (!slash)
        return vfs_sync_dir(vfs, ".");
    return vfs_sync_dir(vfs, len ? dir : "/");
}

static int file_close(sqlite3_file *base)
{
    struct open_file *f = as_file(base);
    sqlite_locks_leave(&f->holder);
    vfs_close(f->file);
    f->file = NULL;
    return SQLITE_OK;
}

/* ---- pages: 4,088 bytes of SQLite's, crc32c (little-endian), four zero bytes ----------------- */

enum {
    PAGE_CRC = META_PAGE_BYTES - META_PAGE_RESERVED_BYTES,
    PAGE_BYTES_MIN = 512, /* SQLite's smallest */
};

static uint32_t page_crc(const uint8_t *page, int64_t pos)
{
    uint8_t place[8];
    put_le64(place, (uint64_t)pos);
    return crc32c(crc32c(0, place, sizeof place), page, PAGE_CRC);
}

static bool page_holds(const uint8_t *page, int64_t pos)
{
    return get_le32(page + PAGE_CRC) == page_crc(page, pos) && get_le32(page + PAGE_CRC + 4) == 0;
}

/* SQLite learns the size of a page from the first bytes of the file, before it looks for a log to
 * recover: that read is let through, because a crash may have torn the first page. With a wrong
 * size, the pages that it reads next are refused. */
static bool read_holds(const uint8_t *data, size_t len, int64_t pos)
{
    if (len < PAGE_BYTES_MIN)
        return true;
    return len == META_PAGE_BYTES && pos % META_PAGE_BYTES == 0 && page_holds(data, pos);
}

static int check_read(struct open_file *f, const uint8_t *data, size_t len, int64_t pos)
{
    if (!f->has_pages || read_holds(data, len, pos))
        return SQLITE_OK;
    f->files->damaged_page = pos / META_PAGE_BYTES + 1;
    return SQLITE_IOERR_DATA;
}

/* SQLite reserved these bytes of its buffer for its VFS, which is why the const goes. */
static void seal_page(const struct open_file *f, const void *data, size_t len, int64_t pos)
{
    if (!f->has_pages || len != META_PAGE_BYTES)
        return;
    uint8_t *page = (uint8_t *)data;
    put_le32(page + PAGE_CRC, page_crc(page, pos));
    put_le32(page + PAGE_CRC + 4, 0);
}

/* ---- one open file -------------------------------------------------------------------------- */

static int file_read(sqlite3_file *base, void *data, int len, sqlite3_int64 pos)
{
    size_t n = 0;
    if (vfs_pread(as_file(base)->file, data, (size_t)len, pos, &n) != SL_OK)
        return SQLITE_IOERR_READ;
    if (n == (size_t)len)
        return check_read(as_file(base), data, n, pos);
    memset((uint8_t *)data + n, 0, (size_t)len - n);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 pos)
{
    struct open_file *f = as_file(base);
    if (f->files->sync_failed)
        return SQLITE_IOERR_WRITE;
    seal_page(f, data, (size_t)len, pos);
    return code_of(vfs_pwrite(f->file, data, (size_t)len, pos), SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    return code_of(vfs_truncate(as_file(base)->file, size), SQLITE_IOERR_TRUNCATE);
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct open_file *f = as_file(base);
    if (f->files->sync_failed)
        return SQLITE_IOERR_FSYNC;
    sl_err err = vfs_datasync(f->file);
    if (err == SL_OK && f->directory_owed)
        err = sync_parent(f->files->vfs, f->path);
    if (err != SL_OK) {
        f->files->sync_failed = true;
        return SQLITE_IOERR_FSYNC;
    }
    f->directory_owed = false;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    int64_t size = 0;
    if (vfs_file_size(as_file(base)->file, &size) != SL_OK)
        return SQLITE_IOERR_FSTAT;
    *ret = size;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level)
{
    return SQLITE_OK;
}

static int file_reserved(sqlite3_file *base, int *ret)
{
    *ret = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    return SQLITE_NOTFOUND;
}

static int file_sector_bytes(sqlite3_file *base)
{
    return SECTOR_BYTES;
}

/* As our own journal assumes: a torn write damages no byte outside of it. */
static int file_characteristics(sqlite3_file *base)
{
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 1, /* no shared memory, no mapping */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_bytes,
    .xDeviceCharacteristics = file_characteristics,
};

/* ---- the same with locks, for several connections ------------------------------------------- */

static int shared_lock(sqlite3_file *base, int level)
{
    return sqlite_locks_lock(&as_file(base)->holder, level);
}

static int shared_unlock(sqlite3_file *base, int level)
{
    return sqlite_locks_unlock(&as_file(base)->holder, level);
}

static int shared_reserved(sqlite3_file *base, int *ret)
{
    *ret = sqlite_locks_reserved(&as_file(base)->holder);
    return SQLITE_OK;
}

static int shared_shm_map(sqlite3_file *base, int region, int bytes, int extend,
                          void volatile **ret)
{
    return sqlite_locks_shm_map(&as_file(base)->holder, region, bytes, extend, ret);
}

static int shared_shm_lock(sqlite3_file *base, int first, int n, int flags)
{
    return sqlite_locks_shm_lock(&as_file(base)->holder, first, n, flags);
}

static void shared_shm_barrier(sqlite3_file *base)
{
    __sync_synchronize();
}

static int shared_shm_unmap(sqlite3_file *base, int remove)
{
    sqlite_locks_shm_unmap(&as_file(base)->holder, remove);
    return SQLITE_OK;
}

static const sqlite3_io_methods shared_methods = {
    .iVersion = 2, /* no mapping */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = shared_lock,
    .xUnlock = shared_unlock,
    .xCheckReservedLock = shared_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_bytes,
    .xDeviceCharacteristics = file_characteristics,
    .xShmMap = shared_shm_map,
    .xShmLock = shared_shm_lock,
    .xShmBarrier = shared_shm_barrier,
    .xShmUnmap = shared_shm_unmap,
};

static int files_open(sqlite3_vfs *v, const char *path, sqlite3_file *ret, int flags,
                      int *ret_flags)
{
    struct open_file *f = as_file(ret);
    *f = (struct open_file){.files = as_files(v), .path = path};
    if (!path) /* a temporary file: temp_store=MEMORY forbids them */
        return SQLITE_CANTOPEN;
    struct vfs_stat st;
    bool existed = vfs_stat(f->files->vfs, path, &st) == SL_OK;
    int how = (flags & SQLITE_OPEN_READWRITE) ? VFS_WRITE : VFS_READ;
    if (flags & SQLITE_OPEN_CREATE)
        how |= VFS_CREATE;
    sl_err err = vfs_open(f->files->vfs, path, how, &f->file);
    if (err != SL_OK)
        return code_of(err, SQLITE_CANTOPEN);
    f->directory_owed = !existed;
    f->has_pages = (flags & SQLITE_OPEN_MAIN_DB) != 0 && !f->files->shared;
    f->base.pMethods = f->files->shared ? &shared_methods : &file_methods;
    if (f->files->shared)
        sqlite_locks_join(&f->files->locks, path, &f->holder);
    if (ret_flags)
        *ret_flags = flags;
    return SQLITE_OK;
}

static int files_delete(sqlite3_vfs *v, const char *path, int sync_directory)
{
    struct vfs *vfs = as_files(v)->vfs;
    sl_err err = vfs_unlink(vfs, path);
    if (err == SL_ENOTFOUND)
        return SQLITE_IOERR_DELETE_NOENT;
    if (err != SL_OK)
        return SQLITE_IOERR_DELETE;
    if (!sync_directory || sync_parent(vfs, path) == SL_OK)
        return SQLITE_OK;
    as_files(v)->sync_failed = true;
    return SQLITE_IOERR_DIR_FSYNC;
}

/* An empty journal counts as absent, as in SQLite's own unix files. */
static int files_access(sqlite3_vfs *v, const char *path, int flags, int *ret)
{
    struct vfs_stat st;
    sl_err err = vfs_stat(as_files(v)->vfs, path, &st);
    if (err != SL_OK && err != SL_ENOTFOUND)
        return SQLITE_IOERR_ACCESS;
    *ret = err == SL_OK && (st.is_dir || st.size > 0 || flags != SQLITE_ACCESS_EXISTS);
    return SQLITE_OK;
}

static int files_whole_path(sqlite3_vfs *v, const char *path, int size, char *ret)
{
    int n = snprintf(ret, (size_t)size, "%s", path);
    return n >= 0 && n < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int files_randomness(sqlite3_vfs *v, int len, char *ret)
{
    memset(ret, 0, (size_t)len); /* SQLite asks its default vfs for chance, never this one */
    return len;
}

static int files_sleep(sqlite3_vfs *v, int microseconds)
{
    return 0; /* nobody else uses the file: there is no lock to wait for */
}

static int files_time(sqlite3_vfs *v, double *ret)
{
    return SQLITE_ERROR; /* no statement of ours asks for the time */
}

static int files_last_error(sqlite3_vfs *v, int size, char *ret)
{
    return 0;
}

sl_err sqlite_files_register(struct sqlite_files *f, struct vfs *vfs)
{
    f->vfs = vfs;
    list_init(&f->locks);
    (void)snprintf(f->name, sizeof f->name, "sluice-%p", (void *)f);
    f->base = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct open_file),
        .mxPathname = PATH_BYTES_MAX,
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

void sqlite_files_unregister(struct sqlite_files *f)
{
    if (f->vfs)
        (void)sqlite3_vfs_unregister(&f->base); /* fails only when absent */
    f->vfs = NULL;
}

/* ---- a log that a kill left ------------------------------------------------------------------ */

static sl_err write_again(struct vfs_file *f)
{
    uint8_t bytes[16 << 10];
    size_t n = sizeof bytes;
    for (int64_t pos = 0; n == sizeof bytes; pos += (int64_t)n) {
        SL_TRY(vfs_pread(f, bytes, sizeof bytes, pos, &n));
        SL_TRY(vfs_pwrite(f, bytes, n, pos));
    }
    return vfs_datasync(f);
}

sl_err sqlite_files_keep_wal(struct vfs *v, const char *dir, const char *name)
{
    char path[PATH_BYTES_MAX];
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    int n = snprintf(path, sizeof path, "%s/%s-wal", dir, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return SL_EINVAL;
    sl_err err = vfs_open(v, path, VFS_WRITE, &f);
    if (err == SL_ENOTFOUND)
        return SL_OK;
    SL_TRY(err);
    SL_TRY(write_again(f));
    return vfs_sync_dir(v, dir);
}
