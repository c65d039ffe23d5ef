/* Bytes of a simulated file in shared pages: a copy costs a pointer for each page. Private. */
#ifndef SLUICE_SIM_CONTENT_H
#define SLUICE_SIM_CONTENT_H

#include "base/err.h"

enum { PAGE_BYTES = 4096, SECTOR_BYTES = 512 };

struct page;

struct content {
    struct page **pages; /* NULL: a hole, zeros */
    size_t n_pages;
    int64_t size;
};

void content_fini(struct content *c);
struct content content_share(const struct content *c);
/* Bytes behind the end are not read; returns how many were. */
size_t content_read(const struct content *c, void *data, size_t len, int64_t pos);
/* Grows the size when needed. Returns how many pages were new. */
size_t content_write(struct content *c, const void *data, size_t len, int64_t pos);
/* Zeros where it shrinks and grows again. Returns how many pages went. */
size_t content_resize(struct content *c, int64_t size);
size_t content_pages(const struct content *c); /* without holes */

#endif
