#include "kafka/group_answer.h"

#include <strings.h>

struct list_job {
    struct broker_group_list call;
    struct kafka_request *r;
    bool nothing; /* the filters let nothing pass */
};

static bool same_word(struct slice asked, const char *word)
{
    return asked.len == strlen(word) && !strncasecmp((const char *)asked.data, word, asked.len);
}

static unsigned life_named(struct slice name)
{
    for (int life = GROUP_EMPTY; life <= GROUP_DEAD; life++)
        if (same_word(name, group_life_name((enum group_life)life)))
            return 1u << life;
    return 0;
}

/* Words that are not known pass nothing, as in Kafka. */
static unsigned read_states(const struct kafka_list_groups_request *in, bool *nothing)
{
    unsigned lives = 0;
    for (uint32_t i = 0; i < in->n_states_filter; i++)
        lives |= life_named(in->states_filter[i]);
    *nothing |= in->n_states_filter > 0 && !lives;
    return lives;
}

static bool wants_classic(const struct kafka_list_groups_request *in)
{
    for (uint32_t i = 0; i < in->n_types_filter; i++)
        if (same_word(in->types_filter[i], "classic"))
            return true;
    return in->n_types_filter == 0;
}

static void list_done(struct broker_call *c)
{
    struct list_job *job = SL_CONTAINER_OF(c, struct list_job, call.head.call);
    struct broker_group_list call = job->call; /* the job goes with the request */
    struct kafka_list_groups_response out = kafka_list_groups_response_default;
    uint32_t n = job->nothing ? 0 : call.n_rows;
    out.error_code = kafka__group_error(call.head.err);
    out.n_groups = n;
    out.groups = kafka_alloc(job->r, n, sizeof *out.groups);
    for (uint32_t i = 0; out.groups && i < n; i++)
        out.groups[i] = (struct kafka_list_groups_response_listed_group){
            .group_id = call.rows[i].group,
            .protocol_type = call.rows[i].protocol_type,
            .group_state = slice_str(group_life_name(call.rows[i].life)),
            .group_type = slice_str("classic"),
        };
    if (out.groups)
        kafka_reply(job->r, &out);
    broker_group_list_fini(&call);
}

void kafka_handle_list_groups(struct kafka_request *r)
{
    const struct kafka_list_groups_request *in = r->in;
    struct list_job *job = kafka_alloc(r, 1, sizeof *job);
    if (!job)
        return;
    job->r = r;
    job->call.lives = read_states(in, &job->nothing);
    job->nothing |= !wants_classic(in);
    broker_group_list_init(&job->call);
    kafka_call(r, &job->call.head.call, list_done);
}
