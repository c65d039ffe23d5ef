/* Any sequence of reads over any bytes: never outside of them, nothing moves after the first error,
 * no more memory than the budget, and varints come back from the writer as they were read. */
#include "base/buf.h"
#include "base/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ALLOC_MAX = 4096 };

static void check_varint(uint64_t unsigned_value, int64_t signed_value)
{
    struct buf b;
    buf_init(&b, 64);
    write_uvarint(&b, unsigned_value);
    write_varint(&b, signed_value);
    struct reader in = reader_over(slice_of(b.data, b.len), NULL, 0);
    SL_ASSERT(read_uvarint64(&in) == unsigned_value);
    SL_ASSERT(read_varint64(&in) == signed_value);
    SL_ASSERT(reader_finish(&in) == SL_OK);
    buf_fini(&b);
}

static size_t use(const uint8_t *p, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; p && i < n; i++)
        sum += p[i]; /* AddressSanitizer sees bytes that are not there */
    return sum;
}

/* One read, chosen by `what`; returns the bytes that it allocated. */
static size_t read_one(struct reader *in, uint8_t what)
{
    size_t n = what >> 4;
    bool is_null;
    switch (what & 15) {
    case 0:
        (void)read_u8(in);
        break;
    case 1:
        (void)read_i16(in);
        break;
    case 2:
        (void)read_i32(in);
        break;
    case 3:
        (void)read_i64(in);
        break;
    case 4:
        (void)read_f64(in);
        break;
    case 5:
        check_varint(read_uvarint32(in), 0);
        break;
    case 6:
        check_varint(read_uvarint64(in), 0);
        break;
    case 7:
        check_varint(0, read_varint32(in));
        break;
    case 8:
        check_varint(0, read_varint64(in));
        break;
    case 9:
        (void)use(read_raw(in, n), n);
        break;
    case 10: {
        struct slice s = read_slice(in, n);
        SL_ASSERT(s.len == 0 || s.len == n);
        (void)use(s.data, s.len);
        break;
    }
    case 11:
        read_skip(in, n);
        break;
    case 12: {
        uint32_t count = read_count(in, (int64_t)read_varint64(in), n + 1, &is_null);
        SL_ASSERT(!reader_ok(in) || count <= reader_left(in) / (n + 1));
        return read_alloc(in, count, n) ? count * n : 0;
    }
    default: {
        uint32_t count = read_array_len(in, 1);
        SL_ASSERT(!reader_ok(in) || count <= reader_left(in));
        return read_alloc(in, count, 8) ? (size_t)count * 8 : 0;
    }
    }
    return 0;
}

/* Byte 0 says how many reads follow, one byte each; the rest is what they read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size - 1 < data[0])
        return 0;
    size_t n_reads = data[0], allocated = 0;
    struct arena *arena = arena_new(NULL);
    struct slice bytes = slice_of(data + 1 + n_reads, size - 1 - n_reads);
    struct reader in = reader_over(bytes, arena, ALLOC_MAX);
    for (size_t i = 0; i < n_reads; i++) {
        bool was_ok = reader_ok(&in);
        size_t pos = in.pos;
        allocated += read_one(&in, data[1 + i]);
        SL_ASSERT(in.pos <= in.len && in.pos >= pos);
        SL_ASSERT(was_ok || in.pos == pos);
        SL_ASSERT(allocated <= ALLOC_MAX);
    }
    sl_err err = reader_finish(&in);
    SL_ASSERT((err == SL_OK) == (in.pos == in.len && in.err == SL_OK));
    SL_ASSERT(err == SL_OK || (in.err_what && in.err_pos <= in.len));
    arena_free(arena);
    return 0;
}
