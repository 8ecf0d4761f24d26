// SPDX-License-Identifier: Apache-2.0
/*
 * pause_test.c - what the background does when nobody writes any more and nobody asks for it; and databases that are
 * closed while others of the process work.
 */
#include <sched.h>
#include <stdatomic.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { KEYS = 600, LARGE = 32 << 10, SEGMENT = 4 << 20 };

static nokv_db *db_open_at(const char *dir, const char *name, const nokv_options *options)
{
    char path[400];
    nokv_db *db = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    OK(nokv_open(path, options, &db));
    return db;
}

static void put(nokv_db *db, unsigned key, unsigned version, size_t size)
{
    static uint8_t value[LARGE];
    memset(value, (int)(key + version), size);
    OK(nokv_put(db, &key, sizeof key, value, size, NULL));
}

struct sums {
    uint64_t file_bytes, live_bytes;
};

static bool segment_sum(void *arg, const nokv_vlog_segment *segment)
{
    struct sums *sums = arg;
    if (!segment->pending) { /* what only a log knows of is not garbage yet */
        sums->file_bytes += segment->file_bytes;
        sums->live_bytes += segment->live_bytes;
    }
    return true;
}

static double amplification(nokv_db *db)
{
    struct sums sums = {0};
    OK(nokv_vlog_segments(db, segment_sum, &sums));
    return (double)sums.file_bytes / (double)(sums.live_bytes + 1);
}

/* While writes go on garbage may grow to more than the option says. When they stop, it comes down by itself. */
static void test_garbage_goes_in_a_pause(void **state)
{
    (void)state;
    char dir[256];
    nokv_options options;
    test_dir_create(dir);
    nokv_options_init(&options);
    options.vlog_segment_bytes = SEGMENT;
    options.vlog_space_amp_max = 1.25;
    nokv_db *db = db_open_at(dir, "db", &options);
    for (unsigned i = 0; i < KEYS; i++)
        put(db, i, 1, LARGE);
    OK(nokv_flush(db));
    for (unsigned i = 0; i < KEYS; i++)
        if (i % 16 < 6)
            put(db, i, 2, LARGE);
    OK(nokv_compact_range(db, NULL, 0, NULL, 0)); /* one table, and all garbage is known */
    assert_true(amplification(db) > 1.3);
    while (amplification(db) > 1.3) /* 1.25 and what is too little to bother; otherwise the time limit ends the test */
        sched_yield();
    OK(nokv_close(db));
    test_dir_remove(dir);
}

static _Atomic bool done;

static void *idle_main(void *arg)
{
    while (!atomic_load(&done))
        if (nokv_wait_idle(arg) != NOKV_OK)
            abort();
    return NULL;
}

/* Memory of a database that is being closed comes back on whatever thread happens to run what was retired: also on one
 * that works for another database. */
static void test_close_beside_others(void **state)
{
    (void)state;
    char dir[256];
    pthread_t threads[2];
    test_dir_create(dir);
    nokv_db *other = db_open_at(dir, "other", NULL);
    for (int i = 0; i < 2; i++)
        OK(thread_create(&threads[i], "idle", idle_main, other));
    for (int round = 0; round < 12; round++) {
        nokv_db *db = db_open_at(dir, "db", NULL);
        for (unsigned i = 0; i < 700; i++) /* large enough for chunks of 2 MiB */
            put(db, i, 1, 12 << 10);
        OK(nokv_close(db));
    }
    atomic_store(&done, true);
    for (int i = 0; i < 2; i++)
        thread_join(threads[i]);
    OK(nokv_close(other));
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_garbage_goes_in_a_pause),
                                       cmocka_unit_test(test_close_beside_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
