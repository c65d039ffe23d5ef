/* The gRPC door over a real HTTP/2 session: well-formed frames around any bytes of messages.
 *
 * Input: method, metadata (uint8), how the data is cut into frames (uint8), then what the peer
 * sends as data. Only methods that need no broker. Property: every call ends, and nothing is held.
 */
#include "base/byteorder.h"
#include "base/log.h"
#include "grpc/grpc_int.h"
#include "still_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct grpc_door *door;

static void put_frame(struct buf *out, uint8_t type, uint8_t flags, struct slice payload)
{
    uint8_t head[9] = {(uint8_t)(payload.len >> 16),
                       (uint8_t)(payload.len >> 8),
                       (uint8_t)payload.len,
                       type,
                       flags,
                       0,
                       0,
                       0,
                       1};
    (void)buf_append(out, head, sizeof head);
    (void)buf_append(out, payload.data, payload.len);
}

static void put_header(struct buf *out, const char *name, const char *value)
{
    write_u8(out, 0); /* literal, not indexed */
    write_u8(out, (uint8_t)strlen(name));
    write_bytes(out, name, strlen(name));
    write_u8(out, (uint8_t)strlen(value));
    write_bytes(out, value, strlen(value));
}

static void put_headers(struct buf *out, uint8_t choice)
{
    static const char *const paths[] = {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/nothing/at.all",
    };
    struct buf block;
    buf_init(&block, 4096);
    put_header(&block, ":method", "POST");
    put_header(&block, ":scheme", "http");
    put_header(&block, ":path", paths[choice & 3]);
    put_header(&block, "content-type", choice & 4 ? "text/html" : "application/grpc");
    put_header(&block, "te", "trailers");
    if (choice & 8)
        put_header(&block, "grpc-encoding", "gzip");
    if (choice & 16)
        put_header(&block, "grpc-accept-encoding", "identity, gzip");
    if (choice & 32)
        put_header(&block, "grpc-timeout", "5S");
    if (choice & 64)
        put_header(&block, "x-bin", "AAEC");
    put_frame(out, 1, 4, slice_of(block.data, block.len));
    buf_fini(&block);
}

static void start_door(void)
{
    struct loop *loop = still_loop();
    struct grpc_door_cfg cfg = {
        .addr = "fuzz", .message_bytes_max = 100000, .request_bytes_max = 1 << 20};
    sl_err err = grpc_door_start(&cfg, NULL, &loop, 1, NULL, &door);
    SL_ASSERT(err == SL_OK);
    log_set_level(LOG_LEVEL_ERROR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    struct buf out;
    if (!door)
        start_door();
    if (size < 2)
        return 0;
    buf_init(&out, size * 12 + 8192);
    (void)buf_append(&out, preface, sizeof preface);
    put_headers(&out, data[0]);
    size_t step = data[1] ? data[1] : 16384;
    for (size_t pos = 2; pos < size; pos += step)
        put_frame(&out, 0, 0, slice_of(data + pos, SL_MIN(step, size - pos)));
    put_frame(&out, 0, 1, slice_of("", 0));
    struct tcp_conn *c = still_accept();
    still_feed(c, out.data, out.len, 4096);
    still_close(c);
    buf_fini(&out);
    struct grpc_door_metrics m;
    grpc_door_metrics(door, &m);
    SL_ASSERT(m.calls_under_way == 0);
    SL_ASSERT(m.connections == 0);
    SL_ASSERT(door->shards[0].budget.used <= 1 << 20);
    return 0;
}
