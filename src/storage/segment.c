#include "storage/local_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/crc32c.h"

struct segment *segment__new(struct log_part *p, int64_t base_offset)
{
    struct segment *s = sl_new(struct segment);
    atomic_init(&s->refs, 1);
    atomic_init(&s->name_unsynced, false);
    s->part = part__ref(p);
    s->base_offset = s->plan_next = s->next_offset = base_offset;
    s->file.written_next = s->file.synced_next = base_offset;
    s->first_append_ms = s->last_append_ms = -1;
    s->max_timestamp_ms = -1;
    s->row_dirty = true;
    return s;
}

struct segment *segment__ref(struct segment *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void segment__unref(struct segment *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    file_cache__forget(s->part->engine->files, &s->file);
    segment__unref(s->after);
    index_tail__fini(&s->index);
    part__unref(s->part);
    sl_free(s);
}

void segment__path(const struct segment *s, const char *ext, char ret[PATH_BYTES])
{
    const struct log_part_id *id = &s->part->id;
    paths__segment(ret, s->part->engine->data_dir, &id->topic_id, id->index, s->base_offset, ext);
}

void segment__file_path(const struct cached_file *f, char ret[PATH_BYTES])
{
    segment__path(SL_CONTAINER_OF(f, struct segment, file), ".log", ret);
}

uint32_t segment__seed(const struct segment *s)
{
    uint8_t key[16];
    put_le64(key, s->part->id.pid);
    put_le64(key + 8, (uint64_t)s->base_offset);
    const struct uuid *cluster = &s->part->engine->cfg.cluster_id;
    return crc32c(crc32c(0, cluster->bytes, sizeof cluster->bytes), key, sizeof key);
}

/* One at a time: of two syncs of a folder at once one may fail and the other one succeed although
 * the name is lost. */
static sl_err sync_name_locked(struct segment *s)
{
    struct local_engine *e = s->part->engine;
    char dir[PATH_BYTES];
    if (file_cache__fenced(e->files, &s->file))
        return SL_EIO;
    if (!atomic_load(&s->name_unsynced))
        return SL_OK;
    paths__part_dir(dir, e->data_dir, &s->part->id.topic_id, s->part->id.index);
    if (vfs_sync_dir(e->env.vfs, dir) != SL_OK) {
        file_cache__lose(e->files, &s->file, s->base_offset);
        return SL_EIO;
    }
    atomic_store(&s->name_unsynced, false);
    return SL_OK;
}

sl_err segment__sync_name(struct segment *s)
{
    struct local_engine *e = s->part->engine;
    if (!atomic_load(&s->name_unsynced))
        return SL_OK;
    mutex_lock(e->names_lock);
    sl_err err = sync_name_locked(s);
    mutex_unlock(e->names_lock);
    return err;
}
