#include "grpc/delivery_message.h"

#include "proto/sluice.pb-c.h"
#include "record/message_id.h"

/* Beyond this many headers a map is not looked through for names that repeat. */
enum { NAMES_COMPARED_MAX = 256 };

typedef Sluice__V1__MessageDelivery delivery_message;
typedef Sluice__V1__MessageDelivery__AttributesEntry attribute;

static ProtobufCBinaryData binary(struct slice s)
{
    return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)s.data};
}

/* What C strings and UTF-8 can carry. */
static bool is_text(struct slice s)
{
    return s.len == 0 || (!memchr(s.data, 0, s.len) && grpc_is_utf8(s));
}

static bool came_before(const struct delivered *d, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (slice_eq(d->headers[k].name, d->headers[i].name))
            return true;
    return false;
}

static bool is_attribute(const struct delivered *d, uint32_t i)
{
    const struct delivery_header *h = &d->headers[i];
    return h->value.data && is_text(h->name) && is_text(h->value) &&
           d->n_headers <= NAMES_COMPARED_MAX && !came_before(d, i);
}

static char *text_of(struct arena *a, struct slice s)
{
    char *text = arena_strndup(a, s.len ? (const void *)s.data : "", s.len);
    for (size_t i = 0; text && !is_text(s) && i < s.len; i++)
        if (text[i] == '\0' || (uint8_t)text[i] >= 0x80)
            text[i] = '?'; /* a name that is no text: shown, not carried */
    return text;
}

static bool put_attribute(struct arena *a, const struct delivery_header *h, delivery_message *m)
{
    attribute *e = arena_alloc(a, 1, sizeof *e);
    if (!e)
        return false;
    sluice__v1__message_delivery__attributes_entry__init(e);
    e->key = text_of(a, h->name);
    e->value = text_of(a, h->value);
    m->attributes[m->n_attributes++] = e;
    return e->key && e->value;
}

static bool put_header(struct arena *a, const struct delivery_header *h, delivery_message *m)
{
    Sluice__V1__Header *e = arena_alloc(a, 1, sizeof *e);
    if (!e)
        return false;
    sluice__v1__header__init(e);
    e->name = text_of(a, h->name);
    if (h->value.data) {
        e->_value_case = SLUICE__V1__HEADER___VALUE_VALUE;
        e->value = binary(h->value);
    }
    m->headers[m->n_headers++] = e;
    return e->name != NULL;
}

static bool put_headers(struct arena *a, const struct delivered *d, delivery_message *m)
{
    if (d->n_headers == 0)
        return true;
    m->attributes = arena_alloc(a, d->n_headers, sizeof(void *));
    m->headers = arena_alloc(a, d->n_headers, sizeof(void *));
    if (!m->attributes || !m->headers)
        return false;
    for (uint32_t i = 0; i < d->n_headers; i++)
        if (!(is_attribute(d, i) ? put_attribute(a, &d->headers[i], m)
                                 : put_header(a, &d->headers[i], m)))
            return false;
    return true;
}

bool delivery__send(struct grpc_call *c, struct arena *scratch, const struct delivered *d,
                    int64_t topic_number, bool tells_partition)
{
    Sluice__V1__SubscribeDownstream out = SLUICE__V1__SUBSCRIBE_DOWNSTREAM__INIT;
    delivery_message m;
    char id[UUID_TEXT_BYTES];
    sluice__v1__message_delivery__init(&m);
    message_id_format(&(struct message_id){d->timestamp_ms, topic_number, d->partition, d->offset},
                      id);
    m.message_id = id;
    m.sequence = (uint64_t)d->offset + 1;
    m.timestamp = d->timestamp_ms;
    m.payload = binary(d->value);
    m.tombstone = !d->value.data;
    m.delivery_count = d->count;
    if (tells_partition) {
        m._partition_case = SLUICE__V1__MESSAGE_DELIVERY___PARTITION_PARTITION;
        m.partition = (uint32_t)d->partition;
    }
    if (d->key.data) {
        m._key_case = SLUICE__V1__MESSAGE_DELIVERY___KEY_KEY;
        m.key = binary(d->key);
    }
    if (!put_headers(scratch, d, &m))
        return false;
    out.response_case = SLUICE__V1__SUBSCRIBE_DOWNSTREAM__RESPONSE_DELIVERY;
    out.delivery = &m;
    (void)grpc_send(c, &out.base);
    return !c->answered;
}
