/* Every message in every version: random content there and back, and hostile bytes. */
#include "base/rng.h"
#include "kafka_codec/fields.h"
#include "kafka_codec/messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BYTES_MAX = 1 << 20, ALLOC_MAX = 16 << 20, ROUNDS = 5 };

/* ---- random content, from the generated description of the fields ------------------------------
 */

static bool has_version(const struct kafka_field *f, int16_t version)
{
    return f->first <= version && version <= f->last;
}

static bool null_allowed(const struct kafka_field *f, int16_t version)
{
    return f->null_first <= version && version <= f->null_last;
}

static size_t element_size(const struct kafka_field *f)
{
    static const size_t sizes[] = {
        [KAFKA_FIELD_BOOL] = sizeof(bool),
        [KAFKA_FIELD_INT8] = 1,
        [KAFKA_FIELD_INT16] = 2,
        [KAFKA_FIELD_UINT16] = 2,
        [KAFKA_FIELD_INT32] = 4,
        [KAFKA_FIELD_INT64] = 8,
        [KAFKA_FIELD_UUID] = 16,
        [KAFKA_FIELD_STRING] = sizeof(struct slice),
        [KAFKA_FIELD_BYTES] = sizeof(struct slice),
        [KAFKA_FIELD_RECORDS] = sizeof(struct kafka_records),
        [KAFKA_FIELD_RECORD_BYTES] = sizeof(struct slice),
    };
    return f->type == KAFKA_FIELD_STRUCT ? f->of->size : sizes[f->type];
}

struct filler {
    struct rng *rng;
    struct arena *arena;
    int16_t version;
};

static void fill_struct(struct filler *fill, const struct kafka_struct_info *info, char *at);

static struct slice random_bytes(struct filler *fill, size_t len)
{
    uint8_t *bytes = arena_alloc(fill->arena, len + 1, 1);
    fill->rng->fill(fill->rng, bytes, len);
    return slice_of(bytes, len);
}

static struct slice random_slice(struct filler *fill, bool null_ok)
{
    if (null_ok && rng_below(fill->rng, 3) == 0)
        return (struct slice){0};
    return random_bytes(fill, rng_below(fill->rng, 200));
}

static struct kafka_records random_records(struct filler *fill, bool null_ok)
{
    struct kafka_records r = {.is_null = null_ok && rng_below(fill->rng, 3) == 0};
    r.n = r.is_null ? 0 : (uint32_t)rng_below(fill->rng, 4);
    r.slices = arena_alloc(fill->arena, r.n, sizeof *r.slices);
    for (uint32_t i = 0; i < r.n; i++)
        r.slices[i] = random_bytes(fill, rng_below(fill->rng, 3000));
    return r;
}

static void fill_element(struct filler *fill, const struct kafka_field *f, char *at)
{
    bool null_ok = !f->is_array && null_allowed(f, fill->version);
    switch (f->type) {
    case KAFKA_FIELD_BOOL:
        *(bool *)at = rng_below(fill->rng, 2);
        return;
    case KAFKA_FIELD_INT8:
    case KAFKA_FIELD_INT16:
    case KAFKA_FIELD_UINT16:
    case KAFKA_FIELD_INT32:
    case KAFKA_FIELD_INT64:
    case KAFKA_FIELD_UUID:
        fill->rng->fill(fill->rng, at, element_size(f));
        return;
    case KAFKA_FIELD_STRING:
    case KAFKA_FIELD_BYTES:
    case KAFKA_FIELD_RECORD_BYTES:
        *(struct slice *)(void *)at = random_slice(fill, null_ok);
        return;
    case KAFKA_FIELD_RECORDS:
        *(struct kafka_records *)(void *)at = random_records(fill, null_ok);
        return;
    case KAFKA_FIELD_STRUCT:
        fill_struct(fill, f->of, at);
        return;
    }
    fail();
}

static void fill_array(struct filler *fill, const struct kafka_field *f, char *base)
{
    bool null_ok = null_allowed(f, fill->version);
    if (null_ok)
        base[f->is_null_offset] = 0;
    if (null_ok && rng_below(fill->rng, 3) == 0) {
        base[f->is_null_offset] = 1;
        return;
    }
    uint32_t n = (uint32_t)rng_below(fill->rng, 4);
    char *elements = arena_alloc(fill->arena, n, element_size(f));
    for (uint32_t i = 0; i < n; i++)
        fill_element(fill, f, elements + i * element_size(f));
    *(uint32_t *)(void *)(base + f->n_offset) = n;
    *(char **)(void *)(base + f->offset) = elements;
}

