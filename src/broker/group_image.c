/* The stored form of a group: docs/formats/group-state.md. All integers big-endian.
 *
 *   u8 version = 1, u8 life (0 empty, 3 stable), i32 generation, i64 changed_wall_ms,
 *   text protocol type, text protocol, text leader's member id, u32 members, then each:
 *     text member id, text instance id, text client id, text client host,
 *     i32 session timeout, i32 rebalance timeout, bytes protocols, bytes assignment
 *   u32 crc32c of all before.  text: u16 length; bytes: u32 length. Absent texts are empty. */
#include "broker/group_int.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/reader.h"

enum {
    IMAGE_VERSION = 1,
    IMAGE_CRC_BYTES = 4,
    IMAGE_MEMBER_BYTES_MIN = 4 * 2 + 2 * 4 + 2 * 4,
};
#define IMAGE_BYTES_MAX ((size_t)4 * GROUP_BYTES_MAX)

struct image_member {
    struct member_ids ids;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    struct slice protocols, assignment;
};

/* ---- writing -------------------------------------------------------------------------------- */

static void write_text(struct buf *b, struct slice text)
{
    SL_ASSERT(text.len <= UINT16_MAX);
    write_u16(b, (uint16_t)text.len);
    write_bytes(b, text.data, text.len);
}

static void write_blob(struct buf *b, struct slice blob)
{
    SL_ASSERT(blob.len <= UINT32_MAX);
    write_u32(b, (uint32_t)blob.len);
    write_bytes(b, blob.data, blob.len);
}

static void write_member(struct buf *b, const struct member *m)
{
    write_text(b, member_id(m));
    write_text(b, member_instance(m));
    write_text(b, member_client_id(m));
    write_text(b, member_client_host(m));
    write_i32(b, m->session_timeout_ms);
    write_i32(b, m->rebalance_timeout_ms);
    write_blob(b, m->protocols);
    write_blob(b, m->assignment);
}

static void write_group(struct buf *b, const struct group *g)
{
    write_u8(b, IMAGE_VERSION);
    write_u8(b, g->members.n ? GROUP_STABLE : GROUP_EMPTY);
    write_i32(b, g->generation);
    write_i64(b, g->changed_wall_ms);
    write_text(b, g->protocol_type);
    write_text(b, g->protocol);
    write_text(b, g->leader ? member_id(g->leader) : slice_str(""));
    write_u32(b, g->members.n);
    for (uint32_t i = 0; i < g->members.n; i++)
        write_member(b, g->members.items[i]);
    write_u32(b, crc32c(0, b->data, b->len));
}

/* ---- reading -------------------------------------------------------------------------------- */

static struct slice read_text(struct reader *in)
{
    return read_slice(in, read_u16(in));
}

static void read_member(struct reader *in, struct image_member *m)
{
    m->ids.id = read_text(in);
    m->ids.instance_id = read_text(in);
    m->ids.client_id = read_text(in);
    m->ids.client_host = read_text(in);
    m->session_timeout_ms = read_i32(in);
    m->rebalance_timeout_ms = read_i32(in);
    m->protocols = read_slice(in, read_u32(in));
    m->assignment = read_slice(in, read_u32(in));
}

struct image_head {
    uint8_t life;
    int32_t generation;
    int64_t changed_wall_ms;
    struct slice protocol_type, protocol, leader;
    uint32_t n_members;
};

static void read_head(struct reader *in, struct image_head *h)
{
    read_skip(in, 1); /* the version, looked at before */
    h->life = read_u8(in);
    h->generation = read_i32(in);
    h->changed_wall_ms = read_i64(in);
    h->protocol_type = read_text(in);
    h->protocol = read_text(in);
    h->leader = read_text(in);
    h->n_members = read_array_len(in, IMAGE_MEMBER_BYTES_MIN);
}

static struct reader image_reader(struct slice state)
{
    struct reader in = reader_over(slice_sub(state, 0, state.len - IMAGE_CRC_BYTES), NULL, 0);
    in.block = state.block;
    return in;
}

/* The members' slices move into the image, so that the row in memory is no second copy of them. */
static void adopt(struct group *g, struct slice state)
{
    struct reader in = image_reader(state);
    struct image_head head;
    read_head(&in, &head);
    for (uint32_t i = 0; i < g->members.n; i++) {
        struct member *m = g->members.items[i];
        struct image_member image;
        read_member(&in, &image);
        slice_unref(&m->protocols);
        slice_unref(&m->assignment);
        m->protocols = slice_ref(image.protocols, 0, image.protocols.len);
        m->assignment = slice_ref(image.assignment, 0, image.assignment.len);
    }
    SL_ASSERT(reader_finish(&in) == SL_OK);
}

