/* topic.meta: what a topic was called and which partitions it had, beside its data.
 *
 * Format: docs/formats/topic-meta.md. Replaced as a whole. Blocking; workers and recovery. */
#ifndef SLUICE_STORAGE_TOPIC_META_INT_H
#define SLUICE_STORAGE_TOPIC_META_INT_H

#include "storage/log_engine.h"
#include "vfs/vfs.h"

enum { TOPIC_META_BYTES_MAX = 16 << 20 };

struct topic_meta_part {
    uint64_t pid;
    int32_t index;
};

struct topic_meta {
    struct uuid org, topic_id;
    int64_t number;     /* 0: not known (version 1) */
    int64_t created_ms; /* -1: not known */
    bool deleted;
    char *name;
    struct slice config_text; /* counted */
    struct topic_meta_part *parts;
    uint32_t n_parts;
};

void topic_meta__copy(struct topic_meta *m, const struct log_topic_spec *spec);
void topic_meta__fini(struct topic_meta *m);
sl_err topic_meta__save(struct vfs *v, const char *dir, const struct topic_meta *m) SL_CHECKED;
/* SL_ENOTFOUND, SL_ECORRUPT, SL_EFORMAT. On SL_OK the caller finis *ret. */
sl_err topic_meta__load(struct vfs *v, const char *dir, struct topic_meta *ret) SL_CHECKED;
/* Sets or takes back the mark. SL_OK also when there is no file. */
sl_err topic_meta__mark_deleted(struct vfs *v, const char *dir, bool deleted) SL_CHECKED;
/* Pure: bytes of a file. */
sl_err topic_meta__parse(struct slice bytes, struct topic_meta *ret) SL_CHECKED;

#endif
