#include "storage/file_cache_int.h"

#include "base/alloc.h"
#include "loop/loop.h"
#include "storage/page_window_int.h"

enum {
    CLEAN_AT_ONCE = 1024,
    SWEEP_WAIT_MS = 20,
    PAGE_RANGE_BYTES = 128 << 10,
    FOLIO_BYTES_MAX = 4 << 20
};

struct file_cache {
    struct vfs *vfs;
    struct mutex *mutex;
    struct cond *sync_done;
    struct list clean, dirty; /* least recently used first; handles that are not pinned */
    size_t n_open, open_max, n_dirty, n_syncing;
    bool sweep_asked; /* and not over yet */
    bool evicted;     /* a handle was closed to make room since the last sweep */
    struct page_window *pages;
    void (*ask_sweep)(void *arg);
    void *ask_sweep_arg;
    void (*path)(const struct cached_file *f, char ret[PATH_BYTES]);
};

struct file_cache *file_cache__new(struct vfs *v, size_t open_max, uint64_t keep_bytes)
{
    struct file_cache *c = sl_new(struct file_cache);
    c->vfs = v;
    c->open_max = open_max;
    c->pages = page_window__new(keep_bytes);
    c->mutex = mutex_new();
    c->sync_done = cond_new();
    list_init(&c->clean);
    list_init(&c->dirty);
    return c;
}

void file_cache__free(struct file_cache *c)
{
    if (!c)
        return;
    SL_ASSERT(c->n_open == 0);
    mutex_free(c->mutex);
    cond_free(c->sync_done);
    page_window__free(c->pages);
    sl_free(c);
}

void file_cache__on_dirty(struct file_cache *c, void (*fn)(void *arg), void *arg)
{
    c->ask_sweep = fn;
    c->ask_sweep_arg = arg;
}

void file_cache__on_path(struct file_cache *c,
                         void (*path)(const struct cached_file *f, char ret[PATH_BYTES]))
{
    c->path = path;
}

/* A dirty handle that was opened for this one write goes first: when more partitions are written in
 * turn than there are handles, most of them then keep theirs, where plain LRU would miss each time.
 */
static void rest(struct file_cache *c, struct cached_file *f)
{
    list_remove(&f->lru);
    if (f->dirty && f->used_once)
        list_push_front(&c->dirty, &f->lru);
    else
        list_push_back(f->dirty ? &c->dirty : &c->clean, &f->lru);
}

/* Whoever has pinned the file may go on, whoever waits to forget it too. */
static void unpin_locked(struct file_cache *c, struct cached_file *f)
{
    SL_ASSERT(f->pins > 0);
    if (--f->pins == 0 && f->file)
        rest(c, f);
    cond_broadcast(c->sync_done);
}

static void set_dirty(struct file_cache *c, struct cached_file *f, bool dirty)
{
    if (f->dirty == dirty)
        return;
    f->dirty = dirty;
    c->n_dirty += dirty ? 1 : (size_t)-1;
    if (list_linked(&f->lru))
        rest(c, f);
}

/* ---- sync, under the lock except for the system call --------------------------------------- */

/* One sync of a file on its way: what it will have made durable. */
struct sync_mark {
    struct cached_file *file;
    uint64_t bytes;
    int64_t next;
};

static struct sync_mark begin_sync(struct file_cache *c, struct cached_file *f)
{
    SL_ASSERT(f->file); /* a dirty handle is open */
    SL_ASSERT(f->dirty && !f->syncing);
    struct sync_mark m = {f, f->written_bytes, f->written_next};
    set_dirty(c, f, false); /* bytes written from here on make it dirty again */
    f->syncing = true;
    c->n_syncing++;
    f->pins++;
    list_remove(&f->lru);
    return m;
}

static void end_sync(struct file_cache *c, const struct sync_mark *m, sl_err err)
{
    struct cached_file *f = m->file;
    f->syncing = false;
    c->n_syncing--;
    if (err == SL_OK && f->lost) {
        /* its content is on disk, its name perhaps not */
    } else if (err == SL_OK) {
        f->synced_bytes = SL_MAX(f->synced_bytes, m->bytes);
        f->synced_next = SL_MAX(f->synced_next, m->next);
    } else {
        f->fenced = true; /* for good: the kernel has dropped the error and perhaps the bytes */
        set_dirty(c, f, false);
    }
    unpin_locked(c, f);
}

