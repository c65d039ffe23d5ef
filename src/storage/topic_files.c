/* topic.meta and the folders of a topic. Written before the rows of a new topic, so that meta.db
 * can be rebuilt; marked deleted before they go, so that no restart brings a topic back. */
#include "storage/local_int.h"
#include "storage/topic_meta_int.h"

#include "base/alloc.h"
#include "base/log.h"

struct topic_job {
    struct work work;
    struct local_engine *engine;
    struct log_done *done;
    struct uuid topic_id;
    struct topic_meta meta;  /* writing: an owned copy */
    struct log_part **parts; /* dropping: counted, until done; callers may still hold them */
    size_t n_parts;
    int64_t delete_delay_ms;
    sl_err err;
};

static struct topic_job *job_new(struct local_engine *e, const struct uuid *id, struct log_done *d)
{
    struct topic_job *j = sl_new(struct topic_job);
    j->engine = e;
    j->done = d;
    j->topic_id = *id;
    e->jobs_pending++;
    return j;
}

static void job_end(struct topic_job *j)
{
    struct local_engine *e = j->engine;
    struct log_done *d = j->done;
    d->err = j->err;
    e->jobs_pending--;
    d->done(d);
    for (size_t i = 0; i < j->n_parts; i++)
        part__unref(j->parts[i]);
    sl_free(j->parts);
    topic_meta__fini(&j->meta);
    sl_free(j);
    engine__idle_check(e);
}

static void submit(struct topic_job *j, void (*run)(struct work *w), void (*done)(struct work *w))
{
    j->work.run = run;
    j->work.done = done;
    workers_submit(j->engine->env.workers, j->engine->env.loop, &j->work);
}

/* ---- write ------------------------------------------------------------------------------- */

static sl_err make_part_dirs(struct topic_job *j)
{
    struct local_engine *e = j->engine;
    char path[PATH_BYTES];
    for (uint32_t i = 0; i < j->meta.n_parts; i++) {
        paths__part_dir(path, e->data_dir, &j->topic_id, j->meta.parts[i].index);
        sl_err err = vfs_mkdir(e->env.vfs, path);
        if (err != SL_OK && err != SL_EEXISTS)
            return err;
    }
    paths__topic_dir(path, e->data_dir, &j->topic_id);
    return vfs_sync_dir(e->env.vfs, path);
}

static void write_run(struct work *w)
{
    struct topic_job *j = SL_CONTAINER_OF(w, struct topic_job, work);
    struct local_engine *e = j->engine;
    char dir[PATH_BYTES];
    paths__topic_dir(dir, e->data_dir, &j->topic_id);
    j->err = vfs_ensure_dir(e->env.vfs, dir);
    if (j->err == SL_OK)
        j->err = make_part_dirs(j);
    if (j->err == SL_OK)
        j->err = topic_meta__save(e->env.vfs, dir, &j->meta);
}

static void write_done(struct work *w)
{
    job_end(SL_CONTAINER_OF(w, struct topic_job, work));
}

void topic_files__write(struct log_engine *base, const struct log_topic_spec *spec,
                        struct log_done *d)
{
    struct topic_job *j = job_new(engine__of(base), &spec->topic_id, d);
    topic_meta__copy(&j->meta, spec);
    submit(j, write_run, write_done);
}

/* ---- drop -------------------------------------------------------------------------------- */

static sl_err delete_rows(struct local_engine *e, const struct uuid *id)
{
    const struct meta_op op = {.kind = META_TOPIC_DELETE, .topic = {.topic_id = *id}};
    struct meta_txn txn = {.ops = &op, .n_ops = 1};
    sl_err err = meta_commit(e->env.meta, &txn);
    return err == SL_ENOTFOUND ? SL_OK : err;
}

static sl_err delete_rows_of(struct topic_job *j)
{
    struct local_engine *e = j->engine;
    mutex_lock(e->rows_lock);
    sl_err err = delete_rows(e, &j->topic_id);
    for (size_t i = 0; err == SL_OK && i < j->n_parts; i++)
        atomic_store(&j->parts[i]->gone, true);
    mutex_unlock(e->rows_lock);
    return err;
}

