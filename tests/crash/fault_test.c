// SPDX-License-Identifier: Apache-2.0
/*
 * Single faults, one at a time, at every place: the k-th operation on the simulated disk fails, the k-th allocation
 * fails, the disk is full. Each has a defined outcome: the call reports it, reads go on, nothing acknowledged is lost,
 * and a reopen works. And crashes at random steps while background threads run.
 *
 * Arguments: `quick` or `all`. NOKV_TEST_SEED repeats a run; NOKV_TEST_SCALE is the percentage of the work.
 */
#include <errno.h>

#include "base/alloc.h"
#include "history.h"
#include "io/sim.h"

static const char dir[] = "db";
static uint64_t seed_base = 7;
static double effort = 1;
static bool quick;

static void options_make(nokv_options *o, bool inline_work)
{
    nokv_options_init(o);
    o->inline_background_work = inline_work;
    o->memtable_bytes = 64 << 10;
    o->wal_buffer_bytes = 64 << 10;
    o->table_bytes = 64 << 10;
    o->level_base_bytes = 64 << 10;
    o->level_ratio = 2;
    o->l0_compact_files = 2;
    o->l0_busy_files = 2;
    o->value_separation_min = 200;
    o->value_direct_min = 2000;
    o->vlog_segment_bytes = 64 << 10;
    o->vlog_space_amp_max = 1.1;
}

/* Open, write, flush, compact, close; stops writing at the first error, reads on, and returns it. */
static enum nokv_status workload_run(struct io *io, const nokv_options *options, struct history *h, uint64_t seed,
                                     int writes)
{
    nokv_db *db = NULL;
    enum nokv_status status = db_open(io, dir, options, &db);
    if (status != NOKV_OK)
        return status;
    for (int i = 0; i < writes && status == NOKV_OK; i++) {
        status = history_write_next(h, db, &seed, i % 9 == 0);
        if (status == NOKV_OK && i % 40 == 39)
            status = nokv_compact_range(db, NULL, 0, NULL, 0);
    }
    nokv_value value = {0};
    enum nokv_status got = nokv_get(db, "key01", 5, NULL, &value);
    if (got == NOKV_ERR_POISONED || got == NOKV_ERR_NO_SPACE)
        fail_msg("a read fails because writes do: %s", status_message());
    nokv_value_release(&value);
    enum nokv_status closed = nokv_close(db);
    return status == NOKV_OK ? closed : status;
}

static void reopened_check(struct io *io, const nokv_options *options, struct history *h, size_t least,
                           const char *what)
{
    nokv_db *db = NULL;
    enum nokv_status status = db_open(io, dir, options, &db);
    if (status != NOKV_OK)
        fail_msg("%s: does not open: %s %s", what, status_name(status), status_message());
    history_check(h, db, least, what);
    nokv_verify_report report;
    OK(nokv_verify(db, NULL, NULL, &report));
    OK(nokv_close(db));
}

/* One run in which the k-th operation fails with `err`. False: the run had fewer operations. */
static bool kth_failure_run(uint64_t k, int err, uint64_t seed)
{
    static struct history h;
    char what[96];
    struct sim *sim = NULL;
    struct io *io = NULL;
    nokv_options options;
    struct sim_options so = {.seed = seed};
    memset(&h, 0, sizeof h);
    snprintf(what, sizeof what, "operation %llu fails with errno %d, seed %llu", (unsigned long long)k, err,
             (unsigned long long)seed);
    options_make(&options, true);
    OK(sim_create(&so, &sim));
    OK(sim_io_create(sim, &io));
    sim_fail(sim, IO_OP_COUNT, IO_COMPONENT_COUNT, k, err, false);
    enum nokv_status status = workload_run(io, &options, &h, seed, 90);
    bool failed = sim_failed(sim);
    sim_fail_clear(sim);
    if (!failed)
        assert_int_equal(status, NOKV_OK);
    /* A failed sync may have dropped what was written but not synced: only what was synced is sure then. */
    reopened_check(io, &options, &h, failed ? h.synced : h.acknowledged, what);
    io_destroy(io);
    sim_destroy(sim);
    return failed;
}

/* Whatever single operation on the disk fails, the database reports it or survives it, and reopens with what it
 * promised. */
static void test_every_operation_fails_once(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EMFILE};
    uint64_t runs = 0;
    for (size_t e = 0; e < ARRAY_COUNT(errors); e++)
        for (uint64_t k = 1; kth_failure_run(k, errors[e], seed_base); k += quick ? 17 : 1)
            runs++;
    printf("%llu runs with one failure each\n", (unsigned long long)runs);
    assert_true(runs > 20);
}

