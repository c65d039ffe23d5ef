/* Topics: meta.db says which there are, their folders say which there were. While meta.db is whole
 * its rows decide and topic.meta follows them. When it is stale (rebuilt, restored, damaged) the
 * folders decide, because each topic.meta was durable before the rows it describes (B04, B05). No
 * folder is removed here but one whose topic.meta says that its topic is deleted. */
#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "storage/recovery_int.h"
#include "storage/topic_meta_int.h"

#include <stdlib.h>

enum {
    TOPICS_MAX = 10000000,
    NUMBERS_SPARE = 1000, /* numbers of topics and partitions that nobody remembers */
    PRODUCERS_SPARE = 1000000,
};

/* One topic by its id. */
struct book {
    struct topic_meta row;  /* as meta.db has it; parts in any order */
    struct topic_meta file; /* topic.meta */
    size_t parts_cap;
    uint32_t n_wanted; /* partitions, says the row of the topic */
    bool has_row, has_file, has_folder;
    bool foreign; /* its records are in another engine */
};

struct books {
    struct recovery *r;
    struct map *by_id;
    struct map *taken; /* names (with their organisation) and pids in use: borrowed books */
    bool renamed;
};

/* ---- rows -------------------------------------------------------------------------------- */

static struct book *book_of(struct books *b, const struct uuid *id)
{
    struct book *book = map_get(b->by_id, id->bytes, sizeof id->bytes);
    if (book)
        return book;
    book = sl_new(struct book);
    book->row.topic_id = *id;
    SL_ASSERT(map_put(b->by_id, id->bytes, sizeof id->bytes, book, NULL) == SL_OK);
    return book;
}

static void see_numbers(struct recovery *r, const struct topic_meta *m)
{
    r->topic_max = SL_MAX(r->topic_max, m->number);
    for (uint32_t i = 0; i < m->n_parts; i++)
        r->pid_max = SL_MAX(r->pid_max, m->parts[i].pid);
}

static sl_err see_topic(void *arg, const struct meta_topic *t)
{
    struct books *b = arg;
    struct book *book = book_of(b, &t->topic_id);
    book->has_row = true;
    book->foreign = log_engine_by_name(t->engine) != LOG_ENGINE_LOCAL;
    book->row.org = t->org;
    book->row.name = sl_strdup(t->name);
    book->row.number = t->number;
    book->row.created_ms = t->created_ms;
    book->row.config_text = slice_copy(t->config_text.data, t->config_text.len);
    book->n_wanted = t->partitions > 0 ? (uint32_t)t->partitions : 0;
    return SL_OK;
}

static void add_part(struct book *book, uint64_t pid, int32_t index)
{
    struct topic_meta *m = &book->row;
    if (m->n_parts == book->parts_cap) {
        book->parts_cap = SL_MAX(book->parts_cap * 2, (size_t)4);
        m->parts = sl_realloc(m->parts, book->parts_cap, sizeof m->parts[0]);
    }
    m->parts[m->n_parts++] = (struct topic_meta_part){pid, index};
}

static sl_err see_partition(void *arg, const struct meta_partition *p)
{
    add_part(book_of(arg, &p->topic_id), p->pid, p->index);
    return SL_OK;
}

static sl_err load_books(struct books *b)
{
    const struct meta_loader loader = {.arg = b, .topic = see_topic, .partition = see_partition};
    SL_TRY(meta_load(b->r->engine->env.meta, &loader, b->r->fault));
    void *value = NULL;
    for (size_t i = 0; map_next(b->by_id, &i, NULL, &value);)
        see_numbers(b->r, &((struct book *)value)->row);
    return SL_OK;
}

/* ---- folders ----------------------------------------------------------------------------- */

static sl_err delete_rows(struct books *b, const struct uuid *id)
{
    const struct meta_op op = {.kind = META_TOPIC_DELETE, .topic = {.topic_id = *id}};
    struct meta_txn txn = {.ops = &op, .n_ops = 1};
    return meta_commit(b->r->engine->env.meta, &txn);
}

