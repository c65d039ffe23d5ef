#include "storage/journal_format_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/log.h"
#include "storage/paths_int.h"

#include <stdlib.h>

/* ---- open -------------------------------------------------------------------------------- */

struct listing {
    struct journal *journal;
};

/* A file whose header is zeros was never used, unless a group starts where the first one would:
 * then it is not used again before people have looked at it. */
static sl_err check_unused(struct vfs_file *f)
{
    uint8_t first[4];
    sl_err err = vfs_pread_full(f, first, sizeof first, JOURNAL_FIRST_POS);
    if (err != SL_OK)
        return err;
    return get_le32(first) == JOURNAL_GROUP_MAGIC ? SL_ECORRUPT : SL_EEND;
}

/* Shorter than a header: it was being made, unless something is in it. */
static sl_err check_short(struct vfs_file *f)
{
    uint8_t bytes[JOURNAL_FIRST_POS];
    size_t n = 0;
    SL_TRY(vfs_pread(f, bytes, sizeof bytes, 0, &n));
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0)
            return SL_ECORRUPT;
    return SL_EEND;
}

/* The header, or its copy. SL_ECORRUPT: neither is one; SL_EEND: zeros, never used. */
static sl_err read_header(struct vfs_file *f, struct journal_head *ret)
{
    uint8_t block[JOURNAL_FIRST_POS];
    SL_TRY(vfs_pread_full(f, block, sizeof block, 0));
    sl_err err = journal__parse_header(block, JOURNAL_HEADER_BYTES, ret);
    if (err == SL_ECORRUPT)
        err = journal__parse_header(block + JOURNAL_HEADER_COPY_POS, JOURNAL_HEADER_BYTES, ret);
    if (err != SL_ECORRUPT)
        return err;
    for (size_t i = 0; i < sizeof block; i++)
        if (block[i] != 0)
            return SL_ECORRUPT;
    return check_unused(f);
}

/* A file that was being made when the process ended is shorter or all zeros: it is made anew. */
static sl_err adopt_file(struct journal *j, uint32_t number, struct vfs_file **file)
{
    int64_t size = 0;
    SL_TRY(vfs_file_size(*file, &size));
    struct journal_file f = {.number = number, .bytes = (uint64_t)size, .state = JFILE_FREE};
    struct journal_head head = {0};
    sl_err err = size < JOURNAL_FIRST_POS ? check_short(*file) : read_header(*file, &head);
    if (err == SL_OK) {
        f.state = JFILE_FULL;
        f.seq = head.seq;
        f.seed = head.seed;
        f.before_end = head.before_end;
        j->seq_max = SL_MAX(j->seq_max, f.seq);
    } else if (err == SL_EEND && f.bytes != j->file_bytes) {
        return SL_EEND;
    } else if (err != SL_EEND) {
        return err;
    }
    f.file = SL_TAKE(*file);
    j->files[j->n_files++] = f;
    return SL_OK;
}

/* A damaged header cannot be replayed, but its file is kept for people to look at. */
static sl_err set_aside(struct journal *j, const char *path, uint32_t number)
{
    char aside[PATH_BYTES];
    paths__journal_damaged(aside, j->dir, number);
    LOG_ERROR("journal.header_damaged", "a journal file cannot be read and is kept aside",
              F_STR("file", path), F_STR("kept_as", aside));
    SL_TRY(vfs_rename(j->vfs, path, aside));
    return vfs_sync_dir(j->vfs, j->dir);
}

