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
 * the page is read, before SQLite follows a pointer in it. */
#ifndef SLUICE_META_SQLITE_FILES_H
#define SLUICE_META_SQLITE_FILES_H

#include "base/err.h"

#include <sqlite3.h>

struct vfs;

struct sqlite_files {
    sqlite3_vfs base;
    struct vfs *vfs; /* borrowed */
    char name[40];
    bool sync_failed;     /* sticks */
    int64_t damaged_page; /* of the last read that failed its checksum, from 1; 0: none */
};

enum { META_PAGE_BYTES = 4096, META_PAGE_RESERVED_BYTES = 8 };

/* Registers it with SQLite under f->name. Memory is the caller's. */
sl_err meta__files_register(struct sqlite_files *f, struct vfs *vfs) SL_CHECKED;
/* After the connection is closed. Accepts one that was never registered. */
void meta__files_unregister(struct sqlite_files *f);

#endif
