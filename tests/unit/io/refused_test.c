// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel refuses: each call of io.h ends with a status and a message that name path and reason, holds nothing
 * afterwards, and works when it is tried again.
 *
 * The program is linked with --wrap for the system calls below, so that one of them can be refused once.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "child.h"
#include "io/io.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* younger than the headers of some build machines */
#endif

/* ---- refusals ------------------------------------------------------------------------------------------------- */

/* The next call of this name fails with `err`, once; or something happens in front of it. */
static struct refusal {
    const char *call; /* NULL: free */
    unsigned skip;    /* after so many others */
    int err;
} refusals[2];
static const char *unlinked_before_lock;
static uint32_t told_alignment; /* what statx says of direct I/O; UINT32_MAX: the truth */

static void refuse(const char *call, unsigned skip, int err)
{
    struct refusal *r = &refusals[refusals[0].call != NULL];
    assert_null(r->call);
    *r = (struct refusal){.call = call, .skip = skip, .err = err};
}

static bool is_refused(const char *call)
{
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct refusal *r = &refusals[i];
        if (r->call == NULL || strcmp(r->call, call) != 0 || r->skip-- > 0)
            continue;
        r->call = NULL;
        errno = r->err;
        return true;
    }
    return false;
}

/* Did all of them happen? None is left. */
static bool all_refused(void)
{
    bool all = refusals[0].call == NULL && refusals[1].call == NULL;
    refusals[0].call = refusals[1].call = NULL;
    return all;
}

#define WRAP(type, name, params, args)                              \
    type __real_##name params;                                      \
    type __wrap_##name params;                                      \
    type __wrap_##name params                                       \
    {                                                               \
        return is_refused(#name) ? (type)(-1) : __real_##name args; \
    }

WRAP(void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t off), (at, size, prot, flags, fd, off))
WRAP(int, fstat, (int fd, struct stat *out), (fd, out))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, fallocate, (int fd, int mode, off_t off, off_t size), (fd, mode, off, size))
WRAP(int, mincore, (void *at, size_t size, unsigned char *out), (at, size, out))
WRAP(int, getrusage, (int who, struct rusage *out), (who, out))
WRAP(int, sigaction, (int sig, const struct sigaction *now, struct sigaction *old), (sig, now, old))
WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(ssize_t, pread, (int fd, void *to, size_t size, off_t off), (fd, to, size, off))
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t off), (fd, from, size, off))
WRAP(ssize_t, pwritev2, (int fd, const struct iovec *from, int count, off_t off, int flags),
     (fd, from, count, off, flags))

int __real_fcntl(int fd, int op, ...);
int __wrap_fcntl(int fd, int op, ...);
int __wrap_fcntl(int fd, int op, ...)
{
    va_list args;
    va_start(args, op);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (op == F_OFD_SETLK && unlinked_before_lock != NULL)
        (void)unlink(TAKE(unlinked_before_lock));
    return is_refused("fcntl") ? -1 : __real_fcntl(fd, op, arg);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    enum { MASK_DIOALIGN = 0x2000 };
    long a[6];
    va_list args;
    va_start(args, number);
    for (size_t i = 0; i < ARRAY_COUNT(a); i++)
        a[i] = number == SYS_cachestat && i > 3 ? 0 : number == SYS_statx && i > 4 ? 0 : va_arg(args, long);
    va_end(args);
    if (number == SYS_cachestat && is_refused("cachestat"))
        return -1;
    long rc = __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_statx && rc == 0 && told_alignment != UINT32_MAX) {
        uint8_t *answer = (uint8_t *)(uintptr_t)a[4];
        uint32_t mask = MASK_DIOALIGN;
        memcpy(answer, &mask, 4);
        memcpy(answer + 152, &told_alignment, 4);
        memcpy(answer + 156, &told_alignment, 4);
    }
    return rc;
}

/* What it says is what the kernel says of a file that it could not write back: it is closed all the same. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    int rc = __real_close(fd);
    return is_refused("close") ? -1 : rc;
}

static bool is_value_refused; /* the next one, once */

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
NOT_SANITIZED int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    if (!is_value_refused)
        return __real_pthread_setspecific(key, value);
    is_value_refused = false;
    return ENOMEM;
}

