#include "record/message_id.h"

#include "base/byteorder.h"

#define LOW_BITS(n) ((UINT64_C(1) << (n)) - 1)

enum { TIME_BITS = 48, CHECK_BITS = 12, PARTITION_BITS = 14, OFFSET_BITS = 48 };

static const uint64_t version_7 = UINT64_C(7) << 12, variant = UINT64_C(2) << 62;

static uint64_t clamp_time(int64_t ms)
{
    if (ms < 0)
        return 0;
    return SL_MIN((uint64_t)ms, LOW_BITS(TIME_BITS));
}

void message_id_format(const struct message_id *id, char ret_text[UUID_TEXT_BYTES])
{
    struct uuid u;
    SL_ASSERT(id->partition >= 0);
    SL_ASSERT(id->offset >= 0 && (uint64_t)id->offset <= LOW_BITS(OFFSET_BITS));
    uint64_t check = (uint64_t)id->topic_number & LOW_BITS(CHECK_BITS);
    uint64_t partition = (uint64_t)id->partition & LOW_BITS(PARTITION_BITS);
    put_be64(u.bytes, clamp_time(id->timestamp_ms) << 16 | version_7 | check);
    put_be64(u.bytes + 8, variant | partition << OFFSET_BITS | (uint64_t)id->offset);
    uuid_format(&u, ret_text);
}

sl_err message_id_parse(struct slice text, struct message_id *ret)
{
    char copy[UUID_TEXT_BYTES] = "";
    struct uuid u;
    if (text.len != UUID_TEXT_BYTES - 1 || memchr(text.data, 0, text.len))
        return SL_EINVAL;
    memcpy(copy, text.data, text.len);
    SL_TRY(uuid_parse(copy, &u));
    uint64_t high = get_be64(u.bytes), low = get_be64(u.bytes + 8);
    if ((high & (UINT64_C(15) << 12)) != version_7 || (low & (UINT64_C(3) << 62)) != variant)
        return SL_EINVAL;
    *ret = (struct message_id){
        .timestamp_ms = (int64_t)(high >> 16),
        .topic_number = (int64_t)(high & LOW_BITS(CHECK_BITS)),
        .partition = (int32_t)(low >> OFFSET_BITS & LOW_BITS(PARTITION_BITS)),
        .offset = (int64_t)(low & LOW_BITS(OFFSET_BITS)),
    };
    return SL_OK;
}

bool message_id_is_of(const struct message_id *id, int64_t topic_number)
{
    return (((uint64_t)id->topic_number ^ (uint64_t)topic_number) & LOW_BITS(CHECK_BITS)) == 0;
}
