/* The ranges of a share as a row of the metastore: docs/formats/group-ranges.md. */
#include "base/buf.h"
#include "base/reader.h"
#include "broker/share_int.h"
#include "broker/subscribe.h"

enum { IMAGE_BYTES_MAX = 16 + SHARE_RUNS_MAX * 16 };

/* What is stored of a run: nobody holds anything after a restart. */
struct stored_run {
    int64_t first, last;
    uint32_t count;
    bool acked;
};

static struct stored_run stored(const struct share_run *r)
{
    return (struct stored_run){r->first, r->last, r->count, r->state == SHARE_ACKED};
}

/* The stored run that begins at run *i, as one with its equal successors; *i is behind it. */
static struct stored_run next_stored(const struct share *s, uint32_t *i)
{
    struct stored_run run = stored(share__at(s, (*i)++));
    while (*i < s->n) {
        struct stored_run more = stored(share__at(s, *i));
        if (more.count != run.count || more.acked != run.acked)
            break;
        run.last = more.last;
        (*i)++;
    }
    return run;
}

/* Behind the last run that was given to anybody: what a jump beyond the end skips is not stored. */
static uint32_t runs_to_store(const struct share *s)
{
    uint32_t n = s->n;
    while (n && share__at(s, n - 1)->state == SHARE_AVAILABLE && !share__at(s, n - 1)->count)
        n--;
    return n;
}

sl_err share_image_encode(const struct share *s, struct slice *ret)
{
    struct buf body;
    uint32_t n = 0, end = runs_to_store(s);
    buf_init(&body, IMAGE_BYTES_MAX);
    for (uint32_t i = 0; i < end && n < SHARE_RUNS_MAX; n++) {
        struct stored_run run = next_stored(s, &i);
        write_u8(&body, run.acked);
        write_uvarint(&body, (uint64_t)(run.last - run.first) + 1);
        write_uvarint(&body, run.count);
    }
    struct buf out;
    buf_init(&out, IMAGE_BYTES_MAX);
    write_u8(&out, SHARE_IMAGE_VERSION);
    write_i64(&out, s->cursor);
    write_uvarint(&out, n);
    write_bytes(&out, body.data, body.len);
    sl_err err = body.failed || out.failed ? SL_ENOMEM : SL_OK;
    if (err == SL_OK)
        *ret = end ? buf_take_slice(&out) : (struct slice){0};
    buf_fini(&body);
    buf_fini(&out);
    return err;
}

/* One run, the part of it that is at or above what the machine has already. */
static void load_run(struct share *s, struct reader *in, int64_t *at)
{
    struct share_run run = {.first = *at};
    uint8_t state = read_u8(in);
    uint64_t length = read_uvarint64(in);
    run.count = read_uvarint32(in);
    if (state > SHARE_ACKED || length == 0 || length > (uint64_t)(INT64_MAX - 1 - *at)) {
        reader_fail(in, SL_ECORRUPT, "a run is not valid");
        return;
    }
    run.state = state;
    *at += (int64_t)length;
    run.last = *at - 1;
    run.first = SL_MAX(run.first, s->next);
    if (run.last >= run.first)
        share__append(s, &run);
}

static void load_runs(struct share *s, struct reader *in)
{
    int64_t at = read_i64(in);
    uint32_t n = read_uvarint32(in);
    if (reader_ok(in) && (at < 0 || n > SHARE_RUNS_MAX))
        reader_fail(in, SL_ECORRUPT, "the ranges are not valid");
    if (reader_ok(in) && at > s->next)
        share__append(s, &(struct share_run){.first = s->next, .last = at - 1});
    for (uint32_t i = 0; reader_ok(in) && i < n; i++)
        load_run(s, in, &at);
}

sl_err share_image_load(struct share *s, struct slice image)
{
    SL_ASSERT(s->n == 0);
    int64_t cursor = s->cursor;
    struct reader in = reader_over(image, NULL, 0);
    uint8_t version = read_u8(&in);
    if (reader_ok(&in) && version != SHARE_IMAGE_VERSION)
        return SL_EFORMAT;
    load_runs(s, &in);
    if (reader_finish(&in) != SL_OK) {
        share_fini(s);
        share_init(s, cursor);
        return SL_ECORRUPT;
    }
    s->ready_ms = 0;
    share__tidy(s, 1, s->n);
    share_unjump(s);
    return SL_OK;
}
