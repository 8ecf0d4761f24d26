// SPDX-License-Identifier: Apache-2.0
/* The real environment under real faults: short writes, full disks, calls that a kernel or file system declines, locks
 * between processes, and what the O_DIRECT backend must and must not do. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "child.h"
#include "io/io.h"

static const enum io_model writing_models[] = {IO_STD, IO_DIRECT, IO_URING};

static void path_in(char path[300], const char *dir, const char *name)
{
    snprintf(path, 300, "%s/%s", dir, name);
}

static uint64_t calls_of(struct io *io, enum io_op op)
{
    return atomic_load(&io_component_stats(io, IO_WAL)->ops[op].calls);
}

static void in_new_dir(void (*run)(void (*fn)(const char *), const char *), void (*fn)(const char *))
{
    char dir[256];
    test_dir_create(dir);
    run(fn, dir);
    test_dir_remove(dir);
}

/* ---- limits --------------------------------------------------------------------------------------------------- */

static void write_over_limit(const char *dir)
{
    static uint8_t data[300000], found[300000];
    struct io *io = NULL;
    CHECK_OK(io_real_create(&io));
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 25 * 4096, .rlim_max = 25 * 4096}) == 0);
    memset(data, 5, sizeof data);
    for (size_t i = 0; i < ARRAY_COUNT(writing_models); i++) {
        char path[300], name[8];
        struct io_file *f = NULL;
        uint64_t size = 0;
        snprintf(name, sizeof name, "f%zu", i);
        path_in(path, dir, name);
        CHECK_OK(io_open(io, path, IO_WAL, writing_models[i], IO_READ | IO_WRITE | IO_CREATE, &f));
        CHECK_OK(io_pwrite(f, data, 50000, 0));
        CHECK_FAILS(IO, io_pwrite(f, data, sizeof data, 50000));
        CHECK(strstr(status_message(), path) && strstr(status_message(), "File too large"));
        CHECK(strstr(status_message(), "300000 bytes at 50000"));
        CHECK_OK(io_size(f, &size));
        CHECK(size >= 50000 && size <= 25 * 4096);
        CHECK_OK(io_pread_exact(f, found, size, 0));
        CHECK(memcmp(found, data, size) == 0);
        CHECK_OK(io_close(f));
    }
    io_destroy(io);
}

/* A write that the kernel cuts short is gone on with, and its end is an error that names path, place and reason. */
static void test_short_write(void **state)
{
    (void)state;
    in_new_dir(child_passes, write_over_limit);
}