static sl_err sync_locked(struct file_cache *c, struct cached_file *f)
{
    while (f->syncing)
        cond_wait(c->sync_done, c->mutex);
    if (f->fenced)
        return SL_EIO;
    if (!f->dirty)
        return SL_OK;
    struct sync_mark m = begin_sync(c, f);
    mutex_unlock(c->mutex);
    sl_err err = vfs_datasync(f->file);
    mutex_lock(c->mutex);
    end_sync(c, &m, err);
    return err == SL_OK ? SL_OK : SL_EIO;
}

sl_err file_cache__sync(struct file_cache *c, struct cached_file *f)
{
    mutex_lock(c->mutex);
    sl_err err = sync_locked(c, f);
    mutex_unlock(c->mutex);
    return err;
}

sl_err file_cache__sync_group(struct file_cache *c, struct cached_file *f)
{
    mutex_lock(c->mutex);
    f->hot = true;
    sl_err err = sync_locked(c, f);
    mutex_unlock(c->mutex);
    return err;
}

/* The syncs have begun; under the lock. */
static void finish_together(struct file_cache *c, const struct sync_mark *marks, size_t n)
{
    struct vfs_file *files[CLEAN_AT_ONCE];
    sl_err errs[CLEAN_AT_ONCE];
    SL_ASSERT(n <= CLEAN_AT_ONCE);
    for (size_t i = 0; i < n; i++)
        files[i] = marks[i].file->file;
    mutex_unlock(c->mutex);
    vfs_datasync_many(files, n, errs);
    mutex_lock(c->mutex);
    for (size_t i = 0; i < n; i++)
        end_sync(c, &marks[i], errs[i]);
}

/* A commit of the file system may take long when other programs write: whoever waits for a hot
 * file would wait for that. */
static bool joins(struct cached_file *f)
{
    bool hot = f->hot;
    f->hot = false;
    return f->dirty && !f->syncing && !f->fenced && !hot;
}

void file_cache__sync_many(struct file_cache *c, struct cached_file *const *files, size_t n)
{
    struct sync_mark marks[CLEAN_AT_ONCE];
    mutex_lock(c->mutex);
    for (size_t i = 0; i < n;) {
        size_t n_marks = 0;
        for (; i < n && n_marks < CLEAN_AT_ONCE; i++)
            if (joins(files[i]))
                marks[n_marks++] = begin_sync(c, files[i]);
        if (n_marks > 0)
            finish_together(c, marks, n_marks);
    }
    mutex_unlock(c->mutex);
}

/* ---- handles ------------------------------------------------------------------------------- */

static void close_locked(struct file_cache *c, struct cached_file *f)
{
    list_remove(&f->lru);
    struct vfs_file *file = SL_TAKE(f->file);
    c->n_open--;
    mutex_unlock(c->mutex);
    vfs_close(file);
    mutex_lock(c->mutex);
}

/* Syncs the oldest dirty handles together: one commit of the file system serves all of them. A
 * failure fences its file: whoever needs that will see. */
static void clean_some(struct file_cache *c)
{
    struct sync_mark marks[CLEAN_AT_ONCE];
    size_t n = 0;
    for (; n < CLEAN_AT_ONCE && !list_empty(&c->dirty); n++)
        marks[n] = begin_sync(c, SL_CONTAINER_OF(c->dirty.next, struct cached_file, lru));
    finish_together(c, marks, n);
}

void file_cache__sweep(struct file_cache *c)
{
    mutex_lock(c->mutex);
    while (c->n_dirty > c->open_max / 4 && !list_empty(&c->dirty))
        clean_some(c);
    c->sweep_asked = false;
    c->evicted = false;
    mutex_unlock(c->mutex);
}

