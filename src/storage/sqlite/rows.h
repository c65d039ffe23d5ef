/* Rows of sluice.db: columns with their CRC32C, statements, connections.
 *
 * The checksum covers the columns in the order in which they are bound, NULL told from empty; the
 * readable copies (attributes) and the rowid aside. Format: docs/formats/sluice-db.md. The thread
 * that has the connection. */
#ifndef SLUICE_STORAGE_SQLITE_ROWS_H
#define SLUICE_STORAGE_SQLITE_ROWS_H

#include "base/slice.h"

#include <sqlite3.h>

enum sqlog_statement {
#define STATEMENT(name, sql) ST_##name,
#include "storage/sqlite/statements.def"
#undef STATEMENT
    ST_COUNT
};

enum sqlog_read_statement {
#define READ(name, sql) READ_##name,
#include "storage/sqlite/reads.def"
#undef READ
    READ_COUNT
};

enum { ROW_BYTES_EXTRA = 100 }; /* of a message beside key, payload and headers, about */

/* The connection that writes. */
struct sqlog_db {
    sqlite3 *db;
    sqlite3_stmt *statements[ST_COUNT];
};

/* A partition's own row. */
struct sqlog_row {
    int64_t log_start, next_offset, bytes, last_append_ms, max_at;
};

/* Sets a connection up. `reads`: only reads. */
sl_err sqlog__connect(const char *path, const char *vfs_name, bool reads, sqlite3 **ret,
                      struct sl_fault *fault) SL_CHECKED;
/* Makes the tables of a new file. SL_EFORMAT: made by a newer version. */
sl_err sqlog__migrate(sqlite3 *db, struct sl_fault *fault) SL_CHECKED;
sl_err sqlog__prepare(struct sqlog_db *db, struct sl_fault *fault) SL_CHECKED;
void sqlog__disconnect(struct sqlog_db *db);

/* What SQLite's result means: SL_ENOSPC, SL_ENOMEM, SL_ECORRUPT, SL_ELIMIT (somebody else holds the
 * lock), SL_EUNKNOWN_OUTCOME (input, output), SL_EBUG. Fills the fault with its message. */
sl_err sqlog__error(sqlite3 *db, int rc, struct sl_fault *fault);
/* Runs a statement without parameters. */
sl_err sqlog__run(struct sqlog_db *db, enum sqlog_statement st, struct sl_fault *fault);

/* ---- columns: each put binds the next one and extends the checksum ---- */

struct sqlog_out {
    sqlite3_stmt *stmt;
    int column, rc;
    uint32_t crc;
};

struct sqlog_out sqlog__out(struct sqlog_db *db, enum sqlog_statement st);
void sqlog__put_i64(struct sqlog_out *o, int64_t v);
void sqlog__put_blob(struct sqlog_out *o, struct slice bytes);    /* data NULL: NULL */
void sqlog__put_text(struct sqlog_out *o, struct slice text);     /* likewise */
void sqlog__put_readable(struct sqlog_out *o, struct slice text); /* not in the checksum */
/* Binds the checksum as the next column. */
void sqlog__put_crc(struct sqlog_out *o);
/* Runs to the end. */
sl_err sqlog__put_end(struct sqlog_out *o, struct sqlog_db *db, struct sl_fault *fault) SL_CHECKED;

/* The current row of a statement; pointers live until the next step. */
struct sqlog_in {
    sqlite3_stmt *stmt;
    int column;
    uint32_t crc;
};

struct sqlog_in sqlog__in(sqlite3_stmt *stmt);
int64_t sqlog__get_i64(struct sqlog_in *in);
struct slice sqlog__get_blob(struct sqlog_in *in); /* text, too; data NULL: NULL */
bool sqlog__get_end(struct sqlog_in *in);          /* true when the checksum column holds */

#endif
