#include "kafka/admin_error.h"

#include "kafka_codec/errors.h"

int16_t kafka__admin_error(sl_err err)
{
    if (err == SL_EDENIED)
        return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (err == SL_ECLOSED || err == SL_ECANCELED) /* admin clients look for a controller again */
        return KAFKA_ERR_NOT_CONTROLLER;
    return kafka_error(err);
}

struct kafka_item_answer kafka__item_answer(sl_err call, sl_err item, const char *text)
{
    sl_err err = call != SL_OK ? call : item;
    if (!text && err != SL_OK)
        text = sl_err_text(err);
    return (struct kafka_item_answer){err, kafka__admin_error(err), kafka__nullable(text)};
}

struct slice kafka__nullable(const char *text)
{
    return text ? slice_str(text) : (struct slice){0};
}

/* Kafka's numbers of what authorize() knows. */
static const struct {
    enum operation op;
    int kafka_code;
} topic_operations[] =
    {
        {OPERATION_READ, 3},
        {OPERATION_WRITE, 4},
        {OPERATION_CREATE, 5},
        {OPERATION_DELETE, 6},
        {OPERATION_ALTER, 7},
        {OPERATION_DESCRIBE, 8},
        {OPERATION_DESCRIBE_CONFIGS, 10},
        {OPERATION_ALTER_CONFIGS, 11},
},
  cluster_operations[] = {
      {OPERATION_CREATE, 5},
      {OPERATION_ALTER, 7},
      {OPERATION_DESCRIBE, 8},
      {OPERATION_CLUSTER_ACTION, 9},
      {OPERATION_DESCRIBE_CONFIGS, 10},
      {OPERATION_ALTER_CONFIGS, 11},
      {OPERATION_IDEMPOTENT_WRITE, 12},
};

int32_t kafka__topic_operations(struct kafka_request *r, struct slice topic)
{
    int32_t bits = 0;
    const char *name = kafka_text(r, topic);
    for (size_t i = 0; name && i < SL_ARRAY_LEN(topic_operations); i++) {
        if (authorize(r->broker, r->who, topic_operations[i].op, RESOURCE_TOPIC, name) == SL_OK)
            bits |= 1 << topic_operations[i].kafka_code;
    }
    return bits;
}

int32_t kafka__cluster_operations(struct kafka_request *r)
{
    int32_t bits = 0;
    for (size_t i = 0; i < SL_ARRAY_LEN(cluster_operations); i++) {
        if (authorize(r->broker, r->who, cluster_operations[i].op, RESOURCE_CLUSTER, NULL) == SL_OK)
            bits |= 1 << cluster_operations[i].kafka_code;
    }
    return bits;
}