/* ---- the bed -------------------------------------------------------------------------------------------------- */

enum { SIZE = 5000 };

struct bed {
    char dir[256], path[300];
    struct io *io;
    unsigned descriptors;
};

static uint8_t data[SIZE];

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

static bool is_mapped(const char *path)
{
    char line[600];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        found = found || strstr(line, path) != NULL;
    fclose(maps);
    return found;
}

/* A file of SIZE bytes that nobody has open. */
static void bed_open(struct bed *b)
{
    struct io_file *f = NULL;
    test_dir_create(b->dir);
    snprintf(b->path, sizeof b->path, "%s/f", b->dir);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    told_alignment = UINT32_MAX;
    OK(io_real_create(&b->io));
    OK(io_open(b->io, b->path, IO_WAL, IO_STD, IO_WRITE | IO_CREATE, &f));
    OK(io_pwrite(f, data, SIZE, 0));
    OK(io_close(f));
    b->descriptors = open_descriptors();
}

/* Nothing of it is held any more. */
static void bed_close(struct bed *b)
{
    assert_true(all_refused());
    assert_false(is_mapped(b->dir));
    assert_int_equal(open_descriptors(), b->descriptors);
    io_destroy(b->io);
    test_dir_remove(b->dir);
}

static void message_says(const char *path, const char *what, int err)
{
    if (!strstr(status_message(), path) || !strstr(status_message(), what) || !strstr(status_message(), strerror(err)))
        fail_msg("%s, %s and %s expected: %s", path, what, strerror(err), status_message());
}

static struct io_file *open_again(const struct bed *b, enum io_model model, unsigned flags)
{
    struct io_file *f = NULL;
    OK(io_open(b->io, b->path, IO_WAL, model, flags, &f));
    return f;
}

