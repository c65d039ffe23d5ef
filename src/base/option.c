#include "base/option.h"

#include "base/alloc.h"
#include "base/option_int.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

enum { NOTICES_MAX = 64, NOTICE_BYTES_MAX = 512 };

struct option_value {
    int64_t number;
    char *text;
    enum option_source source;
    bool by_alias;
    char given_as[OPTION_NAME_BYTES];
};

struct options {
    const struct option_table *table;
    struct option_value *values;
    char *notices[NOTICES_MAX];
    size_t n_notices;
};

struct options *options_new(const struct option_table *table)
{
    struct options *o = sl_new(struct options);
    o->table = table;
    o->values = sl_new_array(struct option_value, table->n_rows);
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct option_row *row = &table->rows[i];
        if (!row->text)
            o->values[i].number = row->number;
        else if (row->type != OPTION_ENUM)
            o->values[i].text = sl_strdup(row->text);
        else
            SL_ASSERT(option_set(o, i, (struct option_origin){OPTION_DEFAULT, row->name, 0},
                                 row->text, NULL) == SL_OK);
    }
    return o;
}

void options_free(struct options *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->table->n_rows; i++)
        sl_free(o->values[i].text);
    for (size_t i = 0; i < o->n_notices; i++)
        sl_free(o->notices[i]);
    sl_free(o->values);
    sl_free(o);
}

const struct option_table *options_table(const struct options *o)
{
    return o->table;
}

int64_t option_number(const struct options *o, size_t i)
{
    SL_ASSERT(i < o->table->n_rows);
    return o->values[i].number;
}

const char *option_text(const struct options *o, size_t i)
{
    SL_ASSERT(i < o->table->n_rows);
    return o->values[i].text;
}

enum option_source option_source(const struct options *o, size_t i)
{
    SL_ASSERT(i < o->table->n_rows);
    return o->values[i].source;
}

/* ---- notices -------------------------------------------------------------------------------- */

void options_add_notice(struct options *o, const char *format, ...)
{
    if (o->n_notices == NOTICES_MAX)
        return;
    char text[NOTICE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    o->notices[o->n_notices++] = sl_strdup(text);
}

size_t options_notice_count(const struct options *o)
{
    return o->n_notices;
}

const char *options_notice(const struct options *o, size_t i)
{
    SL_ASSERT(i < o->n_notices);
    return o->notices[i];
}

/* ---- setting -------------------------------------------------------------------------------- */

/* What a message shows of a value that somebody else wrote: short, printable. */
const char *option__shown(const char *text, char ret[OPTION_SHOWN_BYTES])
{
    size_t n = 0;
    for (; *text && n < OPTION_SHOWN_BYTES - 4; text++)
        ret[n++] = isprint((unsigned char)*text) ? *text : '?';
    (void)snprintf(ret + n, OPTION_SHOWN_BYTES - n, "%s", *text ? "..." : "");
    return ret;
}

static sl_err refuse(const struct option_row *row, const char *text, const char *problem,
                     struct sl_fault *fault)
{
    char value[OPTION_SHOWN_BYTES];
    struct buf allowed;
    buf_init(&allowed, 1024);
    option_print_allowed(row, &allowed);
    sl_err err = sl_fault_set(fault, SL_ECONFIG, "%s: %s %s; allowed: %.*s", row->name,
                              *text ? option__shown(text, value) : "an empty value", problem,
                              (int)allowed.len, (const char *)allowed.data);
    buf_fini(&allowed);
    return err;
}

static sl_err check_range(const struct option_row *row, const char *text, int64_t n,
                          struct sl_fault *fault)
{
    if (n >= row->min && n <= row->max)
        return SL_OK;
    struct buf problem;
    buf_init(&problem, 128);
    (void)buf_printf(&problem, "is %s ", n < row->min ? "below" : "above");
    int64_t limit = n < row->min ? row->min : row->max;
    if (row->type == OPTION_BYTES)
        option_print_bytes(limit, &problem);
    else if (row->type == OPTION_MS)
        option_print_ms(limit, &problem);
    else
        (void)buf_printf(&problem, "%lld", (long long)limit);
    write_u8(&problem, 0);
    sl_err err = refuse(row, text, (const char *)problem.data, fault);
    buf_fini(&problem);
    return err;
}

static sl_err parse_bool(const char *text, int64_t *ret)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < SL_ARRAY_LEN(words); i++)
        if (strcasecmp(text, words[i]) == 0) {
            *ret = (int64_t)(i % 2);
            return SL_OK;
        }
    return SL_EINVAL;
}

