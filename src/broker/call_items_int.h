/* The items of a call that answers each of them by itself and ends with the last: the calls that
 * create, delete, grow, alter and show topics. Core loop; inside this folder. */
#ifndef SLUICE_BROKER_CALL_ITEMS_INT_H
#define SLUICE_BROKER_CALL_ITEMS_INT_H

#include "broker/topics.h"
#include "broker/topics_int.h"

/* Starts a call of n items. False: the broker stops, the call has been finished with *ret_err
 * SL_ECLOSED. Else n + 1 ends are due, one of them when all items were started: the call may not
 * end under the feet of who starts them. */
bool items__begin(struct call_items *i, struct broker_call *c, uint32_t n, sl_err *ret_err);
/* One item has its answer. After the last one the call is finished and may be gone. */
void items__end(struct call_items *i);
/* A copy that lives until items__free; NULL for "". */
const char *items__text(struct call_items *i, const char *text);
/* The item that had this key before, or NULL: `item` has it now. `seen` has room for all. */
void *items__first(struct map *seen, struct slice key, void *item);
void items__free(struct call_items *i); /* after the answer was encoded */

#endif
