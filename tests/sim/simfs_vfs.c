#include "base/alloc.h"
#include "sim/sim.h"
#include "sim/simfs_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SYNC_NS_DEFAULT = 2000000 };

static struct simfs *fs_of(struct vfs *v)
{
    return SL_CONTAINER_OF(v, struct simfs, vfs);
}

static struct sim_file *file_of(struct vfs_file *f)
{
    return SL_CONTAINER_OF(f, struct sim_file, file);
}

/* Each call begins here: others may run, and the fault may be due. */
static sl_err enter(struct simfs *fs, enum simfs_call call, const char *path)
{
    sim_yield("vfs", (uint64_t)call);
    fs->calls[__builtin_ctz(call)]++;
    struct simfs_fault *fault = &fs->fault;
    if (fault->n == 0 || !(fault->calls & call) ||
        (fault->path_part && !strstr(path, fault->path_part)))
        return SL_OK;
    if (fault->n > 1) {
        fault->n--;
        return SL_OK;
    }
    fs->faults_seen++;
    if (fault->more == 0)
        fault->n = 0;
    else
        fault->more--;
    return fault->err;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void rename_now(struct simfs *fs, const struct rename *what)
{
    struct rename *r = sl_new(struct rename);
    *r = *what;
    r->seq = fs->next_seq++;
    if (r->from_dir)
        (void)simfs__inode_ref(r->from_dir);
    if (r->to_dir)
        (void)simfs__inode_ref(r->to_dir);
    if (r->inode)
        (void)simfs__inode_ref(r->inode);
    list_push_back(&fs->renames, &r->node);
    simfs__rename_apply(fs, r, false);
}

static void add_name(struct simfs *fs, struct inode *dir, const char *name, struct inode *inode)
{
    struct rename r = {.to_dir = dir, .inode = inode};
    (void)snprintf(r.to, sizeof r.to, "%s", name);
    rename_now(fs, &r);
}

static void remove_name(struct simfs *fs, struct inode *dir, const char *name,
                        const struct inode *inode)
{
    struct rename r = {.from_dir = dir, .from_number = inode->number};
    (void)snprintf(r.from, sizeof r.from, "%s", name);
    rename_now(fs, &r);
}

static sl_err create(struct simfs *fs, const char *path, struct inode **ret)
{
    struct inode *dir;
    char name[NAME_BYTES];
    SL_TRY(enter(fs, SIMFS_OPEN, path));
    SL_TRY(simfs__walk_parent(fs, path, &dir, name));
    sim_changed();
    if (simfs__entry(&dir->names, name)) /* somebody else was faster */
        return simfs__walk(fs, path, ret);
    struct inode *i = simfs__inode_new(fs, false);
    add_name(fs, dir, name, i);
    simfs__inode_unref(fs, i);
    *ret = i;
    return SL_OK;
}

static struct vfs_file *file_new(struct simfs *fs, struct inode *i, const char *path, bool writable)
{
    struct sim_file *f = sl_new(struct sim_file);
    f->file.vfs = &fs->vfs;
    f->fs = fs;
    f->inode = simfs__inode_ref(i);
    f->writable = writable;
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    list_push_back(&fs->files, &f->node);
    return &f->file;
}

static sl_err sim_open(struct vfs *v, const char *path, int flags, struct vfs_file **ret)
{
    struct simfs *fs = fs_of(v);
    struct inode *i;
    sim_yield("open", 0);
    sl_err err = simfs__walk(fs, path, &i);
    if (err == SL_OK && (flags & VFS_CREATE) && (flags & VFS_EXCLUSIVE))
        return SL_EEXISTS;
    if (err == SL_ENOTFOUND && (flags & VFS_CREATE))
        err = create(fs, path, &i);
    if (err != SL_OK)
        return err;
    if (i->is_dir)
        return SL_EINVAL;
    *ret = file_new(fs, i, path, flags & VFS_WRITE);
    return SL_OK;
}

static void sim_close(struct vfs_file *file)
{
    struct sim_file *f = file_of(file);
    if (f->holds_lock)
        f->inode->locked = false;
    list_remove(&f->node);
    simfs__inode_unref(f->fs, f->inode);
    sl_free(f);
    sim_yield("close", 0);
}

/* ---- reading and writing --------------------------------------------------------------------- */

static sl_err sim_pread(struct vfs_file *file, void *data, size_t len, int64_t pos, size_t *ret_n)
{
    struct sim_file *f = file_of(file);
    SL_TRY(enter(f->fs, SIMFS_READ, f->path));
    *ret_n = content_read(&f->inode->cache, data, len, pos);
    return SL_OK;
}

static sl_err sim_pread_nowait(struct vfs_file *file, void *data, size_t len, int64_t pos,
                               size_t *ret_n)
{
    if (sim_chance(4) == 0)
        return SL_PENDING;
    return sim_pread(file, data, len, pos, ret_n);
}

/* How many pages of the range are not there yet. */
static size_t new_pages(const struct content *c, size_t len, int64_t pos)
{
    size_t n = 0, first = (size_t)pos / PAGE_BYTES;
    size_t end = ((size_t)pos + len + PAGE_BYTES - 1) / PAGE_BYTES;
    for (size_t i = first; i < end; i++)
        n += i >= c->n_pages || !c->pages[i];
    return n;
}

static sl_err write_some(struct sim_file *f, const void *data, size_t len, int64_t pos)
{
    struct simfs *fs = f->fs;
    struct inode *i = f->inode;
    if (len == 0)
        return SL_OK;
    if (fs->capacity_pages && fs->used_pages + new_pages(&i->cache, len, pos) > fs->capacity_pages)
        return SL_ENOSPC;
    fs->used_pages += content_write(&i->cache, data, len, pos);
    struct change *c = sl_new(struct change);
    *c = (struct change){.seq = fs->next_seq++, .pos = pos, .len = len};
    c->size_after = i->cache.size;
    c->data = memcpy(sl_alloc(len, 1), data, len);
    list_push_back(&i->changes, &c->node);
    return SL_OK;
}

/* As the kernel does: piece by piece, and what was written before an error stays. */
static sl_err write_all(struct sim_file *f, const struct iovec *iov, size_t n, int64_t pos,
                        size_t bytes_max)
{
    for (size_t i = 0; i < n && bytes_max > 0; i++) {
        size_t len = SL_MIN(iov[i].iov_len, bytes_max);
        SL_TRY(write_some(f, iov[i].iov_base, len, pos));
        pos += (int64_t)len;
        bytes_max -= len;
    }
    return SL_OK;
}

static sl_err sim_pwritev(struct vfs_file *file, struct iovec *iov, size_t n, int64_t pos)
{
    struct sim_file *f = file_of(file);
    size_t bytes = 0;
    if (!f->writable)
        return SL_EIO;
    for (size_t i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    sl_err fault = enter(f->fs, SIMFS_WRITE, f->path);
    sim_changed();
    if (fault != SL_OK) {
        (void)write_all(f, iov, n, pos, (size_t)sim_chance(bytes + 1)); /* the fault is told */
        return fault;
    }
    return write_all(f, iov, n, pos, SIZE_MAX);
}

static sl_err sim_truncate(struct vfs_file *file, int64_t size)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    if (!f->writable)
        return SL_EIO;
    SL_TRY(enter(f->fs, SIMFS_TRUNCATE, f->path));
    sim_changed();
    struct change *c = sl_new(struct change);
    *c = (struct change){.seq = f->fs->next_seq++, .pos = size, .size_after = size};
    if (size < i->cache.size)
        c->len = (size_t)(i->cache.size - size);
    f->fs->used_pages -= content_resize(&i->cache, size);
    list_push_back(&i->changes, &c->node);
    return SL_OK;
}

static sl_err sim_file_size(struct vfs_file *file, int64_t *ret)
{
    struct sim_file *f = file_of(file);
    SL_TRY(enter(f->fs, SIMFS_READ, f->path));
    *ret = f->inode->cache.size;
    return SL_OK;
}

static void sim_advise(struct vfs_file *file, int64_t pos, int64_t len)
{
    sim_yield("advise", 0);
}

/* ---- sync ------------------------------------------------------------------------------------ */

/* Changes up to seq_last are on disk; later ones came while the sync ran. */
static void finish_sync(struct inode *i, uint64_t seq_last)
{
    while (!list_empty(&i->changes)) {
        struct change *c = SL_CONTAINER_OF(i->changes.next, struct change, node);
        if (c->seq > seq_last)
            return;
        simfs__change_apply(c, &i->disk, NULL, NULL);
        (void)content_resize(&i->disk, c->size_after);
        list_remove(&c->node);
        simfs__change_free(c);
    }
    if (i->disk.size != i->cache.size) /* what an earlier failed sync forgot stays forgotten */
        (void)content_resize(&i->disk, i->cache.size);
}

static bool by_chance(void *arg, const struct change *c, int64_t sector)
{
    return rng_below(arg, 2);
}

/* The kernel tells of the error once and takes the pages for clean. Some were written; the others
 * are gone when the cache drops them, or remain visible until the next crash. */
static void fail_sync(struct simfs *fs, struct inode *i)
{
    struct rng_seeded chance;
    rng_seeded_init(&chance, sim_chance(UINT64_MAX));
    while (!list_empty(&i->changes)) {
        struct change *c = SL_CONTAINER_OF(i->changes.next, struct change, node);
        simfs__change_apply(c, &i->disk, by_chance, &chance.rng);
        if (rng_below(&chance.rng, 2))
            (void)content_resize(&i->disk, c->size_after);
        list_remove(&c->node);
        simfs__change_free(c);
    }
    if (rng_below(&chance.rng, 2))
        return;
    int64_t size = i->cache.size;
    fs->used_pages -= content_pages(&i->cache);
    content_fini(&i->cache);
    i->cache = content_share(&i->disk);
    (void)content_resize(&i->cache, size);
    fs->used_pages += content_pages(&i->cache);
}

static void take_sync_time(const struct simfs *fs)
{
    int64_t ns_max = fs->sync_ns_max ? fs->sync_ns_max : SYNC_NS_DEFAULT;
    sim_sleep_ns((int64_t)sim_chance((uint64_t)ns_max) + 1);
}

static sl_err sim_datasync(struct vfs_file *file)
{
    struct sim_file *f = file_of(file);
    uint64_t seq_last = f->fs->next_seq - 1;
    sl_err fault = enter(f->fs, SIMFS_SYNC, f->path);
    take_sync_time(f->fs);
    sim_changed();
    if (fault != SL_OK) {
        fail_sync(f->fs, f->inode);
        return fault;
    }
    finish_sync(f->inode, seq_last);
    sim_changed();
    return SL_OK;
}

/* As with files: each change of a name is on disk now or never will be, whatever programs see. */
static sl_err fail_sync_dir(struct simfs *fs, struct inode *dir, sl_err fault)
{
    LIST_FOREACH_SAFE(node, &fs->renames)
    {
        struct rename *r = SL_CONTAINER_OF(node, struct rename, node);
        if (r->from_dir != dir && r->to_dir != dir)
            continue;
        if (sim_chance(2))
            simfs__rename_apply(fs, r, true);
        simfs__rename_free(fs, r);
    }
    sim_changed();
    return fault;
}

static sl_err sim_sync_dir(struct vfs *v, const char *path)
{
    struct simfs *fs = fs_of(v);
    struct inode *dir;
    uint64_t seq_last = fs->next_seq - 1;
    sl_err fault = enter(fs, SIMFS_SYNC_DIR, path);
    SL_TRY(simfs__walk(fs, path, &dir));
    if (!dir->is_dir)
        return SL_EIO;
    if (fault != SL_OK)
        return fail_sync_dir(fs, dir, fault);
    (void)simfs__inode_ref(dir); /* it may be removed meanwhile */
    take_sync_time(fs);
    sim_changed();
    LIST_FOREACH_SAFE(node, &fs->renames)
    {
        struct rename *r = SL_CONTAINER_OF(node, struct rename, node);
        if (r->seq > seq_last || (r->from_dir != dir && r->to_dir != dir))
            continue;
        simfs__rename_apply(fs, r, true);
        simfs__rename_free(fs, r);
    }
    simfs__inode_unref(fs, dir);
    sim_changed();
    return SL_OK;
}

/* ---- names ----------------------------------------------------------------------------------- */

static sl_err sim_stat(struct vfs *v, const char *path, struct vfs_stat *ret)
{
    struct inode *i;
    sim_yield("stat", 0);
    SL_TRY(simfs__walk(fs_of(v), path, &i));
    *ret = (struct vfs_stat){.size = i->is_dir ? 0 : i->cache.size, .is_dir = i->is_dir};
    return SL_OK;
}

static sl_err sim_mkdir(struct vfs *v, const char *path)
{
    struct simfs *fs = fs_of(v);
    struct inode *dir;
    char name[NAME_BYTES];
    SL_TRY(enter(fs, SIMFS_NAME, path));
    sim_changed();
    SL_TRY(simfs__walk_parent(fs, path, &dir, name));
    if (simfs__entry(&dir->names, name))
        return SL_EEXISTS;
    struct inode *i = simfs__inode_new(fs, true);
    add_name(fs, dir, name, i);
    simfs__inode_unref(fs, i);
    return SL_OK;
}

static sl_err remove_entry(struct simfs *fs, const char *path, bool is_dir)
{
    struct inode *dir, *gone;
    char name[NAME_BYTES];
    SL_TRY(enter(fs, SIMFS_NAME, path));
    sim_changed();
    SL_TRY(simfs__walk_parent(fs, path, &dir, name));
    gone = simfs__entry(&dir->names, name);
    if (!gone)
        return SL_ENOTFOUND;
    if (gone->is_dir != is_dir)
        return SL_EIO;
    if (gone->names.n > 0)
        return SL_EEXISTS;
    remove_name(fs, dir, name, gone);
    return SL_OK;
}

static sl_err sim_rmdir(struct vfs *v, const char *path)
{
    return remove_entry(fs_of(v), path, true);
}

static sl_err sim_unlink(struct vfs *v, const char *path)
{
    return remove_entry(fs_of(v), path, false);
}

static sl_err sim_rename(struct vfs *v, const char *from, const char *to)
{
    struct simfs *fs = fs_of(v);
    struct rename r = {0};
    SL_TRY(enter(fs, SIMFS_NAME, from));
    sim_changed();
    SL_TRY(simfs__walk_parent(fs, from, &r.from_dir, r.from));
    SL_TRY(simfs__walk_parent(fs, to, &r.to_dir, r.to));
    r.inode = simfs__entry(&r.from_dir->names, r.from);
    if (!r.inode)
        return SL_ENOTFOUND;
    const struct inode *over = simfs__entry(&r.to_dir->names, r.to);
    if (over == r.inode)
        return SL_OK;
    if (over && (over->is_dir != r.inode->is_dir || over->names.n > 0))
        return SL_EEXISTS;
    r.from_number = r.inode->number;
    rename_now(fs, &r);
    return SL_OK;
}

static sl_err sim_list_dir(struct vfs *v, const char *path,
                           sl_err (*each)(void *arg, const char *name), void *arg)
{
    struct simfs *fs = fs_of(v);
    struct inode *dir;
    sim_yield("list", 0);
    SL_TRY(simfs__walk(fs, path, &dir));
    if (!dir->is_dir)
        return SL_ENOTFOUND;
    size_t n = dir->names.n; /* as it is now: each() may remove and create */
    char(*names)[NAME_BYTES] = sl_alloc(n, sizeof *names);
    for (size_t i = 0; i < n; i++)
        memcpy(names[i], dir->names.list[i].name, NAME_BYTES);
    sl_err err = SL_OK;
    for (size_t i = 0; i < n && err == SL_OK; i++)
        err = each(arg, names[i]);
    sl_free(names);
    return err;
}

static sl_err sim_space(struct vfs *v, const char *path, struct vfs_space *ret)
{
    const struct simfs *fs = fs_of(v);
    uint64_t total = fs->capacity_pages ? fs->capacity_pages : 1 << 28;
    sim_yield("space", 0);
    ret->total_bytes = (int64_t)(total * PAGE_BYTES);
    ret->free_bytes = fs->used_pages < total ? (int64_t)((total - fs->used_pages) * PAGE_BYTES) : 0;
    return SL_OK;
}

static sl_err sim_lock_file(struct vfs *v, const char *path, int64_t *ret_pid,
                            struct vfs_file **ret)
{
    struct vfs_file *f;
    SL_TRY(sim_open(v, path, VFS_WRITE | VFS_CREATE, &f));
    if (file_of(f)->inode->locked) {
        *ret_pid = 1;
        sim_close(f);
        return SL_ELOCKED;
    }
    file_of(f)->inode->locked = true;
    file_of(f)->holds_lock = true;
    sl_err err = vfs_pwrite(f, "1\n", 2, 0);
    if (err != SL_OK && err != SL_ENOSPC) {
        sim_close(f);
        return err;
    }
    *ret = f;
    return SL_OK;
}

const struct vfs_ops simfs__ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pread_nowait = sim_pread_nowait,
    .pwritev = sim_pwritev,
    .truncate = sim_truncate,
    .datasync = sim_datasync,
    .file_size = sim_file_size,
    .advise_writeback = sim_advise,
    .advise_dontneed = sim_advise,
    .stat = sim_stat,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .unlink = sim_unlink,
    .rename = sim_rename,
    .sync_dir = sim_sync_dir,
    .list_dir = sim_list_dir,
    .space = sim_space,
    .lock_file = sim_lock_file,
};
