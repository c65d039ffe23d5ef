/* Results, ownership helpers and assertions: the vocabulary of every other file.
 *
 * Errors are values of one closed list (err.def). 0 is success; PENDING, CONTINUE, EFULL and EEND
 * are flow, not failure. A failed call leaves its results untouched. Any thread. */
#ifndef SLUICE_BASE_ERR_H
#define SLUICE_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sl_err {
    SL_OK = 0,
#define ERR(name, class, retry, text) SL_##name,
#include "base/err.def"
#undef ERR
    SL_ERR_COUNT
} sl_err;

enum sl_err_class {
    SL_CLASS_NONE,
    SL_CLASS_FLOW,
    SL_CLASS_CALLER,
    SL_CLASS_DATA,
    SL_CLASS_RESOURCE,
    SL_CLASS_ENV,
    SL_CLASS_BUG,
};

/* What a person needs beyond the code: which file, offset, field or peer. Filled at folder borders
 * by whoever knows; callers pass NULL where nobody will read it. */
struct sl_fault {
    int sys_errno;   /* errno at the failing call, 0 if none */
    char where[256]; /* for example "topics/../0.log at byte 4096" */
    char what[256];  /* a sentence that says what to do */
};

#define SL_CHECKED __attribute__((warn_unused_result))

/* "ECORRUPT" and its sentence; static strings. */
const char *sl_err_name(sl_err err);
const char *sl_err_text(sl_err err);
enum sl_err_class sl_err_class(sl_err err);
bool sl_err_retriable(sl_err err);

/* printf-style sentence into a fault; accepts NULL. Returns err, so that it can end a function. */
sl_err sl_fault_set(struct sl_fault *fault, sl_err err, const char *what_format, ...)
    __attribute__((format(printf, 3, 4)));

/* Turns an errno into the closest sl_err (EIO when nothing fits). */
sl_err sl_err_from_errno(int sys_errno);

#define SL_TRY(expr)                                                                               \
    do {                                                                                           \
        sl_err sl_try_err_ = (expr);                                                               \
        if (sl_try_err_ != SL_OK)                                                                  \
            return sl_try_err_;                                                                    \
    } while (0)

/* SL_AUTO(segment_close) struct segment *s: closed when the scope ends, unless SL_TAKE moved it. */
#define SL_AUTO(fn) __attribute__((cleanup(fn##_p)))
#define SL_DEFINE_AUTO(type, fn)                                                                   \
    static inline void fn##_p(type *p) /* NOLINT(bugprone-macro-parentheses): a type */            \
    {                                                                                              \
        fn(*p);                                                                                    \
    }                                                                                              \
    struct sl_swallow_semicolon_
#define SL_TAKE(p)                                                                                 \
    ({                                                                                             \
        __typeof__(p) sl_taken_ = (p);                                                             \
        (p) = NULL;                                                                                \
        sl_taken_;                                                                                 \
    })

/* Prints the expression and the place on stderr, then aborts. Stays on in release builds. */
_Noreturn void sl_assert_failed(const char *expr, const char *file, int line);
#define SL_ASSERT(expr)                                                                            \
    (__builtin_expect(!(expr), 0) ? sl_assert_failed(#expr, __FILE__, __LINE__) : (void)0)
#define SL_UNREACHABLE() sl_assert_failed("unreachable", __FILE__, __LINE__)

#define SL_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define SL_ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define SL_MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define SL_MAX(a, b)                       ((a) > (b) ? (a) : (b))

#endif
