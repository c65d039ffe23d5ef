/* The fields of the messages as data: for tests that fill, compare and count them. */
#ifndef SLUICE_KAFKA_CODEC_FIELDS_H
#define SLUICE_KAFKA_CODEC_FIELDS_H

#include "kafka_codec/messages.h"

enum kafka_field_type {
    KAFKA_FIELD_BOOL,
    KAFKA_FIELD_INT8,
    KAFKA_FIELD_INT16,
    KAFKA_FIELD_UINT16,
    KAFKA_FIELD_INT32,
    KAFKA_FIELD_INT64,
    KAFKA_FIELD_UUID,
    KAFKA_FIELD_STRING,
    KAFKA_FIELD_BYTES,
    KAFKA_FIELD_RECORDS,      /* struct kafka_records */
    KAFKA_FIELD_RECORD_BYTES, /* struct slice */
    KAFKA_FIELD_STRUCT,
};

struct kafka_struct_info;

struct kafka_field {
    const char *name;
    enum kafka_field_type type;
    int16_t first, last;           /* versions that have it */
    int16_t null_first, null_last; /* versions in which it may be null */
    bool is_array, is_tagged;
    size_t offset, n_offset, is_null_offset; /* is_null_offset: of arrays that may be null */
    const struct kafka_struct_info *of;      /* of STRUCT */
};

struct kafka_struct_info {
    size_t size;
    const struct kafka_field *fields;
    size_t n_fields;
    const void *defaults;
};

struct kafka_message_info {
    const struct kafka_message *message;
    const struct kafka_struct_info *root;
};

extern const struct kafka_message_info kafka_message_infos[];
extern const size_t kafka_n_message_infos;

#endif
