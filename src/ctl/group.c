#include "base/buf.h"
#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"

#include <stdio.h>

/* ---- list
 * -------------------------------------------------------------------------------------------- */

static json_t *group_row(const struct kafka_list_groups_response_listed_group *g)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "group", out_text(g->group_id), "state",
                     out_text(g->group_state), "protocol", out_text(g->protocol_type), "type",
                     out_text(g->group_type));
}

int ctl_group_list(struct ctl *c)
{
    static const struct out_column columns[] = {
        {"group", "GROUP"}, {"state", "STATE"}, {"protocol", "PROTOCOL"}, {0}};
    int failed = ctl_connect(c);
    json_t *rows = json_array();
    for (size_t i = 0; !failed && i < client_n_nodes(c->client); i++) {
        struct kafka_list_groups_response answer;
        failed = ctl_ask(c, client_node(c->client, i).id, KAFKA_API_LIST_GROUPS,
                         CLIENT_VERSION_NEWEST, &kafka_list_groups_request_default, &answer);
        if (!failed && answer.error_code)
            failed = ctl_refused(c, "group list", answer.error_code, (struct slice){0});
        for (uint32_t k = 0; !failed && k < answer.n_groups; k++)
            json_array_append_new(rows, group_row(&answer.groups[k]));
    }
    if (failed)
        json_decref(rows);
    else
        out_rows(c, rows, columns, "there are no groups");
    return failed;
}

/* ---- describe
 * ---------------------------------------------------------------------------------------- */

enum { ASSIGNMENT_TOPIC_BYTES_MIN = 6, ASSIGNED_TEXT_BYTES = 65536 };

/* "orders:0,1 payments:3" of a consumer's assignment; what is not one gives nothing. */
static const char *assigned(struct ctl *c, struct slice assignment)
{
    struct reader in = reader_over(assignment, c->arena, assignment.len * 8);
    struct buf text;
    buf_init(&text, ASSIGNED_TEXT_BYTES);
    (void)read_i16(&in); /* version: all begin alike */
    uint32_t n = read_array_len(&in, ASSIGNMENT_TOPIC_BYTES_MIN);
    for (uint32_t i = 0; reader_ok(&in) && i < n; i++) {
        struct slice topic = kafka_read_string(&in, false, false);
        uint32_t n_partitions = read_array_len(&in, sizeof(int32_t));
        (void)buf_printf(&text, "%s%.*s", i ? " " : "", (int)topic.len, (const char *)topic.data);
        for (uint32_t k = 0; reader_ok(&in) && k < n_partitions; k++)
            (void)buf_printf(&text, "%c%d", k ? ',' : ':', read_i32(&in));
    }
    const char *copy =
        text_of(c, reader_ok(&in) ? slice_of(text.data, text.len) : (struct slice){0});
    buf_fini(&text);
    return copy;
}

static json_t *members_of(struct ctl *c,
                          const struct kafka_describe_groups_response_described_group *g)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < g->n_members; i++) {
        const struct kafka_describe_groups_response_described_group_member *m = &g->members[i];
        json_t *row = json_pack("{s:o, s:o, s:o, s:s}", "member", out_text(m->member_id), "client",
                                out_text(m->client_id), "host", out_text(m->client_host),
                                "assigned", assigned(c, m->member_assignment));
        out_bytes(row, "instance", m->group_instance_id);
        json_array_append_new(rows, row);
    }
    return rows;
}

/* The leaders of committed partitions; a topic that is gone keeps CLIENT_ANY_NODE. */
static int find_leaders(struct ctl *c, struct ctl_partition *ps, size_t n)
{
    struct kafka_metadata_response answer;
    int failed = topic_metadata(c, NULL, 0, &answer);
    for (uint32_t i = 0; !failed && i < answer.n_topics; i++) {
        const struct kafka_metadata_response_topic *t = &answer.topics[i];
        for (size_t k = 0; k < n; k++)
            for (uint32_t p = 0; slice_eq(t->name, ps[k].topic) && p < t->n_partitions; p++)
                if (t->partitions[p].partition_index == ps[k].index)
                    ps[k].leader = t->partitions[p].leader_id;
    }
    return failed;
}