sl_err group_image_encode(struct group *g, struct slice *ret)
{
    struct buf b;
    buf_init(&b, IMAGE_BYTES_MAX);
    write_group(&b, g);
    sl_err err = buf_check(&b) == SL_OK ? SL_OK : SL_ENOMEM;
    if (err == SL_OK) {
        *ret = buf_take_slice(&b);
        if (ret->data)
            adopt(g, *ret);
        else
            err = SL_ENOMEM;
    }
    buf_fini(&b);
    return err;
}

static sl_err check(struct slice state)
{
    if (state.len < 2 + IMAGE_CRC_BYTES)
        return SL_ECORRUPT;
    size_t body = state.len - IMAGE_CRC_BYTES;
    if (get_be32(state.data + body) != crc32c(0, state.data, body))
        return SL_ECORRUPT;
    return state.data[0] == IMAGE_VERSION ? SL_OK : SL_EFORMAT;
}

/* True when the list is one that member_protocols_encode could have made. */
static bool protocols_hold(struct slice protocols)
{
    struct group_protocol p;
    size_t pos = 0;
    while (pos < protocols.len)
        if (!member_protocols_next(protocols, &pos, &p))
            return false;
    return true;
}

static sl_err load_member(struct group *g, const struct image_head *head,
                          const struct image_member *image, int64_t now_ms)
{
    if (!protocols_hold(image->protocols) || !image->ids.id.len ||
        member_set_find(&g->members, image->ids.id))
        return SL_ECORRUPT;
    struct member *m = member_new(&image->ids);
    m->session_timeout_ms = image->session_timeout_ms;
    m->rebalance_timeout_ms = image->rebalance_timeout_ms;
    m->synced = true;
    group__add(g, m, head->protocol_type);
    group__set_protocols(g, m, slice_ref(image->protocols, 0, image->protocols.len));
    group__set_assignment(g, m, slice_ref(image->assignment, 0, image->assignment.len));
    group__touch(g, m, now_ms);
    return SL_OK;
}

static sl_err load_members(struct group *g, struct reader *in, const struct image_head *head,
                           int64_t now_ms)
{
    for (uint32_t i = 0; i < head->n_members && reader_ok(in); i++) {
        struct image_member image;
        read_member(in, &image);
        if (reader_ok(in))
            SL_TRY(load_member(g, head, &image, now_ms));
    }
    return reader_finish(in) == SL_OK ? SL_OK : SL_ECORRUPT;
}

static struct slice counted(struct slice text)
{
    return text.len ? slice_copy(text.data, text.len) : (struct slice){0};
}

static sl_err load_state(struct group *g, struct slice state, int64_t now_ms)
{
    SL_TRY(check(state));
    struct reader in = image_reader(state);
    struct image_head head = {0};
    read_head(&in, &head);
    g->protocol_type = counted(head.protocol_type);
    SL_TRY(load_members(g, &in, &head, now_ms));
    if ((head.life == GROUP_STABLE) != (g->members.n > 0))
        return SL_ECORRUPT;
    g->protocol = counted(head.protocol);
    g->life = head.life;
    g->generation = head.generation;
    g->changed_wall_ms = head.changed_wall_ms;
    if (g->members.n) {
        g->leader = member_set_find(&g->members, head.leader);
        g->leader = g->leader ? g->leader : g->members.items[0];
    }
    return SL_OK;
}

sl_err group_image_load(struct group *g, struct slice state, int64_t ceiling, int64_t now_ms)
{
    SL_ASSERT(g->life == GROUP_EMPTY && !g->members.n);
    struct slice copy = slice_copy(state.data, state.len);
    if (state.len && !copy.data)
        return SL_ENOMEM;
    sl_err err = copy.len ? load_state(g, copy, now_ms) : SL_OK;
    g->stored = copy;
    g->has_row = true;
    g->ceiling = SL_MAX(ceiling, g->generation);
    /* Any generation up to the ceiling may have been told to somebody before the restart. */
    g->next_generation = g->ceiling < INT32_MAX ? g->ceiling + 1 : 1;
    return err;
}
