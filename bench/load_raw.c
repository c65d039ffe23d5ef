/* Raw load: sends prepared record batches over plain sockets, so that the client costs nearly
 * nothing and the broker is what is measured.
 *
 *   produce  --connections each keep --inflight requests of one --batch-bytes batch (records of
 *            --size) under way, acks as --acks, for --seconds; connection i writes to partition
 *            i % --partitions
 *
 * Speaks Produce version 3 by hand (KIP-98 layout); checks every answer's error code. */
#include "base/byteorder.h"
#include "base/crc32c.h"
#include "load.h"
#include "record/batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_MAX = 16 << 20, INFLIGHT_MAX = 1024, ANSWER_MAX = 512 };

struct frame {
    uint8_t *data;
    size_t len, cap;
};

struct conn {
    int fd;
    struct frame frame;
    size_t sent; /* of the current frame */
    int64_t inflight;
    int64_t begun[INFLIGHT_MAX];
    uint64_t n_begun, n_ended;
    uint8_t answer[ANSWER_MAX];
    size_t answer_len;
};

static void fail(const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void put(struct frame *f, const void *data, size_t len)
{
    if (f->len + len > f->cap) {
        (void)fprintf(stderr, "the batch is larger than %d bytes\n", FRAME_MAX);
        exit(2);
    }
    memcpy(f->data + f->len, data, len);
    f->len += len;
}

static void put_int(struct frame *f, int bytes, int64_t value)
{
    uint8_t text[8];
    put_be64(text, (uint64_t)value);
    put(f, text + 8 - bytes, (size_t)bytes);
}

static void put_varint(struct frame *f, int64_t value)
{
    uint64_t v = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; v >= 0x80; v >>= 7)
        put_int(f, 1, (int64_t)((v & 0x7f) | 0x80));
    put_int(f, 1, (int64_t)v);
}

