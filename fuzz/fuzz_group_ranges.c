/* Rows of ranges of a group: whatever they say, every offset stays in exactly one state, and what
 * was accepted survives a round trip. */
#include "broker/share_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct share *s)
{
    struct slice image = {0};
    struct share copy;
    SL_ASSERT(share_image_encode(s, &image) == SL_OK);
    share_init(&copy, s->cursor);
    if (image.len) {
        SL_ASSERT(share_image_load(&copy, image) == SL_OK);
        share_check(&copy);
        SL_ASSERT(copy.cursor == s->cursor);
        SL_ASSERT(copy.next == s->next);
        SL_ASSERT(copy.n_acked == s->n_acked);
    }
    slice_unref(&image);
    share_fini(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t cursors[] = {0, 7, 1 << 20};
    for (size_t i = 0; i < SL_ARRAY_LEN(cursors); i++) {
        struct share s;
        share_init(&s, cursors[i]);
        if (share_image_load(&s, slice_of(data, size)) == SL_OK)
            again(&s);
        share_check(&s);
        share_fini(&s);
    }
    return 0;
}
