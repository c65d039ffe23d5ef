#include "storage/recovery_int.h"
#include "storage/scan_int.h"

#include "base/log.h"

/* The offset behind the last batch of a DATA payload; -1 when it holds none. */
static int64_t payload_end(const struct journal_record *rec, const uint8_t *payload)
{
    int64_t end = -1;
    for (size_t pos = 0; pos < rec->len;) {
        struct batch_info info;
        if (batch_peek(slice_of(payload + pos, rec->len - pos), &info) != SL_OK)
            break;
        end = batch_last_offset(&info) + 1;
        pos += info.bytes;
    }
    return end;
}

static sl_err write_payload(struct recovery *r, struct segment *s, const struct journal_record *rec,
                            const uint8_t *payload)
{
    struct local_engine *e = r->engine;
    char path[PATH_BYTES];
    segment__path(s, ".log", path);
    struct vfs_file *f = NULL;
    sl_err err = file_cache__pin(e->files, &s->file, path, VFS_WRITE | VFS_CREATE, &f);
    if (err == SL_ENOTFOUND) {
        SL_TRY(recovery__make_folder(r, s->part));
        err = file_cache__pin(e->files, &s->file, path, VFS_WRITE | VFS_CREATE, &f);
    }
    SL_TRY(err);
    err = vfs_pwrite(f, payload, rec->len, (int64_t)rec->seg_pos);
    if (err == SL_OK)
        file_cache__wrote(e->files, &s->file, s->file.written_bytes, s->file.written_next);
    file_cache__unpin(e->files, &s->file);
    return err;
}

/* Retention took the segment, with all in it. Offsets below the log start in a segment that stays
 * are written like all others: readers walk over them. */
static bool is_deleted(const struct log_part *p, const struct journal_record *rec, int64_t end)
{
    return end <= p->log_start && p->n_segments > 0 &&
           p->segments[0]->base_offset > (int64_t)rec->seg_base;
}

static sl_err replay_data(struct recovery *r, struct rec_part *rp, const struct journal_record *rec,
                          const uint8_t *payload)
{
    int64_t end = payload_end(rec, payload);
    int64_t base = (int64_t)rec->base_offset;
    if (end > base) { /* its group was synced, or is replayed here and now */
        rp->in_journal = true;
        rp->known_next = SL_MAX(rp->known_next, end);
    }
    if (end <= base || base < rp->row_next || is_deleted(rp->part, rec, end)) {
        r->skipped++;
        return SL_OK;
    }
    bool is_new;
    struct segment *s = recovery__segment(rp->part, (int64_t)rec->seg_base, &is_new);
    if (s->state == SEGMENT_FENCED) {
        r->skipped++; /* its rescue is in the rows, or has not begun: then the scan decides */
        return SL_OK;
    }
    r->replayed++;
    part__mark_dirty(rp->part);
    s->row_dirty = true; /* to be scanned, whatever its row says */
    return write_payload(r, s, rec, payload);
}

static sl_err replay_record(void *arg, const struct journal_record *rec, const uint8_t *payload)
{
    struct recovery *r = arg;
    struct rec_part *rp = recovery__part(r, rec->pid);
    if (!rp) {
        r->unknown++; /* its topic was deleted */
        r->pid_max = SL_MAX(r->pid_max, rec->pid);
        return SL_OK;
    }
    switch ((enum journal_type)rec->type) {
    case JOURNAL_DATA:
        return replay_data(r, rp, rec, payload);
    case JOURNAL_SYNCED:
        rp->in_journal = true;
        rp->known_next = SL_MAX(rp->known_next, (int64_t)rec->base_offset);
        return SL_OK;
    case JOURNAL_MARKER:
    case JOURNAL_PAD:
        return SL_OK;
    }
    return SL_OK;
}

sl_err recovery__replay(struct recovery *r)
{
    const struct journal_visitor visitor = {.arg = r, .record = replay_record};
    struct journal_replay result;
    SL_TRY(journal__replay(r->engine->journal, r->from_lsn, &visitor, &result));
    r->engine->replayed_lsn = result.stop_lsn;
    if (result.damaged > 0)
        LOG_ERROR("journal.damaged", "the journal is damaged below a known sync",
                  F_I64("places", result.damaged));
    LOG_INFO("recovery.replayed", "the journal was read", F_I64("records", result.records),
             F_I64("applied", r->replayed), F_I64("unknown_topics", r->unknown));
    return SL_OK;
}
