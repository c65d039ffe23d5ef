#include "base/clock.h"
#include "base/number.h"
#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"

#include <stdio.h>

/* Where the group shall go on. */
struct target {
    enum { TO_EARLIEST, TO_LATEST, TO_OFFSET, TO_TIME, SHIFT_BY } kind;
    int64_t value;
};

enum { COMMIT_VERSION = 9, GENERATION_NONE = -1, PARTITIONS_MAX = 100000 };

/* ---- arguments
 * --------------------------------------------------------------------------------------- */

/* ms since 1970, or -30m before now. */
static int parse_time(const struct ctl *c, const char *text, int64_t *ret)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    size_t len = strlen(text);
    if (number_parse(text, len, 0, INT64_MAX, ret) == SL_OK)
        return CTL_OK;
    for (size_t i = 0; text[0] == '-' && i < SL_ARRAY_LEN(units); i++) {
        int64_t n;
        if (text[len - 1] != units[i].unit ||
            number_parse(text + 1, len - 2, 0, INT64_MAX / units[i].ms, &n) != SL_OK)
            continue;
        *ret = SL_MAX(clock_wall_ms(&clock_real) - n * units[i].ms, 0);
        return CTL_OK;
    }
    return ctl_usage(c, "--to-time %s: write milliseconds since 1970, or -DURATION such as -30m",
                     text);
}

static int parse_target(const struct ctl *c, struct target *ret)
{
    static const char *const names[] = {"to-earliest", "to-latest", "to-offset", "to-time",
                                        "shift-by"};
    int n = 0;
    for (int i = 0; i < (int)SL_ARRAY_LEN(names); i++) {
        if (!ctl_flag(c, names[i]))
            continue;
        n++;
        ret->kind = i;
    }
    if (n != 1)
        return ctl_usage(c, "say one of --to-earliest, --to-latest, --to-offset, --to-time and "
                            "--shift-by");
    if (ret->kind == TO_OFFSET || ret->kind == SHIFT_BY)
        ret->value = ctl_number(c, names[ret->kind], 0);
    return ret->kind == TO_TIME ? parse_time(c, ctl_text(c, "to-time", ""), &ret->value) : CTL_OK;
}

struct selection {
    struct ctl_partition *ps;
    size_t n;
};

static bool is_listed(const char *list, int32_t index)
{
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        int64_t v;
        if (number_parse(p, len, 0, INT32_MAX, &v) == SL_OK && v == index)
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}

/* "orders" or "orders:0,2". */
static int select_topic(struct ctl *c, const char *text, struct selection *s)
{
    struct ctl_partition *ps;
    size_t n, before = s->n;
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    int failed = topic_partitions(c, text_of(c, slice_of(text, len)), &ps, &n);
    for (size_t i = 0; !failed && i < n && s->n < PARTITIONS_MAX; i++)
        if (!colon || is_listed(colon + 1, ps[i].index))
            s->ps[s->n++] = ps[i];
    if (!failed && s->n == before)
        return ctl_usage(c, "--topic %s: the topic has none of these partitions (there are %zu)",
                         text, n);
    return failed;
}

/* What --topic says, else all that the group has committed. Offsets are the committed ones. */
static int select_partitions(struct ctl *c, int32_t node, struct selection *s)
{
    struct ctl_partition *committed;
    size_t n;
    int failed = committed_offsets(c, node, c->args[0], &committed, &n);
    s->ps = ctl_alloc(c, PARTITIONS_MAX, sizeof *s->ps);
    for (size_t i = 0; !failed && ctl_list(c, "topic", i); i++)
        failed = select_topic(c, ctl_list(c, "topic", i), s);
    for (size_t i = 0; !failed && !ctl_list(c, "topic", 0) && i < n; i++) {
        char text[300];
        (void)snprintf(text, sizeof text, "%s:%d", text_of(c, committed[i].topic),
                       committed[i].index);
        failed = select_topic(c, text, s);
    }
    for (size_t i = 0; !failed && i < s->n; i++)
        for (size_t k = 0; k < n; k++)
            if (s->ps[i].index == committed[k].index &&
                slice_eq(s->ps[i].topic, committed[k].topic))
                s->ps[i].offset = committed[k].offset;
    if (!failed && s->n == 0)
        return ctl_fail(c, "%s has committed no offsets; name topics with --topic", c->args[0]);
    return failed;
}

/* ---- the new offsets
 * ---------------------------------------------------------------------------------- */

static struct ctl_partition *copy_of(struct ctl *c, const struct selection *s)
{
    struct ctl_partition *copy = ctl_alloc(c, s->n, sizeof *copy);
    memcpy(copy, s->ps, s->n * sizeof *copy);
    return copy;
}

