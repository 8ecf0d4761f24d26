// SPDX-License-Identifier: Apache-2.0
/* Runs of pages of the block cache: no two overlap, what was given back is used again, memory returns to the kernel. */
#include "cache/pages.h"
#include "test.h"

enum { RUNS = 400 };

struct run {
    uint8_t *data;
    size_t count;
    struct page_chunk *chunk;
};

static void run_check(const struct run *r, uint8_t stamp)
{
    for (size_t i = 0; i < r->count; i++)
        assert_int_equal(r->data[i * PAGE_BYTES + i], stamp);
}

/* Random runs of 1 to 70 pages, taken and given back in any order, keep their bytes; at the end nothing is reserved. */
static void test_random_runs(void **state)
{
    (void)state;
    static const uint64_t pool_bytes[] = {1 << 20, 64 << 20};
    uint64_t random = test_seed(5);
    for (size_t i = 0; i < ARRAY_COUNT(pool_bytes); i++) {
        struct run runs[RUNS] = {0};
        struct page_pool pool;
        pages_init(&pool, pool_bytes[i]);
        for (int n = 0; n < 20000; n++) {
            uint64_t at = test_random(&random) % RUNS;
            struct run *r = &runs[at];
            if (r->data != NULL) {
                run_check(r, (uint8_t)at);
                pages_give(&pool, r->data, r->count, r->chunk);
                r->data = NULL;
                continue;
            }
            r->count = test_random(&random) % 3 ? 1 : 1 + test_random(&random) % 70;
            r->data = pages_take(&pool, r->count, &r->chunk);
            assert_non_null(r->data);
            for (size_t page = 0; page < r->count; page++)
                r->data[page * PAGE_BYTES + page] = (uint8_t)at;
        }
        for (uint64_t at = 0; at < RUNS; at++) {
            if (runs[at].data != NULL)
                run_check(&runs[at], (uint8_t)at), pages_give(&pool, runs[at].data, runs[at].count, runs[at].chunk);
        }
        assert_true(pool.idle_chunks <= 1 && pool.reserved_bytes <= 2 << 20);
        pages_deinit(&pool);
        assert_int_equal(pool.reserved_bytes, 0);
    }
}

/* Single pages fill their chunks without a gap, and what is given back is taken again before new memory is. */
static void test_no_waste(void **state)
{
    (void)state;
    struct run runs[RUNS] = {0};
    struct page_pool pool;
    pages_init(&pool, 1 << 20);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 128; i++)
            assert_non_null(runs[i].data = pages_take(&pool, 1, &runs[i].chunk));
        assert_int_equal(pool.reserved_bytes, 128 * PAGE_BYTES);
        for (int i = 0; i < 128; i++)
            pages_give(&pool, runs[i].data, 1, runs[i].chunk);
        assert_int_equal(pool.reserved_bytes, 64 * PAGE_BYTES);
    }
    pages_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_runs),
        cmocka_unit_test(test_no_waste),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
