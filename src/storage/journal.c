#include "storage/journal_int.h"

#include "base/alloc.h"
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "storage/journal_format_int.h"
#include "storage/paths_int.h"

#include <stdio.h>
#include <stdlib.h>

enum { ZERO_CHUNK_BYTES = 1 << 20, ZERO_SYNC_BYTES = 4 << 20, IOV_PER_CALL = 1024 };

static struct journal_file *free_file(struct journal *j)
{
    for (size_t i = 0; i < j->n_files; i++)
        if (j->files[i].state == JFILE_FREE)
            return &j->files[i];
    return NULL;
}

/* ---- files ------------------------------------------------------------------------------- */

static sl_err zero_fill(struct vfs_file *f, uint64_t bytes)
{
    uint8_t *zeros = sl_alloc(1, ZERO_CHUNK_BYTES);
    sl_err err = SL_OK;
    for (uint64_t pos = 0; err == SL_OK && pos < bytes; pos += ZERO_CHUNK_BYTES) {
        err = vfs_pwrite(f, zeros, (size_t)SL_MIN(bytes - pos, (uint64_t)ZERO_CHUNK_BYTES),
                         (int64_t)pos);
        if (err == SL_OK && pos % ZERO_SYNC_BYTES == 0) /* no burst that acks would wait for */
            err = vfs_datasync(f);
    }
    sl_free(zeros);
    SL_TRY(err);
    return vfs_datasync(f);
}

static sl_err make_file(struct journal *j, uint32_t number, struct vfs_file **ret)
{
    char path[PATH_BYTES];
    paths__journal_file(path, j->dir, number);
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    SL_TRY(vfs_open(j->vfs, path, VFS_WRITE | VFS_CREATE, &f));
    sl_err err = zero_fill(f, j->file_bytes);
    if (err == SL_OK)
        err = vfs_sync_dir(j->vfs, j->dir);
    if (err == SL_OK)
        *ret = SL_TAKE(f);
    else if (vfs_unlink(j->vfs, path) != SL_OK)
        LOG_WARN("journal.leftover", "an unfinished journal file goes at the next start",
                 F_STR("file", path));
    return err;
}

/* Reserves a number under the lock, fills without it, then shows the file. */
static sl_err add_file(struct journal *j)
{
    mutex_lock(j->mutex);
    bool has_room = j->n_files < JOURNAL_FILES_ROOM; /* only one thread adds files */
    uint32_t number = j->next_number++;
    mutex_unlock(j->mutex);
    if (!has_room)
        return SL_ELIMIT;
    struct vfs_file *f = NULL;
    SL_TRY(make_file(j, number, &f));
    mutex_lock(j->mutex);
    SL_ASSERT(j->n_files < JOURNAL_FILES_ROOM);
    j->files[j->n_files++] = (struct journal_file){
        .file = f, .number = number, .bytes = j->file_bytes, .state = JFILE_FREE};
    cond_broadcast(j->freed);
    mutex_unlock(j->mutex);
    return SL_OK;
}

sl_err journal__grow(struct journal *j)
{
    mutex_lock(j->mutex);
    bool wanted = j->n_files < j->files_wanted;
    mutex_unlock(j->mutex);
    return wanted ? add_file(j) : SL_EEND;
}

void journal__spare(struct journal *j)
{
    mutex_lock(j->mutex);
    if (!free_file(j))
        j->files_wanted = SL_MAX(j->files_wanted, (uint32_t)j->n_files + 1);
    mutex_unlock(j->mutex);
}

void journal__recycle(struct journal *j, uint64_t lsn)
{
    mutex_lock(j->mutex);
    for (size_t i = 0; i < j->n_files; i++) {
        struct journal_file *f = &j->files[i];
        if (f->state == JFILE_FULL && f->seq < lsn / JOURNAL_LSN_STRIDE)
            f->state = JFILE_FREE;
    }
    cond_broadcast(j->freed);
    mutex_unlock(j->mutex);
}

void journal__on_full(struct journal *j, void (*fn)(void *arg), void *arg)
{
    j->on_full = fn;
    j->on_full_arg = arg;
}

/* A free file, taken; waits for a checkpoint to free one, and lets the pool grow meanwhile. */
static struct journal_file *take_file(struct journal *j)
{
    mutex_lock(j->mutex);
    struct journal_file *f;
    while (!(f = free_file(j))) {
        j->files_wanted = SL_MAX(j->files_wanted, SL_MIN(j->files_max, (uint32_t)j->n_files + 1));
        mutex_unlock(j->mutex);
        if (j->on_full)
            j->on_full(j->on_full_arg);
        mutex_lock(j->mutex);
        if (free_file(j))
            continue;
        cond_wait(j->freed, j->mutex);
    }
    f->state = JFILE_CURRENT;
    mutex_unlock(j->mutex);
    return f;
}

