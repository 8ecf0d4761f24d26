// SPDX-License-Identifier: Apache-2.0
/*
 * threads_test.c - one thread appends, another moves what stands in the ring to the file; made for the thread
 * sanitizer. A round ends with the death of the process, after which file and ring together have every record, or with
 * a sealed log.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "log_fixture.h"

enum { RING = 64 << 10, ROUNDS = 24, APPENDS = 1500 };

struct world {
    struct fixture f;
    _Atomic bool done;
    _Atomic unsigned asked; /* calls of ring_is_full */
    enum nokv_status status;
};

static void ring_is_full(void *arg)
{
    struct world *w = arg;
    atomic_fetch_add(&w->asked, 1);
}

static void *mover_main(void *arg)
{
    struct world *w = arg;
    unsigned seen = 0;
    while (!atomic_load(&w->done) && w->status == NOKV_OK) {
        unsigned asked = atomic_load(&w->asked);
        if (asked != seen)
            w->status = rlog_write_full(w->f.writer);
        seen = asked;
    }
    return NULL;
}

static enum nokv_status log_before_is_durable(void *arg)
{
    bool *waited = arg;
    *waited = true;
    return NOKV_OK;
}

/* Mostly small ones; now and then one that goes to the file at once, a flush, a sync. */
static void append_some(struct fixture *f, uint64_t *rng, uint64_t index, size_t sizes[])
{
    uint64_t r = test_random(rng);
    size_t max = r % 200 == 0 ? RING : r % 20 == 0 ? 5000 : 200;
    sizes[index] = (r >> 16) % max;
    append_one(f, index, sizes[index]);
    if ((r >> 40) % 256 == 0)
        OK(rlog_flush(f->writer));
    if ((r >> 48) % 512 == 0)
        OK(rlog_sync(f->writer));
}

static void round_run(uint64_t seed, unsigned round)
{
    struct world *w = calloc(1, sizeof *w);
    size_t *sizes = calloc(APPENDS, sizeof *sizes);
    bool waited = false, is_killed = round % 2 == 0;
    uint64_t rng = seed + round;
    pthread_t mover;
    fixture_init(&w->f, RING);
    w->f.options.full = ring_is_full;
    w->f.options.full_arg = w;
    w->f.options.preallocate_bytes = round % 3 ? 1 << 20 : 0;
    w->f.options.write_chunk_bytes = RING / 16;
    fixture_create_log(&w->f);
    if (round % 4 >= 2)
        rlog_hold(w->f.writer, log_before_is_durable, &waited);
    assert_int_equal(pthread_create(&mover, NULL, mover_main, w), 0);
    for (uint64_t i = 0; i < APPENDS; i++)
        append_some(&w->f, &rng, i, sizes);
    if (!is_killed)
        OK(rlog_detach(w->f.writer)); /* the other one may still come */
    atomic_store(&w->done, true);
    pthread_join(mover, NULL);
    OK(w->status);
    assert_true(atomic_load(&w->asked) > 0 && (!waited || round % 4 >= 2));
    if (!is_killed)
        OK(rlog_seal(w->f.writer));
    fixture_kill(&w->f);
    struct outcome out = read_log(&w->f, is_killed, sizes, APPENDS);
    OK(out.status);
    assert_int_equal(out.count, APPENDS);
    assert_true(out.report.sealed != is_killed);
    fixture_deinit(&w->f);
    free(sizes);
    free(w);
}

/* Whatever the two do at the same time, every record is found again. */
static void test_mover(void **state)
{
    (void)state;
    uint64_t seed = test_seed(21);
    for (unsigned round = 0; round < ROUNDS; round++)
        round_run(seed, round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mover)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
