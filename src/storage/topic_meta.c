#include "storage/topic_meta_int.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/reader.h"
#include "storage/paths_int.h"

enum {
    TOPIC_META_MAGIC = 0x534c544d, /* "SLTM" */
    TOPIC_META_VERSION = 2,        /* 1 had neither number nor creation time */
    FLAG_DELETED = 1,
    CRC_BYTES = 4,
    PART_BYTES = 12,
};

void topic_meta__copy(struct topic_meta *m, const struct log_topic_spec *spec)
{
    *m = (struct topic_meta){
        .org = spec->org,
        .topic_id = spec->topic_id,
        .number = spec->number,
        .created_ms = spec->created_ms,
        .name = sl_strdup(spec->name),
        .config_text = slice_copy(spec->config_text.data, spec->config_text.len),
        .parts = sl_new_array(struct topic_meta_part, spec->n_parts),
        .n_parts = spec->n_parts,
    };
    for (uint32_t i = 0; i < spec->n_parts; i++)
        m->parts[i] = (struct topic_meta_part){spec->parts[i].pid, spec->parts[i].index};
}

void topic_meta__fini(struct topic_meta *m)
{
    sl_free(m->name);
    sl_free(m->parts);
    slice_unref(&m->config_text);
    *m = (struct topic_meta){0};
}

static void encode(struct buf *b, const struct topic_meta *m)
{
    write_u32(b, TOPIC_META_MAGIC);
    write_u16(b, TOPIC_META_VERSION);
    write_u16(b, m->deleted ? FLAG_DELETED : 0);
    write_bytes(b, m->org.bytes, sizeof m->org.bytes);
    write_bytes(b, m->topic_id.bytes, sizeof m->topic_id.bytes);
    write_i64(b, m->number);
    write_i64(b, m->created_ms);
    SL_ASSERT(m->name);
    write_u16(b, (uint16_t)strlen(m->name));
    write_bytes(b, m->name, strlen(m->name));
    write_u32(b, (uint32_t)m->config_text.len);
    write_bytes(b, m->config_text.data, m->config_text.len);
    write_u32(b, m->n_parts);
    for (uint32_t i = 0; i < m->n_parts; i++) {
        write_i64(b, (int64_t)m->parts[i].pid);
        write_i32(b, m->parts[i].index);
    }
    write_u32(b, crc32c(0, b->data, b->len));
}

sl_err topic_meta__save(struct vfs *v, const char *dir, const struct topic_meta *m)
{
    char path[PATH_BYTES];
    paths__join(path, dir, "topic.meta");
    struct buf b;
    buf_init(&b, TOPIC_META_BYTES_MAX);
    encode(&b, m);
    sl_err err = buf_check(&b);
    if (err == SL_OK)
        err = vfs_replace_file(v, path, b.data, b.len);
    buf_fini(&b);
    return err;
}

static void decode(struct reader *in, uint16_t version, struct topic_meta *m)
{
    const uint8_t *org = read_raw(in, sizeof m->org.bytes);
    const uint8_t *id = read_raw(in, sizeof m->topic_id.bytes);
    m->number = version >= 2 ? read_i64(in) : 0;
    m->created_ms = version >= 2 ? read_i64(in) : -1;
    uint16_t name_len = read_u16(in);
    const uint8_t *name = read_raw(in, name_len);
    int32_t config_len = read_i32(in);
    if (config_len < 0)
        reader_fail(in, SL_ECORRUPT, "the length of the config is negative");
    const uint8_t *config = read_raw(in, reader_ok(in) ? (size_t)config_len : 0);
    uint32_t n_parts = read_array_len(in, PART_BYTES);
    if (!reader_ok(in))
        return;
    memcpy(m->org.bytes, org, sizeof m->org.bytes);
    memcpy(m->topic_id.bytes, id, sizeof m->topic_id.bytes);
    m->name = sl_alloc((size_t)name_len + 1, 1);
    memcpy(m->name, name, name_len);
    m->config_text = slice_copy(config, (size_t)config_len);
    m->parts = sl_new_array(struct topic_meta_part, n_parts);
    m->n_parts = n_parts;
    for (uint32_t i = 0; i < n_parts; i++) {
        m->parts[i].pid = (uint64_t)read_i64(in);
        m->parts[i].index = read_i32(in);
    }
}

sl_err topic_meta__parse(struct slice bytes, struct topic_meta *ret)
{
    if (bytes.len < CRC_BYTES)
        return SL_ECORRUPT;
    size_t body = bytes.len - CRC_BYTES;
    if (get_be32(bytes.data + body) != crc32c(0, bytes.data, body))
        return SL_ECORRUPT;
    struct reader in = reader_over(slice_sub(bytes, 0, body), NULL, 0);
    if (read_u32(&in) != TOPIC_META_MAGIC)
        return SL_ECORRUPT;
    uint16_t version = read_u16(&in);
    if (version < 1 || version > TOPIC_META_VERSION)
        return SL_EFORMAT;
    struct topic_meta m = {.deleted = read_u16(&in) & FLAG_DELETED};
    decode(&in, version, &m);
    if (reader_finish(&in) != SL_OK) {
        topic_meta__fini(&m);
        return SL_ECORRUPT;
    }
    *ret = m;
    return SL_OK;
}

sl_err topic_meta__load(struct vfs *v, const char *dir, struct topic_meta *ret)
{
    char path[PATH_BYTES];
    paths__join(path, dir, "topic.meta");
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(vfs_open(v, path, VFS_READ, &f));
    int64_t size = 0;
    SL_TRY(vfs_file_size(f, &size));
    if (size > TOPIC_META_BYTES_MAX)
        return SL_ECORRUPT;
    uint8_t *bytes = sl_try_alloc((size_t)size + 1, 1);
    if (!bytes)
        return SL_ENOMEM;
    sl_err err = vfs_pread_full(f, bytes, (size_t)size, 0);
    if (err == SL_OK)
        err = topic_meta__parse(slice_of(bytes, (size_t)size), ret);
    sl_free(bytes);
    return err;
}

sl_err topic_meta__mark_deleted(struct vfs *v, const char *dir, bool deleted)
{
    struct topic_meta m;
    sl_err err = topic_meta__load(v, dir, &m);
    if (err == SL_ENOTFOUND)
        return SL_OK;
    if (err == SL_ECORRUPT &&
        deleted) { /* its name is lost, but that it goes is what must not be lost */
        m = (struct topic_meta){.name = sl_strdup("")};
        err = SL_OK;
    }
    SL_TRY(err);
    if (deleted || m.deleted) { /* one that is there may not be durable yet */
        m.deleted = deleted;
        err = topic_meta__save(v, dir, &m);
    }
    topic_meta__fini(&m);
    return err;
}
