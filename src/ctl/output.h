/* Results: one JSON value per command, printed as it is or as tables. One thread. */
#ifndef SLUICE_CTL_OUTPUT_H
#define SLUICE_CTL_OUTPUT_H

#include "base/uuid.h"
#include "ctl/ctl.h"

#include <jansson.h>

struct out_column {
    const char *key; /* of the objects in the array; NULL ends a list */
    const char *title;
};

/* Prints JSON when it was asked for (and returns true). */
bool out_json(const struct ctl *c, const json_t *value);
/* An array of objects as a table; numbers to the right. Says `empty` when there is no row. */
void out_table(const json_t *rows, const struct out_column *columns, const char *empty);
/* Both ways: JSON or one table; drops the reference. */
void out_rows(const struct ctl *c, json_t *rows, const struct out_column *columns,
              const char *empty);

/* JSON text of bytes; a string when they are UTF-8, else NULL. */
json_t *out_text(struct slice s);
/* Adds "key": text, or "key_base64" when it is not UTF-8; null for null. */
void out_bytes(json_t *object, const char *key, struct slice s);
/* UTF-8 text of any bytes: what is none becomes U+FFFD, NUL too. sl_free it. */
char *out_lossy(struct slice s);
json_t *out_uuid(const struct uuid *id);
/* "12.3 MiB" */
void out_size(int64_t bytes, char ret_text[32]);

/* A line that is written over and over on a terminal's stderr, a few times a second; nothing
 * elsewhere. */
void out_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void out_progress_end(void);

#endif
