/* The data directory: made when missing, locked by one process, of a format that we know.
 *
 * DIR/LOCK is held until close. DIR/FORMAT says the version of
 * everything in DIR and the cluster's UUID; a newer version is refused and nothing is touched.
 * DIR/ports.json tells scripts where a running server listens. Blocking; one thread. */
#ifndef SLUICE_SERVER_DATA_DIR_H
#define SLUICE_SERVER_DATA_DIR_H

#include "base/rng.h"
#include "base/slice.h"
#include "base/uuid.h"

struct data_dir;
struct vfs;

/* SL_ELOCKED: the fault names the process that has it. SL_EFORMAT: of a newer version, or not ours.
 * `path` is copied. */
sl_err data_dir_open(struct vfs *v, struct rng *rng, const char *path, struct sl_fault *fault,
                     struct data_dir **ret) SL_CHECKED;
void data_dir_close(struct data_dir *d); /* accepts NULL */
SL_DEFINE_AUTO(struct data_dir *, data_dir_close);
const char *data_dir_path(const struct data_dir *d);
const struct uuid *data_dir_cluster_id(const struct data_dir *d);

/* Replaces or removes DIR/ports.json. */
sl_err data_dir_write_ports(struct data_dir *d, uint16_t kafka, uint16_t http,
                            uint16_t grpc) SL_CHECKED;
void data_dir_remove_ports(struct data_dir *d);

/* The text of FORMAT; SL_EFORMAT: damaged or of another version, which *ret_version tells (0:
 * damaged). */
enum { DATA_DIR_FORMAT = 1 };
sl_err data_dir_parse_format(struct slice text, int64_t *ret_version,
                             struct uuid *ret_cluster) SL_CHECKED;

#endif
