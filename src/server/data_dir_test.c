#include "server/data_dir.h"

#include "base/alloc.h"
#include "vfs/vfs.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char root[64], dir[128];
    struct sl_fault fault;
    struct data_dir *d;
};

static int setup(void **state)
{
    struct fixture *f = sl_new(struct fixture);
    (void)snprintf(f->root, sizeof f->root, "/tmp/sluice-dir-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->dir, sizeof f->dir, "%s/a/b", f->root);
    *state = f;
    return 0;
}

static sl_err remove_in(void *arg, const char *name)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    (void)unlink(path);
    return SL_OK;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char parent[128];
    data_dir_close(f->d);
    (void)snprintf(parent, sizeof parent, "%s/a", f->root);
    if (vfs_list_dir(vfs_real(), f->dir, remove_in, f->dir) == SL_OK)
        (void)rmdir(f->dir);
    (void)unlink(parent);
    (void)rmdir(parent);
    (void)rmdir(f->root);
    sl_free(f);
    return 0;
}

static sl_err open_dir(struct fixture *f)
{
    return data_dir_open(vfs_real(), &rng_real, f->dir, &f->fault, &f->d);
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(0, fclose(file));
}

static void read_file(struct fixture *f, const char *name, char *ret, size_t size)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
    FILE *file = fopen(path, "r");
    memset(ret, 0, size);
    if (file) {
        assert_true(fread(ret, 1, size - 1, file) > 0);
        (void)fclose(file);
    }
}

static void a_new_directory_is_made_with_its_parents_and_keeps_its_identity(void **state)
{
    struct fixture *f = *state;
    char text[256];
    assert_int_equal(SL_OK, open_dir(f));
    struct uuid first = *data_dir_cluster_id(f->d);
    assert_false(uuid_is_zero(&first));
    read_file(f, "FORMAT", text, sizeof text);
    assert_memory_equal("sluice data directory\nversion=1\ncluster=", text, 40);
    data_dir_close(f->d);
    f->d = NULL;
    f->dir[strlen(f->dir)] = '/'; /* a slash at the end changes nothing */
    assert_int_equal(SL_OK, open_dir(f));
    assert_true(uuid_equal(&first, data_dir_cluster_id(f->d)));
}

static void O04_a_second_process_is_refused_and_the_first_is_named(void **state)
{
    struct fixture *f = *state;
    struct data_dir *second = NULL;
    char expected[128];
    assert_int_equal(SL_OK, open_dir(f));
    assert_int_equal(SL_ELOCKED, data_dir_open(vfs_real(), &rng_real, f->dir, &f->fault, &second));
    (void)snprintf(expected, sizeof expected,
                   "in use by process %d; stop it, or choose another --data-dir", getpid());
    assert_string_equal(expected, f->fault.what);
    assert_string_equal(f->dir, f->fault.where);
    assert_null(second);
}

static void O04_a_newer_format_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    char text[256];
    assert_int_equal(SL_OK, open_dir(f));
    data_dir_close(f->d);
    f->d = NULL;
    write_file(f, "FORMAT", "sluice data directory\nversion=2\nnobody knows\n");
    assert_int_equal(SL_EFORMAT, open_dir(f));
    assert_string_equal("the data directory has format 2, this version reads up to 1: use a newer "
                        "sluice; nothing was changed",
                        f->fault.what);
    read_file(f, "FORMAT", text, sizeof text);
    assert_string_equal("sluice data directory\nversion=2\nnobody knows\n", text);
}

static void O04_a_damaged_format_is_refused(void **state)
{
    static const char *const texts[] = {
        "x",
        "sluice data directory\nversion=1\n",
        "sluice data directory\nversion=1\ncluster=1234\n",
        "sluice data directory\nversion=-1\ncluster=00000000-0000-4000-8000-000000000000\n",
        "sluice data directory\nversion=1\ncluster=00000000-0000-4000-8000-000000000000\nmore\n",
        "sluice data directory\nversion=1\ncluster=00000000-0000-4000-8000-000000000000",
        "sluice data directory\nversion=99999999999999999999\n",
    };
    struct fixture *f = *state;
    int64_t version;
    struct uuid cluster;
    assert_int_equal(SL_OK, open_dir(f));
    data_dir_close(f->d);
    f->d = NULL;
    for (size_t i = 0; i < SL_ARRAY_LEN(texts); i++) {
        write_file(f, "FORMAT", texts[i]);
        assert_int_equal(SL_EFORMAT, open_dir(f));
        assert_int_equal(SL_EFORMAT,
                         data_dir_parse_format(slice_str(texts[i]), &version, &cluster));
    }
    assert_int_equal(
        SL_OK,
        data_dir_parse_format(
            slice_str(
                "sluice data directory\nversion=1\ncluster=00000000-0000-4000-8000-000000000000\n"),
            &version, &cluster));
}

static void O04_a_directory_of_somebody_else_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(SL_OK, open_dir(f));
    data_dir_close(f->d);
    f->d = NULL;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/FORMAT", f->dir);
    assert_int_equal(0, unlink(path));
    write_file(f, "thesis.tex", "text");
    assert_int_equal(SL_EFORMAT, open_dir(f));
    assert_int_equal(0, memcmp("holds files but no FORMAT", f->fault.what, 25));
}

static void a_file_in_the_way_is_named(void **state)
{
    struct fixture *f = *state;
    char parent[128];
    (void)snprintf(parent, sizeof parent, "%s/a", f->root);
    FILE *file = fopen(parent, "w");
    assert_non_null(file);
    assert_int_equal(0, fclose(file));
    assert_int_equal(SL_EEXISTS, open_dir(f));
    assert_string_equal(parent, f->fault.where);
}

static void ports_are_told_and_forgotten(void **state)
{
    struct fixture *f = *state;
    char text[256];
    assert_int_equal(SL_OK, open_dir(f));
    assert_int_equal(SL_OK, data_dir_write_ports(f->d, 9092, 8080, 50051));
    read_file(f, "ports.json", text, sizeof text);
    assert_string_equal("{\"kafka\":9092,\"http\":8080,\"grpc\":50051}\n", text);
    data_dir_close(f->d); /* as after kill -9 */
    f->d = NULL;
    assert_int_equal(SL_OK, open_dir(f));
    read_file(f, "ports.json", text, sizeof text);
    assert_string_equal("", text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_new_directory_is_made_with_its_parents_and_keeps_its_identity),
        T(O04_a_second_process_is_refused_and_the_first_is_named),
        T(O04_a_newer_format_is_refused_and_left_alone),
        T(O04_a_damaged_format_is_refused),
        T(O04_a_directory_of_somebody_else_is_refused),
        T(a_file_in_the_way_is_named),
        T(ports_are_told_and_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
