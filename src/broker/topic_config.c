#include "broker/topic_config.h"

#include "storage/log_engine.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

static_assert(TOPIC_SETTING_COUNT <= 64, "topic_config.overridden has a bit for each setting");
static_assert(sizeof(((struct topic_config *)0)->values) == TOPIC_SETTING_COUNT * sizeof(int64_t),
              "named fields and values[] are the same words");

enum { MILLION = 1000000, NUMBER_DIGITS_MAX = 25 };

static const char *const words_cleanup_policy[] = {"delete", "compact"};
static const char *const words_compression_type[] = {"producer", "uncompressed", "zstd",
                                                     "lz4",      "snappy",       "gzip"};
static const char *const words_message_timestamp_type[] = {"CreateTime", "LogAppendTime"};
static const char *const words_storage_engine[] = {"local", "sqlite"};
static_assert(STORAGE_ENGINE_SQLITE == (int)LOG_ENGINE_SQLITE &&
                  STORAGE_ENGINE_COUNT == (int)LOG_ENGINE_COUNT,
              "the words are in the order of the engines");

#define SETTING(field, text, kind, by_default, at_least, at_most, broker, why, doc)                \
    [TOPIC_SETTING_##field] = {.name = (text),                                                     \
                               .type = SETTING_##kind,                                             \
                               .value_default = (by_default),                                      \
                               .value_min = (at_least),                                            \
                               .value_max = (at_most),                                             \
                               .broker_name = (broker),                                            \
                               .refused = (why),                                                   \
                               .help = (doc)},
static const struct topic_setting_info settings[TOPIC_SETTING_COUNT] = {
#include "broker/topic_config.def"
};
#undef SETTING

struct words {
    const char *const *list;
    size_t n;
};

static struct words words_of(enum topic_setting s)
{
#define WORDS(field)                                                                               \
    case TOPIC_SETTING_##field:                                                                    \
        return (struct words)                                                                      \
        {                                                                                          \
            words_##field, SL_ARRAY_LEN(words_##field)                                             \
        }
    switch (s) {
        WORDS(cleanup_policy);
        WORDS(compression_type);
        WORDS(message_timestamp_type);
        WORDS(storage_engine);
    default:
        return (struct words){NULL, 0};
    }
#undef WORDS
}

const struct topic_setting_info *topic_setting_info(enum topic_setting s)
{
    SL_ASSERT(s < TOPIC_SETTING_COUNT);
    return &settings[s];
}

sl_err topic_setting_find(struct slice name, enum topic_setting *ret)
{
    for (enum topic_setting s = 0; s < TOPIC_SETTING_COUNT; s++) {
        if (slice_eq_str(name, settings[s].name)) {
            *ret = s;
            return SL_OK;
        }
    }
    return SL_ENOTFOUND;
}

/* ---- text of a value ------------------------------------------------------------------------ */

static void format_words(enum topic_setting s, int64_t bits, char ret[SETTING_TEXT_BYTES])
{
    struct words words = words_of(s);
    size_t len = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < words.n; i++) {
        if ((bits >> i) & 1)
            len += (size_t)snprintf(ret + len, SETTING_TEXT_BYTES - len, "%s%s", len ? "," : "",
                                    words.list[i]);
    }
}

static void format_double(int64_t millionths, char ret[SETTING_TEXT_BYTES])
{
    int n = snprintf(ret, SETTING_TEXT_BYTES, "%" PRId64 ".%06" PRId64, millionths / MILLION,
                     millionths % MILLION);
    while (n > 1 && ret[n - 1] == '0' && ret[n - 2] != '.')
        ret[--n] = '\0';
}

