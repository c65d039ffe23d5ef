/* The settings of a topic: one row each in topic_config.def makes the struct, parsing, validation,
 * DescribeConfigs and the tests.
 *
 * Every value is a number (choices: their index; cleanup.policy: a bit per word), so a config is
 * plain data that may be copied. A value that this broker cannot honour is refused with the reason,
 * never accepted and ignored. Pure: no state, any thread. */
#ifndef SLUICE_BROKER_TOPIC_CONFIG_H
#define SLUICE_BROKER_TOPIC_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct log_topic_cfg;

enum cleanup_policy { CLEANUP_DELETE, CLEANUP_COMPACT }; /* bits of cleanup_policy */
enum compression_type {
    COMPRESSION_PRODUCER,
    COMPRESSION_UNCOMPRESSED,
    COMPRESSION_ZSTD,
    COMPRESSION_LZ4,
    COMPRESSION_SNAPPY,
    COMPRESSION_GZIP,
};
enum timestamp_type { TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME };
enum storage_engine { STORAGE_ENGINE_LOCAL, STORAGE_ENGINE_SQLITE, STORAGE_ENGINE_COUNT };

enum topic_setting {
#define SETTING(field, ...) TOPIC_SETTING_##field,
#include "broker/topic_config.def"
#undef SETTING
    TOPIC_SETTING_COUNT
};

/* c.retention_ms and c.values[TOPIC_SETTING_retention_ms] are the same word. */
struct topic_config {
    union {
        int64_t values[TOPIC_SETTING_COUNT];
        struct {
#define SETTING(field, ...) int64_t field;
#include "broker/topic_config.def"
#undef SETTING
        };
    };
    uint64_t overridden; /* bit per setting: the topic's own, not the broker's default */
};

enum setting_type {
    SETTING_BOOL,
    SETTING_INT,
    SETTING_LONG,
    SETTING_DOUBLE,
    SETTING_CHOICE,   /* one word */
    SETTING_CHOICES,  /* a list of words */
    SETTING_PATTERNS, /* a list of free texts; only the empty one is known here */
};

struct topic_setting_info {
    const char *name;
    enum setting_type type;
    int64_t value_default, value_min, value_max;
    const char *broker_name; /* the broker setting that gives its default; NULL: none */
    const char *refused;     /* why only the default is accepted; NULL: it works */
    const char *help;
};

enum { SETTING_TEXT_BYTES = 64 };

const struct topic_setting_info *topic_setting_info(enum topic_setting s);
/* SL_ENOTFOUND: no such setting. */
sl_err topic_setting_find(struct slice name, enum topic_setting *ret) SL_CHECKED;
/* The text form of a value. */
void topic_setting_format(enum topic_setting s, int64_t value, char ret[SETTING_TEXT_BYTES]);
/* SL_ECONFIG: the fault's sentence is for the client. */
sl_err topic_setting_parse(enum topic_setting s, struct slice text, int64_t *ret,
                           struct sl_fault *fault) SL_CHECKED;

/* Every setting at its default, nothing overridden. */
void topic_config_init(struct topic_config *c);
/* `defaults` with nothing overridden: what a new topic starts from. */
struct topic_config topic_config_from(const struct topic_config *defaults);
sl_err topic_config_set(struct topic_config *c, enum topic_setting s, struct slice text,
                        struct sl_fault *fault) SL_CHECKED;
/* Back to the default. */
void topic_config_unset(struct topic_config *c, enum topic_setting s,
                        const struct topic_config *defaults);
/* Adds words to a list setting or takes them away; SL_ECONFIG when it is no list. */
sl_err topic_config_append(struct topic_config *c, enum topic_setting s, struct slice text,
                           struct sl_fault *fault) SL_CHECKED;
sl_err topic_config_subtract(struct topic_config *c, enum topic_setting s, struct slice text,
                             struct sl_fault *fault) SL_CHECKED;
/* The engine of a topic is its own, whatever the broker's default is or becomes. */
void topic_config_pin_engine(struct topic_config *c, enum storage_engine engine);
static inline bool topic_config_has(const struct topic_config *c, enum topic_setting s)
{
    return (c->overridden >> s) & 1;
}

/* "name=value\n" of each overridden setting, in table order; the form that is stored. */
void topic_config_write(const struct topic_config *c, struct buf *ret);
/* Reads that form over `c`. Lines that are not understood stop it with SL_ECONFIG. */
sl_err topic_config_read(struct topic_config *c, struct slice text,
                         struct sl_fault *fault) SL_CHECKED;
void topic_config_to_log(const struct topic_config *c, struct log_topic_cfg *ret);

#endif
