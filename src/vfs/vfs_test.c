#include "vfs/vfs.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct vfs *v;

static const char *path(const char *name)
{
    static char text[2][PATH_MAX];
    static int turn;
    turn = !turn;
    (void)snprintf(text[turn], sizeof text[turn], "%s/%s", dir, name);
    return text[turn];
}

static sl_err remove_entry(void *arg, const char *name)
{
    if (vfs_unlink(v, path(name)) != SL_OK)
        return vfs_rmdir(v, path(name));
    return SL_OK;
}

static int make_dir(void **state)
{
    v = vfs_real();
    (void)snprintf(dir, sizeof dir, "%s", "/tmp/sluice-vfs-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    assert_int_equal(SL_OK, vfs_list_dir(v, dir, remove_entry, NULL));
    return vfs_rmdir(v, dir) == SL_OK ? 0 : -1;
}

static void open_says_what_is_missing_and_what_is_there(void **state)
{
    struct vfs_file *f = NULL;
    assert_int_equal(SL_ENOTFOUND, vfs_open(v, path("a"), VFS_READ, &f));
    assert_null(f);
    assert_int_equal(SL_OK, vfs_open(v, path("a"), VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &f));
    vfs_close(f);
    assert_int_equal(SL_EEXISTS,
                     vfs_open(v, path("a"), VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &f));
    vfs_close(NULL);
}

static void a_vector_longer_than_the_kernel_takes_is_written_whole(void **state)
{
    enum { PIECES = IOV_MAX + 500 };
    static uint8_t bytes[PIECES * 3], back[PIECES * 3 + 1];
    static struct iovec iov[PIECES + 2];
    struct vfs_file *f;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    iov[0] = (struct iovec){.iov_base = bytes}; /* empty ones are allowed */
    for (size_t i = 0; i < PIECES; i++)
        iov[i + 1] = (struct iovec){.iov_base = bytes + 3 * i, .iov_len = 3};
    assert_int_equal(SL_OK, vfs_open(v, path("f"), VFS_WRITE | VFS_CREATE, &f));
    assert_int_equal(SL_OK, vfs_pwritev(f, iov, PIECES + 2, 5));
    size_t n;
    assert_int_equal(SL_OK, vfs_pread(f, back, sizeof back, 5, &n));
    assert_int_equal(sizeof bytes, n);
    assert_memory_equal(bytes, back, sizeof bytes);
    int64_t size;
    assert_int_equal(SL_OK, vfs_file_size(f, &size));
    assert_int_equal(5 + sizeof bytes, size);
    assert_int_equal(SL_OK, vfs_datasync(f));
    vfs_close(f);
}

static void reads_end_at_the_end_of_the_file(void **state)
{
    struct vfs_file *f;
    char back[16];
    size_t n;
    assert_int_equal(SL_OK, vfs_open(v, path("f"), VFS_WRITE | VFS_CREATE, &f));
    assert_int_equal(SL_OK, vfs_pwrite(f, "0123456789", 10, 0));
    assert_int_equal(SL_OK, vfs_pread_full(f, back, 10, 0));
    assert_int_equal(SL_EEND, vfs_pread_full(f, back, 11, 0));
    assert_int_equal(SL_OK, vfs_truncate(f, 4));
    assert_int_equal(SL_OK, vfs_pread(f, back, sizeof back, 1, &n));
    assert_int_equal(3, n);
    assert_int_equal(SL_OK, vfs_pread(f, back, sizeof back, 4, &n));
    assert_int_equal(0, n);
    vfs_advise_writeback(f, 0, 4);
    vfs_advise_dontneed(f, 0, 4);
    sl_err err = vfs_pread_nowait(f, back, sizeof back, 0, &n);
    assert_true(err == SL_PENDING || (err == SL_OK && n == 4)); /* as the file system can */
    vfs_close(f);
}

static void a_read_only_file_is_not_written(void **state)
{
    struct vfs_file *f;
    assert_int_equal(SL_OK, vfs_replace_file(v, path("f"), "x", 1));
    assert_int_equal(SL_OK, vfs_open(v, path("f"), VFS_READ, &f));
    assert_int_not_equal(SL_OK, vfs_pwrite(f, "y", 1, 0));
    vfs_close(f);
}

static char names[64];

static sl_err collect(void *arg, const char *name)
{
    size_t len = strlen(names);
    (void)snprintf(names + len, sizeof names - len, "%s ", name);
    return strcmp(name, arg) == 0 ? SL_EEND : SL_OK;
}

static void directories_are_listed_sorted_until_the_caller_stops(void **state)
{
    struct vfs_stat st;
    char none[] = "none", b[] = "b";
    assert_int_equal(SL_OK, vfs_mkdir(v, path("d")));
    assert_int_equal(SL_EEXISTS, vfs_mkdir(v, path("d")));
    assert_int_equal(SL_OK, vfs_replace_file(v, path("b"), "1", 1));
    assert_int_equal(SL_OK, vfs_replace_file(v, path("a"), "22", 2));
    names[0] = '\0';
    assert_int_equal(SL_OK, vfs_list_dir(v, dir, collect, none));
    assert_string_equal("a b d ", names);
    names[0] = '\0';
    assert_int_equal(SL_EEND, vfs_list_dir(v, dir, collect, b));
    assert_string_equal("a b ", names);
    assert_int_equal(SL_ENOTFOUND, vfs_list_dir(v, path("none"), collect, none));
    assert_int_equal(SL_OK, vfs_stat(v, path("d"), &st));
    assert_true(st.is_dir);
    assert_int_equal(SL_OK, vfs_stat(v, path("a"), &st));
    assert_int_equal(2, st.size);
    assert_int_equal(SL_ENOTFOUND, vfs_stat(v, path("c"), &st));
}

static void replace_leaves_the_new_content_and_no_temporary_file(void **state)
{
    char back[8];
    struct vfs_file *f;
    struct vfs_stat st;
    assert_int_equal(SL_OK, vfs_replace_file(v, path("f.tmp"), "left behind by a crash", 22));
    assert_int_equal(SL_OK, vfs_replace_file(v, path("f"), "old", 3));
    assert_int_equal(SL_OK, vfs_replace_file(v, path("f"), "newer", 5));
    assert_int_equal(SL_OK, vfs_open(v, path("f"), VFS_READ, &f));
    assert_int_equal(SL_OK, vfs_pread_full(f, back, 5, 0));
    assert_memory_equal("newer", back, 5);
    vfs_close(f);
    assert_int_equal(SL_ENOTFOUND, vfs_stat(v, path("f.tmp"), &st));
    assert_int_equal(SL_ENOTFOUND, vfs_replace_file(v, path("none/f"), "x", 1));
}

static void many_files_are_synced_together(void **state)
{
    enum { FILES = 20 };
    struct vfs_file *files[FILES];
    sl_err errs[FILES];
    for (size_t n = 3; n <= FILES; n += FILES - 3) { /* one by one, and together */
        for (size_t i = 0; i < n; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "many%zu", i);
            assert_int_equal(SL_OK, vfs_open(v, path(name), VFS_WRITE | VFS_CREATE, &files[i]));
            assert_int_equal(SL_OK, vfs_pwrite(files[i], "bytes", 5, 0));
            errs[i] = SL_PENDING;
        }
        vfs_datasync_many(files, n, errs);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(SL_OK, errs[i]);
            vfs_close(files[i]);
        }
    }
}

