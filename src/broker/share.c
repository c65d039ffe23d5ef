/* What happens to the offsets of a share; share_runs.c has the array. */
#include "broker/share_int.h"

#include "broker/subscribe.h"

#include <assert.h>

static_assert(SHARE_RUNS_CEILING >= 2 * SHARE_RUNS_MAX, "settling has room when delivery pauses");

/* ---- picking -------------------------------------------------------------------------------- */

static bool is_due(const struct share *s, const struct share_run *r, int64_t now_ms)
{
    return r->state == SHARE_AVAILABLE && r->at_ms <= now_ms && r->last >= s->floor;
}

/* The first one that is due, and when the next one will be. */
static int64_t find_due(struct share *s, int64_t now_ms)
{
    int64_t ready_ms = SHARE_NEVER;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct share_run *r = share__at(s, i);
        if (is_due(s, r, now_ms))
            return SL_MAX(r->first, s->floor);
        if (r->state == SHARE_AVAILABLE && r->last >= s->floor)
            ready_ms = SL_MIN(ready_ms, r->at_ms);
    }
    s->ready_ms = ready_ms; /* the floor goes with all that is below it, or by share_unjump */
    return -1;
}

int64_t share_pick(struct share *s, int64_t now_ms)
{
    int64_t found = s->n_available && now_ms >= s->ready_ms ? find_due(s, now_ms) : -1;
    return found >= 0 ? found : s->next;
}

static struct share_run held(int64_t offset, const void *owner, int64_t deadline_ms, uint32_t count)
{
    return (struct share_run){.first = offset,
                              .last = offset,
                              .at_ms = deadline_ms,
                              .owner = owner,
                              .count = count,
                              .state = SHARE_HELD};
}

bool share_may_hold(const struct share *s, int64_t offset, const void *owner, int64_t deadline_ms)
{
    if (s->n < SHARE_RUNS_MAX || !s->n_held)
        return s->n < SHARE_RUNS_CEILING;
    const struct share_run *run = share_run_of(s, offset);
    if (run && run->first == run->last)
        return true;
    uint32_t i = run ? share__index(s, offset) : s->n;
    const struct share_run *before = i ? share__at(s, i - 1) : NULL;
    return before && before->state == SHARE_HELD && before->owner == owner &&
           before->at_ms == deadline_ms && before->count == (run ? run->count + 1 : 1);
}

bool share_may_delay(const struct share *s, int64_t offset)
{
    return s->n < SHARE_RUNS_MAX || (offset < s->next && s->n + 2 <= SHARE_RUNS_CEILING);
}

/* Makes [first, last] runs of their own; their indices are [*ret_from, *ret_to). */
static void isolate(struct share *s, int64_t first, int64_t last, uint32_t *ret_from,
                    uint32_t *ret_to)
{
    uint32_t before = s->n;
    *ret_from = share__split(s, first);
    *ret_to = share__split(s, last + 1);
    SL_ASSERT(s->n <= before + 2);
    SL_ASSERT(*ret_from < *ret_to);
}

static void replace(struct share *s, uint32_t i, const struct share_run *with)
{
    share__count(s, share__at(s, i), -1);
    *share__at(s, i) = *with;
    share__count(s, with, 1);
}

uint32_t share_hold(struct share *s, int64_t offset, const void *owner, int64_t deadline_ms,
                    bool is_delivery)
{
    SL_ASSERT(owner);
    SL_ASSERT(offset >= s->cursor && offset <= s->next);
    s->expire_ms = SL_MIN(s->expire_ms, deadline_ms);
    if (offset == s->next) {
        struct share_run run = held(offset, owner, deadline_ms, is_delivery);
        share__append(s, &run);
        return run.count;
    }
    uint32_t i, end;
    isolate(s, offset, offset, &i, &end);
    SL_ASSERT(share__at(s, i)->state == SHARE_AVAILABLE);
    uint32_t count = share__at(s, i)->count;
    count += is_delivery && count < UINT32_MAX;
    struct share_run run = held(offset, owner, deadline_ms, count);
    replace(s, i, &run);
    share__tidy(s, i, end);
    return count;
}

void share_delay(struct share *s, int64_t offset, int64_t at_ms)
{
    SL_ASSERT(offset >= s->cursor && offset <= s->next);
    struct share_run run = {
        .first = offset, .last = offset, .at_ms = at_ms, .state = SHARE_AVAILABLE};
    s->ready_ms = SL_MIN(s->ready_ms, at_ms);
    if (offset == s->next) {
        share__append(s, &run);
        return;
    }
    uint32_t i, end;
    isolate(s, offset, offset, &i, &end);
    SL_ASSERT(share__at(s, i)->state == SHARE_AVAILABLE);
    run.count = share__at(s, i)->count;
    replace(s, i, &run);
    share__tidy(s, i, end);
}

/* ---- changes of ranges ------------------------------------------------------------------------
 */

struct change {
    const void *owner; /* concerns what it holds; NULL: what nobody holds */
    struct share_run to;
};

static bool concerns(const struct change *c, const struct share_run *r)
{
    return c->owner ? r->state == SHARE_HELD && r->owner == c->owner : r->state == SHARE_AVAILABLE;
}

static void change_run(struct share *s, const struct change *c, struct share_run *r)
{
    share__count(s, r, -1);
    r->state = c->to.state;
    r->at_ms = c->to.at_ms;
    r->owner = c->to.owner;
    r->rejected = c->to.rejected;
    if (r->state == SHARE_ACKED)
        r->count = 0; /* one run, whatever it took */
    share__count(s, r, 1);
}

