#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY    true
#define NO_RETRY false

struct err_row {
    const char *name;
    enum sl_err_class class;
    bool retriable;
    const char *text;
};

static const struct err_row rows[SL_ERR_COUNT] = {
    [SL_OK] = {"OK", SL_CLASS_NONE, false, "success"},
#define ERR(name, class, retry, text) [SL_##name] = {#name, SL_CLASS_##class, retry, text},
#include "base/err.def"
#undef ERR
};

static const struct err_row *row_of(sl_err err)
{
    SL_ASSERT((unsigned)err < SL_ERR_COUNT);
    return &rows[err];
}

const char *sl_err_name(sl_err err)
{
    return row_of(err)->name;
}

const char *sl_err_text(sl_err err)
{
    return row_of(err)->text;
}

enum sl_err_class sl_err_class(sl_err err)
{
    return row_of(err)->class;
}

bool sl_err_retriable(sl_err err)
{
    return row_of(err)->retriable;
}

sl_err sl_fault_set(struct sl_fault *fault, sl_err err, const char *what_format, ...)
{
    if (fault) {
        va_list args;
        va_start(args, what_format);
        (void)vsnprintf(fault->what, sizeof fault->what, what_format, args);
        va_end(args);
    }
    return err;
}

sl_err sl_err_from_errno(int sys_errno)
{
    switch (sys_errno) {
    case 0:
        return SL_OK;
    case ENOENT:
        return SL_ENOTFOUND;
    case EEXIST:
    case ENOTEMPTY:
        return SL_EEXISTS;
    case ENOSPC:
    case EDQUOT:
        return SL_ENOSPC;
    case ENOMEM:
        return SL_ENOMEM;
    case EMFILE:
    case ENFILE:
        return SL_ELIMIT;
    case EACCES:
    case EPERM:
    case EROFS:
        return SL_EACCES;
    case EADDRINUSE:
        return SL_EADDRINUSE;
    case EAGAIN:
        return SL_PENDING;
    case ETIMEDOUT:
        return SL_ETIMEDOUT;
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
        return SL_ECLOSED;
    default:
        return SL_EIO;
    }
}

_Noreturn void sl_assert_failed(const char *expr, const char *file, int line)
{
    (void)fprintf(stderr, "sluice: assertion failed: %s at %s:%d\n", expr, file, line);
    abort();
}
