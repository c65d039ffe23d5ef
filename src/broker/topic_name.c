#include "broker/topic_name.h"

sl_err topic_name_check(struct slice name, struct sl_fault *fault)
{
    if (name.len == 0)
        return sl_fault_set(fault, SL_ETOPIC_NAME, "the topic name is empty");
    if (name.len > TOPIC_NAME_BYTES_MAX)
        return sl_fault_set(fault, SL_ETOPIC_NAME, "the topic name has %zu bytes, at most %d fit",
                            name.len, TOPIC_NAME_BYTES_MAX);
    if (memchr(name.data, '\0', name.len))
        return sl_fault_set(fault, SL_ETOPIC_NAME, "the topic name contains a zero byte");
    return SL_OK;
}

static bool is_kafka_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

sl_err topic_name_check_kafka(struct slice name, struct sl_fault *fault)
{
    SL_TRY(topic_name_check(name, fault));
    if (slice_eq_str(name, ".") || slice_eq_str(name, ".."))
        return sl_fault_set(fault, SL_ETOPIC_NAME, "a topic cannot be named \".\" or \"..\"");
    if (name.len > TOPIC_NAME_KAFKA_BYTES_MAX)
        return sl_fault_set(fault, SL_ETOPIC_NAME, "the topic name has %zu bytes, at most %d fit",
                            name.len, TOPIC_NAME_KAFKA_BYTES_MAX);
    for (size_t i = 0; i < name.len; i++) {
        if (!is_kafka_byte(name.data[i]))
            return sl_fault_set(fault, SL_ETOPIC_NAME,
                                "byte %zu of the topic name is not allowed: only a-z, A-Z, 0-9, "
                                "'.', '_' and '-' are",
                                i);
    }
    return SL_OK;
}
