// SPDX-License-Identifier: Apache-2.0
/*
 * threads_test.c - appenders, streams, readers and a syncing thread on one segment at the same time; made for the
 * thread sanitizer.
 */
#include <pthread.h>
#include <stdatomic.h>

#define SHARED_BYTES vlog_shared_bytes(VLOG_BUFFER_MAX)

#include "vlog_model.h"

enum { APPENDERS = 4, READERS = 2, PER_APPENDER = 250, COUNT = APPENDERS * PER_APPENDER };

struct world {
    struct io *io;
    char dir[256];
    char path[300];
    uint8_t *shared; /* NULL: the writer has buffers of its own */
    struct vlog_writer *w;
    struct vlog_reader *r;
    struct item items[COUNT];
    _Atomic uint64_t published[APPENDERS]; /* items of this appender that may be read */
    _Atomic unsigned appending;
    _Atomic unsigned full; /* calls of buffer_is_full */
};

struct worker {
    struct world *world;
    unsigned index;
    uint64_t rng;
    pthread_t thread;
    enum nokv_status status;
    char message[200];
};

static enum nokv_status append_one(struct worker *me, struct item *it, uint64_t r)
{
    struct world *world = me->world;
    size_t max = r % 16 == 0 ? 300000 : r % 16 < 4 ? 20000 : 1200;
    it->key_size = 8 + (r >> 8) % 40;
    it->value_size = test_random(&me->rng) % max;
    if ((r >> 16) % 32 == 0)
        return item_stream(world->w, it, 5000, 30000);
    TRY(item_append(world->w, it));
    if ((r >> 24) % 64 == 0)
        TRY(vlog_writer_sync(world->w));
    return NOKV_OK;
}

static enum nokv_status append_all(struct worker *me)
{
    for (unsigned i = 0; i < PER_APPENDER; i++) {
        struct item *it = &me->world->items[me->index * PER_APPENDER + i];
        it->number = (uint64_t)(it - me->world->items);
        TRY(append_one(me, it, test_random(&me->rng)));
        atomic_store_explicit(&me->world->published[me->index], i + 1, memory_order_release);
    }
    return NOKV_OK;
}

static enum nokv_status read_some(struct worker *me)
{
    struct world *world = me->world;
    for (;;) {
        bool last = atomic_load(&world->appending) == 0;
        unsigned from = (unsigned)(test_random(&me->rng) % APPENDERS);
        uint64_t count = atomic_load_explicit(&world->published[from], memory_order_acquire);
        if (count != 0) {
            /* mostly what has just been appended: it is in the buffers, or on its way out of them */
            uint64_t back = test_random(&me->rng) % u64_min(count, test_random(&me->rng) % 4 ? 4 : count);
            TRY(item_read(world->r, &world->items[from * PER_APPENDER + count - 1 - back]));
        }
        if (last)
            return NOKV_OK;
    }
}

static enum nokv_status flush_some(struct worker *me)
{
    for (unsigned i = 0; atomic_load(&me->world->appending) != 0; i++)
        TRY(i % 4 ? vlog_writer_flush(me->world->w) : vlog_writer_sync(me->world->w));
    return NOKV_OK;
}

static void finish(struct worker *me, enum nokv_status status)
{
    me->status = status;
    if (status != NOKV_OK)
        snprintf(me->message, sizeof me->message, "%s", status_message());
}

static void *appender_main(void *arg)
{
    struct worker *me = arg;
    finish(me, append_all(me));
    atomic_fetch_sub(&me->world->appending, 1);
    return NULL;
}

static void *reader_main(void *arg)
{
    struct worker *me = arg;
    enum nokv_status status = epoch_register();
    finish(me, status == NOKV_OK ? read_some(me) : status);
    return NULL;
}

/* The thread that writes what the appenders leave. */
static enum nokv_status write_full(struct worker *me)
{
    while (atomic_load(&me->world->appending) != 0)
        TRY(vlog_writer_write_full(me->world->w));
    return NOKV_OK;
}

static void *filler_main(void *arg)
{
    struct worker *me = arg;
    finish(me, write_full(me));
    return NULL;
}

static void buffer_is_full(void *arg)
{
    struct world *world = arg;
    atomic_fetch_add(&world->full, 1);
}

static void *flusher_main(void *arg)
{
    struct worker *me = arg;
    finish(me, flush_some(me));
    return NULL;
}

