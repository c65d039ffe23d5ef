#include "vfs/vfs.h"

#include <limits.h>
#include <stdio.h>

sl_err vfs_open(struct vfs *v, const char *path, int flags, struct vfs_file **ret)
{
    return v->ops->open(v, path, flags, ret);
}

void vfs_close(struct vfs_file *f)
{
    if (f)
        f->vfs->ops->close(f);
}

sl_err vfs_pread(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n)
{
    return f->vfs->ops->pread(f, data, len, pos, ret_n);
}

sl_err vfs_pread_nowait(struct vfs_file *f, void *data, size_t len, int64_t pos, size_t *ret_n)
{
    return f->vfs->ops->pread_nowait(f, data, len, pos, ret_n);
}

sl_err vfs_pread_full(struct vfs_file *f, void *data, size_t len, int64_t pos)
{
    size_t n;
    SL_TRY(vfs_pread(f, data, len, pos, &n));
    return n == len ? SL_OK : SL_EEND;
}

sl_err vfs_pwritev(struct vfs_file *f, struct iovec *iov, size_t n, int64_t pos)
{
    return f->vfs->ops->pwritev(f, iov, n, pos);
}

sl_err vfs_pwrite(struct vfs_file *f, const void *data, size_t len, int64_t pos)
{
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len}; /* only read */
    return vfs_pwritev(f, &iov, 1, pos);
}

sl_err vfs_truncate(struct vfs_file *f, int64_t size)
{
    return f->vfs->ops->truncate(f, size);
}

void vfs_datasync_many(struct vfs_file *const *files, size_t n, sl_err *ret_errs)
{
    enum { WORTH_IT = 8 };
    if (n >= WORTH_IT && files[0]->vfs->ops->datasync_many) {
        files[0]->vfs->ops->datasync_many(files, n, ret_errs);
        return;
    }
    for (size_t i = 0; i < n; i++)
        ret_errs[i] = vfs_datasync(files[i]);
}

sl_err vfs_datasync(struct vfs_file *f)
{
    return f->vfs->ops->datasync(f);
}

sl_err vfs_file_size(struct vfs_file *f, int64_t *ret)
{
    return f->vfs->ops->file_size(f, ret);
}

void vfs_advise_writeback(struct vfs_file *f, int64_t pos, int64_t len)
{
    f->vfs->ops->advise_writeback(f, pos, len);
}

void vfs_advise_dontneed(struct vfs_file *f, int64_t pos, int64_t len)
{
    f->vfs->ops->advise_dontneed(f, pos, len);
}

sl_err vfs_stat(struct vfs *v, const char *path, struct vfs_stat *ret)
{
    return v->ops->stat(v, path, ret);
}

sl_err vfs_mkdir(struct vfs *v, const char *path)
{
    return v->ops->mkdir(v, path);
}

sl_err vfs_rmdir(struct vfs *v, const char *path)
{
    return v->ops->rmdir(v, path);
}

sl_err vfs_unlink(struct vfs *v, const char *path)
{
    return v->ops->unlink(v, path);
}

sl_err vfs_rename(struct vfs *v, const char *from, const char *to)
{
    return v->ops->rename(v, from, to);
}

sl_err vfs_sync_dir(struct vfs *v, const char *path)
{
    return v->ops->sync_dir(v, path);
}

sl_err vfs_list_dir(struct vfs *v, const char *path, sl_err (*each)(void *arg, const char *name),
                    void *arg)
{
    return v->ops->list_dir(v, path, each, arg);
}

sl_err vfs_space(struct vfs *v, const char *path, struct vfs_space *ret)
{
    return v->ops->space(v, path, ret);
}

sl_err vfs_lock_file(struct vfs *v, const char *path, int64_t *ret_pid, struct vfs_file **ret)
{
    return v->ops->lock_file(v, path, ret_pid, ret);
}

/* The directory that holds `path`: "." and "/" where there is no name before the last one. */
static sl_err parent_of(const char *path, char ret_parent[PATH_MAX])
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len >= PATH_MAX)
        return SL_EINVAL;
    memcpy(ret_parent, len ? path : ".", len ? len : 1);
    ret_parent[len ? len : 1] = '\0';
    return SL_OK;
}

static sl_err sync_parent(struct vfs *v, const char *path)
{
    char parent[PATH_MAX];
    SL_TRY(parent_of(path, parent));
    return vfs_sync_dir(v, parent);
}

static sl_err write_new_file(struct vfs *v, const char *path, const void *data, size_t len)
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(vfs_open(v, path, VFS_WRITE | VFS_CREATE, &f));
    SL_TRY(vfs_truncate(f, 0)); /* one that an earlier crash left behind */
    SL_TRY(vfs_pwrite(f, data, len, 0));
    return vfs_datasync(f);
}

sl_err vfs_replace_file(struct vfs *v, const char *path, const void *data, size_t len)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return SL_EINVAL;
    sl_err err = write_new_file(v, temporary, data, len);
    if (err == SL_OK)
        err = vfs_rename(v, temporary, path);
    if (err != SL_OK) {
        (void)vfs_unlink(v, temporary); /* the first error is the one to tell */
        return err;
    }
    return sync_parent(v, path);
}

sl_err vfs_ensure_dir(struct vfs *v, const char *path)
{
    sl_err err = vfs_mkdir(v, path);
    if (err == SL_EEXISTS) {
        struct vfs_stat st;
        SL_TRY(vfs_stat(v, path, &st));
        if (!st.is_dir)
            return SL_EEXISTS;
    } else if (err != SL_OK) {
        return err;
    }
    /* Also when it was there: who made it may have crashed before its own sync. */
    return sync_parent(v, path);
}
