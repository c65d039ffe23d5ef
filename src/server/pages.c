/* What the HTTP listener shows: health, metrics, a word of welcome. On the core loop. */
#include "broker/status.h"
#include "server/metrics.h"
#include "server/server_int.h"

static const char text_type[] = "text/plain; charset=utf-8";

static void handle_welcome(struct http_exchange *x)
{
    http_reply_text(x, 200,
                    "sluice " SLUICE_VERSION "\n\n"
                    "/metrics  figures for Prometheus\n"
                    "/readyz   200 when the server takes requests, else 503 and why\n"
                    "/livez    200 while the process works\n"
                    "/healthz  the same\n");
}

static void handle_alive(struct http_exchange *x)
{
    http_reply_text(x, 200, "OK\n");
}

enum { DAMAGED_SHOWN_MAX = 50, READY_BYTES_MAX = 64 << 10 };

struct damage_list {
    struct buf text;
    unsigned count;
};

static bool note_damage(void *arg, const struct broker_partition_status *p)
{
    struct damage_list *list = arg;
    if (p->log.damaged_from < 0)
        return true;
    if (list->count++ < DAMAGED_SHOWN_MAX)
        (void)buf_printf(&list->text, "damaged: %s-%d offsets %lld to %lld cannot be read\n",
                         p->topic, p->partition, (long long)p->log.damaged_from,
                         (long long)p->log.damaged_to);
    return true;
}

/* Damage does not make the server unready: the rest of that log, and all others, work. */
static void reply_ready(struct http_exchange *x, struct server *s,
                        const struct log_engine_counters *log)
{
    struct damage_list list = {0};
    buf_init(&list.text, READY_BYTES_MAX);
    (void)buf_printf(&list.text, "READY\n");
    if (log->metadata_rebuilt)
        (void)buf_printf(&list.text, "rebuilt: this start found meta.db missing, damaged or old; "
                                     "the log says what is lost\n");
    broker_each_partition(s->broker, note_damage, &list);
    if (list.count > DAMAGED_SHOWN_MAX)
        (void)buf_printf(&list.text, "damaged: %u more partitions\n",
                         list.count - DAMAGED_SHOWN_MAX);
    http_reply(x, 200, text_type, buf_take_slice(&list.text));
    buf_fini(&list.text);
}

static void handle_ready(struct http_exchange *x)
{
    struct server *s = x->arg;
    struct log_engine_counters log;
    if (!s->is_ready) {
        http_reply_text(x, 503, "not ready: the server is stopping\n");
        return;
    }
    s->log->ops->counters(s->log, &log);
    if (log.refusing_appends)
        http_reply_text(x, 503, "not ready: the disk is full, appends are refused; reads work\n");
    else
        reply_ready(x, s, &log);
}

static void handle_metrics(struct http_exchange *x)
{
    struct buf out;
    buf_init(&out, METRICS_BYTES_MAX);
    metrics_print(x->arg, &out);
    if (buf_check(&out) == SL_OK)
        http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_take_slice(&out));
    else
        http_reply(x, 500, text_type, slice_copy("too many series\n", 16));
    buf_fini(&out);
}

const struct http_route server__routes[] = {
    {"GET", "/", handle_welcome},
    {"GET", "/metrics", handle_metrics},
    {"GET", "/healthz", handle_alive},
    {"GET", "/livez", handle_alive},
    {"GET", "/readyz", handle_ready},
    {"GET", "/health", handle_alive}, /* names of older clients */
    {"GET", "/live", handle_alive},
    {"GET", "/ready", handle_ready},
};
const size_t server__n_routes = SL_ARRAY_LEN(server__routes);
