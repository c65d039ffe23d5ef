#include "base/number.h"
#include "ctl/ctl.h"

#include <strings.h>

/* ---- what was given -------------------------------------------------------------------------- */

static const struct ctl_option *find_option(const struct ctl_option *options, const char *name,
                                            size_t len)
{
    for (const struct ctl_option *o = options; o && o->name; o++)
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    return NULL;
}

static const struct ctl_option *option_of(const struct ctl *c, const char *name, size_t len)
{
    const struct ctl_option *o = find_option(ctl_global_options, name, len);
    return o || !c->command ? o : find_option(c->command->options, name, len);
}

const char *ctl_list(const struct ctl *c, const char *name, size_t i)
{
    const struct ctl_option *option = option_of(c, name, strlen(name));
    SL_ASSERT(option); /* a name that no table has */
    for (int k = 0; k < c->n_values; k++)
        if (c->values[k].option == option && i-- == 0)
            return c->values[k].text;
    return NULL;
}

bool ctl_flag(const struct ctl *c, const char *name)
{
    const struct ctl_option *option = option_of(c, name, strlen(name));
    SL_ASSERT(option);
    for (int k = 0; k < c->n_values; k++)
        if (c->values[k].option == option)
            return true;
    return false;
}

const char *ctl_text(const struct ctl *c, const char *name, const char *otherwise)
{
    const char *text = ctl_list(c, name, 0);
    return text ? text : otherwise;
}

int64_t ctl_number(const struct ctl *c, const char *name, int64_t otherwise)
{
    const char *text = ctl_list(c, name, 0);
    int64_t value = otherwise;
    if (text && number_parse(text, strlen(text), INT64_MIN, INT64_MAX, &value) != SL_OK)
        SL_UNREACHABLE(); /* checked when it was parsed */
    return value;
}

/* ---- the command line ---------------------------------------------------------------------------
 */

/* The choice as the table writes it, whatever case it was given in; NULL: it is none. */
static const char *find_choice(const struct ctl *c, const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *p = choices; *p;) {
        size_t n = strcspn(p, "|");
        if (n == len && strncasecmp(p, text, n) == 0)
            return arena_strndup(c->arena, p, n);
        p += n + (p[n] == '|');
    }
    return NULL;
}

static int check_value(const struct ctl *c, const struct ctl_option *o, const char **ret_text)
{
    int64_t value;
    const char *text = *ret_text;
    if (o->type == CTL_NUMBER &&
        number_parse(text, strlen(text), o->min, o->max, &value) != SL_OK) {
        if (o->max == INT64_MAX)
            return ctl_usage(c, "--%s %s: that is not a whole number%s", o->name, text,
                             o->min == 0   ? " from 0 on"
                             : o->min == 1 ? " from 1 on"
                                           : "");
        return ctl_usage(c, "--%s %s: allowed are whole numbers from %lld to %lld", o->name, text,
                         (long long)o->min, (long long)o->max);
    }
    if (o->type == CTL_CHOICE && !(*ret_text = find_choice(c, o->value, text)))
        return ctl_usage(c, "--%s %s: allowed are %s", o->name, text, o->value);
    return CTL_OK;
}

static int keep_value(struct ctl *c, const struct ctl_option *o, const char *text)
{
    int wrong = o->type == CTL_FLAG ? CTL_OK : check_value(c, o, &text);
    if (wrong)
        return wrong;
    if (o->type != CTL_LIST && ctl_flag(c, o->name))
        return ctl_usage(c, "--%s is given twice", o->name);
    if (c->n_values == CTL_ARGS_MAX)
        return ctl_usage(c, "there are more than %d options", CTL_ARGS_MAX);
    c->values[c->n_values++] = (struct ctl_value){o, text};
    return CTL_OK;
}

static const struct ctl_option *find_letter(const struct ctl_option *options, char letter)
{
    for (const struct ctl_option *o = options; o && o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

/* "-c 3" or "-c3". */
static int take_letter(struct ctl *c, int argc, char **argv, int *i)
{
    const char *given = argv[*i];
    const struct ctl_option *o = find_letter(ctl_global_options, given[1]);
    if (!o && c->command)
        o = find_letter(c->command->options, given[1]);
    if (!o)
        return ctl_usage(c, "there is no option %s here; see: %s help", given, c->program);
    if (o->type == CTL_FLAG)
        return given[2] ? ctl_usage(c, "%s: -%c takes no value", given, given[1])
                        : keep_value(c, o, NULL);
    if (given[2])
        return keep_value(c, o, given + 2);
    if (*i + 1 >= argc)
        return ctl_usage(c, "%s needs a value: %s", given, o->value);
    return keep_value(c, o, argv[++*i]);
}

/* argv[*i] is an option; moves *i behind its value. */
static int take_option(struct ctl *c, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const struct ctl_option *o = option_of(c, name, len);
    if (!o && c->command)
        return ctl_usage(c, "%s has no option --%.*s; see: %s help %s", c->command->words, (int)len,
                         name, c->program, c->command->words);
    if (!o)
        return ctl_usage(c, "there is no option --%.*s in front of a command; see: %s help",
                         (int)len, name, c->program);
    const char *text = name[len] == '=' ? name + len + 1 : NULL;
    if (o->type == CTL_FLAG && text)
        return ctl_usage(c, "--%s takes no value", o->name);
    if (o->type != CTL_FLAG && !text) {
        if (*i + 1 >= argc)
            return ctl_usage(c, "--%s needs a value: %s", o->name, o->value);
        text = argv[++*i];
    }
    return keep_value(c, o, text);
}

static int take_word(struct ctl *c, const char *word)
{
    if (c->command) {
        if (c->n_args == c->command->args_max)
            return ctl_usage(c, "%s takes %s; %s is too much", c->command->words,
                             c->command->args_max ? c->command->arguments : "no arguments", word);
        c->args[c->n_args++] = word;
        return CTL_OK;
    }
    c->command = c->word ? ctl_find_command(c->word, word) : ctl_find_command(word, NULL);
    if (c->command)
        return CTL_OK;
    if (c->word)
        return ctl_usage(c, "there is no command '%s %s'; see: %s help %s", c->word, word,
                         c->program, c->word);
    for (size_t i = 0; i < ctl_n_commands; i++) {
        size_t len = strlen(word);
        if (strncmp(ctl_commands[i].words, word, len) == 0 && ctl_commands[i].words[len] == ' ')
            c->word = word;
    }
    return c->word ? CTL_OK
                   : ctl_usage(c, "there is no command '%s'; see: %s help", word, c->program);
}

static int check_count(const struct ctl *c)
{
    if (ctl_flag(c, "help") || ctl_flag(c, "version") || !c->command)
        return CTL_OK;
    if (c->n_args < c->command->args_min)
        return ctl_usage(c, "%s needs %s; see: %s help %s", c->command->words,
                         c->command->arguments, c->program, c->command->words);
    return CTL_OK;
}

int ctl_parse(struct ctl *c, int argc, char **argv)
{
    bool options_end = false;
    for (int i = 1; i < argc; i++) {
        int wrong = CTL_OK;
        if (!options_end && strcmp(argv[i], "--") == 0)
            options_end = true;
        else if (!options_end && strncmp(argv[i], "--", 2) == 0)
            wrong = take_option(c, argc, argv, &i);
        else if (!options_end && argv[i][0] == '-' && argv[i][1])
            wrong = take_letter(c, argc, argv, &i);
        else
            wrong = take_word(c, argv[i]);
        if (wrong)
            return wrong;
    }
    c->is_json = strcmp(ctl_text(c, "output", "table"), "json") == 0;
    return check_count(c);
}