static void fill_struct(struct filler *fill, const struct kafka_struct_info *info, char *at)
{
    memcpy(at, info->defaults, info->size);
    for (size_t i = 0; i < info->n_fields; i++) {
        const struct kafka_field *f = &info->fields[i];
        if (!has_version(f, fill->version))
            continue;
        if (f->is_array) {
            fill_array(fill, f, at);
        } else if (f->type == KAFKA_FIELD_STRUCT && f->null_first <= f->null_last) {
            char *inner = NULL;
            if (rng_below(fill->rng, 3)) {
                inner = arena_alloc(fill->arena, 1, f->of->size);
                fill_struct(fill, f->of, inner);
            }
            *(char **)(void *)(at + f->offset) = inner;
        } else {
            fill_element(fill, f, at + f->offset);
        }
    }
}

/* ---- comparison ------------------------------------------------------------------------------ */

static bool structs_equal(const struct kafka_struct_info *info, const char *a, const char *b);

static bool slices_equal(const struct slice *a, const struct slice *b)
{
    return !a->data == !b->data && slice_eq(*a, *b);
}

static size_t records_copy(const struct kafka_records *r, uint8_t *to)
{
    size_t len = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->slices[i].len)
            memcpy(to + len, r->slices[i].data, r->slices[i].len);
        len += r->slices[i].len;
    }
    return len;
}

static bool records_equal(const struct kafka_records *a, const struct kafka_records *b)
{
    static uint8_t flat_a[16384], flat_b[16384];
    size_t len_a = records_copy(a, flat_a), len_b = records_copy(b, flat_b);
    return a->is_null == b->is_null && len_a == len_b && memcmp(flat_a, flat_b, len_a) == 0;
}

static bool elements_equal(const struct kafka_field *f, const char *a, const char *b)
{
    switch (f->type) {
    case KAFKA_FIELD_STRING:
    case KAFKA_FIELD_BYTES:
    case KAFKA_FIELD_RECORD_BYTES:
        return slices_equal((const void *)a, (const void *)b);
    case KAFKA_FIELD_RECORDS:
        return records_equal((const void *)a, (const void *)b);
    case KAFKA_FIELD_STRUCT:
        return structs_equal(f->of, a, b);
    default:
        return memcmp(a, b, element_size(f)) == 0;
    }
}

static bool pointed_equal(const struct kafka_field *f, uint32_t n, const char *a, const char *b)
{
    const char *elements_a = *(char *const *)(const void *)(a + f->offset);
    const char *elements_b = *(char *const *)(const void *)(b + f->offset);
    for (uint32_t i = 0; i < n; i++)
        if (!elements_equal(f, elements_a + i * element_size(f), elements_b + i * element_size(f)))
            return false;
    return true;
}

static bool fields_equal(const struct kafka_field *f, const char *a, const char *b)
{
    if (f->is_array) {
        uint32_t n = *(const uint32_t *)(const void *)(a + f->n_offset);
        if (n != *(const uint32_t *)(const void *)(b + f->n_offset))
            return false;
        if (f->null_first <= f->null_last && a[f->is_null_offset] != b[f->is_null_offset])
            return false;
        return pointed_equal(f, n, a, b);
    }
    if (f->type == KAFKA_FIELD_STRUCT && f->null_first <= f->null_last) {
        bool set_a = *(char *const *)(const void *)(a + f->offset) != NULL;
        bool set_b = *(char *const *)(const void *)(b + f->offset) != NULL;
        return set_a == set_b && (!set_a || pointed_equal(f, 1, a, b));
    }
    return elements_equal(f, a + f->offset, b + f->offset);
}

static bool structs_equal(const struct kafka_struct_info *info, const char *a, const char *b)
{
    for (size_t i = 0; i < info->n_fields; i++) {
        if (!fields_equal(&info->fields[i], a, b)) {
            print_message("field %s differs\n", info->fields[i].name);
            return false;
        }
    }
    return true;
}

/* ---- helpers --------------------------------------------------------------------------------- */

static uint8_t flat[BYTES_MAX];