static void file_is(const struct bed *b, const uint8_t *wanted)
{
    uint8_t found[SIZE + 1];
    size_t got = 0;
    struct io_file *f = open_again(b, IO_STD, IO_READ);
    OK(io_pread(f, found, sizeof found, 0, &got));
    OK(io_close(f));
    assert_int_equal(got, SIZE);
    assert_memory_equal(found, wanted, SIZE);
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

struct refused_open {
    enum io_model model;
    const char *call;
    unsigned skip;
    int err;
    enum nokv_status status;
};

/* An open that fails behind open(2) closes the descriptor, unmaps, and can be repeated. */
static void test_open(void **state)
{
    (void)state;
    static const struct refused_open opens[] = {
        {IO_MMAP, "fstat", 0, EIO, NOKV_ERR_IO},     {IO_MMAP, "mmap", 0, ENOMEM, NOKV_ERR_NO_MEMORY},
        {IO_MMAP, "sigaction", 0, EIO, NOKV_ERR_IO}, {IO_MMAP, "sigaction", 1, EIO, NOKV_ERR_IO},
        {IO_DIRECT, "fstat", 0, EIO, NOKV_ERR_IO},
    };
    struct bed b;
    struct io_file *f = NULL;
    bed_open(&b);
    f = open_again(&b, IO_DIRECT, IO_READ);
    bool has_direct = io_file_model(f) == IO_DIRECT;
    OK(io_close(f));
    for (size_t i = 0; i < ARRAY_COUNT(opens); i++) {
        const struct refused_open *o = &opens[i];
        if (o->model == IO_DIRECT && !has_direct)
            continue;
        refuse(o->call, o->skip, o->err);
        assert_int_equal(io_open(b.io, b.path, IO_WAL, o->model, IO_READ, &f), o->status);
        message_says(b.path, "could not open it", o->err);
        assert_true(all_refused());
        assert_false(is_mapped(b.path));
        assert_int_equal(open_descriptors(), b.descriptors);
        OK(io_close(open_again(&b, o->model, IO_READ)));
    }
    bed_close(&b);
}

/* When the k-th allocation fails, an open fails as a whole, whatever the model. */
static void test_open_without_memory(void **state)
{
    (void)state;
    static const enum io_model models[] = {IO_STD, IO_MMAP, IO_DIRECT};
    struct bed b;
    bed_open(&b);
    for (size_t i = 0; i < ARRAY_COUNT(models); i++) {
        struct io_file *f = NULL;
        enum nokv_status status = NOKV_ERR_NO_MEMORY;
        uint64_t k = 0;
        for (; status != NOKV_OK; k++) {
            assert_int_equal(status, NOKV_ERR_NO_MEMORY);
            assert_int_equal(open_descriptors(), b.descriptors);
            mem_fail_after(k);
            status = io_open(b.io, b.path, IO_WAL, models[i], IO_READ, &f);
            mem_fail_after(UINT64_MAX);
        }
        assert_true(k > 2);
        OK(io_close(f));
    }
    bed_close(&b);
}

/* A close that fails says so, and the file is gone all the same. */
static void test_close(void **state)
{
    (void)state;
    static const enum io_model models[] = {IO_STD, IO_MMAP, IO_DIRECT};
    struct bed b;
    bed_open(&b);
    for (size_t i = 0; i < ARRAY_COUNT(models); i++) {
        struct io_file *f = open_again(&b, models[i], IO_READ);
        refuse("close", 0, EIO);
        FAILS(IO, io_close(f));
        message_says(b.path, "could not close it", EIO);
        assert_int_equal(open_descriptors(), b.descriptors);
        f = open_again(&b, models[i], IO_READ);
        refuse("close", 0, EINTR);
        OK(io_close(f));
    }
    bed_close(&b);
}

/* A size and a mapping that the kernel refuses are errors of that call only. */
static void test_size_and_map(void **state)
{
    (void)state;
    struct bed b;
    struct io_map map;
    uint64_t size = 0;
    bed_open(&b);
    struct io_file *f = open_again(&b, IO_STD, IO_READ);
    refuse("fstat", 0, EIO);
    FAILS(IO, io_size(f, &size));
    message_says(b.path, "could not ask for its size", EIO);
    refuse("fstat", 0, EIO);
    FAILS(IO, io_map(f, &map));
    message_says(b.path, "could not map it", EIO);
    refuse("mmap", 0, ENOMEM);
    FAILS(NO_MEMORY, io_map(f, &map));
    message_says(b.path, "could not map it", ENOMEM);
    OK(io_size(f, &size));
    assert_int_equal(size, SIZE);
    OK(io_map(f, &map));
    assert_memory_equal(map.data, data, SIZE);
    io_unmap(&map);
    OK(io_close(f));
    bed_close(&b);
}

/* What is in the page cache is not known where the kernel does not tell; nothing else fails for it. */
static void test_resident(void **state)
{
    (void)state;
    struct bed b;
    struct io_map map;
    bed_open(&b);
    struct io_file *f = open_again(&b, IO_STD, IO_READ);
    OK(io_map(f, &map));
    refuse("cachestat", 0, EBADF);
    assert_true(io_resident(f) == UINT64_MAX);
    refuse("cachestat", 0, ENOSYS);
    refuse("fstat", 0, EIO);
    assert_true(io_resident(f) == UINT64_MAX);
    refuse("cachestat", 0, ENOSYS);
    refuse("mmap", 0, ENOMEM);
    assert_true(io_resident_range(f, 0, SIZE) == UINT64_MAX);
    refuse("mincore", 0, EAGAIN);
    assert_true(io_map_resident(&map, 0, SIZE) == UINT64_MAX);
    assert_int_equal(io_map_resident(&map, 0, SIZE), SIZE); /* it was just written */
    refuse("getrusage", 0, EINVAL);
    assert_int_equal(io_thread_pages_read(), 0);
    io_unmap(&map);
    OK(io_close(f));
    bed_close(&b);
}

/* A read of the limits that is interrupted anywhere goes on. */
static void test_interrupted_limits(void **state)
{
    (void)state;
    struct bed b;
    struct io_memory wanted, found;
    bed_open(&b);
    io_memory_get(b.io, &wanted);
    for (unsigned k = 0; k < 100; k++) {
        refuse("read", k, EINTR);
        io_memory_get(b.io, &found);
        assert_int_equal(found.total_bytes, wanted.total_bytes);
        assert_int_equal(found.limit_bytes, wanted.limit_bytes);
        assert_string_equal(found.source, wanted.source);
        if (!all_refused()) {
            assert_true(k > 2);
            break;
        }
    }
    bed_close(&b);
}

/* ---- O_DIRECT ------------------------------------------------------------------------------------------------- */

static struct io_file *open_direct(struct bed *b)
{
    struct io_file *f = open_again(b, IO_DIRECT, IO_READ | IO_WRITE);
    if (io_file_model(f) == IO_DIRECT)
        return f;
    OK(io_close(f));
    bed_close(b);
    skip();
    return NULL;
}

/* A write into a block that cannot be read changes nothing; interruptions are not seen. */
static void test_direct_block(void **state)
{
    (void)state;
    struct bed b;
    uint8_t wanted[SIZE];
    bed_open(&b);
    struct io_file *f = open_direct(&b);
    memcpy(wanted, data, SIZE);
    for (unsigned k = 0; k < 2; k++) { /* of the first block, of the last one */
        refuse("pread", k, EIO);
        refuse("pread", k, EIO);
        FAILS(IO, io_pwrite(f, data, 4100, 100));
        message_says(b.path, "could not write 4100 bytes at 100", EIO);
        assert_true(all_refused());
        file_is(&b, wanted);
    }
    refuse("pread", 0, EINTR);
    refuse("pwrite", 0, EINTR);
    OK(io_pwrite(f, data, 4100, 100));
    memcpy(wanted + 100, data, 4100);
    OK(io_close(f));
    file_is(&b, wanted);
    bed_close(&b);
}

/* A read past the page cache that is told of a write that failed before is made once more; one that fails itself says
 * so. */
static void test_direct_read_told_of_a_write(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    struct bed b;
    uint8_t found[SIZE];
    bed_open(&b);
    struct io_file *f = open_direct(&b);
    for (size_t e = 0; e < ARRAY_COUNT(errors); e++) {
        refuse("pread", 0, errors[e]);
        OK(io_pread_exact(f, found, SIZE, 0));
        assert_true(all_refused());
        assert_memory_equal(found, data, SIZE);
        refuse("pread", 0, errors[e]);
        refuse("pread", 0, errors[e]);
        assert_int_not_equal(io_pread_exact(f, found, SIZE, 0), NOKV_OK);
        assert_true(all_refused());
    }
    OK(io_close(f));
    bed_close(&b);
}

/* A kernel that declines a durable write is not asked again: a write and a sync it is from then on. */
static void test_durable_write_declined(void **state)
{
    (void)state;
    static const enum io_model models[] = {IO_STD, IO_DIRECT};
    static const int errors[] = {ENOSYS, EINVAL, EOPNOTSUPP};
    struct bed b;
    bed_open(&b);
    for (size_t i = 0; i < 2 * ARRAY_COUNT(errors); i++) {
        struct io_file *f = open_again(&b, models[i % 2], IO_READ | IO_WRITE);
        const struct io_op_stats *syncs = &io_component_stats(b.io, IO_WAL)->ops[IO_OP_SYNC];
        uint64_t before = atomic_load(&syncs->calls);
        refuse("pwritev2", 0, errors[i / 2]);
        OK(io_pwrite_durable(f, data, 100, 0));
        assert_true(all_refused());
        refuse("pwritev2", 0, EIO);
        OK(io_pwrite_durable(f, data, 100, 0));
        assert_false(all_refused());
        assert_int_equal(atomic_load(&syncs->calls), before + 2);
        OK(io_close(f));
        file_is(&b, data);
    }
    bed_close(&b);
}

/* A file of which the kernel says that it takes no direct I/O, or only in huge blocks, gets standard I/O. */
static void test_direct_alignment(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 3000, 128 << 10};
    struct bed b;
    bed_open(&b);
    for (size_t i = 0; i < ARRAY_COUNT(alignments); i++) {
        told_alignment = alignments[i];
        struct io_file *f = open_again(&b, IO_DIRECT, IO_READ | IO_WRITE);
        assert_int_equal(io_file_model(f), IO_STD);
        OK(io_pwrite(f, data, SIZE, 0));
        OK(io_close(f));
        file_is(&b, data);
    }
    bed_close(&b);
}

