/* The head of a request: one strict look at its bytes, then llhttp, then what neither checks. */
#include "http/http1_int.h"

#include <ctype.h>
#include <llhttp.h>

static const struct http1_fault none = {0};

static struct http1_fault bad(const char *reason)
{
    return (struct http1_fault){400, reason};
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static bool is_token(uint8_t c)
{
    return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* "METHOD target HTTP/1.1": one blank between, printable ASCII. `line` may be incomplete. */
static struct http1_fault check_request_line(struct slice line)
{
    size_t method = 0;
    while (method < line.len && is_token(line.data[method]))
        method++;
    if (method > HTTP1_METHOD_BYTES_MAX)
        return bad("the method is too long");
    if (method == line.len)
        return none;
    if (method == 0 || line.data[method] != ' ')
        return bad("the request line has no method");
    size_t target = method + 1, end = target;
    while (end < line.len && line.data[end] > ' ' && line.data[end] < 0x7f)
        end++;
    if (end - target > HTTP1_URI_BYTES_MAX)
        return (struct http1_fault){414, "the URI is longer than 8 KiB"};
    if (end < line.len && (line.data[end] != ' ' || line.len - end > sizeof " HTTP/1.1\r" - 1))
        return bad("the request line is not METHOD URI HTTP/1.1");
    return none;
}

static struct http1_fault check_version(struct slice line)
{
    static const char prefix[] = " HTTP/";
    const size_t len = sizeof prefix - 1;
    const uint8_t *blank = memchr(line.data, ' ', line.len);
    if (!blank || line.len < len + 4 || line.data[line.len - len - 4] == ' ' ||
        memcmp(line.data + line.len - len - 3, prefix, len) != 0 ||
        blank == line.data + line.len - len - 3)
        return bad("the request line is not METHOD URI HTTP/1.1");
    const uint8_t *version = line.data + line.len - 3;
    if (version[0] == '1' && version[1] == '.' && (version[2] == '0' || version[2] == '1'))
        return none;
    return (struct http1_fault){505, "only HTTP/1.0 and HTTP/1.1 are served"};
}

/* "Name: value" without space before the colon, without folding. */
static struct http1_fault check_header_line(struct slice line)
{
    size_t name = 0;
    while (name < line.len && is_token(line.data[name]))
        name++;
    if (name == 0 || name == line.len || line.data[name] != ':')
        return bad("a header line is not \"Name: value\"");
    for (size_t i = name + 1; i < line.len; i++)
        if (line.data[i] != '\t' && (line.data[i] < ' ' || line.data[i] == 0x7f))
            return bad("a header has a control character");
    return none;
}

static struct http1_fault check_sizes(struct slice head, size_t first_line)
{
    const uint8_t *lf = memchr(head.data, '\n', head.len);
    size_t request_line = lf ? (size_t)(lf - head.data) + 1 : head.len;
    if (!lf && first_line == 0)
        return check_request_line(head);
    if (head.len - request_line > HTTP1_HEADER_BYTES_MAX)
        return (struct http1_fault){431, "the headers are larger than 16 KiB"};
    return none;
}

/* The line head[start..lf) is complete. */
static struct http1_fault check_line(struct slice head, size_t start, size_t lf)
{
    if (lf == start || head.data[lf - 1] != '\r')
        return bad("bare LF");
    struct slice line = slice_sub(head, start, lf - 1 - start);
    if (memchr(line.data, '\r', line.len) || memchr(line.data, 0, line.len))
        return bad("bare CR or NUL");
    if (start > 0)
        return line.len ? check_header_line(line) : none;
    struct http1_fault fault = check_request_line(line);
    return fault.status ? fault : check_version(line);
}

struct http1_fault http1__check_head(struct slice head, size_t *from, size_t *ret_end)
{
    *ret_end = 0;
    for (;;) {
        const uint8_t *lf = memchr(head.data + *from, '\n', head.len - *from);
        if (!lf)
            return check_sizes(head, *from);
        size_t start = *from, end = (size_t)(lf - head.data);
        struct http1_fault fault = check_line(head, start, end);
        if (fault.status)
            return fault;
        *from = end + 1;
        if (end - start == 1 && start > 0) { /* the empty line */
            *ret_end = end + 1;
            return check_sizes(slice_sub(head, 0, end + 1), start);
        }
    }
}

/* ---- llhttp --------------------------------------------------------------------------------- */

struct head_parse {
    llhttp_t llhttp;
    struct http1_request *out;
    struct slice target;
    bool too_many, complete;
};

/* The head is fed in one piece, so a span comes in one piece or in adjacent ones. */
static void extend(struct slice *s, const char *at, size_t len)
{
    if (!s->data)
        *s = slice_of(at, len);
    else
        s->len += len;
}

static int on_method(llhttp_t *l, const char *at, size_t len)
{
    struct head_parse *h = l->data;
    extend(&h->out->method, at, len);
    return 0;
}

static int on_url(llhttp_t *l, const char *at, size_t len)
{
    struct head_parse *h = l->data;
    extend(&h->target, at, len);
    return 0;
}

static int on_header_field(llhttp_t *l, const char *at, size_t len)
{
    struct head_parse *h = l->data;
    if (h->out->n_headers == HTTP1_HEADERS_MAX) {
        h->too_many = true;
        return -1;
    }
    extend(&h->out->headers[h->out->n_headers].name, at, len);
    return 0;
}

static int on_header_value(llhttp_t *l, const char *at, size_t len)
{
    struct head_parse *h = l->data;
    extend(&h->out->headers[h->out->n_headers].value, at, len);
    return 0;
}

static int on_header_value_complete(llhttp_t *l)
{
    struct head_parse *h = l->data;
    struct slice *value = &h->out->headers[h->out->n_headers++].value;
    while (value->len &&
           (value->data[value->len - 1] == ' ' || value->data[value->len - 1] == '\t'))
        value->len--;
    return 0;
}

static int on_headers_complete(llhttp_t *l)
{
    struct head_parse *h = l->data;
    h->complete = true;
    h->out->is_1_0 = l->http_minor == 0;
    h->out->keep_alive = llhttp_should_keep_alive(l);
    h->out->is_chunked = (l->flags & F_CHUNKED) != 0;
    h->out->content_length =
        h->out->is_chunked ? -1 : (int64_t)SL_MIN(l->content_length, (uint64_t)INT64_MAX);
    return HPE_PAUSED; /* the body is not llhttp's */
}

static struct http1_fault run_llhttp(struct head_parse *h, struct slice head)
{
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_method = on_method;
    settings.on_url = on_url;
    settings.on_header_field = on_header_field;
    settings.on_header_value = on_header_value;
    settings.on_header_value_complete = on_header_value_complete;
    settings.on_headers_complete = on_headers_complete;
    llhttp_init(&h->llhttp, HTTP_REQUEST, &settings);
    h->llhttp.data = h;
    (void)llhttp_execute(&h->llhttp, (const char *)head.data, head.len);
    if (h->too_many)
        return (struct http1_fault){431, "more than 100 headers"};
    if (h->complete)
        return none;
    return bad("the head is not valid HTTP");
}

/* ---- what neither checks -------------------------------------------------------------------- */

static bool name_is(const struct http1_header *h, const char *name)
{
    return h->name.len == strlen(name) &&
           strncasecmp((const char *)h->name.data, name, h->name.len) == 0;
}

static bool value_is(const struct http1_header *h, const char *value)
{
    return h->value.len == strlen(value) &&
           strncasecmp((const char *)h->value.data, value, h->value.len) == 0;
}

static bool is_host_value(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!isalnum(value.data[i]) && !strchr(".-_:[]%~", value.data[i]))
            return false;
    return true;
}

static bool is_digits(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!isdigit(value.data[i]))
            return false;
    return value.len > 0;
}

