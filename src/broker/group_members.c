#include "broker/group_int.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/reader.h"

enum { SCAN_MAX = 16 }; /* members found without a map */

/* ---- one member ------------------------------------------------------------------------------ */

static uint16_t put_text(char **at, struct slice text)
{
    SL_ASSERT(text.len <= UINT16_MAX);
    if (text.len)
        memcpy(*at, text.data, text.len);
    *at += text.len;
    return (uint16_t)text.len;
}

struct member *member_new(const struct member_ids *ids)
{
    size_t text = ids->id.len + ids->instance_id.len + ids->client_id.len + ids->client_host.len;
    struct member *m = sl_alloc(1, sizeof *m + text);
    char *at = m->text;
    m->id_len = put_text(&at, ids->id);
    m->instance_len = put_text(&at, ids->instance_id);
    m->client_id_len = put_text(&at, ids->client_id);
    m->client_host_len = put_text(&at, ids->client_host);
    return m;
}

void member_free(struct member *m)
{
    if (!m)
        return;
    SL_ASSERT(!m->join);
    SL_ASSERT(!m->sync);
    slice_unref(&m->protocols);
    slice_unref(&m->assignment);
    sl_free(m);
}

struct slice member_id(const struct member *m)
{
    return slice_of(m->text, m->id_len);
}

struct slice member_instance(const struct member *m)
{
    if (!m->instance_len)
        return (struct slice){0};
    return slice_of(m->text + m->id_len, m->instance_len);
}

struct slice member_client_id(const struct member *m)
{
    return slice_of(m->text + m->id_len + m->instance_len, m->client_id_len);
}

struct slice member_client_host(const struct member *m)
{
    return slice_of(m->text + m->id_len + m->instance_len + m->client_id_len, m->client_host_len);
}

/* ---- the set -------------------------------------------------------------------------------- */

struct member *member_set_find(const struct member_set *s, struct slice id)
{
    if (s->by_id)
        return map_get(s->by_id, id.data, id.len);
    for (uint32_t i = 0; i < s->n; i++)
        if (slice_eq(member_id(s->items[i]), id))
            return s->items[i];
    return NULL;
}

static void put_in_map(struct member_set *s, struct member *m)
{
    struct slice id = member_id(m);
    SL_ASSERT(map_put(s->by_id, id.data, id.len, m, NULL) == SL_OK);
}

void member_set_add(struct member_set *s, struct member *m)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4;
        s->items = sl_realloc(s->items, s->cap, sizeof *s->items);
    }
    SL_ASSERT(s->n < s->cap);
    s->items[s->n++] = m;
    if (s->by_id) {
        put_in_map(s, m);
    } else if (s->n > SCAN_MAX) {
        s->by_id = map_new(UINT32_MAX);
        for (uint32_t i = 0; i < s->n; i++)
            put_in_map(s, s->items[i]);
    }
    SL_ASSERT(!s->by_id || map_count(s->by_id) == s->n); /* no id twice */
}

void member_set_remove(struct member_set *s, struct member *m)
{
    uint32_t i = s->n;
    while (i-- > 0 && s->items[i] != m)
        ; /* from the end, where those who remove many begin */
    SL_ASSERT(i < s->n);
    s->n--;
    memmove(s->items + i, s->items + i + 1, (s->n - i) * sizeof *s->items);
    if (s->by_id)
        map_remove(s->by_id, member_id(m).data, m->id_len);
    if (!s->n)
        member_set_fini(s);
}

void member_set_fini(struct member_set *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        member_free(s->items[i]);
    sl_free(s->items);
    map_free(s->by_id);
    *s = (struct member_set){0};
}

/* ---- protocols: {u16 length, name, u32 length, metadata}* big-endian ------------------------ */

/* Named twice counts once: the first place is the member's preference. */
static bool named_before(const struct group_protocol *p, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (slice_eq(p[k].name, p[i].name))
            return true;
    return false;
}

sl_err member_protocols_encode(const struct group_protocol *p, uint32_t n, struct slice *ret)
{
    if (n > GROUP_PROTOCOLS_MAX)
        return SL_EPOLICY;
    struct buf b;
    buf_init(&b, GROUP_MEMBER_BYTES_MAX);
    for (uint32_t i = 0; i < n && !b.failed; i++) {
        if (named_before(p, i))
            continue;
        SL_ASSERT(p[i].name.len <= UINT16_MAX);
        write_u16(&b, (uint16_t)p[i].name.len);
        write_bytes(&b, p[i].name.data, p[i].name.len);
        write_u32(&b, (uint32_t)SL_MIN(p[i].metadata.len, UINT32_MAX));
        write_bytes(&b, p[i].metadata.data, p[i].metadata.len);
    }
    sl_err err = b.failed ? SL_EPOLICY : SL_OK;
    if (err == SL_OK) {
        struct slice whole = slice_copy(b.data, b.len);
        if (whole.data)
            *ret = whole;
        else
            err = SL_ENOMEM;
    }
    buf_fini(&b);
    return err;
}

bool member_protocols_next(struct slice encoded, size_t *pos, struct group_protocol *ret)
{
    if (*pos >= encoded.len)
        return false;
    struct reader in = reader_over(slice_sub(encoded, *pos, encoded.len - *pos), NULL, 0);
    ret->name = read_slice(&in, read_u16(&in));
    ret->metadata = read_slice(&in, read_u32(&in));
    *pos += in.pos;
    return reader_ok(&in);
}

struct slice member_metadata(const struct member *m, struct slice name)
{
    struct group_protocol p;
    for (size_t pos = 0; member_protocols_next(m->protocols, &pos, &p);)
        if (slice_eq(p.name, name)) {
            p.metadata.block = m->protocols.block; /* borrowed with its owner: may be slice_ref'd */
            return p.metadata;
        }
    return (struct slice){0};
}

