#include "kafka/kafka_int.h"

#include "kafka_codec/errors.h"

int16_t kafka_error(sl_err err)
{
    switch (err) {
#define KAFKA_CODE(ours, theirs)                                                                   \
    case SL_##ours:                                                                                \
        return KAFKA_ERR_##theirs;
#include "kafka/error.def"
#undef KAFKA_CODE
    case SL_ERR_COUNT:
        break;
    }
    SL_UNREACHABLE();
}

bool kafka__is_bad_input(int16_t code)
{
    switch (code) {
    case KAFKA_ERR_CORRUPT_MESSAGE:
    case KAFKA_ERR_MESSAGE_TOO_LARGE:
    case KAFKA_ERR_OFFSET_METADATA_TOO_LARGE:
    case KAFKA_ERR_INVALID_TOPIC_EXCEPTION:
    case KAFKA_ERR_INVALID_REQUIRED_ACKS:
    case KAFKA_ERR_ILLEGAL_GENERATION:
    case KAFKA_ERR_INVALID_GROUP_ID:
    case KAFKA_ERR_INVALID_SESSION_TIMEOUT:
    case KAFKA_ERR_INVALID_TIMESTAMP:
    case KAFKA_ERR_INVALID_PARTITIONS:
    case KAFKA_ERR_INVALID_REPLICATION_FACTOR:
    case KAFKA_ERR_INVALID_REPLICA_ASSIGNMENT:
    case KAFKA_ERR_INVALID_CONFIG:
    case KAFKA_ERR_INVALID_REQUEST:
    case KAFKA_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case KAFKA_ERR_POLICY_VIOLATION:
    case KAFKA_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case KAFKA_ERR_INVALID_TXN_STATE:
    case KAFKA_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case KAFKA_ERR_UNSUPPORTED_COMPRESSION_TYPE:
    case KAFKA_ERR_GROUP_MAX_SIZE_REACHED:
    case KAFKA_ERR_INVALID_RECORD:
    case KAFKA_ERR_INCONSISTENT_TOPIC_ID:
        return true;
    default:
        return false; /* also codes that sound clients cause: newer versions, rebalances, races */
    }
}
