#include "storage/index_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/crc32c.h"

#include <assert.h>

/* Page header: crc u32 over the rest of what is used, version u8, entry bytes u8, count u16,
 * number u32 of the page, zero u32. */
enum {
    PAGE_CRC = 0,
    PAGE_VERSION = 4,
    PAGE_ENTRY = 5,
    PAGE_COUNT = 6,
    PAGE_NUMBER = 8,
    PAGE_ZERO = 12
};
static_assert(PAGE_ZERO + 4 == INDEX_PAGE_HEADER_BYTES, "docs/formats/index.md");

/* ---- the part in memory ------------------------------------------------------------------ */

void index_tail__add(struct index_tail *t, const struct index_entry *e, int64_t interval_bytes)
{
    if (e->pos < t->next_pos)
        return;
    if (t->n == t->cap) {
        t->cap = SL_MAX(t->cap * 2, (uint32_t)4);
        t->entries = sl_realloc(t->entries, t->cap, sizeof t->entries[0]);
    }
    t->entries[t->n++] = *e;
    t->next_pos = e->pos + (uint64_t)SL_MAX(interval_bytes, (int64_t)1);
}

void index_tail__drop(struct index_tail *t, uint32_t n)
{
    SL_ASSERT(n <= t->n);
    t->n -= n;
    if (t->n == 0) {
        sl_free(t->entries);
        t->entries = NULL;
        t->cap = 0;
        return;
    }
    memmove(t->entries, t->entries + n, sizeof t->entries[0] * t->n);
}

void index_tail__fini(struct index_tail *t)
{
    sl_free(t->entries);
    *t = (struct index_tail){0};
}

const struct index_entry *index_tail__find(const struct index_tail *t, uint32_t rel_offset)
{
    uint32_t lo = 0, hi = t->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->entries[mid].rel_offset <= rel_offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 ? &t->entries[lo - 1] : NULL;
}

/* ---- pages ------------------------------------------------------------------------------- */

static uint32_t entries_per_page(uint32_t entry_bytes)
{
    return (INDEX_PAGE_BYTES - INDEX_PAGE_HEADER_BYTES) / entry_bytes;
}

static size_t used_bytes(uint32_t count, uint32_t entry_bytes)
{
    return INDEX_PAGE_HEADER_BYTES + (size_t)count * entry_bytes;
}

uint32_t index__parse_page(const uint8_t *page, size_t len, uint32_t seed, uint32_t number,
                           uint32_t entry_bytes)
{
    if (len < INDEX_PAGE_HEADER_BYTES || page[PAGE_VERSION] != INDEX_VERSION ||
        page[PAGE_ENTRY] != entry_bytes)
        return 0;
    uint32_t count = get_le16(page + PAGE_COUNT);
    if (count > entries_per_page(entry_bytes) || used_bytes(count, entry_bytes) > len)
        return 0;
    if (get_le32(page + PAGE_NUMBER) != number || get_le32(page + PAGE_ZERO) != 0)
        return 0;
    uint32_t crc = crc32c(seed, page + PAGE_VERSION, used_bytes(count, entry_bytes) - PAGE_VERSION);
    return crc == get_le32(page + PAGE_CRC) ? count : 0;
}

static void seal_page(uint8_t *page, uint32_t seed, uint32_t number, uint32_t entry_bytes,
                      uint32_t count)
{
    page[PAGE_VERSION] = INDEX_VERSION;
    page[PAGE_ENTRY] = (uint8_t)entry_bytes;
    put_le16(page + PAGE_COUNT, (uint16_t)count);
    put_le32(page + PAGE_NUMBER, number);
    put_le32(page + PAGE_ZERO, 0);
    put_le32(page + PAGE_CRC,
             crc32c(seed, page + PAGE_VERSION, used_bytes(count, entry_bytes) - PAGE_VERSION));
}

static void put_idx(uint8_t *p, const struct index_entry *e)
{
    put_le32(p, e->rel_offset);
    put_le32(p + 4, e->pos);
}

static void put_tix(uint8_t *p, const struct index_entry *e)
{
    put_le64(p, (uint64_t)e->max_timestamp_ms);
    put_le64(p + 8, (uint64_t)e->append_ms);
    put_le32(p + 16, e->rel_offset);
}

static uint32_t read_page(struct vfs_file *f, uint32_t number, uint32_t seed, uint32_t entry_bytes,
                          uint8_t page[INDEX_PAGE_BYTES])
{
    size_t n = 0;
    if (vfs_pread(f, page, INDEX_PAGE_BYTES, (int64_t)number * INDEX_PAGE_BYTES, &n) != SL_OK)
        return 0;
    return index__parse_page(page, n, seed, number, entry_bytes);
}

static uint32_t page_count(struct vfs_file *f)
{
    int64_t size = 0;
    if (vfs_file_size(f, &size) != SL_OK)
        return 0;
    return (uint32_t)((size + INDEX_PAGE_BYTES - 1) / INDEX_PAGE_BYTES);
}

/* What the two indexes differ in. */
struct index_kind {
    uint32_t entry_bytes;
    void (*put)(uint8_t *entry, const struct index_entry *e);
    uint32_t (*rel_of)(const uint8_t *entry);
    bool (*before)(const uint8_t *entry, int64_t key); /* true: at or before what is searched */
};

static uint32_t idx_rel(const uint8_t *entry)
{
    return get_le32(entry);
}

static uint32_t tix_rel(const uint8_t *entry)
{
    return get_le32(entry + 16);
}

static bool offset_before(const uint8_t *entry, int64_t key)
{
    return get_le32(entry) <= (uint64_t)key;
}

