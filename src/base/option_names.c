/* The names of options in each source, and reading the environment and the command line. */
#include "base/option_int.h"

#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

/* ---- names ---------------------------------------------------------------------------------- */

/* The row's own name in the spelling of a source. */
static void own_name(const struct option_table *t, const struct option_row *row,
                     enum option_source source, char ret[OPTION_NAME_BYTES])
{
    int n = 0;
    if (source == OPTION_FLAG)
        n = snprintf(ret, OPTION_NAME_BYTES, "--%s", row->name);
    else if (source == OPTION_ENV)
        n = snprintf(ret, OPTION_NAME_BYTES, "%s%s", t->env_prefix, row->name);
    else
        n = snprintf(ret, OPTION_NAME_BYTES, "%s", row->name);
    SL_ASSERT(n > 0 && n < OPTION_NAME_BYTES);
    for (char *p = ret; *p; p++) {
        if (source == OPTION_FLAG && *p == '_')
            *p = '-';
        if (source == OPTION_ENV)
            *p = (char)toupper((unsigned char)*p);
    }
}

static bool alias_is_of(const char *alias, enum option_source source)
{
    if (*alias == '-')
        return source == OPTION_FLAG;
    bool is_key = memchr(alias, '.', strcspn(alias, " ")) != NULL;
    return source == (is_key ? OPTION_FILE : OPTION_ENV);
}

/* The next alias of that source from *p on; NULL: no more. */
static const char *next_alias(const char **p, enum option_source source,
                              char ret[OPTION_NAME_BYTES])
{
    while (**p) {
        size_t len = strcspn(*p, " ");
        const char *word = *p;
        *p += len + strspn(*p + len, " ");
        if (!alias_is_of(word, source))
            continue;
        SL_ASSERT(len < OPTION_NAME_BYTES);
        memcpy(ret, word, len);
        ret[len] = '\0';
        return ret;
    }
    return NULL;
}

/* Keys may be written with - for _. */
static bool name_equal(enum option_source source, const char *ours, const char *given)
{
    for (; *ours && *given; ours++, given++)
        if (*ours != *given && !(source == OPTION_FILE && *ours == '_' && *given == '-'))
            return false;
    return *ours == *given;
}

int option_find(const struct option_table *t, enum option_source source, const char *name,
                bool *ret_is_alias)
{
    char ours[OPTION_NAME_BYTES];
    for (size_t i = 0; i < t->n_rows; i++) {
        own_name(t, &t->rows[i], source, ours);
        bool found = name_equal(source, ours, name), is_alias = !found;
        const char *p = t->rows[i].aliases;
        while (!found && next_alias(&p, source, ours))
            found = strcmp(ours, name) == 0;
        if (!found)
            continue;
        if (ret_is_alias)
            *ret_is_alias = is_alias;
        return (int)i;
    }
    return -1;
}

/* Levenshtein distance; both are short. */
static size_t distance(const char *a, const char *b)
{
    size_t row[OPTION_NAME_BYTES], n = strlen(b);
    if (n >= OPTION_NAME_BYTES)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t cost = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = SL_MIN(cost, SL_MIN(row[j], row[j + 1]) + 1);
        }
    }
    return row[n];
}

const char *option_nearest(const struct option_table *t, enum option_source source,
                           const char *name, char *buf, size_t size)
{
    char ours[OPTION_NAME_BYTES];
    size_t best = SL_MIN(strlen(name) / 3 + 1, (size_t)4); /* more typing errors are another word */
    const char *found = NULL;
    for (size_t i = 0; i < t->n_rows; i++) {
        const char *p = t->rows[i].aliases;
        own_name(t, &t->rows[i], source, ours);
        do {
            size_t d = distance(name, ours);
            if (d < best) {
                best = d;
                (void)snprintf(buf, size, "%s", ours);
                found = buf;
            }
        } while (next_alias(&p, source, ours));
    }
    return found;
}

