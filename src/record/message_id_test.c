#include "record/message_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct message_id there_and_back(struct message_id id)
{
    char text[UUID_TEXT_BYTES];
    struct message_id ret = {0};
    message_id_format(&id, text);
    assert_int_equal(36, strlen(text));
    assert_int_equal(SL_OK, message_id_parse(slice_str(text), &ret));
    return ret;
}

static void assert_same(struct message_id a, struct message_id b)
{
    assert_int_equal(a.timestamp_ms, b.timestamp_ms);
    assert_int_equal(a.partition, b.partition);
    assert_int_equal(a.offset, b.offset);
    assert_true(message_id_is_of(&a, b.topic_number));
}

static void an_id_tells_where_its_record_is(void **state)
{
    struct message_id id = {1700000000123, 77, 5, 123456789012};
    assert_same(there_and_back(id), id);
    struct message_id first = {0, 0, 0, 0};
    assert_same(there_and_back(first), first);
    struct message_id last = {(1LL << 48) - 1, 4095, MESSAGE_ID_PARTITIONS_MAX - 1,
                              (1LL << 48) - 1};
    assert_same(there_and_back(last), last);
}

static void an_id_is_a_version_7_uuid_in_lower_case(void **state)
{
    char text[UUID_TEXT_BYTES];
    struct message_id id = {0x0123456789AB, 0xABC, 0, 1};
    message_id_format(&id, text);
    assert_string_equal("01234567-89ab-7abc-8000-000000000001", text);
}

static void a_time_outside_of_48_bits_is_clamped(void **state)
{
    struct message_id id = {-5, 1, 0, 9};
    assert_int_equal(0, there_and_back(id).timestamp_ms);
    id.timestamp_ms = INT64_MAX;
    assert_int_equal((1LL << 48) - 1, there_and_back(id).timestamp_ms);
}

static void an_id_of_another_topic_is_told_apart(void **state)
{
    struct message_id id = there_and_back((struct message_id){1, 41, 0, 9});
    assert_true(message_id_is_of(&id, 41));
    assert_true(message_id_is_of(&id, 41 + 4096));
    assert_false(message_id_is_of(&id, 42));
}

static void what_is_no_id_of_ours_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "01234567-89ab-7abc-8000-00000000000",
        "01234567-89ab-7abc-8000-0000000000011",
        "01234567-89ab-4abc-8000-000000000001", /* version 4 */
        "01234567-89ab-7abc-c000-000000000001", /* another variant */
        "01234567x89ab-7abc-8000-000000000001",
        "g1234567-89ab-7abc-8000-000000000001",
    };
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        struct message_id id;
        assert_int_equal(SL_EINVAL, message_id_parse(slice_str(texts[i]), &id));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_tells_where_its_record_is),
        cmocka_unit_test(an_id_is_a_version_7_uuid_in_lower_case),
        cmocka_unit_test(a_time_outside_of_48_bits_is_clamped),
        cmocka_unit_test(an_id_of_another_topic_is_told_apart),
        cmocka_unit_test(what_is_no_id_of_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
