#include "base/number.h"
#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"
#include "record/records.h"

#include <stdio.h>
#include <unistd.h>

enum {
    FETCH_VERSION = 12,
    FETCH_WAIT_MS = 500,
    FETCH_BYTES_MAX = 16 << 20,
    PARTITION_BYTES_MAX = 4 << 20,
    RECORDS_BYTES_MAX = 256 << 20, /* of one batch, decompressed */
};

struct reading {
    struct ctl *c;
    const char *topic;
    struct ctl_partition *ps; /* offset: of the next record */
    struct ctl_partition *ends;
    size_t n;
    int64_t left; /* records that may be printed; -1: no limit */
    int64_t n_records;
    struct buf scratch;
    int status;
};

/* ---- where to begin
 * ----------------------------------------------------------------------------------- */

static int begin_at_tail(struct reading *r, int64_t n)
{
    struct ctl_partition *first = ctl_alloc(r->c, r->n, sizeof *first);
    memcpy(first, r->ps, r->n * sizeof *first);
    int failed = list_offsets(r->c, first, r->n, OFFSET_EARLIEST);
    for (size_t i = 0; !failed && i < r->n; i++)
        r->ps[i].offset = SL_MAX(r->ends[i].offset - n, first[i].offset);
    return failed;
}

static int begin_at_time(struct reading *r, int64_t time_ms)
{
    int failed = list_offsets(r->c, r->ps, r->n, time_ms);
    for (size_t i = 0; !failed && i < r->n; i++)
        if (r->ps[i].offset < 0)
            r->ps[i].offset = r->ends[i].offset;
    return failed;
}

static int begin(struct reading *r)
{
    const char *from = ctl_text(r->c, "from", "earliest");
    int64_t n;
    if (strcmp(from, "earliest") == 0)
        return list_offsets(r->c, r->ps, r->n, OFFSET_EARLIEST);
    if (strcmp(from, "latest") == 0)
        return list_offsets(r->c, r->ps, r->n, OFFSET_LATEST);
    if (*from == '@' && number_parse(from + 1, strlen(from + 1), 0, INT64_MAX, &n) == SL_OK)
        return begin_at_time(r, n);
    if (number_parse(from, strlen(from), -INT64_MAX, INT64_MAX, &n) != SL_OK)
        return ctl_usage(r->c, "--from %s: write earliest, latest, an offset, @TIME or -N", from);
    if (*from == '-')
        return begin_at_tail(r, -n);
    for (size_t i = 0; i < r->n; i++)
        r->ps[i].offset = n;
    return CTL_OK;
}

static int keep_partitions(struct reading *r)
{
    size_t n = 0;
    if (!ctl_list(r->c, "partition", 0))
        return CTL_OK;
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; ctl_list(r->c, "partition", k); k++) {
            const char *text = ctl_list(r->c, "partition", k);
            int64_t index;
            if (number_parse(text, strlen(text), 0, INT32_MAX, &index) != SL_OK ||
                (size_t)index >= r->n)
                return ctl_usage(r->c, "--partition %s: the topic has partitions 0 to %zu", text,
                                 r->n - 1);
            if (index == r->ps[i].index) {
                r->ps[n++] = r->ps[i];
                break;
            }
        }
    }
    r->n = n;
    return CTL_OK;
}

/* ---- printing
 * ----------------------------------------------------------------------------------------- */

static json_t *headers_of(struct record *r)
{
    json_t *array = json_array();
    struct record_header h;
    while (record_next_header(r, &h) == SL_OK) {
        json_t *header = json_object();
        out_bytes(header, "name", h.name);
        out_bytes(header, "value", h.value);
        json_array_append_new(array, header);
    }
    return array;
}

static void print_json(const struct reading *reading, int32_t partition, struct record *r)
{
    json_t *object =
        json_pack("{s:s, s:i, s:I, s:I}", "topic", reading->topic, "partition", partition, "offset",
                  (json_int_t)r->offset, "timestamp", (json_int_t)r->timestamp_ms);
    out_bytes(object, "key", r->key);
    out_bytes(object, "value", r->value);
    json_object_set_new(object, "headers", headers_of(r));
    (void)json_dumpf(object, stdout, JSON_COMPACT); /* a lost reader is seen below */
    json_decref(object);
}

static void print_text(struct slice s)
{
    if (s.data)
        (void)fwrite(s.data, 1, s.len, stdout);
    else
        (void)fputs("null", stdout);
}

static void print_record(struct reading *reading, int32_t partition, struct record *r)
{
    if (reading->c->is_json) {
        print_json(reading, partition, r);
    } else {
        if (ctl_flag(reading->c, "keys")) {
            print_text(r->key);
            (void)fputc('\t', stdout);
        }
        print_text(r->value);
    }
    (void)fputc('\n', stdout);
    if (ferror(stdout))
        reading->status = CTL_FAILED; /* nobody reads any more */
    reading->n_records++;
    if (reading->left > 0)
        reading->left--;
}

static bool is_enough(const struct reading *r)
{
    return r->left == 0 || r->status != CTL_OK;
}

/* ---- fetching
 * ----------------------------------------------------------------------------------------- */

