/* A loop and a socket that do nothing by themselves, for targets that feed a connection with bytes:
 * they stand in for loop.h and socket.h. */
#ifndef SLUICE_FUZZ_STILL_WORLD_H
#define SLUICE_FUZZ_STILL_WORLD_H

#include "loop/loop.h"
#include "loop/socket.h"

/* The loop that doors are started on. */
struct loop *still_loop(void);
/* A connection of the door that listened last. */
struct tcp_conn *still_accept(void);
/* Bytes from the peer, at most `step` at a time; ends when the door has closed. Deferred tasks run
 * behind each piece. */
void still_feed(struct tcp_conn *c, const uint8_t *data, size_t len, size_t step);
/* The peer goes. c is gone. */
void still_close(struct tcp_conn *c);
/* Runs what was deferred or posted, until nothing is left. */
void still_run(void);
/* Bytes that the doors have written so far. */
size_t still_written(void);

#endif
