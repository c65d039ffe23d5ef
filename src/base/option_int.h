/* Inside of the options, shared by option.c and option_names.c. */
#ifndef SLUICE_BASE_OPTION_INT_H
#define SLUICE_BASE_OPTION_INT_H

#include "base/option.h"

enum {
    OPTION_NAME_BYTES = 96,
    OPTION_SHOWN_BYTES = 64, /* of a wrong value, in messages */
};

/* What a message shows of a value that somebody else wrote: short, printable. */
const char *option__shown(const char *text, char ret[OPTION_SHOWN_BYTES]);
void option__fault_where(struct sl_fault *fault, struct option_origin from);

#endif
