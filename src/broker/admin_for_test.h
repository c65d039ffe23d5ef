/* For the tests of topics, settings and admin calls: the real core on the real log engine and
 * metastore, on simulated files, in a simulated world. Only test files include it. */
#ifndef SLUICE_BROKER_ADMIN_FOR_TEST_H
#define SLUICE_BROKER_ADMIN_FOR_TEST_H

#include "base/alloc.h"
#include "broker/admin.h"
#include "broker/broker_int.h"
#include "broker/configs.h"
#include "broker/topics.h"
#include "sim/sim.h"
#include "sim/simfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

struct admin_world {
    struct simfs *fs; /* borrowed */
    struct broker_cfg cfg;
    struct loop *loop;
    struct workers *workers;
    struct metastore *meta;
    struct log_engine *log;
    struct broker *b;
    struct sl_fault fault;
    /* The core wants the process to end: called on its thread, if set. */
    void (*on_fatal)(struct admin_world *w);
    bool fatal;
    /* internal: the core runs on a thread of its own */
    struct thread *core;
    struct mutex *lock;
    struct cond *changed;
    int pending; /* calls that have not come back */
    sl_err err;  /* of the open */
    bool opened, runs;
    struct task close_task;
    struct log_done log_closed;
};

extern const struct broker_cfg admin_default_cfg;

/* In a world. A failed open is closed as well. */
sl_err admin_open(struct admin_world *w);
void admin_close(struct admin_world *w);
static inline void admin_reopen(struct admin_world *w)
{
    admin_close(w);
    assert_int_equal(SL_OK, admin_open(w));
}
/* Fills in the common part and submits; admin_wait waits until all have come back. */
void admin_submit(struct admin_world *w, struct broker_call *c);
void admin_wait(struct admin_world *w);
static inline void admin_call(struct admin_world *w, struct broker_call *c)
{
    admin_submit(w, c);
    admin_wait(w);
}

/* One topic each; SL_... of that topic. */
sl_err admin_create(struct admin_world *w, const char *name, int32_t partitions);
sl_err admin_delete(struct admin_world *w, const char *name);
sl_err admin_grow(struct admin_world *w, const char *name, int32_t count);
sl_err admin_set(struct admin_world *w, const char *topic, const char *setting, const char *value);
/* The topic as Metadata shows it; err SL_ETOPIC when it does not. */
struct broker_topic_view admin_view(struct admin_world *w, const char *name);
static inline bool admin_has(struct admin_world *w, const char *name)
{
    return admin_view(w, name).err == SL_OK;
}

/* Partitions and retention.ms (0: not set) of a topic in one number; 0 when it is not there. */
int64_t admin_state(struct admin_world *w, const char *name);
static inline int64_t admin_state_of(int32_t partitions, int64_t retention)
{
    return retention * 1000 + partitions;
}

/* Runs the body in a new world on files of its own, opened and closed around it. */
void in_admin_world(void (*body)(struct admin_world *w));
#define ADMIN_TEST(name)                                                                           \
    static void name##_body(struct admin_world *w);                                                \
    static void name(void **state)                                                                 \
    {                                                                                              \
        in_admin_world(name##_body);                                                               \
    }                                                                                              \
    static void name##_body(struct admin_world *w)

#endif
