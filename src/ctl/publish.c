/* publish: one message, or each line of the input, a window of them at a time. */
#include "base/alloc.h"
#include "base/buf.h"
#include "ctl/grpc.h"
#include "ctl/output.h"
#include "proto/sluice.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum {
    INPUT_BYTES_MAX = 64 << 20, /* a line, or a whole payload: the server's limit comes first */
    READ_BYTES = 64 << 10,
    ASK_AGAIN_MS = 20, /* when the input has nothing */
};

struct publishing {
    struct ctl_grpc g;
    struct grpc_client_request request;
    struct ctl_pair *attributes;
    size_t n_attributes;
    int fd; /* -1: the payload was given */
    struct buf input;
    bool lines, at_end;
    struct timer more;
    int64_t rate, window, begin_ms;
    int64_t n_sent, n_waiting, n_done, n_bytes;
};

/* ---- one message ----------------------------------------------------------------------------- */

/* What an answer is about; the server answers in any order. */
struct message {
    struct publishing *p;
    size_t bytes;
};

static void print_one(struct publishing *p, const char *id, uint64_t sequence, size_t bytes)
{
    const char *topic = p->g.c->args[0];
    if (p->g.c->is_json) {
        json_t *row =
            json_pack("{s:s, s:s, s:I, s:I}", "message_id", id, "topic", topic, "payload_size",
                      (json_int_t)bytes, "sequence", (json_int_t)sequence);
        (void)json_dumpf(row, stdout, p->lines ? JSON_COMPACT : JSON_INDENT(2));
        (void)putchar('\n');
        json_decref(row);
    } else if (!p->lines) {
        printf("Topic: %s\nMessage ID: %s\nPayload size: %zu bytes\n", topic, id, bytes);
    }
}

static void on_message(void *user, const ProtobufCMessage *m)
{
    struct message *message = user;
    const Sluice__V1__PublishResponse *answer = (const Sluice__V1__PublishResponse *)m;
    print_one(message->p, answer->message_id, answer->sequence, message->bytes);
}

static void pump(struct publishing *p);

static void on_end(void *user, enum grpc_status status, const char *text)
{
    struct message *message = user;
    struct publishing *p = message->p;
    p->n_waiting--;
    if (status == GRPC_OK) {
        p->n_done++;
        p->n_bytes += (int64_t)message->bytes;
        out_progress("%lld messages published", (long long)p->n_done);
    } else if (p->g.status == CTL_OK) {
        p->g.status = ctl_grpc_refused(p->g.c, p->g.c->args[0], status, text);
    }
    sl_free(message);
    pump(p);
}

static void add_attributes(struct publishing *p, Sluice__V1__PublishRequest *m)
{
    m->n_attributes = p->n_attributes;
    m->attributes = ctl_alloc(p->g.c, p->n_attributes + 1, sizeof *m->attributes);
    for (size_t i = 0; i < p->n_attributes; i++) {
        Sluice__V1__PublishRequest__AttributesEntry *e = ctl_alloc(p->g.c, 1, sizeof *e);
        sluice__v1__publish_request__attributes_entry__init(e);
        e->key = p->attributes[i].name;
        e->value = p->attributes[i].value;
        m->attributes[i] = e;
    }
}

static void send_one(struct publishing *p, struct slice payload)
{
    Sluice__V1__PublishRequest m;
    sluice__v1__publish_request__init(&m);
    struct ctl *c = p->g.c;
    struct arena *kept = c->arena; /* the input may be endless: messages do not pile up */
    c->arena = arena_new(NULL);
    const char *key = ctl_text(c, "key", NULL);
    m.topic = (char *)c->args[0];
    m.payload = (ProtobufCBinaryData){.len = payload.len, .data = (uint8_t *)payload.data};
    add_attributes(p, &m);
    if (key) {
        m._key_case = SLUICE__V1__PUBLISH_REQUEST___KEY_KEY;
        m.key = (ProtobufCBinaryData){.len = strlen(key), .data = (uint8_t *)key};
    }
    if (ctl_flag(c, "partition")) {
        m._partition_case = SLUICE__V1__PUBLISH_REQUEST___PARTITION_PARTITION;
        m.partition = (uint32_t)ctl_number(c, "partition", 0);
    }
    struct message *message = sl_new(struct message);
    *message = (struct message){p, payload.len};
    p->request.user = message;
    p->n_sent++;
    p->n_waiting++;
    if (!grpc_client_unary(p->g.client, &p->request, &m.base))
        on_end(message, GRPC_UNAVAILABLE, "the connection was closed");
    arena_free(c->arena);
    c->arena = kept;
}

/* ---- the input ------------------------------------------------------------------------------- */

/* Reads what is there, or sees the end; false: neither now. */
static bool read_some(struct publishing *p)
{
    struct pollfd ask = {.fd = p->fd, .events = POLLIN};
    if (p->at_end || poll(&ask, 1, 0) == 0)
        return false;
    if (buf_reserve(&p->input, READ_BYTES) != SL_OK) {
        p->g.status =
            ctl_fail(p->g.c, "a message of the input is larger than %d bytes", INPUT_BYTES_MAX);
        return false;
    }
    ssize_t n = read(p->fd, p->input.data + p->input.len, READ_BYTES);
    if (n < 0)
        p->g.status = ctl_fail(p->g.c, "cannot read the input: %s", strerrordesc_np(errno));
    p->at_end = n <= 0;
    p->input.len += n > 0 ? (size_t)n : 0;
    return n >= 0;
}