/* H01: whatever two servers could frame differently. */
static struct http1_fault check_headers(struct http1_request *r)
{
    unsigned hosts = 0, lengths = 0, codings = 0;
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct http1_header *h = &r->headers[i];
        if (name_is(h, "host")) {
            hosts++;
            if (!is_host_value(h->value))
                return bad("the Host header is not valid");
        } else if (name_is(h, "content-length")) {
            lengths++;
            if (!is_digits(h->value))
                return bad("the Content-Length is not a number");
        } else if (name_is(h, "transfer-encoding")) {
            codings++;
            if (!value_is(h, "chunked"))
                return bad("the only Transfer-Encoding is chunked");
        } else if (name_is(h, "expect")) {
            r->expects_continue = value_is(h, "100-continue");
        }
    }
    if (hosts > 1 || (hosts == 0 && !r->is_1_0))
        return bad("exactly one Host header is needed");
    if (lengths + codings > 1 || (codings && r->is_1_0))
        return bad("the length of the body is given twice");
    r->has_body = codings || r->content_length > 0;
    return none;
}

/* ---- the target ----------------------------------------------------------------------------- */

static int hex_digit(uint8_t c)
{
    if (isdigit(c))
        return c - '0';
    return isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* Behind "http://host", which proxies send. */
static struct slice without_origin(struct slice target)
{
    static const char scheme[] = "http://";
    const size_t len = sizeof scheme - 1;
    if (target.len < len || strncasecmp((const char *)target.data, scheme, len) != 0)
        return target;
    const uint8_t *slash = memchr(target.data + len, '/', target.len - len);
    if (!slash)
        return slice_str("/");
    return slice_of(slash, target.len - (size_t)(slash - target.data));
}

/* "." and ".." are refused, not resolved: nobody needs them here. */
static bool has_dot_segment(struct slice path)
{
    for (size_t start = 0; start < path.len;) {
        const uint8_t *slash = memchr(path.data + start + 1, '/', path.len - start - 1);
        size_t end = slash ? (size_t)(slash - path.data) : path.len;
        struct slice segment = slice_sub(path, start + 1, end - start - 1);
        if (slice_eq_str(segment, ".") || slice_eq_str(segment, ".."))
            return true;
        start = end;
    }
    return false;
}

struct http1_fault http1__decode_path(struct slice target, struct buf *path,
                                      struct http1_request *ret)
{
    target = without_origin(target);
    if (target.len == 0 || target.data[0] != '/')
        return bad("the URI has no path");
    const uint8_t *mark = memchr(target.data, '?', target.len);
    size_t len = mark ? (size_t)(mark - target.data) : target.len;
    ret->query = mark ? slice_of(mark + 1, target.len - len - 1) : slice_of(NULL, 0);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = target.data[i];
        if (c == '%') {
            int high = i + 2 < len ? hex_digit(target.data[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(target.data[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0)
                return bad("the path has a bad % sequence");
            c = (uint8_t)(high << 4 | low);
            i += 2;
        }
        write_u8(path, c);
    }
    ret->path = slice_of(path->data, path->len);
    return has_dot_segment(ret->path) ? bad("the path has . or .. segments") : none;
}

struct http1_fault http1__parse_head(struct slice head, struct buf *path, struct http1_request *ret)
{
    struct head_parse h = {.out = ret};
    struct http1_fault fault = run_llhttp(&h, head);
    if (!fault.status)
        fault = check_headers(ret);
    if (fault.status)
        return fault;
    if (slice_eq_str(ret->method, "CONNECT") || slice_eq_str(h.target, "*"))
        return (struct http1_fault){405, "this server is no proxy"};
    return http1__decode_path(h.target, path, ret);
}
