// SPDX-License-Identifier: Apache-2.0
/*
 * kill9_test.c - a real process whose threads append through shared buffers, on a real file, and which is killed at any
 * moment: whatever was acknowledged by then is found by a rescue, and afterwards in the file.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "vlog_model.h"

enum { THREADS = 3, PER_THREAD = 20000, COUNT = THREADS * PER_THREAD };

/* Shared by both processes. */
struct ledger {
    struct item items[COUNT];
    _Atomic bool acked[COUNT]; /* release and acquire: the item before it is set */
    _Atomic unsigned acked_count;
};

struct life {
    char dir[256];
    char path[300];
    char shared_path[300];
    enum io_model model;
    uint64_t seed;
    struct ledger *ledger;
    struct vlog_writer *w;
};

struct appender {
    struct life *life;
    unsigned index;
    pthread_t thread;
};

static void *appender_main(void *arg)
{
    struct appender *me = arg;
    struct ledger *ledger = me->life->ledger;
    uint64_t rng = me->life->seed * THREADS + me->index;
    for (unsigned i = me->index; i < COUNT; i += THREADS) {
        uint64_t r = test_random(&rng);
        size_t max = r % 32 == 0 ? 1500000 : r % 8 == 0 ? 100000 : 3000;
        struct item *it = &ledger->items[i];
        *it = (struct item){.number = i, .key_size = 8 + (r >> 8) % 30, .value_size = (r >> 16) % max};
        if (item_append(me->life->w, it) != NOKV_OK)
            _exit(2);
        atomic_store_explicit(&ledger->acked[i], true, memory_order_release);
        atomic_fetch_add(&ledger->acked_count, 1);
    }
    return NULL;
}

/* The process that will be killed. */
static void live(struct life *l)
{
    struct io *io = NULL;
    struct io_shared shared;
    struct appender appenders[THREADS];
    if (io_real_create(&io) != NOKV_OK ||
        io_shared_open(io, l->shared_path, vlog_shared_bytes(VLOG_BUFFER_MAX), &shared) != NOKV_OK)
        _exit(2);
    struct vlog_writer_options o = model_options(io, l->path, l->dir);
    o.model = l->model;
    o.preallocate_bytes = l->seed % 2 ? 16 << 20 : 0;
    o.shared = shared.data;
    if (vlog_writer_create(&o, &l->w) != NOKV_OK)
        _exit(2);
    for (unsigned i = 0; i < THREADS; i++) {
        appenders[i] = (struct appender){.life = l, .index = i};
        if (pthread_create(&appenders[i].thread, NULL, appender_main, &appenders[i]) != 0)
            _exit(2);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(appenders[i].thread, NULL);
    _exit(3); /* nobody has killed it */
}

static void live_and_die(struct life *l, unsigned appends)
{
    int how = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        live(l);
    while (atomic_load(&l->ledger->acked_count) < appends && waitpid(pid, &how, WNOHANG) == 0)
        sched_yield();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void check_rescued(struct life *l, struct io *io, struct slice shared, bool repair)
{
    struct vlog_rescue *r = NULL;
    uint8_t key[KEY_SIZE_MAX];
    OK(vlog_rescue_open(io, l->path, SEGMENT, shared, repair, &r));
    for (unsigned i = 0; i < COUNT; i++) {
        const struct item *it = &l->ledger->items[i];
        bool sound = false;
        struct slice value;
        if (!atomic_load_explicit(&l->ledger->acked[i], memory_order_acquire))
            continue;
        OK(vlog_rescue_record(r, &it->pointer, item_key(it, key), &sound, &value));
        assert_true(sound);
        if (value.data != NULL)
            pattern_check(value.data, it->number, 0, it->value_size);
    }
    OK(vlog_rescue_sync(r));
    vlog_rescue_close(r);
}

static void check_read(struct life *l, struct io *io)
{
    struct vlog_reader *r = NULL;
    OK(vlog_reader_open(io, l->path, SEGMENT, VLOG_READ_AUTO, NULL, NULL, &r));
    for (unsigned i = 0; i < COUNT; i++)
        if (atomic_load(&l->ledger->acked[i]))
            OK(item_read(r, &l->ledger->items[i]));
    vlog_reader_unref(r);
    epoch_drain();
}

static void run(enum io_model model, uint64_t seed)
{
    struct life l = {.model = model, .seed = seed};
    struct io *io = NULL;
    struct io_shared shared;
    uint64_t rng = seed;
    test_dir_create(l.dir);
    snprintf(l.path, sizeof l.path, "%s/000007.vlog", l.dir);
    snprintf(l.shared_path, sizeof l.shared_path, "%s/VLOGBUF", l.dir);
    l.ledger = mmap(NULL, sizeof *l.ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(l.ledger != MAP_FAILED);
    live_and_die(&l, 1 + (unsigned)(test_random(&rng) % 300));
    OK(epoch_register());
    OK(io_real_create(&io));
    OK(io_shared_open(io, l.shared_path, vlog_shared_bytes(VLOG_BUFFER_MAX), &shared));
    check_rescued(&l, io, slice_make(shared.data, shared.size), false);
    check_rescued(&l, io, slice_make(shared.data, shared.size), true);
    check_read(&l, io);
    io_shared_close(&shared);
    io_destroy(io);
    munmap(l.ledger, sizeof *l.ledger);
    test_dir_remove(l.dir);
}

/* Past the page cache and through it, killed at different moments. */
static void test_killed(void **state)
{
    (void)state;
    uint64_t seed = test_seed(31);
    for (uint64_t round = test_scale(16); round > 0; round--) {
        run(IO_DIRECT, seed + round);
        run(IO_STD, seed + round);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