/* ---- locks ---------------------------------------------------------------------------------------------------- */

/* A lock that could not be taken, or not be marked with the pid, is held by nobody. */
static void test_lock(void **state)
{
    (void)state;
    static const char *const calls[] = {"fcntl", "ftruncate", "pwrite"};
    struct bed b;
    struct io_lock *lock = NULL;
    bed_open(&b);
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        refuse(calls[i], 0, ENOLCK);
        FAILS(IO, io_lock(b.io, b.path, true, &lock));
        message_says(b.path, "could not lock it", ENOLCK);
        OK(io_lock(b.io, b.path, true, &lock));
        io_unlock(lock);
        refuse(calls[i], 0, EINTR);
        OK(io_lock(b.io, b.path, true, &lock));
        io_unlock(lock);
    }
    mem_fail_after(0);
    FAILS(NO_MEMORY, io_lock(b.io, b.path, true, &lock));
    mem_fail_after(UINT64_MAX);
    bed_close(&b);
}

/* A lock of a file that somebody unlinked in between does not count: the one that has the name now is locked. */
static void test_lock_of_unlinked_file(void **state)
{
    (void)state;
    struct bed b;
    struct io_lock *lock = NULL, *other = NULL;
    bed_open(&b);
    unlinked_before_lock = b.path;
    OK(io_lock(b.io, b.path, true, &lock));
    assert_null(unlinked_before_lock);
    assert_true(io_exists(b.io, b.path));
    FAILS(BUSY, io_lock(b.io, b.path, true, &other));
    io_unlock(lock);
    bed_close(&b);
}

