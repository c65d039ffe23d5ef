#include "sim/content.h"

#include "base/alloc.h"

#include <string.h>

struct page {
    size_t refs;
    uint8_t bytes[PAGE_BYTES];
};

static void page_unref(struct page *p)
{
    if (p && --p->refs == 0)
        sl_free(p);
}

/* The page to write to: its own, made when there was none. */
static struct page *own_page(struct content *c, size_t i, size_t *n_new)
{
    struct page *p = c->pages[i];
    if (p && p->refs == 1)
        return p;
    struct page *own = sl_new(struct page);
    own->refs = 1;
    if (p)
        memcpy(own->bytes, p->bytes, PAGE_BYTES);
    else
        (*n_new)++;
    page_unref(p);
    c->pages[i] = own;
    return own;
}

static void need_pages(struct content *c, int64_t size)
{
    size_t n = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
    if (n <= c->n_pages)
        return;
    c->pages = sl_realloc(c->pages, n, sizeof(struct page *));
    memset(c->pages + c->n_pages, 0, (n - c->n_pages) * sizeof(struct page *));
    c->n_pages = n;
}

void content_fini(struct content *c)
{
    for (size_t i = 0; i < c->n_pages; i++)
        page_unref(c->pages[i]);
    sl_free(c->pages);
    *c = (struct content){0};
}

struct content content_share(const struct content *c)
{
    struct content copy = {.n_pages = c->n_pages, .size = c->size};
    copy.pages = sl_new_array(struct page *, c->n_pages);
    for (size_t i = 0; i < c->n_pages; i++) {
        copy.pages[i] = c->pages[i];
        if (copy.pages[i])
            copy.pages[i]->refs++;
    }
    return copy;
}

size_t content_read(const struct content *c, void *data, size_t len, int64_t pos)
{
    if (pos >= c->size)
        return 0;
    len = SL_MIN(len, (size_t)(c->size - pos));
    for (size_t done = 0; done < len;) {
        size_t at = (size_t)pos + done, i = at / PAGE_BYTES, in_page = at % PAGE_BYTES;
        size_t n = SL_MIN(len - done, PAGE_BYTES - in_page);
        const struct page *p = i < c->n_pages ? c->pages[i] : NULL;
        if (p)
            memcpy((uint8_t *)data + done, p->bytes + in_page, n);
        else
            memset((uint8_t *)data + done, 0, n);
        done += n;
    }
    return len;
}

size_t content_write(struct content *c, const void *data, size_t len, int64_t pos)
{
    size_t n_new = 0;
    need_pages(c, pos + (int64_t)len);
    for (size_t done = 0; done < len;) {
        size_t at = (size_t)pos + done, in_page = at % PAGE_BYTES;
        size_t n = SL_MIN(len - done, PAGE_BYTES - in_page);
        struct page *p = own_page(c, at / PAGE_BYTES, &n_new);
        memcpy(p->bytes + in_page, (const uint8_t *)data + done, n);
        done += n;
    }
    c->size = SL_MAX(c->size, pos + (int64_t)len);
    return n_new;
}

size_t content_resize(struct content *c, int64_t size)
{
    size_t n_gone = 0, unused = 0;
    if (size < c->size) {
        size_t keep = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
        for (size_t i = keep; i < c->n_pages; i++) {
            n_gone += c->pages[i] != NULL;
            page_unref(c->pages[i]);
        }
        c->n_pages = SL_MIN(c->n_pages, keep);
        size_t in_page = (size_t)(size % PAGE_BYTES);
        if (in_page && keep == c->n_pages && c->pages[keep - 1])
            memset(own_page(c, keep - 1, &unused)->bytes + in_page, 0, PAGE_BYTES - in_page);
    }
    c->size = size;
    return n_gone;
}

size_t content_pages(const struct content *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_pages; i++)
        n += c->pages[i] != NULL;
    return n;
}
