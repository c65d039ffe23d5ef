/* What the handlers of groups and committed offsets share. */
#ifndef SLUICE_KAFKA_GROUP_ANSWER_H
#define SLUICE_KAFKA_GROUP_ANSWER_H

#include "broker/group.h"
#include "kafka/request.h"

enum { FIRST_VERSION_WITH_TOPIC_IDS = 10 }; /* of OffsetCommit and OffsetFetch */

/* As kafka_error, where clients of the group coordinator expect another one: what may go away is
 * COORDINATOR_NOT_AVAILABLE, which all of them retry. */
int16_t kafka__group_error(sl_err err);
/* Of a partition in an offset commit, fetch or delete. */
int16_t kafka__group_partition_error(sl_err err);
/* "/127.0.0.1", as DescribeGroups shows a member's client. In the request's arena. */
struct slice kafka__client_host(struct kafka_request *r);

/* Answers once all of `n` calls are done: add one before submitting, so that calls that end at
 * once do not answer early, and take it off at the end. */
struct kafka_fan {
    struct kafka_request *r;
    uint32_t n_left;
    void (*answer)(struct kafka_fan *f);
};
void kafka__fan_done(struct kafka_fan *f);

/* Calls one after another, for answers whose parts are copied and released each in its turn.
 * start() submits call `next` and its done calls kafka__serial_ended; finish() comes last. */
struct kafka_serial {
    struct kafka_request *r;
    uint32_t next, n;
    bool looping, ended; /* internal: a call that ends at once does not nest the next one */
    void (*start)(struct kafka_serial *s);
    void (*finish)(struct kafka_serial *s);
};
void kafka__serial_run(struct kafka_serial *s);
void kafka__serial_ended(struct kafka_serial *s);
/* A copy in the request's arena; sets *failed when it has no room. */
struct slice kafka__keep(struct kafka_request *r, struct slice text, bool *failed);

#endif
