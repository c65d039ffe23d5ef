/* The program: commands, settings, exit codes. The only place that ends the process. */
#include "server/config.h"
#include "server/metrics.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, TEXT_BYTES_MAX = 1 << 20 };

static struct {
    int argc; /* flags of serve */
    char **argv;
} command_line;

static int print(void (*write_text)(struct buf *out))
{
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    write_text(&out);
    bool good = fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buf_fini(&out);
    return good ? EXIT_SUCCESS : EXIT_FAILED;
}

static void print_version(struct buf *out)
{
    (void)buf_printf(out, "sluice %s\n", server_version());
}

static void print_overview(struct buf *out)
{
    (void)buf_printf(out, "sluice: a streaming broker that Kafka clients speak to\n\n"
                          "  sluice serve [OPTION...]   run the broker; --help lists the options\n"
                          "  sluice --version           print the version\n"
                          "  sluice --help              print this\n\n"
                          "  sluice serve --data-dir ./data\n\n"
                          "starts one on 127.0.0.1:9092, and so does sluice alone. sluicectl "
                          "creates topics, produces and consumes.\n");
}

/* What the log is not set up for yet: one line, so that it reads well in a terminal and in a
 * journal.
 */
static int complain(const struct sl_fault *fault)
{
    (void)fprintf(stderr, "sluice: %s%s%s\n", fault->where, *fault->where ? ": " : "", fault->what);
    return EXIT_USAGE;
}

static sl_err load_settings(struct sl_fault *fault, struct options **ret)
{
    return config_load(command_line.argc, command_line.argv, NULL, fault, ret);
}

static __attribute__((noreturn)) void die(int status)
{
    _exit(status);
}

static void log_notices(const struct options *o)
{
    for (size_t i = 0; i < options_notice_count(o); i++)
        LOG_WARN("server.setting", options_notice(o, i));
}

static int serve(void)
{
    struct sl_fault fault = {0};
    SL_AUTO(options_free) struct options *options = NULL;
    if (load_settings(&fault, &options) != SL_OK)
        return complain(&fault);
    log_configure(STDERR_FILENO, config_log_level(options), config_log_format(options));
    log_notices(options);
    (void)umask(S_IRWXG | S_IRWXO); /* the data is nobody else's business */
    struct server_opts opts = {.options = options, .reload = load_settings, .die = die};
    fault = (struct sl_fault){0};
    sl_err err = server_run(&opts, &fault);
    if (err == SL_OK)
        return EXIT_SUCCESS;
    LOG_ERROR("server.failed", "cannot serve", F_STR("where", fault.where),
              F_STR("what", fault.what));
    return EXIT_FAILED;
}

static bool has_flag(int argc, char **argv, const char *a, const char *b)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], a) == 0 || strcmp(argv[i], b) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;
    int skip = command ? 2 : 1;
    command_line.argc = argc - skip;
    command_line.argv = argv + skip;
    if (has_flag(command_line.argc, command_line.argv, "--version", "-V"))
        return print(print_version);
    if (has_flag(command_line.argc, command_line.argv, "--help", "-h"))
        return print(command ? config_print_help : print_overview);
    if (!command || strcmp(command, "serve") == 0)
        return serve(); /* the command may be left out, as the first Sluice had it */
    if (strcmp(command, "help") == 0)
        return print(print_overview);
    if (strcmp(command, "config-docs") == 0)
        return print(config_print_page);
    if (strcmp(command, "metrics-docs") == 0)
        return print(metrics_print_page);
    (void)fprintf(stderr, "sluice: unknown command %.64s; sluice --help lists them\n", command);
    return EXIT_USAGE;
}