/* Gives a file its next life: a new sequence number and UUID. Nothing of the old one validates. */
static sl_err begin_file(struct journal *j, struct journal_file *f, uint64_t before_end)
{
    uint8_t block[JOURNAL_FIRST_POS] = {0};
    f->seq = ++j->seq_max;
    f->before_end = before_end;
    f->uuid = uuid_random(j->rng);
    f->seed = journal__seed(&f->uuid);
    journal__write_header(block, f->seq, &f->uuid, before_end);
    /* A second copy in another sector: one bad bit must not orphan 64 MiB of records. */
    memcpy(block + JOURNAL_HEADER_COPY_POS, block, JOURNAL_HEADER_BYTES);
    SL_TRY(vfs_pwrite(f->file, block, sizeof block, 0));
    mutex_lock(j->mutex);
    j->current = f;
    j->pos = JOURNAL_FIRST_POS;
    mutex_unlock(j->mutex);
    j->unsynced = true;
    return SL_OK;
}

/* The previous file is synced before the first byte of the next one is written, so that a record in
 * the next one proves the whole previous one. */
static sl_err next_file(struct journal *j)
{
    SL_TRY(journal__sync(j));
    struct journal_file *next = take_file(j);
    mutex_lock(j->mutex);
    j->current->state = JFILE_FULL;
    mutex_unlock(j->mutex);
    return begin_file(j, next, journal__end_lsn(j));
}

/* A file whose sync failed is never written again: it stays taken. */
static sl_err start_first(struct journal *j, uint64_t before_end)
{
    if (!free_file(j))
        SL_TRY(add_file(j));
    struct journal_file *f = take_file(j);
    sl_err err = begin_file(j, f, before_end);
    if (err == SL_OK)
        err = journal__sync(j);
    if (err == SL_OK)
        return SL_OK;
    mutex_lock(j->mutex);
    j->current = NULL;
    if (err == SL_ENOSPC)
        f->state = JFILE_FREE;
    mutex_unlock(j->mutex);
    return err;
}

sl_err journal__start(struct journal *j, uint64_t before_end, uint64_t *ret_lsn)
{
    if (!j->current)
        SL_TRY(start_first(j, before_end));
    SL_ASSERT(j->pos == JOURNAL_FIRST_POS); /* nothing was appended */
    *ret_lsn = journal__end_lsn(j);
    return SL_OK;
}

void journal__close(struct journal *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->n_files; i++)
        vfs_close(j->files[i].file);
    mutex_free(j->mutex);
    cond_free(j->freed);
    sl_free(j->dir);
    sl_free(j);
}

/* ---- groups ------------------------------------------------------------------------------ */

static uint8_t *extend_heads(struct journal_group *g, size_t n)
{
    if (g->heads_cap - g->heads_len < n) {
        g->heads_cap = SL_MAX(g->heads_cap * 2, g->heads_len + n + 4096);
        g->heads = sl_realloc(g->heads, g->heads_cap, 1);
    }
    uint8_t *p = g->heads + g->heads_len;
    memset(p, 0, n);
    g->heads_len += n;
    return p;
}

static void push_iov(struct journal_group *g, void *base, size_t len)
{
    if (g->n_iov == g->iov_cap) {
        g->iov_cap = SL_MAX(g->iov_cap * 2, (size_t)64);
        g->iov = sl_realloc(g->iov, g->iov_cap, sizeof g->iov[0]);
    }
    g->iov[g->n_iov++] = (struct iovec){.iov_base = base, .iov_len = len};
}

void journal_group__reset(struct journal_group *g)
{
    g->heads_len = g->n_iov = 0;
    g->count = 0;
    (void)extend_heads(g, JOURNAL_GROUP_BYTES);
    push_iov(g, NULL, JOURNAL_GROUP_BYTES); /* heads move while they grow: resolved at append */
    g->bytes = JOURNAL_GROUP_BYTES;
}

void journal_group__fini(struct journal_group *g)
{
    sl_free(g->heads);
    sl_free(g->iov);
    sl_free(g->record_iov);
    *g = (struct journal_group){0};
}

static size_t pad_of(uint64_t bytes)
{
    return (size_t)(-bytes & (JOURNAL_ALIGN - 1));
}

void journal_group__add(struct journal_group *g, const struct journal_record *r)
{
    size_t pad = pad_of(g->bytes);
    uint8_t *head = extend_heads(g, pad + JOURNAL_RECORD_BYTES) + pad;
    journal__write_record(head, r);
    if (g->count == g->record_cap) {
        g->record_cap = SL_MAX(g->record_cap * 2, (size_t)64);
        g->record_iov = sl_realloc(g->record_iov, g->record_cap, sizeof g->record_iov[0]);
    }
    g->record_iov[g->count++] = g->n_iov;
    push_iov(g, NULL, pad + JOURNAL_RECORD_BYTES);
    g->bytes += pad + JOURNAL_RECORD_BYTES;
}

void journal_group__payload(struct journal_group *g, const void *data, size_t len)
{
    push_iov(g, (void *)data, len);
    g->bytes += len;
}