void topic_setting_format(enum topic_setting s, int64_t value, char ret[SETTING_TEXT_BYTES])
{
    switch (settings[s].type) {
    case SETTING_BOOL:
        (void)snprintf(ret, SETTING_TEXT_BYTES, "%s", value ? "true" : "false");
        return;
    case SETTING_INT:
    case SETTING_LONG:
        (void)snprintf(ret, SETTING_TEXT_BYTES, "%" PRId64, value);
        return;
    case SETTING_DOUBLE:
        format_double(value, ret);
        return;
    case SETTING_CHOICE:
        SL_ASSERT(words_of(s).list);
        (void)snprintf(ret, SETTING_TEXT_BYTES, "%s", words_of(s).list[value]);
        return;
    case SETTING_CHOICES:
        format_words(s, value, ret);
        return;
    case SETTING_PATTERNS:
        ret[0] = '\0';
        return;
    }
    SL_UNREACHABLE();
}

/* ---- value of a text ------------------------------------------------------------------------ */

static struct slice trim(struct slice text)
{
    while (text.len && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = slice_sub(text, 1, text.len - 1);
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Reads an optional sign; the digits start behind it. */
static bool take_sign(struct slice *text)
{
    bool negative = text->len && text->data[0] == '-';
    if (text->len && (negative || text->data[0] == '+'))
        *text = slice_sub(*text, 1, text->len - 1);
    return negative;
}

/* At most `digits_max` digits become *ret, scaled as if there were exactly that many. */
static bool take_digits(struct slice text, size_t digits_max, bool scale, bool negative,
                        int64_t *ret)
{
    int64_t v = 0;
    size_t n = scale ? digits_max : text.len;
    for (size_t i = 0; i < n; i++) {
        int64_t digit = i < text.len ? text.data[i] - '0' : 0;
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, negative ? -digit : digit, &v))
            return false;
    }
    *ret = v;
    return text.len <= digits_max;
}

static bool parse_i64(struct slice text, int64_t *ret)
{
    bool negative = take_sign(&text);
    return text.len != 0 && take_digits(text, NUMBER_DIGITS_MAX, false, negative, ret);
}

/* "0.5": at most six digits behind the point. */
static bool parse_millionths(struct slice text, int64_t *ret)
{
    int64_t whole = 0, part = 0;
    bool negative = take_sign(&text);
    const uint8_t *point = text.len ? memchr(text.data, '.', text.len) : NULL;
    size_t len = point ? (size_t)(point - text.data) : text.len;
    struct slice behind = point ? slice_sub(text, len + 1, text.len - len - 1) : slice_of(NULL, 0);
    if (text.len == (size_t)(point != NULL) ||
        !take_digits(slice_sub(text, 0, len), 9, false, negative, &whole) ||
        !take_digits(behind, 6, true, negative, &part))
        return false;
    *ret = whole * MILLION + part;
    return true;
}

static bool parse_bool(struct slice text, int64_t *ret)
{
    if (text.len == 4 && strncasecmp((const char *)text.data, "true", 4) == 0)
        *ret = 1;
    else if (text.len == 5 && strncasecmp((const char *)text.data, "false", 5) == 0)
        *ret = 0;
    else
        return false;
    return true;
}

static bool parse_word(enum topic_setting s, struct slice text, int64_t *ret)
{
    struct words words = words_of(s);
    for (size_t i = 0; i < words.n; i++) {
        if (slice_eq_str(text, words.list[i])) {
            *ret = (int64_t)i;
            return true;
        }
    }
    return false;
}

/* "delete,compact" as bits; an empty text has none. */
static bool parse_words(enum topic_setting s, struct slice text, int64_t *ret)
{
    int64_t bits = 0;
    text = trim(text);
    while (text.len) {
        const uint8_t *comma = memchr(text.data, ',', text.len);
        size_t len = comma ? (size_t)(comma - text.data) : text.len;
        int64_t word = 0;
        if (!parse_word(s, trim(slice_sub(text, 0, len)), &word))
            return false;
        bits |= (int64_t)1 << word;
        text = slice_sub(text, len + (comma != NULL), text.len - len - (comma != NULL));
    }
    *ret = bits;
    return true;
}