static void ensure_dir_makes_it_once_and_refuses_a_file_in_its_place(void **state)
{
    assert_int_equal(SL_OK, vfs_ensure_dir(v, path("d/")));
    assert_int_equal(SL_OK, vfs_ensure_dir(v, path("d")));
    assert_int_equal(SL_OK, vfs_sync_dir(v, path("d")));
    assert_int_equal(SL_OK, vfs_replace_file(v, path("f"), "x", 1));
    assert_int_equal(SL_EEXISTS, vfs_ensure_dir(v, path("f")));
    assert_int_equal(SL_ENOTFOUND, vfs_ensure_dir(v, path("a/b")));
}

static void a_second_lock_is_refused_and_names_the_holder(void **state)
{
    struct vfs_file *first, *second = NULL;
    int64_t pid = 0;
    assert_int_equal(SL_OK, vfs_lock_file(v, path("LOCK"), &pid, &first));
    assert_int_equal(SL_ELOCKED, vfs_lock_file(v, path("LOCK"), &pid, &second));
    assert_int_equal(getpid(), pid);
    assert_null(second);
    vfs_close(first);
    assert_int_equal(SL_OK, vfs_lock_file(v, path("LOCK"), &pid, &second));
    vfs_close(second);
}

static void space_is_told(void **state)
{
    struct vfs_space s;
    assert_int_equal(SL_OK, vfs_space(v, dir, &s));
    assert_true(s.total_bytes > 0);
    assert_true(s.free_bytes <= s.total_bytes);
}

#define VFS_TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        VFS_TEST(open_says_what_is_missing_and_what_is_there),
        VFS_TEST(a_vector_longer_than_the_kernel_takes_is_written_whole),
        VFS_TEST(reads_end_at_the_end_of_the_file),
        VFS_TEST(a_read_only_file_is_not_written),
        VFS_TEST(directories_are_listed_sorted_until_the_caller_stops),
        VFS_TEST(replace_leaves_the_new_content_and_no_temporary_file),
        VFS_TEST(many_files_are_synced_together),
        VFS_TEST(ensure_dir_makes_it_once_and_refuses_a_file_in_its_place),
        VFS_TEST(a_second_lock_is_refused_and_names_the_holder),
        VFS_TEST(space_is_told),
    };
    return cmocka_run_group_tests_name("vfs", tests, NULL, NULL);
}
