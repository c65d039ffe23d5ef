#include "record/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <snappy-c.h>
#include <zstd.h>

static struct slice pattern(size_t len)
{
    struct slice s = slice_copy(NULL, 0);
    struct block *b = block_new(len);
    slice_unref(&s);
    for (size_t i = 0; i < len; i++)
        block_data(b)[i] = (uint8_t)((i * 2654435761U) >> (i % 3 ? 29 : 13));
    s = slice_of_block(b, 0, len);
    block_unref(b);
    return s;
}

/* Reads in pieces of `step`; returns the error, and the bytes in out. */
static sl_err decode(struct decoder *d, unsigned codec, struct slice in, uint64_t max, size_t step,
                     struct buf *out)
{
    uint8_t piece[70000];
    buf_reset(out);
    SL_TRY(decoder_start(d, codec, in, max));
    for (;;) {
        size_t n;
        SL_TRY(decoder_read(d, piece, step, &n));
        if (n == 0)
            return SL_OK;
        assert_true(n <= step);
        SL_TRY(buf_append(out, piece, n));
    }
}

static void assert_round_trip(struct decoder *d, unsigned codec, struct slice in, size_t step)
{
    struct buf packed, out;
    buf_init(&packed, 64 << 20);
    buf_init(&out, 64 << 20);
    assert_int_equal(SL_OK, codec_compress((enum codec)codec, in, &packed));
    assert_int_equal(SL_OK,
                     decode(d, codec, slice_of(packed.data, packed.len), in.len, step, &out));
    assert_int_equal(in.len, out.len);
    if (in.len)
        assert_memory_equal(in.data, out.data, in.len);
    buf_fini(&packed);
    buf_fini(&out);
}

static void every_codec_gives_back_what_it_got_at_any_read_size(void **state)
{
    const size_t sizes[] = {0, 1, 100, 32768, 32769, 300000};
    const size_t steps[] = {1000, 65536, 7919};
    struct decoder *d = decoder_new();
    for (unsigned codec = 0; codec < CODEC_COUNT; codec++)
        for (size_t i = 0; i < SL_ARRAY_LEN(sizes); i++)
            for (size_t j = 0; j < SL_ARRAY_LEN(steps); j++) {
                struct slice in = pattern(sizes[i]);
                assert_round_trip(d, codec, in, steps[j]);
                slice_unref(&in);
            }
    decoder_free(d);
}

static void a_stream_cut_at_any_byte_is_corrupt(void **state)
{
    struct slice in = pattern(2000);
    struct decoder *d = decoder_new();
    struct buf packed, out;
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        buf_reset(&packed);
        assert_int_equal(SL_OK, codec_compress((enum codec)codec, in, &packed));
        for (size_t n = 0; n < packed.len; n++) {
            sl_err err = decode(d, codec, slice_of(packed.data, n), 1 << 20, 512, &out);
            if (codec == CODEC_SNAPPY && n <= 16) /* nothing, or frames with no block: no bytes */
                assert_true(err == SL_ECORRUPT || out.len == 0);
            else
                assert_true(err == SL_ECORRUPT || out.len < in.len);
        }
    }
    buf_fini(&packed);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

/* A check that took too long on the loop, or a corrupt batch, leaves the decoder in the middle of a
 * stream. */
static void K06_a_stream_that_was_left_in_its_middle_does_not_hurt_the_next_one(void **state)
{
    struct slice in = pattern(300000), small = pattern(5000);
    struct decoder *d = decoder_new();
    struct buf packed;
    buf_init(&packed, 1 << 20);
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        uint8_t piece[100];
        size_t n;
        buf_reset(&packed);
        assert_int_equal(SL_OK, codec_compress((enum codec)codec, in, &packed));
        assert_int_equal(SL_OK, decoder_start(d, codec, slice_of(packed.data, packed.len), in.len));
        assert_int_equal(SL_OK, decoder_read(d, piece, sizeof piece, &n));
        assert_round_trip(d, codec, small, 1000);
        memset(packed.data + packed.len / 2, 0x5a, packed.len / 2);
        struct buf out;
        buf_init(&out, 1 << 20);
        (void)decode(d, codec, slice_of(packed.data, packed.len), in.len, 1000, &out);
        buf_fini(&out);
        assert_round_trip(d, codec, small, 1000);
    }
    buf_fini(&packed);
    slice_unref(&in);
    slice_unref(&small);
    decoder_free(d);
}

