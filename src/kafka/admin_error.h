/* What admin clients and topics of a metadata answer are told: as kafka_error, where another code
 * is due for a topic, or for a broker that stops. Also the operations that a principal may do. */
#ifndef SLUICE_KAFKA_ADMIN_ERROR_H
#define SLUICE_KAFKA_ADMIN_ERROR_H

#include "kafka/request.h"

int16_t kafka__admin_error(sl_err err);
/* What one item of a call is told: an error of the whole call comes first, and `text` (NULL: none)
 * before the error's own sentence. */
struct kafka_item_answer {
    sl_err err;
    int16_t code;
    struct slice message; /* null when all is well and there is no text */
};
struct kafka_item_answer kafka__item_answer(sl_err call, sl_err item, const char *text);
/* "" for NULL is not the same: data NULL is a null string. */
struct slice kafka__nullable(const char *text);
/* The bit field of KIP-430. */
int32_t kafka__topic_operations(struct kafka_request *r, struct slice topic);
int32_t kafka__cluster_operations(struct kafka_request *r);

#endif