/* Length of the next message in the input, and what it takes with its end; false: not there yet. */
static bool next_message(const struct publishing *p, size_t at, size_t *ret_len, size_t *ret_taken)
{
    size_t left = p->input.len - at;
    const uint8_t *newline = p->lines && left ? memchr(p->input.data + at, '\n', left) : NULL;
    *ret_len = newline ? (size_t)(newline - p->input.data) - at : left;
    *ret_taken = *ret_len + (newline ? 1 : 0);
    return newline || (p->at_end && (left > 0 || !p->lines));
}

/* 0: now. */
static int64_t wait_ms(const struct publishing *p)
{
    if (!p->rate)
        return 0;
    int64_t due_ms = p->begin_ms + p->n_sent * 1000 / p->rate;
    return SL_MAX(due_ms - loop_now_ms(p->g.loop), 0);
}

/* Sends from the input while window and rate allow; false: the input has no whole message. */
static bool send_some(struct publishing *p)
{
    size_t at = 0, len, taken;
    bool has_more = true;
    while (p->g.status == CTL_OK && p->n_waiting < p->window && wait_ms(p) == 0) {
        has_more = (p->lines || p->n_sent == 0) && next_message(p, at, &len, &taken);
        if (!has_more)
            break;
        send_one(p, slice_of(p->input.data ? p->input.data + at : (const uint8_t *)"", len));
        at += taken;
    }
    if (at > 0)
        memmove(p->input.data, p->input.data + at, p->input.len - at);
    p->input.len -= at;
    return has_more;
}

static bool is_done(const struct publishing *p)
{
    if (p->n_waiting > 0)
        return false;
    return p->g.status != CTL_OK || (p->at_end && p->input.len == 0 && (p->lines || p->n_sent > 0));
}

static void pump(struct publishing *p)
{
    if (p->g.finished)
        return;
    while (!send_some(p) && p->g.status == CTL_OK && read_some(p))
        ;
    if (is_done(p)) {
        ctl_grpc_finish(&p->g, p->g.status);
        return;
    }
    if (p->g.status == CTL_OK && p->n_waiting < p->window && (!p->at_end || p->input.len))
        timer_start(&p->more, SL_MAX(wait_ms(p), p->rate ? 1 : ASK_AGAIN_MS));
}

static void on_more(struct timer *t)
{
    pump(SL_CONTAINER_OF(t, struct publishing, more));
}

/* ---- the command ----------------------------------------------------------------------------- */

static void begin(struct ctl_grpc *g)
{
    struct publishing *p = SL_CONTAINER_OF(g, struct publishing, g);
    timer_init(&p->more, g->loop, on_more);
    p->begin_ms = loop_now_ms(g->loop);
    if (p->fd >= 0) {
        pump(p);
        return;
    }
    p->at_end = true;
    send_one(p, slice_str(g->c->args[1]));
}

static int open_input(struct publishing *p)
{
    struct ctl *c = p->g.c;
    const char *file = ctl_text(c, "file", NULL);
    p->fd = c->n_args > 1 ? -1 : STDIN_FILENO;
    if (c->n_args > 1 && (file || p->lines))
        return ctl_usage(c, "the payload is an argument or comes with --%s, not both",
                         file ? "file" : "lines");
    if ((p->rate || ctl_flag(c, "window")) && !p->lines)
        return ctl_usage(c, "--%s goes with --lines", p->rate ? "rate" : "window");
    if (!file || strcmp(file, "-") == 0)
        return CTL_OK;
    p->fd = open(file, O_RDONLY | O_CLOEXEC);
    return p->fd >= 0 ? CTL_OK : ctl_fail(c, "%s: %s", file, strerrordesc_np(errno));
}

static void report(const struct publishing *p)
{
    const struct ctl *c = p->g.c;
    if (p->lines && !c->is_json)
        printf("%lld messages published to %s\n", (long long)p->n_done, c->args[0]);
}

int ctl_publish(struct ctl *c)
{
    static const struct grpc_client_call_ops ops = {on_message, on_end};
    struct publishing p = {.g = {.c = c, .on_ready = begin},
                           .lines = ctl_flag(c, "lines"),
                           .rate = ctl_number(c, "rate", 0),
                           .window = ctl_number(c, "window", 100)};
    p.request = (struct grpc_client_request){.path = "/sluice.v1.Sluice/Publish",
                                             .response = &sluice__v1__publish_response__descriptor,
                                             .timeout_ms = ctl_timeout_ms(c),
                                             .ops = &ops};
    int failed = open_input(&p);
    if (!failed)
        failed = ctl_pairs(c, "attribute", &p.attributes, &p.n_attributes);
    if (failed)
        return failed;
    buf_init(&p.input, INPUT_BYTES_MAX);
    int status = ctl_grpc_run(c, &p.g);
    buf_fini(&p.input);
    if (p.fd > STDIN_FILENO)
        (void)close(p.fd);
    out_progress_end();
    report(&p);
    return status;
}