/* ---- environment and flags ------------------------------------------------------------------ */

static const char *env_get(char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

sl_err options_read_env(struct options *o, char *const *env, struct sl_fault *fault)
{
    char name[OPTION_NAME_BYTES];
    const struct option_table *t = options_table(o);
    if (!env)
        env = environ;
    for (size_t i = 0; i < t->n_rows; i++) {
        const char *p = t->rows[i].aliases;
        own_name(t, &t->rows[i], OPTION_ENV, name);
        do {
            const char *text = env_get(env, name);
            if (text && *text) /* empty means not set, as compose files leave it */
                SL_TRY(option_set(o, i, (struct option_origin){OPTION_ENV, name, 0}, text, fault));
        } while (next_alias(&p, OPTION_ENV, name));
    }
    return SL_OK;
}

static struct option_origin flag_named(const char *name)
{
    return (struct option_origin){OPTION_FLAG, name, 0};
}

static sl_err unknown_flag(const struct option_table *t, const char *name, struct sl_fault *fault)
{
    char near[OPTION_NAME_BYTES], value[OPTION_SHOWN_BYTES];
    const char *nearest = option_nearest(t, OPTION_FLAG, name, near, sizeof near);
    option__fault_where(fault, flag_named(option__shown(name, value)));
    if (nearest)
        return sl_fault_set(fault, SL_ECONFIG, "unknown option; did you mean %s?", nearest);
    return sl_fault_set(fault, SL_ECONFIG, "unknown option; --help lists them all");
}

/* --no-x for a BOOL x: its index, else -1. */
static int find_negated(const struct option_table *t, const char *name)
{
    char positive[OPTION_NAME_BYTES];
    if (strncmp(name, "--no-", 5) != 0 || strlen(name) >= OPTION_NAME_BYTES)
        return -1;
    (void)snprintf(positive, sizeof positive, "--%s", name + 5);
    int i = option_find(t, OPTION_FLAG, positive, NULL);
    return i >= 0 && t->rows[i].type == OPTION_BOOL ? i : -1;
}

/* One flag at argv[*at]; *at moves behind it and its value. */
static sl_err read_flag(struct options *o, int argc, char *const *argv, int *at,
                        struct sl_fault *fault)
{
    char name[OPTION_NAME_BYTES];
    const struct option_table *t = options_table(o);
    const char *arg = argv[(*at)++], *text = NULL;
    size_t len = strcspn(arg, "=");
    (void)snprintf(name, sizeof name, "%.*s", (int)SL_MIN(len, sizeof name - 1), arg);
    if (arg[len])
        text = arg + len + 1;
    int i = option_find(t, OPTION_FLAG, name, NULL);
    int negated = i < 0 && !text ? find_negated(t, name) : -1;
    if (negated >= 0)
        return option_set(o, (size_t)negated, flag_named(name), "false", fault);
    if (i < 0)
        return unknown_flag(t, name, fault);
    if (!text && t->rows[i].type == OPTION_BOOL)
        text = "true";
    if (!text && *at < argc)
        text = argv[(*at)++];
    if (!text) {
        option__fault_where(fault, flag_named(name));
        return sl_fault_set(fault, SL_ECONFIG, "needs a value");
    }
    return option_set(o, (size_t)i, flag_named(name), text, fault);
}

sl_err options_read_flags(struct options *o, int argc, char *const *argv, struct sl_fault *fault)
{
    for (int at = 0; at < argc;) {
        if (argv[at][0] != '-' || !argv[at][1]) {
            char value[OPTION_SHOWN_BYTES];
            option__fault_where(fault, flag_named(option__shown(argv[at], value)));
            return sl_fault_set(fault, SL_ECONFIG, "unexpected argument; --help shows the use");
        }
        SL_TRY(read_flag(o, argc, argv, &at, fault));
    }
    return SL_OK;
}
