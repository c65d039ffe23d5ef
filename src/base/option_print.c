/* What people read of options: values, what is allowed, --help, the configuration page. */
#include "base/option.h"

#include <ctype.h>
#include <inttypes.h>

static void print_text(struct buf *out, const char *text)
{
    (void)buf_append(out, text, strlen(text));
}

static void print_number(const struct option_row *row, int64_t n, struct buf *out)
{
    if (row->type == OPTION_BYTES)
        option_print_bytes(n, out);
    else if (row->type == OPTION_MS)
        option_print_ms(n, out);
    else if (row->type == OPTION_BOOL)
        print_text(out, n ? "true" : "false");
    else
        (void)buf_printf(out, "%" PRId64, n);
}

void option_print(const struct options *o, size_t i, struct buf *out)
{
    const char *text = option_text(o, i);
    if (text)
        print_text(out, text);
    else
        print_number(&options_table(o)->rows[i], option_number(o, i), out);
}

/* "a|b=c|d" -> "a, b or d": the first word of each choice. */
static void print_choices(const char *choices, struct buf *out)
{
    for (const char *p = choices; *p;) {
        size_t choice = strcspn(p, "|");
        const char *next = p + choice + (p[choice] == '|');
        if (p != choices)
            print_text(out, *next ? ", " : " or ");
        (void)buf_append(out, p, SL_MIN(choice, strcspn(p, "=")));
        p = next;
    }
}

void option_print_allowed(const struct option_row *row, struct buf *out)
{
    switch (row->type) {
    case OPTION_ENUM:
        print_choices(row->choices, out);
        return;
    case OPTION_BOOL:
        print_text(out, "true or false");
        return;
    case OPTION_STR:
        (void)buf_printf(out, "text of up to %" PRId64 " bytes", row->max);
        return;
    case OPTION_ADDR:
        print_text(out, "host:port, [IPv6]:port, host or port");
        return;
    case OPTION_COUNT:
    case OPTION_BYTES:
    case OPTION_MS:
        print_number(row, row->min, out);
        if (row->max == INT64_MAX) {
            print_text(out, " and more");
        } else {
            print_text(out, " to ");
            print_number(row, row->max, out);
        }
        return;
    }
    SL_UNREACHABLE();
}

static void print_default(const struct option_row *row, struct buf *out)
{
    if (row->text)
        print_text(out, *row->text ? row->text : "none");
    else
        print_number(row, row->number, out);
}

static void print_flag(const struct option_row *row, struct buf *out)
{
    static const char *const metavars[] = {
        [OPTION_STR] = " TEXT",   [OPTION_BOOL] = "",    [OPTION_COUNT] = " N",
        [OPTION_BYTES] = " SIZE", [OPTION_MS] = " TIME", [OPTION_ADDR] = " HOST:PORT",
        [OPTION_ENUM] = " WORD",
    };
    print_text(out, "--");
    for (const char *p = row->name; *p; p++)
        write_u8(out, (uint8_t)(*p == '_' ? '-' : *p));
    print_text(out, metavars[row->type]);
}

void options_print_help(const struct option_table *t, struct buf *out)
{
    enum { COLUMN = 34 };
    const char *section = "";
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct option_row *row = &t->rows[i];
        if (strcmp(section, row->section) != 0)
            (void)buf_printf(out, "\n%s\n", row->section);
        section = row->section;
        size_t start = out->len;
        print_text(out, "  ");
        print_flag(row, out);
        do
            write_u8(out, ' ');
        while (out->len - start < COLUMN && !out->failed);
        (void)buf_printf(out, "%s [", row->help);
        print_default(row, out);
        print_text(out, "]\n");
    }
}

static void print_names(const struct option_table *t, const struct option_row *row, struct buf *out)
{
    (void)buf_printf(out, "`%s", t->env_prefix);
    for (const char *p = row->name; *p; p++)
        write_u8(out, (uint8_t)toupper((unsigned char)*p));
    print_text(out, "`");
    for (const char *p = row->aliases; *p;) {
        size_t len = strcspn(p, " ");
        (void)buf_printf(out, ", `%.*s`", (int)len, p);
        p += len + strspn(p + len, " ");
    }
}

void options_print_markdown(const struct option_table *t, struct buf *out)
{
    const char *section = "";
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct option_row *row = &t->rows[i];
        if (strcmp(section, row->section) != 0)
            (void)buf_printf(out,
                             "\n## %s\n\n| Option | Default | Allowed | Change | Other names | |\n"
                             "|---|---|---|---|---|---|\n",
                             row->section);
        section = row->section;
        (void)buf_printf(out, "| `%s` | ", row->name);
        print_default(row, out);
        print_text(out, " | ");
        option_print_allowed(row, out);
        print_text(out, row->change == OPTION_LIVE ? " | live | " : " | start | ");
        print_names(t, row, out);
        (void)buf_printf(out, " | %s |\n", row->help);
    }
}
