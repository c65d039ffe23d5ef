/* Open handles of segment files: an LRU that never closes a handle with unsynced bytes.
 *
 * Linux reports a write-back error once per open file description. So: one sync per file at a time,
 * its result goes into the file's state before anybody else looks, and completions look at that
 * state. A file whose sync failed is fenced: no second sync, no more writes, never read past what
 * was synced before (P5, F06). Any thread but a loop, unless the call says otherwise. */
#ifndef SLUICE_STORAGE_FILE_CACHE_INT_H
#define SLUICE_STORAGE_FILE_CACHE_INT_H

#include "base/list.h"
#include "storage/paths_int.h"
#include "vfs/vfs.h"

/* Embedded in a segment. All fields under the cache's lock. */
struct cached_file {
    struct list lru; /* linked: open and not pinned */
    struct vfs_file *file;
    uint32_t pins;
    bool dirty, syncing, fenced, lost, used_once;
    bool hot; /* synced by commit groups: nobody else may hold its sync up for long */
    uint64_t written_bytes, synced_bytes; /* ends of the valid content */
    int64_t written_next, synced_next;    /* first offsets behind them */
    uint64_t paged_to;    /* written bytes from here on are not in page_window yet */
    uint32_t page_ranges; /* how many ranges were added to it */
};

struct file_cache;

/* At most open_max handles, pinned ones aside; keep_bytes as in page_window_int.h. */
struct file_cache *file_cache__new(struct vfs *v, size_t open_max, uint64_t keep_bytes);
void file_cache__free(struct file_cache *c); /* every file forgotten before; accepts NULL */
/* fn is called, with no lock held, when handles go round and more than half of them are dirty: some
 * other thread is to call file_cache__sweep. Whoever needs a handle meanwhile waits for that. */
void file_cache__on_dirty(struct file_cache *c, void (*fn)(void *arg), void *arg);

/* How a file that was closed is found, to give its old pages back; without it they stay. */
void file_cache__on_path(struct file_cache *c,
                         void (*path)(const struct cached_file *f, char ret[PATH_BYTES]));

/* The handle, opened when it is not; until file_cache__unpin it stays open. */
sl_err file_cache__pin(struct file_cache *c, struct cached_file *f, const char *path, int flags,
                       struct vfs_file **ret) SL_CHECKED;
/* As pin, but SL_PENDING when the file would have to be opened: for loops. */
sl_err file_cache__pin_open(struct file_cache *c, struct cached_file *f,
                            struct vfs_file **ret) SL_CHECKED;
void file_cache__unpin(struct file_cache *c, struct cached_file *f);
/* Bytes up to `bytes` were written through a pinned handle; next_offset lies behind them. */
void file_cache__wrote(struct file_cache *c, struct cached_file *f, uint64_t bytes,
                       int64_t next_offset);
/* Cut back to what was there before a failed write. */
void file_cache__fence(struct file_cache *c, struct cached_file *f);
/* Fenced, and its name may not be on disk: nothing of it counts as synced. */
void file_cache__lose(struct file_cache *c, struct cached_file *f, int64_t base_offset);
bool file_cache__fenced(struct file_cache *c, const struct cached_file *f);
/* As file_cache__sync below, for a commit group that waits for it. */
sl_err file_cache__sync_group(struct file_cache *c, struct cached_file *f) SL_CHECKED;
/* Syncs those of the files that are dirty with one commit of the file system, as far as it goes:
 * file_cache__synced says what it did for each. */
void file_cache__sync_many(struct file_cache *c, struct cached_file *const *files, size_t n);
/* Syncs when dirty, after waiting for a sync under way. SL_EIO: it failed, now or before. */
sl_err file_cache__sync(struct file_cache *c, struct cached_file *f) SL_CHECKED;
/* Syncs the oldest dirty handles, many at a time, until three quarters are clean. */
void file_cache__sweep(struct file_cache *c);
/* Asks the kernel to write the dirty bytes soon. Before a sync of many files: their blocks are then
 * allocated together, instead of by one commit of the file system each. A hint. */
void file_cache__start_writeback(struct file_cache *c, struct cached_file *f);
/* What is known to be on disk. */
void file_cache__synced(struct file_cache *c, const struct cached_file *f, uint64_t *ret_bytes,
                        int64_t *ret_next);
/* Known from a metastore row or from recovery: nothing is dirty. */
void file_cache__set_synced(struct file_cache *c, struct cached_file *f, uint64_t bytes,
                            int64_t next_offset);
/* Closes the handle: the file is gone or never used again. Not while it is pinned. */
void file_cache__forget(struct file_cache *c, struct cached_file *f);
/* Forgets, and forgets that it was fenced: another file will have its name. */
void file_cache__renew(struct file_cache *c, struct cached_file *f, int64_t next_offset);
size_t file_cache__open_count(struct file_cache *c);

#endif