static bool parse_value(enum topic_setting s, struct slice text, int64_t *ret)
{
    text = trim(text);
    switch (settings[s].type) {
    case SETTING_BOOL:
        return parse_bool(text, ret);
    case SETTING_INT:
    case SETTING_LONG:
        return parse_i64(text, ret);
    case SETTING_DOUBLE:
        return parse_millionths(text, ret);
    case SETTING_CHOICE:
        return parse_word(s, text, ret);
    case SETTING_CHOICES:
        return parse_words(s, text, ret);
    case SETTING_PATTERNS:
        *ret = text.len != 0;
        return true;
    }
    SL_UNREACHABLE();
}

static const char *kind_text(enum setting_type type)
{
    switch (type) {
    case SETTING_BOOL:
        return "expected true or false";
    case SETTING_INT:
    case SETTING_LONG:
        return "expected a whole number";
    case SETTING_DOUBLE:
        return "expected a number";
    case SETTING_CHOICE:
        return "it is not one of the words for it";
    case SETTING_CHOICES:
        return "expected a list of delete, compact";
    case SETTING_PATTERNS:
        return "expected a list";
    }
    SL_UNREACHABLE();
}

/* What a client sent, cut to a length that fits a sentence. */
static int shown_len(struct slice text)
{
    return (int)SL_MIN(text.len, 60);
}

static sl_err check_value(enum topic_setting s, struct slice text, int64_t value,
                          struct sl_fault *fault)
{
    const struct topic_setting_info *info = &settings[s];
    if (value < info->value_min || value > info->value_max) {
        char min[SETTING_TEXT_BYTES], max[SETTING_TEXT_BYTES];
        if (info->type == SETTING_CHOICES)
            return sl_fault_set(fault, SL_ECONFIG, "%s must name at least one policy", info->name);
        topic_setting_format(s, info->value_min, min);
        topic_setting_format(s, info->value_max, max);
        return sl_fault_set(fault, SL_ECONFIG, "Invalid value %.*s for %s: it must be %s to %s",
                            shown_len(text), (const char *)text.data, info->name, min, max);
    }
    if (info->refused && value != info->value_default) {
        char only[SETTING_TEXT_BYTES];
        topic_setting_format(s, info->value_default, only);
        return sl_fault_set(fault, SL_ECONFIG, "%s=%.*s is refused: %s (only \"%s\" is accepted)",
                            info->name, shown_len(text), (const char *)text.data, info->refused,
                            only);
    }
    return SL_OK;
}

sl_err topic_setting_parse(enum topic_setting s, struct slice text, int64_t *ret,
                           struct sl_fault *fault)
{
    int64_t value = 0;
    if (!parse_value(s, text, &value))
        return sl_fault_set(fault, SL_ECONFIG, "Invalid value %.*s for %s: %s", shown_len(text),
                            (const char *)text.data, settings[s].name, kind_text(settings[s].type));
    SL_TRY(check_value(s, text, value, fault));
    *ret = value;
    return SL_OK;
}

/* ---- a whole config ------------------------------------------------------------------------- */

void topic_config_init(struct topic_config *c)
{
    for (size_t s = 0; s < TOPIC_SETTING_COUNT; s++)
        c->values[s] = settings[s].value_default;
    c->overridden = 0;
}

struct topic_config topic_config_from(const struct topic_config *defaults)
{
    struct topic_config c = *defaults;
    c.overridden = 0;
    return c;
}

static void put_value(struct topic_config *c, enum topic_setting s, int64_t value)
{
    c->values[s] = value;
    c->overridden |= (uint64_t)1 << s;
}

sl_err topic_config_set(struct topic_config *c, enum topic_setting s, struct slice text,
                        struct sl_fault *fault)
{
    int64_t value = 0;
    SL_TRY(topic_setting_parse(s, text, &value, fault));
    put_value(c, s, value);
    return SL_OK;
}

