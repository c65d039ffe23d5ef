#include "loop/conn.h"

#include "base/alloc.h"
#include "loop/loop_int.h"

#include <sys/socket.h>
#include <unistd.h>

/* An idle connection is this struct and its descriptor, nothing else: queue, request and read
 * memory exist while there is something to send or to read. */
enum {
    KEEPALIVE_S = 60,
    CLOSE_TIMEOUT_MS = 5000,  /* to send what is queued */
    LINGER_TIMEOUT_MS = 1000, /* to see the peer's end behind ours: an early close would reset */
    QUEUE_FIRST = 8,
    SLICES_PER_SEND = 64,
};

/* Slices from `head` on are not sent yet. */
struct queue {
    uint32_t head, count, cap;
    struct slice slices[];
};

/* A part of the queue that libuv sends; conn waits for it. */
struct sending {
    uv_write_t req;
    struct tcp_conn *conn;
    size_t bytes;
    uint32_t count;
    struct slice slices[];
};

struct tcp_conn {
    uv_tcp_t tcp;
    struct loop *loop;
    const struct tcp_conn_ops *ops; /* NULL: not started, nobody to tell */
    void *arg;
    struct queue *queue;     /* NULL: empty */
    struct sending *sending; /* NULL: nothing is under way */
    size_t queued_bytes;     /* of both */
    struct flush flush;
    struct timer deadline; /* of a polite close */
    union addr peer;
    sl_err why;
    bool paused, reading, closing_politely, closing;
};

static uv_stream_t *stream_of(struct tcp_conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

static void flush_now(struct flush *f);
static void on_deadline(struct timer *t);

/* ---- close --------------------------------------------------------------------------------- */

static void drop_slices(struct slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++)
        slice_unref(&slices[i]);
}

static void queue_free(struct tcp_conn *c)
{
    if (!c->queue)
        return;
    drop_slices(c->queue->slices + c->queue->head, c->queue->count);
    sl_free(c->queue);
    c->queue = NULL;
}

/* libuv has canceled a write under way before it calls this. */
static void on_handle_closed(uv_handle_t *handle)
{
    struct tcp_conn *c = handle->data;
    SL_ASSERT(c->closing);
    SL_ASSERT(!c->sending); /* its memory is libuv's until then */
    queue_free(c);
    if (c->ops)
        c->ops->on_close(c, c->arg, c->why);
    sl_free(c);
}

static void close_because(struct tcp_conn *c, sl_err why)
{
    SL_ASSERT(loop_is_current(c->loop));
    if (c->closing)
        return;
    c->closing = true;
    c->why = why;
    list_remove(&c->flush.node);
    timer_stop(&c->deadline);
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
}

void tcp_conn_close(struct tcp_conn *c)
{
    SL_ASSERT(loop_is_current(c->loop));
    close_because(c, SL_ECLOSED);
}

