/* gRPC's status codes, the same for the door and for clients. */
#ifndef SLUICE_PROTO_STATUS_H
#define SLUICE_PROTO_STATUS_H

enum grpc_status {
#define GRPC_STATUS(name, number) GRPC_##name = (number),
#include "proto/status.def"
#undef GRPC_STATUS
};

#endif
