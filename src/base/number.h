/* Whole numbers from text, without locales, signs of surprise or silent overflow. Any thread. */
#ifndef SLUICE_BASE_NUMBER_H
#define SLUICE_BASE_NUMBER_H

#include "base/err.h"

/* Decimal digits with an optional '-' in front and nothing else; SL_EINVAL, also when the number is
 * outside min..max. */
sl_err number_parse(const char *text, size_t len, int64_t min, int64_t max,
                    int64_t *ret) SL_CHECKED;

#endif
