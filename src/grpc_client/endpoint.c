/* Texts: endpoints, status messages, timeouts; and codes of other layers as gRPC's. */
#include "grpc_client/grpc_client_int.h"

#include <stdio.h>
#include <strings.h>

sl_err grpc__endpoint(const char *endpoint, struct sl_fault *fault, char ret_addr[GRPC_ADDR_BYTES])
{
    static const char http[] = "http://", https[] = "https://";
    if (strncasecmp(endpoint, https, sizeof https - 1) == 0)
        return sl_fault_set(fault, SL_EUNSUPPORTED,
                            "TLS is not supported by this client yet; "
                            "use http://");
    if (strncasecmp(endpoint, http, sizeof http - 1) != 0)
        return sl_fault_set(fault, SL_EINVAL, "endpoint must start with http:// or https://");
    const char *host = endpoint + sizeof http - 1;
    size_t len = strcspn(host, "/");
    if (len == 0 || host[0] == ':' || (host[len] && host[len + 1]))
        return sl_fault_set(fault, SL_EINVAL, "write the endpoint as http://HOST:PORT");
    const char *bracket = memrchr(host, ']', len);
    bool has_port = memrchr(bracket ? bracket : host, ':', len - (bracket ? bracket - host : 0));
    int n = snprintf(ret_addr, GRPC_ADDR_BYTES, "%.*s%s", (int)len, host, has_port ? "" : ":80");
    if (n >= GRPC_ADDR_BYTES)
        return sl_fault_set(fault, SL_EINVAL, "the host name is too long");
    return SL_OK;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void grpc__status_text(struct slice value, char *out, size_t size)
{
    size_t at = 0;
    SL_ASSERT(size > 0);
    for (size_t i = 0; i < value.len && at + 1 < size; i++) {
        int high = value.data[i] == '%' && i + 2 < value.len ? hex_digit(value.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(value.data[i + 2]) : -1;
        uint8_t byte = low >= 0 ? (uint8_t)(high << 4 | low) : value.data[i];
        memcpy(out + at++, &byte, 1);
        i += low >= 0 ? 2 : 0;
    }
    out[at] = '\0';
}

/* At most 8 digits, as the protocol wants it. */
void grpc__timeout_text(int64_t timeout_ms, char ret_text[24])
{
    SL_ASSERT(timeout_ms > 0);
    if (timeout_ms < 100000000)
        (void)snprintf(ret_text, 24, "%lldm", (long long)timeout_ms);
    else
        (void)snprintf(ret_text, 24, "%lldS",
                       (long long)SL_MIN(timeout_ms / 1000, (int64_t)99999999));
}

enum grpc_status grpc__status_of_http(int http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_status grpc__status_of_reset(uint32_t error)
{
    enum { REFUSED_STREAM = 7, ENHANCE_YOUR_CALM = 11, INADEQUATE_SECURITY = 12 };
    switch (error) {
    case REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case HTTP2_CANCEL:
        return GRPC_CANCELLED;
    case ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case INADEQUATE_SECURITY:
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_INTERNAL;
    }
}

const char *grpc_client_status_name(enum grpc_status status)
{
    switch (status) {
#define GRPC_STATUS(name, number)                                                                  \
    case GRPC_##name:                                                                              \
        return #name;
#include "proto/status.def"
#undef GRPC_STATUS
    }
    return "UNKNOWN";
}

const struct grpc_retry grpc_retry_default = {3, 100, 10000, 2.0};

int64_t grpc_retry_backoff_ms(const struct grpc_retry *r, uint32_t attempt)
{
    double ms = (double)r->initial_backoff_ms;
    for (uint32_t i = 0; i < attempt && ms < (double)r->max_backoff_ms; i++)
        ms *= r->multiplier;
    return SL_MIN((int64_t)ms, r->max_backoff_ms);
}
