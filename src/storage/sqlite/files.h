/* SQLite's own unix files, watched: locks and shared memory are real, so other programs may read
 * and back up sluice.db while we run.
 *
 * Syncs are counted. After the first one that fails every later write and sync fails: SQLite would
 * try a checkpoint's sync again, and on Linux the second one says yes although pages are lost (P5).
 * No other code of the process opens these files: closing any descriptor drops the locks. */
#ifndef SLUICE_STORAGE_SQLITE_FILES_H
#define SLUICE_STORAGE_SQLITE_FILES_H

#include "base/clock.h"
#include "base/err.h"

#include <stdatomic.h>

struct sqlog_files;
struct vfs;

/* On the real files SQLite's unix VFS; on others SQLite over `vfs`, its locks in this process. */
sl_err sqlog__files_new(struct vfs *vfs, const struct clock *clock,
                        struct sqlog_files **ret) SL_CHECKED;
/* After all connections are closed. Accepts NULL. */
void sqlog__files_free(struct sqlog_files *f);
const char *sqlog__files_name(const struct sqlog_files *f);
/* Any thread. */
uint64_t sqlog__files_syncs(const struct sqlog_files *f, uint64_t *ret_ns);
bool sqlog__files_broken(const struct sqlog_files *f);
/* Tests: the n-th sync from now fails (0: none). */
void sqlog__files_fail_sync(struct sqlog_files *f, uint64_t n);

#endif
