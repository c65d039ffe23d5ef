/* What the files of the StreamHouse services share. Private to this folder. */
#ifndef SLUICE_GRPC_STREAMHOUSE_H
#define SLUICE_GRPC_STREAMHOUSE_H

#include "base/uuid.h"
#include "grpc/call.h"

/* Producer ids are numbers in the core and UUIDs (version 8) here. */
void streamhouse__print_producer(int64_t id, char ret[UUID_TEXT_BYTES]);
sl_err streamhouse__parse_producer(const char *text, int64_t *ret) SL_CHECKED;

void streamhouse__no_topic(struct grpc_call *c, const char *topic);
/* Ends a call whose (topic, partition) was not found, with which of the two it is. */
void streamhouse__not_found(struct grpc_call *c, const char *topic, uint32_t partition);
/* Ends a call for what the core said of a topic. */
void streamhouse__fail(struct grpc_call *c, sl_err err, const char *why, const char *topic);

#endif
