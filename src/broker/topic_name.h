/* Which names a topic may have. Pure, any thread. */
#ifndef SLUICE_BROKER_TOPIC_NAME_H
#define SLUICE_BROKER_TOPIC_NAME_H

#include "base/slice.h"

enum { TOPIC_NAME_BYTES_MAX = 255, TOPIC_NAME_KAFKA_BYTES_MAX = 249 };

/* What the core takes: 1 to 255 bytes without NUL. SL_ETOPIC_NAME. */
sl_err topic_name_check(struct slice name, struct sl_fault *fault) SL_CHECKED;
/* What Kafka creates: at most 249 of a-z A-Z 0-9 . _ -, neither "." nor "..". SL_ETOPIC_NAME. */
sl_err topic_name_check_kafka(struct slice name, struct sl_fault *fault) SL_CHECKED;

#endif
