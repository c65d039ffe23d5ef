/* Loops for connections, each with a thread of its own. */
#include "server/server_int.h"

#include <sched.h>
#include <stdio.h>

unsigned server__cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1; /* more than 1,024 cores: nobody's laptop; the setting helps */
    return (unsigned)SL_MAX(CPU_COUNT(&set), 1);
}

static unsigned wanted_loops(const struct server *s)
{
    int64_t n = option_number(s->opts.options, CONFIG_io_threads);
    unsigned cores = server__cores();
    if (n >= 0)
        return (unsigned)n;
    return cores <= 2 ? 0 : SL_MIN(cores / 2, 8U);
}

sl_err server__make_io_loops(struct server *s)
{
    unsigned wanted = wanted_loops(s);
    for (; s->n_io < wanted; s->n_io++)
        SL_TRY(loop_new(&clock_real, &s->io[s->n_io].loop));
    return SL_OK;
}

static void run_loop(void *arg)
{
    loop_run(arg);
}

sl_err server__start_io_threads(struct server *s)
{
    for (unsigned i = 0; i < s->n_io; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "io-%u", i);
        SL_TRY(thread_start(name, run_loop, s->io[i].loop, &s->io[i].thread));
    }
    return SL_OK;
}

static void stop_here(struct task *t)
{
    loop_stop(SL_CONTAINER_OF(t, struct io_loop, stop)->loop);
}

void server__stop_io_loops(struct server *s)
{
    for (unsigned i = 0; i < s->n_io; i++) {
        s->io[i].stop.run = stop_here;
        loop_post(s->io[i].loop, &s->io[i].stop);
    }
}

void server__free_io_loops(struct server *s)
{
    for (unsigned i = 0; i < s->n_io; i++) {
        if (!s->io[i].thread && s->kafka)
            loop_run(s->io[i].loop); /* never had a thread: what was opened on it ends here */
        thread_join(s->io[i].thread);
        loop_free(s->io[i].loop);
    }
    s->n_io = 0;
}
