/* Inodes and changes that are not on disk yet. Private to simfs. */
#ifndef SLUICE_SIM_SIMFS_INT_H
#define SLUICE_SIM_SIMFS_INT_H

#include "base/list.h"
#include "sim/content.h"
#include "sim/simfs.h"

enum { NAME_BYTES = 128, PATH_BYTES = 1024 };

struct inode;

struct entry {
    char name[NAME_BYTES];
    struct inode *inode; /* counted */
};

/* Entries of one directory, sorted by name. */
struct entries {
    struct entry *list;
    size_t n;
};

/* A change of a file that is not on disk: a write (data) or a new size (data NULL). */
struct change {
    struct list node;
    uint64_t seq;
    int64_t pos;
    size_t len;
    int64_t size_after;
    uint8_t *data;
};

/* A change of names: one entry goes, one comes, both or neither. In the list of the file system, in
 * the order they happened. */
struct rename {
    struct list node;
    uint64_t seq;
    struct inode *from_dir, *to_dir; /* counted; NULL: no such part */
    char from[NAME_BYTES], to[NAME_BYTES];
    uint64_t from_number; /* the inode that goes: another one of that name stays */
    struct inode *inode;  /* counted: what comes; NULL with no `to` */
};

struct inode {
    size_t refs;
    uint64_t number;
    bool is_dir, locked;
    struct content cache, disk;
    struct list changes;
    struct entries names, names_on_disk;
};

struct sim_file {
    struct vfs_file file;
    struct list node;
    struct simfs *fs;
    struct inode *inode;
    bool writable, holds_lock;
    char path[PATH_BYTES];
};

struct simfs {
    struct vfs vfs;
    struct inode *root;
    struct list renames, files;
    uint64_t next_seq, next_inode;
    uint64_t capacity_pages, used_pages;
    int64_t sync_ns_max;
    struct simfs_fault fault;
    uint64_t faults_seen, calls[7];
    char fault_path[NAME_BYTES];
};

struct inode *simfs__inode_new(struct simfs *fs, bool is_dir);
struct inode *simfs__inode_ref(struct inode *i);
void simfs__inode_unref(struct simfs *fs, struct inode *i);            /* accepts NULL */
struct inode *simfs__entry(const struct entries *e, const char *name); /* NULL: none */
void simfs__entry_set(struct simfs *fs, struct entries *e, const char *name, struct inode *i);
void simfs__entry_remove(struct simfs *fs, struct entries *e, const char *name);
void simfs__entries_fini(struct simfs *fs, struct entries *e);
/* The inode of a path; SL_ENOTFOUND. */
sl_err simfs__walk(const struct simfs *fs, const char *path, struct inode **ret);
/* The directory of the last name, and that name. */
sl_err simfs__walk_parent(const struct simfs *fs, const char *path, struct inode **ret_dir,
                          char ret_name[NAME_BYTES]);
void simfs__change_free(struct change *c);
void simfs__rename_free(struct simfs *fs, struct rename *r);
void simfs__rename_apply(struct simfs *fs, struct rename *r, bool on_disk);
/* Applies to `to` the sectors of c that keep() says, or all. */
void simfs__change_apply(const struct change *c, struct content *to,
                         bool (*keep)(void *arg, const struct change *c, int64_t sector),
                         void *arg);
extern const struct vfs_ops simfs__ops;

#endif
