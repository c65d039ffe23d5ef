#include "kafka/request.h"

void kafka_call(struct kafka_request *r, struct broker_call *c, void (*done)(struct broker_call *c))
{
    c->broker = r->broker;
    c->home = r->loop;
    c->who = r->who;
    c->done = done;
    broker_submit(c);
}
