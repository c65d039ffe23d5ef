/* Inside of sluicectl: the command that runs, its options, and how it answers.
 *
 * A command is a function that prints through output.h and returns an exit code; whatever fails
 * says so once, on stderr, with what to do. One thread. */
#ifndef SLUICE_CTL_CTL_H
#define SLUICE_CTL_CTL_H

#include "base/arena.h"
#include "client/client.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,      /* the broker refused, or a check failed */
    CTL_USAGE = 2,       /* the command line is wrong */
    CTL_UNREACHABLE = 3, /* no broker answered */
};

enum ctl_option_type { CTL_FLAG, CTL_TEXT, CTL_LIST, CTL_NUMBER, CTL_CHOICE };

struct ctl_option {
    const char *name;  /* without the dashes; NULL ends a list */
    const char *value; /* name of the value in help, or the choices */
    int64_t min, max;
    const char *help;
    enum ctl_option_type type;
    char letter; /* -e stands for --endpoint; 0: none */
};

struct ctl;

struct ctl_command {
    const char *words; /* "topic create" */
    const char *arguments;
    int args_min, args_max;
    const char *help;
    const struct ctl_option *options;
    int (*run)(struct ctl *c);
};

enum { CTL_ARGS_MAX = 1000, ARGS_MANY = CTL_ARGS_MAX };

extern const struct ctl_command ctl_commands[];
extern const size_t ctl_n_commands;
extern const struct ctl_option ctl_global_options[];

/* An option that was given. */
struct ctl_value {
    const struct ctl_option *option;
    const char *text; /* NULL: a flag */
};

struct ctl {
    const char *program; /* the name it was called by */
    const struct ctl_command *command;
    const char *args[CTL_ARGS_MAX];
    int n_args;
    struct ctl_value values[CTL_ARGS_MAX];
    int n_values;
    const char *word; /* of a command that is not complete: "topic" */
    bool is_json;
    struct client *client; /* of commands that asked for it: ctl_connect */
    struct arena *arena;   /* for the whole command */
};

/* ---- args.c ---------------------------------------------------------------------------------- */

/* Fills command, args and values. CTL_USAGE has been explained on stderr. */
int ctl_parse(struct ctl *c, int argc, char **argv);
/* What was given, for options of the running command or global ones. */
bool ctl_flag(const struct ctl *c, const char *name);
const char *ctl_text(const struct ctl *c, const char *name, const char *otherwise);
int64_t ctl_number(const struct ctl *c, const char *name, int64_t otherwise);
/* The i-th value of a LIST; NULL behind the last. */
const char *ctl_list(const struct ctl *c, const char *name, size_t i);

/* ---- ask.c ------------------------------------------------------------------------------------
 */

/* "sluicectl: ..." on stderr; returns CTL_FAILED. */
int ctl_fail(const struct ctl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a wrong command line; returns CTL_USAGE. */
int ctl_usage(const struct ctl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Kafka's error code for `what` ("topic orders"), with the broker's words and what to do. */
int ctl_refused(const struct ctl *c, const char *what, int16_t code, struct slice message);
/* Of the option, the environment or the default. */
const char *ctl_bootstrap(const struct ctl *c);
int ctl_connect(struct ctl *c);
/* Asks; connects first when needed. CTL_OK, or what went wrong has been said. */
int ctl_ask(struct ctl *c, int32_t node, int16_t api_key, int16_t version_max, const void *request,
            void *ret);
int64_t ctl_timeout_ms(const struct ctl *c);
void *ctl_alloc(struct ctl *c, size_t n, size_t size); /* zeroed, in the arena; never NULL */

/* ---- help.c, completion.c
 * ------------------------------------------------------------------------ */

void ctl_help_all(const struct ctl *c);
void ctl_help_command(const struct ctl *c, const struct ctl_command *command);
/* Commands that begin with this word; false: there are none. */
bool ctl_help_word(const struct ctl *c, const char *word);
/* The command with these words; second NULL: of one word. NULL: none. */
const struct ctl_command *ctl_find_command(const char *first, const char *second);

/* ---- the commands, one file each or one for a family
 * --------------------------------------------- */

#define COMMAND(function, ...) int ctl_##function(struct ctl *c);
#include "ctl/commands.def"
#undef COMMAND

#endif
