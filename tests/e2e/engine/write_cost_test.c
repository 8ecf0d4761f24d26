// SPDX-License-Identifier: Apache-2.0
/*
 * What a write costs in system calls: puts that only the process's death must not lose share their writes by the
 * thousand, and durable puts of many threads share their syncs.
 *
 * The engine's own counters are checked against the kernel's, which counts the write calls of a process.
 */
#include <sys/vfs.h>

#include "base/thread.h"
#include "nokv/nokv.h"
#include "test.h"

enum { VALUE_BYTES = 100, PLAIN_PUTS = 1000000, THREADS = 16, DURABLE_PUTS = 150 };

static uint64_t kernel_write_calls(void)
{
    unsigned long long calls = 0;
    char line[100];
    FILE *f = fopen("/proc/self/io", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "syscw: %llu", &calls) == 1)
            break;
    fclose(f);
    return calls;
}

static void stats_of(nokv_db *db, nokv_stats *s)
{
    *s = (nokv_stats){.struct_size = sizeof *s};
    OK(nokv_stats_get(db, false, s));
}

static uint64_t writes_of(const nokv_stats *s)
{
    uint64_t writes = 0;
    for (int c = 0; c < NOKV_COMPONENT_COUNT; c++)
        writes += s->components[c].writes;
    return writes;
}

/* 100-byte puts issue fewer than 1 write per 100 puts, flushes and compactions included; the kernel counts the same. */
static void test_plain_puts_share_their_writes(void **state)
{
    (void)state;
    char parent[256], dir[300];
    uint8_t value[VALUE_BYTES] = {0};
    nokv_stats before, after;
    nokv_db *db = NULL;
    uint64_t puts = test_scale(PLAIN_PUTS), rng = test_seed(5);
    test_dir_create(parent);
    snprintf(dir, sizeof dir, "%s/db", parent);
    OK(nokv_open(dir, NULL, &db));
    stats_of(db, &before);
    uint64_t kernel_before = kernel_write_calls();
    for (uint64_t i = 0; i < puts; i++) {
        uint64_t key[2] = {test_random(&rng), i};
        memcpy(value, &i, sizeof i);
        OK(nokv_put(db, key, sizeof key, value, sizeof value, NULL));
    }
    OK(nokv_wait_idle(db));
    uint64_t kernel = kernel_write_calls() - kernel_before;
    stats_of(db, &after);
    uint64_t wal = after.components[NOKV_COMPONENT_WAL].writes - before.components[NOKV_COMPONENT_WAL].writes;
    uint64_t all = writes_of(&after) - writes_of(&before);
    printf("%llu puts: %llu writes of the WAL, %llu of everything, %llu counted by the kernel\n",
           (unsigned long long)puts, (unsigned long long)wal, (unsigned long long)all, (unsigned long long)kernel);
    assert_int_equal(after.puts - before.puts, puts);
    assert_true(wal > 0 && wal * 100 < puts);
    assert_true(all * 100 < puts && kernel * 100 < puts);
    assert_int_equal(kernel, all);
    OK(nokv_close(db));
    test_dir_remove(parent);
}

/* ---- durable puts ----------------------------------------------------------------------------------------------- */

struct durable_writer {
    nokv_db *db;
    unsigned index;
    uint64_t puts, failed;
};

static void *durable_main(void *arg)
{
    struct durable_writer *w = arg;
    nokv_write_options durable = {.struct_size = sizeof durable, .sync = NOKV_SYNC_COMMIT};
    uint8_t value[VALUE_BYTES] = {0};
    for (uint64_t i = 0; i < w->puts; i++) {
        uint64_t key[2] = {w->index, i};
        w->failed += nokv_put(w->db, key, sizeof key, value, sizeof value, &durable) != NOKV_OK;
    }
    return NULL;
}

/* Where a sync costs nothing there is nothing to share, and nobody waits long enough for company. */
static bool syncs_are_free(const char *dir)
{
    struct statfs fs;
    assert_int_equal(statfs(dir, &fs), 0);
    return fs.f_type == 0x01021994; /* TMPFS_MAGIC */
}

/* 16 threads of durable puts need fewer than 1 fdatasync per 4 puts. */
static void test_durable_puts_share_their_syncs(void **state)
{
    (void)state;
    char parent[256], dir[300];
    nokv_stats before, after;
    nokv_db *db = NULL;
    pthread_t threads[THREADS];
    struct durable_writer writers[THREADS];
    test_dir_create(parent);
    if (syncs_are_free(parent)) {
        test_dir_remove(parent);
        skip();
    }
    snprintf(dir, sizeof dir, "%s/db", parent);
    OK(nokv_open(dir, NULL, &db));
    stats_of(db, &before);
    for (unsigned t = 0; t < THREADS; t++) {
        writers[t] = (struct durable_writer){.db = db, .index = t, .puts = DURABLE_PUTS};
        OK(thread_create(&threads[t], "durable", durable_main, &writers[t]));
    }
    uint64_t failed = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        thread_join(threads[t]);
        failed += writers[t].failed;
    }
    stats_of(db, &after);
    uint64_t syncs = after.components[NOKV_COMPONENT_WAL].syncs - before.components[NOKV_COMPONENT_WAL].syncs;
    uint64_t puts = after.puts - before.puts, groups = after.wal_groups - before.wal_groups;
    printf("%llu durable puts: %llu syncs, %llu groups\n", (unsigned long long)puts, (unsigned long long)syncs,
           (unsigned long long)groups);
    assert_int_equal(failed, 0);
    assert_int_equal(puts, THREADS * DURABLE_PUTS);
    assert_true(syncs > 0 && syncs * 4 < puts);
    assert_true(groups <= syncs);
    OK(nokv_close(db));
    test_dir_remove(parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_puts_share_their_writes),
        cmocka_unit_test(test_durable_puts_share_their_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
