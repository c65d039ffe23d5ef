/* The server's settings: the option table, and where its values come from.
 *
 * Precedence: flag, environment, YAML file, default. Everything is checked before anything is
 * opened; a wrong setting is an SL_ECONFIG whose fault names the place, the key, the value and what
 * is allowed. One thread; reading is free for all afterwards. */
#ifndef SLUICE_SERVER_CONFIG_H
#define SLUICE_SERVER_CONFIG_H

#include "base/log.h"
#include "base/option.h"

/* CONFIG_data_dir and so on: the index of each option. */
enum config_option {
#define OPTION(section, name, ...) CONFIG_##name,
#include "server/options.def"
#undef OPTION
    CONFIG_COUNT
};

extern const struct option_table config_table;

/* Reads flags (argv behind the command), the environment (NULL: the process's) and the file named
 * by --config. On SL_OK the caller owns *ret. */
sl_err config_load(int argc, char *const *argv, char *const *env, struct sl_fault *fault,
                   struct options **ret) SL_CHECKED;

/* Reads settings from YAML text; SL_ECONFIG with the line: unknown or repeated keys, anything but
 * "key: value" lines. */
sl_err config_read_yaml(struct options *o, struct slice text, struct sl_fault *fault) SL_CHECKED;
/* Reads a file of at most CONFIG_FILE_BYTES_MAX. */
enum { CONFIG_FILE_BYTES_MAX = 1 << 20 };
sl_err config_read_file(struct options *o, const char *path, struct sl_fault *fault) SL_CHECKED;

/* host:port of a listener, with the host of `host` when it names none. */
enum { CONFIG_ADDR_BYTES = OPTION_HOST_BYTES + 8 };
void config_listen_addr(const struct options *o, enum config_option i, char ret[CONFIG_ADDR_BYTES]);
/* Whether that address can be reached from this machine only. */
bool config_addr_is_local(const char *addr);

enum log_level config_log_level(const struct options *o);
enum log_format config_log_format(const struct options *o);

/* The page docs/configuration.md, whole. */
void config_print_page(struct buf *out);
/* Text of `sluice serve --help`. */
void config_print_help(struct buf *out);

#endif
