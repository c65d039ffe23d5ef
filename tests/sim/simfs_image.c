#include "base/alloc.h"
#include "base/rng.h"
#include "sim/simfs_int.h"

#include <string.h>

/* How a power cut treats the changes of one file, or of the names. */
enum fate {
    FATE_NONE,    /* none of them was written */
    FATE_ALL,     /* all */
    FATE_PREFIX,  /* those up to some point, as a journalling file system does */
    FATE_SECTORS, /* each sector at a version of its own */
    FATE_COUNT,
};

struct cut {
    enum fate fate;
    uint64_t seed;
    uint64_t seq_first, seq_last; /* of the changes */
    uint64_t prefix;              /* the last sequence number that is kept */
};

/* A number that depends on the seed and on what is asked only, so that nothing needs a table. */
static uint64_t mix(uint64_t seed, uint64_t a, uint64_t b)
{
    struct rng_seeded r;
    rng_seeded_init(&r, seed ^ a * 0x9e3779b97f4a7c15u ^ b * 0xd6e8feb86659fd93u);
    return rng_u64(&r.rng);
}

static struct cut cut_of(enum simfs_crash crash, uint64_t seed, uint64_t number, uint64_t seq_first,
                         uint64_t seq_last)
{
    struct cut c = {.seed = mix(seed, number, 1), .seq_first = seq_first, .seq_last = seq_last};
    c.fate = crash == SIMFS_POWER_NONE  ? FATE_NONE
             : crash == SIMFS_POWER_ALL ? FATE_ALL
                                        : (enum fate)(mix(c.seed, 0, 2) % FATE_COUNT);
    c.prefix = seq_first + mix(c.seed, 0, 3) % (seq_last - seq_first + 1);
    return c;
}

/* The newest version of this sector that reached the disk. */
static uint64_t version_of(const struct cut *c, int64_t sector)
{
    switch (c->fate) {
    case FATE_NONE:
        return 0;
    case FATE_ALL:
        return UINT64_MAX;
    case FATE_PREFIX:
        /* the last one is torn: each of its sectors made it or not */
        return c->prefix - mix(c->seed, (uint64_t)sector, 4) % 2;
    default:
        return c->seq_first - 1 +
               mix(c->seed, (uint64_t)sector, 5) % (c->seq_last - c->seq_first + 2);
    }
}

static bool keep_sector(void *arg, const struct change *change, int64_t sector)
{
    return change->seq <= version_of(arg, sector);
}

/* Content and size go separate ways: a file may have its new size and old content. */
static struct content content_after(const struct inode *i, enum simfs_crash crash, uint64_t seed)
{
    struct content to = content_share(&i->disk);
    if (list_empty(&i->changes))
        return to;
    const struct change *first = SL_CONTAINER_OF(i->changes.next, struct change, node);
    const struct change *last = SL_CONTAINER_OF(i->changes.prev, struct change, node);
    struct cut cut = cut_of(crash, seed, i->number, first->seq, last->seq);
    uint64_t size_version = version_of(&cut, INT64_MAX);
    int64_t size = to.size;
    LIST_FOREACH (node, &i->changes) {
        const struct change *c = SL_CONTAINER_OF(node, struct change, node);
        simfs__change_apply(c, &to, keep_sector, &cut);
        if (c->seq <= size_version)
            size = c->size_after;
    }
    (void)content_resize(&to, size);
    return to;
}

/* ---- copying the whole ----------------------------------------------------------------------- */

enum copy {
    COPY_DURABLE, /* what programs see, as if it had been synced */
    COPY_KILL,    /* cache, disk and all between */
    COPY_POWER,   /* disk and what the cut keeps */
};

struct copier {
    const struct simfs *from;
    struct simfs *to;
    struct inode **done; /* by number: the copy, counted; NULL: not yet */
    enum copy copy;
    enum simfs_crash crash;
    uint64_t seed;
};

static struct inode *copy_of(struct copier *c, const struct inode *from);

static void copy_names(struct copier *c, struct entries *to, const struct entries *from)
{
    for (size_t i = 0; i < from->n; i++)
        simfs__entry_set(c->to, to, from->list[i].name, copy_of(c, from->list[i].inode));
}

static void copy_dir(struct copier *c, struct inode *to, const struct inode *from)
{
    copy_names(c, &to->names, c->copy == COPY_POWER ? &from->names_on_disk : &from->names);
    copy_names(c, &to->names_on_disk,
               c->copy == COPY_DURABLE ? &from->names : &from->names_on_disk);
}

