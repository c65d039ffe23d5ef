/* Memory whose size we choose: never NULL, the process stops with a message instead. Sizes that
 * depend on a peer, a file or an option use sl_try_alloc, arena or buf, and are refused instead. */
#ifndef SLUICE_BASE_ALLOC_H
#define SLUICE_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory of `count` elements; overflow and exhaustion stop the process. free() with sl_free.
 */
void *sl_alloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* As sl_alloc, but returns NULL: for sizes that come from outside. Counted by the torture tests. */
void *sl_try_alloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* Grows or shrinks; new bytes are not zeroed. Stops the process when it cannot. */
void *sl_realloc(void *p, size_t count, size_t size);
char *sl_strdup(const char *text);
void sl_free(void *p);
/* Gives freed memory back to the system when the allocator keeps more than `kept_max` bytes of it.
 * Takes milliseconds for many small pieces. Any thread; false: nothing to give. */
bool sl_alloc_trim(size_t kept_max);

#define sl_new(type)          ((type *)sl_alloc(1, sizeof(type)))
#define sl_new_array(type, n) ((type *)sl_alloc((n), sizeof(type)))

/* Tests only: the n-th sl_try_alloc from now returns NULL (0: never). */
void sl_alloc_fail_at(unsigned long n);

#endif
