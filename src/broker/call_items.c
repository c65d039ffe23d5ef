#include "broker/call_items_int.h"

bool items__begin(struct call_items *i, struct broker_call *c, uint32_t n, sl_err *ret_err)
{
    struct broker *b = c->broker;
    SL_ASSERT(loop_is_current(b->env.loop));
    if (b->closing) {
        *ret_err = SL_ECLOSED;
        broker_finish(c);
        return false;
    }
    topics__enter(b);
    *i = (struct call_items){.call = c, .arena = arena_new(NULL), .left = n + 1};
    return true;
}

void items__end(struct call_items *i)
{
    struct broker *b = i->call->broker;
    SL_ASSERT(i->left > 0);
    if (--i->left)
        return;
    broker_finish(i->call);
    topics__leave(b);
}

const char *items__text(struct call_items *i, const char *text)
{
    return text[0] ? arena_strndup(i->arena, text, strlen(text)) : NULL;
}

void *items__first(struct map *seen, struct slice key, void *item)
{
    void *first = map_get(seen, key.data, key.len);
    if (!first)
        (void)map_put(seen, key.data, key.len, item, NULL); /* has room */
    return first;
}

void items__free(struct call_items *i)
{
    arena_free(i->arena);
    i->arena = NULL;
}