static void run(struct world *world, uint64_t seed)
{
    struct worker workers[APPENDERS + READERS + 2];
    atomic_store(&world->appending, APPENDERS);
    for (unsigned i = 0; i < ARRAY_COUNT(workers); i++) {
        workers[i] = (struct worker){.world = world, .index = i, .rng = seed + i};
        void *(*fn)(void *) = i < APPENDERS                   ? appender_main
                              : i < APPENDERS + READERS       ? reader_main
                              : i == ARRAY_COUNT(workers) - 1 ? filler_main
                                                              : flusher_main;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, fn, &workers[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(workers); i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < ARRAY_COUNT(workers); i++)
        if (workers[i].status != NOKV_OK)
            fail_msg("thread %u: %s: %s", i, status_name(workers[i].status), workers[i].message);
}

static void check_sealed(struct world *world)
{
    unsigned *seen = calloc(COUNT, sizeof *seen);
    struct vlog_scan_totals totals;
    const struct vlog_scan_options o = {
        .io = world->io, .path = world->path, .number = SEGMENT, .component = IO_OTHER, .is_sealed = true};
    OK(vlog_writer_seal(world->w));
    OK(items_scan(&o, world->items, COUNT, seen, &totals));
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(totals.records, COUNT);
    free(seen);
}

/* Several readers ask for the mapping and its bitmap at the same time. */
static void read_sealed(struct world *world, uint64_t seed)
{
    struct worker readers[READERS];
    struct vlog_reader *active = world->r;
    OK(vlog_reader_open(world->io, world->path, SEGMENT, VLOG_READ_MMAP, NULL, NULL, &world->r));
    atomic_store(&world->appending, 1);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct worker){.world = world, .index = i, .rng = seed};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
    }
    for (unsigned i = 0; i < COUNT; i++)
        OK(item_read(world->r, &world->items[i]));
    atomic_store(&world->appending, 0);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].status, NOKV_OK);
    }
    vlog_reader_unref(world->r);
    world->r = active;
}

/* Every record is still there after sealing, which lets go of the buffers while readers read in them. */
static void seal_while_reading(struct world *world, uint64_t seed)
{
    struct worker readers[READERS];
    atomic_store(&world->appending, 1);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct worker){.world = world, .index = i, .rng = seed + i};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
    }
    for (unsigned i = 0; i < COUNT; i += 50)
        OK(item_read(world->r, &world->items[i]));
    check_sealed(world);
    if (world->shared != NULL)
        memset(world->shared, 0xee, SHARED_BYTES); /* as the next writer would */
    for (unsigned i = 0; i < COUNT; i += 50)
        OK(item_read(world->r, &world->items[i]));
    atomic_store(&world->appending, 0);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        if (readers[i].status != NOKV_OK)
            fail_msg("reader %u: %s", i, readers[i].message);
    }
}

static void run_model(enum io_model model, uint64_t preallocate, bool use_shared, bool is_left, uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    test_dir_create(world->dir);
    snprintf(world->path, sizeof world->path, "%s/000007.vlog", world->dir);
    OK(epoch_register());
    OK(io_real_create(&world->io));
    struct vlog_writer_options o = model_options(world->io, world->path, world->dir);
    o.model = model;
    o.preallocate_bytes = preallocate;
    if (use_shared) {
        o.shared = world->shared = aligned_alloc(PAGE_BYTES, SHARED_BYTES);
        memset(world->shared, 0, SHARED_BYTES); /* as a new file */
    }
    if (is_left)
        o.full = buffer_is_full;
    o.full_arg = world;
    OK(vlog_writer_create(&o, &world->w));
    OK(vlog_reader_open(world->io, world->path, SEGMENT, VLOG_READ_AUTO, world->w, NULL, &world->r));
    run(world, seed);
    assert_true((atomic_load(&world->full) > 0) == is_left);
    seal_while_reading(world, seed);
    read_sealed(world, seed);
    vlog_reader_unref(world->r);
    vlog_writer_destroy(world->w);
    epoch_drain();
    io_destroy(world->io);
    test_dir_remove(world->dir);
    free(world->shared);
    free(world);
}

/* Through the page cache: everything is read back while it is being appended, and after sealing. */
static void test_standard(void **state)
{
    (void)state;
    run_model(IO_STD, 1 << 20, false, false, test_seed(11));
}

/* The same past the page cache, in whole blocks. */
static void test_direct(void **state)
{
    (void)state;
    run_model(IO_DIRECT, 0, false, false, test_seed(12));
}

/* With buffers in memory that is somebody else's as soon as the segment is sealed. */
static void test_shared(void **state)
{
    (void)state;
    run_model(IO_DIRECT, 1 << 20, true, false, test_seed(13));
}

/* And with full buffers that appenders leave to another thread. */
static void test_left(void **state)
{
    (void)state;
    run_model(IO_DIRECT, 1 << 20, true, true, test_seed(14));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_standard), cmocka_unit_test(test_direct),
                                       cmocka_unit_test(test_shared), cmocka_unit_test(test_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
