/* One message on its way: its headers, filters, and the time before which it stays. */
#include "broker/subscribe_int.h"

#include "base/alloc.h"

/* ---- filters -------------------------------------------------------------------------------- */

static struct slice keep(uint8_t *text, size_t *used, struct slice s)
{
    struct slice kept = slice_of(text + *used, s.len);
    if (s.len)
        memcpy(text + *used, s.data, s.len);
    *used += s.len;
    return kept;
}

sl_err filter_init(struct filter *f, const struct broker_subscribe *s)
{
    size_t bytes = 0, used = 0;
    if (s->n_filter > SUBSCRIPTION_CONDITIONS_MAX)
        return SL_EINVAL;
    for (uint32_t i = 0; i < s->n_filter; i++)
        bytes += s->filter[i].name.len + s->filter[i].value.len;
    if (bytes > SUBSCRIPTION_FILTER_BYTES_MAX)
        return SL_EINVAL;
    *f = (struct filter){.n = s->n_filter, .text = bytes ? sl_alloc(1, bytes) : NULL};
    for (uint32_t i = 0; i < s->n_filter; i++) {
        f->conditions[i].name = keep(f->text, &used, s->filter[i].name);
        f->conditions[i].value = keep(f->text, &used, s->filter[i].value);
        f->conditions[i].is_prefix = s->filter[i].is_prefix;
    }
    return SL_OK;
}

void filter_fini(struct filter *f)
{
    sl_free(f->text);
    *f = (struct filter){0};
}

bool filter_equal(const struct filter *a, const struct filter *b)
{
    bool equal = a->n == b->n;
    for (uint32_t i = 0; i < a->n && equal; i++) {
        const struct condition *x = &a->conditions[i], *y = &b->conditions[i];
        equal = slice_eq(x->name, y->name) && slice_eq(x->value, y->value) &&
                x->is_prefix == y->is_prefix;
    }
    return equal;
}

static bool holds(const struct condition *c, const struct delivery_header *h)
{
    if (!slice_eq(h->name, c->name) || h->value.len < c->value.len)
        return false;
    if (!c->is_prefix && h->value.len != c->value.len)
        return false;
    return c->value.len == 0 || memcmp(h->value.data, c->value.data, c->value.len) == 0;
}

bool filter_passes(const struct filter *f, const struct message *m)
{
    for (uint32_t i = 0; i < f->n; i++) {
        bool found = false;
        for (uint32_t k = 0; k < m->n_headers && !found; k++)
            found = holds(&f->conditions[i], &m->headers[k]);
        if (!found)
            return false;
    }
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

static sl_err reserve_headers(struct subscriptions *e, uint32_t n)
{
    if (n <= e->headers_cap)
        return SL_OK;
    struct delivery_header *more = sl_try_alloc(n, sizeof *more);
    if (!more)
        return SL_ENOMEM;
    sl_free(e->headers);
    e->headers = more;
    e->headers_cap = n;
    return SL_OK;
}

sl_err message_open(struct subscriptions *e, const struct record *r, struct message *ret)
{
    struct record walk = *r;
    /* A header takes two bytes at least: what a record claims is not believed beyond that. */
    if (r->n_headers > reader_left(&r->headers) / 2)
        return SL_ECORRUPT;
    SL_TRY(reserve_headers(e, r->n_headers));
    size_t bytes = sizeof(struct delivered) + r->key.len + r->value.len;
    for (uint32_t i = 0; i < r->n_headers; i++) {
        struct record_header h;
        if (record_next_header(&walk, &h) != SL_OK)
            return SL_ECORRUPT;
        e->headers[i] = (struct delivery_header){.name = h.name, .value = h.value};
        bytes += sizeof(struct delivery_header) + h.name.len + h.value.len;
    }
    *ret = (struct message){
        .record = *r, .headers = e->headers, .n_headers = r->n_headers, .bytes = bytes};
    return SL_OK;
}

static int64_t read_digits(struct slice text)
{
    int64_t n = 0;
    if (text.len == 0 || text.len > 18)
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return 0;
        n = n * 10 + (text.data[i] - '0');
    }
    return n;
}

int64_t message_deliver_at(const struct message *m)
{
    for (uint32_t i = 0; i < m->n_headers; i++)
        if (slice_eq_str(m->headers[i].name, SUBSCRIPTION_DELIVER_AT))
            return read_digits(m->headers[i].value);
    return 0;
}
