/* Bytes that are referenced, not copied: a slice points into a counted block.
 *
 * A block is one allocation with its bytes inside; its last unref frees it. Counts are atomic, so
 * slices may cross threads; the bytes are written only before they are shared. A slice with block
 * NULL borrows memory that its creator keeps alive. */
#ifndef SLUICE_BASE_SLICE_H
#define SLUICE_BASE_SLICE_H

#include "base/err.h"

#include <string.h>

struct block;

struct slice {
    const uint8_t *data;
    size_t len;
    struct block *block; /* counted owner of the bytes, or NULL: borrowed */
};

/* A new block of `size` bytes, not zeroed, one reference. NULL when memory is short. */
struct block *block_new(size_t size);
struct block *block_ref(struct block *b);
void block_unref(struct block *b); /* accepts NULL */
uint8_t *block_data(struct block *b);
size_t block_size(const struct block *b);
/* Called once, with `arg`, on the thread that drops the last reference, before the memory goes. */
void block_on_free(struct block *b, void (*fn)(void *arg), void *arg);

/* Bytes [pos, pos+len) of a block; takes a reference of its own. */
struct slice slice_of_block(struct block *b, size_t pos, size_t len);
/* Part of a slice; takes a reference of its own when the slice has an owner. */
struct slice slice_ref(struct slice s, size_t pos, size_t len);
/* A counted copy; data NULL and len 0 when memory is short. */
struct slice slice_copy(const void *data, size_t len);
void slice_unref(struct slice *s); /* drops the reference and empties the slice */

/* Borrowing views: no reference is taken. */
static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){.data = (const uint8_t *)data, .len = len};
}
static inline struct slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}
static inline struct slice slice_sub(struct slice s, size_t pos, size_t len)
{
    SL_ASSERT(pos <= s.len && len <= s.len - pos);
    /* An absent slice has no address to count from, not even zero bytes. */
    return (struct slice){.data = pos ? s.data + pos : s.data, .len = len};
}
/* One past the last byte. Of an empty slice data itself, which may be NULL: C17 knows no NULL + 0.
 */
static inline const uint8_t *slice_end(struct slice s)
{
    return s.len ? s.data + s.len : s.data;
}
static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
static inline bool slice_eq_str(struct slice a, const char *text)
{
    return slice_eq(a, slice_str(text));
}

#endif
