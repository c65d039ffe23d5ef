#include "still_world.h"

#include "base/alloc.h"

#include <string.h>

struct tcp_conn {
    const struct tcp_conn_ops *ops;
    void *arg;
    bool paused, closing;
};

static struct tcp_listen_opts listening;
static struct task *first, **end = &first;
static size_t n_written;
static int the_loop;

struct loop *still_loop(void)
{
    return (struct loop *)(void *)&the_loop;
}

/* ---- loop.h ---------------------------------------------------------------------------------- */

bool loop_is_current(const struct loop *l)
{
    return true;
}
int64_t loop_now_ns(const struct loop *l)
{
    return 0;
}
int64_t loop_now_ms(const struct loop *l)
{
    return 0;
}
const struct clock *loop_clock(const struct loop *l)
{
    return &clock_real;
}
void loop_post(struct loop *l, struct task *t)
{
    t->next = NULL;
    *end = t;
    end = &t->next;
}
void loop_defer(struct loop *l, struct task *t)
{
    loop_post(l, t);
}
void timer_init(struct timer *t, struct loop *l, void (*fire)(struct timer *t))
{
    *t = (struct timer){.loop = l, .fire = fire};
}
void timer_start(struct timer *t, int64_t delay_ms)
{
    t->node.index = 1;
}
void timer_stop(struct timer *t)
{
    t->node.index = 0;
}
void workers_submit(struct workers *p, struct loop *home, struct work *w)
{
    SL_UNREACHABLE();
}

void still_run(void)
{
    while (first) {
        struct task *t = first;
        first = t->next;
        if (!first)
            end = &first;
        t->run(t);
    }
}

/* ---- socket.h -------------------------------------------------------------------------------- */

sl_err tcp_listen(struct loop *l, const struct tcp_listen_opts *opts, struct sl_fault *fault,
                  struct tcp_listener **ret)
{
    listening = *opts;
    *ret = NULL;
    return SL_OK;
}
uint16_t tcp_listener_port(const struct tcp_listener *s)
{
    return 1;
}
void tcp_listener_close(struct tcp_listener *s)
{
}
void tcp_conn_start(struct tcp_conn *c, const struct tcp_conn_ops *ops, void *arg)
{
    c->ops = ops;
    c->arg = arg;
}
struct loop *tcp_conn_loop(const struct tcp_conn *c)
{
    return still_loop();
}
void tcp_conn_pause(struct tcp_conn *c)
{
    c->paused = true;
}
void tcp_conn_resume(struct tcp_conn *c)
{
    c->paused = false;
}
size_t tcp_conn_queued_bytes(const struct tcp_conn *c)
{
    return 0;
}
void tcp_conn_close(struct tcp_conn *c)
{
    c->closing = true;
}
void tcp_conn_close_after_write(struct tcp_conn *c)
{
    c->closing = true;
}
void tcp_conn_peer(const struct tcp_conn *c, char ret_text[ADDR_TEXT_BYTES])
{
    memcpy(ret_text, "fuzz", 5);
}
void tcp_conn_local(const struct tcp_conn *c, char ret_host[ADDR_TEXT_BYTES], uint16_t *ret_port)
{
    memcpy(ret_host, "fuzz", 5);
    *ret_port = 1;
}
void tcp_conn_write(struct tcp_conn *c, struct slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        n_written += slices[i].len;
        slice_unref(&slices[i]);
    }
}

size_t still_written(void)
{
    return n_written;
}

struct tcp_conn *still_accept(void)
{
    struct tcp_conn *c = sl_new(struct tcp_conn);
    listening.on_accept(listening.arg, c);
    SL_ASSERT(c->ops);
    still_run();
    return c;
}

void still_feed(struct tcp_conn *c, const uint8_t *data, size_t len, size_t step)
{
    for (size_t pos = 0; pos < len && !c->closing;) {
        size_t room = 0;
        uint8_t *to = c->ops->read_buffer(c, c->arg, &room);
        if (!to)
            return;
        size_t n = SL_MIN(SL_MIN(room, SL_MAX(step, (size_t)1)), len - pos);
        memcpy(to, data + pos, n);
        pos += n;
        c->ops->on_read(c, c->arg, n);
        still_run();
    }
}

void still_close(struct tcp_conn *c)
{
    c->closing = true;
    c->ops->on_close(c, c->arg, SL_EEND);
    still_run();
    sl_free(c);
}
