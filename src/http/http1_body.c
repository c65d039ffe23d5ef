/* Framing of bodies: a length, or chunks. Strict where two readings would be possible. */
#include "http/http1_int.h"

#include <ctype.h>

static const struct http1_fault none = {0};

static struct http1_fault bad(const char *reason)
{
    return (struct http1_fault){400, reason};
}

void http1__body_start(struct http1_body *b, int64_t content_length)
{
    *b = (struct http1_body){.is_chunked = content_length < 0};
    if (!b->is_chunked)
        b->left = (uint64_t)content_length;
}

bool http1__body_is_done(const struct http1_body *b)
{
    return b->is_chunked ? b->phase == CHUNK_DONE : b->left == 0;
}

static unsigned hex_value(uint8_t c)
{
    return (unsigned)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
}

/* The line of a chunk: size, and extensions that are skipped. */
static struct http1_fault on_size_byte(struct http1_body *b, uint8_t c)
{
    if (++b->line > HTTP1_CHUNK_LINE_BYTES_MAX)
        return bad("the line of a chunk is too long");
    if (c == '\r' && b->digits) {
        b->phase = CHUNK_SIZE_LF;
        return none;
    }
    if (b->in_extension)
        return c == '\t' || (c >= ' ' && c < 0x7f) ? none : bad("bad byte in a chunk extension");
    if (c == ';' && b->digits) {
        b->in_extension = true;
        return none;
    }
    if (!isxdigit(c) || ++b->digits > 15)
        return bad("the size of a chunk is not valid");
    b->left = b->left << 4 | hex_value(c);
    return none;
}

static void start_chunk_line(struct http1_body *b)
{
    b->phase = CHUNK_SIZE;
    b->digits = b->line = 0;
    b->in_extension = false;
}

/* Trailers are skipped; they are bounded and may not hide bare line ends. */
static struct http1_fault on_trailer_byte(struct http1_body *b, uint8_t c)
{
    if (++b->trailer_bytes > HTTP1_TRAILER_BYTES_MAX)
        return (struct http1_fault){431, "the trailers are too large"};
    if (c == '\r') {
        b->phase = b->phase == CHUNK_TRAILER_START ? CHUNK_END_LF : CHUNK_TRAILER_LF;
        return none;
    }
    if (c == '\n' || c == 0)
        return bad("bare line end in the trailers");
    b->phase = CHUNK_TRAILER;
    return none;
}

static struct http1_fault on_line_byte(struct http1_body *b, uint8_t c)
{
    switch (b->phase) {
    case CHUNK_SIZE:
        return on_size_byte(b, c);
    case CHUNK_SIZE_LF:
        b->phase = b->left ? CHUNK_DATA : CHUNK_TRAILER_START;
        break;
    case CHUNK_DATA_CR:
        b->phase = CHUNK_DATA_LF;
        return c == '\r' ? none : bad("a chunk is longer than its size");
    case CHUNK_DATA_LF:
        start_chunk_line(b);
        break;
    case CHUNK_TRAILER_START:
    case CHUNK_TRAILER:
        return on_trailer_byte(b, c);
    case CHUNK_TRAILER_LF:
        b->phase = CHUNK_TRAILER_START;
        break;
    case CHUNK_END_LF:
        b->phase = CHUNK_DONE;
        break;
    case CHUNK_DATA:
    case CHUNK_DONE:
        SL_UNREACHABLE();
    }
    return c == '\n' ? none : bad("CR without LF between chunks");
}

static struct http1_fault take_data(struct http1_body *b, const uint8_t *data, size_t len,
                                    struct buf *out, size_t *used)
{
    size_t n = b->left < len ? (size_t)b->left : len;
    SL_ASSERT(n > 0); /* or it would never end */
    if (buf_append(out, data, n) != SL_OK)
        return (struct http1_fault){413, "the body is too large"};
    *used += n;
    b->left -= n;
    if (b->is_chunked && b->left == 0)
        b->phase = CHUNK_DATA_CR;
    return none;
}

struct http1_fault http1__body_feed(struct http1_body *b, const uint8_t *data, size_t len,
                                    struct buf *out, size_t *ret_used)
{
    size_t used = 0;
    struct http1_fault fault = none;
    while (used < len && !fault.status && !http1__body_is_done(b)) {
        if (!b->is_chunked || b->phase == CHUNK_DATA)
            fault = take_data(b, data + used, len - used, out, &used);
        else
            fault = on_line_byte(b, data[used++]);
    }
    SL_ASSERT(used <= len);
    *ret_used = used;
    return fault;
}
