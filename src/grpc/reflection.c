/* grpc.reflection: the descriptors that protoc made, found by file and by symbol. */
#include "base/reader.h"
#include "grpc/grpc_int.h"
#include "grpc/handlers.h"
#include "proto/descriptors.h"
#include "proto/reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

/* Numbers of fields in google/protobuf/descriptor.proto. */
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    MESSAGE_NAME = 1,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    SERVICE_METHOD = 2,
    ENUM_VALUE = 2,
};

/* ---- walking descriptors: our own bytes, so what does not fit is a defect -------------------- */

/* The next field with a length; false at the end. */
static bool next_field(struct reader *in, uint32_t *ret_number, struct slice *ret)
{
    while (reader_left(in) > 0) {
        uint32_t key = read_uvarint32(in);
        *ret_number = key >> 3;
        if ((key & 7) == 0) {
            (void)read_uvarint64(in);
            continue;
        }
        SL_ASSERT((key & 7) == 2);
        *ret = read_slice(in, read_uvarint32(in));
        SL_ASSERT(reader_ok(in));
        return true;
    }
    return false;
}

static struct slice field_of(struct slice message, uint32_t number)
{
    struct reader in = reader_over(message, NULL, 0);
    uint32_t n;
    struct slice value;
    while (next_field(&in, &n, &value))
        if (n == number)
            return value;
    return (struct slice){0};
}

/* Cuts "first." off a name; false: the name is another. */
static bool cut_prefix(struct slice *name, struct slice first)
{
    if (first.len == 0 || name->len <= first.len ||
        memcmp(name->data, first.data, first.len) != 0 || name->data[first.len] != '.')
        return false;
    *name = slice_sub(*name, first.len + 1, name->len - first.len - 1);
    return true;
}

/* Whether a message, an enum or a service, or what is inside of it, is called so. */
static bool names(struct slice thing, struct slice symbol, uint32_t kind)
{
    struct slice own = field_of(thing, MESSAGE_NAME);
    if (slice_eq(own, symbol))
        return true;
    if (!cut_prefix(&symbol, own))
        return false;
    struct reader in = reader_over(thing, NULL, 0);
    uint32_t n;
    struct slice inner;
    while (next_field(&in, &n, &inner)) {
        bool deep = kind == FILE_MESSAGE && (n == MESSAGE_NESTED || n == MESSAGE_ENUM);
        bool flat = n == MESSAGE_FIELD && kind == FILE_MESSAGE;
        flat |=
            (n == SERVICE_METHOD && kind == FILE_SERVICE) || (n == ENUM_VALUE && kind == FILE_ENUM);
        if (deep && names(inner, symbol, n == MESSAGE_NESTED ? FILE_MESSAGE : FILE_ENUM))
            return true;
        if (flat && slice_eq(field_of(inner, MESSAGE_NAME), symbol))
            return true;
    }
    return false;
}

static bool file_has(struct slice file, struct slice symbol)
{
    struct reader in = reader_over(file, NULL, 0);
    uint32_t n;
    struct slice thing;
    if (!cut_prefix(&symbol, field_of(file, FILE_PACKAGE)))
        return false;
    while (next_field(&in, &n, &thing))
        if ((n == FILE_MESSAGE || n == FILE_ENUM || n == FILE_SERVICE) && names(thing, symbol, n))
            return true;
    return false;
}

static bool file_is(struct slice file, struct slice name)
{
    return slice_eq(field_of(file, FILE_NAME), name);
}

static struct slice find_file(struct slice name,
                              bool (*is_it)(struct slice file, struct slice name))
{
    struct reader in = reader_over(slice_of(proto_descriptors, proto_descriptors_bytes), NULL, 0);
    uint32_t n;
    struct slice file;
    while (next_field(&in, &n, &file))
        if (n == SET_FILE && is_it(file, name))
            return file;
    return (struct slice){0};
}

/* ---- answers --------------------------------------------------------------------------------- */

static void send_error(struct grpc_call *c, reflection_response *out, enum grpc_status status,
                       char *text)
{
    Grpc__Reflection__V1__ErrorResponse e = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    e.error_code = (int32_t)status;
    e.error_message = text;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    out->error_response = &e;
    (void)grpc_send(c, &out->base);
}

static void send_file(struct grpc_call *c, reflection_response *out, struct slice file)
{
    static char missing[] = "not found";
    Grpc__Reflection__V1__FileDescriptorResponse f =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData bytes = {.len = file.len, .data = (uint8_t *)file.data};
    if (!file.data) {
        send_error(c, out, GRPC_NOT_FOUND, missing);
        return;
    }
    f.n_file_descriptor_proto = 1;
    f.file_descriptor_proto = &bytes;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    out->file_descriptor_response = &f;
    (void)grpc_send(c, &out->base);
}

static void send_services(struct grpc_call *c, reflection_response *out)
{
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse services[GRPC_METHODS_MAX];
    Grpc__Reflection__V1__ServiceResponse *pointers[GRPC_METHODS_MAX];
    for (size_t i = 0; i < grpc__n_methods; i++) {
        if (i > 0 && strcmp(grpc__methods[i].service, grpc__methods[i - 1].service) == 0)
            continue; /* methods of a service follow each other */
        grpc__reflection__v1__service_response__init(&services[list.n_service]);
        services[list.n_service].name = (char *)grpc__methods[i].service;
        pointers[list.n_service] = &services[list.n_service];
        list.n_service++;
    }
    list.service = pointers;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    out->list_services_response = &list;
    (void)grpc_send(c, &out->base);
}

/* proto3 has no extensions; a message that is there has none of them. */
static void send_extensions(struct grpc_call *c, reflection_response *out, char *type)
{
    static char missing[] = "not found";
    Grpc__Reflection__V1__ExtensionNumberResponse e =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    if (!find_file(slice_str(type), file_has).data) {
        send_error(c, out, GRPC_NOT_FOUND, missing);
        return;
    }
    e.base_type_name = type;
    out->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    out->all_extension_numbers_response = &e;
    (void)grpc_send(c, &out->base);
}

static void on_message(struct grpc_call *c, const ProtobufCMessage *m)
{
    static char no_extension[] = "not found: proto3 has no extensions";
    static char nothing[] = "nothing was asked for";
    reflection_request *in = (reflection_request *)m;
    reflection_response out = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    out.valid_host = in->host;
    out.original_request = in;
    switch ((int)in->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        send_file(c, &out, find_file(slice_str(in->file_by_filename), file_is));
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        send_file(c, &out, find_file(slice_str(in->file_containing_symbol), file_has));
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        send_error(c, &out, GRPC_NOT_FOUND, no_extension);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        send_extensions(c, &out, in->all_extension_numbers_of_type);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        send_services(c, &out);
        return;
    default:
        send_error(c, &out, GRPC_INVALID_ARGUMENT, nothing);
    }
}

static void end(struct grpc_call *c)
{
    grpc_fail(c, GRPC_OK, "%s", "");
}

static void stop(struct grpc_call *c)
{
    grpc_fail(c, GRPC_UNAVAILABLE, "server is shutting down");
}

void grpc_handle_reflection(struct grpc_call *c)
{
    static const struct grpc_stream_ops ops = {
        .on_message = on_message, .on_half_close = end, .on_stop = stop};
    c->stream_ops = &ops;
    c->on_cancel = stop;
}
