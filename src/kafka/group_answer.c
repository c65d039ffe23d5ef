#include "kafka/group_answer.h"

#include "kafka/kafka_int.h"
#include "kafka_codec/errors.h"

#include <stdio.h>

static bool may_go_away(sl_err err)
{
    switch (sl_err_class(err)) {
    case SL_CLASS_RESOURCE:
    case SL_CLASS_ENV:
        return true;
    default:
        return false;
    }
}

int16_t kafka__group_error(sl_err err)
{
    if (err == SL_EDENIED)
        return KAFKA_ERR_GROUP_AUTHORIZATION_FAILED;
    if (may_go_away(err))
        return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    return kafka_error(err);
}

int16_t kafka__group_partition_error(sl_err err)
{
    if (err == SL_EDENIED)
        return KAFKA_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (may_go_away(err))
        return KAFKA_ERR_COORDINATOR_NOT_AVAILABLE;
    return kafka_error(err);
}

struct slice kafka__client_host(struct kafka_request *r)
{
    char peer[ADDR_TEXT_BYTES] = "";
    if (r->conn->tcp)
        tcp_conn_peer(r->conn->tcp, peer);
    char *colon = strrchr(peer, ':');
    size_t len = colon ? (size_t)(colon - peer) : strlen(peer);
    bool bracketed = len >= 2 && peer[0] == '[';
    char *text = arena_alloc(r->arena, len + 2, 1);
    if (!text)
        return (struct slice){0};
    text[0] = '/';
    memcpy(text + 1, peer + bracketed, len - 2 * (size_t)bracketed);
    return slice_str(text);
}

void kafka__fan_done(struct kafka_fan *f)
{
    SL_ASSERT(f->n_left > 0);
    if (--f->n_left == 0)
        f->answer(f);
}

void kafka__serial_run(struct kafka_serial *s)
{
    s->looping = true;
    while (s->next < s->n) {
        s->ended = false;
        s->start(s);
        if (!s->ended) {
            s->looping = false;
            return;
        }
    }
    s->finish(s);
}

void kafka__serial_ended(struct kafka_serial *s)
{
    s->next++;
    s->ended = true;
    if (!s->looping)
        kafka__serial_run(s);
}

struct slice kafka__keep(struct kafka_request *r, struct slice text, bool *failed)
{
    if (!text.data)
        return (struct slice){0};
    char *copy = arena_strndup(r->arena, text.data, text.len);
    *failed |= !copy;
    return slice_of(copy, copy ? text.len : 0);
}
