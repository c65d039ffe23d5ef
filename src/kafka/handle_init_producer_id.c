#include "broker/admin.h"
#include "kafka/request.h"
#include "kafka_codec/errors.h"

struct init_producer_job {
    struct broker_init_producer call;
    struct kafka_request *r;
};

static void init_producer_done(struct broker_call *c)
{
    struct init_producer_job *job = SL_CONTAINER_OF(c, struct init_producer_job, call.call);
    struct kafka_init_producer_id_response out = kafka_init_producer_id_response_default;
    out.error_code = kafka_error(job->call.err);
    out.producer_id = job->call.producer_id;
    out.producer_epoch = job->call.epoch;
    kafka_reply(job->r, &out);
}

/* An id without its epoch, or the other way round. A whole pair is of no use without transactions:
 * Kafka gives a new id all the same. */
static bool is_half_a_pair(const struct kafka_init_producer_id_request *in)
{
    return (in->producer_id == -1) != (in->producer_epoch == -1);
}

void kafka_handle_init_producer_id(struct kafka_request *r)
{
    const struct kafka_init_producer_id_request *in = r->in;
    if (!in->transactional_id.data && is_half_a_pair(in)) {
        struct kafka_init_producer_id_response out = kafka_init_producer_id_response_default;
        out.error_code = KAFKA_ERR_INVALID_REQUEST;
        out.producer_epoch = -1;
        kafka_reply(r, &out);
        return;
    }
    struct init_producer_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.transactional_id = in->transactional_id;
    broker_init_producer_init(&job->call);
    kafka_call(r, &job->call.call, init_producer_done);
}
