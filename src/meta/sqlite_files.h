/* SQLite's view of our files: a sqlite3_vfs over struct vfs, so that crash states, full disks and
 * failing syncs of the simulated files reach the database too.
 *
 * For one connection in exclusive locking mode: locks are no-ops (the server holds DIR/LOCK) and
 * there is no shared memory, so WAL works only after locking_mode=EXCLUSIVE. After the first failed
 * sync, every later write and sync fails: nothing is synced twice (P5). The thread that holds the
 * store's lock.
 *
 * Each page of meta.db ends in a CRC32C over its place and its bytes, which SQLite leaves room for
 * (reserved bytes): a flipped bit, a page that was written elsewhere or not at all are found when
 * the page is read, before SQLite follows a pointer in it.
 *
 * `shared` is for tests of a database that has several connections (storage/sqlite): locks and
 * shared memory live in this process (sqlite_locks.h), and pages have no checksums, because other
 * programs must be able to write them. */
#ifndef SLUICE_META_SQLITE_FILES_H
#define SLUICE_META_SQLITE_FILES_H

#include "meta/sqlite_locks.h"

#include <sqlite3.h>

struct vfs;

struct sqlite_files {
    sqlite3_vfs base;
    struct vfs *vfs; /* borrowed */
    char name[40];
    bool shared;          /* set before it is registered: see above */
    struct list locks;    /* of its open files, when shared */
    bool sync_failed;     /* sticks */
    int64_t damaged_page; /* of the last read that failed its checksum, from 1; 0: none */
};

enum { META_PAGE_BYTES = 4096, META_PAGE_RESERVED_BYTES = 8 };

/* Registers it with SQLite under f->name. Memory is the caller's. */
sl_err sqlite_files_register(struct sqlite_files *f, struct vfs *vfs) SL_CHECKED;
/* After the connection is closed. Accepts one that was never registered. */
void sqlite_files_unregister(struct sqlite_files *f);

/* Before the first connection: makes <dir>/<name>-wal durable. After a kill the log may be in the
 * page cache only, or not even waiting for the disk any more after a failed sync. What SQLite now
 * reads from it others act upon, so it must not go again. After a clean end there is none. */
sl_err sqlite_files_keep_wal(struct vfs *v, const char *dir, const char *name) SL_CHECKED;

#endif