/* Asks for a sweep and waits a little for it. False: nothing came of it. */
static bool wait_for_sweep(struct file_cache *c)
{
    if (!c->ask_sweep)
        return false;
    if (!c->sweep_asked) {
        c->sweep_asked = true;
        mutex_unlock(c->mutex);
        c->ask_sweep(c->ask_sweep_arg);
        mutex_lock(c->mutex);
        return true; /* look again before waiting: it may be over */
    }
    return cond_wait_for(c->sync_done, c->mutex, SWEEP_WAIT_MS);
}

/* The oldest clean handle goes. While all are dirty, whoever needs one waits for the sweep; if that
 * is held up, or nobody sweeps, it cleans for itself. */
static void make_room(struct file_cache *c)
{
    while (c->n_open >= c->open_max) {
        c->evicted = true;
        if (!list_empty(&c->clean))
            close_locked(c, SL_CONTAINER_OF(c->clean.next, struct cached_file, lru));
        else if (list_empty(&c->dirty) && c->n_syncing == 0)
            return; /* all pinned: one more than the limit, for as long as that lasts */
        else if (list_empty(&c->dirty))
            cond_wait(c->sync_done, c->mutex); /* another thread cleans them */
        else if (!wait_for_sweep(c))
            clean_some(c);
    }
}

sl_err file_cache__pin(struct file_cache *c, struct cached_file *f, const char *path, int flags,
                       struct vfs_file **ret)
{
    mutex_lock(c->mutex);
    if (!f->file) {
        make_room(c);
        mutex_unlock(c->mutex);
        struct vfs_file *file = NULL;
        sl_err err = vfs_open(c->vfs, path, flags, &file);
        if (err != SL_OK)
            return err;
        mutex_lock(c->mutex);
        if (f->file) { /* another thread was faster */
            mutex_unlock(c->mutex);
            vfs_close(file);
            mutex_lock(c->mutex);
        } else {
            f->file = file;
            f->used_once = true;
            c->n_open++;
        }
    } else {
        f->used_once = false;
    }
    f->pins++;
    list_remove(&f->lru);
    *ret = f->file;
    mutex_unlock(c->mutex);
    return SL_OK;
}

sl_err file_cache__pin_open(struct file_cache *c, struct cached_file *f, struct vfs_file **ret)
{
    mutex_lock(c->mutex);
    sl_err err = f->file ? SL_OK : SL_PENDING;
    if (err == SL_OK) {
        f->pins++;
        list_remove(&f->lru);
        *ret = f->file;
    }
    mutex_unlock(c->mutex);
    return err;
}

void file_cache__unpin(struct file_cache *c, struct cached_file *f)
{
    mutex_lock(c->mutex);
    SL_ASSERT(f->pins > 0);
    if (--f->pins == 0)
        rest(c, f);
    mutex_unlock(c->mutex);
}

/* A file that was closed is opened for this call only: it is none of the cache's handles. */
static void drop_range(struct file_cache *c, const struct page_range *r, struct vfs_file *open)
{
    /* The kernel drops only folios that lie in the range as a whole, and large writes make large
     * ones: those that reached over the end of an earlier range go with this one. */
    int64_t from = (int64_t)(r->from > FOLIO_BYTES_MAX ? r->from - FOLIO_BYTES_MAX : 0);
    int64_t len = (int64_t)r->to - from;
    struct vfs_file *own = NULL;
    char path[PATH_BYTES];
    if (!open && c->path) {
        c->path(r->file, path);
        if (vfs_open(c->vfs, path, 0, &own) != SL_OK)
            return; /* gone meanwhile, and its pages with it */
    }
    if (open || own)
        vfs_advise_dontneed(open ? open : own, from, len);
    vfs_close(own);
}

/* Gives the pages back that fell out of the window. */
static void drop_pages(struct file_cache *c)
{
    struct page_range out;
    while (page_window__next_out(c->pages, &out)) {
        struct cached_file *f = out.file;
        f->page_ranges--;
        f->pins++; /* neither closed nor forgotten meanwhile */
        list_remove(&f->lru);
        struct vfs_file *open = f->file;
        mutex_unlock(c->mutex);
        drop_range(c, &out, open);
        mutex_lock(c->mutex);
        unpin_locked(c, f);
    }
}

