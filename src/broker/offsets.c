#include "broker/offsets.h"

#include "broker/broker_int.h"

static sl_err check_leader_epoch(int32_t asked, const struct log_part_state *state)
{
    if (asked >= 0 && asked < state->leader_epoch)
        return SL_ELEADER_FENCED;
    return asked > state->leader_epoch ? SL_ELEADER_UNKNOWN : SL_OK;
}

static sl_err find_log(struct broker_call *c, struct slice topic, int32_t index,
                       int32_t current_leader_epoch, struct log_part **ret,
                       struct log_part_state *ret_state)
{
    struct topic *t = broker__topic(c->broker, &c->who->org, topic);
    if (c->broker->closing)
        return SL_ECLOSED;
    if (!t)
        return SL_ETOPIC;
    SL_TRY(authorize(c->broker, c->who, OPERATION_DESCRIBE, RESOURCE_TOPIC, t->name));
    struct partition *p = broker__partition(t, index);
    if (!p)
        return SL_ETOPIC;
    log_part_state(c->broker->env.log, p->log, ret_state);
    SL_TRY(check_leader_epoch(current_leader_epoch, ret_state));
    *ret = p->log;
    return SL_OK;
}

/* ---- ListOffsets ------------------------------------------------------------------------------
 */

static void finish_offsets_part(struct broker_offsets_part *part, sl_err err)
{
    struct broker_list_offsets *l = part->request;
    part->err = err;
    SL_ASSERT(l->left > 0);
    if (--l->left == 0)
        broker_finish(&l->call);
}

/* The epoch in which the record at `offset` was or will be written: the first that ends above it.
 */
static int32_t epoch_of(struct log_engine *e, struct log_part *log, int64_t offset, int32_t current)
{
    int32_t low = 0, high = current, found;
    int64_t end;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (log_epoch_end(e, log, middle, &found, &end) == SL_OK && end > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void lookup_done(struct log_lookup *look)
{
    struct broker_offsets_part *part = SL_CONTAINER_OF(look, struct broker_offsets_part, lookup);
    if (look->err == SL_OK && look->offset >= 0) {
        part->offset = look->offset;
        part->found_timestamp_ms = look->found_timestamp_ms;
        part->leader_epoch = look->leader_epoch;
    }
    finish_offsets_part(part, look->err);
}

static void look_up(struct broker_offsets_part *part, struct log_part *log,
                    enum log_lookup_kind kind)
{
    struct log_lookup *look = &part->lookup;
    *look = (struct log_lookup){
        .part = log, .kind = kind, .timestamp_ms = part->timestamp_ms, .done = lookup_done};
    sl_err err = log_lookup(part->request->call.broker->env.log, look);
    if (err == SL_PENDING)
        return;
    look->err = err;
    lookup_done(look);
}

static void answer_offsets_part(struct broker_offsets_part *part, struct log_part *log,
                                const struct log_part_state *state)
{
    struct log_engine *e = part->request->call.broker->env.log;
    switch (part->timestamp_ms) {
    case OFFSET_LATEST:
        part->offset = state->high_watermark;
        part->leader_epoch = state->leader_epoch;
        break;
    case OFFSET_EARLIEST:
    case OFFSET_EARLIEST_LOCAL:
        part->offset = state->log_start;
        part->leader_epoch = epoch_of(e, log, state->log_start, state->leader_epoch);
        break;
    case OFFSET_MAX_TIMESTAMP:
        look_up(part, log, LOG_MAX_TIMESTAMP);
        return;
    case OFFSET_LATEST_TIERED:
    case OFFSET_EARLIEST_PENDING_UPLOAD:
        break; /* nothing is tiered: no offset */
    default:
        if (part->timestamp_ms >= 0) {
            look_up(part, log, LOG_BY_TIMESTAMP);
            return;
        }
        finish_offsets_part(part, SL_EUNSUPPORTED);
        return;
    }
    finish_offsets_part(part, SL_OK);
}

static void run_list_offsets(struct broker_call *c)
{
    struct broker_list_offsets *l = SL_CONTAINER_OF(c, struct broker_list_offsets, call);
    l->left = l->n_parts + 1; /* one for this function */
    for (uint32_t i = 0; i < l->n_parts; i++) {
        struct broker_offsets_part *part = &l->parts[i];
        struct log_part *log;
        struct log_part_state state;
        part->request = l;
        part->offset = part->found_timestamp_ms = -1;
        part->leader_epoch = -1;
        sl_err err =
            find_log(c, part->topic, part->index, part->current_leader_epoch, &log, &state);
        if (err == SL_OK)
            answer_offsets_part(part, log, &state);
        else
            finish_offsets_part(part, err);
    }
    if (--l->left == 0)
        broker_finish(c);
}

void broker_list_offsets_init(struct broker_list_offsets *l)
{
    l->call.run = run_list_offsets;
}

/* ---- OffsetForLeaderEpoch -----------------------------------------------------------------------
 */

static void run_epoch_ends(struct broker_call *c)
{
    struct broker_epoch_ends *e = SL_CONTAINER_OF(c, struct broker_epoch_ends, call);
    for (uint32_t i = 0; i < e->n_parts; i++) {
        struct broker_epoch_part *part = &e->parts[i];
        struct log_part *log;
        struct log_part_state state;
        part->ret_epoch = -1;
        part->end_offset = -1;
        part->err = find_log(c, part->topic, part->index, part->current_leader_epoch, &log, &state);
        if (part->err == SL_OK)
            part->err = log_epoch_end(c->broker->env.log, log, part->epoch, &part->ret_epoch,
                                      &part->end_offset);
    }
    broker_finish(c);
}

void broker_epoch_ends_init(struct broker_epoch_ends *e)
{
    e->call.run = run_epoch_ends;
}
