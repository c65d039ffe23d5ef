/* What AlterConfigs and IncrementalAlterConfigs have in common: their messages are different types
 * with the same meaning. */
#ifndef SLUICE_KAFKA_ALTER_JOB_H
#define SLUICE_KAFKA_ALTER_JOB_H

#include "broker/configs.h"
#include "kafka/request.h"

struct alter_job {
    struct broker_alter_configs call;
    struct kafka_request *r;
    void (*answer)(struct kafka_request *r, const struct broker_alter_configs *call);
};

/* In the request's arena, with room for n resources. NULL: the request has been answered. */
struct alter_job *alter_job_new(struct kafka_request *r, uint32_t n);
/* Fills resource i; its changes are set by the caller. NULL: the request has been answered. */
struct config_change *alter_job_resource(struct alter_job *job, uint32_t i, int8_t type,
                                         struct slice name, uint32_t n_changes);
struct config_change alter_job_change(struct slice name, int8_t op, struct slice value);
/* Submits it; `answer` is called with the results. */
void alter_job_start(struct alter_job *job);

#endif