void topic_config_unset(struct topic_config *c, enum topic_setting s,
                        const struct topic_config *defaults)
{
    c->values[s] = defaults->values[s];
    c->overridden &= ~((uint64_t)1 << s);
}

static sl_err change_list(struct topic_config *c, enum topic_setting s, struct slice text, bool add,
                          struct sl_fault *fault)
{
    enum setting_type type = settings[s].type;
    int64_t bits = 0;
    if (type != SETTING_CHOICES && type != SETTING_PATTERNS)
        return sl_fault_set(fault, SL_ECONFIG, "%s is not a list: use SET", settings[s].name);
    if (!parse_value(s, text, &bits))
        return sl_fault_set(fault, SL_ECONFIG, "Invalid value %.*s for %s: %s", shown_len(text),
                            (const char *)text.data, settings[s].name, kind_text(type));
    int64_t value = add ? c->values[s] | bits : c->values[s] & ~bits;
    SL_TRY(check_value(s, text, value, fault));
    put_value(c, s, value);
    return SL_OK;
}

sl_err topic_config_append(struct topic_config *c, enum topic_setting s, struct slice text,
                           struct sl_fault *fault)
{
    return change_list(c, s, text, true, fault);
}

sl_err topic_config_subtract(struct topic_config *c, enum topic_setting s, struct slice text,
                             struct sl_fault *fault)
{
    return change_list(c, s, text, false, fault);
}

/* "local" is the default of every version: only another one, or what differs from the broker's
 * default, is written down. */
void topic_config_pin_engine(struct topic_config *c, enum storage_engine engine)
{
    bool differs = c->storage_engine != (int64_t)engine || engine != STORAGE_ENGINE_LOCAL;
    c->storage_engine = engine;
    if (differs)
        c->overridden |= UINT64_C(1) << TOPIC_SETTING_storage_engine;
}

void topic_config_write(const struct topic_config *c, struct buf *ret)
{
    for (enum topic_setting s = 0; s < TOPIC_SETTING_COUNT; s++) {
        char text[SETTING_TEXT_BYTES];
        if (!topic_config_has(c, s))
            continue;
        topic_setting_format(s, c->values[s], text);
        (void)buf_printf(ret, "%s=%s\n", settings[s].name, text); /* sticks in ret */
    }
}

static sl_err read_line(struct topic_config *c, struct slice line, struct sl_fault *fault)
{
    enum topic_setting s;
    const uint8_t *equals = memchr(line.data, '=', line.len);
    size_t len = equals ? (size_t)(equals - line.data) : line.len;
    if (!equals || topic_setting_find(trim(slice_sub(line, 0, len)), &s) != SL_OK)
        return sl_fault_set(fault, SL_ECONFIG, "no such topic setting: %.*s", (int)SL_MIN(len, 60),
                            (const char *)line.data);
    return topic_config_set(c, s, slice_sub(line, len + 1, line.len - len - 1), fault);
}

sl_err topic_config_read(struct topic_config *c, struct slice text, struct sl_fault *fault)
{
    while (text.len) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (len)
            SL_TRY(read_line(c, slice_sub(text, 0, len), fault));
        text = slice_sub(text, len + (end != NULL), text.len - len - (end != NULL));
    }
    return SL_OK;
}

void topic_config_to_log(const struct topic_config *c, struct log_topic_cfg *ret)
{
    *ret = (struct log_topic_cfg){
        .segment_bytes = c->segment_bytes,
        .segment_ms = c->segment_ms,
        .segment_jitter_ms = c->segment_jitter_ms,
        .retention_ms = c->retention_ms,
        .retention_bytes = c->retention_bytes,
        .index_interval_bytes = c->index_interval_bytes,
        .file_delete_delay_ms = c->file_delete_delay_ms,
        .delete_old = (c->cleanup_policy >> CLEANUP_DELETE) & 1,
        .engine = (enum log_engine_kind)c->storage_engine,
    };
}
