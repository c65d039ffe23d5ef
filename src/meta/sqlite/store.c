#include "meta/sqlite/sqlite_int.h"

#include "base/alloc.h"
#include "base/log.h"

/* ---- one transaction, one group ------------------------------------------------------------- */

static struct meta_txn *txn_of(struct task *t)
{
    return SL_CONTAINER_OF(t, struct meta_txn, task);
}

/* A full disk or too little memory may have rolled the whole transaction back already. */
static bool in_transaction(const struct sqlite_meta *m)
{
    return sqlite3_get_autocommit(m->db) == 0;
}

static void roll_back(struct sqlite_meta *m)
{
    if (in_transaction(m))
        (void)meta__run(m, ST_ROLLBACK, NULL); /* what it cannot undo, the next BEGIN reports */
}

static sl_err apply_ops(struct sqlite_meta *m, struct meta_txn *t)
{
    for (size_t i = 0; i < t->n_ops; i++)
        SL_TRY(meta__apply(m, &t->ops[i], &t->fault));
    return SL_OK;
}

/* t->err: the refusal of this one. The result: whether the group can go on. */
static sl_err apply_one(struct sqlite_meta *m, struct meta_txn *t)
{
    SL_TRY(meta__run(m, ST_SAVEPOINT, &t->fault));
    t->err = apply_ops(m, t);
    if (t->err == SL_EUNKNOWN_OUTCOME || !in_transaction(m))
        return t->err;
    if (t->err != SL_OK)
        SL_TRY(meta__run(m, ST_ROLLBACK_TO, &t->fault));
    return meta__run(m, ST_RELEASE, &t->fault);
}

/* Applies the chain and commits. An error: nothing of it is in the store, or nobody knows
 * (SL_EUNKNOWN_OUTCOME). */
static sl_err commit_chain(struct sqlite_meta *m, struct task *first, struct sl_fault *fault)
{
    if (m->broken)
        return sl_fault_set(fault, SL_EUNKNOWN_OUTCOME,
                            "an earlier commit of meta.db has an unknown outcome: restart");
    sl_err err = meta__run(m, ST_BEGIN, fault);
    for (struct task *t = first; t && err == SL_OK; t = t->next)
        err = apply_one(m, txn_of(t));
    if (err == SL_OK)
        err = meta__run(m, ST_COMMIT, fault);
    if (err != SL_OK)
        roll_back(m);
    if (err == SL_EUNKNOWN_OUTCOME || m->files.sync_failed)
        m->broken = true;
    return err;
}

static void fail_chain(struct task *first, sl_err err, const struct sl_fault *fault)
{
    for (struct task *t = first; t; t = t->next) {
        txn_of(t)->err = err;
        txn_of(t)->fault = *fault;
    }
}

/* One by one, so that only those that do not fit are refused. */
static void commit_singly(struct sqlite_meta *m, struct task *first)
{
    for (struct task *t = first; t; t = t->next) {
        struct task *rest = t->next;
        struct meta_txn *txn = txn_of(t);
        txn->err = SL_OK;
        txn->fault = (struct sl_fault){0};
        t->next = NULL;
        sl_err err = commit_chain(m, t, &txn->fault);
        if (err != SL_OK)
            txn->err = err;
        t->next = rest;
    }
}

static void commit_group(struct sqlite_meta *m, struct task *first)
{
    mutex_lock(m->db_lock);
    if (first->next) {
        struct sl_fault fault = {0};
        sl_err err = commit_chain(m, first, &fault);
        if (err == SL_EUNKNOWN_OUTCOME)
            fail_chain(first, err, &fault);
        else if (err != SL_OK)
            commit_singly(m, first);
    } else {
        commit_singly(m, first);
    }
    mutex_unlock(m->db_lock);
}

/* ---- the metadata thread -------------------------------------------------------------------- */

static void run_done(struct task *t)
{
    struct meta_txn *txn = txn_of(t);
    txn->done(txn);
}

/* In submit order. A transaction may be gone once it is posted or marked. */
static void complete_group(struct sqlite_meta *m, struct task *first)
{
    bool anybody_waits = false;
    for (struct task *t = first, *next; t; t = next) {
        struct meta_txn *txn = txn_of(t);
        next = t->next;
        if (txn->home) {
            t->run = run_done;
            loop_post(txn->home, t);
            continue;
        }
        mutex_lock(m->lock);
        txn->finished = true;
        mutex_unlock(m->lock);
        anybody_waits = true;
    }
    if (anybody_waits)
        cond_broadcast(m->changed);
}

