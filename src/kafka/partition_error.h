/* Error codes of partitions: as kafka_error, where clients expect another one for a partition than
 * for a request. */
#ifndef SLUICE_KAFKA_PARTITION_ERROR_H
#define SLUICE_KAFKA_PARTITION_ERROR_H

#include "base/err.h"

int16_t kafka__partition_error(sl_err err);

#endif
