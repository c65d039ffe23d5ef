/* The YAML settings: whatever the bytes are, they are read or refused with a place and a sentence,
 * and no option leaves its range. */
#include "server/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_fault fault = {0};
    struct options *o = options_new(&config_table);
    sl_err err = config_read_yaml(o, slice_of(data, size), &fault);
    SL_ASSERT(err == SL_OK || err == SL_ECONFIG);
    if (err == SL_ECONFIG) {
        SL_ASSERT(strncmp(fault.where, "line ", 5) == 0);
        SL_ASSERT(*fault.what);
    }
    for (size_t i = 0; i < config_table.n_rows; i++) {
        const struct option_row *row = &config_table.rows[i];
        if (!row->text)
            SL_ASSERT(option_number(o, i) >= row->min && option_number(o, i) <= row->max);
    }
    options_free(o);
    return 0;
}