static bool time_before(const uint8_t *entry, int64_t key)
{
    return (int64_t)get_le64(entry) < key;
}

static const struct index_kind idx_kind = {IDX_ENTRY_BYTES, put_idx, idx_rel, offset_before};
static const struct index_kind tix_kind = {TIX_ENTRY_BYTES, put_tix, tix_rel, time_before};

/* Fills the last page when it is valid and has room, then whole new ones. */
static sl_err append_entries(struct vfs *v, const char *path, uint32_t seed,
                             const struct index_kind *kind, const struct index_entry *entries,
                             uint32_t n)
{
    const uint32_t entry_bytes = kind->entry_bytes;
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(vfs_open(v, path, VFS_WRITE | VFS_CREATE, &f));
    uint8_t page[INDEX_PAGE_BYTES];
    uint32_t room = entries_per_page(entry_bytes), number = page_count(f), count = 0;
    if (number > 0 && (count = read_page(f, number - 1, seed, entry_bytes, page)) > 0 &&
        count < room)
        number--;
    else
        count = 0;
    for (uint32_t i = 0; i < n; number++, count = 0) {
        while (i < n && count < room)
            kind->put(page + used_bytes(count++, entry_bytes), &entries[i++]);
        seal_page(page, seed, number, entry_bytes, count);
        SL_TRY(vfs_pwrite(f, page, used_bytes(count, entry_bytes),
                          (int64_t)number * INDEX_PAGE_BYTES));
    }
    return SL_OK;
}

sl_err index__write(struct vfs *v, const char *idx_path, const char *tix_path, uint32_t seed,
                    const struct index_entry *entries, uint32_t n)
{
    SL_TRY(append_entries(v, idx_path, seed, &idx_kind, entries, n));
    return append_entries(v, tix_path, seed, &tix_kind, entries, n);
}

static sl_err cut_file(struct vfs *v, const char *path, uint32_t seed,
                       const struct index_kind *kind, uint32_t rel_offset)
{
    const uint32_t entry_bytes = kind->entry_bytes;
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    sl_err err = vfs_open(v, path, VFS_WRITE, &f);
    if (err == SL_ENOTFOUND)
        return SL_OK;
    SL_TRY(err);
    uint8_t page[INDEX_PAGE_BYTES];
    uint32_t pages = page_count(f), keep = 0;
    for (; pages > 0 && keep == 0; pages -= keep == 0) {
        uint32_t count = read_page(f, pages - 1, seed, entry_bytes, page);
        while (keep < count && kind->rel_of(page + used_bytes(keep, entry_bytes)) < rel_offset)
            keep++;
    }
    SL_TRY(vfs_truncate(f, (int64_t)pages * INDEX_PAGE_BYTES));
    if (keep == 0)
        return SL_OK;
    seal_page(page, seed, pages - 1, entry_bytes, keep);
    return vfs_pwrite(f, page, used_bytes(keep, entry_bytes),
                      (int64_t)(pages - 1) * INDEX_PAGE_BYTES);
}

sl_err index__cut(struct vfs *v, const char *idx_path, const char *tix_path, uint32_t seed,
                  uint32_t rel_offset)
{
    SL_TRY(cut_file(v, idx_path, seed, &idx_kind, rel_offset));
    return cut_file(v, tix_path, seed, &tix_kind, rel_offset);
}

/* ---- search ------------------------------------------------------------------------------ */

/* Index of the last entry in the page for which `before` holds, or -1. */
static int last_before(const uint8_t *page, uint32_t count, const struct index_kind *kind,
                       int64_t key)
{
    uint32_t lo = 0, hi = count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (kind->before(page + used_bytes(mid, kind->entry_bytes), key))
            lo = mid + 1;
        else
            hi = mid;
    }
    return (int)lo - 1;
}

/* Pages that do not validate are skipped towards the front: the scan becomes longer, not wrong. */
static sl_err search(struct vfs *v, const char *path, uint32_t seed, const struct index_kind *kind,
                     int64_t key, uint8_t ret_entry[TIX_ENTRY_BYTES])
{
    const uint32_t entry_bytes = kind->entry_bytes;
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(vfs_open(v, path, VFS_READ, &f));
    uint8_t page[INDEX_PAGE_BYTES];
    bool found = false;
    uint32_t lo = 0, hi = page_count(f);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2, at = mid + 1, count = 0;
        while (at > lo && (count = read_page(f, at - 1, seed, entry_bytes, page)) == 0)
            at--;
        int k = last_before(page, count, kind, key);
        if (k >= 0) {
            memcpy(ret_entry, page + used_bytes((uint32_t)k, entry_bytes), entry_bytes);
            found = true;
        }
        if (count > 0 && k < 0)
            hi = at - 1; /* everything in this page is behind the key */
        else
            lo = mid + 1;
    }
    return found ? SL_OK : SL_ENOTFOUND;
}

sl_err index__find(struct vfs *v, const char *idx_path, uint32_t seed, uint32_t rel_offset,
                   uint32_t *ret_rel, uint32_t *ret_pos)
{
    uint8_t entry[TIX_ENTRY_BYTES];
    SL_TRY(search(v, idx_path, seed, &idx_kind, rel_offset, entry));
    *ret_rel = get_le32(entry);
    *ret_pos = get_le32(entry + 4);
    return SL_OK;
}

sl_err index__find_time(struct vfs *v, const char *tix_path, uint32_t seed, int64_t timestamp_ms,
                        uint32_t *ret_rel)
{
    uint8_t entry[TIX_ENTRY_BYTES];
    SL_TRY(search(v, tix_path, seed, &tix_kind, timestamp_ms, entry));
    *ret_rel = get_le32(entry + 16);
    return SL_OK;
}