static int64_t wanted_offset(struct target target, int64_t committed, int64_t first, int64_t end,
                             int64_t at_time)
{
    int64_t wanted = end;
    switch (target.kind) {
    case TO_EARLIEST:
        wanted = first;
        break;
    case TO_LATEST:
        break;
    case TO_OFFSET:
        wanted = target.value;
        break;
    case TO_TIME:
        wanted = at_time < 0 ? end : at_time;
        break;
    case SHIFT_BY:
        if (__builtin_add_overflow(committed < 0 ? first : committed, target.value, &wanted))
            wanted = target.value < 0 ? first : end;
        break;
    }
    return SL_MIN(SL_MAX(wanted, first), end);
}

/* The new offset of each selected partition, within what the partition has. */
static int compute(struct ctl *c, struct target target, const struct selection *s,
                   struct ctl_partition **ret)
{
    struct ctl_partition *first = copy_of(c, s), *end = copy_of(c, s), *at_time = copy_of(c, s);
    int failed = list_offsets(c, first, s->n, OFFSET_EARLIEST);
    if (!failed)
        failed = list_offsets(c, end, s->n, OFFSET_LATEST);
    if (!failed && target.kind == TO_TIME)
        failed = list_offsets(c, at_time, s->n, target.value);
    *ret = copy_of(c, s);
    for (size_t i = 0; !failed && i < s->n; i++)
        (*ret)[i].offset = wanted_offset(target, s->ps[i].offset, first[i].offset, end[i].offset,
                                         at_time[i].offset);
    return failed;
}

static int check_commit(struct ctl *c, const struct kafka_offset_commit_response *answer)
{
    for (uint32_t i = 0; i < answer->n_topics; i++)
        for (uint32_t k = 0; k < answer->topics[i].n_partitions; k++)
            if (answer->topics[i].partitions[k].error_code)
                return ctl_refused(c, c->args[0], answer->topics[i].partitions[k].error_code,
                                   (struct slice){0});
    return CTL_OK;
}

static int commit(struct ctl *c, int32_t node, const struct ctl_partition *ps, size_t n)
{
    struct kafka_offset_commit_request request = kafka_offset_commit_request_default;
    struct kafka_offset_commit_request_partition *rows = ctl_alloc(c, n, sizeof *rows);
    request.group_id = slice_str(c->args[0]);
    request.generation_id_or_member_epoch = GENERATION_NONE;
    request.topics = ctl_alloc(c, n, sizeof *request.topics);
    for (size_t i = 0; i < n; i++) {
        struct kafka_offset_commit_request_topic *t =
            request.n_topics ? &request.topics[request.n_topics - 1] : NULL;
        if (!t || !slice_eq(t->name, ps[i].topic)) {
            t = &request.topics[request.n_topics++];
            SL_ASSERT(t);
            t->name = ps[i].topic;
            t->partitions = &rows[i];
        }
        rows[i] = kafka_offset_commit_request_partition_default;
        rows[i].partition_index = ps[i].index;
        rows[i].committed_offset = ps[i].offset;
        rows[i].committed_metadata = slice_str("");
        t->n_partitions++;
    }
    struct kafka_offset_commit_response answer;
    int failed = ctl_ask(c, node, KAFKA_API_OFFSET_COMMIT, COMMIT_VERSION, &request, &answer);
    return failed ? failed : check_commit(c, &answer);
}

static void print_offsets(struct ctl *c, const struct selection *s, const struct ctl_partition *now)
{
    static const struct out_column columns[] = {{"topic", "TOPIC"},
                                                {"partition", "PARTITION"},
                                                {"before", "BEFORE"},
                                                {"offset", "OFFSET"},
                                                {0}};
    json_t *rows = json_array();
    for (size_t i = 0; i < s->n; i++) {
        json_t *row = json_pack("{s:o, s:i, s:I}", "topic", out_text(now[i].topic), "partition",
                                now[i].index, "offset", (json_int_t)now[i].offset);
        json_object_set_new(row, "before",
                            s->ps[i].offset < 0 ? json_null() : json_integer(s->ps[i].offset));
        json_array_append_new(rows, row);
    }
    out_rows(c, rows, columns, "");
}

int ctl_group_reset_offsets(struct ctl *c)
{
    struct target target = {0};
    struct selection s = {0};
    struct ctl_partition *offsets = NULL;
    int32_t node = CLIENT_ANY_NODE;
    int failed = parse_target(c, &target);
    if (!failed)
        failed = find_coordinator(c, c->args[0], &node);
    if (!failed)
        failed = select_partitions(c, node, &s);
    if (!failed)
        failed = compute(c, target, &s, &offsets);
    if (!failed && !ctl_flag(c, "dry-run"))
        failed = commit(c, node, offsets, s.n);
    if (!failed)
        print_offsets(c, &s, offsets);
    return failed;
}
