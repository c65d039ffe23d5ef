#include "grpc/publish_call.h"

#include "broker/topic_name.h"
#include "grpc/grpc_int.h"

/* Entries of both maps have the same layout, which is what protoc-c makes of the same fields. */
typedef Sluice__V1__PublishRequest__AttributesEntry attribute;
static_assert(sizeof(attribute) == sizeof(Sluice__V1__BatchMessage__AttributesEntry),
              "entries of attributes");
static_assert(offsetof(attribute, value) ==
                  offsetof(Sluice__V1__BatchMessage__AttributesEntry, value),
              "entries of attributes");

static bool is_name_byte(char b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || b == '.' ||
           b == '_' || b == '-';
}

bool publish__topic_holds(struct grpc_call *c, const char *topic)
{
    const char *why = NULL;
    size_t n = strlen(topic);
    if (n == 0)
        why = "topic cannot be empty";
    else if (n > TOPIC_NAME_BYTES_MAX)
        why = "topic name too long (max 255 characters)";
    for (const char *p = topic; !why && *p; p++)
        if (!is_name_byte(*p))
            why = "topic name must contain only alphanumeric characters, dashes, underscores, "
                  "or dots";
    if (why)
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "%s", why);
    return !why;
}

bool publish__payload_holds(struct grpc_call *c, size_t bytes)
{
    size_t max = c->shard->door->cfg.payload_bytes_max;
    if (bytes > max)
        grpc_fail(c, GRPC_RESOURCE_EXHAUSTED, "payload too large: %zu bytes (max %zu bytes)", bytes,
                  max);
    return bytes <= max;
}

static void put_headers(const struct publish_message *m, struct new_header *h)
{
    for (size_t i = 0; i < m->n_attributes; i++, h++) {
        const attribute *a = m->attributes[i];
        *h = (struct new_header){.name = slice_str(a->key), .value = slice_str(a->value)};
    }
    for (size_t i = 0; i < m->n_headers; i++, h++) {
        const Sluice__V1__Header *x = m->headers[i];
        h->name = slice_str(x->name);
        if (x->_value_case == SLUICE__V1__HEADER___VALUE_VALUE)
            h->value = grpc_bytes(x->value);
    }
}

bool publish__record(struct grpc_call *c, const struct publish_message *m, struct new_record *ret)
{
    size_t n = m->n_attributes + m->n_headers;
    if (m->tombstone && m->payload.len > 0) {
        grpc_fail(c, GRPC_INVALID_ARGUMENT, "a tombstone has no payload");
        return false;
    }
    struct new_header *headers = NULL;
    if (n > 0) {
        headers = grpc_alloc(c, n, sizeof *headers);
        if (!headers)
            return false;
        put_headers(m, headers);
    }
    *ret = (struct new_record){.headers = headers, .n_headers = (uint32_t)n};
    if (!m->tombstone)
        ret->value = grpc_bytes(m->payload);
    if (m->key)
        ret->key = grpc_bytes(*m->key);
    return true;
}

void publish__fail(struct grpc_call *c, const struct publish *x)
{
    const char *text = x->why ? x->why : sl_err_text(x->err);
    c->why = x->err;
    switch (grpc_status_of(x->err)) {
    case GRPC_INTERNAL:
    case GRPC_DATA_LOSS:
        grpc_fail(c, GRPC_INTERNAL, "database error: %s", text);
        return;
    case GRPC_UNAVAILABLE:
        if (x->err == SL_ENOSPC)
            grpc_fail(c, GRPC_UNAVAILABLE, "storage error: %s", text);
        else
            grpc_fail(c, GRPC_UNAVAILABLE, "server is shutting down");
        return;
    default:
        if (x->err == SL_ETOPIC)
            grpc_fail(c, GRPC_NOT_FOUND, "topic '%.*s' does not exist", (int)x->topic.len,
                      (const char *)x->topic.data);
        else
            grpc_fail_err(c, x->err, x->why);
    }
}
