/* The YAML file: one flat list of "key: value". Everything else is refused with its line (O03). */
#include "server/config.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

struct yaml_reader {
    yaml_parser_t parser;
    struct options *options;
    struct sl_fault *fault;
    int key_lines[CONFIG_COUNT]; /* line of each option that was given, 0: not yet */
};

static sl_err refuse(struct yaml_reader *y, size_t line, const char *what)
{
    if (y->fault)
        (void)snprintf(y->fault->where, sizeof y->fault->where, "line %zu", line + 1);
    return sl_fault_set(y->fault, SL_ECONFIG, "%s", what);
}

static sl_err refuse_syntax(struct yaml_reader *y)
{
    char what[128];
    (void)snprintf(what, sizeof what, "not YAML: %s",
                   y->parser.problem ? y->parser.problem : "unreadable");
    return refuse(y, y->parser.problem_mark.line, what);
}

/* What stands where a scalar should be. */
static const char *shape_name(yaml_event_type_t type)
{
    switch ((int)type) {
    case YAML_MAPPING_START_EVENT:
        return "a nested mapping is not allowed here; settings are a flat list of \"key: value\"";
    case YAML_SEQUENCE_START_EVENT:
        return "a list is not allowed here; settings are a flat list of \"key: value\"";
    case YAML_ALIAS_EVENT:
        return "aliases are not allowed";
    default:
        return "settings are a flat list of \"key: value\"";
    }
}

/* The next event must be a plain scalar, else this is the error. The caller deletes the event. */
static sl_err expect_scalar(struct yaml_reader *y, const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(y, event->start_mark.line, shape_name(event->type));
    if (event->data.scalar.anchor)
        return refuse(y, event->start_mark.line, "anchors are not allowed");
    if (event->data.scalar.tag)
        return refuse(y, event->start_mark.line, "tags are not allowed");
    if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
        return refuse(y, event->start_mark.line, "NUL characters are not allowed");
    return SL_OK;
}

static sl_err find_key(struct yaml_reader *y, const yaml_event_t *event, size_t *ret)
{
    const char *key = (const char *)event->data.scalar.value;
    char what[256], near[96];
    int i = option_find(&config_table, OPTION_FILE, key, NULL);
    if (i >= 0 && i != CONFIG_config) {
        if (y->key_lines[i]) {
            (void)snprintf(what, sizeof what, "%s is set on line %d already",
                           config_table.rows[i].name, y->key_lines[i]);
            return refuse(y, event->start_mark.line, what);
        }
        y->key_lines[i] = (int)event->start_mark.line + 1;
        *ret = (size_t)i;
        return SL_OK;
    }
    const char *nearest = option_nearest(&config_table, OPTION_FILE, key, near, sizeof near);
    (void)snprintf(what, sizeof what, "unknown setting %.64s%s%s%s", key,
                   nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
    return refuse(y, event->start_mark.line, what);
}

/* One "key: value"; event holds the key. */
static sl_err read_pair(struct yaml_reader *y, const yaml_event_t *key_event)
{
    size_t i = 0;
    yaml_event_t event;
    SL_TRY(expect_scalar(y, key_event));
    SL_TRY(find_key(y, key_event, &i));
    if (!yaml_parser_parse(&y->parser, &event))
        return refuse_syntax(y);
    sl_err err = expect_scalar(y, &event);
    struct option_origin from = {OPTION_FILE, (const char *)key_event->data.scalar.value,
                                 (int)event.start_mark.line + 1};
    if (err == SL_OK)
        err = option_set(y->options, i, from, (const char *)event.data.scalar.value, y->fault);
    yaml_event_delete(&event);
    return err;
}

/* One event of the top level; *done at the end of the document. */
static sl_err read_event(struct yaml_reader *y, yaml_event_t *event, bool *in_mapping, bool *done)
{
    switch ((int)event->type) {
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return *in_mapping && event->type == YAML_DOCUMENT_START_EVENT
                   ? refuse(y, event->start_mark.line, "a second document is not allowed")
                   : SL_OK;
    case YAML_MAPPING_END_EVENT:
        return SL_OK;
    case YAML_STREAM_END_EVENT:
        *done = true;
        return SL_OK;
    case YAML_MAPPING_START_EVENT:
        if (*in_mapping)
            break;
        *in_mapping = true;
        return SL_OK;
    case YAML_SCALAR_EVENT:
        if (*in_mapping)
            return read_pair(y, event);
        if (event->data.scalar.length == 0) /* an empty document is a null */
            return SL_OK;
        break;
    }
    return refuse(y, event->start_mark.line, shape_name(event->type));
}

static sl_err read_events(struct yaml_reader *y)
{
    bool in_mapping = false, done = false;
    while (!done) {
        yaml_event_t event;
        if (!yaml_parser_parse(&y->parser, &event))
            return refuse_syntax(y);
        sl_err err = read_event(y, &event, &in_mapping, &done);
        yaml_event_delete(&event);
        SL_TRY(err);
    }
    return SL_OK;
}

sl_err config_read_yaml(struct options *o, struct slice text, struct sl_fault *fault)
{
    struct yaml_reader *y = sl_new(struct yaml_reader);
    y->options = o;
    y->fault = fault;
    sl_err err = SL_ENOMEM;
    if (yaml_parser_initialize(&y->parser)) {
        yaml_parser_set_input_string(&y->parser, text.data, text.len);
        err = read_events(y);
        yaml_parser_delete(&y->parser);
    }
    sl_free(y);
    return err;
}

/* Up to max + 1 bytes, so that too many are noticed without reading a device to its end. */
static sl_err read_some(int fd, uint8_t *data, size_t max, size_t *ret_n)
{
    size_t n = 0;
    while (n <= max) {
        ssize_t got = read(fd, data + n, max + 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sl_err_from_errno(errno);
        if (got == 0)
            break;
        n += (size_t)got;
    }
    *ret_n = n;
    return SL_OK;
}

sl_err config_read_file(struct options *o, const char *path, struct sl_fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        if (fault)
            (void)snprintf(fault->where, sizeof fault->where, "%.200s", path);
        return sl_fault_set(fault, SL_ECONFIG, "cannot be read: %s", strerrordesc_np(errno));
    }
    uint8_t *data = sl_alloc(CONFIG_FILE_BYTES_MAX + 1, 1);
    size_t n = 0;
    sl_err err = read_some(fd, data, CONFIG_FILE_BYTES_MAX, &n);
    (void)close(fd); /* read only: nothing to lose */
    struct sl_fault inner = {0};
    if (err != SL_OK)
        err = sl_fault_set(&inner, SL_ECONFIG, "cannot be read: %s", sl_err_text(err));
    else if (n > CONFIG_FILE_BYTES_MAX)
        err = sl_fault_set(&inner, SL_ECONFIG, "is larger than 1 MiB; no settings need that much");
    else
        err = config_read_yaml(o, slice_of(data, n), &inner);
    sl_free(data);
    if (err != SL_OK && fault) {
        *fault = inner;
        (void)snprintf(fault->where, sizeof fault->where, "%.200s%s%.40s", path,
                       *inner.where ? ", " : "", inner.where);
    }
    return err;
}