bool journal__fits(const struct journal *j, const struct journal_group *g)
{
    return g->bytes + pad_of(g->bytes) <= j->file_bytes - JOURNAL_FIRST_POS;
}

/* Points the header vectors into the head buffer, which no longer moves. */
static void resolve_heads(struct journal_group *g)
{
    uint8_t *p = g->heads;
    g->iov[0].iov_base = p;
    p += JOURNAL_GROUP_BYTES;
    for (uint32_t k = 0; k < g->count; k++) {
        struct iovec *v = &g->iov[g->record_iov[k]];
        v->iov_base = p;
        p += v->iov_len;
    }
}

static void seal_record(struct journal_group *g, uint32_t k, uint32_t seed, uint64_t lsn)
{
    size_t first = g->record_iov[k];
    size_t end = k + 1 < g->count ? g->record_iov[k + 1] : g->n_iov;
    uint8_t *head =
        (uint8_t *)g->iov[first].iov_base + g->iov[first].iov_len - JOURNAL_RECORD_BYTES;
    put_le64(head + JREC_LSN, lsn);
    uint32_t crc = journal__record_crc(seed, head);
    for (size_t i = first + 1; i < end; i++)
        crc = crc32c(crc, g->iov[i].iov_base, g->iov[i].iov_len);
    put_le32(head + JREC_CRC, crc);
}

/* Numbers and checksums of a group that will start at the current position. */
static void seal_group(struct journal *j, struct journal_group *g)
{
    uint32_t seed = j->current->seed;
    uint64_t lsn = journal__end_lsn(j);
    uint64_t bytes = JOURNAL_GROUP_BYTES;
    for (uint32_t k = 0; k < g->count; k++) {
        size_t first = g->record_iov[k];
        size_t end = k + 1 < g->count ? g->record_iov[k + 1] : g->n_iov;
        seal_record(g, k, seed, lsn + bytes + g->iov[first].iov_len - JOURNAL_RECORD_BYTES);
        for (size_t i = first; i < end; i++)
            bytes += g->iov[i].iov_len;
    }
    journal__write_group(g->heads, seed, (uint32_t)g->bytes, lsn, j->synced_lsn, g->count);
}

static sl_err write_all(struct journal *j, struct journal_group *g)
{
    int64_t pos = (int64_t)j->pos;
    for (size_t i = 0; i < g->n_iov;) {
        size_t n = SL_MIN(g->n_iov - i, (size_t)IOV_PER_CALL);
        size_t bytes = 0;
        for (size_t k = i; k < i + n; k++)
            bytes += g->iov[k].iov_len;
        SL_TRY(vfs_pwritev(j->current->file, g->iov + i, n, pos));
        pos += (int64_t)bytes;
        i += n;
    }
    return SL_OK;
}

sl_err journal__append(struct journal *j, struct journal_group *g)
{
    size_t pad = pad_of(g->bytes);
    if (pad > 0) {
        (void)extend_heads(g, pad);
        push_iov(g, NULL, pad);
    }
    if (j->pos + g->bytes + pad > j->current->bytes)
        SL_TRY(next_file(j));
    resolve_heads(g);
    if (pad > 0) /* not part of the last record's checksum */
        g->n_iov--;
    seal_group(j, g);
    if (pad > 0)
        g->iov[g->n_iov++].iov_base = g->heads + g->heads_len - pad;
    SL_TRY(write_all(j, g));
    mutex_lock(j->mutex);
    j->pos += g->bytes + pad;
    mutex_unlock(j->mutex);
    j->unsynced = true;
    return SL_OK;
}

sl_err journal__sync(struct journal *j)
{
    if (!j->unsynced)
        return SL_OK;
    SL_TRY(vfs_datasync(j->current->file));
    j->unsynced = false;
    j->synced_lsn = journal__end_lsn(j);
    return SL_OK;
}

bool journal__has_unsynced(const struct journal *j)
{
    return j->unsynced;
}

uint64_t journal__end_lsn(const struct journal *j)
{
    return j->current->seq * JOURNAL_LSN_STRIDE + j->pos;
}

bool journal__reaches(struct journal *j, uint64_t lsn, uint64_t *ret_last)
{
    bool found = false;
    *ret_last = lsn;
    mutex_lock(j->mutex);
    for (size_t i = 0; i < j->n_files; i++) {
        const struct journal_file *f = &j->files[i];
        found |= f->state != JFILE_FREE && f->seq == lsn / JOURNAL_LSN_STRIDE;
        if (f->state != JFILE_FREE && f->seq > lsn / JOURNAL_LSN_STRIDE)
            *ret_last = SL_MAX(*ret_last, f->seq * JOURNAL_LSN_STRIDE);
    }
    mutex_unlock(j->mutex);
    return found;
}

uint64_t journal__bytes_behind(struct journal *j, uint64_t lsn)
{
    mutex_lock(j->mutex);
    uint64_t end = j->current ? journal__end_lsn(j) : 0;
    mutex_unlock(j->mutex);
    return end > lsn ? end - lsn : 0;
}
