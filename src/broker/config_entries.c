#include "broker/config_entries_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Arenas without a budget: arena_alloc stops only where sl_alloc would. */
static const char *copy_text(struct arena *arena, const char *text)
{
    return arena_strndup(arena, text, strlen(text));
}

static enum config_type type_of(enum setting_type type)
{
    switch (type) {
    case SETTING_BOOL:
        return CONFIG_TYPE_BOOLEAN;
    case SETTING_INT:
        return CONFIG_TYPE_INT;
    case SETTING_LONG:
        return CONFIG_TYPE_LONG;
    case SETTING_DOUBLE:
        return CONFIG_TYPE_DOUBLE;
    case SETTING_CHOICE:
        return CONFIG_TYPE_STRING;
    case SETTING_CHOICES:
    case SETTING_PATTERNS:
        return CONFIG_TYPE_LIST;
    }
    SL_UNREACHABLE();
}

static const char *value_text(enum topic_setting s, int64_t value, struct arena *arena)
{
    char text[SETTING_TEXT_BYTES];
    topic_setting_format(s, value, text);
    return copy_text(arena, text);
}

static void add_synonym(struct config_entry *e, const char *name, const char *value,
                        enum config_source source)
{
    SL_ASSERT(e->n_synonyms < CONFIG_SYNONYMS_MAX);
    e->synonyms[e->n_synonyms++] = (struct config_synonym){name, value, source};
}

/* The value in force is the first of: the topic's own, the broker's, the built-in one. */
static void finish_entry(struct config_entry *e)
{
    e->value = e->synonyms[0].value;
    e->source = e->synonyms[0].source;
}

/* Where a topic's setting comes from when the topic does not say. */
static void add_broker_synonyms(struct config_entry *e, enum topic_setting s,
                                const struct topic_config *defaults, struct arena *arena)
{
    const struct topic_setting_info *info = topic_setting_info(s);
    const char *name = info->broker_name ? info->broker_name : info->name;
    if (defaults->values[s] != info->value_default)
        add_synonym(e, name, value_text(s, defaults->values[s], arena), CONFIG_SOURCE_STATIC);
    add_synonym(e, name, value_text(s, info->value_default, arena), CONFIG_SOURCE_DEFAULT);
}

struct config_entry *topic_config_entries(const struct topic_config *config,
                                          const struct topic_config *defaults, struct arena *arena,
                                          uint32_t *ret_n)
{
    struct config_entry *entries = arena_alloc(arena, TOPIC_SETTING_COUNT, sizeof *entries);
    for (enum topic_setting s = 0; s < TOPIC_SETTING_COUNT; s++) {
        const struct topic_setting_info *info = topic_setting_info(s);
        struct config_entry *e = &entries[s];
        *e = (struct config_entry){
            .name = info->name, .type = type_of(info->type), .help = info->help};
        if (topic_config_has(config, s))
            add_synonym(e, info->name, value_text(s, config->values[s], arena),
                        CONFIG_SOURCE_TOPIC);
        add_broker_synonyms(e, s, defaults, arena);
        finish_entry(e);
    }
    *ret_n = TOPIC_SETTING_COUNT;
    return entries;
}

/* ---- the broker ----------------------------------------------------------------------------- */

struct broker_rows {
    struct arena *arena;
    struct config_entry *entries;
    uint32_t n, max;
};

static void add_row(struct broker_rows *rows, const char *name, enum config_type type,
                    const char *now, const char *by_default, const char *help)
{
    SL_ASSERT(rows->n < rows->max);
    struct config_entry *e = &rows->entries[rows->n++];
    *e = (struct config_entry){.name = name, .type = type, .read_only = true, .help = help};
    if (strcmp(now, by_default) != 0)
        add_synonym(e, name, copy_text(rows->arena, now), CONFIG_SOURCE_STATIC);
    add_synonym(e, name, copy_text(rows->arena, by_default), CONFIG_SOURCE_DEFAULT);
    finish_entry(e);
}

static void add_row_i64(struct broker_rows *rows, const char *name, enum config_type type,
                        int64_t now, int64_t by_default, const char *help)
{
    char text[24], default_text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, now);
    (void)snprintf(default_text, sizeof default_text, "%" PRId64, by_default);
    add_row(rows, name, type, text, default_text, help);
}

static void add_fixed_rows(struct broker_rows *rows, const struct broker_cfg *cfg)
{
#define ROW_I64(name, type, now, by_default, help)                                                 \
    add_row_i64(rows, name, CONFIG_TYPE_##type, (int64_t)(now), by_default, help);
#define ROW_BOOL(name, now, by_default, help)                                                      \
    add_row(rows, name, CONFIG_TYPE_BOOLEAN, (now) ? "true" : "false",                             \
            (by_default) ? "true" : "false", help);
#define ROW_TEXT(name, now, by_default, help)                                                      \
    add_row(rows, name, CONFIG_TYPE_STRING, now, by_default, help);
#include "broker/broker_config.def"
#undef ROW_I64
#undef ROW_BOOL
#undef ROW_TEXT
}

static void add_topic_defaults(struct broker_rows *rows, const struct topic_config *defaults)
{
    for (enum topic_setting s = 0; s < TOPIC_SETTING_COUNT; s++) {
        const struct topic_setting_info *info = topic_setting_info(s);
        if (!info->broker_name)
            continue;
        SL_ASSERT(rows->n < rows->max);
        struct config_entry *e = &rows->entries[rows->n++];
        *e = (struct config_entry){.name = info->broker_name,
                                   .type = type_of(info->type),
                                   .read_only = true,
                                   .help = info->help};
        add_broker_synonyms(e, s, defaults, rows->arena);
        finish_entry(e);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct config_entry *)a)->name, ((const struct config_entry *)b)->name);
}

struct config_entry *broker__config_entries(const struct broker *b, struct arena *arena,
                                            uint32_t *ret_n)
{
    enum { FIXED_ROWS_MAX = 64 };
    struct broker_rows rows = {.arena = arena, .max = FIXED_ROWS_MAX + TOPIC_SETTING_COUNT};
    rows.entries = arena_alloc(arena, rows.max, sizeof *rows.entries);
    add_fixed_rows(&rows, &b->cfg);
    add_topic_defaults(&rows, &b->topic_defaults);
    qsort(rows.entries, rows.n, sizeof *rows.entries, by_name);
    *ret_n = rows.n;
    return rows.entries;
}
