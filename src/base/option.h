/* Options: one typed table makes parsing, validation, messages, help and documentation.
 *
 * A program lists its options in a .def file, one row each (server/options.def), and turns it into
 * a struct option_table with the macros below. Values come from four sources; a higher source wins
 * over a lower one, and within one source the option's own name wins over an alias, with a notice.
 * Text values live as long as the set. One thread; reading is free for all once set up. */
#ifndef SLUICE_BASE_OPTION_H
#define SLUICE_BASE_OPTION_H

#include "base/buf.h"
#include "base/err.h"

enum option_type {
    OPTION_STR,   /* text without control characters; max: its length */
    OPTION_BOOL,  /* true false yes no on off 1 0 */
    OPTION_COUNT, /* a whole number */
    OPTION_BYTES, /* 1048576, 1MiB, 64k, 2GB */
    OPTION_MS,    /* 5000, 500ms, 30s, 10m, 1h, 7d */
    OPTION_ADDR,  /* host:port, [v6]:port, host, port */
    OPTION_ENUM,  /* one of its choices */
};

enum option_change {
    OPTION_START, /* read when the program starts */
    OPTION_LIVE,  /* read again on SIGHUP */
};

enum option_source { OPTION_DEFAULT, OPTION_FILE, OPTION_ENV, OPTION_FLAG };

/* A name starts in the table as snake_case. From it: flag --snake-case, environment
 * <prefix>SNAKE_CASE, key snake_case. Aliases are words: UPPER_CASE is an environment variable, -x
 * and --long are flags, with.dots is a key and Kafka's name of the option. */
struct option_row {
    const char *name, *section;
    enum option_type type;
    enum option_change change;
    const char *text;    /* default of STR, ADDR, ENUM */
    const char *choices; /* ENUM: "debug|info|warn"; "pretty=text" makes text another word for it */
    int64_t number;      /* default of the others */
    int64_t min, max;
    const char *aliases, *help;
};

struct option_table {
    const struct option_row *rows;
    size_t n_rows;
    const char *env_prefix; /* "SLUICE_" */
};

/* For the .def files: OPTION(name, TYPE, default, min, max, CHANGE, aliases, help). */
#define OPTION_ROW_STR(d, lo, hi)   .text = (d), .min = (lo), .max = (hi)
#define OPTION_ROW_ADDR(d, lo, hi)  .text = (d), .min = (lo), .max = (hi)
#define OPTION_ROW_ENUM(d, lo, hi)  .text = (d), .choices = (lo), .max = (hi)
#define OPTION_ROW_BOOL(d, lo, hi)  .number = (d), .min = (lo), .max = (hi)
#define OPTION_ROW_COUNT(d, lo, hi) .number = (d), .min = (lo), .max = (hi)
#define OPTION_ROW_BYTES(d, lo, hi) .number = (d), .min = (lo), .max = (hi)
#define OPTION_ROW_MS(d, lo, hi)    .number = (d), .min = (lo), .max = (hi)
#define OPTION_ROW(sect, n, t, d, lo, hi, ch, al, hl)                                              \
    {                                                                                              \
        .name = #n, .section = (sect), .type = OPTION_##t, OPTION_ROW_##t(d, lo, hi),              \
        .change = OPTION_##ch, .aliases = (al), .help = (hl)                                       \
    }
#define KiB(n)     ((int64_t)(n) << 10)
#define MiB(n)     ((int64_t)(n) << 20)
#define GiB(n)     ((int64_t)(n) << 30)
#define SECONDS(n) ((int64_t)(n)*1000)
#define MINUTES(n) SECONDS((int64_t)(n)*60)
#define HOURS(n)   MINUTES((int64_t)(n)*60)
#define DAYS(n)    HOURS((int64_t)(n)*24)

struct options;

/* Every option has its default. Never NULL; table is borrowed. */
struct options *options_new(const struct option_table *table);
void options_free(struct options *o); /* accepts NULL */
SL_DEFINE_AUTO(struct options *, options_free);
const struct option_table *options_table(const struct options *o);

/* Index of the row with this flag (with its dashes), variable or key (also with - for _); -1:
 * none. *ret_is_alias may be NULL. */
int option_find(const struct option_table *t, enum option_source source, const char *name,
                bool *ret_is_alias);
/* The closest name of that source, for "did you mean"; NULL when nothing is near. buf holds it. */
const char *option_nearest(const struct option_table *t, enum option_source source,
                           const char *name, char *buf, size_t size);

/* Where a text was found: under `given_as` of that source ("--http-addr"). */
struct option_origin {
    enum option_source source;
    const char *given_as;
    int line; /* of a file, else 0 */
};

/* Sets row i. SL_ECONFIG: fault says the key, the value and what is allowed; the option keeps its
 * value. A lower source never replaces a higher one. */
sl_err option_set(struct options *o, size_t i, struct option_origin from, const char *text,
                  struct sl_fault *fault) SL_CHECKED;

/* Reads the environment: each row's own name first, then its aliases. env may be NULL (environ). */
sl_err options_read_env(struct options *o, char *const *env, struct sl_fault *fault) SL_CHECKED;
/* Reads flags from argv[0..argc): --name value, --name=value, --bool, --no-bool, -x value. */
sl_err options_read_flags(struct options *o, int argc, char *const *argv,
                          struct sl_fault *fault) SL_CHECKED;

int64_t option_number(const struct options *o, size_t i); /* BOOL 0/1; ENUM: index of the choice */
const char *option_text(const struct options *o, size_t i); /* STR, ADDR; ENUM: the choice */
enum option_source option_source(const struct options *o, size_t i);

/* Sentences about what was ignored and why; for the log. */
size_t options_notice_count(const struct options *o);
const char *options_notice(const struct options *o, size_t i);
void options_add_notice(struct options *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The value as a person writes it: "64 MiB", "7 d", "127.0.0.1:9092". */
void option_print(const struct options *o, size_t i, struct buf *out);
/* What is allowed: "1 MiB to 2 GiB", "debug, info, warn or error". */
void option_print_allowed(const struct option_row *row, struct buf *out);
/* Help for a terminal; the table of docs/configuration.md. */
void options_print_help(const struct option_table *t, struct buf *out);
void options_print_markdown(const struct option_table *t, struct buf *out);

/* ---- values by themselves ----------------------------------------------------------------- */

sl_err option_parse_bytes(const char *text, int64_t *ret) SL_CHECKED; /* SL_EINVAL */
sl_err option_parse_ms(const char *text, int64_t *ret) SL_CHECKED;    /* SL_EINVAL */
sl_err option_parse_count(const char *text, int64_t *ret) SL_CHECKED; /* SL_EINVAL */
/* Splits an ADDR: *ret_host is "" when there is none, *ret_port -1. SL_EINVAL. */
enum { OPTION_HOST_BYTES = 256 };
sl_err option_parse_addr(const char *text, char ret_host[OPTION_HOST_BYTES],
                         int *ret_port) SL_CHECKED;
void option_print_bytes(int64_t n, struct buf *out); /* 1536 -> "1536 bytes", 1048576 -> "1 MiB" */
void option_print_ms(int64_t n, struct buf *out);    /* 90000 -> "90 s" */

#endif
