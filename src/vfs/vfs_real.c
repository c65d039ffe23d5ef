#include "base/alloc.h"
#include "vfs/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FILE_MODE = 0640, DIR_MODE = 0750, PID_TEXT_BYTES = 24 };

struct real_file {
    struct vfs_file file;
    int fd;
    atomic_bool no_nowait; /* the file system does not know RWF_NOWAIT */
};

static struct vfs real_vfs;

static int fd_of(const struct vfs_file *f)
{
    SL_ASSERT(f);
    return SL_CONTAINER_OF(f, const struct real_file, file)->fd;
}

static sl_err last_err(void)
{
    return sl_err_from_errno(errno);
}

/* SL_OK for 0, else what errno says. */
static sl_err result_of(int status)
{
    return status == 0 ? SL_OK : last_err();
}

/* ---- files --------------------------------------------------------------------------------- */

static struct vfs_file *file_new(int fd)
{
    struct real_file *f = sl_new(struct real_file);
    f->file.vfs = &real_vfs;
    f->fd = fd;
    return &f->file;
}

static sl_err real_open(struct vfs *v, const char *path, int flags, struct vfs_file **ret)
{
    int os_flags = O_CLOEXEC | (flags & VFS_WRITE ? O_RDWR : O_RDONLY);
    if (flags & VFS_CREATE)
        os_flags |= O_CREAT | (flags & VFS_EXCLUSIVE ? O_EXCL : 0);
    int fd;
    do
        fd = open(path, os_flags, FILE_MODE);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return last_err();
    *ret = file_new(fd);
    return SL_OK;
}

static void real_close(struct vfs_file *f)
{
    (void)close(fd_of(f)); /* what must be on disk was synced, with its own result, before */
    sl_free(SL_CONTAINER_OF(f, struct real_file, file));
}

/* Reads until len bytes, the end of the file or an error. */
static sl_err read_all(int fd, void *data, size_t len, int64_t pos, int os_flags, size_t *ret_n)
{
    size_t n = 0;
    while (n < len) {
        struct iovec iov = {.iov_base = (char *)data + n, .iov_len = len - n};
        ssize_t got = preadv2(fd, &iov, 1, pos + (int64_t)n, os_flags);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return last_err();
        if (got == 0)
            break;
        n += (size_t)got;
    }
    *ret_n = n;
    return SL_OK;
}

static sl_err real_pread(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n)
{
    return read_all(fd_of(f), data, len, pos, 0, ret_n);
}

static sl_err real_pread_nowait(struct vfs_file *f, void *data, size_t len, int64_t pos,
                                size_t *ret_n)
{
    struct real_file *r = SL_CONTAINER_OF(f, struct real_file, file);
    if (atomic_load_explicit(&r->no_nowait, memory_order_relaxed))
        return SL_PENDING;
    errno = 0;
    sl_err err = read_all(r->fd, data, len, pos, RWF_NOWAIT, ret_n);
    if (err == SL_OK || err == SL_PENDING)
        return err;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return err;
    atomic_store_explicit(&r->no_nowait, true, memory_order_relaxed);
    return SL_PENDING; /* a worker may wait for it */
}

