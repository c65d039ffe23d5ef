#include "kafka/partition_error.h"

#include "kafka/request.h"
#include "kafka_codec/errors.h"

int16_t kafka__partition_error(sl_err err)
{
    if (err == SL_EDENIED)
        return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (err == SL_ECLOSED || err == SL_ECANCELED) /* every client looks again and comes back */
        return KAFKA_ERR_NOT_LEADER_OR_FOLLOWER;
    if (err == SL_ELIMIT) /* retriable, and clients know that nothing was written */
        return KAFKA_ERR_KAFKA_STORAGE_ERROR;
    if (err == SL_EMAGIC) /* since format 2 there is one; an older one is not a record */
        return KAFKA_ERR_INVALID_RECORD;
    return kafka_error(err);
}