static void copy_changes(struct inode *to, const struct inode *from)
{
    LIST_FOREACH (node, &from->changes) {
        const struct change *c = SL_CONTAINER_OF(node, struct change, node);
        struct change *copy = sl_new(struct change);
        *copy = *c;
        copy->node = (struct list){0};
        if (c->data)
            copy->data = memcpy(sl_alloc(c->len, 1), c->data, c->len);
        list_push_back(&to->changes, &copy->node);
    }
}

static void copy_file(struct copier *c, struct inode *to, const struct inode *from)
{
    if (c->copy == COPY_POWER)
        to->cache = content_after(from, c->crash, c->seed);
    else
        to->cache = content_share(&from->cache);
    if (c->copy == COPY_KILL) {
        to->disk = content_share(&from->disk);
        copy_changes(to, from);
    } else {
        to->disk = content_share(&to->cache);
    }
    c->to->used_pages += content_pages(&to->cache);
}

static struct inode *copy_of(struct copier *c, const struct inode *from)
{
    struct inode **done = &c->done[from->number];
    if (*done)
        return *done;
    *done = simfs__inode_new(c->to, from->is_dir);
    (*done)->number = from->number;
    if (from->is_dir)
        copy_dir(c, *done, from);
    else
        copy_file(c, *done, from);
    return *done;
}

static struct rename *copy_rename(struct copier *c, const struct rename *from)
{
    struct rename *r = sl_new(struct rename);
    *r = *from;
    r->node = (struct list){0};
    r->from_dir = from->from_dir ? simfs__inode_ref(copy_of(c, from->from_dir)) : NULL;
    r->to_dir = from->to_dir ? simfs__inode_ref(copy_of(c, from->to_dir)) : NULL;
    r->inode = from->inode ? simfs__inode_ref(copy_of(c, from->inode)) : NULL;
    return r;
}

/* The changes of names that the cut keeps, in the order they happened. */
static bool keep_rename(const struct cut *c, const struct rename *r)
{
    if (c->fate == FATE_SECTORS)
        return mix(c->seed, r->seq, 6) % 2;
    return c->fate == FATE_ALL || (c->fate == FATE_PREFIX && r->seq <= c->prefix);
}

static void copy_renames(struct copier *c)
{
    const struct list *renames = &c->from->renames;
    if (c->copy == COPY_DURABLE || list_empty(renames))
        return;
    uint64_t first = SL_CONTAINER_OF(renames->next, struct rename, node)->seq;
    uint64_t last = SL_CONTAINER_OF(renames->prev, struct rename, node)->seq;
    struct cut cut = cut_of(c->crash, c->seed, UINT64_MAX, first, last);
    LIST_FOREACH (node, renames) {
        const struct rename *from = SL_CONTAINER_OF(node, struct rename, node);
        if (c->copy == COPY_POWER && !keep_rename(&cut, from))
            continue;
        struct rename *r = copy_rename(c, from);
        list_push_back(&c->to->renames, &r->node);
        if (c->copy == COPY_KILL)
            continue;
        simfs__rename_apply(c->to, r, false);
        simfs__rename_apply(c->to, r, true);
        simfs__rename_free(c->to, r);
    }
}

static struct simfs *copy_all(const struct simfs *fs, enum copy copy, enum simfs_crash crash,
                              uint64_t seed)
{
    struct simfs *to = simfs_new();
    struct copier c = {.from = fs, .to = to, .copy = copy, .crash = crash, .seed = seed};
    c.done = sl_new_array(struct inode *, fs->next_inode);
    simfs__inode_unref(to, to->root);
    to->root = simfs__inode_ref(copy_of(&c, fs->root));
    to->next_seq = fs->next_seq;
    to->next_inode = fs->next_inode;
    to->capacity_pages = fs->capacity_pages;
    to->sync_ns_max = fs->sync_ns_max;
    copy_renames(&c);
    for (uint64_t i = 0; i < fs->next_inode; i++)
        simfs__inode_unref(to, c.done[i]);
    sl_free(c.done);
    return to;
}

struct simfs *simfs_image(const struct simfs *fs, enum simfs_crash crash, uint64_t seed)
{
    return copy_all(fs, crash == SIMFS_KILL ? COPY_KILL : COPY_POWER, crash, seed);
}

struct simfs *simfs_copy(const struct simfs *fs)
{
    return copy_all(fs, COPY_DURABLE, SIMFS_KILL, 0);
}
