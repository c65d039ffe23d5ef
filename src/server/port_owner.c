#include "server/port_owner.h"

#include "base/option.h"
#include "vfs/vfs.h"

#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

enum {
    TABLE_BYTES_MAX = 4 << 20,
    STATE_LISTEN = 0x0A,
    FIELD_LOCAL = 1,
    FIELD_STATE = 3,
    FIELD_INODE = 9
};

/* The n-th word of a line. */
static struct slice word_at(struct slice line, unsigned n)
{
    size_t pos = 0;
    for (;;) {
        while (pos < line.len && line.data[pos] == ' ')
            pos++;
        size_t start = pos;
        while (pos < line.len && line.data[pos] != ' ')
            pos++;
        if (n-- == 0 || pos == line.len)
            return slice_sub(line, start, pos - start);
    }
}

static uint64_t number_of(struct slice word, unsigned base)
{
    uint64_t n = 0;
    for (size_t i = 0; i < word.len && isxdigit(word.data[i]); i++) {
        uint8_t c = (uint8_t)tolower(word.data[i]);
        n = n * base + (uint64_t)(isdigit(c) ? c - '0' : c - 'a' + 10);
    }
    return n;
}

uint64_t port_owner_parse_line(struct slice line, uint16_t port)
{
    struct slice local = word_at(line, FIELD_LOCAL);
    const uint8_t *colon = memchr(local.data, ':', local.len);
    if (!colon || number_of(word_at(line, FIELD_STATE), 16) != STATE_LISTEN)
        return 0;
    size_t at = (size_t)(colon - local.data) + 1;
    if (number_of(slice_sub(local, at, local.len - at), 16) != port)
        return 0;
    return number_of(word_at(line, FIELD_INODE), 10);
}

static uint64_t find_inode(const char *table, uint16_t port)
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    struct buf text;
    uint64_t inode = 0;
    size_t n = 1;
    buf_init(&text, TABLE_BYTES_MAX);
    if (vfs_open(vfs_real(), table, VFS_READ, &f) != SL_OK)
        return 0;
    while (n > 0 && buf_reserve(&text, 65536) == SL_OK &&
           vfs_pread(f, text.data + text.len, 65536, (int64_t)text.len, &n) == SL_OK)
        text.len += n;
    for (size_t pos = 0; pos < text.len && !inode;) {
        const uint8_t *end = memchr(text.data + pos, '\n', text.len - pos);
        size_t len = end ? (size_t)(end - text.data) - pos : text.len - pos;
        inode = port_owner_parse_line(slice_of(text.data + pos, len), port);
        pos += len + 1;
    }
    buf_fini(&text);
    return inode;
}

struct search {
    char link[64]; /* "socket:[123]" */
    char pid[24];
    bool found;
};

static sl_err look_at_fd(void *arg, const char *fd)
{
    struct search *s = arg;
    char path[128], target[64];
    (void)snprintf(path, sizeof path, "/proc/%s/fd/%.20s", s->pid, fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return SL_OK;
    target[n] = '\0';
    s->found = strcmp(target, s->link) == 0;
    return s->found ? SL_EEND : SL_OK;
}

static sl_err look_at_process(void *arg, const char *name)
{
    struct search *s = arg;
    char path[64];
    if (!isdigit((unsigned char)*name))
        return SL_OK;
    (void)snprintf(s->pid, sizeof s->pid, "%.20s", name);
    (void)snprintf(path, sizeof path, "/proc/%s/fd", s->pid);
    (void)vfs_list_dir(vfs_real(), path, look_at_fd, s); /* of other users: not readable */
    return s->found ? SL_EEND : SL_OK;
}

static void read_name(const char *pid, char ret[PORT_OWNER_NAME_BYTES])
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    char path[64];
    size_t n = 0;
    (void)snprintf(path, sizeof path, "/proc/%s/comm", pid);
    if (vfs_open(vfs_real(), path, VFS_READ, &f) == SL_OK)
        (void)vfs_pread(f, ret, PORT_OWNER_NAME_BYTES - 1, 0, &n); /* no name: an empty one */
    while (n > 0 && ret[n - 1] == '\n')
        n--;
    ret[n] = '\0';
}

bool port_owner_find(uint16_t port, int64_t *ret_pid, char ret_name[PORT_OWNER_NAME_BYTES])
{
    struct search s = {0};
    uint64_t inode = find_inode("/proc/net/tcp", port);
    if (!inode)
        inode = find_inode("/proc/net/tcp6", port);
    if (!inode)
        return false;
    (void)snprintf(s.link, sizeof s.link, "socket:[%llu]", (unsigned long long)inode);
    (void)vfs_list_dir(vfs_real(), "/proc", look_at_process, &s); /* SL_EEND when found */
    if (!s.found || option_parse_count(s.pid, ret_pid) != SL_OK)
        return false;
    read_name(s.pid, ret_name);
    return true;
}
