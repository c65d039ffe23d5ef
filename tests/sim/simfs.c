#include "sim/simfs.h"

#include "base/alloc.h"
#include "sim/simfs_int.h"

#include <stdio.h>
#include <string.h>

/* ---- inodes and names ----------------------------------------------------------------------- */

struct inode *simfs__inode_new(struct simfs *fs, bool is_dir)
{
    struct inode *i = sl_new(struct inode);
    i->refs = 1;
    i->number = fs->next_inode++;
    i->is_dir = is_dir;
    list_init(&i->changes);
    return i;
}

struct inode *simfs__inode_ref(struct inode *i)
{
    i->refs++;
    return i;
}

void simfs__inode_unref(struct simfs *fs, struct inode *i)
{
    if (!i || --i->refs > 0)
        return;
    struct list *node;
    while ((node = list_pop_front(&i->changes)))
        simfs__change_free(SL_CONTAINER_OF(node, struct change, node));
    fs->used_pages -= content_pages(&i->cache);
    content_fini(&i->cache);
    content_fini(&i->disk);
    simfs__entries_fini(fs, &i->names);
    simfs__entries_fini(fs, &i->names_on_disk);
    sl_free(i);
}

/* Where the name is, or would be. */
static size_t position(const struct entries *e, const char *name, bool *ret_found)
{
    size_t low = 0, high = e->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (strcmp(e->list[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = low < e->n && strcmp(e->list[low].name, name) == 0;
    return low;
}

struct inode *simfs__entry(const struct entries *e, const char *name)
{
    bool found;
    size_t at = position(e, name, &found);
    return found ? e->list[at].inode : NULL;
}

void simfs__entry_set(struct simfs *fs, struct entries *e, const char *name, struct inode *i)
{
    bool found;
    size_t at = position(e, name, &found);
    (void)simfs__inode_ref(i);
    if (found) {
        simfs__inode_unref(fs, e->list[at].inode);
    } else {
        e->list = sl_realloc(e->list, e->n + 1, sizeof e->list[0]);
        memmove(e->list + at + 1, e->list + at, (e->n - at) * sizeof e->list[0]);
        (void)snprintf(e->list[at].name, NAME_BYTES, "%s", name);
        e->n++;
    }
    e->list[at].inode = i;
}

void simfs__entry_remove(struct simfs *fs, struct entries *e, const char *name)
{
    bool found;
    size_t at = position(e, name, &found);
    if (!found)
        return;
    struct inode *gone = e->list[at].inode;
    memmove(e->list + at, e->list + at + 1, (e->n - at - 1) * sizeof e->list[0]);
    e->n--;
    simfs__inode_unref(fs, gone);
}

void simfs__entries_fini(struct simfs *fs, struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        simfs__inode_unref(fs, e->list[i].inode);
    sl_free(e->list);
    *e = (struct entries){0};
}

/* The next name of a path; false at its end. */
static bool next_name(const char **path, char ret_name[NAME_BYTES])
{
    const char *p = *path + strspn(*path, "/");
    size_t len = strcspn(p, "/");
    SL_ASSERT(len < NAME_BYTES);
    memcpy(ret_name, p, len);
    ret_name[len] = '\0';
    *path = p + len;
    return len > 0;
}

sl_err simfs__walk(const struct simfs *fs, const char *path, struct inode **ret)
{
    char name[NAME_BYTES];
    struct inode *at = fs->root;
    while (next_name(&path, name)) {
        if (strcmp(name, ".") == 0)
            continue;
        at = at->is_dir ? simfs__entry(&at->names, name) : NULL;
        if (!at)
            return SL_ENOTFOUND;
    }
    *ret = at;
    return SL_OK;
}

sl_err simfs__walk_parent(const struct simfs *fs, const char *path, struct inode **ret_dir,
                          char ret_name[NAME_BYTES])
{
    char name[NAME_BYTES], later[NAME_BYTES];
    struct inode *at = fs->root;
    if (!next_name(&path, name))
        return SL_EINVAL;
    while (next_name(&path, later)) {
        at = at->is_dir ? simfs__entry(&at->names, name) : NULL;
        if (!at)
            return SL_ENOTFOUND;
        memcpy(name, later, sizeof name);
    }
    if (!at->is_dir)
        return SL_ENOTFOUND;
    *ret_dir = at;
    memcpy(ret_name, name, NAME_BYTES);
    return SL_OK;
}

/* ---- changes -------------------------------------------------------------------------------- */

void simfs__change_free(struct change *c)
{
    sl_free(c->data);
    sl_free(c);
}

static void apply_range(const struct change *c, struct content *to, int64_t pos, size_t len)
{
    static const uint8_t zeros[SECTOR_BYTES];
    if (c->data)
        (void)content_write(to, c->data + (pos - c->pos), len, pos);
    else if (pos < to->size) /* a cut: zeros behind it, should it grow again */
        (void)content_write(to, zeros, SL_MIN(len, (size_t)(to->size - pos)), pos);
}

void simfs__change_apply(const struct change *c, struct content *to,
                         bool (*keep)(void *arg, const struct change *c, int64_t sector), void *arg)
{
    int64_t end = c->pos + (int64_t)c->len;
    for (int64_t pos = c->pos; pos < end;) {
        int64_t sector = pos / SECTOR_BYTES;
        size_t len = (size_t)(SL_MIN(end, (sector + 1) * SECTOR_BYTES) - pos);
        if (!keep || keep(arg, c, sector))
            apply_range(c, to, pos, len);
        pos += (int64_t)len;
    }
}

void simfs__rename_free(struct simfs *fs, struct rename *r)
{
    list_remove(&r->node);
    simfs__inode_unref(fs, r->from_dir);
    simfs__inode_unref(fs, r->to_dir);
    simfs__inode_unref(fs, r->inode);
    sl_free(r);
}

void simfs__rename_apply(struct simfs *fs, struct rename *r, bool on_disk)
{
    if (r->from_dir) {
        struct entries *names = on_disk ? &r->from_dir->names_on_disk : &r->from_dir->names;
        const struct inode *gone = simfs__entry(names, r->from);
        if (gone && gone->number == r->from_number)
            simfs__entry_remove(fs, names, r->from);
    }
    if (r->to_dir)
        simfs__entry_set(fs, on_disk ? &r->to_dir->names_on_disk : &r->to_dir->names, r->to,
                         r->inode);
}

/* ---- the file system ------------------------------------------------------------------------ */

struct simfs *simfs_new(void)
{
    struct simfs *fs = sl_new(struct simfs);
    fs->vfs.ops = &simfs__ops;
    fs->next_seq = 1;
    list_init(&fs->renames);
    list_init(&fs->files);
    fs->root = simfs__inode_new(fs, true);
    return fs;
}

void simfs_free(struct simfs *fs)
{
    if (!fs)
        return;
    struct list *node;
    while ((node = list_pop_front(&fs->files))) {
        struct sim_file *f = SL_CONTAINER_OF(node, struct sim_file, node);
        simfs__inode_unref(fs, f->inode);
        sl_free(f);
    }
    while (!list_empty(&fs->renames))
        simfs__rename_free(fs, SL_CONTAINER_OF(fs->renames.next, struct rename, node));
    simfs__inode_unref(fs, fs->root);
    sl_free(fs);
}

struct vfs *simfs_vfs(struct simfs *fs)
{
    return &fs->vfs;
}

void simfs_set_fault(struct simfs *fs, const struct simfs_fault *fault)
{
    fs->fault = *fault;
    if (fault->path_part)
        (void)snprintf(fs->fault_path, sizeof fs->fault_path, "%s", fault->path_part);
    fs->fault.path_part = fault->path_part ? fs->fault_path : NULL;
}

uint64_t simfs_faults_seen(const struct simfs *fs)
{
    return fs->faults_seen;
}

uint64_t simfs_calls(const struct simfs *fs, unsigned calls)
{
    uint64_t n = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(fs->calls); i++)
        n += calls & 1u << i ? fs->calls[i] : 0;
    return n;
}

void simfs_set_capacity(struct simfs *fs, uint64_t bytes)
{
    fs->capacity_pages = bytes / PAGE_BYTES;
}

uint64_t simfs_used_bytes(const struct simfs *fs)
{
    return fs->used_pages * PAGE_BYTES;
}

void simfs_set_sync_time(struct simfs *fs, int64_t ns_max)
{
    fs->sync_ns_max = ns_max;
}

sl_err simfs_flip_bit(struct simfs *fs, const char *path, uint64_t bit)
{
    struct inode *i;
    uint8_t byte;
    SL_TRY(simfs__walk(fs, path, &i));
    int64_t pos = (int64_t)(bit / 8);
    if (content_read(&i->cache, &byte, 1, pos) != 1)
        return SL_EEND;
    byte ^= (uint8_t)(1u << bit % 8);
    fs->used_pages += content_write(&i->cache, &byte, 1, pos);
    if (pos < i->disk.size)
        (void)content_write(&i->disk, &byte, 1, pos);
    return SL_OK;
}

static void each_below(const struct inode *dir, const char *dir_path,
                       void (*each)(void *arg, const char *path, int64_t size), void *arg)
{
    for (size_t i = 0; i < dir->names.n; i++) {
        char path[PATH_BYTES];
        const struct entry *e = &dir->names.list[i];
        int n = snprintf(path, sizeof path, "%s/%s", dir_path, e->name);
        SL_ASSERT(n > 0 && (size_t)n < sizeof path);
        if (e->inode->is_dir)
            each_below(e->inode, path, each, arg);
        else
            each(arg, path, e->inode->cache.size);
    }
}

void simfs_each_file(const struct simfs *fs,
                     void (*each)(void *arg, const char *path, int64_t size), void *arg)
{
    each_below(fs->root, "", each, arg);
}