static void on_deadline(struct timer *t)
{
    close_because(SL_CONTAINER_OF(t, struct tcp_conn, deadline), SL_ECLOSED);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct tcp_conn *c = handle->data;
    if (c->closing_politely) {
        *ret = uv_buf_init((char *)c->loop->scratch, sizeof c->loop->scratch);
        return;
    }
    size_t len = 0;
    uint8_t *p = c->closing ? NULL : c->ops->read_buffer(c, c->arg, &len);
    *ret = uv_buf_init((char *)p, p ? (unsigned)SL_MIN(len, (size_t)INT32_MAX) : 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *unused)
{
    struct tcp_conn *c = stream->data;
    if (c->closing)
        return;
    if (n == UV_ENOBUFS)
        tcp_conn_pause(c);
    else if (n < 0)
        close_because(c, n == UV_EOF ? SL_EEND : SL_ECLOSED);
    else if (n > 0 && !c->closing_politely)
        c->ops->on_read(c, c->arg, (size_t)n);
}

/* Reads when it should, and only then. */
static void update_reading(struct tcp_conn *c)
{
    bool wanted = !c->closing && (c->closing_politely ? c->queued_bytes == 0 : !c->paused);
    if (wanted == c->reading)
        return;
    c->reading = wanted;
    int failed =
        wanted ? uv_read_start(stream_of(c), on_alloc, on_read) : uv_read_stop(stream_of(c));
    if (failed)
        close_because(c, SL_ECLOSED);
}

void tcp_conn_start(struct tcp_conn *c, const struct tcp_conn_ops *ops, void *arg)
{
    SL_ASSERT(loop_is_current(c->loop));
    SL_ASSERT(!c->ops);
    c->ops = ops;
    c->arg = arg;
    update_reading(c);
}

void tcp_conn_pause(struct tcp_conn *c)
{
    c->paused = true;
    update_reading(c);
}

void tcp_conn_resume(struct tcp_conn *c)
{
    SL_ASSERT(loop_is_current(c->loop));
    c->paused = false;
    update_reading(c);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void queue_push(struct tcp_conn *c, struct slice s)
{
    struct queue *q = c->queue;
    uint32_t used = q ? q->head + q->count : 0;
    if (!q || used == q->cap) {
        uint32_t cap = q ? q->cap * 2 : QUEUE_FIRST;
        q = sl_realloc(q, 1, sizeof *q + cap * sizeof q->slices[0]);
        if (!c->queue)
            q->head = q->count = 0;
        q->cap = cap;
        c->queue = q;
    }
    SL_ASSERT(q->head + q->count < q->cap);
    q->slices[q->head + q->count++] = s;
    c->queued_bytes += s.len;
}

void tcp_conn_write(struct tcp_conn *c, struct slice *slices, size_t n)
{
    SL_ASSERT(loop_is_current(c->loop));
    if (c->closing || c->closing_politely) {
        drop_slices(slices, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (slices[i].len > 0)
            queue_push(c, slices[i]);
        else
            slice_unref(&slices[i]);
    }
    if (c->queue && !c->sending)
        loop__flush(c->loop, &c->flush);
}

size_t tcp_conn_queued_bytes(const struct tcp_conn *c)
{
    return c->queued_bytes;
}

/* Forgets n sent bytes at the head. */
static void queue_advance(struct tcp_conn *c, size_t n)
{
    struct queue *q = c->queue;
    SL_ASSERT(n <= c->queued_bytes);
    c->queued_bytes -= n;
    while (q->count > 0 && n >= q->slices[q->head].len) {
        n -= q->slices[q->head].len;
        slice_unref(&q->slices[q->head]);
        q->head++;
        q->count--;
    }
    SL_ASSERT(n == 0 || q->count > 0); /* no more was sent than was queued */
    if (n > 0) {
        q->slices[q->head].data += n;
        q->slices[q->head].len -= n;
    }
    if (q->count == 0)
        queue_free(c);
}

static uint32_t fill_bufs(const struct slice *slices, uint32_t count, uv_buf_t ret[SLICES_PER_SEND])
{
    uint32_t n = SL_MIN(count, (uint32_t)SLICES_PER_SEND);
    for (uint32_t i = 0; i < n; i++)
        ret[i] = uv_buf_init((char *)slices[i].data, (unsigned)slices[i].len);
    return n;
}

static void on_sent(uv_write_t *req, int status)
{
    struct sending *s = SL_CONTAINER_OF(req, struct sending, req);
    struct tcp_conn *c = s->conn;
    SL_ASSERT(c->sending == s);
    SL_ASSERT(s->bytes <= c->queued_bytes);
    c->sending = NULL;
    c->queued_bytes -= s->bytes;
    drop_slices(s->slices, s->count);
    sl_free(s);
    if (status < 0)
        close_because(c, SL_ECLOSED);
    else if (!c->closing)
        flush_now(&c->flush);
}

/* The kernel takes no more: libuv keeps the next slices and sends them when it does. */
static void send_later(struct tcp_conn *c)
{
    struct queue *q = c->queue;
    SL_ASSERT(!c->sending); /* one at a time keeps the order */
    uv_buf_t bufs[SLICES_PER_SEND];
    uint32_t n = fill_bufs(q->slices + q->head, q->count, bufs);
    struct sending *s = sl_alloc(1, sizeof *s + n * sizeof s->slices[0]);
    s->conn = c;
    s->count = n;
    for (uint32_t i = 0; i < n; i++) {
        s->slices[i] = q->slices[q->head + i];
        s->bytes += s->slices[i].len;
    }
    q->head += n;
    q->count -= n;
    if (q->count == 0)
        queue_free(c);
    c->sending = s;
    int failed = uv_write(&s->req, stream_of(c), bufs, n, on_sent);
    if (failed) {
        c->sending = NULL;
        c->queued_bytes -= s->bytes;
        drop_slices(s->slices, s->count);
        sl_free(s);
        close_because(c, SL_ECLOSED);
    }
}

static void finish_polite_close(struct tcp_conn *c)
{
    int fd;
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0 || shutdown(fd, SHUT_WR) != 0) {
        close_because(c, SL_ECLOSED);
        return;
    }
    timer_start(&c->deadline, LINGER_TIMEOUT_MS);
    update_reading(c); /* until the peer ends */
}

static void on_queue_empty(struct tcp_conn *c)
{
    SL_ASSERT(c->queued_bytes == 0);
    SL_ASSERT(!c->sending);
    if (c->closing_politely)
        finish_polite_close(c);
    else if (c->ops && c->ops->on_drained)
        c->ops->on_drained(c, c->arg);
}

static void flush_now(struct flush *f)
{
    struct tcp_conn *c = SL_CONTAINER_OF(f, struct tcp_conn, flush);
    while (c->queue) {
        uv_buf_t bufs[SLICES_PER_SEND];
        uint32_t n = fill_bufs(c->queue->slices + c->queue->head, c->queue->count, bufs);
        size_t bytes = 0;
        for (uint32_t i = 0; i < n; i++)
            bytes += bufs[i].len;
        int sent = uv_try_write(stream_of(c), bufs, n);
        if (sent < 0 && sent != UV_EAGAIN) {
            close_because(c, SL_ECLOSED);
            return;
        }
        if (sent > 0)
            queue_advance(c, (size_t)sent);
        if (sent < 0 || (size_t)sent < bytes) {
            send_later(c);
            return;
        }
    }
    on_queue_empty(c);
}

void tcp_conn_close_after_write(struct tcp_conn *c)
{
    SL_ASSERT(loop_is_current(c->loop));
    if (c->closing || c->closing_politely)
        return;
    if (!c->ops) {
        close_because(c, SL_ECLOSED);
        return;
    }
    c->closing_politely = true;
    timer_start(&c->deadline, CLOSE_TIMEOUT_MS);
    update_reading(c);
    if (!c->sending)
        loop__flush(c->loop, &c->flush);
}

/* ---- open, and what is known of it ---------------------------------------------------------- */

sl_err conn__open(struct loop *l, int fd, const union addr *peer, struct tcp_conn **ret)
{
    struct tcp_conn *c = sl_new(struct tcp_conn);
    c->loop = l;
    c->peer = *peer;
    c->flush.run = flush_now;
    c->tcp.data = c;
    timer_init(&c->deadline, l, on_deadline);
    (void)uv_tcp_init(&l->uv, &c->tcp); /* makes no socket, so it does not fail */
    int failed = uv_tcp_open(&c->tcp, fd);
    if (failed) {
        (void)close(fd);
        close_because(c, SL_ECLOSED); /* frees c; nobody is told */
        return sl_err_from_errno(-failed);
    }
    (void)uv_tcp_nodelay(&c->tcp, 1); /* a socket that is gone already says so when it is read */
    (void)uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    *ret = c;
    return SL_OK;
}

struct loop *tcp_conn_loop(const struct tcp_conn *c)
{
    return c->loop;
}

void tcp_conn_peer(const struct tcp_conn *c, char ret_text[ADDR_TEXT_BYTES])
{
    addr_text(&c->peer, ret_text);
}

void tcp_conn_local(const struct tcp_conn *c, char ret_host[ADDR_TEXT_BYTES], uint16_t *ret_port)
{
    union addr local = {0};
    int len = sizeof local;
    int failed = uv_tcp_getsockname(&c->tcp, &local.any, &len);
    if (failed)
        local = (union addr){.v4 = {.sin_family = AF_INET}}; /* closing: nobody will connect */
    addr_host(&local, ret_host);
    *ret_port = addr_port(&local);
}
