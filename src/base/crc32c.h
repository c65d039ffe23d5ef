/* CRC32C (Castagnoli, as in iSCSI and Kafka record batches). SSE4.2 with three lanes folded by
 * PCLMUL where the processor has them, tables elsewhere; chosen once. Any thread. */
#ifndef SLUICE_BASE_CRC32C_H
#define SLUICE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 at the start) over len bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The table version, for tests and other processors. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
