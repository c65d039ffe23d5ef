#include "ctl/ctl.h"

#include "ctl/output.h"
#include "kafka_codec/errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((format(printf, 2, 0))) static void say(const struct ctl *c, const char *format,
                                                      va_list args)
{
    out_progress_end();
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s: ", c->program);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
}

int ctl_fail(const struct ctl *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(c, format, args);
    va_end(args);
    return CTL_FAILED;
}

int ctl_usage(const struct ctl *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(c, format, args);
    va_end(args);
    return CTL_USAGE;
}

/* What helps, where we know it. */
static const char *advice(int16_t code)
{
    static const struct {
        int16_t code;
        const char *text;
    } known[] = {
        {KAFKA_ERR_UNKNOWN_TOPIC_OR_PARTITION, "; topics there are: topic list"},
        {KAFKA_ERR_TOPIC_ALREADY_EXISTS, "; with --if-not-exists this is no error"},
        {KAFKA_ERR_INVALID_REPLICATION_FACTOR, "; a single broker holds one copy"},
        {KAFKA_ERR_NON_EMPTY_GROUP, "; stop its members first, group describe shows them"},
        {KAFKA_ERR_UNKNOWN_MEMBER_ID, "; the group has members: stop them first"},
        {KAFKA_ERR_GROUP_ID_NOT_FOUND, "; groups there are: group list"},
        {KAFKA_ERR_INVALID_CONFIG, "; settings there are: topic describe --all-configs"},
        {KAFKA_ERR_MESSAGE_TOO_LARGE, "; the topic's limit is max.message.bytes"},
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(known); i++)
        if (known[i].code == code)
            return known[i].text;
    return "";
}

int ctl_refused(const struct ctl *c, const char *what, int16_t code, struct slice message)
{
    if (message.len && message.data[message.len - 1] == '.')
        message.len--;
    return ctl_fail(c, "%s: %s%s%.*s%s", what, kafka_error_name(code), message.len ? ": " : "",
                    (int)message.len, message.len ? (const char *)message.data : "", advice(code));
}

int64_t ctl_timeout_ms(const struct ctl *c)
{
    return ctl_number(c, "timeout", 10000);
}

const char *ctl_bootstrap(const struct ctl *c)
{
    const char *environment = secure_getenv("SLUICE_BOOTSTRAP");
    return ctl_text(c, "bootstrap", environment ? environment : "127.0.0.1:9092");
}

int ctl_connect(struct ctl *c)
{
    if (c->client)
        return CTL_OK;
    struct sl_fault fault = {0};
    struct client_cfg cfg = {.bootstrap = ctl_bootstrap(c),
                             .client_id = ctl_text(c, "client-id", "sluicectl"),
                             .timeout_ms = ctl_timeout_ms(c)};
    sl_err err = client_open(&cfg, &fault, &c->client);
    if (err == SL_OK)
        return CTL_OK;
    if (err == SL_EINVAL)
        return ctl_usage(c, "--bootstrap %s: %s", cfg.bootstrap, fault.what);
    (void)ctl_fail(c, "%s; start a broker with 'sluice serve' or name one with --bootstrap",
                   fault.what);
    return CTL_UNREACHABLE;
}

int ctl_ask(struct ctl *c, int32_t node, int16_t api_key, int16_t version_max, const void *request,
            void *ret)
{
    int failed = ctl_connect(c);
    if (failed)
        return failed;
    struct sl_fault fault = {0};
    struct client_request call = {
        .node = node, .api_key = api_key, .version_max = version_max, .msg = request};
    sl_err err = client_call(c->client, &call, c->arena, ret, &fault);
    if (err == SL_OK)
        return CTL_OK;
    (void)ctl_fail(c, "%s", fault.what);
    return err == SL_EUNSUPPORTED ? CTL_FAILED : CTL_UNREACHABLE;
}

void *ctl_alloc(struct ctl *c, size_t n, size_t size)
{
    void *p = arena_alloc(c->arena, n, size);
    SL_ASSERT(p); /* the arena has no limit */
    return p;
}