static void forget(struct books *b, struct book *book)
{
    struct uuid id = book->row.topic_id;
    (void)map_remove(b->by_id, id.bytes, sizeof id.bytes);
    topic_meta__fini(&book->row);
    topic_meta__fini(&book->file);
    sl_free(book);
}

/* Marked, and no row that counts says that the deletion failed after all. */
static sl_err finish_deletion(struct books *b, const struct uuid *id, const char *dir)
{
    struct local_engine *e = b->r->engine;
    char gone[PATH_BYTES];
    struct book *book = map_get(b->by_id, id->bytes, sizeof id->bytes);
    if (book) {
        SL_TRY(delete_rows(b, id));
        forget(b, book);
    }
    paths__deleted_topic_dir(gone, e->data_dir, id);
    sl_err err = vfs_rename(e->env.vfs, dir, gone);
    b->renamed |= err == SL_OK;
    if (err != SL_OK)
        LOG_WARN("topic.rename_failed", "the folder of a deleted topic stays", F_STR("dir", dir),
                 F_ERR(err));
    return SL_OK;
}

/* `<id>.deleted` is unlinked soon; its numbers were used all the same. */
static bool ends_in_deleted(const char *name, char ret_id[UUID_TEXT_BYTES])
{
    const char *dot = strchr(name, '.');
    if (!dot || strcmp(dot, ".deleted") != 0 || (size_t)(dot - name) >= UUID_TEXT_BYTES)
        return false;
    memcpy(ret_id, name, (size_t)(dot - name));
    ret_id[dot - name] = '\0';
    return true;
}

static void see_deleted(struct books *b, const struct uuid *id)
{
    char dir[PATH_BYTES];
    struct topic_meta m;
    paths__deleted_topic_dir(dir, b->r->engine->data_dir, id);
    if (topic_meta__load(b->r->engine->env.vfs, dir, &m) != SL_OK)
        return;
    see_numbers(b->r, &m);
    topic_meta__fini(&m);
}

static sl_err see_folder(struct books *b, const struct uuid *id)
{
    struct local_engine *e = b->r->engine;
    char dir[PATH_BYTES];
    struct topic_meta m = {0};
    paths__topic_dir(dir, e->data_dir, id);
    sl_err err = topic_meta__load(e->env.vfs, dir, &m);
    bool has_row = map_get(b->by_id, id->bytes, sizeof id->bytes) != NULL;
    if (err == SL_OK && m.deleted && (b->r->stale || !has_row)) {
        see_numbers(b->r, &m);
        topic_meta__fini(&m);
        return finish_deletion(b, id, dir);
    }
    struct book *book = book_of(b, id);
    book->has_folder = true;
    if (err == SL_OK && !uuid_equal(&m.topic_id, id)) { /* a folder that was copied or renamed */
        topic_meta__fini(&m);
        err = SL_ECORRUPT;
    }
    if (err == SL_OK) {
        see_numbers(b->r, &m);
        book->file = m;
        book->has_file = true;
        return SL_OK;
    }
    bool is_lost = err == SL_ENOTFOUND || err == SL_ECORRUPT || err == SL_EEND;
    if (!is_lost && book->has_row) /* unreadable or newer: left as it is, the rows suffice */
        book->has_file = true;
    return is_lost || book->has_row ? SL_OK : err;
}

static sl_err visit_folder(void *arg, const char *name)
{
    struct books *b = arg;
    struct uuid id;
    char text[UUID_TEXT_BYTES];
    if (uuid_parse(name, &id) == SL_OK)
        return see_folder(b, &id);
    if (b->r->stale && ends_in_deleted(name, text) && uuid_parse(text, &id) == SL_OK)
        see_deleted(b, &id);
    return SL_OK;
}

static sl_err see_folders(struct books *b)
{
    char topics[PATH_BYTES];
    paths__join(topics, b->r->engine->data_dir, "topics");
    SL_TRY(vfs_list_dir(b->r->engine->env.vfs, topics, visit_folder, b));
    return b->renamed ? vfs_sync_dir(b->r->engine->env.vfs, topics) : SL_OK;
}