static size_t varint_bytes(int64_t value)
{
    uint64_t v = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void put_record(struct frame *f, int64_t index, const uint8_t *value, int64_t size)
{
    size_t body = 1 + 1 + varint_bytes(index) + 1 + varint_bytes(size) + (size_t)size + 1;
    put_varint(f, (int64_t)body);
    put_int(f, 1, 0); /* attributes */
    put_varint(f, 0); /* timestamp delta */
    put_varint(f, index);
    put_varint(f, -1); /* no key */
    put_varint(f, size);
    put(f, value, (size_t)size);
    put_varint(f, 0); /* no headers */
}

/* One batch of as many records as fit into batch_bytes; returns how many. */
static int32_t put_batch(struct frame *f, const struct load_opts *o)
{
    size_t at = f->len;
    uint8_t header[BATCH_HEADER_BYTES] = {0};
    put(f, header, sizeof header);
    uint8_t *value = malloc((size_t)o->size);
    load_fill(value, (size_t)o->size);
    int32_t n = 0;
    do {
        put_record(f, n++, value, o->size);
    } while ((int64_t)(f->len - at) + o->size + 32 <= o->batch_bytes);
    free(value);
    uint8_t *p = f->data + at;
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    put_be32(p + BATCH_LENGTH, (uint32_t)(f->len - at - BATCH_LENGTH_OVERHEAD));
    put_be32(p + BATCH_LEADER_EPOCH, UINT32_MAX);
    p[BATCH_MAGIC] = 2;
    put_be32(p + BATCH_LAST_OFFSET_DELTA, (uint32_t)(n - 1));
    put_be64(p + BATCH_BASE_TIMESTAMP, (uint64_t)now_ms);
    put_be64(p + BATCH_MAX_TIMESTAMP, (uint64_t)now_ms);
    put_be64(p + BATCH_PRODUCER_ID, UINT64_MAX);
    put_be16(p + BATCH_PRODUCER_EPOCH, UINT16_MAX);
    put_be32(p + BATCH_BASE_SEQUENCE, UINT32_MAX);
    put_be32(p + BATCH_RECORD_COUNT, (uint32_t)n);
    put_be32(p + BATCH_CRC, crc32c(0, p + BATCH_ATTRIBUTES, f->len - at - BATCH_ATTRIBUTES));
    return n;
}

static int32_t build_frame(struct frame *f, const struct load_opts *o, int32_t partition)
{
    *f = (struct frame){.data = malloc(FRAME_MAX), .cap = FRAME_MAX};
    put_int(f, 4, 0); /* length, set below */
    put_int(f, 2, 0); /* Produce */
    put_int(f, 2, 3);
    put_int(f, 4, 1);  /* correlation id */
    put_int(f, 2, -1); /* no client id */
    put_int(f, 2, -1); /* no transactional id */
    put_int(f, 2, o->acks);
    put_int(f, 4, 30000);
    put_int(f, 4, 1);
    put_int(f, 2, (int64_t)strlen(o->topic));
    put(f, o->topic, strlen(o->topic));
    put_int(f, 4, 1);
    put_int(f, 4, partition);
    size_t at = f->len;
    put_int(f, 4, 0);
    int32_t records = put_batch(f, o);
    put_be32(f->data + at, (uint32_t)(f->len - at - 4));
    put_be32(f->data, (uint32_t)(f->len - 4));
    return records;
}

static int dial(const char *bootstrap)
{
    char host[256];
    (void)snprintf(host, sizeof host, "%s", bootstrap);
    char *colon = strrchr(host, ':');
    struct sockaddr_in addr = {.sin_family = AF_INET};
    if (!colon)
        fail("--bootstrap is HOST:PORT");
    *colon = 0;
    addr.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &addr.sin_addr) != 1)
        fail("--bootstrap needs a numeric address");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr))
        fail("connect");
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_more(struct conn *c, const struct load_opts *o, bool open)
{
    while (c->sent || (open && c->inflight < o->inflight)) {
        if (c->sent == 0) {
            c->begun[c->n_begun++ % INFLIGHT_MAX] = load_now_ns();
            c->inflight++;
        }
        ssize_t n = send(c->fd, c->frame.data + c->sent, c->frame.len - c->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            fail("send");
        c->sent += (size_t)n;
        if (c->sent < c->frame.len)
            return;
        c->sent = 0;
    }
}

/* Takes one whole answer from the buffer; false when there is none yet. */
static bool take_answer(struct conn *c, const struct load_opts *o, struct load_run *run,
                        int32_t records)
{
    size_t name = strlen(o->topic);
    size_t error_at = 4 + 4 + 4 + 2 + name + 4 + 4;
    if (c->answer_len < 4)
        return false;
    size_t len = get_be32(c->answer) + 4;
    if (len > ANSWER_MAX || len < error_at + 2) {
        (void)fprintf(stderr, "an answer of %zu bytes was not expected\n", len);
        exit(1);
    }
    if (c->answer_len < len)
        return false;
    int16_t error = (int16_t)get_be16(c->answer + error_at);
    if (error && run->errors++ == 0)
        (void)fprintf(stderr, "the broker answered error code %d\n", error);
    samples_add(&run->latency, load_now_ns() - c->begun[c->n_ended++ % INFLIGHT_MAX]);
    run->records += records;
    run->bytes += (int64_t)records * o->size;
    c->inflight--;
    c->answer_len -= len;
    memmove(c->answer, c->answer + len, c->answer_len);
    return true;
}

static void receive(struct conn *c, const struct load_opts *o, struct load_run *run,
                    int32_t records)
{
    for (;;) {
        ssize_t n =
            recv(c->fd, c->answer + c->answer_len, ANSWER_MAX - c->answer_len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            fail("recv");
        c->answer_len += (size_t)n;
        while (take_answer(c, o, run, records))
            ;
    }
}

static void pump(int poll_fd, struct conn *conns, const struct load_opts *o, struct load_run *run,
                 int32_t records)
{
    int64_t end = load_now_ns() + o->seconds * 1000000000;
    for (int64_t under_way = 1; under_way > 0;) {
        struct epoll_event events[64];
        int n = epoll_wait(poll_fd, events, 64, 1000);
        bool open = load_now_ns() < end;
        for (int i = 0; i < n; i++) {
            receive(events[i].data.ptr, o, run, records);
            send_more(events[i].data.ptr, o, open);
        }
        under_way = open ? 1 : 0;
        for (int64_t i = 0; !open && i < o->connections; i++)
            under_way += conns[i].inflight;
        if (n == 0 && !open) {
            (void)fprintf(stderr, "no answer within a second\n");
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    struct load_opts o;
    load_parse(argc, argv, "produce", &o);
    if (strcmp(o.mode, "produce") != 0 || o.inflight > INFLIGHT_MAX || o.acks == 0) {
        (void)fprintf(stderr, "mode produce, --inflight up to %d, --acks 1 or -1\n", INFLIGHT_MAX);
        return 2;
    }
    struct conn *conns = calloc((size_t)o.connections, sizeof *conns);
    int poll_fd = epoll_create1(0);
    int32_t records = 0;
    for (int64_t i = 0; i < o.connections; i++) {
        records = build_frame(&conns[i].frame, &o, (int32_t)(i % o.partitions));
        conns[i].fd = dial(o.bootstrap);
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &conns[i]};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, conns[i].fd, &e))
            fail("epoll");
    }
    struct load_run run;
    load_begin(&run, &o);
    pump(poll_fd, conns, &o, &run, records);
    load_report(&run, &o);
    return run.errors != 0;
}