bool consumer_subscribes(struct slice metadata, struct slice topic)
{
    struct reader in = reader_over(metadata, NULL, 0);
    (void)read_i16(&in); /* version: later ones only add fields */
    uint32_t n = read_array_len(&in, sizeof(int16_t));
    for (uint32_t i = 0; i < n && reader_ok(&in); i++) {
        struct slice name = read_slice(&in, read_u16(&in));
        if (reader_ok(&in) && slice_eq(name, topic))
            return true;
    }
    return false;
}

/* ---- what the group knows of its members' protocols ----------------------------------------- */

static struct supported_protocol *find_supported(const struct group *g, struct slice name)
{
    for (uint32_t i = 0; i < g->n_supported; i++)
        if (slice_eq(g->supported[i].name, name))
            return &g->supported[i];
    return NULL;
}

static void count_protocol(struct group *g, struct slice name)
{
    struct supported_protocol *s = find_supported(g, name);
    if (!s) {
        g->supported = sl_realloc(g->supported, g->n_supported + 1, sizeof *g->supported);
        s = &g->supported[g->n_supported++];
        *s = (struct supported_protocol){.name = slice_copy(name.data, name.len)};
    }
    s->count++;
    SL_ASSERT(s->count <= g->members.n + 1); /* the one that joins is not in yet */
}

static void uncount_protocol(struct group *g, struct slice name)
{
    struct supported_protocol *s = find_supported(g, name);
    SL_ASSERT(s && s->count > 0 && g->supported);
    if (--s->count)
        return;
    slice_unref(&s->name);
    *s = g->supported[--g->n_supported];
    if (!g->n_supported) {
        sl_free(g->supported);
        g->supported = NULL;
    }
}

static void charge(struct group *g, size_t more, size_t less)
{
    SL_ASSERT(g->bytes + more >= less);
    SL_ASSERT(g->host->bytes >= g->bytes);
    g->bytes += more - less;
    g->host->bytes += more - less;
}

/* What a member takes beside its protocols and assignment: its place in the sets, and the group of
 * one that it may have opened, are estimated. */
static size_t own_bytes(const struct member *m)
{
    enum { PLACE_BYTES = 256 };
    return PLACE_BYTES + sizeof *m + m->id_len + m->instance_len + m->client_id_len +
           m->client_host_len;
}

void group__keep_member(struct group *g, struct member_set *s, struct member *m)
{
    member_set_add(s, m);
    g->member_bytes += own_bytes(m);
    g->host->bytes += own_bytes(m);
}

void group__drop_member(struct group *g, struct member_set *s, struct member *m)
{
    SL_ASSERT(g->member_bytes >= own_bytes(m));
    SL_ASSERT(s == &g->members || s == &g->pending);
    member_set_remove(s, m);
    g->member_bytes -= own_bytes(m);
    g->host->bytes -= own_bytes(m);
    member_free(m);
}

void group__set_protocols(struct group *g, struct member *m, struct slice protocols)
{
    struct group_protocol p;
    for (size_t pos = 0; member_protocols_next(protocols, &pos, &p);)
        count_protocol(g, p.name);
    for (size_t pos = 0; member_protocols_next(m->protocols, &pos, &p);)
        uncount_protocol(g, p.name);
    charge(g, protocols.len, m->protocols.len);
    slice_unref(&m->protocols);
    m->protocols = protocols;
}

void group__set_assignment(struct group *g, struct member *m, struct slice assignment)
{
    charge(g, assignment.len, m->assignment.len);
    slice_unref(&m->assignment);
    m->assignment = assignment;
}

/* Kafka's rule: an empty group takes any type with at least one protocol; a group with members
 * wants its own type and one protocol that all of them know. */
bool group__supports(const struct group *g, const struct broker_group_join *j)
{
    if (!j->protocol_type.len || !j->n_protocols)
        return false;
    if (!g->members.n)
        return true;
    if (!slice_eq(g->protocol_type, j->protocol_type))
        return false;
    for (uint32_t i = 0; i < j->n_protocols; i++) {
        const struct supported_protocol *s = find_supported(g, j->protocols[i].name);
        if (s && s->count == g->members.n)
            return true;
    }
    return false;
}

/* A member votes for the first of its protocols that all members support. */
static struct supported_protocol *vote_of(const struct group *g, const struct member *m)
{
    struct group_protocol p;
    for (size_t pos = 0; member_protocols_next(m->protocols, &pos, &p);) {
        struct supported_protocol *s = find_supported(g, p.name);
        if (s && s->count == g->members.n)
            return s;
    }
    return NULL;
}

struct slice group__select_protocol(const struct group *g)
{
    uint32_t *votes = sl_new_array(uint32_t, g->n_supported + 1);
    uint32_t best = 0;
    for (uint32_t i = 0; i < g->members.n; i++) {
        const struct supported_protocol *s = vote_of(g, g->members.items[i]);
        if (s)
            votes[s - g->supported]++;
    }
    for (uint32_t i = 1; i < g->n_supported; i++)
        if (votes[i] > votes[best])
            best = i;
    bool any = g->n_supported && votes[best];
    sl_free(votes);
    return any ? g->supported[best].name : (struct slice){0};
}

bool group_subscribes(const struct group *g, struct slice topic)
{
    if (!slice_eq_str(g->protocol_type, "consumer") || !g->protocol.data)
        return false;
    for (uint32_t i = 0; i < g->members.n; i++)
        if (consumer_subscribes(member_metadata(g->members.items[i], g->protocol), topic))
            return true;
    return false;
}
