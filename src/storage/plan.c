#include "storage/plan_int.h"

int32_t plan__sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)n) & INT32_MAX);
}

static struct plan_verdict refuse(sl_err err)
{
    return (struct plan_verdict){.err = err, .base_offset = -1};
}

static const struct produced *find_repeat(const struct produced_window *w, int32_t base_sequence,
                                          int32_t last_sequence)
{
    for (int i = w->n - 1; i >= 0; i--)
        if (w->batch[i].base_sequence == base_sequence &&
            w->batch[i].last_sequence == last_sequence)
            return &w->batch[i];
    return NULL;
}

/* The last five batches of the current epoch, or a few more while some are under way. */
static const struct produced *find_duplicate(const struct producer *p,
                                             const struct batch_info *info)
{
    int32_t last = plan__sequence_add(info->base_sequence, info->last_offset_delta);
    if (p->planned_count == 0)
        return find_repeat(&p->done, info->base_sequence, last);
    const struct produced *hit = find_repeat(&p->planned, info->base_sequence, last);
    if (hit || p->done.epoch != p->planned.epoch)
        return hit;
    return find_repeat(&p->done, info->base_sequence, last);
}

/* Half of the ring of 2^31 sequences is "before". */
static bool is_older(int32_t sequence, int32_t last_sequence)
{
    uint32_t behind = ((uint32_t)last_sequence - (uint32_t)sequence) & INT32_MAX;
    return behind < (1u << 30);
}

static struct plan_verdict check_known(const struct producer *p, const struct batch_info *info,
                                       int64_t next_offset)
{
    const struct produced_window *now = p->planned_count ? &p->planned : &p->done;
    struct plan_verdict accept = {.base_offset = next_offset};
    if (info->producer_epoch < now->epoch)
        return refuse(SL_EPRODUCER_FENCED);
    if (info->producer_epoch > now->epoch)
        return info->base_sequence == 0 ? accept : refuse(SL_ESEQ);
    const struct produced *original = find_duplicate(p, info);
    if (original)
        return (struct plan_verdict){.duplicate = true, .base_offset = original->base_offset};
    int32_t last = now->batch[now->n - 1].last_sequence;
    if (info->base_sequence == plan__sequence_add(last, 1))
        return accept;
    return refuse(is_older(info->base_sequence, last) ? SL_ESEQ_OLD : SL_ESEQ);
}

struct plan_verdict plan__batch(const struct producer *p, const struct batch_info *info,
                                int64_t next_offset)
{
    if (info->producer_id < 0 || !p || (p->planned_count == 0 && p->done.n == 0))
        return (struct plan_verdict){.base_offset = next_offset};
    return check_known(p, info, next_offset);
}
