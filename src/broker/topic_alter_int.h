/* Changing a live topic, its settings or its number of partitions: the op behind CreatePartitions
 * and the two AlterConfigs. Inside this folder. */
#ifndef SLUICE_BROKER_TOPIC_ALTER_INT_H
#define SLUICE_BROKER_TOPIC_ALTER_INT_H

#include "broker/topics_int.h"

struct topic_alteration {
    struct topic_change change;
    struct topic_wait wait;
    /* in */
    struct broker *b;
    const struct principal *who;
    struct slice name; /* borrowed until ended */
    bool validate_only;
    /* Decides what becomes of t, once it is alone with it: a->config and a->n_partitions hold what
     * it has and are changed. */
    sl_err (*plan)(struct topic_alteration *a, struct topic *t);
    struct topic_config config;
    int32_t n_partitions;
    /* out, when ended is called: on the core loop, perhaps before alteration__start returns */
    void (*ended)(struct topic_alteration *a, sl_err err);
    struct sl_fault fault;
};

/* SL_ETOPIC, SL_EDENIED, what plan says, errors of log and metastore. */
void alteration__start(struct topic_alteration *a);

#endif
