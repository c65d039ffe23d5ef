#include "base/log.h"

#include "base/clock.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 8192, RATE_SLOTS = 64 };

/* One line while it is made. Appending past the end cuts; CLOSING_BYTES stay free for what
 * closes the line and says that it was cut. */
struct line {
    char bytes[LINE_BYTES_MAX];
    size_t len;
    bool cut;
};

static struct {
    int fd;
    _Atomic enum log_level level_min;
    enum log_format format;
    bool colours, resolved;
} config = {.fd = STDERR_FILENO, .level_min = LOG_LEVEL_INFO};

static pthread_once_t config_once = PTHREAD_ONCE_INIT;

static void resolve_format(void)
{
    if (config.resolved)
        return;
    bool tty = isatty(config.fd) == 1;
    if (config.format == LOG_FORMAT_AUTO)
        config.format = tty ? LOG_FORMAT_PRETTY : LOG_FORMAT_JSON;
    config.colours = tty && config.format == LOG_FORMAT_PRETTY;
    config.resolved = true;
}

void log_configure(int fd, enum log_level level_min, enum log_format format)
{
    (void)pthread_once(&config_once, resolve_format); /* fails only for an invalid argument */
    config.fd = fd;
    config.level_min = level_min;
    config.format = format;
    config.resolved = false;
    resolve_format();
}

bool log_enabled(enum log_level level)
{
    return level >= atomic_load_explicit(&config.level_min, memory_order_relaxed);
}

void log_set_level(enum log_level level_min)
{
    atomic_store_explicit(&config.level_min, level_min, memory_order_relaxed);
}

/* ---- one line ------------------------------------------------------------------------------ */

enum { CLOSING_BYTES = 16, FIELD_BYTES_MIN = 64 };

static size_t room_left(const struct line *l)
{
    size_t end = LINE_BYTES_MAX - CLOSING_BYTES; /* a closing quote may lie behind it */
    return l->len < end ? end - l->len : 0;
}

static void put(struct line *l, const char *text, size_t len)
{
    if (l->cut || len > room_left(l)) {
        l->cut = true; /* whole pieces only, so that an escape is never halved */
        return;
    }
    memcpy(l->bytes + l->len, text, len);
    l->len += len;
}

static void put_text(struct line *l, const char *text)
{
    put(l, text, strlen(text));
}

/* Behind what was cut, too: there is always room for it. */
static void put_closing(struct line *l, const char *text)
{
    size_t len = strlen(text);
    SL_ASSERT(l->len + len <= LINE_BYTES_MAX);
    memcpy(l->bytes + l->len, text, len);
    l->len += len;
}

__attribute__((format(printf, 2, 3))) static void put_format(struct line *l, const char *format,
                                                             ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        put(l, text, SL_MIN((size_t)n, sizeof text - 1));
}

/* Bytes of the UTF-8 character at p, 0 when it is none or when a terminal would obey it. */
static size_t printable_bytes(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool no_character = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    bool control = p[0] == 0xc2 && p[1] < 0xa0; /* C1: some terminals take them for escapes */
    bool turns_text = p[0] == 0xe2 && ((p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) ||
                                       (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
    return overlong || no_character || control || turns_text ? 0 : n;
}

/* Text of others between quotes, as JSON wants it; what is not printable becomes \u00xx. */
static void put_quoted(struct line *l, const uint8_t *p, size_t len)
{
    put_text(l, "\"");
    for (size_t i = 0, n; i < len && !l->cut; i += n) {
        n = printable_bytes(p + i, len - i);
        if (n == 1 && (p[i] == '"' || p[i] == '\\'))
            put_text(l, "\\");
        if (n > 0) {
            put(l, (const char *)p + i, n);
            continue;
        }
        n = 1;
        if (p[i] == '\n')
            put_text(l, "\\n");
        else
            put_format(l, "\\u%04x", p[i]);
    }
    put_closing(l, "\"");
}

static bool is_plain_word(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] <= 0x20 || p[i] >= 0x7f || p[i] == '"' || p[i] == '\\' || p[i] == '=')
            return false;
    return len > 0;
}

static void put_string(struct line *l, const uint8_t *p, size_t len, bool json)
{
    if (!json && is_plain_word(p, len))
        put(l, (const char *)p, len);
    else
        put_quoted(l, p, len);
}

static void put_value(struct line *l, const struct log_field *f, bool json)
{
    switch (f->type) {
    case LOG_FIELD_STR:
        if (f->str)
            put_string(l, (const uint8_t *)f->str, strlen(f->str), json);
        else
            put_text(l, "null");
        break;
    case LOG_FIELD_BYTES:
        put_string(l, f->bytes.data, f->bytes.len, json);
        break;
    case LOG_FIELD_I64:
        put_format(l, "%lld", (long long)f->i64);
        break;
    case LOG_FIELD_F64:
        if (isfinite(f->f64))
            put_format(l, "%.6g", f->f64);
        else
            put_text(l, "null"); /* JSON has no word for it */
        break;
    case LOG_FIELD_BOOL:
        put_text(l, f->boolean ? "true" : "false");
        break;
    }
}

static void put_time(struct line *l, bool with_date)
{
    int64_t now_ms = clock_wall_ms(&clock_real);
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm = {0};
    (void)gmtime_r(&seconds, &tm); /* fails only for years beyond an int */
    if (with_date)
        put_format(l, "%04d-%02d-%02dT", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    put_format(l, "%02d:%02d:%02d.%03dZ", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now_ms % 1000));
}

