/* Settings of topics and of the broker: describing and altering them.
 *
 * Topic settings come from topic_config.def, broker settings from broker_config.def. Texts of the
 * answer live in call memory that ..._fini frees, after the reply has been encoded. */
#ifndef SLUICE_BROKER_CONFIGS_H
#define SLUICE_BROKER_CONFIGS_H

#include "base/arena.h"
#include "base/slice.h"
#include "broker/broker.h"
#include "broker/topics.h"

/* Numbers as on Kafka's wire. */
enum config_resource { CONFIG_TOPIC = 2, CONFIG_BROKER = 4, CONFIG_BROKER_LOGGER = 8 };
enum config_source { CONFIG_SOURCE_TOPIC = 1, CONFIG_SOURCE_STATIC = 4, CONFIG_SOURCE_DEFAULT = 5 };
enum config_type {
    CONFIG_TYPE_BOOLEAN = 1,
    CONFIG_TYPE_STRING = 2,
    CONFIG_TYPE_INT = 3,
    CONFIG_TYPE_LONG = 5,
    CONFIG_TYPE_DOUBLE = 6,
    CONFIG_TYPE_LIST = 7,
};
enum config_change_op { CONFIG_SET = 0, CONFIG_DELETE = 1, CONFIG_APPEND = 2, CONFIG_SUBTRACT = 3 };

/* ---- describe ------------------------------------------------------------------------------- */

struct config_synonym {
    const char *name, *value;
    enum config_source source;
};

enum { CONFIG_SYNONYMS_MAX = 3 };

struct config_entry {
    const char *name, *value;
    enum config_type type;
    enum config_source source;
    bool read_only;
    const char *help;
    struct config_synonym synonyms[CONFIG_SYNONYMS_MAX]; /* the one in force first */
    uint32_t n_synonyms;
};

/* SL_ETOPIC, SL_ETOPIC_NAME, SL_EINVAL (no such resource), SL_EDENIED. */
struct broker_describe_resource {
    /* in */
    int8_t type;
    struct slice name; /* a topic, or a broker's number */
    bool all_names;
    const struct slice *names; /* only these */
    uint32_t n_names;
    /* out */
    sl_err err;
    const char *message;
    struct config_entry *entries; /* by name */
    uint32_t n_entries;
};

struct broker_describe_configs {
    struct broker_call call;
    struct broker_describe_resource *resources;
    uint32_t n_resources;
    sl_err err;
    struct arena *arena; /* internal */
};
void broker_describe_configs_init(struct broker_describe_configs *c);
void broker_describe_configs_fini(struct broker_describe_configs *c);

/* What a topic's config looks like; entries in `arena`. Any thread. */
struct config_entry *topic_config_entries(const struct topic_config *config,
                                          const struct topic_config *defaults, struct arena *arena,
                                          uint32_t *ret_n);

/* ---- alter ---------------------------------------------------------------------------------- */

struct config_change {
    struct slice name;
    int8_t op; /* enum config_change_op; anything else is refused */
    struct slice value;
    bool value_is_null;
};

/* SL_ETOPIC, SL_ECONFIG, SL_EINVAL (twice, unknown resource or operation), SL_EDENIED. */
struct broker_alter_resource {
    int8_t type;
    struct slice name;
    const struct config_change *changes;
    uint32_t n_changes;
    sl_err err;
    const char *message;
};

struct broker_alter_configs {
    struct broker_call call;
    /* false: the changes (all SET) are the whole config, others go back to their default */
    bool incremental;
    bool validate_only;
    struct broker_alter_resource *resources;
    uint32_t n_resources;
    sl_err err;
    /* internal */
    struct call_items items;
};
void broker_alter_configs_init(struct broker_alter_configs *c);
void broker_alter_configs_fini(struct broker_alter_configs *c);

#endif