static sl_err visit_name(void *arg, const char *name)
{
    struct journal *j = ((struct listing *)arg)->journal;
    uint32_t number = 0;
    if (!paths__parse_journal(name, &number)) {
        j->header_lost |= strstr(name, ".damaged") != NULL; /* set aside at an earlier start */
        return SL_OK;
    }
    if (j->n_files == JOURNAL_FILES_ROOM)
        return SL_EFORMAT;
    char path[PATH_BYTES];
    paths__journal_file(path, j->dir, number);
    SL_AUTO(vfs_close) struct vfs_file *file = NULL;
    SL_TRY(vfs_open(j->vfs, path, VFS_WRITE, &file));
    sl_err err = adopt_file(j, number, &file);
    j->next_number = SL_MAX(j->next_number, number + 1);
    if (err == SL_EEND)
        return vfs_unlink(j->vfs, path); /* never held a record */
    if (err == SL_ECORRUPT) {
        j->header_lost = true;
        return set_aside(j, path, number);
    }
    return err;
}

void journal__begin_above(struct journal *j, uint64_t lsn)
{
    j->seq_max = SL_MAX(j->seq_max, lsn / JOURNAL_LSN_STRIDE);
    if (j->header_lost) /* each of them began one life, and no two lives had one number */
        j->seq_max += JOURNAL_FILES_ROOM;
}

sl_err journal__open(struct vfs *v, const char *data_dir, uint64_t file_bytes, uint32_t files_max,
                     struct rng *rng, struct journal **ret)
{
    char dir[PATH_BYTES];
    paths__journal_dir(dir, data_dir);
    SL_TRY(vfs_ensure_dir(v, dir));
    struct journal *j = sl_new(struct journal);
    j->vfs = v;
    j->dir = sl_strdup(dir);
    j->rng = rng;
    j->file_bytes = SL_MIN(file_bytes, JOURNAL_LSN_STRIDE);
    j->files_max = SL_MIN(files_max, (uint32_t)JOURNAL_FILES_ROOM);
    j->files_wanted = SL_MIN(files_max, (uint32_t)JOURNAL_FILES_FIRST);
    j->next_number = 1;
    j->mutex = mutex_new();
    j->freed = cond_new();
    struct listing listing = {.journal = j};
    sl_err err = vfs_list_dir(v, dir, visit_name, &listing);
    if (err != SL_OK) {
        journal__close(j);
        return err;
    }
    *ret = j;
    return SL_OK;
}

/* ---- replay ------------------------------------------------------------------------------ */

struct replay {
    struct journal *journal;
    const struct journal_visitor *visitor;
    struct journal_replay *result;
    struct journal_file *files[JOURNAL_FILES_ROOM]; /* by sequence */
    size_t n;
};

