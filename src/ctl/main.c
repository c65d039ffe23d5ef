#include "ctl/ctl.h"

#include "ctl/output.h"

#include <signal.h>
#include <stdio.h>

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int run(struct ctl *c, int argc, char **argv)
{
    int wrong = ctl_parse(c, argc, argv);
    if (wrong)
        return wrong;
    if (ctl_flag(c, "version")) {
        printf("%s %s\n", c->program, SLUICE_VERSION);
        return CTL_OK;
    }
    if (!c->command) {
        bool is_asked = ctl_flag(c, "help");
        if (!c->word || !ctl_help_word(c, c->word))
            ctl_help_all(c);
        return is_asked ? CTL_OK : CTL_USAGE;
    }
    if (ctl_flag(c, "help")) {
        ctl_help_command(c, c->command);
        return CTL_OK;
    }
    return c->command->run(c);
}

int main(int argc, char **argv)
{
    static struct ctl c;
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that goes is seen by the write */
    c.program = argc > 0 ? name_of(argv[0]) : "sluicectl";
    c.arena = arena_new(NULL);
    int status = run(&c, argc, argv);
    out_progress_end();
    client_close(c.client);
    arena_free(c.arena);
    if (fflush(stdout) != 0 && status == CTL_OK)
        status = CTL_FAILED;
    return status;
}
