/* What this machine can do, in the same run as the loads: memcpy, CRC32C, append and fdatasync,
 * loopback. One JSON line. usage: limits DIR */
#include "base/crc32c.h"
#include "load.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 1 << 20, SYNCS = 400, FILE_BYTES = 64 << 20, LOOP_BYTES_LOG2 = 31 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double memcpy_mb_s(uint8_t *to, const uint8_t *from)
{
    int64_t begin = load_now_ns(), n = 0;
    for (; load_now_ns() - begin < 300000000; n++) {
        memcpy(to, from, PIECE);
        __asm__ volatile("" : : "r"(to) : "memory");
    }
    return (double)n * PIECE / 1e6 / ((double)(load_now_ns() - begin) / 1e9);
}

static double crc_mb_s(const uint8_t *data)
{
    volatile uint32_t crc = 0;
    int64_t begin = load_now_ns(), n = 0;
    for (; load_now_ns() - begin < 300000000; n++)
        crc = crc32c(crc, data, PIECE);
    return (double)n * PIECE / 1e6 / ((double)(load_now_ns() - begin) / 1e9);
}

/* Overwrites a zero-filled file in pieces, one fdatasync each: MB/s, and the median wait in ms. */
static double synced_mb_s(const char *dir, const uint8_t *data, size_t piece, double *ret_p50_ms)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/limits.tmp", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        fail(path);
    uint8_t *zeros = calloc(1, PIECE);
    for (int64_t at = 0; at < FILE_BYTES; at += PIECE)
        if (pwrite(fd, zeros, PIECE, at) != PIECE)
            fail(path);
    free(zeros);
    if (fdatasync(fd))
        fail(path);
    struct samples waits;
    samples_init(&waits, SYNCS);
    int64_t begin = load_now_ns();
    for (int i = 0; i < SYNCS; i++) {
        int64_t t = load_now_ns();
        int64_t at = (int64_t)i * (int64_t)piece % (FILE_BYTES - PIECE);
        if (pwrite(fd, data, piece, at) != (ssize_t)piece || fdatasync(fd))
            fail(path);
        samples_add(&waits, load_now_ns() - t);
    }
    double seconds = (double)(load_now_ns() - begin) / 1e9;
    *ret_p50_ms = samples_ms(&waits, 0.5);
    samples_fini(&waits);
    (void)close(fd);
    (void)unlink(path);
    return (double)piece * SYNCS / 1e6 / seconds;
}

static void *drain(void *arg)
{
    static uint8_t sink[PIECE];
    int fd = *(int *)arg;
    while (recv(fd, sink, sizeof sink, 0) > 0)
        ;
    return NULL;
}

static double loopback_mb_s(const uint8_t *data)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&addr, &len))
        fail("listen");
    int out = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(out, (struct sockaddr *)&addr, len))
        fail("connect");
    int in = accept(listener, NULL, NULL);
    pthread_t reader;
    if (in < 0 || pthread_create(&reader, NULL, drain, &in))
        fail("accept");
    int64_t begin = load_now_ns(), sent = 0;
    while (sent < (int64_t)1 << LOOP_BYTES_LOG2) {
        ssize_t n = send(out, data, PIECE, MSG_NOSIGNAL);
        if (n < 0)
            fail("send");
        sent += n;
    }
    (void)shutdown(out, SHUT_WR);
    (void)pthread_join(reader, NULL);
    double seconds = (double)(load_now_ns() - begin) / 1e9;
    (void)close(in);
    (void)close(out);
    (void)close(listener);
    return (double)sent / 1e6 / seconds;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    uint8_t *from = malloc(PIECE), *to = malloc(PIECE);
    load_fill(from, PIECE);
    double p50_4k, p50_1m;
    double sync_4k = synced_mb_s(argv[1], from, 4096, &p50_4k);
    double sync_1m = synced_mb_s(argv[1], from, PIECE, &p50_1m);
    printf("{\"memcpy_mb_s\":%.0f,\"crc32c_mb_s\":%.0f,\"loopback_mb_s\":%.0f,"
           "\"sync_4k_mb_s\":%.1f,\"sync_4k_p50_ms\":%.3f,\"sync_1m_mb_s\":%.0f,"
           "\"sync_1m_p50_ms\":%.3f}\n",
           memcpy_mb_s(to, from), crc_mb_s(from), loopback_mb_s(from), sync_4k, p50_4k, sync_1m,
           p50_1m);
    free(from);
    free(to);
    return 0;
}
