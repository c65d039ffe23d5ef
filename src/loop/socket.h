/* TCP on a loop: listeners and connections. Only loop_real has it.
 *
 * Reads are pull: nothing is read while the connection is paused. Reading asks the owner for the
 * memory of the next bytes, so a frame is received straight into the block that the log writer
 * will write from. Writes take references to slices and are sent with one writev per turn. */
#ifndef SLUICE_LOOP_SOCKET_H
#define SLUICE_LOOP_SOCKET_H

#include "base/slice.h"
#include "loop/loop.h"

struct tcp_listener;
struct tcp_conn;

enum { ADDR_TEXT_BYTES = 80 }; /* "[2001:db8::1]:65535" and a zone */

struct tcp_listen_opts {
    /* "127.0.0.1:9092", "[::1]:9092", "localhost:9092" (looked up, blocking: at start only),
     * ":0" (all addresses, a free port). */
    const char *addr;
    int backlog;
    void *arg; /* outlives all loops that pick_loop gives: accepted ones may be on their way */
    /* On the loop of the connection: the owner must call tcp_conn_start or tcp_conn_close. */
    void (*on_accept)(void *arg, struct tcp_conn *conn);
    /* Chooses the loop of the next connection; NULL: the listener's own. */
    struct loop *(*pick_loop)(void *arg);
};

/* Listens. SL_EADDRINUSE, SL_EINVAL (address), SL_EACCES; fault says the address and a way out. */
sl_err tcp_listen(struct loop *l, const struct tcp_listen_opts *opts, struct sl_fault *fault,
                  struct tcp_listener **ret) SL_CHECKED;
uint16_t tcp_listener_port(const struct tcp_listener *s);
/* EMFILE pauses accepting for 100 ms and keeps a reserve descriptor to refuse politely (F12). */
void tcp_listener_close(struct tcp_listener *s); /* accepts NULL */

struct tcp_connect_opts {
    const char *addr; /* as of tcp_listen_opts, with a host; looked up before tcp_connect returns */
    int64_t timeout_ms;
    void *arg;
    /* Once, later, on the loop. conn is the caller's: tcp_conn_start or tcp_conn_close. NULL: err
     * and its errno say why. */
    void (*done)(void *arg, struct tcp_conn *conn, sl_err err, int sys_errno);
};

/* Connects to the first address of the host. On an error (SL_EINVAL: the address) done is not
 * called. A connect under way is not canceled, its deadline bounds it. */
sl_err tcp_connect(struct loop *l, const struct tcp_connect_opts *opts) SL_CHECKED;

struct tcp_conn_ops {
    /* Memory for the next bytes: sets *ret_len to its size. NULL pauses reading. */
    uint8_t *(*read_buffer)(struct tcp_conn *c, void *arg, size_t *ret_len);
    /* n bytes were put there. */
    void (*on_read)(struct tcp_conn *c, void *arg, size_t n);
    /* The write queue has become empty: whoever paused because of tcp_conn_queued_bytes goes on.
     * At the end of a turn, or when the peer has read. May be NULL. */
    void (*on_drained)(struct tcp_conn *c, void *arg);
    /* The last call for this connection: SL_EEND peer closed, SL_ECLOSED reset or tcp_conn_close.
     * The owner forgets c. */
    void (*on_close)(struct tcp_conn *c, void *arg, sl_err why);
};

void tcp_conn_start(struct tcp_conn *c, const struct tcp_conn_ops *ops, void *arg);
struct loop *tcp_conn_loop(const struct tcp_conn *c);
void tcp_conn_pause(struct tcp_conn *c);
void tcp_conn_resume(struct tcp_conn *c);
/* Queues the bytes; takes over the caller's references. Sent at the end of this turn together with
 * all else that was queued. */
void tcp_conn_write(struct tcp_conn *c, struct slice *slices, size_t n);
size_t tcp_conn_queued_bytes(const struct tcp_conn *c);
/* Closes at once, dropping what is queued; on_close follows, later. */
void tcp_conn_close(struct tcp_conn *c);
/* Closes once what is queued has been sent (bounded: 5 s). */
void tcp_conn_close_after_write(struct tcp_conn *c);
/* "10.0.0.1:4711"; IPv4-mapped addresses are unwrapped. */
void tcp_conn_peer(const struct tcp_conn *c, char ret_text[ADDR_TEXT_BYTES]);
/* Host without port, and port, of our side: what clients of this connection are told. */
void tcp_conn_local(const struct tcp_conn *c, char ret_host[ADDR_TEXT_BYTES], uint16_t *ret_port);

#endif
