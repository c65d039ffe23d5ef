/* What Publish and BatchPublish share: checks of topic and payload, records out of messages, the
 * status of what went wrong. Private to this folder. */
#ifndef SLUICE_GRPC_PUBLISH_CALL_H
#define SLUICE_GRPC_PUBLISH_CALL_H

#include "grpc/call.h"
#include "grpc/publisher.h"
#include "proto/sluice.pb-c.h"

/* False: the call has been ended with what is wrong with the name. */
bool publish__topic_holds(struct grpc_call *c, const char *topic);
bool publish__payload_holds(struct grpc_call *c, size_t bytes);

/* A message of either method. */
struct publish_message {
    ProtobufCBinaryData payload;
    const ProtobufCBinaryData *key; /* NULL: none */
    bool tombstone;
    void **attributes; /* of entries that begin as Sluice__V1__PublishRequest__AttributesEntry */
    size_t n_attributes;
    Sluice__V1__Header **headers;
    size_t n_headers;
};
/* False: the call has been ended. */
bool publish__record(struct grpc_call *c, const struct publish_message *m, struct new_record *ret);
/* Ends the call with the contract's words. */
void publish__fail(struct grpc_call *c, const struct publish *x);

#endif