static const struct {
    const char *json, *pretty, *colour;
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG", "\033[2m"},
    [LOG_LEVEL_INFO] = {"info", "INFO ", "\033[32m"},
    [LOG_LEVEL_WARN] = {"warn", "WARN ", "\033[33m"},
    [LOG_LEVEL_ERROR] = {"error", "ERROR", "\033[1;31m"},
};

static void put_json_field(struct line *l, const struct log_field *f)
{
    put_text(l, ",");
    put_quoted(l, (const uint8_t *)f->name, strlen(f->name));
    put_text(l, ":");
    put_value(l, f, true);
}

static void put_pretty_field(struct line *l, const struct log_field *f)
{
    put_format(l, config.colours ? "  \033[2m%s=\033[0m" : "  %s=", f->name);
    put_value(l, f, false);
}

static void put_json_head(struct line *l, enum log_level level, const char *event,
                          const char *sentence)
{
    put_text(l, "{\"time\":\"");
    put_time(l, true);
    put_format(l, "\",\"level\":\"%s\",\"event\":\"%s\",\"msg\":", levels[level].json, event);
    put_quoted(l, (const uint8_t *)sentence, strlen(sentence));
}

static void put_pretty_head(struct line *l, enum log_level level, const char *event,
                            const char *sentence)
{
    put_time(l, false);
    if (config.colours)
        put_format(l, " %s%s\033[0m ", levels[level].colour, levels[level].pretty);
    else
        put_format(l, " %s ", levels[level].pretty);
    put_text(l, sentence);
    put_format(l, config.colours ? "  \033[36m%s\033[0m" : "  %s", event);
}

/* ---- rate limit ---------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    struct {
        const char *event; /* static text of the caller */
        int64_t passed_ns;
        int64_t left_out;
    } slots[RATE_SLOTS];
} rate = {.lock = PTHREAD_MUTEX_INITIALIZER};
static atomic_bool rate_used;

/* The slot of an event, or the one that was used longest ago. */
static size_t rate_slot(const char *event)
{
    size_t oldest = 0;
    for (size_t i = 0; i < RATE_SLOTS; i++) {
        if (rate.slots[i].event && strcmp(rate.slots[i].event, event) == 0)
            return i;
        if (!rate.slots[i].event)
            return i;
        if (rate.slots[i].passed_ns < rate.slots[oldest].passed_ns)
            oldest = i;
    }
    rate.slots[oldest].event = NULL;
    return oldest;
}

bool log_rate_limited(const char *event)
{
    enum { SECOND_NS = 1000000000 };
    int64_t now_ns = clock_monotonic_ns(&clock_real);
    (void)pthread_mutex_lock(&rate.lock);
    size_t i = rate_slot(event);
    bool fresh = rate.slots[i].event == NULL;
    bool limited = !fresh && now_ns - rate.slots[i].passed_ns < SECOND_NS;
    if (fresh) {
        rate.slots[i].event = event;
        rate.slots[i].left_out = 0;
    }
    if (limited)
        rate.slots[i].left_out++;
    else
        rate.slots[i].passed_ns = now_ns;
    (void)pthread_mutex_unlock(&rate.lock);
    atomic_store_explicit(&rate_used, true, memory_order_relaxed);
    return limited;
}

/* Lines of this event that were left out since its last one; forgets them. */
static int64_t rate_take_left_out(const char *event)
{
    if (!atomic_load_explicit(&rate_used, memory_order_relaxed))
        return 0;
    int64_t n = 0;
    (void)pthread_mutex_lock(&rate.lock);
    for (size_t i = 0; i < RATE_SLOTS; i++) {
        if (rate.slots[i].event && strcmp(rate.slots[i].event, event) == 0) {
            n = rate.slots[i].left_out;
            rate.slots[i].left_out = 0;
            break;
        }
    }
    (void)pthread_mutex_unlock(&rate.lock);
    return n;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* A field begins only where its name and a number fit, so that what is cut is text between quotes
 * or a whole field: the line stays valid JSON. */
static void put_fields(struct line *l, const struct log_field *fields, size_t n, bool json)
{
    for (size_t i = 0; i < n && !l->cut; i++) {
        if (room_left(l) < strlen(fields[i].name) + FIELD_BYTES_MIN)
            l->cut = true;
        else if (json)
            put_json_field(l, &fields[i]);
        else
            put_pretty_field(l, &fields[i]);
    }
}

static void put_end(struct line *l, bool json)
{
    if (l->cut)
        put_closing(l, json ? ",\"cut\":true" : "...(cut)");
    put_closing(l, json ? "}\n" : "\n");
}

void log_write(enum log_level level, const char *event, const char *sentence,
               const struct log_field *fields, size_t n_fields)
{
    (void)pthread_once(&config_once, resolve_format); /* fails only for an invalid argument */
    bool json = config.format == LOG_FORMAT_JSON;
    struct line l;
    l.len = 0;
    l.cut = false;
    if (json)
        put_json_head(&l, level, event, sentence);
    else
        put_pretty_head(&l, level, event, sentence);
    int64_t left_out = rate_take_left_out(event);
    if (left_out > 0)
        put_fields(&l, (struct log_field[]){F_I64("left_out", left_out)}, 1, json);
    put_fields(&l, fields, n_fields, json);
    put_end(&l, json);
    /* A log that cannot be written has nobody to tell. */
    ssize_t n = write(config.fd, l.bytes, l.len);
    (void)n;
}