/* Waits for work; NULL when the store stops and the queue is empty. */
static struct task *take_queue(struct sqlite_meta *m)
{
    mutex_lock(m->lock);
    while (!m->queue_head && !m->stopping)
        cond_wait(m->changed, m->lock);
    struct task *first = m->queue_head;
    m->queue_head = NULL;
    m->queue_tail = &m->queue_head;
    mutex_unlock(m->lock);
    return first;
}

static void run_thread(void *arg)
{
    struct sqlite_meta *m = (struct sqlite_meta *)arg;
    for (struct task *first; (first = take_queue(m));) {
        commit_group(m, first);
        complete_group(m, first);
    }
}

/* ---- the table of functions ----------------------------------------------------------------- */

static struct sqlite_meta *as_sqlite(struct metastore *m)
{
    return SL_CONTAINER_OF(m, struct sqlite_meta, base);
}

struct sqlite_meta *meta__of(struct metastore *m)
{
    return as_sqlite(m);
}

static void enqueue(struct sqlite_meta *m, struct meta_txn *t)
{
    t->err = SL_OK;
    t->fault = (struct sl_fault){0};
    t->finished = false;
    t->task.next = NULL;
    mutex_lock(m->lock);
    SL_ASSERT(!m->stopping);
    *m->queue_tail = &t->task;
    m->queue_tail = &t->task.next;
    mutex_unlock(m->lock);
    cond_broadcast(m->changed);
}

static void sqlite_submit(struct metastore *base, struct meta_txn *t)
{
    SL_ASSERT(t->home && t->done);
    SL_ASSERT(t->n_ops > 0);
    enqueue(as_sqlite(base), t);
}

static sl_err sqlite_commit(struct metastore *base, struct meta_txn *t)
{
    struct sqlite_meta *m = as_sqlite(base);
    t->home = NULL;
    enqueue(m, t);
    mutex_lock(m->lock);
    while (!t->finished)
        cond_wait(m->changed, m->lock);
    mutex_unlock(m->lock);
    return t->err;
}

static sl_err sqlite_reserve(struct metastore *base, const char *counter, int64_t n,
                             int64_t *ret_first)
{
    int64_t first = 0;
    struct meta_op op = {.kind = META_COUNTER_TAKE,
                         .counter = {.name = counter, .n = n, .ret_first = &first}};
    struct meta_txn t = {.ops = &op, .n_ops = 1};
    SL_TRY(sqlite_commit(base, &t));
    *ret_first = first;
    return SL_OK;
}

static sl_err sqlite_load(struct metastore *base, const struct meta_loader *loader,
                          struct sl_fault *fault)
{
    struct sqlite_meta *m = as_sqlite(base);
    struct sl_fault own = {0};
    mutex_lock(m->db_lock);
    sl_err err = meta__load(m, loader, &own);
    if (err == SL_ECORRUPT) /* closing would move the log into the file: leave both as found */
        meta__leave_log(m, true);
    mutex_unlock(m->db_lock);
    if (fault && err != SL_OK)
        *fault = own;
    return err;
}

static void sqlite_free(struct sqlite_meta *m)
{
    if (!m)
        return;
    meta__disconnect(m);
    sqlite_files_unregister(&m->files);
    mutex_free(m->db_lock);
    mutex_free(m->lock);
    cond_free(m->changed);
    sl_free(m);
}
SL_DEFINE_AUTO(struct sqlite_meta *, sqlite_free);

static void sqlite_close(struct metastore *base)
{
    struct sqlite_meta *m = as_sqlite(base);
    mutex_lock(m->lock);
    m->stopping = true;
    mutex_unlock(m->lock);
    cond_broadcast(m->changed);
    thread_join(m->thread);
    sqlite_free(m);
}

static const struct metastore_ops sqlite_ops = {
    .submit = sqlite_submit,
    .commit = sqlite_commit,
    .load = sqlite_load,
    .reserve = sqlite_reserve,
    .close = sqlite_close,
};

static struct sqlite_meta *sqlite_new(void)
{
    struct sqlite_meta *m = sl_new(struct sqlite_meta);
    m->base.ops = &sqlite_ops;
    m->db_lock = mutex_new();
    m->lock = mutex_new();
    m->changed = cond_new();
    m->queue_tail = &m->queue_head;
    return m;
}

sl_err meta_sqlite_open(struct vfs *v, const char *dir, struct sl_fault *fault,
                        struct metastore **ret)
{
    SL_AUTO(sqlite_free) struct sqlite_meta *m = sqlite_new();
    SL_TRY(sqlite_files_register(&m->files, v));
    SL_TRY(meta__connect(m, dir, "meta.db", fault));
    SL_TRY(thread_start("sluice-meta", run_thread, m, &m->thread));
    *ret = &SL_TAKE(m)->base;
    return SL_OK;
}
