#include "ctl/ctl.h"

#include <stdio.h>

/* The words after `prefix` ("" or "topic "), each once. */
static void print_words(const char *prefix)
{
    size_t len = strlen(prefix);
    const char *last = "";
    size_t last_len = 0;
    for (size_t i = 0; i < ctl_n_commands; i++) {
        const char *words = ctl_commands[i].words;
        if (strncmp(words, prefix, len) != 0)
            continue;
        size_t n = strcspn(words + len, " ");
        if (n == last_len && strncmp(words + len, last, n) == 0)
            continue;
        last = words + len;
        last_len = n;
        printf(" %.*s", (int)n, last);
    }
}

static void print_names(const struct ctl_option *options)
{
    for (const struct ctl_option *o = options; o->name; o++)
        printf(" --%s", o->name);
}

static void print_choices(const struct ctl_option *options)
{
    for (const struct ctl_option *o = options; o->name; o++) {
        if (o->type != CTL_CHOICE)
            continue;
        printf("        --%s) words=\"", o->name);
        for (const char *p = o->value; *p; p++)
            printf("%c", *p == '|' ? ' ' : *p);
        printf("\" ;;\n");
    }
}

static void print_groups(void)
{
    const char *last = "";
    for (size_t i = 0; i < ctl_n_commands; i++) {
        const char *words = ctl_commands[i].words, *space = strchr(words, ' ');
        if (!space || strncmp(words, last, (size_t)(space - words + 1)) == 0)
            continue;
        last = words;
        char prefix[32];
        (void)snprintf(prefix, sizeof prefix, "%.*s ", (int)(space - words), words);
        printf("        %.*s) words=\"", (int)(space - words), words);
        print_words(prefix);
        printf("\" ;;\n");
    }
}

static void print_bash(const char *program)
{
    printf("# bash completion of %s; to use it now: source <(%s completion bash)\n_%s()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word "
           "words=\n"
           "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
           "        [[ $word == -* ]] || command=\"${command:+$command }$word\"\n"
           "    done\n"
           "    case $prev in\n",
           program, program, program);
    print_choices(ctl_global_options);
    for (size_t i = 0; i < ctl_n_commands; i++)
        print_choices(ctl_commands[i].options);
    printf("        *) ;;\n    esac\n    if [[ -z $words ]]; then case $command in\n        '') "
           "words=\"");
    print_words("");
    print_names(ctl_global_options);
    printf("\" ;;\n");
    print_groups();
    for (size_t i = 0; i < ctl_n_commands; i++) {
        printf("        '%s'*) words=\"", ctl_commands[i].words);
        print_names(ctl_commands[i].options);
        print_names(ctl_global_options);
        printf("\" ;;\n");
    }
    printf("    esac; fi\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\n"
           "complete -F _%s %s\n",
           program, program);
}

int ctl_completion(struct ctl *c)
{
    if (strcmp(c->args[0], "bash") != 0)
        return ctl_usage(c, "completion %s: only bash is known", c->args[0]);
    print_bash(c->program);
    return CTL_OK;
}
