#include "server/config.h"

#include "base/alloc.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#define SECTION_DATA    "Data directory"
#define SECTION_NETWORK "Network"
#define SECTION_THREADS "Threads"
#define SECTION_LIMITS  "Limits"
#define SECTION_TOPICS  "Topics"
#define SECTION_JOURNAL "Journal"
#define SECTION_GROUPS  "Consumer groups"
#define SECTION_RUNNING "Running"
#define SECTION_FUTURE  "Accepted for compatibility, without effect"

static const struct option_row rows[] = {
#define OPTION(section, ...) OPTION_ROW(SECTION_##section, __VA_ARGS__),
#include "server/options.def"
#undef OPTION
};
const struct option_table config_table = {rows, SL_ARRAY_LEN(rows), "SLUICE_"};

/* Variables of the family that belong to clients. */
static const char *const foreign_variables[] = {"SLUICE_ENDPOINT", "SLUICE_TLS_CA",
                                                "SLUICE_TLS_DOMAIN", "SLUICE_CREDITS_WINDOW"};

/* RUST_LOG holds directives ("warn,h2=info"); only a word alone says something about us. */
static bool is_foreign_directive(const char *variable)
{
    static const char name[] = "RUST_LOG=";
    return strncmp(variable, name, sizeof name - 1) == 0 &&
           variable[sizeof name - 1 +
                    strspn(variable + sizeof name - 1,
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

/* The environment without what must not stop us; the array is the caller's, the texts are not. */
static char **usable_env(struct options *o, char *const *env)
{
    size_t n = 0;
    while (env[n])
        n++;
    char **usable = sl_new_array(char *, n + 1);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_foreign_directive(env[i]))
            options_add_notice(o, "RUST_LOG is ignored: only debug, info, warn or error alone "
                                  "are understood; log_level sets the level");
        else
            usable[kept++] = env[i];
    }
    return usable;
}

/* A mistyped SLUICE_ variable would otherwise be silent. */
static void notice_unknown_variables(struct options *o, char *const *env)
{
    for (; *env; env++) {
        char name[96], near[96];
        size_t len = strcspn(*env, "=");
        if (strncmp(*env, "SLUICE_", 7) != 0 || len >= sizeof name)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)len, *env);
        bool foreign = false;
        for (size_t i = 0; i < SL_ARRAY_LEN(foreign_variables); i++)
            foreign |= strcmp(name, foreign_variables[i]) == 0;
        if (foreign || option_find(&config_table, OPTION_ENV, name, NULL) >= 0)
            continue;
        const char *nearest = option_nearest(&config_table, OPTION_ENV, name, near, sizeof near);
        options_add_notice(o, "environment variable %s is no setting of this server%s%s%s", name,
                           nearest ? "; did you mean " : "", nearest ? nearest : "",
                           nearest ? "?" : "");
    }
}

static sl_err read_env(struct options *o, char *const *env, struct sl_fault *fault)
{
    if (!env)
        env = environ;
    char **usable = usable_env(o, env);
    sl_err err = options_read_env(o, usable, fault);
    sl_free(usable);
    notice_unknown_variables(o, env);
    return err;
}

/* What the rows cannot say by themselves. */
static sl_err check_together(const struct options *o, struct sl_fault *fault)
{
    if (fault)
        fault->where[0] = '\0';
    if (option_number(o, CONFIG_auth_enabled) || option_number(o, CONFIG_tls_enabled))
        return sl_fault_set(fault, SL_ECONFIG,
                            "%s: true cannot be served yet; without it the listeners are open to "
                            "whoever reaches them, so keep them on 127.0.0.1 or behind a firewall",
                            option_number(o, CONFIG_auth_enabled) ? "auth_enabled" : "tls_enabled");
    if (option_number(o, CONFIG_group_session_min_ms) >
        option_number(o, CONFIG_group_session_max_ms))
        return sl_fault_set(fault, SL_ECONFIG,
                            "group_session_min_ms: is above group_session_max_ms");
    if (option_number(o, CONFIG_message_bytes_max) > option_number(o, CONFIG_kafka_frame_bytes))
        return sl_fault_set(fault, SL_ECONFIG,
                            "message_bytes_max: is above kafka_frame_bytes, so no request could "
                            "carry it");
    return SL_OK;
}

