#include "kafka/group_answer.h"

/* All at once, so that one commit of the metadata covers them. */
struct delete_job {
    struct kafka_fan fan;
    struct delete_one *ones;
    uint32_t n;
};

struct delete_one {
    struct broker_group_delete call;
    struct delete_job *job;
};

static struct slice message_of(sl_err err)
{
    return err == SL_OK ? (struct slice){0} : slice_str(sl_err_text(err));
}

static void answer(struct kafka_fan *fan)
{
    struct delete_job *job = SL_CONTAINER_OF(fan, struct delete_job, fan);
    struct kafka_delete_groups_response out = kafka_delete_groups_response_default;
    out.n_results = job->n;
    out.results = kafka_alloc(fan->r, job->n, sizeof *out.results);
    if (!out.results)
        return;
    for (uint32_t i = 0; i < job->n; i++) {
        const struct group_call *c = &job->ones[i].call.head;
        out.results[i].group_id = c->group;
        out.results[i].error_code = kafka__group_error(c->err);
        out.results[i].error_message = message_of(c->err);
    }
    kafka_reply(fan->r, &out);
}

static void delete_done(struct broker_call *c)
{
    struct delete_one *one = SL_CONTAINER_OF(c, struct delete_one, call.head.call);
    kafka__fan_done(&one->job->fan);
}

void kafka_handle_delete_groups(struct kafka_request *r)
{
    const struct kafka_delete_groups_request *in = r->in;
    struct delete_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->n = in->n_groups_names;
    job->ones = kafka_alloc(r, job->n, sizeof *job->ones);
    if (!job->ones)
        return;
    job->fan = (struct kafka_fan){.r = r, .n_left = job->n + 1, .answer = answer};
    for (uint32_t i = 0; i < job->n; i++) {
        job->ones[i].job = job;
        job->ones[i].call.head.group = in->groups_names[i];
        broker_group_delete_init(&job->ones[i].call);
        kafka_call(r, &job->ones[i].call.head.call, delete_done);
    }
    kafka__fan_done(&job->fan);
}
