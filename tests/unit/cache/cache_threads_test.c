// SPDX-License-Identifier: Apache-2.0
/*
 * The block cache used by many threads at once: a block's bytes are made from its name and looked at by each who finds
 * it, so that one which was freed or used again too early shows, to the reader or to the sanitizer.
 */
#include <stdatomic.h>

#include "base/thread.h"
#include "cache/cache.h"
#include "test.h"

enum { THREADS = 4, HELD = 4, PAGES = 500, HANDED = 32 };
#define BOUND (1ull << 20)

static struct cache *cache;
static _Atomic uint64_t first_file; /* those below were forgotten */
static struct mutex handed_mu;
static struct cache_block *handed[HANDED]; /* references that one thread leaves for another to release */

static size_t size_of(uint64_t page)
{
    return page % 5 == 0 ? 16384 : page % 7 == 0 ? 40000 : 4096;
}

static uint64_t stamp_of(uint64_t file, uint64_t page)
{
    uint64_t state = file << 32 | page;
    return test_random(&state);
}

static void block_check(const struct cache_block *b, uint64_t file, uint64_t page)
{
    ASSERT(b->file == file && b->page == page && b->size == size_of(page));
    ASSERT(load_u64(b->data) == stamp_of(file, page) && load_u64(b->data + b->size - 8) == stamp_of(file, page));
}

static struct cache_block *block_get(uint64_t file, uint64_t page)
{
    struct cache_block *b = cache_find(cache, file, page);
    if (b != NULL)
        return b;
    ASSERT(cache_block_create(cache, file, page, size_of(page), &b) == NOKV_OK);
    uint64_t stamp = stamp_of(file, page);
    memcpy(b->data, &stamp, sizeof stamp);
    memcpy(b->data + b->size - 8, &stamp, sizeof stamp);
    return cache_insert(cache, b);
}

/* Leaves `b` for others, and releases what it takes in exchange. */
static void hand_over(struct cache_block *b, uint64_t where)
{
    mutex_lock(&handed_mu);
    struct cache_block *other = handed[where % HANDED];
    handed[where % HANDED] = b;
    mutex_unlock(&handed_mu);
    if (other != NULL) {
        block_check(other, other->file, other->page);
        cache_block_unref(other);
    }
}

static void *reader(void *arg)
{
    uint64_t random;
    memcpy(&random, arg, sizeof random);
    struct cache_block *held[HELD] = {0};
    for (uint64_t n = test_scale(60000); n > 0; n--) {
        uint64_t r = test_random(&random);
        uint64_t file = atomic_load(&first_file) + r % 3, page = (r >> 8) % ((r >> 32) % PAGES + 1);
        struct cache_block *b = block_get(file, page);
        block_check(b, file, page);
        struct cache_block **slot = &held[(r >> 24) % HELD];
        if (*slot != NULL) {
            block_check(*slot, (*slot)->file, (*slot)->page);
            cache_block_unref(*slot);
        }
        *slot = b;
        if (r >> 58 == 0) {
            cache_block_ref(b);
            hand_over(b, r >> 40);
        }
        if (r >> 50 == 0)
            cache_forget(cache, atomic_fetch_add(&first_file, 1));
        if (r >> 54 == 1) {
            struct cache_stats stats;
            cache_stats_get(cache, &stats);
            ASSERT(stats.bytes <= 8 * BOUND + CACHE_BYTES_MIN + (THREADS * (HELD + 1) + HANDED) * (40960 + sizeof *b));
        }
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i] != NULL)
            cache_block_unref(held[i]);
    }
    return NULL;
}

/* Readers that find, bring in, hold, hand over and release blocks while files are forgotten see sound bytes always;
 * afterwards nothing is pinned and the bound holds. */
static void test_readers(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint64_t seed = test_seed(4711), randoms[THREADS];
    struct cache_stats stats;
    mutex_init(&handed_mu);
    OK(cache_create(BOUND, &cache));
    for (int i = 0; i < THREADS; i++) {
        randoms[i] = seed + (uint64_t)i;
        OK(thread_create(&threads[i], "cache-reader", reader, &randoms[i]));
    }
    for (int i = 0; i < THREADS; i++)
        thread_join(threads[i]);
    for (uint64_t i = 0; i < HANDED; i++)
        hand_over(NULL, i);
    cache_stats_get(cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    assert_true(stats.bytes <= BOUND);
    assert_int_equal(stats.hits + stats.misses, THREADS * test_scale(60000));
    assert_true(stats.hits > 0 && stats.evictions > 0);
    cache_destroy(cache);
    mutex_deinit(&handed_mu);
}

static _Atomic bool stop;

static void *resizer(void *arg)
{
    (void)arg;
    uint64_t random = 1;
    while (!atomic_load(&stop))
        ASSERT(cache_resize(cache, CACHE_BYTES_MIN + test_random(&random) % (8 * BOUND)) == NOKV_OK);
    return NULL;
}

/* The bound may be changed while others read. */
static void test_resize_meanwhile(void **state)
{
    (void)state;
    pthread_t thread, other;
    uint64_t random = 99;
    struct cache_stats stats;
    mutex_init(&handed_mu);
    OK(cache_create(8 * BOUND, &cache));
    OK(thread_create(&other, "cache-resizer", resizer, NULL));
    OK(thread_create(&thread, "cache-reader", reader, &random));
    thread_join(thread);
    atomic_store(&stop, true);
    thread_join(other);
    for (uint64_t i = 0; i < HANDED; i++)
        hand_over(NULL, i);
    cache_stats_get(cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    assert_true(stats.bytes <= stats.bytes_max);
    cache_destroy(cache);
    mutex_deinit(&handed_mu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_resize_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
