/* google.rpc.Status with a google.rpc.ErrorInfo, as clients' libraries for rich errors read it from
 * grpc-status-details-bin: by hand, because it is five fields. */
#include "grpc/status_details.h"

enum { BYTES_MAX = 2048 };

static void write_text(struct buf *b, unsigned field, struct slice text)
{
    write_uvarint(b, field << 3 | 2);
    write_uvarint(b, text.len);
    write_bytes(b, text.data, text.len);
}

static void write_base64(struct buf *out, struct slice in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = SL_MIN(in.len - i, (size_t)3);
        uint32_t bits = (uint32_t)in.data[i] << 16;
        if (n > 1)
            bits |= (uint32_t)in.data[i + 1] << 8;
        if (n > 2)
            bits |= in.data[i + 2];
        for (size_t k = 0; k <= n; k++) /* without padding */
            write_u8(out, (uint8_t)digits[bits >> (18 - 6 * k) & 63]);
    }
}

static void write_error_info(struct buf *any, const char *reason)
{
    struct buf info;
    buf_init(&info, BYTES_MAX);
    write_text(&info, 1, slice_str(reason));
    write_text(&info, 2, slice_str("sluice"));
    write_text(any, 1, slice_str("type.googleapis.com/google.rpc.ErrorInfo"));
    write_text(any, 2, slice_of(info.data, info.len));
    buf_fini(&info);
}

sl_err grpc__print_details(enum grpc_status status, const char *message, const char *reason,
                           struct buf *out)
{
    struct buf any, all;
    buf_init(&any, BYTES_MAX);
    buf_init(&all, 2 * (size_t)BYTES_MAX);
    write_error_info(&any, reason);
    write_uvarint(&all, 1 << 3);
    write_uvarint(&all, status);
    write_text(&all, 2, slice_str(message));
    write_text(&all, 3, slice_of(any.data, any.len));
    sl_err err = buf_check(&all);
    if (err == SL_OK)
        write_base64(out, slice_of(all.data, all.len));
    buf_fini(&any);
    buf_fini(&all);
    return err == SL_OK ? buf_check(out) : err;
}
