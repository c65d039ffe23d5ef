/* Sparse indexes of a segment: `.idx` (offset to position) and `.tix` (time to offset).
 *
 * Both are caches (docs/formats/index.md): pages of 4 KiB, each with a CRC seeded by cluster,
 * partition and segment, so a page that is absent, torn or misplaced only costs a longer scan of
 * the segment. New entries stay in memory (core loop) until a checkpoint writes them. */
#ifndef SLUICE_STORAGE_INDEX_INT_H
#define SLUICE_STORAGE_INDEX_INT_H

#include "vfs/vfs.h"

enum {
    INDEX_PAGE_BYTES = 4096,
    INDEX_PAGE_HEADER_BYTES = 16,
    INDEX_VERSION = 1,
    IDX_ENTRY_BYTES = 8,
    TIX_ENTRY_BYTES = 20,
};

/* At batch `base + rel_offset`, which starts at `pos`. */
struct index_entry {
    int64_t max_timestamp_ms; /* of every batch of the segment before this one; INT64_MIN: none */
    int64_t append_ms;
    uint32_t rel_offset, pos;
};

/* Entries that no checkpoint has written yet. */
struct index_tail {
    struct index_entry *entries;
    uint32_t n, cap;
    uint64_t next_pos; /* a batch that starts here or behind gets an entry */
};

void index_tail__add(struct index_tail *t, const struct index_entry *e, int64_t interval_bytes);
void index_tail__drop(struct index_tail *t, uint32_t n); /* the first n */
void index_tail__fini(struct index_tail *t);
/* The last entry at or before rel_offset; NULL: all are behind it. */
const struct index_entry *index_tail__find(const struct index_tail *t, uint32_t rel_offset);

/* Appends entries behind those the files hold, filling the last page. Blocking. Not synced. */
sl_err index__write(struct vfs *v, const char *idx_path, const char *tix_path, uint32_t seed,
                    const struct index_entry *entries, uint32_t n) SL_CHECKED;
/* Removes the entries of batches at rel_offset and behind: before recovery indexes them anew. */
sl_err index__cut(struct vfs *v, const char *idx_path, const char *tix_path, uint32_t seed,
                  uint32_t rel_offset) SL_CHECKED;
/* The last entry at or before rel_offset from an .idx file. SL_ENOTFOUND: none that validates. */
sl_err index__find(struct vfs *v, const char *idx_path, uint32_t seed, uint32_t rel_offset,
                   uint32_t *ret_rel, uint32_t *ret_pos) SL_CHECKED;
/* From a .tix file: the last entry before which every record time is below timestamp_ms. */
sl_err index__find_time(struct vfs *v, const char *tix_path, uint32_t seed, int64_t timestamp_ms,
                        uint32_t *ret_rel) SL_CHECKED;

/* One page. Entries of `entry_bytes`; 0 entries when it does not validate. */
uint32_t index__parse_page(const uint8_t *page, size_t len, uint32_t seed, uint32_t number,
                           uint32_t entry_bytes);

#endif