static struct slice encode(const struct kafka_message *message, int16_t version, const void *msg)
{
    struct kafka_out out;
    kafka_out_init(&out, BYTES_MAX);
    message->encode(&out, version, msg);
    assert_int_equal(SL_OK, kafka_out_finish(&out));
    size_t len = 0;
    for (uint32_t i = 0; i < out.n_pieces; i++) {
        memcpy(flat + len, out.pieces[i].data, out.pieces[i].len);
        len += out.pieces[i].len;
    }
    assert_int_equal(len, out.bytes);
    kafka_out_fini(&out);
    return slice_of(flat, len);
}

static sl_err decode(const struct kafka_message *message, int16_t version, struct slice bytes,
                     struct arena *arena, void **ret_msg)
{
    struct reader in = reader_over(bytes, arena, ALLOC_MAX);
    *ret_msg = arena_alloc(arena, 1, message->size);
    message->decode(&in, version, *ret_msg);
    return reader_finish(&in);
}

/* Calls fn for each message and version with random content, ROUNDS times. */
static void for_all(void (*fn)(const struct kafka_message_info *info, int16_t version,
                               struct arena *arena, const char *msg))
{
    struct rng_seeded seeded;
    rng_seeded_init(&seeded, 7);
    struct arena *arena = arena_new(NULL);
    for (size_t i = 0; i < kafka_n_message_infos; i++) {
        const struct kafka_message_info *info = &kafka_message_infos[i];
        const struct kafka_message *m = info->message;
        for (int16_t v = m->first_version; v <= m->last_version; v++) {
            for (int round = 0; round < ROUNDS; round++) {
                struct filler fill = {&seeded.rng, arena, v};
                char *msg = arena_alloc(arena, 1, m->size);
                fill_struct(&fill, info->root, msg);
                fn(info, v, arena, msg);
                arena_reset(arena);
            }
        }
    }
    arena_free(arena);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void check_round_trip(const struct kafka_message_info *info, int16_t version,
                             struct arena *arena, const char *msg)
{
    struct slice bytes = encode(info->message, version, msg);
    void *back;
    sl_err err = decode(info->message, version, bytes, arena, &back);
    if (err != SL_OK || !structs_equal(info->root, msg, back)) {
        print_message("%s version %d\n", info->message->name, version);
        fail();
    }
}

static void every_message_in_every_version_survives_the_way_there_and_back(void **state)
{
    for_all(check_round_trip);
}

static void check_truncation(const struct kafka_message_info *info, int16_t version,
                             struct arena *arena, const char *msg)
{
    struct slice bytes = encode(info->message, version, msg);
    size_t step = bytes.len > 400 ? bytes.len / 200 : 1;
    for (size_t len = 0; len < bytes.len; len += step) {
        /* an allocation of exactly this size lets the sanitizer see one byte too many */
        uint8_t *cut = malloc(len ? len : 1);
        assert_non_null(cut);
        memcpy(cut, bytes.data, len);
        struct arena *own = arena_new(NULL);
        void *back;
        assert_int_equal(SL_EPROTO, decode(info->message, version, slice_of(cut, len), own, &back));
        arena_free(own);
        free(cut);
    }
    (void)arena;
}

static void K04_a_message_cut_at_any_byte_is_refused(void **state)
{
    for_all(check_truncation);
}

static void check_trailing(const struct kafka_message_info *info, int16_t version,
                           struct arena *arena, const char *msg)
{
    struct slice bytes = encode(info->message, version, msg);
    flat[bytes.len] = 0;
    void *back;
    sl_err err = decode(info->message, version, slice_of(flat, bytes.len + 1), arena, &back);
    assert_int_equal(SL_EPROTO, err);
}

static void bytes_behind_a_message_are_refused(void **state)
{
    for_all(check_trailing);
}

static void check_random_bytes(const struct kafka_message_info *info, int16_t version,
                               struct arena *arena, const char *msg)
{
    struct slice bytes = encode(info->message, version, msg);
    struct rng_seeded seeded;
    rng_seeded_init(&seeded, bytes.len);
    if (bytes.len)
        flat[rng_below(&seeded.rng, bytes.len)] = (uint8_t)rng_u64(&seeded.rng);
    struct budget budget = {.max = SIZE_MAX};
    struct arena *own = arena_new(&budget);
    struct reader in = reader_over(bytes, own, kafka_alloc_max(bytes.len));
    info->message->decode(&in, version, arena_alloc(arena, 1, info->message->size));
    assert_true(budget.used <= 8 * bytes.len + (128 << 10));
    arena_free(own);
}

static void B27_a_damaged_message_never_allocates_more_than_its_size_allows(void **state)
{
    for_all(check_random_bytes);
}

static sl_err decode_hex(const struct kafka_message *message, int16_t version, const uint8_t *bytes,
                         size_t len)
{
    struct arena *arena = arena_new(NULL);
    struct reader in = reader_over(slice_of(bytes, len), arena, kafka_alloc_max(len));
    message->decode(&in, version, arena_alloc(arena, 1, message->size));
    sl_err err = reader_finish(&in);
    arena_free(arena);
    return err;
}

static void K02_lengths_that_lie_are_refused(void **state)
{
    /* MetadataRequest 1: an int32 count; 9: a compact one and names */
    static const struct {
        int16_t version;
        uint8_t bytes[8], len;
    } cases[] = {
        {1, {0x7f, 0xff, 0xff, 0xff}, 4},             /* INT32_MAX topics */
        {1, {0xff, 0xff, 0xff, 0xfe}, 4},             /* -2 topics */
        {1, {0, 0, 0, 1, 0x7f, 0xff, 'a'}, 7},        /* a name longer than the rest */
        {1, {0, 0, 0, 1, 0xff, 0xfe, 'a'}, 7},        /* a name of -2 bytes */
        {1, {0, 0, 0, 1, 0xff, 0xff}, 6},             /* a null name where none may be */
        {9, {0xff, 0xff, 0xff, 0xff, 0x0f}, 5},       /* uvarint 2^32-1 */
        {9, {0xff, 0xff, 0xff, 0xff, 0x1f}, 5},       /* a bit beyond 32 */
        {9, {0x80, 0x80, 0x80, 0x80, 0x80, 1}, 6},    /* a varint of six bytes */
        {9, {2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 7}, /* compact name of 2^32-2 bytes */
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(cases); i++)
        assert_int_equal(SL_EPROTO, decode_hex(&kafka_metadata_request_message, cases[i].version,
                                               cases[i].bytes, cases[i].len));
    /* a varint that is longer than it has to be is accepted, as Kafka does */
    static const uint8_t padded[] = {0x81, 0x80, 0, 1, 0, 0, 0};
    assert_int_equal(SL_OK, decode_hex(&kafka_metadata_request_message, 9, padded, sizeof padded));
}

/* HeartbeatRequest version 4 with these bytes in place of its (empty) tagged fields. */
static sl_err heartbeat_with_tags(const uint8_t *tags, size_t len)
{
    struct kafka_heartbeat_request request = kafka_heartbeat_request_default;
    request.group_id = slice_str("g");
    struct slice bytes = encode(&kafka_heartbeat_request_message, 4, &request);
    memmove(flat + bytes.len - 1, tags, len);
    return decode_hex(&kafka_heartbeat_request_message, 4, flat, bytes.len - 1 + len);
}

static void K03_unknown_tags_are_skipped_and_wrong_ones_refused(void **state)
{
    assert_int_equal(SL_OK,
                     heartbeat_with_tags((const uint8_t[]){2, 0, 1, 'x', 9, 2, 'y', 'z'}, 8));
    assert_int_equal(SL_EPROTO, heartbeat_with_tags((const uint8_t[]){2, 1, 0, 1, 0}, 5));
    assert_int_equal(SL_EPROTO, heartbeat_with_tags((const uint8_t[]){2, 2, 0, 1, 0}, 5));
    assert_int_equal(SL_EPROTO, heartbeat_with_tags((const uint8_t[]){1, 0, 5, 'x'}, 4));
    assert_int_equal(SL_EPROTO,
                     heartbeat_with_tags((const uint8_t[]){1, 0, 0xff, 0xff, 0xff, 0xff, 0xf}, 7));
}

static void K03_more_than_1024_tags_are_refused(void **state)
{
    static uint8_t tags[4 + 2048 * 3];
    for (uint32_t n = KAFKA_TAGS_MAX; n <= KAFKA_TAGS_MAX + 1; n++) {
        size_t len = 0;
        tags[len++] = (uint8_t)(n | 0x80);
        tags[len++] = (uint8_t)(n >> 7);
        for (uint32_t tag = 0; tag < n; tag++) {
            tags[len++] = (uint8_t)(tag | 0x80);
            tags[len++] = (uint8_t)(tag >> 7);
            tags[len++] = 0;
        }
        assert_int_equal(n <= KAFKA_TAGS_MAX ? SL_OK : SL_EPROTO, heartbeat_with_tags(tags, len));
    }
}

static void a_known_tag_longer_than_its_field_is_refused(void **state)
{
    struct kafka_fetch_request request = kafka_fetch_request_default;
    request.cluster_id = slice_str("c");
    struct slice bytes = encode(&kafka_fetch_request_message, 12, &request);
    assert_int_equal(SL_OK, decode_hex(&kafka_fetch_request_message, 12, bytes.data, bytes.len));
    /* the end: 1 tag, number 0, 2 bytes: compact length 2, 'c' */
    assert_int_equal(2, flat[bytes.len - 3]);
    flat[bytes.len - 3] = 3;
    flat[bytes.len] = 0;
    assert_int_equal(SL_EPROTO, decode_hex(&kafka_fetch_request_message, 12, flat, bytes.len + 1));
}

static void record_data_is_referenced_not_copied(void **state)
{
    struct slice batch = slice_copy(flat, 100000);
    struct kafka_fetch_response_partition_data partition =
        kafka_fetch_response_partition_data_default;
    partition.records = (struct kafka_records){.slices = &batch, .n = 1};
    struct kafka_fetch_response_fetchable_topic_response topic = {
        .topic = slice_str("t"), .n_partitions = 1, .partitions = &partition};
    struct kafka_fetch_response response = kafka_fetch_response_default;
    response.n_responses = 1;
    response.responses = &topic;
    struct kafka_out out;
    kafka_out_init(&out, BYTES_MAX);
    kafka_fetch_response_message.encode(&out, 12, &response);
    assert_int_equal(SL_OK, kafka_out_finish(&out));
    assert_int_equal(3, out.n_pieces);
    assert_ptr_equal(batch.data, out.pieces[1].data);
    assert_int_equal(batch.len, out.pieces[1].len);
    kafka_out_fini(&out);
    slice_unref(&batch);
}

static void output_beyond_its_ceiling_is_an_error(void **state)
{
    struct kafka_out out;
    kafka_out_init(&out, 10);
    kafka_put_u64(&out, 1);
    kafka_put_u16(&out, 1);
    kafka_put_u8(&out, 1);
    assert_int_equal(SL_EFULL, kafka_out_finish(&out));
    kafka_out_fini(&out);
}

static void headers_have_the_versions_that_kafka_gives_them(void **state)
{
    const struct kafka_api *produce = kafka_api(KAFKA_API_PRODUCE);
    assert_int_equal(1, kafka_request_header_version(produce, 8));
    assert_int_equal(2, kafka_request_header_version(produce, 9));
    assert_int_equal(0, kafka_response_header_version(produce, 8));
    assert_int_equal(1, kafka_response_header_version(produce, 9));
    const struct kafka_api *versions = kafka_api(KAFKA_API_API_VERSIONS);
    assert_int_equal(2, kafka_request_header_version(versions, 3));
    assert_int_equal(0, kafka_response_header_version(versions, 3));
    assert_int_equal(1, kafka_request_header_version(kafka_api(KAFKA_API_OFFSET_DELETE), 0));
    assert_null(kafka_api(4));
    assert_null(kafka_api(-1));
    assert_null(kafka_api(INT16_MAX));
    assert_int_equal(5, kafka_api(KAFKA_API_INIT_PRODUCER_ID)->last_version);
    assert_int_equal(3, produce->first_version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_in_every_version_survives_the_way_there_and_back),
        cmocka_unit_test(K04_a_message_cut_at_any_byte_is_refused),
        cmocka_unit_test(bytes_behind_a_message_are_refused),
        cmocka_unit_test(B27_a_damaged_message_never_allocates_more_than_its_size_allows),
        cmocka_unit_test(K02_lengths_that_lie_are_refused),
        cmocka_unit_test(K03_unknown_tags_are_skipped_and_wrong_ones_refused),
        cmocka_unit_test(K03_more_than_1024_tags_are_refused),
        cmocka_unit_test(a_known_tag_longer_than_its_field_is_refused),
        cmocka_unit_test(record_data_is_referenced_not_copied),
        cmocka_unit_test(output_beyond_its_ceiling_is_an_error),
        cmocka_unit_test(headers_have_the_versions_that_kafka_gives_them),
    };
    return cmocka_run_group_tests_name("kafka_codec/messages", tests, NULL, NULL);
}
