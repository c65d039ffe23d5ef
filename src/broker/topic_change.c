#include "broker/topics_int.h"

#include "base/alloc.h"

enum { CONFIG_TEXT_BYTES_MAX = 16384 };

/* The first error is the reason; what undoing it meets is not. */
static void note_fault(struct topic_change *c, sl_err err, const struct sl_fault *fault)
{
    if (err != SL_OK && c->first_err == SL_OK)
        c->fault = *fault;
}

static void txn_done(struct meta_txn *t)
{
    struct topic_change *c = SL_CONTAINER_OF(t, struct topic_change, txn);
    note_fault(c, t->err, &t->fault);
    broker__check_meta(c->b, t->err, &t->fault);
    op_resume(&c->op, t->err);
}

static void log_done(struct log_done *d)
{
    struct topic_change *c = SL_CONTAINER_OF(d, struct topic_change, log);
    note_fault(c, d->err, &d->fault);
    op_resume(&c->op, d->err);
}

static sl_err submit(struct topic_change *c, const struct meta_op *ops, size_t n)
{
    c->txn = (struct meta_txn){.ops = ops, .n_ops = n, .home = c->b->env.loop, .done = txn_done};
    meta_submit(c->b->env.meta, &c->txn);
    return SL_PENDING;
}

sl_err change__take_numbers(struct topic_change *c, bool topic_number, int32_t n_pids)
{
    c->take[0] =
        (struct meta_op){.kind = META_COUNTER_TAKE,
                         .counter = {.name = "pid", .n = n_pids, .ret_first = &c->first_pid}};
    c->take[1] = (struct meta_op){.kind = META_COUNTER_TAKE,
                                  .counter = {.name = "topic", .n = 1, .ret_first = &c->number}};
    return submit(c, c->take, topic_number ? 2 : 1);
}

sl_err change__write_files(struct topic_change *c)
{
    struct log_topic_spec spec = {
        .org = c->topic->org,
        .topic_id = c->topic->id,
        .number = c->topic->number,
        .created_ms = c->topic->created_ms,
        .name = c->topic->name,
        .config_text = slice_of(c->config_text.data, c->config_text.len),
        .parts = c->ids,
        .n_parts = (uint32_t)c->n_ids,
        .engine = (enum log_engine_kind)c->config.storage_engine,
    };
    c->log = (struct log_done){.done = log_done};
    log_topic_write(c->b->env.log, &spec, &c->log);
    return SL_PENDING;
}

sl_err change__commit_rows(struct topic_change *c)
{
    return submit(c, c->rows, c->n_rows);
}

sl_err change__drop_files(struct topic_change *c)
{
    c->log = (struct log_done){.done = log_done};
    log_topic_drop(c->b->env.log, &c->topic->id, &c->log);
    return SL_PENDING;
}

static struct meta_op topic_row(const struct topic_change *c)
{
    const struct topic *t = c->topic;
    return (struct meta_op){
        .kind = META_TOPIC_PUT,
        .topic = {.topic_id = t->id,
                  .org = t->org,
                  .name = t->name,
                  .number = t->number,
                  .partitions = c->n_ids,
                  .created_ms = t->created_ms,
                  .engine = log_engine_name((enum log_engine_kind)c->config.storage_engine),
                  .config_text = slice_of(c->config_text.data, c->config_text.len)},
    };
}

void change__prepare(struct topic_change *c)
{
    const struct topic *t = c->topic;
    buf_init(&c->config_text, CONFIG_TEXT_BYTES_MAX);
    topic_config_write(&c->config, &c->config_text);
    SL_ASSERT(buf_check(&c->config_text) == SL_OK); /* every value of every setting fits */
    c->ids = sl_new_array(struct log_part_id, (size_t)c->n_ids);
    c->rows = sl_new_array(struct meta_op, (size_t)(c->n_ids - t->n_partitions) + 1);
    c->rows[c->n_rows++] = topic_row(c);
    for (int32_t i = 0; i < c->n_ids; i++) {
        bool old = i < t->n_partitions;
        uint64_t pid = old ? t->partitions[i].pid : (uint64_t)(c->first_pid + i - t->n_partitions);
        c->ids[i] = (struct log_part_id){.pid = pid, .topic_id = t->id, .index = i};
        if (!old)
            c->rows[c->n_rows++] =
                (struct meta_op){.kind = META_PARTITION_PUT,
                                 .partition = {.pid = pid, .topic_id = t->id, .index = i}};
    }
}

void change__fini(struct topic_change *c)
{
    sl_free(c->ids);
    sl_free(c->rows);
    buf_fini(&c->config_text);
}
