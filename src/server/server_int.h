/* Inside of the server, shared by server.c (start and stop), io.c (loops of connections), pages.c
 * (HTTP) and metrics.c. Owner of the struct: server.c. */
#ifndef SLUICE_SERVER_SERVER_INT_H
#define SLUICE_SERVER_SERVER_INT_H

#include "base/op.h"
#include "http/http_server.h"
#include "loop/loop.h"
#include "server/config.h"
#include "server/server.h"
#include "storage/log_engine.h"

#include <stdatomic.h>

struct broker;
struct data_dir;

struct grpc_door;
struct kafka_door;
struct metastore;
struct signals;
struct workers;

enum { IO_LOOPS_MAX = 256 };

struct io_loop {
    struct loop *loop;
    struct thread *thread;
    struct task stop;
};

struct server {
    struct server_opts opts;
    struct loop *core;
    struct io_loop io[IO_LOOPS_MAX];
    unsigned n_io;
    struct data_dir *dir;
    char *dir_absolute; /* owned; what clients are told: they run elsewhere */
    struct workers *workers;
    struct metastore *meta;
    struct log_engine *log;
    struct broker *broker;
    struct kafka_door *kafka;
    struct grpc_door *grpc;
    struct http_server *http;
    struct signals *signals;
    char cluster_id[UUID_BASE64_BYTES];
    char listeners[CONFIG_ADDR_BYTES + 16], advertised_listeners[CONFIG_ADDR_BYTES + 16];
    char kafka_addr[CONFIG_ADDR_BYTES], http_addr[CONFIG_ADDR_BYTES];
    char grpc_addr[CONFIG_ADDR_BYTES];
    char advertised_host[OPTION_HOST_BYTES];
    struct buf topic_defaults;
    int64_t started_ns, started_wall_ms;
    struct timer trim;
    bool is_ready; /* everything is up, and nobody asked for a stop */

    struct op stop;
    struct task begin_stop, kafka_stop, resume_stop, kafka_stopped, grpc_stop, grpc_stopped;
    struct log_done log_closed;
    unsigned doors_open;
    bool is_stopping;
    atomic_bool is_quiet; /* nothing waits for an answer: a stop may be cut short */
};

/* Makes the loops for connections; their threads start later, once the listeners exist. */
sl_err server__make_io_loops(struct server *s) SL_CHECKED;
sl_err server__start_io_threads(struct server *s) SL_CHECKED;
void server__stop_io_loops(struct server *s); /* posts; the threads end by themselves */
void server__free_io_loops(struct server *s); /* joins the threads */
unsigned server__cores(void);

extern const struct http_route server__routes[];
extern const size_t server__n_routes;

#endif
