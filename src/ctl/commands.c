#include "ctl/ctl.h"

/* The last argument is the letter, if it has one. */
#define OPTION(n, t, v, lo, hi, h, ...)                                                            \
    {                                                                                              \
        .name = (n), .value = (v), .min = (lo), .max = (hi), .help = (h), .type = (t),             \
        .letter = 0 __VA_OPT__(+(__VA_ARGS__))                                                     \
    }
#define FLAG(name, help, ...)        OPTION(name, CTL_FLAG, NULL, 0, 0, help, __VA_ARGS__)
#define TEXT(name, value, help, ...) OPTION(name, CTL_TEXT, value, 0, 0, help, __VA_ARGS__)
#define LIST(name, value, help, ...) OPTION(name, CTL_LIST, value, 0, 0, help, __VA_ARGS__)
#define NUMBER(name, value, min, max, help, ...)                                                   \
    OPTION(name, CTL_NUMBER, value, min, max, help, __VA_ARGS__)
#define CHOICE(name, choices, help, ...) OPTION(name, CTL_CHOICE, choices, 0, 0, help, __VA_ARGS__)

const struct ctl_option ctl_global_options[] = {
    TEXT("endpoint", "URL", "gRPC server of publish, subscribe and topics [http://localhost:50051]",
         'e'),
    TEXT("bootstrap", "HOST:PORT", "a broker, or several with commas [127.0.0.1:9092]"),
    CHOICE("output", "table|text|json",
           "how results are printed; text is another word for table [table]", 'o'),
    NUMBER("timeout", "MS", 1, 3600000, "wait this long for a connection or an answer [10000]"),
    TEXT("client-id", "NAME", "how the broker's logs name this client [sluicectl]"),
    FLAG("help", "explain the command", 'h'),
    FLAG("version", "print the version"),
    {0}};

#define COMMAND(function, words, arguments, args_min, args_max, help, ...)                         \
    static const struct ctl_option function##_options[] = {__VA_ARGS__ __VA_OPT__(, ){0}};
#include "ctl/commands.def"
#undef COMMAND

const struct ctl_command ctl_commands[] = {
#define COMMAND(function, words, arguments, args_min, args_max, help, ...)                         \
    {words, arguments, args_min, args_max, help, function##_options, ctl_##function},
#include "ctl/commands.def"
#undef COMMAND
};
const size_t ctl_n_commands = SL_ARRAY_LEN(ctl_commands);

const struct ctl_command *ctl_find_command(const char *first, const char *second)
{
    size_t len = strlen(first);
    for (size_t i = 0; i < ctl_n_commands; i++) {
        const char *words = ctl_commands[i].words;
        if (strncmp(words, first, len) != 0)
            continue;
        if (!second && words[len] == 0)
            return &ctl_commands[i];
        if (second && words[len] == ' ' && strcmp(words + len + 1, second) == 0)
            return &ctl_commands[i];
    }
    return NULL;
}