static sl_err parse_number(const struct option_row *row, const char *text, int64_t *ret,
                           struct sl_fault *fault)
{
    sl_err err = SL_EINVAL;
    const char *problem = "is not a number";
    switch (row->type) {
    case OPTION_BOOL:
        err = parse_bool(text, ret);
        problem = "is neither true nor false";
        break;
    case OPTION_COUNT:
        err = option_parse_count(text, ret);
        break;
    case OPTION_BYTES:
        err = option_parse_bytes(text, ret);
        problem = "is not a size such as 64MiB";
        break;
    case OPTION_MS:
        err = option_parse_ms(text, ret);
        problem = "is not a time such as 500ms, 30s or 7d";
        break;
    case OPTION_STR:
    case OPTION_ADDR:
    case OPTION_ENUM:
        SL_UNREACHABLE();
    }
    if (err != SL_OK)
        return refuse(row, text, problem, fault);
    return row->type == OPTION_BOOL ? SL_OK : check_range(row, text, *ret, fault);
}

/* "a|b=c": a is 0, b and c are 1; *ret_word is the first word of the choice. */
static sl_err parse_enum(const struct option_row *row, const char *text, int64_t *ret,
                         struct slice *ret_word, struct sl_fault *fault)
{
    int64_t index = 0;
    struct slice word = {0};
    for (const char *p = row->choices; *p; p += strspn(p, "|=")) {
        size_t len = strcspn(p, "|=");
        if (!word.len)
            word = slice_of(p, len);
        if (len == strlen(text) && strncasecmp(p, text, len) == 0) {
            *ret = index;
            *ret_word = word;
            return SL_OK;
        }
        p += len;
        if (*p == '|') {
            index++;
            word.len = 0;
        }
    }
    return refuse(row, text, "is not one of the choices", fault);
}

static sl_err check_text(const struct option_row *row, const char *text, struct sl_fault *fault)
{
    char host[OPTION_HOST_BYTES];
    int port;
    if (strlen(text) > (size_t)row->max)
        return refuse(row, text, "is too long", fault);
    if (row->min > 0 && !*text)
        return refuse(row, text, "is not allowed", fault);
    for (const char *p = text; *p; p++)
        if (iscntrl((unsigned char)*p))
            return refuse(row, text, "has control characters", fault);
    if (row->type == OPTION_ADDR && *text && option_parse_addr(text, host, &port) != SL_OK)
        return refuse(row, text, "is not an address", fault);
    return SL_OK;
}

/* Parses into *ret; ret->text is owned by the caller on SL_OK. */
static sl_err parse_value(const struct option_row *row, const char *text, struct option_value *ret,
                          struct sl_fault *fault)
{
    struct slice word = {0};
    switch (row->type) {
    case OPTION_STR:
    case OPTION_ADDR:
        SL_TRY(check_text(row, text, fault));
        ret->text = sl_strdup(text);
        return SL_OK;
    case OPTION_ENUM:
        SL_TRY(parse_enum(row, text, &ret->number, &word, fault));
        SL_ASSERT(word.data);
        ret->text = sl_alloc(word.len + 1, 1);
        memcpy(ret->text, word.data, word.len);
        return SL_OK;
    case OPTION_BOOL:
    case OPTION_COUNT:
    case OPTION_BYTES:
    case OPTION_MS:
        return parse_number(row, text, &ret->number, fault);
    }
    SL_UNREACHABLE();
}

static bool value_equal(const struct option_value *a, const struct option_value *b)
{
    if (a->text && b->text)
        return strcmp(a->text, b->text) == 0;
    return a->number == b->number;
}

/* Whether the value that is there stays: it came from higher up, or from the better name. */
static bool keeps_old(struct options *o, const struct option_value *old,
                      const struct option_value *new)
{
    if (new->source != old->source || new->source == OPTION_DEFAULT)
        return new->source < old->source;
    if (strcmp(old->given_as, new->given_as) == 0)
        return false; /* the same name again: the last one counts */
    bool keep = !old->by_alias || new->by_alias;
    if (!value_equal(old, new))
        options_add_notice(o, "%s and %s disagree: %s counts", old->given_as, new->given_as,
                           keep ? old->given_as : new->given_as);
    return keep;
}

void option__fault_where(struct sl_fault *fault, struct option_origin from)
{
    if (!fault)
        return;
    if (from.source == OPTION_FILE)
        (void)snprintf(fault->where, sizeof fault->where, "line %d", from.line);
    else
        (void)snprintf(fault->where, sizeof fault->where, "%s", from.given_as);
}

sl_err option_set(struct options *o, size_t i, struct option_origin from, const char *text,
                  struct sl_fault *fault)
{
    SL_ASSERT(i < o->table->n_rows);
    struct option_value new = {.source = from.source}, *old = &o->values[i];
    (void)snprintf(new.given_as, sizeof new.given_as, "%s", from.given_as);
    (void)option_find(o->table, from.source, from.given_as, &new.by_alias);
    option__fault_where(fault, from);
    SL_TRY(parse_value(&o->table->rows[i], text, &new, fault));
    if (keeps_old(o, old, &new)) {
        sl_free(new.text);
        return SL_OK;
    }
    sl_free(old->text);
    *old = new;
    return SL_OK;
}
