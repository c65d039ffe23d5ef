/* 128-bit identifiers: topics, clusters, files. Text forms: 8-4-4-4-12 hex, and Kafka's base64url.
 */
#ifndef SLUICE_BASE_UUID_H
#define SLUICE_BASE_UUID_H

#include "base/err.h"
#include "base/rng.h"

struct uuid {
    uint8_t bytes[16];
};

enum { UUID_TEXT_BYTES = 37, UUID_BASE64_BYTES = 23 }; /* with the NUL */

/* Random (version 4); never one whose base64 form starts with '-', which command lines misread. */
struct uuid uuid_random(struct rng *r);
bool uuid_is_zero(const struct uuid *u);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
void uuid_format(const struct uuid *u, char ret_text[UUID_TEXT_BYTES]);
sl_err uuid_parse(const char *text, struct uuid *ret) SL_CHECKED; /* SL_EINVAL */
void uuid_format_base64(const struct uuid *u, char ret_text[UUID_BASE64_BYTES]);

#endif
