// SPDX-License-Identifier: Apache-2.0
/* The SIGBUS guard: faults become statuses, other people's signals stay theirs. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "child.h"
#include "io/io.h"

enum { SIZE = 4 * 4096 };

struct bed {
    char dir[256];
    char path[300];
    struct io *io;
    struct io_map map;
};

/* A file of four pages, mapped. */
static void bed_open(struct bed *b)
{
    static uint8_t data[SIZE];
    struct io_file *f = NULL;
    test_dir_create(b->dir);
    snprintf(b->path, sizeof b->path, "%s/f", b->dir);
    memset(data, 7, sizeof data);
    OK(io_real_create(&b->io));
    OK(io_open(b->io, b->path, IO_SST, IO_STD, IO_READ | IO_WRITE | IO_CREATE, &f));
    OK(io_pwrite(f, data, sizeof data, 0));
    OK(io_map(f, &b->map));
    OK(io_close(f));
}

/* Behind the engine's back. */
static void bed_cut_file(struct bed *b)
{
    assert_int_equal(truncate(b->path, 4096), 0);
}

static void bed_close(struct bed *b)
{
    io_unmap(&b->map);
    io_destroy(b->io);
    test_dir_remove(b->dir);
}

static enum nokv_status read_last_page(void *arg)
{
    const volatile uint8_t *data = ((const struct io_map *)arg)->data;
    return data[SIZE - 1] == 7 ? NOKV_OK : NOKV_ERR_CORRUPT;
}

/* Reading what was cut off is IO for that call, as often as it is tried; other pages stay readable, and the thread's
 * signal mask is what it was. */
static void test_truncated_file(void **state)
{
    (void)state;
    struct bed b = {0};
    sigset_t before, after;
    bed_open(&b);
    OK(io_guard_install());
    OK(io_guarded(read_last_page, &b.map));
    bed_cut_file(&b);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (int i = 0; i < 3; i++)
        FAILS(IO, io_guarded(read_last_page, &b.map));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int sig = 1; sig < NSIG; sig++)
        assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
    assert_int_equal(b.map.data[4095], 7);
    io_guard_remove();
    bed_close(&b);
}

static enum nokv_status nested_fault(void *arg)
{
    enum nokv_status inner = io_guarded(read_last_page, arg);
    if (inner != NOKV_ERR_IO)
        return NOKV_ERR_CORRUPT;
    return read_last_page(arg); /* the outer one's */
}

static enum nokv_status nested_fine(void *arg)
{
    return io_guarded(read_last_page, arg) == NOKV_ERR_IO ? NOKV_OK : NOKV_ERR_CORRUPT;
}

/* A guard inside another takes the fault for itself, and the outer one is there again behind it. */
static void test_nested(void **state)
{
    (void)state;
    struct bed b = {0};
    bed_open(&b);
    OK(io_guard_install());
    bed_cut_file(&b);
    for (int i = 0; i < 3; i++) {
        FAILS(IO, io_guarded(nested_fault, &b.map));
        OK(io_guarded(nested_fine, &b.map));
    }
    io_guard_remove();
    bed_close(&b);
}

/* A file of the mmap model brings its own guard: a read of what was cut off is IO and names the path. */
static void test_mmap_model(void **state)
{
    (void)state;
    struct bed b = {0};
    struct io_file *f = NULL;
    uint8_t found[10];
    size_t got = 0;
    bed_open(&b);
    OK(io_open(b.io, b.path, IO_SST, IO_MMAP, IO_READ, &f));
    bed_cut_file(&b);
    FAILS(IO, io_pread(f, found, sizeof found, 3 * 4096, &got));
    assert_non_null(strstr(status_message(), b.path));
    OK(io_pread(f, found, sizeof found, 4000, &got));
    assert_int_equal(got, sizeof found);
    OK(io_close(f));
    bed_close(&b);
}

/* Installations are counted: the guard works until the last one is removed, and then the old handler is back. */
static void test_counted(void **state)
{
    (void)state;
    struct bed b = {0};
    struct sigaction before, during, after;
    bed_open(&b);
    bed_cut_file(&b);
    sigaction(SIGBUS, NULL, &before);
    OK(io_guard_install());
    OK(io_guard_install());
    io_guard_remove();
    sigaction(SIGBUS, NULL, &during);
    FAILS(IO, io_guarded(read_last_page, &b.map));
    io_guard_remove();
    sigaction(SIGBUS, NULL, &after);
    assert_true(during.sa_sigaction != before.sa_sigaction);
    assert_true(after.sa_sigaction == before.sa_sigaction);
    bed_close(&b);
}

struct reader {
    struct io_map *map;
    unsigned faults;
};