static void account_pages(struct file_cache *c, struct cached_file *f)
{
    f->paged_to = SL_MIN(f->paged_to, f->written_bytes); /* a failed append was cut off */
    if (f->written_bytes - f->paged_to < PAGE_RANGE_BYTES)
        return;
    page_window__add(c->pages, (struct page_range){f, f->paged_to, f->written_bytes});
    f->page_ranges++;
    f->paged_to = f->written_bytes;
    drop_pages(c);
}

void file_cache__wrote(struct file_cache *c, struct cached_file *f, uint64_t bytes,
                       int64_t next_offset)
{
    mutex_lock(c->mutex);
    f->written_bytes = bytes;
    f->written_next = next_offset;
    if (!f->fenced) /* a sync that failed during this write: nothing cleans the file any more */
        set_dirty(c, f, true);
    bool tell = c->n_dirty > c->open_max / 2 && c->evicted && !c->sweep_asked && c->ask_sweep;
    c->sweep_asked |= tell;
    account_pages(c, f); /* opens the lock: everything above is told */
    mutex_unlock(c->mutex);
    if (tell)
        c->ask_sweep(c->ask_sweep_arg);
}

void file_cache__fence(struct file_cache *c, struct cached_file *f)
{
    mutex_lock(c->mutex);
    f->fenced = true;
    set_dirty(c, f, false);
    mutex_unlock(c->mutex);
}

void file_cache__lose(struct file_cache *c, struct cached_file *f, int64_t base_offset)
{
    file_cache__fence(c, f);
    mutex_lock(c->mutex);
    f->lost = true;
    f->synced_bytes = 0;
    f->synced_next = base_offset;
    mutex_unlock(c->mutex);
}

bool file_cache__fenced(struct file_cache *c, const struct cached_file *f)
{
    mutex_lock(c->mutex);
    bool fenced = f->fenced;
    mutex_unlock(c->mutex);
    return fenced;
}

void file_cache__synced(struct file_cache *c, const struct cached_file *f, uint64_t *ret_bytes,
                        int64_t *ret_next)
{
    mutex_lock(c->mutex);
    *ret_bytes = f->synced_bytes;
    *ret_next = f->synced_next;
    mutex_unlock(c->mutex);
}

void file_cache__set_synced(struct file_cache *c, struct cached_file *f, uint64_t bytes,
                            int64_t next_offset)
{
    mutex_lock(c->mutex);
    f->written_bytes = f->synced_bytes = f->paged_to = bytes;
    f->written_next = f->synced_next = next_offset;
    mutex_unlock(c->mutex);
}

void file_cache__forget(struct file_cache *c, struct cached_file *f)
{
    mutex_lock(c->mutex);
    /* The owner has no pins left, but another thread that makes room may be cleaning it. */
    while (f->syncing || f->pins > 0)
        cond_wait(c->sync_done, c->mutex);
    set_dirty(c, f, false);
    if (f->page_ranges > 0)
        page_window__forget(c->pages, f);
    f->page_ranges = 0;
    if (f->file)
        close_locked(c, f);
    mutex_unlock(c->mutex);
}

void file_cache__renew(struct file_cache *c, struct cached_file *f, int64_t next_offset)
{
    file_cache__forget(c, f);
    mutex_lock(c->mutex);
    *f = (struct cached_file){.written_next = next_offset, .synced_next = next_offset};
    mutex_unlock(c->mutex);
}

void file_cache__start_writeback(struct file_cache *c, struct cached_file *f)
{
    struct vfs_file *file = NULL;
    if (file_cache__pin_open(c, f, &file) != SL_OK)
        return; /* closed ones are clean */
    mutex_lock(c->mutex);
    int64_t pos = (int64_t)f->synced_bytes, end = f->dirty ? (int64_t)f->written_bytes : 0;
    mutex_unlock(c->mutex);
    if (pos < end)
        vfs_advise_writeback(file, pos, end - pos);
    file_cache__unpin(c, f);
}

size_t file_cache__open_count(struct file_cache *c)
{
    mutex_lock(c->mutex);
    size_t n = c->n_open;
    mutex_unlock(c->mutex);
    return n;
}