/* The rows are still there, so the topic is: a mark that stays would only mislead whoever rebuilds
 * meta.db. */
static void unmark(struct topic_job *j, const char *dir)
{
    sl_err err = topic_meta__mark_deleted(j->engine->env.vfs, dir, false);
    if (err != SL_OK)
        LOG_WARN("topic.mark_stays", "a topic whose deletion failed is marked deleted in its file",
                 F_STR("dir", dir), F_ERR(err));
}

/* The mark is durable before the rows go; a crash between is finished at the next start. */
static void drop_run(struct work *w)
{
    struct topic_job *j = SL_CONTAINER_OF(w, struct topic_job, work);
    struct local_engine *e = j->engine;
    char dir[PATH_BYTES], gone[PATH_BYTES], topics[PATH_BYTES];
    paths__topic_dir(dir, e->data_dir, &j->topic_id);
    if (atomic_load(&e->refusing))
        space__release_ballast(e);
    j->err = topic_meta__mark_deleted(e->env.vfs, dir, true);
    if (j->err == SL_OK)
        j->err = delete_rows_of(j);
    if (j->err != SL_OK) {
        unmark(j, dir);
        return;
    }
    paths__deleted_topic_dir(gone, e->data_dir, &j->topic_id);
    paths__join(topics, e->data_dir, "topics");
    sl_err err = vfs_rename(e->env.vfs, dir, gone);
    if (err == SL_OK)
        err = vfs_sync_dir(e->env.vfs, topics);
    if (err != SL_OK && err != SL_ENOTFOUND)
        LOG_WARN("topic.rename_failed", "the folder of a deleted topic goes at the next start",
                 F_STR("dir", dir), F_ERR(err));
}

static void forget_topic(struct local_engine *e, const struct uuid *topic_id)
{
    struct local_topic *t = map_remove(e->topics, topic_id->bytes, sizeof topic_id->bytes);
    struct list *node;
    while (t && (node = t->parts.next) != &t->parts) {
        struct log_part *p = SL_CONTAINER_OF(node, struct log_part, topic_node);
        engine__forget_part(e, p);
        part__unref(p); /* the job holds another one */
    }
    sl_free(t);
}

/* A drop that failed has changed nothing: its partitions are written, saved and rescued as before.
 */
static void drop_done(struct work *w)
{
    struct topic_job *j = SL_CONTAINER_OF(w, struct topic_job, work);
    if (j->err == SL_OK) {
        forget_topic(j->engine, &j->topic_id);
        retention__unlink_later(j->engine, &j->topic_id, j->delete_delay_ms);
    }
    for (size_t i = 0; j->err != SL_OK && i < j->n_parts; i++)
        if (!atomic_load(&j->parts[i]->gone))
            atomic_store(&j->parts[i]->dropped, false);
    if (j->err == SL_EUNKNOWN_OUTCOME)
        engine__die(j->engine, "the metastore could not be written");
    job_end(j);
}

void topic_files__drop(struct log_engine *base, const struct uuid *topic_id, struct log_done *d)
{
    struct local_engine *e = engine__of(base);
    struct topic_job *j = job_new(e, topic_id, d);
    struct local_topic *t = map_get(e->topics, topic_id->bytes, sizeof topic_id->bytes);
    size_t cap = 0;
    for (struct list *n = t ? t->parts.next : NULL; n && n != &t->parts; n = n->next) {
        struct log_part *p = SL_CONTAINER_OF(n, struct log_part, topic_node);
        if (j->n_parts == cap) {
            cap = SL_MAX(cap * 2, (size_t)16);
            j->parts = sl_realloc(j->parts, cap, sizeof(struct log_part *));
        }
        j->parts[j->n_parts++] = part__ref(p);
        j->delete_delay_ms = p->cfg.file_delete_delay_ms;
        atomic_store(&p->dropped, true);
        part__wake(p);
    }
    submit(j, drop_run, drop_done);
}
