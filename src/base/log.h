/* Structured logs: a stable event name, a plain sentence, typed fields.
 *
 * LOG_INFO("server.ready", "serving", F_STR("kafka", addr), F_I64("pid", pid));
 * Pretty with colours on a terminal, one JSON object a line otherwise; text from peers is escaped.
 * Library code returns errors and stays silent; who decides logs, once. Any thread. */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include "base/slice.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_PRETTY, LOG_FORMAT_JSON };

struct log_field {
    const char *name;
    enum { LOG_FIELD_STR, LOG_FIELD_BYTES, LOG_FIELD_I64, LOG_FIELD_F64, LOG_FIELD_BOOL } type;
    union {
        const char *str;
        struct slice bytes;
        int64_t i64;
        double f64;
        bool boolean;
    };
};

/* Where and how; stderr, INFO and AUTO until called. Not while other threads log. */
void log_configure(int fd, enum log_level level_min, enum log_format format);
void log_set_level(enum log_level level_min); /* any time, any thread */
bool log_enabled(enum log_level level);
/* Writes one line with one write(2); cut beyond 8 KiB, and says so. Prefer the macros. */
void log_write(enum log_level level, const char *event, const char *sentence,
               const struct log_field *fields, size_t n_fields);
/* if (!log_rate_limited("x")) LOG_WARN("x", ...): at most one line per event and second passes; the
 * next one says how many were left out. `event` is static text. */
bool log_rate_limited(const char *event);

#define F_STR(n, v)   ((struct log_field){.name = (n), .type = LOG_FIELD_STR, .str = (v)})
#define F_BYTES(n, v) ((struct log_field){.name = (n), .type = LOG_FIELD_BYTES, .bytes = (v)})
#define F_I64(n, v)   ((struct log_field){.name = (n), .type = LOG_FIELD_I64, .i64 = (int64_t)(v)})
#define F_F64(n, v)   ((struct log_field){.name = (n), .type = LOG_FIELD_F64, .f64 = (v)})
#define F_BOOL(n, v)  ((struct log_field){.name = (n), .type = LOG_FIELD_BOOL, .boolean = (v)})
#define F_ERR(e)      F_STR("error", sl_err_text(e))

#define LOG_AT(level, event, sentence, ...)                                                        \
    do {                                                                                           \
        if (log_enabled(level)) {                                                                  \
            const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};                           \
            log_write(level, event, sentence, log_fields_ + 1, SL_ARRAY_LEN(log_fields_) - 1);     \
        }                                                                                          \
    } while (0)
#define LOG_DEBUG(event, sentence, ...) LOG_AT(LOG_LEVEL_DEBUG, event, sentence, ##__VA_ARGS__)
#define LOG_INFO(event, sentence, ...)  LOG_AT(LOG_LEVEL_INFO, event, sentence, ##__VA_ARGS__)
#define LOG_WARN(event, sentence, ...)  LOG_AT(LOG_LEVEL_WARN, event, sentence, ##__VA_ARGS__)
#define LOG_ERROR(event, sentence, ...) LOG_AT(LOG_LEVEL_ERROR, event, sentence, ##__VA_ARGS__)

#endif