/* ---- the shared buffer ---------------------------------------------------------------------------------------- */

struct refused_shared {
    const char *calls[2];
    int errors[2];
    enum nokv_status status;
};

static void shared_refused(struct bed *b, const struct refused_shared *r, const char *path)
{
    struct io_shared shared = {0};
    for (size_t i = 0; i < 2 && r->calls[i] != NULL; i++)
        refuse(r->calls[i], 0, r->errors[i]);
    assert_int_equal(io_shared_open(b->io, path, SIZE, &shared), r->status);
    message_says(path, "could not make it a shared buffer of 5000 bytes", r->errors[r->calls[1] != NULL]);
    assert_true(all_refused());
    assert_false(is_mapped(path));
    assert_int_equal(open_descriptors(), b->descriptors);
}

/* A shared buffer that could not be opened leaves no new file behind and an old one as it was. */
static void test_shared(void **state)
{
    (void)state;
    static const struct refused_shared refused[] = {
        {{"fstat"}, {EIO}, NOKV_ERR_IO},
        {{"fallocate"}, {ENOSPC}, NOKV_ERR_NO_SPACE},
        {{"mmap"}, {ENOMEM}, NOKV_ERR_NO_MEMORY},
        {{"fallocate", "pread"}, {EOPNOTSUPP, EIO}, NOKV_ERR_IO},
        {{"fallocate", "pwrite"}, {EOPNOTSUPP, ENOSPC}, NOKV_ERR_NO_SPACE},
    };
    struct bed b;
    struct io_shared shared;
    char path[320];
    bed_open(&b);
    snprintf(path, sizeof path, "%s/new", b.dir);
    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        shared_refused(&b, &refused[i], path);
        assert_false(io_exists(b.io, path));
        shared_refused(&b, &refused[i], b.path);
        file_is(&b, data);
    }
    refuse("fallocate", 0, EOPNOTSUPP);
    mem_fail_after(0);
    FAILS(NO_MEMORY, io_shared_open(b.io, path, SIZE, &shared));
    mem_fail_after(UINT64_MAX);
    assert_false(io_exists(b.io, path));
    refuse("fallocate", 0, EINTR);
    OK(io_shared_open(b.io, path, SIZE, &shared));
    io_shared_close(&shared);
    snprintf(path, sizeof path, "%s/none/new", b.dir);
    FAILS(NOT_FOUND, io_shared_open(b.io, path, SIZE, &shared));
    message_says(path, "could not make it a shared buffer", ENOENT);
    bed_close(&b);
}

static enum nokv_status store_everywhere(void *arg)
{
    struct io_shared *shared = arg;
    memset(shared->data, 9, SIZE);
    return NOKV_OK;
}