static void report_folder(struct books *b, const struct book *book, const char *why)
{
    char dir[PATH_BYTES];
    paths__topic_dir(dir, b->r->engine->data_dir, &book->row.topic_id);
    LOG_WARN("topic.unknown_folder", "the folder of a topic is not used; its files are kept",
             F_STR("dir", dir), F_STR("why", why));
}

/* ---- topic.meta follows the rows --------------------------------------------------------- */

static const struct topic_meta_part *find_part(const struct topic_meta *m, int32_t index)
{
    /* Sorted as we write them: a look at the place, then at all. */
    if (index >= 0 && (uint32_t)index < m->n_parts && m->parts[index].index == index)
        return &m->parts[index];
    for (uint32_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].index == index)
            return &m->parts[i];
    return NULL;
}

static bool same_parts(const struct topic_meta *a, const struct topic_meta *b)
{
    if (a->n_parts != b->n_parts)
        return false;
    for (uint32_t i = 0; i < a->n_parts; i++) {
        const struct topic_meta_part *p = find_part(b, a->parts[i].index);
        if (!p || p->pid != a->parts[i].pid)
            return false;
    }
    return true;
}

static bool same_bytes(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static bool same_topic(const struct topic_meta *a, const struct topic_meta *b)
{
    return a->deleted == b->deleted && uuid_equal(&a->org, &b->org) && a->number == b->number &&
           a->created_ms == b->created_ms && strcmp(a->name, b->name) == 0 &&
           same_bytes(a->config_text, b->config_text) && same_parts(a, b);
}

/* Damaged, absent, of an older version, or ahead of rows that were not committed: a change, or a
 * deletion that failed. */
static sl_err follow_rows(struct books *b, struct book *book)
{
    struct local_engine *e = b->r->engine;
    char dir[PATH_BYTES];
    if (!book->has_folder) /* recovery of its partitions makes it and says so (F20) */
        return SL_OK;
    if (book->has_file && (!book->file.name || same_topic(&book->row, &book->file)))
        return SL_OK;
    paths__topic_dir(dir, e->data_dir, &book->row.topic_id);
    sl_err err = topic_meta__save(e->env.vfs, dir, &book->row);
    if (!book->has_file)
        LOG_WARN("topic.meta_rewritten", "topic.meta was damaged or absent", F_STR("dir", dir),
                 F_ERR(err));
    return err == SL_ENOSPC ? SL_OK : err; /* the next start tries again */
}

/* ---- rows follow topic.meta: a stale meta.db --------------------------------------------- */

/* The setting that names the engine: the local one has none. */
static enum log_engine_kind engine_of(struct slice config_text)
{
    static const char line[] = "storage.engine=sqlite\n";
    for (size_t at = 0; at + sizeof line - 1 <= config_text.len; at++)
        if ((at == 0 || config_text.data[at - 1] == '\n') &&
            memcmp(config_text.data + at, line, sizeof line - 1) == 0)
            return LOG_ENGINE_SQLITE;
    return LOG_ENGINE_LOCAL;
}

/* Rows of this topic that are as they are to be. */
static sl_err put_rows(struct books *b, const struct topic_meta *m)
{
    struct meta_op *ops = sl_new_array(struct meta_op, (size_t)m->n_parts + 1);
    ops[0] = (struct meta_op){.kind = META_TOPIC_PUT,
                              .topic = {.topic_id = m->topic_id,
                                        .org = m->org,
                                        .name = m->name,
                                        .number = m->number,
                                        .partitions = (int32_t)m->n_parts,
                                        .created_ms = m->created_ms,
                                        .engine = log_engine_name(engine_of(m->config_text)),
                                        .config_text = m->config_text}};
    for (uint32_t i = 0; i < m->n_parts; i++)
        ops[1 + i] = (struct meta_op){.kind = META_PARTITION_PUT,
                                      .partition = {.pid = m->parts[i].pid,
                                                    .topic_id = m->topic_id,
                                                    .index = m->parts[i].index}};
    struct meta_txn txn = {.ops = ops, .n_ops = (size_t)m->n_parts + 1};
    sl_err err = meta_commit(b->r->engine->env.meta, &txn);
    sl_free(ops);
    return err;
}

/* Every index once. */
static bool is_complete(const struct topic_meta *m)
{
    if (m->n_parts == 0 || m->n_parts > INT32_MAX)
        return false;
    for (uint32_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].index != (int32_t)i || m->parts[i].pid == 0)
            return false;
    return true;
}

