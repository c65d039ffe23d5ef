/* Creating one topic: the op behind CreateTopics and behind auto-creation. Inside this folder. */
#ifndef SLUICE_BROKER_TOPIC_CREATE_INT_H
#define SLUICE_BROKER_TOPIC_CREATE_INT_H

#include "broker/topics.h"
#include "broker/topics_int.h"

/* One topic on its way; embedded by its owner. */
struct topic_creation {
    struct topic_change change;
    struct topic_wait wait;
    /* in */
    struct broker *b;
    const struct principal *who;
    const struct broker_create_topic *wish; /* its in part; borrowed until ended */
    bool kafka_names, validate_only;
    /* out, when ended is called: on the core loop, perhaps before creation__start returns */
    void (*ended)(struct topic_creation *c, sl_err err);
    struct sl_fault fault;
    struct uuid topic_id;
    int32_t n_partitions;
    struct topic_config config;
};

/* SL_EEXISTS comes only when the topic is there for good: while another creation or a deletion of
 * that name is under way, this one waits for its end. */
void creation__start(struct topic_creation *c);

#endif