static void notice_without_effect(struct options *o)
{
    for (size_t i = 0; i < config_table.n_rows; i++)
        if (strcmp(rows[i].section, SECTION_FUTURE) == 0 && option_source(o, i) != OPTION_DEFAULT)
            options_add_notice(o, "%s has no effect: %s", rows[i].name, rows[i].help);
}

sl_err config_load(int argc, char *const *argv, char *const *env, struct sl_fault *fault,
                   struct options **ret)
{
    SL_AUTO(options_free) struct options *o = options_new(&config_table);
    SL_TRY(options_read_flags(o, argc, argv, fault));
    SL_TRY(read_env(o, env, fault));
    if (*option_text(o, CONFIG_config))
        SL_TRY(config_read_file(o, option_text(o, CONFIG_config), fault));
    SL_TRY(check_together(o, fault));
    notice_without_effect(o);
    *ret = SL_TAKE(o);
    return SL_OK;
}

void config_listen_addr(const struct options *o, enum config_option i, char ret[CONFIG_ADDR_BYTES])
{
    char host[OPTION_HOST_BYTES];
    int port;
    SL_ASSERT(option_parse_addr(option_text(o, i), host, &port) == SL_OK);
    if (!*host)
        (void)snprintf(host, sizeof host, "%s", option_text(o, CONFIG_host));
    if (port < 0) {
        char ignored[OPTION_HOST_BYTES];
        SL_ASSERT(option_parse_addr(rows[i].text, ignored, &port) == SL_OK);
    }
    (void)snprintf(ret, CONFIG_ADDR_BYTES, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

bool config_addr_is_local(const char *addr)
{
    return strncmp(addr, "127.", 4) == 0 || strncmp(addr, "[::1]", 5) == 0 ||
           strncmp(addr, "localhost:", 10) == 0;
}

enum log_level config_log_level(const struct options *o)
{
    static_assert(LOG_LEVEL_ERROR == 3, "the choices of log_level are in the order of the enum");
    return (enum log_level)option_number(o, CONFIG_log_level);
}

enum log_format config_log_format(const struct options *o)
{
    static_assert(LOG_FORMAT_JSON == 2, "the choices of log_format are in the order of the enum");
    return (enum log_format)option_number(o, CONFIG_log_format);
}

void config_print_page(struct buf *out)
{
    static const char head[] =
        "# Configuration\n\n"
        "<!-- Made by `build/sluice config-docs`; edit src/server/options.def instead. -->\n\n"
        "A setting comes from a flag, else from the environment, else from the YAML file given by\n"
        "`--config`, else it has its default. The option `kafka_addr` is the flag `--kafka-addr`,\n"
        "the variable `SLUICE_KAFKA_ADDR` and the key `kafka_addr`. The other names of a row work\n"
        "as well: `UPPER_CASE` is a variable, `-x` and `--long` are flags, `with.dots` is a key,\n"
        "as Kafka spells it. Where two names of one option disagree, its own name counts, and the\n"
        "log says so.\n\n"
        "Sizes take `KiB MiB GiB TiB` (or `k M G T`) and `kB MB GB`; times take `ms s m h d w`;\n"
        "yes and no are `true` and `false`. Settings that change `live` are read again on SIGHUP,\n"
        "the others when the server starts. Settings of a topic (`retention.ms` and so on) are "
        "set\n"
        "with Kafka's tools or `sluicectl topic alter` and win over the defaults below.\n";
    (void)buf_append(out, head, sizeof head - 1);
    options_print_markdown(&config_table, out);
}

void config_print_help(struct buf *out)
{
    (void)buf_printf(
        out,
        "sluice serve: the broker\n\n"
        "  sluice serve [OPTION...]\n\n"
        "Each option is also an environment variable (--data-dir: SLUICE_DATA_DIR) "
        "and a key of\nthe YAML file (data_dir). docs/configuration.md has all "
        "names.\nAn option without a value is a yes or no: --auto-create-topics=false "
        "says no.\n\n"
        "SIGTERM and Ctrl+C stop it cleanly, which takes at most 5 s. Ctrl+C twice, or SIGTERM "
        "again\nafter a second, ends it at once: nothing acknowledged is lost, the next "
        "start takes longer.\nSIGHUP reads the live settings again.\n");
    options_print_help(&config_table, out);
}