/* topic.meta was durable before its row, so it is at least as new; what it lacks the row has. */
static void merge(struct books *b, struct book *book)
{
    struct topic_meta *row = &book->row, *file = &book->file;
    if (book->has_file && file->name) {
        slice_unref(&row->config_text);
        row->config_text = slice_copy(file->config_text.data, file->config_text.len);
        for (uint32_t i = 0; i < file->n_parts; i++)
            if (!find_part(row, file->parts[i].index))
                add_part(book, file->parts[i].pid, file->parts[i].index);
    }
    for (uint32_t i = 0; i < SL_MAX(row->n_parts, book->n_wanted); i++) {
        if (find_part(row, (int32_t)i))
            continue;
        LOG_ERROR("partition.number_lost", "a partition gets a new number; its files are read",
                  F_STR("topic", row->name), F_I64("partition", i));
        add_part(book, ++b->r->pid_max, (int32_t)i);
    }
}

static int by_index(const void *a, const void *b)
{
    const struct topic_meta_part *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

static bool take(struct books *b, struct book *book, const void *key, size_t len)
{
    if (map_get(b->taken, key, len))
        return false;
    SL_ASSERT(map_put(b->taken, key, len, book, NULL) == SL_OK);
    return true;
}

/* Its name and its partitions' numbers; false: another topic has one of them. */
static bool take_names(struct books *b, struct book *book)
{
    struct topic_meta *m = &book->row;
    size_t name_bytes = strlen(m->name), len = sizeof m->org.bytes + name_bytes;
    uint8_t *key = sl_alloc(len, 1);
    memcpy(key, m->org.bytes, sizeof m->org.bytes);
    memcpy(key + sizeof m->org.bytes, m->name, name_bytes);
    bool ok = take(b, book, key, len);
    sl_free(key);
    for (uint32_t i = 0; ok && i < m->n_parts; i++)
        ok = take(b, book, &m->parts[i].pid, sizeof m->parts[i].pid);
    return ok;
}

static sl_err renew_rows(struct books *b, struct book *book)
{
    uint32_t before = book->row.n_parts;
    merge(b, book);
    qsort(book->row.parts, book->row.n_parts, sizeof book->row.parts[0], by_index);
    if (!is_complete(&book->row) || !take_names(b, book)) {
        report_folder(b, book, "its rows make no sense");
        return delete_rows(b, &book->row.topic_id);
    }
    bool same = book->has_file && book->file.name && same_topic(&book->row, &book->file);
    if (!same || before != book->row.n_parts || before != book->n_wanted)
        SL_TRY(put_rows(b, &book->row));
    return follow_rows(b, book);
}

/* A topic that meta.db does not know: created after the backup, or meta.db is new. */
static sl_err add_topic(struct books *b, struct book *book)
{
    uint32_t orphans = book->row.n_parts; /* rows of partitions without that of their topic */
    if (orphans > 0)
        SL_TRY(delete_rows(b, &book->row.topic_id));
    if (!book->has_file) {
        report_folder(b, book, "its topic.meta is damaged or absent");
        return SL_OK;
    }
    topic_meta__fini(&book->row);
    book->row = book->file;
    book->foreign = engine_of(book->row.config_text) != LOG_ENGINE_LOCAL;
    book->file = (struct topic_meta){0};
    qsort(book->row.parts, book->row.n_parts, sizeof book->row.parts[0], by_index);
    if (!is_complete(&book->row)) {
        report_folder(b, book, "its topic.meta makes no sense");
        return SL_OK;
    }
    if (!take_names(b, book)) {
        report_folder(b, book, "another topic has its name");
        return SL_OK;
    }
    if (book->row.number <= 0)
        book->row.number = ++b->r->topic_max;
    LOG_WARN("topic.restored", "a topic that meta.db does not know is taken from its folder",
             F_STR("topic", book->row.name), F_I64("partitions", book->row.n_parts));
    b->r->restored++;
    sl_err err = put_rows(b, &book->row);
    if (err != SL_EEXISTS)
        return err;
    book->row.number = ++b->r->topic_max; /* another topic has its number */
    return put_rows(b, &book->row);
}

/* No folder has data of it: it was deleted after the backup was made. */
static sl_err remove_topic(struct books *b, const struct book *book)
{
    LOG_WARN("topic.gone", "meta.db knows a topic that has no folder: it was deleted since",
             F_STR("topic", book->row.name ? book->row.name : ""));
    return delete_rows(b, &book->row.topic_id);
}

/* Those with rows keep their names; of the others the newest, which was made when the name was
 * free. */
static int rows_first(const void *a, const void *b)
{
    const struct book *x = *(struct book *const *)a, *y = *(struct book *const *)b;
    if (x->has_row != y->has_row)
        return x->has_row ? -1 : 1;
    return (x->file.number < y->file.number) - (x->file.number > y->file.number);
}

static sl_err follow_folder(struct books *b, struct book *book)
{
    if (!book->has_folder)
        return remove_topic(b, book);
    return book->has_row ? renew_rows(b, book) : add_topic(b, book);
}

static sl_err raise_counter(struct recovery *r, const char *name, int64_t at_least)
{
    const struct meta_op op = {.kind = META_COUNTER_RAISE,
                               .counter = {.name = name, .at_least = at_least}};
    struct meta_txn txn = {.ops = &op, .n_ops = 1};
    return meta_commit(r->engine->env.meta, &txn);
}

static sl_err follow_folders(struct books *b)
{
    size_t n = 0;
    void *value = NULL;
    struct book **all = sl_new_array(struct book *, map_count(b->by_id) + 1);
    for (size_t i = 0; map_next(b->by_id, &i, NULL, &value);)
        all[n++] = value;
    qsort(all, n, sizeof all[0], rows_first);
    sl_err err = SL_OK;
    for (size_t i = 0; err == SL_OK && i < n; i++)
        err = follow_folder(b, all[i]);
    sl_free(all);
    return err;
}

/* ---- the whole --------------------------------------------------------------------------- */

static sl_err reconcile(struct books *b)
{
    SL_TRY(load_books(b));
    SL_TRY(see_folders(b));
    if (b->r->stale)
        return follow_folders(b);
    void *value = NULL;
    for (size_t i = 0; map_next(b->by_id, &i, NULL, &value);) {
        struct book *book = value;
        if (book->has_row)
            SL_TRY(follow_rows(b, book));
        else if (book->has_folder)
            report_folder(b, book, "no row names this topic");
    }
    return SL_OK;
}

sl_err recovery__topics(struct recovery *r)
{
    struct books b = {.r = r, .by_id = map_new(TOPICS_MAX), .taken = map_new(SIZE_MAX)};
    sl_err err = reconcile(&b);
    void *value = NULL;
    for (size_t i = 0; map_next(b.by_id, &i, NULL, &value);) {
        struct book *book = value;
        if (err == SL_OK && book->foreign)
            err = map_put(r->foreign, book->row.topic_id.bytes, sizeof book->row.topic_id.bytes, r,
                          NULL);
        topic_meta__fini(&book->row);
        topic_meta__fini(&book->file);
        sl_free(book);
    }
    map_free(b.by_id);
    map_free(b.taken);
    return err;
}

sl_err recovery__raise_counters(struct recovery *r)
{
    SL_ASSERT(r->stale);
    SL_TRY(raise_counter(r, "topic", r->topic_max + NUMBERS_SPARE));
    SL_TRY(raise_counter(r, "pid", (int64_t)r->pid_max + NUMBERS_SPARE));
    return raise_counter(r, "producer", r->producer_max + PRODUCERS_SPARE);
}
