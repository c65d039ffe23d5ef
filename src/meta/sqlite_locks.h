/* Locks and the shared memory of a database's log (WAL) that live in this process only.
 *
 * For files that no other process can see: several connections of a simulated program share one
 * file. All of them on one thread of the system, as in tests/sim; the real program uses SQLite's
 * own unix files instead, whose locks other processes see. */
#ifndef SLUICE_META_SQLITE_LOCKS_H
#define SLUICE_META_SQLITE_LOCKS_H

#include "base/list.h"

#include <sqlite3.h>

struct sqlite_locks; /* of one file: all its connections share it */

/* What one connection holds of them. Zeroed: nothing. */
struct sqlite_holder {
    struct sqlite_locks *locks;         /* counted by join and leave */
    int level;                          /* SQLITE_LOCK_x */
    unsigned shm_shared, shm_exclusive; /* bit per slot */
};

/* The locks of `path` among `files` (a list of struct sqlite_locks), made when absent. */
void sqlite_locks_join(struct list *files, const char *path, struct sqlite_holder *h);
/* Gives back what is held; the last one frees. Accepts a holder that never joined. */
void sqlite_locks_leave(struct sqlite_holder *h);

/* As the methods of sqlite3_io_methods with these names: results are SQLite's. */
int sqlite_locks_lock(struct sqlite_holder *h, int level);
int sqlite_locks_unlock(struct sqlite_holder *h, int level);
bool sqlite_locks_reserved(const struct sqlite_holder *h);
int sqlite_locks_shm_map(struct sqlite_holder *h, int region, int bytes, int extend,
                         void volatile **ret);
int sqlite_locks_shm_lock(struct sqlite_holder *h, int first, int n, int flags);
void sqlite_locks_shm_unmap(struct sqlite_holder *h, int remove);

#endif
