/* What the commands over gRPC share: a loop, a connection, and how a command ends. One thread. */
#ifndef SLUICE_CTL_GRPC_H
#define SLUICE_CTL_GRPC_H

#include "ctl/ctl.h"
#include "grpc_client/grpc_client.h"
#include "loop/loop.h"

#include <signal.h>

/* Embedded in the command's own struct. */
struct ctl_grpc {
    struct ctl *c;
    void (*on_ready)(struct ctl_grpc *g); /* connected: begin */
    bool follows;                         /* connect again when the connection is lost */
    struct loop *loop;
    struct grpc_client *client;
    struct timer retry;
    uint32_t n_lost; /* connections in a row that brought nothing; the command sets it to 0 */
    int status;
    bool finished;
};

/* Connects, calls on_ready, runs until ctl_grpc_finish; the exit status. */
int ctl_grpc_run(struct ctl *c, struct ctl_grpc *g);
/* The command has its result: says goodbye. The first status that is not CTL_OK wins. */
void ctl_grpc_finish(struct ctl_grpc *g, int status);
/* Says what the server said; returns the exit status for it. */
int ctl_grpc_refused(const struct ctl *c, const char *what, enum grpc_status status,
                     const char *text);
/* "NAME=VALUE" options as pairs that point into a copy; *ret_n of them. */
struct ctl_pair {
    char *name, *value;
};
int ctl_pairs(struct ctl *c, const char *option, struct ctl_pair **ret, size_t *ret_n);

#endif
