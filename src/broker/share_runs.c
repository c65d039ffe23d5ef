/* The runs of a share: a sorted array that loses its front cheaply. */
#include "base/alloc.h"
#include "broker/share_int.h"

enum { RUNS_FIRST = 8 };

void share_init(struct share *s, int64_t cursor)
{
    SL_ASSERT(cursor >= 0);
    *s = (struct share){
        .cursor = cursor, .next = cursor, .ready_ms = SHARE_NEVER, .expire_ms = SHARE_NEVER};
}

void share_fini(struct share *s)
{
    sl_free(s->runs);
    *s = (struct share){0};
}

static uint64_t run_length(const struct share_run *r)
{
    return (uint64_t)(r->last - r->first) + 1;
}

void share__count(struct share *s, const struct share_run *run, int sign)
{
    uint64_t *n = run->state == SHARE_HELD    ? &s->n_held
                  : run->state == SHARE_ACKED ? &s->n_acked
                                              : &s->n_available;
    SL_ASSERT(sign > 0 || *n >= run_length(run));
    *n = sign > 0 ? *n + run_length(run) : *n - run_length(run);
}

uint32_t share__index(const struct share *s, int64_t offset)
{
    SL_ASSERT(offset >= s->cursor && offset < s->next);
    uint32_t low = 0, high = s->n - 1;
    if (offset >= share__at(s, high)->first)
        return high;
    if (offset <= share__at(s, 0)->last)
        return 0;
    while (low < high) { /* the first run that ends at or behind the offset */
        uint32_t mid = low + (high - low) / 2;
        if (share__at(s, mid)->last < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Room for one more at either end. */
static void reserve(struct share *s)
{
    if (s->head + s->n < s->cap)
        return;
    if (s->head > s->n) {
        memmove(s->runs, share__at(s, 0), s->n * sizeof *s->runs);
        s->head = 0;
        return;
    }
    SL_ASSERT(s->n <= SHARE_RUNS_CEILING + 2);
    s->cap = SL_MAX(s->cap * 2, (uint32_t)RUNS_FIRST);
    s->runs = sl_realloc(s->runs, s->cap, sizeof *s->runs);
}

/* A copy of the run before it, at index i; the shorter side makes room. */
static void insert(struct share *s, uint32_t i, const struct share_run *run)
{
    struct share_run copy = *run; /* it may be one of those that move */
    if (s->head && i < s->n / 2) {
        s->head--;
        memmove(share__at(s, 0), share__at(s, 1), i * sizeof *s->runs);
    } else {
        reserve(s);
        memmove(share__at(s, i + 1), share__at(s, i), (s->n - i) * sizeof *s->runs);
    }
    s->n++;
    *share__at(s, i) = copy;
}

uint32_t share__split(struct share *s, int64_t offset)
{
    if (offset == s->next)
        return s->n;
    uint32_t i = share__index(s, offset);
    if (share__at(s, i)->first == offset)
        return i;
    insert(s, i + 1, share__at(s, i));
    share__at(s, i)->last = offset - 1;
    share__at(s, i + 1)->first = offset;
    return i + 1;
}

static bool same(const struct share_run *a, const struct share_run *b)
{
    return a->state == b->state && a->count == b->count && a->at_ms == b->at_ms &&
           a->owner == b->owner && a->rejected == b->rejected;
}

void share__append(struct share *s, const struct share_run *run)
{
    SL_ASSERT(run->first == s->next);
    SL_ASSERT(run->last >= run->first);
    share__count(s, run, 1);
    s->next = run->last + 1;
    if (s->n && same(share__at(s, s->n - 1), run))
        share__at(s, s->n - 1)->last = run->last;
    else
        insert(s, s->n, run);
    s->changes++;
}

/* What is acknowledged at the front is the cursor's. */
static void move_cursor(struct share *s)
{
    while (s->n && share__at(s, 0)->state == SHARE_ACKED) {
        share__count(s, share__at(s, 0), -1);
        s->cursor = share__at(s, 0)->last + 1;
        s->head++;
        s->n--;
    }
    if (!s->n)
        s->head = 0;
    SL_ASSERT(s->cursor <= s->next);
    SL_ASSERT(s->n || s->cursor == s->next);
    SL_ASSERT(s->n_held + s->n_available + s->n_acked == (uint64_t)(s->next - s->cursor));
}

void share__tidy(struct share *s, uint32_t from, uint32_t to)
{
    uint32_t kept = from ? from - 1 : 0;
    to = SL_MIN(to, s->n - 1);
    for (uint32_t i = kept + 1; s->n && i <= to; i++) {
        if (same(share__at(s, kept), share__at(s, i)))
            share__at(s, kept)->last = share__at(s, i)->last;
        else
            *share__at(s, ++kept) = *share__at(s, i);
    }
    uint32_t gone = s->n && to > kept ? to - kept : 0;
    if (gone) {
        memmove(share__at(s, kept + 1), share__at(s, to + 1), (s->n - to - 1) * sizeof *s->runs);
        s->n -= gone;
    }
    s->changes++;
    move_cursor(s);
}

const struct share_run *share_run_of(const struct share *s, int64_t offset)
{
    if (offset < s->cursor || offset >= s->next)
        return NULL;
    return share__at(s, share__index(s, offset));
}

void share_check(const struct share *s)
{
    uint64_t n[3] = {0};
    int64_t at = s->cursor;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct share_run *r = share__at(s, i);
        SL_ASSERT(r->first == at);
        SL_ASSERT(r->last >= r->first);
        SL_ASSERT(r->state <= SHARE_HELD);
        SL_ASSERT((r->state == SHARE_HELD) == (r->owner != NULL));
        SL_ASSERT(i || r->state != SHARE_ACKED);
        SL_ASSERT(!i || !same(r, share__at(s, i - 1)));
        SL_ASSERT(r->state != SHARE_HELD || r->at_ms >= s->expire_ms);
        SL_ASSERT(r->state != SHARE_AVAILABLE || r->last < s->floor || r->at_ms >= s->ready_ms);
        n[r->state] += run_length(r);
        at = r->last + 1;
    }
    SL_ASSERT(at == s->next);
    SL_ASSERT(n[SHARE_HELD] == s->n_held);
    SL_ASSERT(n[SHARE_AVAILABLE] == s->n_available);
    SL_ASSERT(n[SHARE_ACKED] == s->n_acked);
}