static int by_seq(const void *a, const void *b)
{
    const struct journal_file *x = *(struct journal_file *const *)a;
    const struct journal_file *y = *(struct journal_file *const *)b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static sl_err load_file(struct journal_file *f, uint8_t **ret)
{
    uint8_t *bytes = sl_try_alloc(f->bytes, 1);
    if (!bytes)
        return SL_ENOMEM;
    sl_err err = vfs_pread_full(f->file, bytes, f->bytes, 0);
    if (err != SL_OK) {
        sl_free(bytes);
        return err;
    }
    *ret = bytes;
    return SL_OK;
}

static struct journal_bytes bytes_of(const struct journal_file *f, const uint8_t *data)
{
    return (struct journal_bytes){.data = data, .len = f->bytes, .seed = f->seed, .seq = f->seq};
}

/* Up to where file i is known to have been synced, seen from an invalid record at pos: what headers
 * behind it say, and the header of the next file, which names the end of this one. That end is
 * where writing stopped, so that the part that was left empty is no damage, or where a recovery
 * cut: what is behind a cut was never synced, and its offsets were given to others. */
static uint64_t synced_end(const struct replay *r, size_t i, const uint8_t *bytes, size_t pos)
{
    const struct journal_file *f = r->files[i];
    const struct journal_bytes file = bytes_of(f, bytes);
    uint64_t start = f->seq * JOURNAL_LSN_STRIDE;
    uint64_t end = i + 1 < r->n ? r->files[i + 1]->before_end : 0;
    if (end > start && end <= start + JOURNAL_LSN_STRIDE)
        return end;
    return journal__synced_proof(&file, pos, UINT64_MAX);
}

static sl_err count_record(void *arg, const struct journal_record *rec, const uint8_t *payload)
{
    struct replay *r = arg;
    r->result->records++;
    r->result->end_lsn = rec->lsn + JOURNAL_RECORD_BYTES + rec->len;
    return r->visitor->record(r->visitor->arg, rec, payload);
}

/* The next position behind damage at *pos where something validates; no further than what counts
 * as synced. */
static sl_err skip_damage(const struct journal_file *f, const uint8_t *bytes, uint64_t synced_lsn,
                          size_t *pos)
{
    const struct journal_bytes file = bytes_of(f, bytes);
    uint64_t ignored = 0;
    size_t at = *pos + JOURNAL_ALIGN;
    for (; at < f->bytes && f->seq * JOURNAL_LSN_STRIDE + at < synced_lsn; at += JOURNAL_ALIGN) {
        size_t end = at;
        SL_TRY(journal__walk(&file, &end, NULL, &ignored));
        if (end != at)
            break;
    }
    *pos = at;
    return SL_OK;
}

/* Walks one file. An invalid record is the end of what was written unless something later proves
 * that it had been synced: then it is damage, and every record behind it that validates counts. */
static sl_err replay_bytes(struct replay *r, size_t i, const uint8_t *bytes, size_t pos)
{
    struct journal_file *f = r->files[i];
    const struct journal_bytes file = bytes_of(f, bytes);
    const struct journal_visitor counting = {.arg = r, .record = count_record};
    uint64_t synced_lsn = 0, ignored = 0;
    bool proof_known = false;
    while (pos < f->bytes) {
        SL_TRY(journal__walk(&file, &pos, &counting, &ignored));
        r->result->stop_lsn = f->seq * JOURNAL_LSN_STRIDE + pos;
        if (pos >= f->bytes)
            break;
        if (!proof_known)
            synced_lsn = synced_end(r, i, bytes, pos);
        proof_known = true;
        if (synced_lsn <= r->result->stop_lsn)
            return SL_OK;
        r->result->damaged++;
        SL_TRY(skip_damage(f, bytes, synced_lsn, &pos));
    }
    return SL_OK;
}

static sl_err replay_file(struct replay *r, size_t i, uint64_t from_lsn)
{
    struct journal_file *f = r->files[i];
    size_t pos = JOURNAL_FIRST_POS;
    if (f->seq == from_lsn / JOURNAL_LSN_STRIDE)
        pos = (size_t)SL_MAX(from_lsn % JOURNAL_LSN_STRIDE, (uint64_t)JOURNAL_FIRST_POS);
    if (pos % JOURNAL_ALIGN != 0 || pos >= f->bytes)
        return SL_OK;
    uint8_t *bytes = NULL;
    SL_TRY(load_file(f, &bytes));
    sl_err err = replay_bytes(r, i, bytes, pos);
    sl_free(bytes);
    return err;
}

sl_err journal__replay(struct journal *j, uint64_t from_lsn, const struct journal_visitor *visitor,
                       struct journal_replay *ret)
{
    struct replay r = {.journal = j, .visitor = visitor, .result = ret};
    *ret = (struct journal_replay){.end_lsn = from_lsn, .stop_lsn = from_lsn};
    mutex_lock(j->mutex);
    for (size_t i = 0; i < j->n_files; i++)
        if (j->files[i].state != JFILE_FREE && j->files[i].seq >= from_lsn / JOURNAL_LSN_STRIDE)
            r.files[r.n++] = &j->files[i];
    mutex_unlock(j->mutex);
    qsort(r.files, r.n, sizeof r.files[0], by_seq);
    for (size_t i = 0; i < r.n; i++)
        SL_TRY(replay_file(&r, i, from_lsn));
    return SL_OK;
}
