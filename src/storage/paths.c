#include "storage/paths_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Data directories too long for PATH_BYTES are refused at open. */
#define FORMAT(ret, ...)                                                                           \
    do {                                                                                           \
        int n_ = snprintf((ret), PATH_BYTES, __VA_ARGS__);                                         \
        SL_ASSERT(n_ > 0 && n_ < PATH_BYTES);                                                      \
    } while (0)

void paths__join(char ret[PATH_BYTES], const char *dir, const char *name)
{
    FORMAT(ret, "%s/%s", dir, name);
}

void paths__topic_dir(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(topic, id);
    FORMAT(ret, "%s/topics/%s", data_dir, id);
}

void paths__deleted_topic_dir(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(topic, id);
    FORMAT(ret, "%s/topics/%s.deleted", data_dir, id);
}

void paths__concat(char ret[PATH_BYTES], const char *stem, const char *ext)
{
    FORMAT(ret, "%s%s", stem, ext);
}

void paths__part_dir(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic,
                     int32_t index)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(topic, id);
    FORMAT(ret, "%s/topics/%s/%" PRId32, data_dir, id, index);
}

void paths__segment(char ret[PATH_BYTES], const char *data_dir, const struct uuid *topic,
                    int32_t index, int64_t base_offset, const char *ext)
{
    char id[UUID_TEXT_BYTES];
    uuid_format(topic, id);
    FORMAT(ret, "%s/topics/%s/%" PRId32 "/%020" PRId64 "%s", data_dir, id, index, base_offset, ext);
}

/* n digits at the start of text, then exactly `rest`. */
static bool parse_digits(const char *text, size_t n, const char *rest, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret = v;
    return strcmp(text + n, rest) == 0;
}

bool paths__parse_segment(const char *name, int64_t *ret_base)
{
    uint64_t v;
    if (strlen(name) != 24 || !parse_digits(name, 20, ".log", &v) || v > INT64_MAX)
        return false;
    *ret_base = (int64_t)v;
    return true;
}

void paths__journal_dir(char ret[PATH_BYTES], const char *data_dir)
{
    FORMAT(ret, "%s/journal", data_dir);
}

void paths__journal_file(char ret[PATH_BYTES], const char *journal_dir, uint32_t number)
{
    FORMAT(ret, "%s/%08" PRIu32 ".jnl", journal_dir, number);
}

void paths__journal_damaged(char ret[PATH_BYTES], const char *journal_dir, uint32_t number)
{
    FORMAT(ret, "%s/%08" PRIu32 ".damaged", journal_dir, number);
}

bool paths__parse_journal(const char *name, uint32_t *ret_number)
{
    uint64_t v;
    if (strlen(name) != 12 || !parse_digits(name, 8, ".jnl", &v))
        return false;
    *ret_number = (uint32_t)v;
    return true;
}

struct tree {
    struct vfs *vfs;
    const char *dir;
    int depth;
};

static sl_err remove_level(struct vfs *v, const char *dir, int depth);

static sl_err remove_entry(void *arg, const char *name)
{
    const struct tree *t = arg;
    char path[PATH_BYTES];
    struct vfs_stat st;
    paths__join(path, t->dir, name);
    SL_TRY(vfs_stat(t->vfs, path, &st));
    return st.is_dir ? remove_level(t->vfs, path, t->depth + 1) : vfs_unlink(t->vfs, path);
}

/* Two levels of folders are all that we make: deeper ones are not ours. */
static sl_err remove_level(struct vfs *v, const char *dir, int depth)
{
    struct tree t = {.vfs = v, .dir = dir, .depth = depth};
    if (depth > 2)
        return SL_EINVAL;
    SL_TRY(vfs_list_dir(v, dir, remove_entry, &t));
    return vfs_rmdir(v, dir);
}

sl_err paths__remove_tree(struct vfs *v, const char *dir)
{
    return remove_level(v, dir, 1);
}
