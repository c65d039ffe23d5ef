#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"

#include <stdio.h>

struct totals {
    json_int_t topics, partitions, offline, bytes, groups, groups_with_members;
    json_int_t free_bytes; /* -1: no broker says */
    bool has_sizes;
};

static int count_topics(struct ctl *c, struct totals *ret)
{
    struct kafka_metadata_response answer;
    int failed = topic_metadata(c, NULL, 0, &answer);
    for (uint32_t i = 0; !failed && i < answer.n_topics; i++) {
        ret->topics++;
        ret->partitions += answer.topics[i].n_partitions;
        for (uint32_t k = 0; k < answer.topics[i].n_partitions; k++)
            ret->offline += answer.topics[i].partitions[k].leader_id < 0;
    }
    return failed;
}

static int add_sizes(struct ctl *c, int32_t node, struct totals *ret)
{
    struct kafka_describe_log_dirs_request request = {.topics_is_null = true};
    struct kafka_describe_log_dirs_response answer;
    int failed =
        ctl_ask(c, node, KAFKA_API_DESCRIBE_LOG_DIRS, CLIENT_VERSION_NEWEST, &request, &answer);
    for (uint32_t d = 0; !failed && d < answer.n_results; d++) {
        const struct kafka_describe_log_dirs_response_result *dir = &answer.results[d];
        ret->has_sizes = true;
        if (dir->usable_bytes >= 0)
            ret->free_bytes = SL_MAX(ret->free_bytes, 0) + dir->usable_bytes;
        for (uint32_t t = 0; t < dir->n_topics; t++)
            for (uint32_t p = 0; p < dir->topics[t].n_partitions; p++)
                ret->bytes += dir->topics[t].partitions[p].partition_size;
    }
    return failed;
}

static int add_groups(struct ctl *c, int32_t node, struct totals *ret)
{
    struct kafka_list_groups_response answer;
    int failed = ctl_ask(c, node, KAFKA_API_LIST_GROUPS, CLIENT_VERSION_NEWEST,
                         &kafka_list_groups_request_default, &answer);
    for (uint32_t i = 0; !failed && i < answer.n_groups; i++) {
        ret->groups++;
        ret->groups_with_members += !slice_eq_str(answer.groups[i].group_state, "Empty");
    }
    return failed;
}

static json_t *brokers_of(const struct client *client)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < client_n_nodes(client); i++) {
        struct client_node node = client_node(client, i);
        json_array_append_new(rows, json_pack("{s:i, s:s, s:i, s:b}", "broker", node.id, "host",
                                              node.host, "port", node.port, "controller",
                                              node.id == client_controller(client)));
    }
    return rows;
}

static void print(const struct ctl *c, const json_t *brokers, const struct totals *t)
{
    static const struct out_column columns[] = {{"broker", "BROKER"},
                                                {"host", "HOST"},
                                                {"port", "PORT"},
                                                {"controller", "CONTROLLER"},
                                                {0}};
    char size[32], left[32];
    out_size(t->bytes, size);
    out_size(SL_MAX(t->free_bytes, 0), left);
    printf("Cluster %s\n\n", client_cluster_id(c->client));
    out_table(brokers, columns, "no brokers");
    printf("\nTopics      %lld with %lld partitions, %lld of them without a leader\n",
           (long long)t->topics, (long long)t->partitions, (long long)t->offline);
    printf("Groups      %lld, %lld of them with members\n", (long long)t->groups,
           (long long)t->groups_with_members);
    if (t->has_sizes)
        printf("Log         %s%s%s%s\n", size, t->free_bytes >= 0 ? ", " : "",
               t->free_bytes >= 0 ? left : "", t->free_bytes >= 0 ? " free on the disk" : "");
}

int ctl_status(struct ctl *c)
{
    struct totals t = {.free_bytes = -1};
    int failed = ctl_connect(c);
    if (!failed)
        failed = count_topics(c, &t);
    for (size_t i = 0; !failed && i < client_n_nodes(c->client); i++) {
        int32_t node = client_node(c->client, i).id;
        failed = add_sizes(c, node, &t);
        if (!failed)
            failed = add_groups(c, node, &t);
    }
    if (failed)
        return failed;
    json_t *brokers = brokers_of(c->client);
    json_t *all = json_pack(
        "{s:s, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "cluster", client_cluster_id(c->client),
        "brokers", brokers, "topics", t.topics, "partitions", t.partitions, "offline_partitions",
        t.offline, "groups", t.groups, "groups_with_members", t.groups_with_members, "log_bytes",
        t.bytes, "free_bytes", t.free_bytes < 0 ? json_null() : json_integer(t.free_bytes));
    if (!out_json(c, all))
        print(c, brokers, &t);
    json_decref(all);
    json_decref(brokers);
    return CTL_OK;
}
