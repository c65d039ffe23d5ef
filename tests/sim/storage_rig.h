/* The local engine with its metastore in a simulated world, called from threads that wait.
 *
 * The core loop runs on a thread of its own, as in the program; the calls below may be made from
 * any other simulated thread and return when the engine has answered. */
#ifndef SLUICE_SIM_STORAGE_RIG_H
#define SLUICE_SIM_STORAGE_RIG_H

#include "loop/loop.h"
#include "meta/metastore.h"
#include "record/builder.h"
#include "sim/sim.h"
#include "sim/simfs.h"
#include "storage/log_engine.h"

enum { RIG_PARTS_MAX = 4 };

struct rig {
    struct vfs *vfs;
    struct log_cfg cfg;
    struct log_topic_cfg topic_cfg;
    struct uuid topic_id;
    /* since rig_open */
    struct loop *loop;
    struct workers *workers;
    struct metastore *meta;
    struct log_engine *engine;
    struct log_part *parts[RIG_PARTS_MAX];
    unsigned n_parts; /* whose rows are in meta.db */
    sl_err err;       /* of open, then of close */
    struct sl_fault fault;
    /* internal */
    struct thread *core;
    struct mutex *lock;
    struct cond *changed;
    bool opened;
    struct task close_task;
    struct log_done close_done;
};

/* Small files and short times, so that a short run rolls, recycles and checkpoints. */
void rig_init(struct rig *r, struct simfs *fs);
/* Opens /data (made when absent) and the partitions that meta.db has. */
sl_err rig_open(struct rig *r) SL_CHECKED;
sl_err rig_close(struct rig *r); /* clean shutdown of engine, then the rest */
/* topic.meta, then the rows of the topic and n partitions. */
sl_err rig_create_topic(struct rig *r, unsigned n_parts) SL_CHECKED;

struct rig_append {
    struct log_append append;
    struct log_batch batch;
    struct rig *rig;
    struct task task;
    bool done;
    /* Called on the core loop when the answer comes; may be NULL. */
    void (*answered)(struct rig_append *a);
};
/* Takes over the slice. */
void rig_append_start(struct rig *r, struct rig_append *a, unsigned part, struct slice batch,
                      enum log_durability durability);
sl_err rig_append_wait(struct rig_append *a);

/* What one partition says of itself, and its batches from `offset` on; the caller unrefs. */
void rig_state(struct rig *r, unsigned part, struct log_part_state *ret);
sl_err rig_read(struct rig *r, unsigned part, int64_t offset, uint32_t bytes_max,
                struct slice *ret) SL_CHECKED;
sl_err rig_trim(struct rig *r, unsigned part, int64_t offset);

/* One batch of n records that is told from all others by `id`, of about `bytes` bytes. The same
 * arguments give the same bytes. producer NULL: none in particular. */
struct slice rig_batch(uint64_t id, int32_t n, size_t bytes, const struct batch_producer *producer);
uint64_t rig_batch_id(struct slice batch); /* 0: not one of ours */

#endif
