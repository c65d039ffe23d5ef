/* The calls of group members, from the door to the state machine and back. */
#include "broker/groups_int.h"

/* ---- join ----------------------------------------------------------------------------------- */

static struct group *group_of(struct group_call *c)
{
    return groups__find(groups__of(c), &c->call.who->org, c->group);
}

static void cancel_join(struct broker_call *call)
{
    struct broker_group_join *j = SL_CONTAINER_OF(call, struct broker_group_join, head.call);
    struct group *g = group_of(&j->head);
    group_cancel_join(g, j);
    groups__end_step(groups__of(&j->head), g);
}

static sl_err check_join(struct broker_group_join *j)
{
    const struct broker_cfg *cfg = &j->head.call.broker->cfg;
    SL_TRY(groups__admit(&j->head, OPERATION_READ, false));
    if (j->session_timeout_ms < cfg->group_session_min_ms ||
        j->session_timeout_ms > cfg->group_session_max_ms)
        return SL_ESESSION_TIMEOUT;
    return SL_OK;
}

/* Only a member that is new to us makes a group; an id for a group that is gone is unknown. */
static sl_err join_group(struct broker_group_join *j, struct group **ret)
{
    SL_TRY(check_join(j));
    *ret = group_of(&j->head);
    if (*ret && (*ret)->n_streams)
        return SL_EGROUP_PROTOCOL; /* its messages are shared by streams */
    if (!j->member_id.len)
        return groups__make(groups__of(&j->head), &j->head.call.who->org, j->head.group, ret);
    return *ret ? SL_OK : SL_EMEMBER;
}

static void run_join(struct broker_call *call)
{
    struct broker_group_join *j = SL_CONTAINER_OF(call, struct broker_group_join, head.call);
    struct group_state *gs = groups__of(&j->head);
    struct group *g;
    sl_err err = join_group(j, &g);
    if (err != SL_OK) {
        j->generation = -1;
        j->ret_member_id = j->member_id;
        groups__answer(gs, &j->head, err);
        return;
    }
    call->cancel = cancel_join;
    group_join(g, j, groups__now_ms(gs));
    groups__end_step(gs, g);
}

void broker_group_join_init(struct broker_group_join *j)
{
    j->head.call.run = run_join;
}

/* ---- sync ----------------------------------------------------------------------------------- */

static void cancel_sync(struct broker_call *call)
{
    struct broker_group_sync *s = SL_CONTAINER_OF(call, struct broker_group_sync, head.call);
    struct group_state *gs = groups__of(&s->head);
    struct group *g = group_of(&s->head);
    group_cancel_sync(g, s, groups__now_ms(gs));
    groups__end_step(gs, g);
}

/* SL_EMEMBER: the group is not there, so its member is not either. */
static sl_err member_group(struct group_call *c, struct group **ret)
{
    SL_TRY(groups__admit(c, OPERATION_READ, false));
    *ret = group_of(c);
    return *ret ? SL_OK : SL_EMEMBER;
}

static void run_sync(struct broker_call *call)
{
    struct broker_group_sync *s = SL_CONTAINER_OF(call, struct broker_group_sync, head.call);
    struct group_state *gs = groups__of(&s->head);
    struct group *g;
    sl_err err = member_group(&s->head, &g);
    if (err != SL_OK) {
        groups__answer(gs, &s->head, err);
        return;
    }
    call->cancel = cancel_sync;
    group_sync(g, s, groups__now_ms(gs));
    groups__end_step(gs, g);
}

void broker_group_sync_init(struct broker_group_sync *s)
{
    s->head.call.run = run_sync;
}

/* ---- heartbeat, leave ----------------------------------------------------------------------- */

static void run_heartbeat(struct broker_call *call)
{
    struct broker_group_heartbeat *h =
        SL_CONTAINER_OF(call, struct broker_group_heartbeat, head.call);
    struct group_state *gs = groups__of(&h->head);
    struct group *g;
    sl_err err = member_group(&h->head, &g);
    if (err == SL_OK) {
        err = group_heartbeat(g, h, groups__now_ms(gs));
        groups__end_step(gs, g);
    }
    groups__answer(gs, &h->head, err);
}

void broker_group_heartbeat_init(struct broker_group_heartbeat *h)
{
    h->head.call.run = run_heartbeat;
}

/* Without a group each leaver is unknown, and the call itself went well: as Kafka. */
static void run_leave(struct broker_call *call)
{
    struct broker_group_leave *l = SL_CONTAINER_OF(call, struct broker_group_leave, head.call);
    struct group_state *gs = groups__of(&l->head);
    struct group *g = NULL;
    sl_err err = member_group(&l->head, &g);
    for (uint32_t i = 0; i < l->n_leavers; i++)
        l->leavers[i].err = SL_EMEMBER;
    if (err == SL_OK)
        group_leave(g, l->leavers, l->n_leavers, groups__now_ms(gs));
    if (g)
        groups__end_step(gs, g);
    groups__answer(gs, &l->head, err == SL_EMEMBER ? SL_OK : err);
}

void broker_group_leave_init(struct broker_group_leave *l)
{
    l->head.call.run = run_leave;
}
