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
        printf("        --%s%s%.1s) words=\"", o->name, o->letter ? "|-" : "", &o->letter);
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

/* Options whose next word is their value, as a pattern of `case`. */
static void print_valued(const struct ctl_option *options)
{
    for (const struct ctl_option *o = options; o->name; o++)
        if (o->type != CTL_FLAG && o->letter)
            printf("--%s|-%c|", o->name, o->letter);
        else if (o->type != CTL_FLAG)
            printf("--%s|", o->name);
}

/* The words of the command in front of the cursor, without options and their values. bash splits
 * words at '=' and ':', so an address has several: what is behind a colon belongs to the word in
 * front of it. */
static void print_command_loop(void)
{
    printf("    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        word=${COMP_WORDS[i]}\n"
           "        case $word in\n"
           "            :|=) i=$((i + 1)) ;;\n"
           "            ");
    for (size_t i = 0; i < ctl_n_commands; i++)
        print_valued(ctl_commands[i].options);
    print_valued(ctl_global_options);
    printf("--) [[ ${COMP_WORDS[i+1]-} == = ]] || i=$((i + 1)) ;;\n"
           "            -*) ;;\n"
           "            *) command=\"${command:+$command }$word\" ;;\n"
           "        esac\n    done\n");
}

/* The same script for both: zsh runs it with its emulation of bash's completion. */
static void print_script(const char *program, const char *shell)
{
    bool is_zsh = strcmp(shell, "zsh") == 0;
    printf("# %s completion of %s; to use it now: source <(%s completion %s)\n%s"
           "_%s()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= "
           "word= words= i\n",
           shell, program, program, shell,
           is_zsh ? "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" : "",
           program);
    print_command_loop();
    printf("    case $prev in\n");
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
        const char *words = ctl_commands[i].words;
        printf("        '%s'|'%s '*) words=\"%s", words, words,
               strcmp(words, "completion") == 0 ? "bash zsh" : "");
        if (strcmp(words, "help") == 0)
            print_words("");
        print_names(ctl_commands[i].options);
        print_names(ctl_global_options);
        printf("\" ;;\n");
    }
    printf("    esac; fi\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
           "complete -F _%s %s\n",
           program, program);
}

int ctl_completion(struct ctl *c)
{
    const char *shell = c->args[0];
    if (strcmp(shell, "bash") != 0 && strcmp(shell, "zsh") != 0)
        return ctl_usage(c, "completion %s: allowed are bash|zsh", shell);
    print_script(c->program, shell);
    return CTL_OK;
}
