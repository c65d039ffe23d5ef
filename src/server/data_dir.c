#include "server/data_dir.h"

#include "base/alloc.h"
#include "base/option.h"
#include "vfs/vfs.h"

#include <limits.h>
#include <stdio.h>

enum { FORMAT_BYTES_MAX = 256 };

struct data_dir {
    struct vfs *vfs;
    char *path;
    struct vfs_file *lock;
    struct uuid cluster_id;
};

static sl_err path_in(const struct data_dir *d, const char *name, char ret[PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", d->path, name);
    return n > 0 && n < PATH_MAX ? SL_OK : SL_EINVAL;
}

#define WRITE_HINT "choose another --data-dir, or give this user the right to write there"

/* What went wrong with which file, and what to do; hint may be NULL. */
static sl_err explain(struct sl_fault *fault, sl_err err, const char *path, const char *what,
                      const char *hint)
{
    if (fault)
        (void)snprintf(fault->where, sizeof fault->where, "%.250s", path);
    return sl_fault_set(fault, err, "%s (%s)%s%s", what, sl_err_text(err), hint ? ": " : "",
                        hint ? hint : "");
}

/* ---- making it ------------------------------------------------------------------------------ */

static sl_err ensure_dir(struct vfs *v, const char *path)
{
    struct vfs_stat st;
    sl_err err = vfs_stat(v, path, &st);
    if (err == SL_OK)
        return st.is_dir ? SL_OK : SL_EEXISTS;
    return err == SL_ENOTFOUND ? vfs_ensure_dir(v, path) : err;
}

/* The directory with its parents. */
static sl_err ensure_path(struct vfs *v, const char *path, struct sl_fault *fault)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof part)
        return explain(fault, SL_EINVAL, path, "the path is too long", NULL);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        (void)snprintf(part, sizeof part, "%.*s", (int)i, path);
        sl_err err = ensure_dir(v, part);
        if (err == SL_EEXISTS)
            return explain(fault, err, part, "is not a directory", "choose another --data-dir");
        if (err != SL_OK)
            return explain(fault, err, part, "the data directory cannot be made", WRITE_HINT);
    }
    return SL_OK;
}

static sl_err lock(struct data_dir *d, struct sl_fault *fault)
{
    char path[PATH_MAX];
    int64_t pid = 0;
    SL_TRY(path_in(d, "LOCK", path));
    sl_err err = vfs_lock_file(d->vfs, path, &pid, &d->lock);
    if (err == SL_OK)
        return SL_OK;
    if (err != SL_ELOCKED)
        return explain(fault, err, path, "the data directory cannot be written", WRITE_HINT);
    if (fault)
        (void)snprintf(fault->where, sizeof fault->where, "%.250s", d->path);
    return sl_fault_set(fault, err, "in use by process %lld; stop it, or choose another --data-dir",
                        (long long)pid);
}

/* ---- FORMAT --------------------------------------------------------------------------------- */

/* The rest of the line that starts with `word` at *text; *text moves behind the line. */
static bool take_line(struct slice *text, const char *word, char *ret, size_t size)
{
    size_t len = strlen(word);
    const uint8_t *end = memchr(text->data, '\n', text->len);
    if (!end || text->len < len || memcmp(text->data, word, len) != 0)
        return false;
    size_t line = (size_t)(end - text->data);
    if (line < len || line - len >= size)
        return false;
    memcpy(ret, text->data + len, line - len);
    ret[line - len] = '\0';
    *text = slice_sub(*text, line + 1, text->len - line - 1);
    return true;
}

sl_err data_dir_parse_format(struct slice text, int64_t *ret_version, struct uuid *ret_cluster)
{
    char version[16], cluster[UUID_TEXT_BYTES];
    *ret_version = 0;
    if (!take_line(&text, "sluice data directory", version, sizeof version) || *version ||
        !take_line(&text, "version=", version, sizeof version))
        return SL_EFORMAT;
    if (option_parse_count(version, ret_version) != SL_OK)
        return SL_EFORMAT;
    if (*ret_version != DATA_DIR_FORMAT)
        return SL_EFORMAT;
    if (!take_line(&text, "cluster=", cluster, sizeof cluster) || text.len != 0 ||
        uuid_parse(cluster, ret_cluster) != SL_OK) {
        *ret_version = 0;
        return SL_EFORMAT;
    }
    return SL_OK;
}

