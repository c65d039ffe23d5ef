#include "kafka/request.h"

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
