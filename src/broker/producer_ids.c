/* Producer ids come in blocks that are durable before the first of them is given, so a restart
 * wastes some and repeats none. */
#include "broker/admin.h"
#include "broker/topics_int.h"

enum { BLOCK_IDS = 1000 };

static void finish(struct broker_init_producer *c, sl_err err)
{
    struct broker *b = c->call.broker;
    c->err = err;
    if (err == SL_OK) {
        c->producer_id = b->topics->producer_id_next++;
        c->epoch = 0;
    }
    broker_finish(&c->call);
    topics__leave(b);
}

static void reserve(struct broker *b);

/* Serves who waits; when the block was too small for all, the rest waits for the next one. */
static void reserved(struct meta_txn *t)
{
    struct topic_state *s = SL_CONTAINER_OF(t, struct topic_state, producer_txn);
    struct broker *b = s->broker;
    sl_err err = t->err;
    s->producer_reserving = false;
    broker__check_meta(b, err, &t->fault);
    if (err == SL_OK) {
        s->producer_id_next = s->producer_first;
        s->producer_id_end = s->producer_first + BLOCK_IDS;
    }
    while (!list_empty(&s->producer_waiting)) {
        if (err == SL_OK && s->producer_id_next == s->producer_id_end)
            break;
        struct list *node = list_pop_front(&s->producer_waiting);
        finish(SL_CONTAINER_OF(node, struct broker_init_producer, node), err);
    }
    if (!list_empty(&s->producer_waiting))
        reserve(b);
    topics__leave(b);
}

static void reserve(struct broker *b)
{
    struct topic_state *s = b->topics;
    if (s->producer_reserving)
        return;
    s->producer_reserving = true;
    topics__enter(b);
    s->producer_op = (struct meta_op){
        .kind = META_COUNTER_TAKE,
        .counter = {.name = "producer", .n = BLOCK_IDS, .ret_first = &s->producer_first}};
    s->producer_txn = (struct meta_txn){
        .ops = &s->producer_op, .n_ops = 1, .home = b->env.loop, .done = reserved};
    meta_submit(b->env.meta, &s->producer_txn);
}

static sl_err check(struct broker_init_producer *c)
{
    struct broker *b = c->call.broker;
    if (b->closing)
        return SL_ECLOSED;
    if (c->transactional_id.data)
        return c->transactional_id.len ? SL_ETXN_DENIED : SL_EINVAL;
    return authorize(b, c->call.who, OPERATION_IDEMPOTENT_WRITE, RESOURCE_CLUSTER, NULL);
}

static void run(struct broker_call *base)
{
    struct broker_init_producer *c = SL_CONTAINER_OF(base, struct broker_init_producer, call);
    struct broker *b = base->broker;
    struct topic_state *s = b->topics;
    c->producer_id = -1;
    c->epoch = -1;
    topics__enter(b);
    sl_err err = check(c);
    if (err != SL_OK || (s->producer_id_next < s->producer_id_end && !s->producer_reserving)) {
        finish(c, err);
        return;
    }
    list_push_back(&s->producer_waiting, &c->node);
    reserve(b);
}

void broker_init_producer_init(struct broker_init_producer *c)
{
    c->call.run = run;
}
