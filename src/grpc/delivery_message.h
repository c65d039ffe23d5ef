/* A delivered record as sluice.v1 tells it. Private to this folder. */
#ifndef SLUICE_GRPC_DELIVERY_MESSAGE_H
#define SLUICE_GRPC_DELIVERY_MESSAGE_H

#include "broker/subscribe.h"
#include "grpc/call.h"

/* Sends one message; memory comes from `scratch`. False: there is none. */
bool delivery__send(struct grpc_call *c, struct arena *scratch, const struct delivered *d,
                    int64_t topic_number, bool tells_partition);

#endif
