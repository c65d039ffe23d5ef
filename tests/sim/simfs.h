/* Files in memory that forget what was not synced: struct vfs for tests.
 *
 * Of each file it keeps what programs see (the page cache), what is on disk, and the writes in
 * between. A power cut keeps, by its seed, any of them: nothing, all, a prefix, or each 512-byte
 * sector at any of its versions since the last sync, and a size of its own, so that a file may have
 * grown without its content. Entries of directories are kept or lost one by one until sync_dir; the
 * sync of a file does not save its name. Calls give way in the simulated world, if there is one. */
#ifndef SLUICE_SIM_SIMFS_H
#define SLUICE_SIM_SIMFS_H

#include "vfs/vfs.h"

struct simfs;

struct simfs *simfs_new(void);     /* empty; "/" exists, paths without it start there too */
void simfs_free(struct simfs *fs); /* open handles go with it; accepts NULL */
struct vfs *simfs_vfs(struct simfs *fs);

/* ---- crashes -------------------------------------------------------------------------------- */

enum simfs_crash {
    SIMFS_KILL,       /* the process ended: the page cache lives on */
    SIMFS_POWER,      /* the seed chooses one of those below, for each file and entry anew */
    SIMFS_POWER_NONE, /* nothing that was not synced */
    SIMFS_POWER_ALL,  /* everything, as it happens */
};

/* What a machine finds after a crash now, as a file system of its own. Cheap: pages are shared. */
struct simfs *simfs_image(const struct simfs *fs, enum simfs_crash crash, uint64_t seed);

/* ---- faults --------------------------------------------------------------------------------- */

enum simfs_call {
    SIMFS_OPEN = 1 << 0, /* that creates */
    SIMFS_READ = 1 << 1,
    SIMFS_WRITE = 1 << 2,
    SIMFS_TRUNCATE = 1 << 3,
    SIMFS_SYNC = 1 << 4,
    SIMFS_SYNC_DIR = 1 << 5,
    SIMFS_NAME = 1 << 6, /* mkdir, rmdir, unlink, rename */
    SIMFS_ALL = (1 << 7) - 1,
};

/* The n-th of these calls from now (from 1), and `more` behind it, fail with err. A write may have
 * left any part behind. After a failed sync what was not synced is on disk or not, by the seed, may
 * have left the cache, and no later sync brings it there; so with names after one of a directory.
 * path_part: only files whose path has it; NULL: all. n 0: no fault. */
struct simfs_fault {
    unsigned calls;
    uint64_t n, more;
    sl_err err;
    const char *path_part;
};
void simfs_set_fault(struct simfs *fs, const struct simfs_fault *fault);
uint64_t simfs_faults_seen(const struct simfs *fs);           /* how many calls failed that way */
uint64_t simfs_calls(const struct simfs *fs, unsigned calls); /* how many there were */

/* No page beyond these bytes: writes that need one fail with SL_ENOSPC. 0: no limit. */
void simfs_set_capacity(struct simfs *fs, uint64_t bytes);
uint64_t simfs_used_bytes(const struct simfs *fs);
/* Simulated time that a sync takes, at most; 0: two milliseconds. */
void simfs_set_sync_time(struct simfs *fs, int64_t ns_max);

/* ---- damage --------------------------------------------------------------------------------- */

/* Flips one bit, in the cache and on disk. SL_ENOTFOUND, SL_EEND (behind the end). */
sl_err simfs_flip_bit(struct simfs *fs, const char *path, uint64_t bit);
/* Calls each(arg, path, size) for all files, in the order of their paths. */
void simfs_each_file(const struct simfs *fs,
                     void (*each)(void *arg, const char *path, int64_t size), void *arg);
/* A copy of all as programs see it, fully durable. */
struct simfs *simfs_copy(const struct simfs *fs);

#endif
