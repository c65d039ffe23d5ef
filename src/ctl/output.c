#include "ctl/output.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* ---- values ------------------------------------------------------------------------------------
 */

json_t *out_text(struct slice s)
{
    return json_stringn(s.data ? (const char *)s.data : "", s.len);
}

static json_t *base64(struct slice s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = (s.len + 2) / 3 * 4, at = 0;
    char *text = sl_alloc(len + 1, 1);
    for (size_t i = 0; i < s.len; i += 3) {
        uint32_t left = (uint32_t)SL_MIN(s.len - i, (size_t)3);
        uint32_t v = (uint32_t)s.data[i] << 16;
        v |= left > 1 ? (uint32_t)s.data[i + 1] << 8 : 0;
        v |= left > 2 ? s.data[i + 2] : 0;
        text[at++] = digits[v >> 18];
        text[at++] = digits[v >> 12 & 63];
        text[at++] = (char)(left > 1 ? digits[v >> 6 & 63] : '=');
        text[at++] = (char)(left > 2 ? digits[v & 63] : '=');
    }
    json_t *json = json_stringn(text, len);
    sl_free(text);
    return json;
}

/* Bytes of the sequence that begins here; 0: it is not UTF-8. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n == 0 || n > left || p[0] > 0xF4 || p[0] == 0)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    bool wrong = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
                 (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F);
    return wrong ? 0 : n;
}

char *out_lossy(struct slice s)
{
    static const char unknown[] = "\xEF\xBF\xBD";
    char *text = sl_alloc(s.len * 3 + 1, 1);
    size_t at = 0;
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_sequence(s.data + i, s.len - i);
        memcpy(text + at, n ? (const char *)s.data + i : unknown, n ? n : 3);
        at += n ? n : 3;
        i += n ? n : 1;
    }
    return text;
}

void out_bytes(json_t *object, const char *key, struct slice s)
{
    if (!s.data) {
        json_object_set_new(object, key, json_null());
        return;
    }
    json_t *text = out_text(s);
    if (text) {
        json_object_set_new(object, key, text);
        return;
    }
    char name[64];
    (void)snprintf(name, sizeof name, "%s_base64", key);
    json_object_set_new(object, name, base64(s));
}

json_t *out_uuid(const struct uuid *id)
{
    char text[UUID_BASE64_BYTES];
    if (uuid_is_zero(id))
        return json_null();
    uuid_format_base64(id, text);
    return json_string(text);
}

void out_size(int64_t bytes, char ret_text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t unit = 0;
    for (; v >= 1024 && unit + 1 < SL_ARRAY_LEN(units); unit++)
        v /= 1024;
    (void)snprintf(ret_text, 32, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

/* ---- tables -------------------------------------------------------------------------------------
 */

enum { CELL_BYTES = 256, COLUMNS_MAX = 12 };

/* The text of a cell; true when it is a number. */
static bool cell_text(const json_t *value, char ret_text[CELL_BYTES])
{
    if (json_is_integer(value)) {
        (void)snprintf(ret_text, CELL_BYTES, "%lld", (long long)json_integer_value(value));
        return true;
    }
    const char *text = json_is_string(value)  ? json_string_value(value)
                       : json_is_true(value)  ? "yes"
                       : json_is_false(value) ? "no"
                                              : "-";
    (void)snprintf(ret_text, CELL_BYTES, "%s", text);
    return false;
}

/* Columns are as wide as their text on a terminal: UTF-8 continuation bytes take no place. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *text, int width, bool to_the_right, bool is_last)
{
    int space = width - width_of(text);
    printf("%*s%s", to_the_right ? space : 0, "", text);
    if (!is_last)
        printf("%*s", (to_the_right ? 0 : space) + 2, "");
}

static void measure(const json_t *rows, const struct out_column *columns, int widths[COLUMNS_MAX],
                    bool numeric[COLUMNS_MAX])
{
    char text[CELL_BYTES];
    for (size_t k = 0; columns[k].key; k++) {
        SL_ASSERT(k < COLUMNS_MAX);
        widths[k] = width_of(columns[k].title);
        numeric[k] = true;
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *cell = json_object_get(json_array_get(rows, i), columns[k].key);
            bool is_number = cell_text(cell, text);
            numeric[k] = numeric[k] && (is_number || !cell || json_is_null(cell));
            widths[k] = SL_MAX(widths[k], width_of(text));
        }
    }
}

void out_table(const json_t *rows, const struct out_column *columns, const char *empty)
{
    int widths[COLUMNS_MAX];
    bool numeric[COLUMNS_MAX];
    char text[CELL_BYTES];
    if (json_array_size(rows) == 0) {
        printf("%s\n", empty);
        return;
    }
    measure(rows, columns, widths, numeric);
    for (size_t k = 0; columns[k].key; k++)
        print_cell(columns[k].title, widths[k], numeric[k], !columns[k + 1].key);
    printf("\n");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        for (size_t k = 0; columns[k].key; k++) {
            (void)cell_text(json_object_get(json_array_get(rows, i), columns[k].key), text);
            print_cell(text, widths[k], numeric[k], !columns[k + 1].key);
        }
        printf("\n");
    }
}

bool out_json(const struct ctl *c, const json_t *value)
{
    if (!c->is_json)
        return false;
    (void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY); /* main checks stdout */
    printf("\n");
    return true;
}

void out_rows(const struct ctl *c, json_t *rows, const struct out_column *columns,
              const char *empty)
{
    if (!out_json(c, rows))
        out_table(rows, columns, empty);
    json_decref(rows);
}

/* ---- progress
 * -------------------------------------------------------------------------------------- */

enum { PROGRESS_MS = 200 };
static bool progress_shown;

void out_progress(const char *format, ...)
{
    static int64_t next_ms;
    int64_t now_ms = clock_monotonic_ms(&clock_real);
    if (now_ms < next_ms || !isatty(STDERR_FILENO))
        return;
    next_ms = now_ms + PROGRESS_MS;
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "\r\033[K");
    (void)vfprintf(stderr, format, args);
    va_end(args);
    progress_shown = true;
}

void out_progress_end(void)
{
    if (progress_shown)
        (void)fprintf(stderr, "\r\033[K");
    progress_shown = false;
}
