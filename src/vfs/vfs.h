/* Files and directories as a table of blocking functions, with a simulated twin (tests/sim).
 *
 * Called from threads that may block (log writer, checkpoint, metadata, workers); on a loop only
 * vfs_pread_nowait. The real table is vfs_real(); the simulated one models unsynced data, torn and
 * reordered writes, lost directory entries, full disks and failing syncs. errno becomes an sl_err
 * here and stays in the fault. Paths are plain strings relative to nothing: callers pass whole
 * paths. No data file is ever mapped (RELIABILITY: SIGBUS). */
#ifndef SLUICE_VFS_VFS_H
#define SLUICE_VFS_VFS_H

#include "base/slice.h"

#include <sys/uio.h>

struct vfs;
struct vfs_file;

enum vfs_open_flags {
    VFS_READ = 0,      /* read only */
    VFS_WRITE = 1,     /* read and write */
    VFS_CREATE = 2,    /* make it when absent */
    VFS_EXCLUSIVE = 4, /* with CREATE: SL_EEXISTS when present */
};

struct vfs_stat {
    int64_t size;
    bool is_dir;
};

struct vfs_space {
    int64_t free_bytes, total_bytes;
};

struct vfs_ops {
    sl_err (*open)(struct vfs *v, const char *path, int flags, struct vfs_file **ret);
    void (*close)(struct vfs_file *f);
    /* Reads up to len bytes; *ret_n < len only at the end of the file. EINTR and short reads are
     * handled inside. */
    sl_err (*pread)(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n);
    /* As pread, but SL_PENDING instead of waiting for the disk (RWF_NOWAIT); for loops. */
    sl_err (*pread_nowait)(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n);
    /* Writes all bytes or fails; after an error the range's content is unknown. SL_ENOSPC, SL_EIO.
     * iov entries may be modified. */
    sl_err (*pwritev)(struct vfs_file *f, struct iovec *iov, size_t n, int64_t pos);
    sl_err (*truncate)(struct vfs_file *f, int64_t size);
    /* fdatasync (size included). An error is reported once: the caller fences the file (P5). */
    sl_err (*datasync)(struct vfs_file *f);
    /* The same for many files; ret_errs[i] is the result of files[i]. NULL: one after another. */
    void (*datasync_many)(struct vfs_file *const *files, size_t n, sl_err *ret_errs);
    sl_err (*file_size)(struct vfs_file *f, int64_t *ret);
    /* Asks the kernel to start writing [pos, pos+len) back, or to drop it from the cache. Hints. */
    void (*advise_writeback)(struct vfs_file *f, int64_t pos, int64_t len);
    void (*advise_dontneed)(struct vfs_file *f, int64_t pos, int64_t len);

    sl_err (*stat)(struct vfs *v, const char *path, struct vfs_stat *ret); /* SL_ENOTFOUND */
    sl_err (*mkdir)(struct vfs *v, const char *path);                      /* SL_EEXISTS */
    sl_err (*rmdir)(struct vfs *v, const char *path);
    sl_err (*unlink)(struct vfs *v, const char *path);
    sl_err (*rename)(struct vfs *v, const char *from, const char *to);
    /* fsync of a directory: what was created, renamed or removed in it is durable. */
    sl_err (*sync_dir)(struct vfs *v, const char *path);
    /* Calls each(arg, name) for every entry but "." and ".."; a non-OK result stops and returns. */
    sl_err (*list_dir)(struct vfs *v, const char *path, sl_err (*each)(void *arg, const char *name),
                       void *arg);
    sl_err (*space)(struct vfs *v, const char *path, struct vfs_space *ret);
    /* Exclusive lock for this process, held until close. SL_ELOCKED: *ret_pid is the holder's
     * process id (0 when unknown). Writes our pid into the file. */
    sl_err (*lock_file)(struct vfs *v, const char *path, int64_t *ret_pid, struct vfs_file **ret);
};

struct vfs {
    const struct vfs_ops *ops;
};

struct vfs_file {
    struct vfs *vfs;
};

struct vfs *vfs_real(void);

/* The same calls, with the table looked up. */
sl_err vfs_open(struct vfs *v, const char *path, int flags, struct vfs_file **ret) SL_CHECKED;
void vfs_close(struct vfs_file *f); /* accepts NULL */
SL_DEFINE_AUTO(struct vfs_file *, vfs_close);
sl_err vfs_pread(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n) SL_CHECKED;
sl_err vfs_pread_nowait(struct vfs_file *f, void *data, size_t len, int64_t pos,
                        size_t *ret_n) SL_CHECKED;
/* pread of exactly len bytes; SL_EEND when the file is shorter. */
sl_err vfs_pread_full(struct vfs_file *f, void *data, size_t len, int64_t pos) SL_CHECKED;
sl_err vfs_pwritev(struct vfs_file *f, struct iovec *iov, size_t n, int64_t pos) SL_CHECKED;
sl_err vfs_pwrite(struct vfs_file *f, const void *data, size_t len, int64_t pos) SL_CHECKED;
sl_err vfs_truncate(struct vfs_file *f, int64_t size) SL_CHECKED;
sl_err vfs_datasync(struct vfs_file *f) SL_CHECKED;
/* Files of one file system, which may commit once for all of them: much cheaper than n syncs, but
 * whatever else is being written there is waited for, too. ret_errs[i]: as vfs_datasync. */
void vfs_datasync_many(struct vfs_file *const *files, size_t n, sl_err *ret_errs);
sl_err vfs_file_size(struct vfs_file *f, int64_t *ret) SL_CHECKED;
void vfs_advise_writeback(struct vfs_file *f, int64_t pos, int64_t len);
void vfs_advise_dontneed(struct vfs_file *f, int64_t pos, int64_t len);
sl_err vfs_stat(struct vfs *v, const char *path, struct vfs_stat *ret) SL_CHECKED;
sl_err vfs_mkdir(struct vfs *v, const char *path) SL_CHECKED;
sl_err vfs_rmdir(struct vfs *v, const char *path) SL_CHECKED;
sl_err vfs_unlink(struct vfs *v, const char *path) SL_CHECKED;
sl_err vfs_rename(struct vfs *v, const char *from, const char *to) SL_CHECKED;
sl_err vfs_sync_dir(struct vfs *v, const char *path) SL_CHECKED;
sl_err vfs_list_dir(struct vfs *v, const char *path, sl_err (*each)(void *arg, const char *name),
                    void *arg) SL_CHECKED;
sl_err vfs_space(struct vfs *v, const char *path, struct vfs_space *ret) SL_CHECKED;
sl_err vfs_lock_file(struct vfs *v, const char *path, int64_t *ret_pid,
                     struct vfs_file **ret) SL_CHECKED;
/* Writes a small file so that a crash leaves the old or the new content: temporary file, datasync,
 * rename, sync of the directory. */
sl_err vfs_replace_file(struct vfs *v, const char *path, const void *data, size_t len) SL_CHECKED;
/* mkdir of the last component, then sync of its parent; SL_OK when it exists already. */
sl_err vfs_ensure_dir(struct vfs *v, const char *path) SL_CHECKED;

#endif
