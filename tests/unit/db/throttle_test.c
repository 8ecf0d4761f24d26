// SPDX-License-Identifier: Apache-2.0
/* throttle_test.c - writers are slowed in proportion to the debt: early, smoothly, and never stopped. */
#include "db_fixture.h"

enum { FULL_NS_PER_KIB = 976562 }; /* 1 MiB/s */

/* More debt never makes writers faster; each step costs the same part of the speed, from 512 down to 1 MiB/s. */
static void test_monotone_in_debt(void **state)
{
    (void)state;
    uint64_t before = 0;
    assert_int_equal(throttle_ns_per_kib(-1), 0);
    assert_int_equal(throttle_ns_per_kib(0), 0);
    for (int i = 1; i <= 2000; i++) {
        uint64_t now = throttle_ns_per_kib(i / 1000.0);
        assert_true(now >= before);
        assert_true(now > 0);
        if (before > 0) /* no step is a cliff */
            assert_true(now <= before + before / 90 + 1);
        before = now;
    }
    assert_in_range(throttle_ns_per_kib(0.001), 1900, 1950); /* 512 MiB/s: hardly slowed */
    assert_in_range(before, FULL_NS_PER_KIB * 99 / 100, FULL_NS_PER_KIB * 101 / 100);
}

/* More tables on level 0 never make writers faster: none up to the first limit, as slow as it gets from the last one
 * on. */
static void test_monotone_in_tables(void **state)
{
    (void)state;
    struct nokv_db *db = mem_alloc_aligned(CACHE_LINE, sizeof *db); /* only what the throttle looks at */
    uint64_t before = 0;
    assert_non_null(db);
    memset(db, 0, sizeof *db);
    db->options.l0_slowdown_files = 36;
    db->options.l0_stop_files = 72;
    OK(version_create_empty(&db->version));
    for (size_t files = 0; files < 200; files++) {
        db->version->levels[0].count = files;
        db_update_throttle_locked(db);
        uint64_t now = atomic_load(&db->level0_ns_per_kib);
        assert_true(now >= before);
        assert_int_equal(now == 0, files <= 36);
        if (before > 0)
            assert_true(now <= before + before / 2 + 1);
        if (files >= 72)
            assert_int_equal(now, throttle_ns_per_kib(1));
        before = now;
    }
    db->version->levels[0].count = 0;
    version_unref(db->version);
    mem_free(db);
}

/* A slowed writer waits as long as its bytes take at the speed that is left, and the stats say so. */
static void test_writers_wait(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    fixture_open(&f);
    kv_put(f.db, 0, 1);
    assert_int_equal(stats_of(f.db).slowdown_ns, 0);
    atomic_store(&f.db->level0_ns_per_kib, FULL_NS_PER_KIB);
    uint64_t begin = io_now_ns(f.io), bytes = stats_of(f.db).user_bytes_written;
    for (uint64_t i = 0; i < 100; i++)
        kv_put(f.db, i, 2);
    uint64_t took = io_now_ns(f.io) - begin;
    bytes = stats_of(f.db).user_bytes_written - bytes;
    uint64_t wanted = bytes * FULL_NS_PER_KIB / 1024;
    assert_in_range(took, wanted * 8 / 10, wanted * 12 / 10);
    assert_true(stats_of(f.db).slowdown_ns > wanted / 2);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotone_in_debt),
        cmocka_unit_test(test_monotone_in_tables),
        cmocka_unit_test(test_writers_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
