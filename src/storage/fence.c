#include "storage/fence_int.h"

#include "base/byteorder.h"
#include "base/crc32c.h"

/* magic u32, version u32, bytes u64, next offset u64, zero u32, crc u32; little-endian */
enum {
    FENCE_MAGIC = 0x4e464c53, /* "SLFN" */
    FENCE_VERSION = 1,
    NOTE_MAGIC = 0,
    NOTE_VERSION = 4,
    NOTE_BYTES = 8,
    NOTE_NEXT = 16,
    NOTE_CRC = 28,
    NOTE_SIZE = 32,
};

sl_err fence__write(const struct segment *s, uint64_t bytes, int64_t next_offset)
{
    uint8_t note[NOTE_SIZE] = {0};
    char path[PATH_BYTES];
    SL_ASSERT(next_offset > s->base_offset);
    put_le32(note + NOTE_MAGIC, FENCE_MAGIC);
    put_le32(note + NOTE_VERSION, FENCE_VERSION);
    put_le64(note + NOTE_BYTES, bytes);
    put_le64(note + NOTE_NEXT, (uint64_t)next_offset);
    put_le32(note + NOTE_CRC, crc32c(0, note, NOTE_CRC));
    segment__path(s, ".fence", path);
    return vfs_replace_file(s->part->engine->env.vfs, path, note, sizeof note);
}

sl_err fence__remove(const struct segment *s)
{
    struct vfs *v = s->part->engine->env.vfs;
    const struct log_part_id *id = &s->part->id;
    char path[PATH_BYTES], dir[PATH_BYTES];
    segment__path(s, ".fence", path);
    paths__part_dir(dir, s->part->engine->data_dir, &id->topic_id, id->index);
    sl_err err = vfs_unlink(v, path);
    return err == SL_OK || err == SL_ENOTFOUND ? vfs_sync_dir(v, dir) : err;
}

sl_err fence__read(const struct segment *s, uint64_t *ret_bytes, int64_t *ret_next)
{
    uint8_t note[NOTE_SIZE];
    char path[PATH_BYTES];
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    segment__path(s, ".fence", path);
    SL_TRY(vfs_open(s->part->engine->env.vfs, path, VFS_READ, &f));
    sl_err err = vfs_pread_full(f, note, sizeof note, 0);
    if (err != SL_OK)
        return err == SL_EEND ? SL_ECORRUPT : err;
    if (get_le32(note + NOTE_MAGIC) != FENCE_MAGIC ||
        get_le32(note + NOTE_VERSION) != FENCE_VERSION ||
        get_le32(note + NOTE_CRC) != crc32c(0, note, NOTE_CRC))
        return SL_ECORRUPT;
    int64_t next = (int64_t)get_le64(note + NOTE_NEXT);
    if (next <= s->base_offset)
        return SL_ECORRUPT;
    *ret_bytes = get_le64(note + NOTE_BYTES);
    *ret_next = next;
    return SL_OK;
}
