/* Which written bytes stay in the kernel's page cache: the newest keep_bytes of all segments
 * together, in the order in which they were written.
 *
 * What falls behind is given back, and the kernel hands the same pages to the next write. Where
 * free memory goes back to a hypervisor a page that nobody touched lately costs 10 us, one that was
 * in use a moment ago a tenth of that; elsewhere it keeps the log from pushing out what other
 * programs have cached. Readers that are further behind read the disk.
 *
 * An account of ranges only: file_cache.c has the lock and makes the calls. */
#ifndef SLUICE_STORAGE_PAGE_WINDOW_INT_H
#define SLUICE_STORAGE_PAGE_WINDOW_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cached_file;
struct page_window;

struct page_range {
    struct cached_file *file;
    uint64_t from, to; /* bytes of the file */
};

struct page_window *page_window__new(uint64_t keep_bytes);
void page_window__free(struct page_window *w); /* accepts NULL */
/* Bytes of the file that were not accounted yet; small ones are better gathered. */
void page_window__add(struct page_window *w, struct page_range range);
/* The oldest range, while more than keep_bytes are accounted. */
bool page_window__next_out(struct page_window *w, struct page_range *ret);
/* No range names the file any more. */
void page_window__forget(struct page_window *w, const struct cached_file *f);

#endif