/* Skips n written bytes. */
static void iov_advance(struct iovec **iov, size_t *n_iov, size_t n)
{
    while (*n_iov > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*n_iov)--;
    }
    if (n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

static sl_err real_pwritev(struct vfs_file *f, struct iovec *iov, size_t n, int64_t pos)
{
    iov_advance(&iov, &n, 0); /* empty entries at the start */
    while (n > 0) {
        ssize_t written = pwritev(fd_of(f), iov, (int)SL_MIN(n, (size_t)IOV_MAX), pos);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return last_err();
        if (written == 0)
            return SL_EIO; /* never for files; better an error than a loop */
        pos += written;
        iov_advance(&iov, &n, (size_t)written);
    }
    return SL_OK;
}

static sl_err real_truncate(struct vfs_file *f, int64_t size)
{
    int status;
    do
        status = ftruncate(fd_of(f), size);
    while (status != 0 && errno == EINTR);
    return result_of(status);
}

static sl_err real_datasync(struct vfs_file *f)
{
    return result_of(fdatasync(fd_of(f)));
}

/* The data of each file is written and waited for, with its errors; then one syncfs commits sizes
 * and block maps of all of them and empties the disk's cache. Only when that fails is each file
 * asked once more: it may have failed for a file of somebody else, and errors are kept for each
 * handle. */
static void real_datasync_many(struct vfs_file *const *files, size_t n, sl_err *ret_errs)
{
    const unsigned wait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    for (size_t i = 0; i < n; i++)
        (void)sync_file_range(fd_of(files[i]), 0, 0, SYNC_FILE_RANGE_WRITE); /* together */
    for (size_t i = 0; i < n; i++)
        ret_errs[i] = result_of(sync_file_range(fd_of(files[i]), 0, 0, wait));
    if (syncfs(fd_of(files[0])) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (ret_errs[i] == SL_OK)
            ret_errs[i] = real_datasync(files[i]);
}

static sl_err real_file_size(struct vfs_file *f, int64_t *ret)
{
    struct stat st;
    SL_TRY(result_of(fstat(fd_of(f), &st)));
    *ret = st.st_size;
    return SL_OK;
}

static void real_advise_writeback(struct vfs_file *f, int64_t pos, int64_t len)
{
    (void)sync_file_range(fd_of(f), pos, len, SYNC_FILE_RANGE_WRITE); /* a hint */
}

static void real_advise_dontneed(struct vfs_file *f, int64_t pos, int64_t len)
{
    (void)posix_fadvise(fd_of(f), pos, len, POSIX_FADV_DONTNEED); /* a hint */
}

/* ---- directories --------------------------------------------------------------------------- */

static sl_err real_stat(struct vfs *v, const char *path, struct vfs_stat *ret)
{
    struct stat st;
    SL_TRY(result_of(stat(path, &st)));
    *ret = (struct vfs_stat){.size = st.st_size, .is_dir = S_ISDIR(st.st_mode)};
    return SL_OK;
}

static sl_err real_mkdir(struct vfs *v, const char *path)
{
    return result_of(mkdir(path, DIR_MODE));
}

static sl_err real_rmdir(struct vfs *v, const char *path)
{
    return result_of(rmdir(path));
}

static sl_err real_unlink(struct vfs *v, const char *path)
{
    return result_of(unlink(path));
}

static sl_err real_rename(struct vfs *v, const char *from, const char *to)
{
    return result_of(rename(from, to));
}

static sl_err real_sync_dir(struct vfs *v, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return last_err();
    sl_err err = result_of(fsync(fd));
    (void)close(fd); /* only read */
    return err;
}

static int is_real_entry(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

/* Sorted, so that what is done for each entry happens in the same order everywhere. */
static sl_err real_list_dir(struct vfs *v, const char *path,
                            sl_err (*each)(void *arg, const char *name), void *arg)
{
    struct dirent **entries;
    int n = scandir(path, &entries, is_real_entry, alphasort);
    if (n < 0)
        return last_err();
    sl_err err = SL_OK;
    for (int i = 0; i < n; i++) {
        if (err == SL_OK)
            err = each(arg, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return err;
}

static sl_err real_space(struct vfs *v, const char *path, struct vfs_space *ret)
{
    struct statvfs st;
    SL_TRY(result_of(statvfs(path, &st)));
    ret->free_bytes = (int64_t)(st.f_bavail * st.f_frsize);
    ret->total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
    return SL_OK;
}

/* ---- lock ---------------------------------------------------------------------------------- */

/* The number at the start of the file, 0 when there is none. */
static int64_t read_pid(int fd)
{
    char text[PID_TEXT_BYTES] = "";
    size_t n = 0;
    if (read_all(fd, text, sizeof text, 0, 0, &n) != SL_OK)
        return 0;
    int64_t pid = 0;
    for (size_t i = 0; i < n && text[i] >= '0' && text[i] <= '9' && pid < INT32_MAX; i++)
        pid = pid * 10 + (text[i] - '0');
    return pid;
}

static sl_err write_pid(struct vfs_file *f)
{
    char text[PID_TEXT_BYTES];
    int n = snprintf(text, sizeof text, "%lld\n", (long long)getpid());
    SL_TRY(real_truncate(f, 0));
    return vfs_pwrite(f, text, (size_t)n, 0);
}

static sl_err real_lock_file(struct vfs *v, const char *path, int64_t *ret_pid,
                             struct vfs_file **ret)
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(real_open(v, path, VFS_WRITE | VFS_CREATE, &f));
    /* Of the open file, not of the process: another open() and close() here cannot drop it. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd_of(f), F_OFD_SETLK, &lock) != 0) {
        if (errno != EAGAIN && errno != EACCES)
            return last_err();
        *ret_pid = read_pid(fd_of(f));
        return SL_ELOCKED;
    }
    sl_err err = write_pid(f);
    if (err != SL_OK && err != SL_ENOSPC) /* a full disk must not keep us from starting (B07) */
        return err;
    *ret = SL_TAKE(f);
    return SL_OK;
}

/* ---- the table ----------------------------------------------------------------------------- */

static const struct vfs_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .pread = real_pread,
    .pread_nowait = real_pread_nowait,
    .pwritev = real_pwritev,
    .truncate = real_truncate,
    .datasync = real_datasync,
    .datasync_many = real_datasync_many,
    .file_size = real_file_size,
    .advise_writeback = real_advise_writeback,
    .advise_dontneed = real_advise_dontneed,
    .stat = real_stat,
    .mkdir = real_mkdir,
    .rmdir = real_rmdir,
    .unlink = real_unlink,
    .rename = real_rename,
    .sync_dir = real_sync_dir,
    .list_dir = real_list_dir,
    .space = real_space,
    .lock_file = real_lock_file,
};

static struct vfs real_vfs = {.ops = &real_ops};

struct vfs *vfs_real(void)
{
    return &real_vfs;
}
