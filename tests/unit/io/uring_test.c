// SPDX-License-Identifier: Apache-2.0
/* io_uring: refusals, rings per thread, forks, rings that break. Skipped where the kernel has none. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "child.h"
#include "io/io.h"

struct bed {
    char dir[256];
    char path[300];
    struct io *io;
    struct io_file *f;
};

static uint8_t data[100000];

static void bed_open(struct bed *b)
{
    test_dir_create(b->dir);
    snprintf(b->path, sizeof b->path, "%s/f", b->dir);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    OK(io_real_create(&b->io));
    OK(io_open(b->io, b->path, IO_VLOG, IO_URING, IO_READ | IO_WRITE | IO_CREATE, &b->f));
    OK(io_pwrite(b->f, data, sizeof data, 0));
    OK(io_sync(b->f));
}

static void bed_close(struct bed *b)
{
    OK(io_close(b->f));
    io_destroy(b->io);
    test_dir_remove(b->dir);
}

static void need_uring(struct bed *b)
{
    if (io_file_model(b->f) == IO_URING)
        return;
    bed_close(b);
    skip();
}

/* A group of `count` reads; true when all of them are right. */
static bool group_is_right(struct io *io, struct io_file *f, size_t count)
{
    enum { SIZE = 700 };
    static _Thread_local uint8_t buffers[100][SIZE];
    struct io_read_request requests[100];
    for (size_t i = 0; i < count; i++)
        requests[i] = (struct io_read_request){.file = f, .buffer = buffers[i], .size = SIZE, .off = i * 901};
    if (io_read_many(io, requests, count) != NOKV_OK)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (requests[i].got != SIZE || memcmp(buffers[i], data + i * 901, SIZE) != 0)
            return false;
    }
    return true;
}

/* A group of 60 reads is one system call, and its bytes are counted. */
static void test_group_is_one_call(void **state)
{
    (void)state;
    struct bed b = {0};
    bed_open(&b);
    need_uring(&b);
    const struct io_op_stats *reads = &io_component_stats(b.io, IO_VLOG)->ops[IO_OP_READ];
    uint64_t calls = atomic_load(&reads->calls), bytes = atomic_load(&reads->bytes);
    assert_true(group_is_right(b.io, b.f, 60));
    assert_int_equal(atomic_load(&reads->calls), calls + 1);
    assert_int_equal(atomic_load(&reads->bytes), bytes + 60 * 700);
    assert_string_equal(io_uring_state(b.io), "on");
    bed_close(&b);
}

/* Files that are scanned once are read through the ring as well, one by one and in groups. */
static void test_scan_once(void **state)
{
    (void)state;
    struct bed b = {0};
    struct io_file *f = NULL;
    static uint8_t found[sizeof data];
    bed_open(&b);
    need_uring(&b);
    OK(io_open(b.io, b.path, IO_COMPACTION, IO_URING, IO_READ | IO_SCAN_ONCE, &f));
    assert_true(group_is_right(b.io, f, 60));
    OK(io_pread_exact(f, found, sizeof found, 0));
    assert_memory_equal(found, data, sizeof data);
    assert_true(atomic_load(&io_component_stats(b.io, IO_COMPACTION)->ops[IO_OP_READ].calls) < 60);
    OK(io_close(f));
    bed_close(&b);
}

/* ---- a write and its sync -------------------------------------------------------------------------------------- */

/* Two steps, one call, counted as one; and an error of the first one is the caller's, with nothing synced. */
static void test_two_step_sync(void **state)
{
    (void)state;
    struct bed b;
    struct io_file *f = NULL, *full = NULL;
    char path[300];
    uint8_t found[5000];
    bed_open(&b);
    need_uring(&b);
    snprintf(path, sizeof path, "%s/two", b.dir);
    OK(io_open(b.io, path, IO_WAL, IO_URING, IO_READ | IO_WRITE | IO_CREATE | IO_TWO_STEP_SYNC, &f));
    assert_int_equal(io_file_model(f), IO_URING);
    const struct io_component_stats *stats = io_component_stats(b.io, IO_WAL);
    OK(io_pwrite_durable(f, data, 3000, 0));
    OK(io_pwrite_durable(f, data + 3000, 2000, 3000));
    assert_int_equal(stats->ops[IO_OP_SYNC].calls, 2);
    assert_int_equal(stats->ops[IO_OP_WRITE].calls, 0);
    assert_int_equal(stats->ops[IO_OP_WRITE].bytes, 5000);
    OK(io_pread_exact(f, found, sizeof found, 0));
    assert_memory_equal(found, data, sizeof found);
    OK(io_close(f));
    OK(io_open(b.io, "/dev/full", IO_WAL, IO_URING, IO_READ | IO_WRITE | IO_TWO_STEP_SYNC, &full));
    assert_int_equal(io_pwrite_durable(full, data, 100, 0), NOKV_ERR_NO_SPACE);
    OK(io_close(full));
    bed_close(&b);
}

