/* DescribeGroups, ListGroups, DeleteGroups. */
#include "broker/groups_int.h"

static struct group *group_of(struct group_call *c)
{
    return groups__find(groups__of(c), &c->call.who->org, c->group);
}

/* ---- describe ------------------------------------------------------------------------------- */

/* As Kafka: what members sent, and were assigned, is shown of a stable group only. */
static sl_err describe_members(struct broker_group_describe *d, const struct group *g)
{
    bool stable = g->life == GROUP_STABLE;
    if (!g->members.n)
        return SL_OK;
    d->members = arena_alloc(d->answer, g->members.n, sizeof *d->members);
    if (!d->members)
        return SL_ENOMEM;
    d->n_members = g->members.n;
    for (uint32_t i = 0; i < g->members.n; i++) {
        const struct member *m = g->members.items[i];
        struct slice metadata = stable ? member_metadata(m, g->protocol) : (struct slice){0};
        struct slice assignment = stable ? m->assignment : (struct slice){0};
        d->members[i] = (struct group_member_view){
            .member_id = group__keep(d->answer, member_id(m)),
            .instance_id = group__keep(d->answer, member_instance(m)),
            .client_id = group__keep(d->answer, member_client_id(m)),
            .client_host = group__keep(d->answer, member_client_host(m)),
            .metadata = slice_ref(metadata, 0, metadata.len),
            .assignment = slice_ref(assignment, 0, assignment.len),
        };
    }
    return SL_OK;
}

static unsigned allowed_operations(struct broker_group_describe *d, const struct group *g)
{
    unsigned allowed = 0;
    for (int op = OPERATION_READ; op <= OPERATION_IDEMPOTENT_WRITE; op++)
        if (authorize(d->head.call.broker, d->head.call.who, (enum operation)op, RESOURCE_GROUP,
                      g->name) == SL_OK)
            allowed |= 1u << op;
    return allowed;
}

static sl_err describe(struct broker_group_describe *d)
{
    SL_TRY(groups__admit(&d->head, OPERATION_DESCRIBE, true));
    const struct group *g = group_of(&d->head);
    if (!g)
        return SL_EGROUP_MISSING;
    d->life = g->life;
    d->generation = g->generation;
    d->allowed = allowed_operations(d, g);
    d->protocol_type = group__keep(d->answer, g->protocol_type);
    if (g->life == GROUP_STABLE)
        d->protocol = group__keep(d->answer, g->protocol);
    return describe_members(d, g);
}

static void run_describe(struct broker_call *call)
{
    struct broker_group_describe *d =
        SL_CONTAINER_OF(call, struct broker_group_describe, head.call);
    d->answer = arena_new(NULL);
    d->life = GROUP_DEAD;
    groups__answer(groups__of(&d->head), &d->head, describe(d));
}

void broker_group_describe_init(struct broker_group_describe *d)
{
    d->head.call.run = run_describe;
}

void broker_group_describe_fini(struct broker_group_describe *d)
{
    for (uint32_t i = 0; i < d->n_members; i++) {
        slice_unref(&d->members[i].metadata);
        slice_unref(&d->members[i].assignment);
    }
    d->n_members = 0;
    arena_free(SL_TAKE(d->answer));
}

/* ---- list ----------------------------------------------------------------------------------- */

static bool is_listed(const struct broker_group_list *l, const struct group *g)
{
    if (!uuid_equal(&g->org, &l->head.call.who->org))
        return false;
    return !l->lives || (l->lives & 1u << g->life);
}

static sl_err list(struct broker_group_list *l)
{
    struct group_state *gs = groups__of(&l->head);
    if (gs->broker->closing)
        return SL_ECLOSED;
    SL_TRY(authorize(gs->broker, l->head.call.who, OPERATION_DESCRIBE, RESOURCE_CLUSTER, NULL));
    l->rows = arena_alloc(l->answer, map_count(gs->by_name), sizeof *l->rows);
    if (!l->rows)
        return map_count(gs->by_name) ? SL_ENOMEM : SL_OK;
    LIST_FOREACH (node, &gs->all) {
        const struct group *g = SL_CONTAINER_OF(node, struct group, node);
        if (!is_listed(l, g))
            continue;
        l->rows[l->n_rows++] = (struct group_row){
            .group = group__keep(l->answer, slice_of(g->name, g->name_len)),
            .protocol_type = group__keep(l->answer, g->protocol_type),
            .life = g->life,
        };
    }
    return SL_OK;
}

static void run_list(struct broker_call *call)
{
    struct broker_group_list *l = SL_CONTAINER_OF(call, struct broker_group_list, head.call);
    l->answer = arena_new(NULL);
    groups__answer(groups__of(&l->head), &l->head, list(l));
}

void broker_group_list_init(struct broker_group_list *l)
{
    l->head.call.run = run_list;
}

void broker_group_list_fini(struct broker_group_list *l)
{
    arena_free(SL_TAKE(l->answer));
}

/* ---- delete --------------------------------------------------------------------------------- */

static sl_err start_delete(struct broker_group_delete *d)
{
    SL_TRY(groups__admit(&d->head, OPERATION_DELETE, true));
    struct group *g = group_of(&d->head);
    if (!g)
        return SL_EGROUP_MISSING;
    if (g->life != GROUP_EMPTY || g->n_streams)
        return SL_EGROUP_NOT_EMPTY;
    return groups__delete(groups__of(&d->head), g, &d->head);
}

static void run_delete(struct broker_call *call)
{
    struct broker_group_delete *d = SL_CONTAINER_OF(call, struct broker_group_delete, head.call);
    sl_err err = start_delete(d);
    if (err != SL_OK)
        groups__answer(groups__of(&d->head), &d->head, err);
}

void broker_group_delete_init(struct broker_group_delete *d)
{
    d->head.call.run = run_delete;
}