/* Clips to [cursor, next); false: nothing of it is there. */
static bool clip(const struct share *s, int64_t *first, int64_t *last)
{
    *first = SL_MAX(*first, s->cursor);
    *last = SL_MIN(*last, s->next - 1);
    return *first <= *last;
}

static bool any_concerned(const struct share *s, const struct change *c, int64_t first,
                          int64_t last)
{
    for (uint32_t i = share__index(s, first); i < s->n && share__at(s, i)->first <= last; i++)
        if (concerns(c, share__at(s, i)))
            return true;
    return false;
}

static uint64_t change(struct share *s, int64_t first, int64_t last, const struct change *c)
{
    uint64_t n = 0;
    if (!clip(s, &first, &last) || !any_concerned(s, c, first, last))
        return 0;
    bool splits = share_run_of(s, first)->first != first || share_run_of(s, last)->last != last;
    if (splits && s->n + 2 > SHARE_RUNS_CEILING)
        return 0;
    uint32_t from, to;
    isolate(s, first, last, &from, &to);
    for (uint32_t i = from; i < to; i++) {
        struct share_run *r = share__at(s, i);
        if (!concerns(c, r))
            continue;
        n += (uint64_t)(r->last - r->first) + 1;
        change_run(s, c, r);
    }
    share__tidy(s, from, to);
    return n;
}

static const struct share_run acked_run = {.state = SHARE_ACKED};

void share_skip(struct share *s, int64_t first, int64_t end)
{
    SL_ASSERT(first >= s->cursor && first <= s->next);
    SL_ASSERT(end > first);
    (void)change(s, first, end - 1, &(struct change){.to = acked_run});
    if (end <= s->next)
        return;
    share__append(s, &(struct share_run){.first = s->next, .last = end - 1, .state = SHARE_ACKED});
    share__tidy(s, s->n, s->n);
}

uint64_t share_ack(struct share *s, int64_t first, int64_t last, const void *owner)
{
    SL_ASSERT(owner);
    uint64_t n = change(s, first, last, &(struct change){.owner = owner, .to = acked_run});
    if (n && s->floor) {
        (void)change(s, s->cursor, s->floor - 1, &(struct change){.to = acked_run});
        s->floor = 0;
    }
    return n;
}

uint64_t share_done(struct share *s, int64_t offset, const void *owner)
{
    SL_ASSERT(owner);
    return change(s, offset, offset, &(struct change){.owner = owner, .to = acked_run});
}

uint64_t share_release(struct share *s, int64_t first, int64_t last, const void *owner,
                       int64_t at_ms, bool rejected)
{
    SL_ASSERT(owner);
    struct change c = {owner, {.state = SHARE_AVAILABLE, .at_ms = at_ms, .rejected = rejected}};
    s->ready_ms = SL_MIN(s->ready_ms, at_ms);
    return change(s, first, last, &c);
}

uint64_t share_extend(struct share *s, int64_t first, int64_t last, const void *owner,
                      int64_t deadline_ms)
{
    SL_ASSERT(owner);
    struct change c = {owner, {.state = SHARE_HELD, .at_ms = deadline_ms, .owner = owner}};
    s->expire_ms = SL_MIN(s->expire_ms, deadline_ms);
    return change(s, first, last, &c);
}

uint64_t share_release_all(struct share *s, const void *owner)
{
    return s->n_held ? share_release(s, s->cursor, s->next - 1, owner, 0, false) : 0;
}

uint64_t share_expire(struct share *s, int64_t now_ms)
{
    uint64_t n = 0;
    if (now_ms < s->expire_ms || !s->n_held)
        return 0;
    s->expire_ms = SHARE_NEVER;
    for (uint32_t i = 0; i < s->n; i++) {
        struct share_run *r = share__at(s, i);
        if (r->state == SHARE_HELD && r->at_ms <= now_ms) {
            n += (uint64_t)(r->last - r->first) + 1;
            change_run(s, &(struct change){.to = {.state = SHARE_AVAILABLE}}, r);
            s->ready_ms = 0;
        } else if (r->state == SHARE_HELD) {
            s->expire_ms = SL_MIN(s->expire_ms, r->at_ms);
        }
    }
    if (n)
        share__tidy(s, 1, s->n);
    return n;
}

/* ---- jumps ------------------------------------------------------------------------------------
 */

void share_jump(struct share *s, int64_t offset)
{
    SL_ASSERT(offset > s->cursor);
    SL_ASSERT(!s->floor);
    s->ready_ms = 0;
    if (offset > s->next)
        share__append(
            s, &(struct share_run){.first = s->next, .last = offset - 1, .state = SHARE_AVAILABLE});
    s->floor = offset;
}

/* What nobody was given at the end counts as not looked at. */
static void shorten(struct share *s)
{
    while (s->n) {
        const struct share_run *r = share__at(s, s->n - 1);
        if (r->state != SHARE_AVAILABLE || r->count || r->at_ms || r->rejected)
            break;
        share__count(s, r, -1);
        s->next = r->first;
        s->n--;
        s->changes++;
    }
}

void share_unjump(struct share *s)
{
    s->floor = 0;
    s->ready_ms = 0;
    shorten(s);
}

int64_t share_last_delay(const struct share *s)
{
    int64_t last_ms = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (share__at(s, i)->state == SHARE_AVAILABLE)
            last_ms = SL_MAX(last_ms, share__at(s, i)->at_ms);
    return last_ms;
}

int64_t share_next_event(const struct share *s, int64_t now_ms)
{
    bool waits = s->n_available && s->ready_ms > now_ms; /* else it waits for somebody */
    return SL_MIN(waits ? s->ready_ms : SHARE_NEVER, s->n_held ? s->expire_ms : SHARE_NEVER);
}