static struct bed linked;

static void break_ring_at_pair(const char *dir)
{
    struct io_file *f = NULL;
    char path[300];
    uint8_t found[100];
    snprintf(path, sizeof path, "%s/pair", dir);
    CHECK_OK(io_open(linked.io, path, IO_WAL, IO_URING, IO_READ | IO_WRITE | IO_CREATE | IO_TWO_STEP_SYNC, &f));
    CHECK_OK(io_pwrite_durable(f, data, 50, 0));
    syscall_fails(SYS_io_uring_enter, EBUSY);
    CHECK_OK(io_pwrite_durable(f, data + 50, 50, 50)); /* by plain calls: neither of the two was begun */
    CHECK_OK(io_pread_exact(f, found, 100, 0));
    CHECK(memcmp(found, data, 100) == 0);
    CHECK_OK(io_close(f));
}

/* A ring that takes neither of the two leaves both to plain calls. */
static void test_two_step_sync_without_ring(void **state)
{
    (void)state;
    bed_open(&linked);
    need_uring(&linked);
    child_passes(break_ring_at_pair, linked.dir);
    bed_close(&linked);
}

/* ---- refusals ------------------------------------------------------------------------------------------------- */

static void use_refused(const char *dir, const char *reason)
{
    struct io *io = NULL;
    struct io_file *f = NULL, *g = NULL;
    char path[300], other[300];
    snprintf(path, sizeof path, "%s/f", dir);
    snprintf(other, sizeof other, "%s/g", dir);
    CHECK_OK(io_real_create(&io));
    CHECK(strcmp(io_uring_state(io), "not used yet") == 0);
    CHECK_OK(io_open(io, path, IO_VLOG, IO_URING, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK(io_file_model(f) == IO_STD);
    CHECK(strstr(io_uring_state(io), reason) != NULL);
    CHECK_OK(io_pwrite(f, data, sizeof data, 0));
    CHECK_OK(io_pwrite_durable(f, data, 10, 0));
    CHECK_OK(io_sync(f));
    CHECK(group_is_right(io, f, 100));
    CHECK_OK(io_open(io, other, IO_VLOG, IO_DIRECT, IO_READ | IO_WRITE | IO_CREATE, &g));
    CHECK_OK(io_pwrite(g, data, sizeof data, 0));
    CHECK(group_is_right(io, g, 100));
    CHECK_OK(io_close(f));
    CHECK_OK(io_close(g));
    io_destroy(io);
}

static void refuse_eperm(const char *dir)
{
    syscall_fails(SYS_io_uring_setup, EPERM);
    use_refused(dir, "not permitted");
}

static void refuse_enosys(const char *dir)
{
    syscall_fails(SYS_io_uring_setup, ENOSYS);
    use_refused(dir, "no io_uring");
}

static void refuse_enomem(const char *dir)
{
    syscall_fails(SYS_io_uring_setup, ENOMEM);
    use_refused(dir, "memory");
}

static void refuse_emfile(const char *dir)
{
    syscall_fails(SYS_io_uring_setup, EMFILE);
    use_refused(dir, "too many open files");
}

static void refuse_efault(const char *dir)
{
    syscall_fails(SYS_io_uring_setup, EFAULT);
    use_refused(dir, "io_uring_setup failed");
}

/* Where the kernel refuses a ring, files open with standard I/O, everything works and the reason can be read. */
static void test_refused(void **state)
{
    (void)state;
    void (*const refusals[])(const char *) = {refuse_eperm, refuse_enosys, refuse_enomem, refuse_emfile, refuse_efault};
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        char dir[256];
        test_dir_create(dir);
        child_passes(refusals[i], dir);
        test_dir_remove(dir);
    }
}

static struct bed forked;

static void break_ring(const char *dir)
{
    struct io_file *f = NULL;
    char path[300];
    uint8_t found[100];
    snprintf(path, sizeof path, "%s/g", dir);
    CHECK_OK(io_open(forked.io, path, IO_VLOG, IO_URING, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK(io_file_model(f) == IO_URING);
    CHECK_OK(io_pwrite(f, data, sizeof data, 0));
    syscall_fails(SYS_io_uring_enter, ENOMEM);
    CHECK(group_is_right(forked.io, f, 100));
    CHECK_OK(io_pwrite(f, data, 100, 0));
    CHECK_OK(io_pwrite_durable(f, data, 100, 0));
    CHECK_OK(io_pread_exact(f, found, 100, 0));
    CHECK(memcmp(found, data, 100) == 0);
    CHECK_OK(io_sync(f));
    CHECK_OK(io_close(f));
}

static void break_ring_at_sync(const char *dir)
{
    struct io_file *f = NULL;
    char path[300];
    snprintf(path, sizeof path, "%s/h", dir);
    CHECK_OK(io_open(forked.io, path, IO_VLOG, IO_URING, IO_READ | IO_WRITE | IO_CREATE, &f));
    CHECK_OK(io_pwrite(f, data, sizeof data, 0));
    syscall_fails(SYS_io_uring_enter, EBUSY);
    CHECK_OK(io_sync(f));
    CHECK_OK(io_close(f));
}

/* A ring that takes nothing any more is left for plain calls, in the middle of whatever was asked for. */
static void test_broken_ring(void **state)
{
    (void)state;
    bed_open(&forked);
    need_uring(&forked);
    child_passes(break_ring, forked.dir);
    child_passes(break_ring_at_sync, forked.dir);
    bed_close(&forked);
}

static void read_in_child(const char *dir)
{
    (void)dir;
    CHECK(group_is_right(forked.io, forked.f, 100));
    CHECK(group_is_right(forked.io, forked.f, 3));
}

/* A forked child makes its own ring, and the parent's goes on working. */
static void test_fork(void **state)
{
    (void)state;
    bed_open(&forked);
    need_uring(&forked);
    assert_true(group_is_right(forked.io, forked.f, 10));
    child_passes(read_in_child, NULL);
    assert_true(group_is_right(forked.io, forked.f, 10));
    bed_close(&forked);
}

/* ---- threads -------------------------------------------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

static void *read_groups(void *arg)
{
    struct bed *b = arg;
    uintptr_t right = 0;
    for (size_t i = 1; i <= 50; i++)
        right += group_is_right(b->io, b->f, i);
    return (void *)right;
}

/* Threads read through rings of their own at the same time, and the rings are closed when the threads end. */
static void test_threads(void **state)
{
    (void)state;
    struct bed b = {0};
    pthread_t threads[4];
    bed_open(&b);
    need_uring(&b);
    unsigned before = open_descriptors();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_groups, &b), 0);
    for (int i = 0; i < 4; i++) {
        void *right = NULL;
        pthread_join(threads[i], &right);
        assert_int_equal((uintptr_t)right, 50);
    }
    assert_int_equal(open_descriptors(), before);
    bed_close(&b);
}

/* In a group some of whose reads lie behind the end of their file, each gets the bytes that it asked for, or none. */
static void test_group_with_reads_behind_the_end(void **state)
{
    enum { COUNT = 9, SIZE = 4096 };
    (void)state;
    struct bed b;
    char path[300];
    struct io_file *f = NULL;
    static uint8_t buffers[COUNT][SIZE];
    struct io_read_request requests[COUNT];
    bed_open(&b);
    need_uring(&b);
    snprintf(path, sizeof path, "%s/direct", b.dir);
    OK(io_open(b.io, path, IO_VLOG, IO_DIRECT, IO_READ | IO_WRITE | IO_CREATE, &f));
    OK(io_pwrite(f, data, sizeof data, 0));
    for (size_t i = 0; i < COUNT; i++)
        requests[i] = (struct io_read_request){
            .file = f, .buffer = buffers[i], .size = SIZE, .off = i % 3 == 0 ? sizeof data + i : i * SIZE};
    OK(io_read_many(b.io, requests, COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(requests[i].got, i % 3 == 0 ? 0 : SIZE);
        assert_memory_equal(buffers[i], data + i * SIZE, requests[i].got);
    }
    OK(io_close(f));
    bed_close(&b);
}

/* A group without memory for one of its reads does that one alone. */
static void test_group_without_memory(void **state)
{
    (void)state;
    struct bed b;
    struct io_file *f = NULL;
    bed_open(&b);
    need_uring(&b);
    OK(io_open(b.io, b.path, IO_VLOG, IO_DIRECT, IO_READ, &f));
    for (uint64_t k = 0; k < 5; k++) {
        mem_fail_after(k);
        bool is_right = group_is_right(b.io, f, 5);
        mem_fail_after(UINT64_MAX);
        assert_true(is_right);
    }
    OK(io_close(f));
    bed_close(&b);
}

/* In a group with a read that fails, that one says why, with path and place, and the others have their bytes. */
static void test_failed_read_of_group(void **state)
{
    (void)state;
    struct bed b;
    struct io_file *dir = NULL;
    static uint8_t buffers[3][700];
    struct io_read_request requests[3];
    bed_open(&b);
    need_uring(&b);
    OK(io_open(b.io, b.dir, IO_OTHER, IO_URING, IO_READ, &dir)); /* may be opened, and not be read */
    for (size_t i = 0; i < 3; i++)
        requests[i] = (struct io_read_request){.file = i == 1 ? dir : b.f, .buffer = buffers[i], .size = 700, .off = i};
    FAILS(IO, io_read_many(b.io, requests, 3));
    assert_non_null(strstr(status_message(), b.dir));
    assert_non_null(strstr(status_message(), "could not read 700 bytes at 1: Is a directory"));
    assert_int_equal(requests[1].status, NOKV_ERR_IO);
    for (size_t i = 0; i < 3; i += 2) {
        assert_int_equal(requests[i].status, NOKV_OK);
        assert_int_equal(requests[i].got, 700);
        assert_memory_equal(buffers[i], data + i, 700);
    }
    OK(io_close(dir));
    bed_close(&b);
}

/* ---- pipes: they cannot be synced, and a read waits until somebody writes --------------------------------------- */

static struct io_file *open_pipe(struct bed *b, char path[300])
{
    struct io_file *f = NULL;
    snprintf(path, 300, "%s/pipe", b->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    OK(io_open(b->io, path, IO_WAL, IO_URING, IO_READ | IO_WRITE | IO_TWO_STEP_SYNC, &f));
    return f;
}

/* A sync that fails behind its write is the caller's error, and is not tried again. */
static void test_two_step_sync_fails(void **state)
{
    (void)state;
    struct bed b;
    char path[300], found[8] = "";
    bed_open(&b);
    need_uring(&b);
    struct io_file *f = open_pipe(&b, path);
    FAILS(IO, io_pwrite_durable(f, "once", 4, 0));
    assert_non_null(strstr(status_message(), path));
    assert_non_null(strstr(status_message(), "could not write and sync 4 bytes at 0: Invalid argument"));
    const struct io_op_stats *syncs = &io_component_stats(b.io, IO_WAL)->ops[IO_OP_SYNC];
    assert_int_equal(atomic_load(&syncs->calls), 1);
    assert_int_equal(atomic_load(&syncs->errors), 1);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_int_equal(read(fd, found, sizeof found), 4); /* it was written once */
    close(fd);
    OK(io_close(f));
    bed_close(&b);
}

struct disturber {
    pthread_t reader;
    const char *path;
};

static void on_signal(int sig)
{
    (void)sig;
}

/* Interrupts the reader some times before there is something to read. */
static void *disturb(void *arg)
{
    const struct disturber *d = arg;
    for (int i = 0; i < 20; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        pthread_kill(d->reader, SIGUSR1);
    }
    int fd = open(d->path, O_WRONLY);
    bool is_written = write(fd, "x", 1) == 1;
    close(fd);
    return is_written ? arg : NULL;
}

/* Signals that interrupt the wait for a ring are not seen: the call ends when its read is through. */
static void test_interrupted_wait(void **state)
{
    (void)state;
    struct bed b;
    struct sigaction before, during = {.sa_handler = on_signal};
    pthread_t thread;
    char path[300];
    uint8_t byte = 0;
    void *is_written = NULL;
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded != NULL && strstr(preloaded, "vgpreload") != NULL)
        skip(); /* valgrind runs no other thread while one waits for a ring */
    bed_open(&b);
    need_uring(&b);
    struct io_file *f = open_pipe(&b, path);
    struct disturber d = {.reader = pthread_self(), .path = path};
    assert_int_equal(sigaction(SIGUSR1, &during, &before), 0);
    assert_int_equal(pthread_create(&thread, NULL, disturb, &d), 0);
    OK(io_pread_exact(f, &byte, 1, 0));
    assert_int_equal(byte, 'x');
    assert_int_equal(pthread_join(thread, &is_written), 0);
    assert_non_null(is_written);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    OK(io_close(f));
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_is_one_call),
        cmocka_unit_test(test_scan_once),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken_ring),
        cmocka_unit_test(test_two_step_sync),
        cmocka_unit_test(test_two_step_sync_without_ring),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_group_with_reads_behind_the_end),
        cmocka_unit_test(test_group_without_memory),
        cmocka_unit_test(test_failed_read_of_group),
        cmocka_unit_test(test_two_step_sync_fails),
        cmocka_unit_test(test_interrupted_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