static bool kth_allocation_run(uint64_t k, uint64_t seed)
{
    static struct history h;
    char what[96];
    struct sim *sim = NULL;
    struct io *io = NULL;
    nokv_options options;
    struct sim_options so = {.seed = seed};
    memset(&h, 0, sizeof h);
    snprintf(what, sizeof what, "allocation %llu fails, seed %llu", (unsigned long long)k, (unsigned long long)seed);
    options_make(&options, true);
    OK(sim_create(&so, &sim));
    OK(sim_io_create(sim, &io));
    nokv_db *db = NULL;
    mem_fail_after(k);
    uint64_t begin = mem_alloc_count();
    enum nokv_status status = db_open(io, dir, &options, &db);
    for (int i = 0; status == NOKV_OK && i < 60; i++) {
        char key[16];
        int n = snprintf(key, sizeof key, "key%05d", i);
        static const uint8_t value[3000];
        status = nokv_put(db, key, (size_t)n, value, sizeof value, NULL);
        h.acknowledged += status == NOKV_OK;
    }
    if (status == NOKV_OK)
        status = nokv_compact_range(db, NULL, 0, NULL, 0);
    nokv_iter *it = NULL;
    if (status == NOKV_OK && (status = nokv_iter_create(db, NULL, &it)) == NOKV_OK) {
        nokv_iter_first(it);
        nokv_iter_destroy(it);
    }
    (void)nokv_close(db);
    bool reached = mem_alloc_count() - begin > k;
    mem_fail_after(UINT64_MAX);
    OK(db_open(io, dir, &options, &db));
    for (size_t i = 0; i < h.acknowledged; i++) {
        char key[16];
        nokv_value value = {0};
        int n = snprintf(key, sizeof key, "key%05zu", i);
        enum nokv_status got = nokv_get(db, key, (size_t)n, NULL, &value);
        if (got != NOKV_OK || value.size != 3000)
            fail_msg("%s: key %zu of %zu acknowledged: %s", what, i, h.acknowledged, status_name(got));
        nokv_value_release(&value);
    }
    OK(nokv_close(db));
    io_destroy(io);
    sim_destroy(sim);
    return reached;
}

/* Whatever single allocation fails, nothing leaks (the sanitizer looks), nothing acknowledged is lost. */
static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t runs = 0;
    for (uint64_t k = 0; kth_allocation_run(k, seed_base); k += quick ? 13 : 1)
        runs++;
    printf("%llu runs with one failed allocation each\n", (unsigned long long)runs);
    assert_true(runs > 10);
}

/* A full disk refuses writes with NO_SPACE and keeps what it has; once there is room they go on without a reopen. */
static void test_full_disk_and_room_again(void **state)
{
    (void)state;
    static struct history h;
    struct sim *sim = NULL;
    struct io *io = NULL;
    nokv_db *db = NULL;
    nokv_options options;
    uint64_t random = seed_base;
    const uint64_t small = 1500 << 10; /* with the shared buffers of log and value log */
    struct sim_options so = {.seed = seed_base, .capacity_bytes = small};
    memset(&h, 0, sizeof h);
    options_make(&options, true);
    OK(sim_create(&so, &sim));
    OK(sim_io_create(sim, &io));
    OK(db_open(io, dir, &options, &db));
    for (int round = 0; round < 5; round++) {
        enum nokv_status status = NOKV_OK;
        for (int i = 0; status == NOKV_OK && i < 2000; i++)
            status = history_write_next(&h, db, &random, false);
        if (status != NOKV_ERR_NO_SPACE)
            fail_msg("round %d: %s %s", round, status_name(status), status_message());
        h.count = h.acknowledged;
        history_check(&h, db, h.acknowledged, "full");
        sim_set_capacity(sim, 8 << 20);
        OK(nokv_flush(db));
        for (int i = 0; i < 100; i++)
            OK(history_write_next(&h, db, &random, i % 50 == 0));
        sim_set_capacity(sim, small);
    }
    sim_set_capacity(sim, 8 << 20);
    OK(nokv_close(db));
    reopened_check(io, &options, &h, h.acknowledged, "after the full disk");
    io_destroy(io);
    sim_destroy(sim);
}

/* With background threads the order of steps is the scheduler's: a power cut at a random one keeps every promise. */
static void test_crash_with_threads(void **state)
{
    (void)state;
    static struct history h;
    int rounds = quick ? 20 : (int)(400 * effort) + 1;
    uint64_t random = seed_base;
    nokv_options options;
    options_make(&options, false);
    for (int round = 0; round < rounds; round++) {
        char what[64];
        struct sim *sim = NULL;
        struct io *io = NULL;
        struct sim_options so = {.seed = test_random(&random)};
        bool power = round % 3 != 0;
        memset(&h, 0, sizeof h);
        snprintf(what, sizeof what, "threads, round %d, %s", round, power ? "power cut" : "kill");
        OK(sim_create(&so, &sim));
        for (int life = 0; life < 3; life++) {
            OK(sim_io_create(sim, &io));
            sim_crash_after(sim, 20 + test_random(&random) % 600);
            (void)!workload_run(io, &options, &h, test_random(&random), 120);
            io_destroy(io);
            if (power)
                sim_power_cut(sim);
            else
                sim_process_kill(sim);
            OK(sim_io_create(sim, &io));
            reopened_check(io, &options, &h, power ? h.synced : h.acknowledged, what);
            io_destroy(io);
        }
        sim_destroy(sim);
    }
}

int main(int argc, char **argv)
{
    quick = argc > 1 && strcmp(argv[1], "quick") == 0;
    const char *scale = getenv("NOKV_TEST_SCALE");
    effort = scale ? strtod(scale, NULL) / 100 : 1;
    quick = quick || effort < 0.5;
    seed_base = test_seed(7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation_fails_once),
        cmocka_unit_test(test_every_allocation_fails_once),
        cmocka_unit_test(test_full_disk_and_room_again),
        cmocka_unit_test(test_crash_with_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
