/* The table of Kafka's APIs: versions, and how each message is decoded and encoded.
 *
 * Both directions of every message exist, for the door and for the client. Structs, defaults and
 * functions are generated from messages/ (messages.h); naming rules are in README.md. Decoded
 * structs live in the reader's arena and borrow its bytes; slices in them carry the input's block
 * uncounted: slice_ref() what must outlive it. Any thread. */
#ifndef SLUICE_KAFKA_CODEC_CODEC_H
#define SLUICE_KAFKA_CODEC_CODEC_H

#include "kafka_codec/wire.h"

struct kafka_message {
    const char *name;                    /* "ProduceRequest" */
    size_t size;                         /* of its struct */
    int16_t first_version, last_version; /* what decode and encode know */
    int16_t first_flexible;              /* INT16_MAX: none */
    const void *defaults;                /* a struct with Kafka's default values */
    /* Errors are in the reader; the result is usable only when there is none. Fields that the
     * version does not have get their default. Version in first_version..last_version. */
    void (*decode)(struct reader *in, int16_t version, void *ret);
    /* Fields that the version does not have are left out, as are tags with their default value. */
    void (*encode)(struct kafka_out *out, int16_t version, const void *msg);
};

struct kafka_api {
    int16_t key;
    const char *name;                    /* "Produce" */
    int16_t first_version, last_version; /* stable ones of Kafka 4.4 */
    const struct kafka_message *request, *response;
};

extern const struct kafka_api kafka_apis[]; /* by rising key */
extern const size_t kafka_n_apis;
/* NULL: not known. */
const struct kafka_api *kafka_api(int16_t key);

/* Header versions: 1 or 2 of requests, 0 or 1 of responses (always 0 for ApiVersions). */
int16_t kafka_request_header_version(const struct kafka_api *api, int16_t version);
int16_t kafka_response_header_version(const struct kafka_api *api, int16_t version);

#endif