static void fill_small_disk(const char *dir)
{
    static uint8_t data[1 << 20];
    struct io *io = NULL;
    struct io_file *f = NULL;
    struct io_shared ring;
    char path[300], ring_path[300];
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=256k") != 0)
        _exit(77); /* not allowed here */
    path_in(path, dir, "f");
    path_in(ring_path, dir, "ring");
    CHECK_OK(io_real_create(&io));
    CHECK_OK(io_open(io, path, IO_WAL, IO_STD, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK_FAILS(NO_SPACE, io_preallocate(f, 0, 1 << 20));
    CHECK_FAILS(NO_SPACE, io_shared_open(io, ring_path, 1 << 20, &ring));
    CHECK(!io_exists(io, ring_path)); /* nothing half-made stays */
    CHECK_FAILS(NO_SPACE, io_pwrite(f, data, sizeof data, 0));
    CHECK(strstr(status_message(), path) && strstr(status_message(), "No space left"));
    CHECK_OK(io_truncate(f, 0));
    CHECK_OK(io_shared_open(io, ring_path, 65536, &ring));
    CHECK_OK(io_preallocate(f, 0, 128 << 10));
    CHECK_FAILS(NO_SPACE, io_pwrite(f, data, 256 << 10, 128 << 10));
    memset(ring.data, 1, ring.size); /* the disk is full, and its blocks are there */
    CHECK_OK(io_pwrite(f, data, 128 << 10, 0));
    io_shared_close(&ring);
    CHECK_OK(io_close(f));
    io_destroy(io);
}

/* On a full file system writes and reservations are NO_SPACE; what was reserved can still be written, the shared buffer
 * included. */
static void test_full_disk(void **state)
{
    (void)state;
    char dir[256];
    test_dir_create(dir);
    int status = child_run(fill_small_disk, dir);
    test_dir_remove(dir);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- what kernels and file systems decline -------------------------------------------------------------------- */

static void use_all(const char *dir, const char *name, enum io_model model)
{
    static uint8_t data[30000], found[30000];
    struct io *io = NULL;
    struct io_file *f = NULL;
    struct io_shared ring;
    char path[300], ring_path[300];
    uint64_t size = 0;
    path_in(path, dir, name);
    path_in(ring_path, dir, "ring");
    memset(data, 3, sizeof data);
    CHECK_OK(io_real_create(&io));
    CHECK_OK(io_open(io, path, IO_WAL, model, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK_OK(io_preallocate(f, 0, 20000));
    CHECK_OK(io_size(f, &size));
    CHECK(size == 20000);
    CHECK_OK(io_pwrite_durable(f, data, 10000, 0));
    CHECK_OK(io_pwrite_durable(f, data, 20000, 10000));
    CHECK_OK(io_preallocate(f, 0, 10000)); /* does not shrink */
    CHECK_OK(io_close(f));
    CHECK_OK(io_open(io, path, IO_WAL, model, IO_READ | IO_SCAN_ONCE, &f));
    CHECK_OK(io_size(f, &size));
    CHECK(size == 30000);
    CHECK_OK(io_pread_exact(f, found, 30000, 0));
    CHECK(memcmp(found, data, 30000) == 0);
    CHECK_OK(io_close(f));
    CHECK_OK(io_shared_open(io, ring_path, 200000, &ring));
    ring.data[150000] = 4;
    io_shared_close(&ring);
    CHECK_OK(io_shared_open(io, ring_path, 200000, &ring));
    CHECK(ring.data[150000] == 4 && ring.data[150001] == 0);
    io_shared_close(&ring);
    CHECK_OK(io_unlink(io, ring_path));
    io_destroy(io);
}

static void use_on_old_kernel(const char *dir)
{
    syscall_fails(SYS_preadv2, EOPNOTSUPP);
    syscall_fails(SYS_pwritev2, EOPNOTSUPP);
    syscall_fails(SYS_fallocate, EOPNOTSUPP);
    syscall_fails(SYS_statx, ENOSYS);
    use_all(dir, "std", IO_STD);
    use_all(dir, "direct", IO_DIRECT);
    use_all(dir, "uring", IO_URING);
}

/* Without RWF_DSYNC, RWF_DONTCACHE, fallocate and statx everything works, by other calls. */
static void test_old_kernel(void **state)
{
    (void)state;
    in_new_dir(child_passes, use_on_old_kernel);
}

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* younger than the headers of some build machines */
#endif

static void ask_without_cachestat(const char *dir)
{
    static uint8_t data[40000];
    char path[300];
    struct io *io = NULL;
    struct io_file *f = NULL;
    path_in(path, dir, "f");
    CHECK_OK(io_real_create(&io));
    CHECK_OK(io_open(io, path, IO_WAL, IO_STD, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK_OK(io_pwrite(f, data, sizeof data, 0));
    CHECK(io_resident_range(f, 8192, 10000) == 10000); /* just written: dirty pages stay */
    syscall_fails(SYS_cachestat, ENOSYS);
    CHECK(io_resident_range(f, 8192, 10000) == 10000);
    CHECK(io_resident_range(f, 36864, 1 << 20) == 40000 - 36864);
    CHECK(io_resident_range(f, 40960, 4096) == 0);
    CHECK(io_resident(f) == 40000);
    if (geteuid() == 0) {
        CHECK(chown(path, 1, 1) == 0 && chmod(path, 0644) == 0 && seteuid(65534) == 0);
        CHECK(io_resident(f) == UINT64_MAX); /* mincore would say "all of it" of somebody else's file */
        CHECK(seteuid(0) == 0);
    }
    CHECK_OK(io_close(f));
    io_destroy(io);
}

/* Kernels before 6.5 have no cachestat: mincore answers the same, and where it would not tell the truth nothing does.
 */
static void test_resident_on_old_kernel(void **state)
{
    (void)state;
    in_new_dir(child_passes, ask_without_cachestat);
}

/* The filter takes every fcntl that asks for the flag with O_DIRECT in it: F_SETFL only changes that here. */
static void use_without_direct(const char *dir)
{
    char path[300];
    struct io *io = NULL;
    struct io_file *f = NULL;
    syscall_fails(SYS_fcntl, EINVAL);
    path_in(path, dir, "f");
    CHECK_OK(io_real_create(&io));
    CHECK_OK(io_open(io, path, IO_WAL, IO_DIRECT, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK(io_file_model(f) == IO_STD);
    CHECK_OK(io_pwrite(f, "abc", 3, 1));
    CHECK_OK(io_close(f));
    io_destroy(io);
    use_all(dir, "g", IO_DIRECT);
}

/* A file system that refuses O_DIRECT gets standard I/O, and the file says so. */
static void test_direct_refused(void **state)
{
    (void)state;
    in_new_dir(child_passes, use_without_direct);
}

static void sync_fails(const char *dir)
{
    char path[300];
    struct io *io = NULL;
    struct io_file *f = NULL;
    path_in(path, dir, "f");
    CHECK_OK(io_real_create(&io));
    CHECK_OK(io_open(io, path, IO_WAL, IO_STD, IO_READ | IO_WRITE | IO_CREATE, &f));
    syscall_fails(SYS_fdatasync, EIO);
    syscall_fails(SYS_fsync, EIO);
    CHECK_FAILS(IO, io_sync(f));
    CHECK(strstr(status_message(), path) && strstr(status_message(), "sync") &&
          strstr(status_message(), "Input/output error"));
    CHECK(calls_of(io, IO_OP_SYNC) == 1); /* once: never again after a failure */
    CHECK(atomic_load(&io_component_stats(io, IO_WAL)->ops[IO_OP_SYNC].errors) == 1);
    CHECK_FAILS(IO, io_sync_dir(io, dir));
    CHECK(strstr(status_message(), dir) != NULL);
    syscall_fails(SYS_fdatasync, EINTR);
    CHECK_FAILS(IO, io_sync(f));
    CHECK(calls_of(io, IO_OP_SYNC) == 2); /* an interrupted sync is not repeated either */
    syscall_fails(SYS_pwritev2, EIO);
    CHECK_FAILS(IO, io_pwrite_durable(f, "x", 1, 0));
    CHECK(calls_of(io, IO_OP_SYNC) == 3 && calls_of(io, IO_OP_WRITE) == 0);
    CHECK_OK(io_close(f));
    io_destroy(io);
}

/* A failed sync is IO with path and reason in the message, and is tried exactly once. */
static void test_failed_sync(void **state)
{
    (void)state;
    in_new_dir(child_passes, sync_fails);
}

/* ---- O_DIRECT ------------------------------------------------------------------------------------------------- */

/* The direct backend's own promises, where the file system has it. */
static struct io_file *open_direct(struct io *io, const char *path)
{
    struct io_file *f = NULL;
    OK(io_open(io, path, IO_WAL, IO_DIRECT, IO_READ | IO_WRITE | IO_CREATE, &f));
    if (io_file_model(f) == IO_DIRECT)
        return f;
    OK(io_close(f));
    skip();
    return NULL;
}

/* Appending in small pieces reads nothing back, and a sync leaves the file at its true size. */
static void test_direct_appends(void **state)
{
    (void)state;
    char dir[256], path[300];
    struct io *io = NULL;
    struct stat st;
    test_dir_create(dir);
    path_in(path, dir, "f");
    OK(io_real_create(&io));
    struct io_file *f = open_direct(io, path);
    for (uint64_t i = 0; i < 100; i++)
        OK(io_pwrite(f, "0123456789012345678901234567890123456789012345678901234567890123456789", 70, i * 70));
    assert_int_equal(calls_of(io, IO_OP_READ), 0);
    assert_int_equal(calls_of(io, IO_OP_WRITE), 100);
    OK(io_sync(f));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 7000);
    OK(io_close(f));
    io_destroy(io);
    test_dir_remove(dir);
}

/* In a reserved file a durable append is one system call: no read, no cut, no second sync. */
static void test_direct_durable_append(void **state)
{
    (void)state;
    char dir[256], path[300];
    struct io *io = NULL;
    test_dir_create(dir);
    path_in(path, dir, "f");
    OK(io_real_create(&io));
    struct io_file *f = open_direct(io, path);
    OK(io_preallocate(f, 0, 1 << 20));
    OK(io_sync(f));
    OK(io_pwrite_durable(f, "first", 5, 0)); /* reads its block once */
    uint64_t reads = calls_of(io, IO_OP_READ), syncs = calls_of(io, IO_OP_SYNC);
    for (uint64_t i = 1; i < 20; i++)
        OK(io_pwrite_durable(f, "again", 5, i * 5));
    assert_int_equal(calls_of(io, IO_OP_READ), reads);
    assert_int_equal(calls_of(io, IO_OP_SYNC), syncs + 19);
    assert_int_equal(calls_of(io, IO_OP_TRUNCATE), 0);
    assert_int_equal(calls_of(io, IO_OP_WRITE), 0);
    OK(io_close(f));
    io_destroy(io);
    test_dir_remove(dir);
}

/* Bytes of a block that was written whole, after its start had been appended, are what a later append goes on from: not
 * the block that was remembered before. */
static void test_direct_block_is_written_over(void **state)
{
    (void)state;
    char dir[256], path[300];
    struct io *io = NULL;
    uint8_t *block CLEANUP(mem_free_ptr) = mem_alloc_aligned(PAGE_BYTES, PAGE_BYTES), got[PAGE_BYTES];
    test_dir_create(dir);
    path_in(path, dir, "f");
    OK(io_real_create(&io));
    struct io_file *f = open_direct(io, path);
    OK(io_pwrite(f, "old", 3, 0));
    memset(block, 'n', PAGE_BYTES);
    OK(io_pwrite(f, block, PAGE_BYTES, 0));
    OK(io_pwrite(f, "x", 1, 100));
    OK(io_pread_exact(f, got, sizeof got, 0));
    block[100] = 'x';
    assert_memory_equal(got, block, PAGE_BYTES);
    OK(io_close(f));
    io_destroy(io);
    test_dir_remove(dir);
}

/* ---- locks between processes ---------------------------------------------------------------------------------- */

/* Another process's lock is BUSY with that process's pid, and ends when the process is killed. */
static void test_lock_of_another_process(void **state)
{
    (void)state;
    char dir[256], path[300], pid_text[32], byte = 0;
    struct io *io = NULL;
    struct io_lock *lock = NULL;
    int ready[2];
    test_dir_create(dir);
    path_in(path, dir, "LOCK");
    OK(io_real_create(&io));
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_OK(io_lock(io, path, true, &lock));
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(pid_text, sizeof pid_text, "process %ld", (long)pid);
    FAILS(BUSY, io_lock(io, path, true, &lock));
    assert_non_null(strstr(status_message(), pid_text));
    FAILS(BUSY, io_lock(io, path, false, &lock));
    assert_non_null(strstr(status_message(), pid_text));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    OK(io_lock(io, path, true, &lock));
    io_unlock(lock);
    close(ready[0]);
    close(ready[1]);
    io_destroy(io);
    test_dir_remove(dir);
}

/* An existing buffer with holes is filled before it is mapped: its blocks are all there. */
static void test_shared_has_no_holes(void **state)
{
    (void)state;
    char dir[256], path[300];
    struct io *io = NULL;
    struct io_shared ring;
    struct stat st;
    test_dir_create(dir);
    path_in(path, dir, "ring");
    OK(io_real_create(&io));
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    OK(io_shared_open(io, path, 1 << 20, &ring));
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 >= 1 << 20);
    io_shared_close(&ring);
    io_destroy(io);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_write),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_old_kernel),
        cmocka_unit_test(test_resident_on_old_kernel),
        cmocka_unit_test(test_direct_refused),
        cmocka_unit_test(test_failed_sync),
        cmocka_unit_test(test_direct_appends),
        cmocka_unit_test(test_direct_durable_append),
        cmocka_unit_test(test_direct_block_is_written_over),
        cmocka_unit_test(test_lock_of_another_process),
        cmocka_unit_test(test_shared_has_no_holes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
