/* /metrics in Prometheus' text format 0.0.4, from the table metrics.def. Core loop. */
#ifndef SLUICE_SERVER_METRICS_H
#define SLUICE_SERVER_METRICS_H

#include "base/buf.h"

struct server;

/* O07: a name that peers choose (topic, group) makes at most this many series; the rest is left
 * out and counted. */
enum { METRICS_SERIES_MAX = 10000, METRICS_BYTES_MAX = 16 << 20 };

void metrics_print(struct server *s, struct buf *out);
/* The page docs/metrics.md, whole. */
void metrics_print_page(struct buf *out);
/* A label value: backslash, quote and line end escaped, anything else outside UTF-8 as '?'. */
void metrics_print_label(struct slice text, struct buf *out);

#endif