/* A store that has lost its page and gets no other one ends the guarded call with IO; the next one gets a page. */
static void test_store_without_page(void **state)
{
    (void)state;
    struct bed b;
    struct io_shared shared;
    bed_open(&b);
    OK(io_guard_install());
    OK(io_shared_open(b.io, b.path, SIZE, &shared));
    assert_int_equal(truncate(b.path, 0), 0);
    refuse("mmap", 0, ENOMEM);
    FAILS(IO, io_guarded(store_everywhere, &shared));
    assert_false(io_shared_is_lost(&shared)); /* nothing was stored */
    assert_true(all_refused());
    OK(io_guarded(store_everywhere, &shared));
    assert_true(io_shared_is_lost(&shared));
    assert_int_equal(shared.data[SIZE - 1], 9);
    io_shared_close(&shared);
    io_guard_remove();
    bed_close(&b);
}

/* ---- the guard and rings -------------------------------------------------------------------------------------- */

/* A handler that could not be installed is not counted as installed. */
static void test_guard(void **state)
{
    (void)state;
    struct sigaction before, after;
    assert_int_equal(sigaction(SIGBUS, NULL, &before), 0);
    for (unsigned k = 0; k < 2; k++) {
        refuse("sigaction", k, EINVAL);
        FAILS(IO, io_guard_install());
        message_says("", "could not install the SIGBUS handler", EINVAL);
        assert_true(all_refused());
        OK(io_guard_install());
        io_guard_remove();
        assert_int_equal(sigaction(SIGBUS, NULL, &after), 0);
        assert_true(after.sa_sigaction == before.sa_sigaction);
    }
}

static struct bed ring_bed;

/* In a child, whose thread has no ring yet. */
static void open_without_ring(void)
{
    struct io_file *f = NULL;
    uint8_t found[SIZE];
    unsigned descriptors = open_descriptors();
    CHECK_OK(io_open(ring_bed.io, ring_bed.path, IO_WAL, IO_URING, IO_READ, &f));
    mem_fail_after(UINT64_MAX);
    CHECK(io_file_model(f) == IO_STD && strstr(io_uring_state(ring_bed.io), "memory") != NULL);
    CHECK_OK(io_pread_exact(f, found, SIZE, 0));
    CHECK(memcmp(found, data, SIZE) == 0);
    CHECK_OK(io_close(f));
    CHECK(open_descriptors() == descriptors);
    CHECK_OK(io_open(ring_bed.io, ring_bed.path, IO_WAL, IO_URING, IO_READ, &f)); /* there is memory again */
    CHECK(io_file_model(f) == IO_URING && strcmp(io_uring_state(ring_bed.io), "on") == 0);
    CHECK_OK(io_close(f));
}

static void ring_without_memory(const char *dir)
{
    (void)dir;
    mem_fail_after(2); /* the path and the file come first */
    open_without_ring();
}

static void ring_without_owner(const char *dir)
{
    (void)dir;
    is_value_refused = true;
    open_without_ring();
    CHECK(!is_value_refused);
}

static void *open_with_ring(void *arg)
{
    (void)arg;
    struct io_file *f = open_again(&ring_bed, IO_URING, IO_READ);
    bool has_ring = io_file_model(f) == IO_URING;
    OK(io_close(f));
    return (void *)(uintptr_t)has_ring;
}

/* Without memory for a ring a file opens with standard I/O, and the next one has its ring. */
static void test_ring(void **state)
{
    (void)state;
    pthread_t thread;
    void *has_ring = NULL;
    bed_open(&ring_bed);
    assert_int_equal(pthread_create(&thread, NULL, open_with_ring, NULL), 0);
    assert_int_equal(pthread_join(thread, &has_ring), 0);
    if (has_ring != NULL) {
        child_passes(ring_without_memory, ring_bed.dir);
        child_passes(ring_without_owner, ring_bed.dir);
    }
    bed_close(&ring_bed);
    if (has_ring == NULL)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_size_and_map),
        cmocka_unit_test(test_resident),
        cmocka_unit_test(test_interrupted_limits),
        cmocka_unit_test(test_direct_block),
        cmocka_unit_test(test_direct_read_told_of_a_write),
        cmocka_unit_test(test_durable_write_declined),
        cmocka_unit_test(test_direct_alignment),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_lock_of_unlinked_file),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_store_without_page),
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
