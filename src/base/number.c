#include "base/number.h"

sl_err number_parse(const char *text, size_t len, int64_t min, int64_t max, int64_t *ret)
{
    bool is_negative = len > 0 && text[0] == '-';
    size_t i = is_negative ? 1 : 0;
    int64_t value = 0;
    if (i == len)
        return SL_EINVAL;
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return SL_EINVAL;
        int64_t digit = text[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, is_negative ? -digit : digit, &value))
            return SL_EINVAL;
    }
    if (value < min || value > max)
        return SL_EINVAL;
    *ret = value;
    return SL_OK;
}
