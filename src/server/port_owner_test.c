#include "server/port_owner.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void a_line_of_the_table_is_understood(void **state)
{
    static const char listening[] = "   0: 0100007F:2384 00000000:0000 0A 00000000:00000000 "
                                    "00:00000000 00000000     0        0 12345 1 00000000 100 0 0";
    static const char connected[] = "   1: 0100007F:2384 0100007F:C000 01 00000000:00000000 "
                                    "00:00000000 00000000     0        0 12346 1 00000000 100 0 0";
    assert_int_equal(12345, port_owner_parse_line(slice_str(listening), 0x2384));
    assert_int_equal(0, port_owner_parse_line(slice_str(listening), 0x2385));
    assert_int_equal(0, port_owner_parse_line(slice_str(connected), 0x2384));
    assert_int_equal(0, port_owner_parse_line(slice_str("  sl  local_address rem_address"), 0));
    assert_int_equal(0, port_owner_parse_line(slice_str(""), 0));
}

static void a_listener_of_this_process_is_found(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    char name[PORT_OWNER_NAME_BYTES];
    int64_t pid = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(0, bind(fd, (struct sockaddr *)&addr, sizeof addr));
    assert_int_equal(0, listen(fd, 1));
    assert_int_equal(0, getsockname(fd, (struct sockaddr *)&addr, &len));
    assert_true(port_owner_find(ntohs(addr.sin_port), &pid, name));
    assert_int_equal(getpid(), pid);
    assert_true(name[0] != '\0');
    (void)close(fd);
    assert_false(port_owner_find(ntohs(addr.sin_port), &pid, name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_the_table_is_understood),
        cmocka_unit_test(a_listener_of_this_process_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