static void *read_repeatedly(void *arg)
{
    struct reader *r = arg;
    for (int i = 0; i < 200; i++)
        r->faults += io_guarded(read_last_page, r->map) == NOKV_ERR_IO;
    return NULL;
}

/* Threads fault at the same time and each gets its own status. */
static void test_threads(void **state)
{
    (void)state;
    struct bed b = {0};
    struct reader readers[4];
    pthread_t threads[4];
    bed_open(&b);
    bed_cut_file(&b);
    OK(io_guard_install());
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){.map = &b.map};
        assert_int_equal(pthread_create(&threads[i], NULL, read_repeatedly, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].faults, 200);
    }
    io_guard_remove();
    bed_close(&b);
}

/* ---- the host's handler --------------------------------------------------------------------------------------- */

static sigjmp_buf host_target;
static volatile sig_atomic_t host_calls;

static void host_handler(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info, (void)context;
    host_calls++;
    siglongjmp(host_target, 1);
}

static void host_counting_handler(int sig)
{
    (void)sig;
    host_calls++;
}

/* A page of a file that has none. */
static volatile uint8_t *bad_page(const char *dir)
{
    char path[300];
    snprintf(path, sizeof path, "%s/empty", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0644);
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(page != MAP_FAILED);
    close(fd);
    return page;
}

static enum nokv_status read_page(void *arg)
{
    return *(volatile uint8_t *)arg ? NOKV_ERR_CORRUPT : NOKV_OK;
}

static void host_gets_its_own(const char *dir)
{
    struct sigaction host = {.sa_sigaction = host_handler, .sa_flags = SA_SIGINFO}, now;
    volatile uint8_t *page = bad_page(dir);
    sigaction(SIGBUS, &host, NULL);
    CHECK_OK(io_guard_install());
    if (sigsetjmp(host_target, 1) == 0)
        (void)*page;
    CHECK(host_calls == 1);
    CHECK_FAILS(IO, io_guarded(read_page, (void *)(uintptr_t)page));
    CHECK(host_calls == 1);
    io_guard_remove();
    sigaction(SIGBUS, NULL, &now);
    CHECK(now.sa_sigaction == host_handler);
}

/* A SIGBUS outside of guarded calls reaches the handler that the host had before us, one inside does not. */
static void test_host_handler(void **state)
{
    (void)state;
    char dir[256];
    test_dir_create(dir);
    child_passes(host_gets_its_own, dir);
    test_dir_remove(dir);
}

static void host_gets_sent_signals(const char *dir)
{
    (void)dir;
    signal(SIGBUS, host_counting_handler);
    CHECK_OK(io_guard_install());
    raise(SIGBUS);
    raise(SIGBUS);
    CHECK(host_calls == 2);
    io_guard_remove();
    signal(SIGBUS, SIG_IGN);
    CHECK_OK(io_guard_install());
    raise(SIGBUS);
    io_guard_remove();
}

/* A SIGBUS that somebody sends is the host's: its plain handler is called, its being ignored is respected. */
static void test_sent_signal(void **state)
{
    (void)state;
    child_passes(host_gets_sent_signals, NULL);
}

static void fault_unguarded(const char *dir)
{
    signal(SIGBUS, SIG_DFL);
    CHECK_OK(io_guard_install());
    (void)*bad_page(dir);
}

static void signal_unguarded(const char *dir)
{
    (void)dir;
    signal(SIGBUS, SIG_DFL);
    CHECK_OK(io_guard_install());
    raise(SIGBUS);
}

/* Without a handler of the host, a SIGBUS outside of guarded calls kills the process as if we were not there. */
static void test_default_is_death(void **state)
{
    (void)state;
    char dir[256];
    test_dir_create(dir);
    child_dies_of(SIGBUS, fault_unguarded, dir);
    child_dies_of(SIGBUS, signal_unguarded, dir);
    test_dir_remove(dir);
}

static struct sigaction below_host;

/* As a well-behaved host does: what it does not know it passes on to who was there before. */
static void host_passes_on(int sig, siginfo_t *info, void *context)
{
    below_host.sa_sigaction(sig, info, context);
}

/* The host comes on top of us, then we are removed and installed again: each passes on to the other. */
static void go_in_circles(const char *dir)
{
    struct sigaction host = {.sa_sigaction = host_passes_on, .sa_flags = SA_SIGINFO};
    volatile uint8_t *page = bad_page(dir);
    signal(SIGBUS, SIG_DFL);
    CHECK_OK(io_guard_install());
    sigaction(SIGBUS, &host, &below_host);
    CHECK_FAILS(IO, io_guarded(read_page, (void *)(uintptr_t)page));
    io_guard_remove();
    CHECK_OK(io_guard_install());
    CHECK_FAILS(IO, io_guarded(read_page, (void *)(uintptr_t)page));
    (void)*page;
}

