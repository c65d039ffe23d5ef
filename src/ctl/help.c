#include "ctl/ctl.h"

#include <stdio.h>

static void print_option(const struct ctl_option *o)
{
    char left[80];
    int n = o->letter ? snprintf(left, sizeof left, "-%c, ", o->letter) : 0;
    (void)snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", o->name, o->value ? " " : "",
                   o->value ? o->value : "");
    printf("  %-34s %s\n", left, o->help);
}

static void print_options(const char *title, const struct ctl_option *options)
{
    if (!options->name)
        return;
    printf("\n%s\n", title);
    for (const struct ctl_option *o = options; o->name; o++)
        print_option(o);
}

static void print_command(const struct ctl_command *command)
{
    char left[80];
    (void)snprintf(left, sizeof left, "%s %s", command->words, command->arguments);
    printf("  %-34s %s\n", left, command->help);
}

void ctl_help_all(const struct ctl *c)
{
    printf("Usage: %s [OPTION]... COMMAND [ARGUMENT]...\n"
           "Administers Sluice, or any Kafka broker.\n\nCommands\n",
           c->program);
    for (size_t i = 0; i < ctl_n_commands; i++)
        print_command(&ctl_commands[i]);
    print_options("Options of every command", ctl_global_options);
    printf(
        "\nIn the environment SLUICE_BOOTSTRAP stands for --bootstrap, SLUICE_ENDPOINT for "
        "--endpoint.\n"
        "Exit status: 0 done, 1 refused or failed, 2 wrong command line, 3 no broker answered.\n");
}

void ctl_help_command(const struct ctl *c, const struct ctl_command *command)
{
    printf("Usage: %s %s [OPTION]...%s%s\n%s\n", c->program, command->words,
           *command->arguments ? " " : "", command->arguments, command->help);
    print_options("Options", command->options);
    print_options("Options of every command", ctl_global_options);
}

bool ctl_help_word(const struct ctl *c, const char *word)
{
    bool found = false;
    size_t len = strlen(word);
    for (size_t i = 0; i < ctl_n_commands; i++) {
        if (strncmp(ctl_commands[i].words, word, len) != 0 || ctl_commands[i].words[len] != ' ')
            continue;
        if (!found)
            printf("Commands of %s %s\n", c->program, word);
        found = true;
        print_command(&ctl_commands[i]);
    }
    if (found)
        printf("\nSee: %s help %s COMMAND\n", c->program, word);
    return found;
}

int ctl_help(struct ctl *c)
{
    if (c->n_args == 0) {
        ctl_help_all(c);
        return CTL_OK;
    }
    const char *second = c->n_args > 1 ? c->args[1] : NULL;
    const struct ctl_command *command = ctl_find_command(c->args[0], second);
    if (command) {
        ctl_help_command(c, command);
        return CTL_OK;
    }
    if (!second && ctl_help_word(c, c->args[0]))
        return CTL_OK;
    return ctl_usage(c, "there is no command '%s%s%s'; see: %s help", c->args[0], second ? " " : "",
                     second ? second : "", c->program);
}
