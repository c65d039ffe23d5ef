#include "ctl/lookup.h"

#include "kafka_codec/errors.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIST_OFFSETS_VERSION = 7, OFFSET_FETCH_VERSION = 7, FIND_COORDINATOR_VERSION = 3 };

const char *text_of(struct ctl *c, struct slice s)
{
    char *text = ctl_alloc(c, s.len + 1, 1);
    if (s.len)
        memcpy(text, s.data, s.len);
    return text;
}

/* ---- topics
 * ------------------------------------------------------------------------------------------ */

int topic_metadata(struct ctl *c, const char *const *names, size_t n,
                   struct kafka_metadata_response *ret)
{
    struct kafka_metadata_request request = kafka_metadata_request_default;
    request.allow_auto_topic_creation = false;
    request.topics_is_null = !names;
    request.n_topics = (uint32_t)n;
    request.topics = ctl_alloc(c, n, sizeof *request.topics);
    for (size_t i = 0; i < n; i++)
        request.topics[i].name = slice_str(names[i]);
    return ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_METADATA, CLIENT_VERSION_NEWEST, &request, ret);
}

static int by_index(const void *a, const void *b)
{
    const struct ctl_partition *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

int topic_partitions(struct ctl *c, const char *name, struct ctl_partition **ret, size_t *ret_n)
{
    struct kafka_metadata_response answer;
    int failed = topic_metadata(c, &name, 1, &answer);
    if (failed)
        return failed;
    if (answer.n_topics != 1)
        return ctl_fail(c, "the broker answered for %u topics instead of one", answer.n_topics);
    const struct kafka_metadata_response_topic *t = &answer.topics[0];
    if (t->error_code)
        return ctl_refused(c, name, t->error_code, (struct slice){0});
    *ret = ctl_alloc(c, t->n_partitions, sizeof **ret);
    *ret_n = t->n_partitions;
    for (uint32_t i = 0; i < t->n_partitions; i++)
        (*ret)[i] = (struct ctl_partition){t->name, t->partitions[i].partition_index,
                                           t->partitions[i].leader_id, -1};
    qsort(*ret, *ret_n, sizeof **ret, by_index);
    return CTL_OK;
}

/* ---- offsets
 * ----------------------------------------------------------------------------------------- */

/* The partitions that `leader` has, with those of one topic together when they stand together. */
static void build_list_offsets(struct ctl *c, const struct ctl_partition *ps, size_t n,
                               int32_t leader, int64_t timestamp,
                               struct kafka_list_offsets_request *ret)
{
    ret->topics = ctl_alloc(c, n, sizeof *ret->topics);
    struct kafka_list_offsets_request_partition *rows = ctl_alloc(c, n, sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        if (ps[i].leader != leader)
            continue;
        struct kafka_list_offsets_request_topic *t =
            ret->n_topics ? &ret->topics[ret->n_topics - 1] : NULL;
        if (!t || !slice_eq(t->name, ps[i].topic)) {
            t = &ret->topics[ret->n_topics++];
            SL_ASSERT(t);
            t->name = ps[i].topic;
            t->partitions = rows;
        }
        *rows = kafka_list_offsets_request_partition_default;
        rows->partition_index = ps[i].index;
        rows->timestamp = timestamp;
        rows++;
        t->n_partitions++;
    }
}

static struct ctl_partition *find_partition(struct ctl_partition *ps, size_t n, struct slice topic,
                                            int32_t index)
{
    for (size_t i = 0; i < n; i++)
        if (ps[i].index == index && slice_eq(ps[i].topic, topic))
            return &ps[i];
    return NULL;
}

static int take_offsets(struct ctl *c, struct ctl_partition *ps, size_t n,
                        const struct kafka_list_offsets_response_topic_response *t)
{
    for (uint32_t k = 0; k < t->n_partitions; k++) {
        const struct kafka_list_offsets_response_partition_response *a = &t->partitions[k];
        struct ctl_partition *p = find_partition(ps, n, t->name, a->partition_index);
        if (a->error_code) {
            char what[300];
            (void)snprintf(what, sizeof what, "%.*s partition %d", (int)t->name.len,
                           (const char *)t->name.data, a->partition_index);
            return ctl_refused(c, what, a->error_code, (struct slice){0});
        }
        if (p)
            p->offset = a->offset;
    }
    return CTL_OK;
}

static int list_offsets_of(struct ctl *c, struct ctl_partition *ps, size_t n, int32_t leader,
                           int64_t timestamp)
{
    struct kafka_list_offsets_request request = kafka_list_offsets_request_default;
    request.replica_id = -1;
    build_list_offsets(c, ps, n, leader, timestamp, &request);
    struct kafka_list_offsets_response answer;
    int failed =
        ctl_ask(c, leader, KAFKA_API_LIST_OFFSETS, LIST_OFFSETS_VERSION, &request, &answer);
    for (uint32_t i = 0; !failed && i < answer.n_topics; i++)
        failed = take_offsets(c, ps, n, &answer.topics[i]);
    return failed;
}

static bool is_first_of_leader(const struct ctl_partition *ps, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (ps[k].leader == ps[i].leader)
            return false;
    return true;
}

int list_offsets(struct ctl *c, struct ctl_partition *partitions, size_t n, int64_t timestamp)
{
    int failed = CTL_OK;
    for (size_t i = 0; !failed && i < n; i++)
        if (is_first_of_leader(partitions, i))
            failed = list_offsets_of(c, partitions, n, partitions[i].leader, timestamp);
    return failed;
}

/* ---- groups
 * ------------------------------------------------------------------------------------------ */

int find_coordinator(struct ctl *c, const char *group, int32_t *ret_node)
{
    struct kafka_find_coordinator_request request = kafka_find_coordinator_request_default;
    request.key = slice_str(group);
    struct kafka_find_coordinator_response answer;
    int failed = ctl_ask(c, CLIENT_ANY_NODE, KAFKA_API_FIND_COORDINATOR, FIND_COORDINATOR_VERSION,
                         &request, &answer);
    if (failed)
        return failed;
    if (answer.error_code)
        return ctl_refused(c, group, answer.error_code, answer.error_message);
    *ret_node = answer.node_id;
    return CTL_OK;
}

static int take_committed(struct ctl *c, const struct kafka_offset_fetch_response *answer,
                          struct ctl_partition **ret, size_t *ret_n)
{
    size_t n = 0;
    for (uint32_t i = 0; i < answer->n_topics; i++)
        n += answer->topics[i].n_partitions;
    *ret = ctl_alloc(c, n, sizeof **ret);
    *ret_n = 0;
    for (uint32_t i = 0; i < answer->n_topics; i++) {
        const struct kafka_offset_fetch_response_topic *t = &answer->topics[i];
        for (uint32_t k = 0; k < t->n_partitions; k++) {
            const struct kafka_offset_fetch_response_partition *p = &t->partitions[k];
            if (p->error_code)
                return ctl_refused(c, text_of(c, t->name), p->error_code, (struct slice){0});
            if (p->committed_offset >= 0)
                (*ret)[(*ret_n)++] = (struct ctl_partition){t->name, p->partition_index,
                                                            CLIENT_ANY_NODE, p->committed_offset};
        }
    }
    return CTL_OK;
}

int committed_offsets(struct ctl *c, int32_t node, const char *group, struct ctl_partition **ret,
                      size_t *ret_n)
{
    struct kafka_offset_fetch_request request = kafka_offset_fetch_request_default;
    request.group_id = slice_str(group);
    request.topics_is_null = true;
    struct kafka_offset_fetch_response answer;
    int failed = ctl_ask(c, node, KAFKA_API_OFFSET_FETCH, OFFSET_FETCH_VERSION, &request, &answer);
    if (failed)
        return failed;
    if (answer.error_code)
        return ctl_refused(c, group, answer.error_code, (struct slice){0});
    return take_committed(c, &answer, ret, ret_n);
}