static int offsets_of(struct ctl *c, int32_t node, const char *group, json_t *ret)
{
    struct ctl_partition *committed;
    size_t n = 0;
    int failed = committed_offsets(c, node, group, &committed, &n);
    if (!failed && n)
        failed = find_leaders(c, committed, n);
    if (failed)
        return failed;
    struct ctl_partition *ends = ctl_alloc(c, n, sizeof *ends);
    size_t n_ends = 0;
    for (size_t i = 0; i < n; i++)
        if (committed[i].leader != CLIENT_ANY_NODE)
            ends[n_ends++] = committed[i];
    failed = list_offsets(c, ends, n_ends, OFFSET_LATEST);
    for (size_t i = 0, e = 0; !failed && i < n; i++) {
        json_t *row =
            json_pack("{s:o, s:i, s:I}", "topic", out_text(committed[i].topic), "partition",
                      committed[i].index, "committed", (json_int_t)committed[i].offset);
        bool exists = committed[i].leader != CLIENT_ANY_NODE;
        int64_t end = exists ? ends[e++].offset : -1;
        json_object_set_new(row, "end", exists ? json_integer(end) : json_null());
        json_object_set_new(row, "lag",
                            exists ? json_integer(end - committed[i].offset) : json_null());
        json_array_append_new(ret, row);
    }
    return failed;
}

static void print_group(const json_t *group)
{
    static const struct out_column members[] = {{"member", "MEMBER"},
                                                {"client", "CLIENT"},
                                                {"host", "HOST"},
                                                {"assigned", "ASSIGNED"},
                                                {0}};
    static const struct out_column offsets[] = {{"topic", "TOPIC"},
                                                {"partition", "PARTITION"},
                                                {"committed", "COMMITTED"},
                                                {"end", "END"},
                                                {"lag", "LAG"},
                                                {0}};
    printf("Group %s, %s\n\n", json_string_value(json_object_get(group, "group")),
           json_string_value(json_object_get(group, "state")));
    out_table(json_object_get(group, "members"), members, "no members");
    printf("\n");
    out_table(json_object_get(group, "offsets"), offsets, "no committed offsets");
}

static int ask_group(struct ctl *c, int32_t node,
                     const struct kafka_describe_groups_response_described_group **ret)
{
    struct slice name = slice_str(c->args[0]);
    struct kafka_describe_groups_request request = {.n_groups = 1, .groups = &name};
    struct kafka_describe_groups_response *answer = ctl_alloc(c, 1, sizeof *answer);
    int failed =
        ctl_ask(c, node, KAFKA_API_DESCRIBE_GROUPS, CLIENT_VERSION_NEWEST, &request, answer);
    if (failed)
        return failed;
    if (answer->n_groups != 1)
        return ctl_fail(c, "the broker answered for %u groups instead of one", answer->n_groups);
    *ret = &answer->groups[0];
    if ((*ret)->error_code)
        return ctl_refused(c, c->args[0], (*ret)->error_code, (*ret)->error_message);
    if (slice_eq_str((*ret)->group_state, "Dead"))
        return ctl_refused(c, c->args[0], KAFKA_ERR_GROUP_ID_NOT_FOUND, (struct slice){0});
    return CTL_OK;
}

int ctl_group_describe(struct ctl *c)
{
    int32_t node = CLIENT_ANY_NODE;
    const struct kafka_describe_groups_response_described_group *g = NULL;
    int failed = find_coordinator(c, c->args[0], &node);
    if (!failed)
        failed = ask_group(c, node, &g);
    if (failed)
        return failed;
    SL_ASSERT(g);
    json_t *offsets = json_array();
    json_t *group =
        json_pack("{s:o, s:o, s:o, s:i, s:o, s:o}", "group", out_text(g->group_id), "state",
                  out_text(g->group_state), "protocol", out_text(g->protocol_data), "coordinator",
                  node, "members", members_of(c, g), "offsets", offsets);
    failed = offsets_of(c, node, c->args[0], offsets);
    if (!failed && !out_json(c, group))
        print_group(group);
    json_decref(group);
    return failed;
}

/* ---- delete
 * ------------------------------------------------------------------------------------------ */

static int delete_group(struct ctl *c, const char *name)
{
    int32_t node = CLIENT_ANY_NODE;
    int failed = find_coordinator(c, name, &node);
    if (failed)
        return failed;
    struct slice group = slice_str(name);
    struct kafka_delete_groups_request request = {.n_groups_names = 1, .groups_names = &group};
    struct kafka_delete_groups_response answer;
    failed = ctl_ask(c, node, KAFKA_API_DELETE_GROUPS, CLIENT_VERSION_NEWEST, &request, &answer);
    if (!failed && answer.n_results == 1 && answer.results[0].error_code)
        failed = ctl_refused(c, name, answer.results[0].error_code, (struct slice){0});
    return failed;
}

int ctl_group_delete(struct ctl *c)
{
    int status = CTL_OK;
    for (int i = 0; i < c->n_args && status != CTL_UNREACHABLE; i++) {
        int failed = delete_group(c, c->args[i]);
        status = failed ? failed : status;
    }
    return status;
}
