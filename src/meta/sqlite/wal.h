/* Looks at a write-ahead log of SQLite: does it end where writing stopped, or is it damaged?
 *
 * SQLite takes the first frame that fails its checksum for the torn end and drops what follows
 * without a word. Each transaction is synced before the next one begins (synchronous=FULL), so a
 * frame that was computed from a commit further on proves that the bad one had been durable:
 * damage. The last transaction of a log proves nothing about itself. Reads only. */
#ifndef SLUICE_META_SQLITE_WAL_H
#define SLUICE_META_SQLITE_WAL_H

#include "meta/sqlite_files.h"
#include "vfs/vfs.h"

/* The files need not be there. */
sl_err meta__wal_check(struct vfs *v, const char *db_path, const char *wal_path,
                       bool *ret_damaged) SL_CHECKED;
/* Bytes of a log, and the database beside it (looked at only when the header is damaged). */
sl_err meta__wal_judge(struct slice bytes, struct vfs_file *db, bool *ret_damaged) SL_CHECKED;

#endif
