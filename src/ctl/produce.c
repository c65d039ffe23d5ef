#include "base/buf.h"
#include "base/clock.h"
#include "ctl/lookup.h"
#include "ctl/output.h"
#include "kafka_codec/errors.h"
#include "record/builder.h"
#include "record/partitioner.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum {
    BATCH_BYTES_MAX = 512 << 10,
    LINE_BYTES_MAX = 64 << 20,
    READ_BYTES = 65536,
    LINGER_MS = 50, /* a batch goes when the input has nothing for so long */
    PRODUCE_VERSION = 9,
    HEADERS_MAX = 100,
};

/* One batch for each partition that keyed records go to; records without key share one. */
struct sender {
    struct ctl *c;
    const char *topic;
    struct ctl_partition *partitions;
    struct batch_builder **builders;
    size_t n_partitions, next; /* next: where records without key go */
    enum codec codec;
    int16_t acks;
    struct new_header headers[HEADERS_MAX];
    uint32_t n_headers;
    const char *separator;
    int64_t n_records, n_bytes;
    int status;
};

/* ---- partitions
 * --------------------------------------------------------------------------------------- */

static size_t choose_partition(struct sender *s, struct slice key)
{
    if (s->n_partitions == 1 || !key.data)
        return s->next;
    return partitioner_choose(key, (uint32_t)s->n_partitions);
}

/* ---- sending
 * ------------------------------------------------------------------------------------------ */

static int check_answer(struct ctl *c, const char *topic,
                        const struct kafka_produce_response *answer)
{
    if (answer->n_responses != 1 || answer->responses[0].n_partition_responses != 1)
        return ctl_fail(c, "the broker did not answer for the one partition that was asked for");
    const struct kafka_produce_response_partition_produce_response *p =
        &answer->responses[0].partition_responses[0];
    return p->error_code ? ctl_refused(c, topic, p->error_code, p->error_message) : CTL_OK;
}

static int send_batch(struct sender *s, size_t i, struct slice batch)
{
    struct kafka_produce_request_partition_produce_data partition = {
        .index = s->partitions[i].index, .records = batch};
    struct kafka_produce_request_topic_produce_data topic = {
        .name = slice_str(s->topic), .n_partition_data = 1, .partition_data = &partition};
    struct kafka_produce_request request = {.acks = s->acks,
                                            .timeout_ms = (int32_t)ctl_timeout_ms(s->c),
                                            .n_topic_data = 1,
                                            .topic_data = &topic};
    struct kafka_produce_response answer;
    struct ctl *c = s->c;
    struct arena *kept = c->arena; /* the input may be endless: answers do not pile up */
    c->arena = arena_new(NULL);
    int failed =
        ctl_ask(c, s->partitions[i].leader, KAFKA_API_PRODUCE, PRODUCE_VERSION, &request, &answer);
    if (!failed)
        failed = check_answer(c, s->topic, &answer);
    arena_free(c->arena);
    c->arena = kept;
    return failed;
}

static void flush_partition(struct sender *s, size_t i)
{
    struct slice batch;
    int32_t n = s->builders[i] ? batch_builder_count(s->builders[i]) : 0;
    if (n == 0 || s->status)
        return;
    sl_err err = batch_builder_finish(s->builders[i], &batch_producer_none, &batch);
    if (err != SL_OK) {
        s->status = ctl_fail(s->c, "cannot build a batch: %s", sl_err_text(err));
        return;
    }
    s->status = send_batch(s, i, batch);
    if (!s->status) {
        s->n_records += n;
        s->n_bytes += (int64_t)batch.len;
        out_progress("%lld records sent", (long long)s->n_records);
    }
    slice_unref(&batch);
    if (i == s->next && !ctl_flag(s->c, "partition"))
        s->next = (s->next + 1) % s->n_partitions;
}

static void flush_all(struct sender *s)
{
    for (size_t i = 0; i < s->n_partitions; i++)
        flush_partition(s, i);
}

static void add_record(struct sender *s, const struct new_record *r)
{
    size_t i = choose_partition(s, r->key);
    if (!s->builders[i])
        s->builders[i] = batch_builder_new(s->codec, (size_t)LINE_BYTES_MAX * 2);
    sl_err err = batch_builder_add(s->builders[i], r);
    if (err != SL_OK)
        s->status = ctl_fail(s->c, "a record of %zu bytes: %s", r->value.len, sl_err_text(err));
    else if (batch_builder_bytes(s->builders[i]) >= BATCH_BYTES_MAX)
        flush_partition(s, i);
}

