/* Inside of the HTTP/1 parser, shared by http1.c (state), http1_head.c (the head) and
 * http1_body.c (framing of bodies). */
#ifndef SLUICE_HTTP_HTTP1_INT_H
#define SLUICE_HTTP_HTTP1_INT_H

#include "http/http1.h"

struct http1_fault {
    int status; /* 0: none */
    const char *reason;
};

/* Refuses a head that could be read in two ways, or that is too large; `head` may be incomplete.
 * *ret_end is the length of the head with its empty line, 0: not there yet. *from remembers how far
 * it has looked. */
struct http1_fault http1__check_head(struct slice head, size_t *from, size_t *ret_end);
/* Parses a whole head. The request points into it; paths is scratch for the decoded path. */
struct http1_fault http1__parse_head(struct slice head, struct buf *path,
                                     struct http1_request *ret);
/* The pure part of it: decodes %xx and resolves nothing. */
struct http1_fault http1__decode_path(struct slice target, struct buf *path,
                                      struct http1_request *ret);

enum http1_chunk_phase {
    CHUNK_SIZE,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER_START, /* at the start of a line behind the last chunk */
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF,
    CHUNK_END_LF,
    CHUNK_DONE,
};

struct http1_body {
    bool is_chunked;
    enum http1_chunk_phase phase;
    uint64_t left;         /* of the body, or of the chunk */
    unsigned digits, line; /* of the chunk's size; bytes of its line */
    bool in_extension;
    size_t trailer_bytes;
};

void http1__body_start(struct http1_body *b, int64_t content_length);
/* Takes bytes; body bytes go to `out`, whose ceiling is that of the body. */
struct http1_fault http1__body_feed(struct http1_body *b, const uint8_t *data, size_t len,
                                    struct buf *out, size_t *ret_used);
bool http1__body_is_done(const struct http1_body *b);

#endif
