/* Every .proto file of this folder as protoc describes it: a serialized FileDescriptorSet, made at
 * build time. Constant: any thread. */
#ifndef SLUICE_PROTO_DESCRIPTORS_H
#define SLUICE_PROTO_DESCRIPTORS_H

#include <stddef.h>

extern const unsigned char proto_descriptors[];
extern const size_t proto_descriptors_bytes;

#endif