static void send_line(struct sender *s, struct slice line)
{
    struct new_record r = {.timestamp_ms = clock_wall_ms(&clock_real),
                           .value = line,
                           .headers = s->headers,
                           .n_headers = s->n_headers};
    const uint8_t *at =
        s->separator ? memmem(line.data, line.len, s->separator, strlen(s->separator)) : NULL;
    if (at) {
        size_t key_len = (size_t)(at - line.data), value_at = key_len + strlen(s->separator);
        r.key = slice_sub(line, 0, key_len);
        r.value = slice_sub(line, value_at, line.len - value_at);
    }
    if (!r.value.data)
        r.value = slice_str("");
    add_record(s, &r);
}

/* ---- the input
 * ---------------------------------------------------------------------------------------- */

/* Sends the whole lines at the head of the buffer; the rest moves to its front. */
static void send_lines(struct sender *s, struct buf *input, bool is_end)
{
    size_t at = 0;
    while (at < input->len && !s->status) {
        const uint8_t *newline = memchr(input->data + at, '\n', input->len - at);
        if (!newline && !is_end)
            break;
        size_t end = newline ? (size_t)(newline - input->data) : input->len;
        send_line(s, slice_of(input->data + at, end - at));
        at = newline ? end + 1 : end;
    }
    memmove(input->data, input->data + at, input->len - at);
    input->len -= at;
}

static void read_input(struct sender *s)
{
    struct buf input;
    buf_init(&input, LINE_BYTES_MAX);
    for (bool is_end = false; !is_end && !s->status;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&p, 1, LINGER_MS) == 0) {
            flush_all(s);
            (void)poll(&p, 1, -1);
        }
        if (buf_reserve(&input, READ_BYTES) != SL_OK) {
            s->status = ctl_fail(s->c, "a line is longer than %d bytes", LINE_BYTES_MAX);
            break;
        }
        ssize_t n = read(STDIN_FILENO, input.data + input.len, READ_BYTES);
        if (n < 0)
            s->status = ctl_fail(s->c, "cannot read the input");
        is_end = n <= 0;
        input.len += n > 0 ? (size_t)n : 0;
        send_lines(s, &input, is_end);
    }
    flush_all(s);
    buf_fini(&input);
}

/* ---- the command
 * -------------------------------------------------------------------------------------- */

static int parse_headers(struct sender *s)
{
    for (const char *text; (text = ctl_list(s->c, "header", s->n_headers));) {
        size_t len = strcspn(text, "=");
        if (!text[len] || s->n_headers + 1 == HEADERS_MAX)
            return ctl_usage(s->c, "--header %s: write it as NAME=VALUE", text);
        s->headers[s->n_headers++] =
            (struct new_header){slice_of(text, len), slice_str(text + len + 1)};
    }
    return CTL_OK;
}

static int choose_only_partition(struct sender *s)
{
    int64_t only = ctl_number(s->c, "partition", -1);
    if (only < 0)
        return CTL_OK;
    if ((size_t)only >= s->n_partitions)
        return ctl_usage(s->c, "--partition %lld: the topic has partitions 0 to %zu",
                         (long long)only, s->n_partitions - 1);
    s->partitions += only;
    s->n_partitions = 1;
    return CTL_OK;
}

int ctl_produce(struct ctl *c)
{
    static struct sender s;
    s.c = c;
    s.topic = c->args[0];
    s.separator = ctl_text(c, "key-separator", NULL);
    s.acks = strcmp(ctl_text(c, "acks", "all"), "all") == 0 ? -1 : 1;
    if (codec_by_name(ctl_text(c, "compression", "none"), &s.codec) != SL_OK)
        SL_UNREACHABLE(); /* the choices are the codecs' names */
    int failed = parse_headers(&s);
    if (!failed)
        failed = topic_partitions(c, s.topic, &s.partitions, &s.n_partitions);
    if (!failed)
        failed = choose_only_partition(&s);
    if (failed)
        return failed;
    s.builders = ctl_alloc(c, s.n_partitions, sizeof(struct batch_builder *));
    read_input(&s);
    for (size_t i = 0; i < s.n_partitions; i++)
        batch_builder_free(s.builders[i]);
    out_progress_end();
    json_t *result = json_pack("{s:s, s:I, s:I}", "topic", s.topic, "records",
                               (json_int_t)s.n_records, "bytes", (json_int_t)s.n_bytes);
    if (!out_json(c, result))
        printf("%lld records sent to %s\n", (long long)s.n_records, s.topic);
    json_decref(result);
    return s.status;
}
