/* Kafka's error codes by name: KAFKA_ERR_UNSUPPORTED_VERSION is 35. Any thread. */
#ifndef SLUICE_KAFKA_CODEC_ERRORS_H
#define SLUICE_KAFKA_CODEC_ERRORS_H

#include <stdint.h>

enum kafka_error_code {
#define KAFKA_ERROR(code, name) KAFKA_ERR_##name = (code),
#include "kafka_codec/errors.def"
#undef KAFKA_ERROR
};

/* "UNSUPPORTED_VERSION"; "UNKNOWN" for a code that is not known. Static text. */
const char *kafka_error_name(int16_t code);

#endif