static sl_err read_format(struct data_dir *d, const char *path, struct sl_fault *fault)
{
    SL_AUTO(vfs_close) struct vfs_file *f = NULL;
    uint8_t text[FORMAT_BYTES_MAX];
    size_t n = 0;
    int64_t version = 0;
    SL_TRY(vfs_open(d->vfs, path, VFS_READ, &f));
    sl_err err = vfs_pread(f, text, sizeof text, 0, &n);
    if (err != SL_OK)
        return explain(fault, err, path, "cannot be read", NULL);
    if (data_dir_parse_format(slice_of(text, n), &version, &d->cluster_id) == SL_OK)
        return SL_OK;
    if (fault)
        (void)snprintf(fault->where, sizeof fault->where, "%.250s", path);
    if (version > DATA_DIR_FORMAT)
        return sl_fault_set(fault, SL_EFORMAT,
                            "the data directory has format %lld, this version reads up to %d: use "
                            "a newer sluice; nothing was changed",
                            (long long)version, DATA_DIR_FORMAT);
    return sl_fault_set(fault, SL_EFORMAT,
                        "is damaged or not a file of sluice; nothing was changed");
}

static sl_err refuse_foreign_file(void *arg, const char *name)
{
    static const char *const ours[] = {"LOCK", "FORMAT.tmp", "lost+found", "ports.json.tmp"};
    for (size_t i = 0; i < SL_ARRAY_LEN(ours); i++)
        if (strcmp(name, ours[i]) == 0)
            return SL_OK;
    return SL_EEXISTS;
}

/* A directory without FORMAT must be empty: anything else is somebody else's, or FORMAT was lost.
 */
static sl_err create_format(struct data_dir *d, struct rng *rng, const char *path,
                            struct sl_fault *fault)
{
    char cluster[UUID_TEXT_BYTES], text[FORMAT_BYTES_MAX];
    sl_err err = vfs_list_dir(d->vfs, d->path, refuse_foreign_file, NULL);
    if (err == SL_EEXISTS) {
        if (fault)
            (void)snprintf(fault->where, sizeof fault->where, "%.250s", d->path);
        return sl_fault_set(fault, SL_EFORMAT,
                            "holds files but no FORMAT, so it is not a data directory of sluice; "
                            "choose an empty or a new one with --data-dir");
    }
    SL_TRY(err);
    d->cluster_id = uuid_random(rng);
    uuid_format(&d->cluster_id, cluster);
    int n = snprintf(text, sizeof text, "sluice data directory\nversion=%d\ncluster=%s\n",
                     DATA_DIR_FORMAT, cluster);
    err = vfs_replace_file(d->vfs, path, text, (size_t)n);
    return err == SL_OK ? err : explain(fault, err, path, "cannot be written", NULL);
}

static sl_err check_format(struct data_dir *d, struct rng *rng, struct sl_fault *fault)
{
    char path[PATH_MAX];
    SL_TRY(path_in(d, "FORMAT", path));
    sl_err err = read_format(d, path, fault);
    return err == SL_ENOTFOUND ? create_format(d, rng, path, fault) : err;
}

/* ---- open, close, ports --------------------------------------------------------------------- */

sl_err data_dir_open(struct vfs *v, struct rng *rng, const char *path, struct sl_fault *fault,
                     struct data_dir **ret)
{
    SL_AUTO(data_dir_close) struct data_dir *d = sl_new(struct data_dir);
    d->vfs = v;
    d->path = sl_strdup(path);
    for (size_t len = strlen(path); len > 1 && d->path[len - 1] == '/'; len--)
        d->path[len - 1] = '\0';
    SL_TRY(ensure_path(v, d->path, fault));
    SL_TRY(lock(d, fault));
    SL_TRY(check_format(d, rng, fault));
    data_dir_remove_ports(d); /* of a server that was killed */
    *ret = SL_TAKE(d);
    return SL_OK;
}

void data_dir_close(struct data_dir *d)
{
    if (!d)
        return;
    vfs_close(d->lock);
    sl_free(d->path);
    sl_free(d);
}

const char *data_dir_path(const struct data_dir *d)
{
    return d->path;
}

const struct uuid *data_dir_cluster_id(const struct data_dir *d)
{
    return &d->cluster_id;
}

sl_err data_dir_write_ports(struct data_dir *d, uint16_t kafka, uint16_t http, uint16_t grpc)
{
    char path[PATH_MAX], text[64];
    SL_TRY(path_in(d, "ports.json", path));
    int n =
        snprintf(text, sizeof text, "{\"kafka\":%u,\"http\":%u,\"grpc\":%u}\n", kafka, http, grpc);
    return vfs_replace_file(d->vfs, path, text, (size_t)n);
}

void data_dir_remove_ports(struct data_dir *d)
{
    char path[PATH_MAX];
    if (path_in(d, "ports.json", path) == SL_OK)
        (void)vfs_unlink(d->vfs, path); /* usually there is none */
}
