#include "ctl/grpc.h"
#include "ctl/output.h"
#include "proto/sluice.pb-c.h"

#include <stdio.h>

enum { NAME_WIDTH = 40, TIME_WIDTH = 20, RULE_WIDTH = 62 };

struct listing {
    struct ctl_grpc g;
    json_t *topics;
};

static void on_message(void *user, const ProtobufCMessage *m)
{
    struct listing *l = user;
    const Sluice__V1__ListTopicsResponse *answer = (const Sluice__V1__ListTopicsResponse *)m;
    for (size_t i = 0; i < answer->n_topics; i++)
        json_array_append_new(l->topics,
                              json_pack("{s:s, s:I}", "name", answer->topics[i]->name, "created_at",
                                        (json_int_t)answer->topics[i]->created_at));
}

static void on_end(void *user, enum grpc_status status, const char *text)
{
    struct listing *l = user;
    int failed = status == GRPC_OK ? CTL_OK : ctl_grpc_refused(l->g.c, "topics list", status, text);
    ctl_grpc_finish(&l->g, failed);
}

static void begin(struct ctl_grpc *g)
{
    static const struct grpc_client_call_ops ops = {on_message, on_end};
    struct listing *l = SL_CONTAINER_OF(g, struct listing, g);
    Sluice__V1__ListTopicsRequest m;
    sluice__v1__list_topics_request__init(&m);
    struct grpc_client_request r = {.path = "/sluice.v1.Sluice/ListTopics",
                                    .response = &sluice__v1__list_topics_response__descriptor,
                                    .timeout_ms = ctl_timeout_ms(g->c),
                                    .ops = &ops,
                                    .user = l};
    if (!grpc_client_unary(g->client, &r, &m.base))
        ctl_grpc_finish(g, ctl_fail(g->c, "topics list: the connection was closed"));
}

static void print_rule(void)
{
    for (int i = 0; i < RULE_WIDTH; i++)
        (void)putchar('-');
    (void)putchar('\n');
}

static void print_table(const json_t *topics)
{
    size_t i;
    json_t *topic;
    if (json_array_size(topics) == 0) {
        printf("No topics found.\n");
        return;
    }
    printf("%-*s  %*s\n", NAME_WIDTH, "TOPIC", TIME_WIDTH, "CREATED AT");
    print_rule();
    json_array_foreach(topics, i, topic)
    {
        char created[32] = "-";
        json_int_t ms = json_integer_value(json_object_get(topic, "created_at"));
        if (ms)
            (void)snprintf(created, sizeof created, "%lld", (long long)ms / 1000);
        printf("%-*s  %*s\n", NAME_WIDTH, json_string_value(json_object_get(topic, "name")),
               TIME_WIDTH, created);
    }
    printf("\nTotal: %zu topic(s)\n", json_array_size(topics));
}

int ctl_topics_list(struct ctl *c)
{
    struct listing l = {.g.on_ready = begin, .topics = json_array()};
    int status = ctl_grpc_run(c, &l.g);
    json_t *result =
        json_pack("{s:O, s:I}", "topics", l.topics, "total", (json_int_t)json_array_size(l.topics));
    if (status == CTL_OK && !out_json(c, result))
        print_table(l.topics);
    json_decref(result);
    json_decref(l.topics);
    return status;
}

int ctl_list_topics(struct ctl *c)
{
    return ctl_topics_list(c);
}
