/* The server: everything below put together, started in order, stopped in reverse.
 *
 * server_run returns when the server has been told to stop. */
#ifndef SLUICE_SERVER_SERVER_H
#define SLUICE_SERVER_SERVER_H

#include "base/err.h"

struct options;

struct server_opts {
    const struct options *options;
    /* Reads the settings again, for SIGHUP; on SL_OK the server owns *ret. */
    sl_err (*reload)(struct sl_fault *fault, struct options **ret);
    __attribute__((noreturn)) void (*die)(int status); /* ends the process at once; any thread */
};

const char *server_version(void); /* "0.1.0" */
/* Runs on the calling thread, which becomes the core loop's. SL_OK after a clean stop. */
sl_err server_run(const struct server_opts *opts, struct sl_fault *fault) SL_CHECKED;

#endif