static void bytes_behind_the_stream_are_corrupt(void **state)
{
    struct slice in = pattern(2000);
    struct decoder *d = decoder_new();
    struct buf packed, out;
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (unsigned codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        buf_reset(&packed);
        assert_int_equal(SL_OK, codec_compress((enum codec)codec, in, &packed));
        write_u8(&packed, 0x55);
        assert_int_equal(SL_ECORRUPT,
                         decode(d, codec, slice_of(packed.data, packed.len), 1 << 20, 512, &out));
    }
    buf_fini(&packed);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

static void snappy_without_frames_is_read_as_librdkafka_sends_it(void **state)
{
    struct slice in = pattern(100000);
    struct decoder *d = decoder_new();
    struct buf out;
    size_t n = snappy_max_compressed_length(in.len);
    uint8_t *raw = malloc(n);
    buf_init(&out, 1 << 20);
    assert_int_equal(SNAPPY_OK, snappy_compress((const char *)in.data, in.len, (char *)raw, &n));
    assert_int_equal(SL_OK, decode(d, CODEC_SNAPPY, slice_of(raw, n), 1 << 20, 65536, &out));
    assert_int_equal(in.len, out.len);
    assert_memory_equal(in.data, out.data, in.len);
    free(raw);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

static void gzip_members_in_a_row_are_one_stream(void **state)
{
    struct slice in = pattern(3000);
    struct decoder *d = decoder_new();
    struct buf packed, out;
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(SL_OK, codec_compress(CODEC_GZIP, in, &packed));
    assert_int_equal(SL_OK, codec_compress(CODEC_GZIP, in, &packed));
    assert_int_equal(SL_OK,
                     decode(d, CODEC_GZIP, slice_of(packed.data, packed.len), 1 << 20, 700, &out));
    assert_int_equal(2 * in.len, out.len);
    buf_fini(&packed);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

static void K06_output_beyond_the_limit_is_refused(void **state)
{
    struct slice in = pattern(300000);
    struct decoder *d = decoder_new();
    struct buf packed, out;
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (unsigned codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        buf_reset(&packed);
        assert_int_equal(SL_OK, codec_compress((enum codec)codec, in, &packed));
        struct slice bytes = slice_of(packed.data, packed.len);
        assert_int_equal(SL_EFULL, decode(d, codec, bytes, in.len - 1, 65536, &out));
        assert_int_equal(SL_OK, decode(d, codec, bytes, in.len, 65536, &out));
    }
    buf_fini(&packed);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

static void K06_a_bomb_is_cut_by_its_ratio(void **state)
{
    struct block *zeros = block_new(40 << 20);
    memset(block_data(zeros), 0, 40 << 20);
    struct slice in = slice_of_block(zeros, 0, 40 << 20);
    struct decoder *d = decoder_new();
    struct buf packed, out;
    buf_init(&packed, 64 << 20);
    buf_init(&out, 64 << 20);
    block_unref(zeros);
    assert_int_equal(SL_OK, codec_compress(CODEC_ZSTD, in, &packed)); /* about 30,000 : 1 */
    assert_int_equal(
        SL_EFULL, decode(d, CODEC_ZSTD, slice_of(packed.data, packed.len), 64 << 20, 65536, &out));
    assert_true(out.len <= (16 << 20) + 65536);
    buf_fini(&packed);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

static void K06_a_zstd_window_of_2_GiB_is_refused(void **state)
{
    /* magic, descriptor without content size, window descriptor 0xA8: 2^31 bytes, an empty block */
    const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00};
    struct decoder *d = decoder_new();
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(SL_ECORRUPT,
                     decode(d, CODEC_ZSTD, slice_of(frame, sizeof frame), 1024, 512, &out));
    buf_fini(&out);
    decoder_free(d);
}

static void K06_a_snappy_block_that_claims_too_much_is_refused_before_memory_is_taken(void **state)
{
    const uint8_t raw[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 'a'}; /* says 4 GiB - 1 */
    const uint8_t framed[] = {0x82, 'S', 'N', 'A', 'P', 'P',  'Y',  0,    0,    0,    0,
                              1,    0,   0,   0,   1,   0xff, 0xff, 0xff, 0xfe, 0x01, 0x00};
    struct decoder *d = decoder_new();
    struct buf out;
    buf_init(&out, 1024);
    assert_int_equal(SL_ECORRUPT,
                     decode(d, CODEC_SNAPPY, slice_of(raw, sizeof raw), UINT32_MAX, 512, &out));
    assert_int_equal(SL_ECORRUPT,
                     decode(d, CODEC_SNAPPY, slice_of(framed, sizeof framed), 1024, 512, &out));
    buf_fini(&out);
    decoder_free(d);
}

static void K06_a_bad_lz4_frame_is_corrupt(void **state)
{
    struct slice in = pattern(5000);
    struct decoder *d = decoder_new();
    struct buf packed, out;
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    assert_int_equal(SL_OK, codec_compress(CODEC_LZ4, in, &packed));
    packed.data[6] ^= 0x10; /* header checksum */
    assert_int_equal(SL_ECORRUPT,
                     decode(d, CODEC_LZ4, slice_of(packed.data, packed.len), 1 << 20, 512, &out));
    buf_fini(&packed);
    buf_fini(&out);
    decoder_free(d);
    slice_unref(&in);
}

static void names_of_codecs_are_those_of_kafka(void **state)
{
    enum codec codec;
    for (unsigned i = 0; i < CODEC_COUNT; i++) {
        assert_int_equal(SL_OK, codec_by_name(codec_name(i), &codec));
        assert_int_equal(i, codec);
    }
    assert_int_equal(SL_ECODEC, codec_by_name("brotli", &codec));
    assert_null(codec_name(CODEC_COUNT));
    struct decoder *d = decoder_new();
    assert_int_equal(SL_ECODEC, decoder_start(d, 5, slice_str("x"), 10));
    decoder_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_gives_back_what_it_got_at_any_read_size),
        cmocka_unit_test(a_stream_cut_at_any_byte_is_corrupt),
        cmocka_unit_test(K06_a_stream_that_was_left_in_its_middle_does_not_hurt_the_next_one),
        cmocka_unit_test(bytes_behind_the_stream_are_corrupt),
        cmocka_unit_test(snappy_without_frames_is_read_as_librdkafka_sends_it),
        cmocka_unit_test(gzip_members_in_a_row_are_one_stream),
        cmocka_unit_test(K06_output_beyond_the_limit_is_refused),
        cmocka_unit_test(K06_a_bomb_is_cut_by_its_ratio),
        cmocka_unit_test(K06_a_zstd_window_of_2_GiB_is_refused),
        cmocka_unit_test(K06_a_snappy_block_that_claims_too_much_is_refused_before_memory_is_taken),
        cmocka_unit_test(K06_a_bad_lz4_frame_is_corrupt),
        cmocka_unit_test(names_of_codecs_are_those_of_kafka),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
