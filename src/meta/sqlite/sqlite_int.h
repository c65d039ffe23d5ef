/* Inside of the SQLite metastore. Owner of the struct: store.c. */
#ifndef SLUICE_META_SQLITE_INT_H
#define SLUICE_META_SQLITE_INT_H

#include "meta/metastore.h"
#include "meta/sqlite_files.h"

enum statement {
#define STATEMENT(name, sql) ST_##name,
#include "meta/sqlite/statements.def"
#undef STATEMENT
    ST_COUNT
};

struct sqlite_meta {
    struct metastore base; /* first */
    struct sqlite_files files;
    sqlite3 *db;
    sqlite3_stmt *statements[ST_COUNT];
    struct mutex *db_lock; /* who holds it may use db, statements and files */
    bool broken;           /* db_lock: a commit of unknown outcome happened, nothing goes on */

    struct mutex *lock; /* the fields below; never held while the database works */
    struct cond *changed;
    struct task *queue_head, **queue_tail; /* meta_txn.task */
    bool stopping;
    struct thread *thread;
};

/* ---- schema.c ---- */
/* Opens <dir>/<name>, sets the connection up, migrates and prepares. */
sl_err meta__connect(struct sqlite_meta *m, const char *dir, const char *name,
                     struct sl_fault *fault) SL_CHECKED;
/* Closing would move the log into the file: a damaged one and its log are left as found. */
void meta__leave_log(struct sqlite_meta *m, bool leave);
void meta__disconnect(struct sqlite_meta *m);

/* ---- rows.c ---- */
/* Executes one operation inside the open transaction. */
sl_err meta__apply(struct sqlite_meta *m, const struct meta_op *op,
                   struct sl_fault *fault) SL_CHECKED;
/* Runs a statement without parameters. */
sl_err meta__run(struct sqlite_meta *m, enum statement st, struct sl_fault *fault);
/* What SQLite's result means to us; fills the fault with its message. */
sl_err meta__error(struct sqlite_meta *m, int rc, struct sl_fault *fault);

/* ---- store.c ---- */
struct sqlite_meta *meta__of(struct metastore *m);

/* ---- salvage.c ---- */
/* Reads every page and every row. SL_ECORRUPT: the fault names the first that is damaged. */
sl_err meta__verify(struct sqlite_meta *m, struct sl_fault *fault) SL_CHECKED;
struct salvaged {
    int64_t rows, lost; /* lost: rows that fail their checksum; those of lost pages are not known */
    bool whole;         /* every table was read from end to end */
};
/* Makes <dir>/<to>, with every row of <dir>/<from> that can be read and holds; not the proof that
 * the store belongs to its log. Leaves `from` and its log alone. */
sl_err meta__salvage(struct vfs *v, const char *dir, const char *from, const char *to,
                     struct salvaged *ret, struct sl_fault *fault) SL_CHECKED;

/* ---- load.c ---- */
sl_err meta__load(struct sqlite_meta *m, const struct meta_loader *loader,
                  struct sl_fault *fault) SL_CHECKED;

/* ---- row.c: columns with their checksum, in one order for writing and reading ---- */

/* A row on its way into a statement: each put binds the next column and extends the checksum. */
struct row_out {
    sqlite3_stmt *stmt;
    int column;
    uint32_t crc;
    int rc; /* first failure of a bind */
};

struct row_out meta__row_out(struct sqlite_meta *m, enum statement st, const char *table);
void meta__put_i64(struct row_out *r, int64_t v);
void meta__put_blob(struct row_out *r, const void *data, size_t len);
void meta__put_uuid(struct row_out *r, const struct uuid *u);
void meta__put_text(struct row_out *r, const char *text); /* NULL counts as "" */
/* Binds the checksum, runs the statement, resets it. */
sl_err meta__put_end(struct row_out *r, struct sqlite_meta *m, struct sl_fault *fault) SL_CHECKED;
/* The same without a checksum column: deletes. */
sl_err meta__put_end_plain(struct row_out *r, struct sqlite_meta *m,
                           struct sl_fault *fault) SL_CHECKED;

/* The current row of a statement; pointers live until the next step. */
struct row_in {
    sqlite3_stmt *stmt;
    int column;
    uint32_t crc;
};

struct row_in meta__row_in(sqlite3_stmt *stmt, const char *table);
int64_t meta__get_i64(struct row_in *r);
struct slice meta__get_blob(struct row_in *r);
struct uuid meta__get_uuid(struct row_in *r);
const char *meta__get_text(struct row_in *r);
/* True when the checksum column holds. */
bool meta__get_end(struct row_in *r);
/* The same for a whole row whose last column is the checksum, whatever the others are. */
bool meta__row_holds(sqlite3_stmt *stmt, const char *table);

#endif
