/* Details of a status beyond code and text. Private to this folder. */
#ifndef SLUICE_GRPC_STATUS_DETAILS_H
#define SLUICE_GRPC_STATUS_DETAILS_H

#include "base/buf.h"
#include "grpc/call.h"

/* The value of grpc-status-details-bin: why, in a word that programs compare ("ETOPIC"). SL_EFULL:
 * out has no room. */
sl_err grpc__print_details(enum grpc_status status, const char *message, const char *reason,
                           struct buf *out) SL_CHECKED;

#endif