/* Two handlers that pass on to each other end in death by SIGBUS, not in an endless loop. */
static void test_circle(void **state)
{
    (void)state;
    char dir[256];
    test_dir_create(dir);
    child_dies_of(SIGBUS, go_in_circles, dir);
    test_dir_remove(dir);
}

/* A host that came on top of us and has put us back is not taken for the previous handler when we come again. */
static void test_installed_below_host(void **state)
{
    (void)state;
    struct bed b = {0};
    struct sigaction before, after, host = {.sa_sigaction = host_passes_on, .sa_flags = SA_SIGINFO};
    bed_open(&b);
    bed_cut_file(&b);
    sigaction(SIGBUS, NULL, &before);
    OK(io_guard_install());
    sigaction(SIGBUS, &host, &below_host);
    io_guard_remove(); /* the host's stays in place */
    sigaction(SIGBUS, NULL, &after);
    assert_true(after.sa_sigaction == host_passes_on);
    sigaction(SIGBUS, &below_host, NULL);
    OK(io_guard_install());
    FAILS(IO, io_guarded(read_last_page, &b.map));
    io_guard_remove();
    sigaction(SIGBUS, NULL, &after);
    assert_true(after.sa_sigaction == before.sa_sigaction);
    bed_close(&b);
}

/* A store into a shared buffer whose page is gone goes on, and the buffer says so; its other pages stay what they were,
 * for other mappings too. */
static void test_shared_store(void **state)
{
    (void)state;
    struct bed b = {0};
    struct io_shared shared, other;
    struct io_file *f = NULL;
    uint8_t page[4096];
    char path[320];
    bed_open(&b);
    OK(io_guard_install());
    snprintf(path, sizeof path, "%s/buffer", b.dir);
    OK(io_shared_open(b.io, path, SIZE, &shared));
    OK(io_shared_open(b.io, b.path, SIZE, &other));
    memset(shared.data, 3, 4096);
    assert_false(io_shared_is_lost(&shared));
    assert_int_equal(truncate(path, 4096), 0);
    for (int round = 0; round < 2; round++) {
        memset(shared.data + 4096 - 10, 5, SIZE - 4096 + 10);
        assert_true(io_shared_is_lost(&shared) && !io_shared_is_lost(&other));
        for (size_t i = 0; i < SIZE; i++)
            assert_int_equal(shared.data[i], i < 4096 - 10 ? 3 : 5);
    }
    OK(io_open(b.io, path, IO_WAL, IO_STD, IO_READ, &f));
    OK(io_pread_exact(f, page, sizeof page, 0));
    assert_true(page[0] == 3 && page[4095] == 5);
    OK(io_close(f));
    io_shared_close(&shared);
    io_shared_close(&other);
    io_guard_remove();
    bed_close(&b);
}

struct storer {
    struct io_shared *shared;
    size_t first; /* of the bytes that are its own */
};

static void *store_everywhere(void *arg)
{
    const struct storer *s = arg;
    for (size_t i = s->first; i < SIZE; i += 8)
        s->shared->data[i] = 9;
    return (void *)(uintptr_t)io_shared_is_lost(s->shared);
}

/* Threads that meet the same pages at the same time all go on, and all are told. */
static void test_shared_store_threads(void **state)
{
    (void)state;
    enum { ROUNDS = 50, THREADS = 4 };
    for (int round = 0; round < ROUNDS; round++) {
        struct bed b = {0};
        struct io_shared shared;
        struct storer storers[THREADS];
        pthread_t threads[THREADS];
        char path[320];
        bed_open(&b);
        OK(io_guard_install());
        snprintf(path, sizeof path, "%s/buffer", b.dir);
        OK(io_shared_open(b.io, path, SIZE, &shared));
        assert_int_equal(truncate(path, 0), 0);
        for (int i = 0; i < THREADS; i++) {
            storers[i] = (struct storer){.shared = &shared, .first = (size_t)i};
            assert_int_equal(pthread_create(&threads[i], NULL, store_everywhere, &storers[i]), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            void *lost = NULL;
            pthread_join(threads[i], &lost);
            assert_non_null(lost);
        }
        io_shared_close(&shared);
        io_guard_remove();
        bed_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_store),   cmocka_unit_test(test_shared_store_threads),
        cmocka_unit_test(test_truncated_file), cmocka_unit_test(test_nested),
        cmocka_unit_test(test_mmap_model),     cmocka_unit_test(test_counted),
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_host_handler),
        cmocka_unit_test(test_sent_signal),    cmocka_unit_test(test_default_is_death),
        cmocka_unit_test(test_circle),         cmocka_unit_test(test_installed_below_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
