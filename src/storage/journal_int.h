/* The shared journal: one fdatasync makes a commit group of any number of partitions durable.
 *
 * Format: docs/formats/journal.md. Files of a fixed size are zero-filled once, off the ack path,
 * and recycled; order is by the header in them, not by name. LSN = file sequence x 64 MiB +
 * position, never used twice. CRCs are seeded with the file's UUID, so bytes of a former life do
 * not validate. Writing: log-writer thread only (journal__append, journal__sync). Any thread:
 * journal__grow, journal__recycle, the counters. Reading: recovery and rescue. */
#ifndef SLUICE_STORAGE_JOURNAL_INT_H
#define SLUICE_STORAGE_JOURNAL_INT_H

#include "base/rng.h"
#include "base/uuid.h"
#include "loop/loop.h"
#include "vfs/vfs.h"

enum {
    JOURNAL_MAGIC = 0x4c4a4c53,       /* "SLJL" */
    JOURNAL_GROUP_MAGIC = 0x47524a53, /* "SJRG" */
    JOURNAL_VERSION = 1,
    JOURNAL_ALIGN = 64,        /* groups and records start on it */
    JOURNAL_FIRST_POS = 4096,  /* of the first group; the header has a sector of its own */
    JOURNAL_HEADER_BYTES = 64, /* of a file */
    JOURNAL_GROUP_BYTES = 64,  /* of a group header */
    JOURNAL_RECORD_BYTES = 52, /* of a record header */
    JOURNAL_FILES_FIRST = 4,
};
#define JOURNAL_LSN_STRIDE (UINT64_C(64) << 20)

enum journal_type { JOURNAL_DATA = 1, JOURNAL_MARKER = 2, JOURNAL_SYNCED = 3, JOURNAL_PAD = 4 };

/* Header fields of a record. SYNCED: seg_pos is the segment's synced length, base_offset the first
 * offset behind it; no payload. */
struct journal_record {
    uint64_t lsn; /* set by the journal */
    uint64_t pid;
    uint64_t seg_base, seg_pos;
    uint64_t base_offset;
    uint16_t type, flags;
    uint32_t len; /* payload bytes */
};

/* A group under construction: records and references to their payload. Reused, grows. */
struct journal_group {
    uint8_t *heads; /* group header, then per record the pad of the one before and its header */
    size_t heads_len, heads_cap;
    struct iovec *iov;
    size_t n_iov, iov_cap;
    uint64_t bytes; /* group header and records, padded */
    uint32_t count;
    size_t *record_iov; /* of each record: index of its header in iov */
    size_t record_cap;
};

struct journal;

/* Opens DIR/journal: makes the folder and reads the headers. Writing starts with journal__start. */
sl_err journal__open(struct vfs *v, const char *data_dir, uint64_t file_bytes, uint32_t files_max,
                     struct rng *rng, struct journal **ret) SL_CHECKED;
/* Before journal__start: no LSN up to this one is used again, nor any of a file that cannot be read
 * any more. */
void journal__begin_above(struct journal *j, uint64_t lsn);
/* Begins a new file, with a new UUID, whose LSN is above every one seen, and frees none yet.
 * before_end: where the replay stopped; 0: nothing was read. *ret_lsn is where the first group will
 * be. When a call before had begun one and nothing was appended, it is that one again. The opener,
 * then the log-writer thread. SL_ENOSPC: nothing happened; other errors: not to be tried again. */
sl_err journal__start(struct journal *j, uint64_t before_end, uint64_t *ret_lsn) SL_CHECKED;
void journal__close(struct journal *j); /* accepts NULL */

/* ---- writing: the log-writer thread ---- */

void journal_group__reset(struct journal_group *g);
void journal_group__fini(struct journal_group *g);
/* Adds a record whose payload follows through journal_group__payload. */
void journal_group__add(struct journal_group *g, const struct journal_record *r);
void journal_group__payload(struct journal_group *g, const void *data, size_t len);
/* False when the group can never be in one file: it takes the direct path. */
bool journal__fits(const struct journal *j, const struct journal_group *g);
/* Writes the group; waits for a free file when the current one has no room. Any error leaves the
 * outcome unknown and ends the process. */
sl_err journal__append(struct journal *j, struct journal_group *g) SL_CHECKED;
/* One fdatasync: everything appended is durable. */
sl_err journal__sync(struct journal *j) SL_CHECKED;
bool journal__has_unsynced(const struct journal *j);
uint64_t journal__end_lsn(const struct journal *j); /* where the next group goes */

/* ---- files: any thread ---- */

/* Zero-fills one more file when there are fewer than wanted. SL_EEND: nothing to do. */
sl_err journal__grow(struct journal *j) SL_CHECKED;
/* One file more than files_max when none is free: for what must get through before any can be. */
void journal__spare(struct journal *j);
/* Records below the LSN are not needed any more: their files become free. */
void journal__recycle(struct journal *j, uint64_t lsn);
/* Called, with no lock held, by the writer before it waits for a free file. */
void journal__on_full(struct journal *j, void (*fn)(void *arg), void *arg);
/* Whether the file that the LSN is in is there; *ret_last: the LSN itself unless a later file has
 * been begun, then one in that. */
bool journal__reaches(struct journal *j, uint64_t lsn, uint64_t *ret_last);
uint64_t journal__bytes_behind(struct journal *j, uint64_t lsn); /* from lsn to the end */

/* ---- reading ---- */

struct journal_visitor {
    void *arg;
    /* A valid record; payload is borrowed. A non-OK result ends the replay and is returned. */
    sl_err (*record)(void *arg, const struct journal_record *r, const uint8_t *payload);
};
struct journal_replay {
    uint64_t records, damaged; /* damaged: stretches that did not validate below a known sync */
    uint64_t end_lsn;          /* behind the last record that counts */
    uint64_t stop_lsn;         /* where reading stopped: the end of the last file, or the cut */
};
/* Every record from `from_lsn` on that a crash could not have taken back, in LSN order. At the
 * first invalid record the rest is cut unless a later header proves that it was synced. */
sl_err journal__replay(struct journal *j, uint64_t from_lsn, const struct journal_visitor *visitor,
                       struct journal_replay *ret) SL_CHECKED;

/* A file in memory, and what its header says. */
struct journal_bytes {
    const uint8_t *data;
    size_t len;
    uint32_t seed;
    uint64_t seq;
};
/* Visits what validates in one file's bytes from *pos (64-byte aligned) on; *pos ends at the first
 * byte that does not. visitor may be NULL. *ret_synced_lsn rises to what group headers say. */
sl_err journal__walk(const struct journal_bytes *file, size_t *pos,
                     const struct journal_visitor *visitor, uint64_t *ret_synced_lsn) SL_CHECKED;
/* The highest synced LSN up to lsn_max that any valid group header at or behind pos names; 0: none.
 */
uint64_t journal__synced_proof(const struct journal_bytes *file, size_t pos, uint64_t lsn_max);
/* What the header of a file says. */
struct journal_head {
    uint64_t seq;
    uint64_t before_end; /* LSN at which the file before this one ends for good; 0: not known */
    uint32_t seed;       /* of the CRCs, from the file's UUID */
};
/* SL_OK: a header of ours. */
sl_err journal__parse_header(const uint8_t *data, size_t len, struct journal_head *ret) SL_CHECKED;

#endif
