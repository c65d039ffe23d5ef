/* Entries of DescribeConfigs for the broker. Inside this folder. */
#ifndef SLUICE_BROKER_CONFIG_ENTRIES_INT_H
#define SLUICE_BROKER_CONFIG_ENTRIES_INT_H

#include "broker/broker_int.h"
#include "broker/configs.h"

/* Rows of broker_config.def and the defaults of topics, by name. */
struct config_entry *broker__config_entries(const struct broker *b, struct arena *arena,
                                            uint32_t *ret_n);

#endif