static void take_batch(struct reading *r, struct ctl_partition *p, struct slice batch,
                       const struct batch_info *info)
{
    struct record_iterator it;
    struct record record;
    sl_err err = info->attributes & BATCH_CONTROL ? SL_EEND : records_open(batch, &r->scratch, &it);
    while (err == SL_OK && !is_enough(r)) {
        err = records_next(&it, &record);
        if (err == SL_OK && record.offset >= p->offset)
            print_record(r, p->index, &record);
    }
    if (err != SL_OK && err != SL_EEND)
        r->status = ctl_fail(r->c, "%s partition %d offset %lld: %s", r->topic, p->index,
                             (long long)info->base_offset, sl_err_text(err));
    p->offset = batch_last_offset(info) + 1;
}

static void take_records(struct reading *r, struct ctl_partition *p, struct slice bytes)
{
    struct batch_info info;
    while (!is_enough(r) && bytes.len > 0) {
        sl_err err = batch_peek(bytes, &info);
        if (err == SL_EEND)
            return; /* brokers may cut the last batch */
        if (err != SL_OK) {
            r->status = ctl_fail(r->c, "%s partition %d offset %lld: %s", r->topic, p->index,
                                 (long long)p->offset, sl_err_text(err));
            return;
        }
        take_batch(r, p, slice_sub(bytes, 0, info.bytes), &info);
        bytes = slice_sub(bytes, info.bytes, bytes.len - info.bytes);
    }
}

static void take_partition(struct reading *r,
                           const struct kafka_fetch_response_partition_data *answer)
{
    char what[300];
    (void)snprintf(what, sizeof what, "%s partition %d", r->topic, answer->partition_index);
    if (answer->error_code) {
        r->status = ctl_refused(r->c, what, answer->error_code, (struct slice){0});
        return;
    }
    for (size_t i = 0; i < r->n; i++)
        for (uint32_t k = 0; r->ps[i].index == answer->partition_index && k < answer->records.n;
             k++)
            take_records(r, &r->ps[i], answer->records.slices[k]);
}

static void fetch_from(struct reading *r, int32_t leader)
{
    struct kafka_fetch_request request = kafka_fetch_request_default;
    struct kafka_fetch_request_topic topic = {.topic = slice_str(r->topic)};
    topic.partitions = ctl_alloc(r->c, r->n, sizeof *topic.partitions);
    for (size_t i = 0; i < r->n; i++) {
        if (r->ps[i].leader != leader)
            continue;
        struct kafka_fetch_request_partition *p = &topic.partitions[topic.n_partitions++];
        *p = kafka_fetch_request_partition_default;
        p->partition = r->ps[i].index;
        p->fetch_offset = r->ps[i].offset;
        p->partition_max_bytes = PARTITION_BYTES_MAX;
    }
    request.topics = &topic;
    request.n_topics = 1;
    request.max_wait_ms = FETCH_WAIT_MS;
    request.min_bytes = 1;
    request.max_bytes = FETCH_BYTES_MAX;
    request.session_epoch = -1; /* no session */
    struct kafka_fetch_response answer;
    r->status = ctl_ask(r->c, leader, KAFKA_API_FETCH, FETCH_VERSION, &request, &answer);
    if (!r->status && answer.error_code)
        r->status = ctl_refused(r->c, r->topic, answer.error_code, (struct slice){0});
    for (uint32_t i = 0; !r->status && i < answer.n_responses; i++)
        for (uint32_t k = 0; !is_enough(r) && k < answer.responses[i].n_partitions; k++)
            take_partition(r, &answer.responses[i].partitions[k]);
}

static void fetch_once(struct reading *r)
{
    struct ctl *c = r->c;
    struct arena *kept = c->arena; /* reading may be endless: answers do not pile up */
    c->arena = arena_new(NULL);
    for (size_t i = 0; i < r->n && !is_enough(r); i++) {
        bool is_first = true;
        for (size_t k = 0; k < i; k++)
            is_first = is_first && r->ps[k].leader != r->ps[i].leader;
        if (is_first)
            fetch_from(r, r->ps[i].leader);
    }
    arena_free(c->arena);
    c->arena = kept;
    if (!isatty(STDOUT_FILENO))
        out_progress("%lld records read", (long long)r->n_records);
    if (fflush(stdout) != 0 && !r->status)
        r->status = CTL_FAILED;
}

static bool is_at_end(const struct reading *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->ps[i].offset < r->ends[i].offset)
            return false;
    return true;
}

int ctl_consume(struct ctl *c)
{
    struct reading r = {.c = c, .topic = c->args[0], .left = ctl_number(c, "count", -1)};
    int failed = topic_partitions(c, r.topic, &r.ps, &r.n);
    if (!failed)
        failed = keep_partitions(&r);
    if (failed)
        return failed;
    r.ends = ctl_alloc(c, r.n, sizeof *r.ends);
    memcpy(r.ends, r.ps, r.n * sizeof *r.ends);
    failed = list_offsets(c, r.ends, r.n, OFFSET_LATEST);
    if (!failed)
        failed = begin(&r);
    if (failed)
        return failed;
    buf_init(&r.scratch, RECORDS_BYTES_MAX);
    while (!is_enough(&r) && !(ctl_flag(c, "exit") && is_at_end(&r)))
        fetch_once(&r);
    buf_fini(&r.scratch);
    return r.status;
}
