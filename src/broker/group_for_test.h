/* A host for group machines in tests: time is a variable, rows become durable when asked. */
#ifndef SLUICE_BROKER_GROUP_FOR_TEST_H
#define SLUICE_BROKER_GROUP_FOR_TEST_H

#include "broker/group_int.h"

enum { GROUP_SIM_CALLS_MAX = 64 };

struct group_sim {
    struct group_host host; /* first */
    struct broker_cfg cfg;
    struct clock clock;
    struct rng_seeded rng;
    struct group *g;
    int64_t now_ms;
    bool hold_stores; /* rows wait for group_sim_stored */
    bool row_waits;
    sl_err store_err; /* the result of the next rows */
    unsigned stores;
    /* the row as it is on disk */
    struct slice disk_state;
    int64_t disk_ceiling;
    bool disk_row;
};

void group_sim_init(struct group_sim *s, uint64_t seed);
void group_sim_fini(struct group_sim *s);
/* Answers and rows that are due, until nothing moves. */
void group_sim_settle(struct group_sim *s);
/* The waiting row becomes durable, or fails with err. */
void group_sim_stored(struct group_sim *s, sl_err err);
/* Time passes; timers fire in their order. */
void group_sim_pass(struct group_sim *s, int64_t ms);
/* The process dies and comes back with what is on disk. Parked calls are lost. */
void group_sim_restart(struct group_sim *s);

/* A client: a call, and whether it was answered. */
struct sim_join {
    struct broker_group_join j;
    struct group_protocol protocols[2];
    bool answered;
};
struct sim_sync {
    struct broker_group_sync s;
    struct group_assignment assignments[8];
    bool answered;
};
void sim_join(struct group_sim *s, struct sim_join *j, const char *member, const char *instance,
              const char *metadata);
void sim_join_again(struct group_sim *s, struct sim_join *j); /* with the id it was given */
void sim_sync(struct group_sim *s, struct sim_sync *y, const struct sim_join *as);
void sim_join_free(struct sim_join *j);
void sim_sync_free(struct sim_sync *y);
sl_err sim_heartbeat(struct group_sim *s, const struct sim_join *as);
sl_err sim_leave(struct group_sim *s, const struct sim_join *as);
sl_err sim_commit(struct group_sim *s, const struct sim_join *as);
const char *sim_text(struct slice text); /* NUL-terminated, until the next few calls */

#endif
