/* Produce below version 3, which is advertised because of KAFKA-18659 and refused. */
#include "kafka/kafka_int.h"
#include "kafka_codec/errors.h"

/* False when memory was short and the request has been answered. */
static bool refuse_topic(struct kafka_request *r,
                         const struct kafka_produce_request_topic_produce_data *topic,
                         struct kafka_produce_response_topic_produce_response *ret)
{
    struct kafka_produce_response_partition_produce_response *answers =
        kafka_alloc(r, topic->n_partition_data, sizeof *answers);
    if (!answers)
        return false;
    for (uint32_t i = 0; i < topic->n_partition_data; i++) {
        answers[i] = kafka_produce_response_partition_produce_response_default;
        answers[i].index = topic->partition_data[i].index;
        answers[i].error_code = KAFKA_ERR_UNSUPPORTED_VERSION;
        answers[i].base_offset = -1;
    }
    ret->name = topic->name;
    ret->n_partition_responses = topic->n_partition_data;
    ret->partition_responses = answers;
    return true;
}

void kafka__refuse_old_produce(struct kafka_request *r)
{
    const struct kafka_produce_request *in = r->in;
    if (in->acks == 0) {
        kafka_reply_close(r, "Produce below version 3 is not supported");
        return;
    }
    struct kafka_produce_response out = kafka_produce_response_default;
    out.n_responses = in->n_topic_data;
    out.responses = kafka_alloc(r, in->n_topic_data, sizeof *out.responses);
    if (!out.responses)
        return;
    for (uint32_t i = 0; i < in->n_topic_data; i++)
        if (!refuse_topic(r, &in->topic_data[i], &out.responses[i]))
            return;
    kafka_reply(r, &out);
}
