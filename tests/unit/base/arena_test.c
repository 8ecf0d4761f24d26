// SPDX-License-Identifier: Apache-2.0
/* Arenas: pieces do not overlap, are aligned, are counted; running out of memory loses nothing. */
#include "base/arena.h"

#include "base/alloc.h"
#include "test.h"

enum { PIECES = 3000 };

struct piece {
    uint8_t *data;
    size_t size;
};

/* Pieces of random size and alignment keep what was written to them: none overlaps another. */
static void pieces_do_not_overlap(void **state)
{
    (void)state;
    uint64_t random = test_seed(1);
    static const size_t chunk_sizes[] = {4096, 100000, 2 << 20};
    static struct piece pieces[PIECES];
    for (size_t c = 0; c < ARRAY_COUNT(chunk_sizes); c++) {
        struct arena a;
        size_t used = 0;
        arena_init(&a, chunk_sizes[c], NULL);
        for (int i = 0; i < PIECES; i++) {
            size_t align = (size_t)1 << test_random(&random) % 7;
            size_t size = test_random(&random) % (i % 50 ? 200 : 20000);
            pieces[i] = (struct piece){arena_alloc(&a, size, align), size};
            assert_non_null(pieces[i].data);
            assert_int_equal((uintptr_t)pieces[i].data % align, 0);
            memset(pieces[i].data, i & 0xff, size);
            used += size;
        }
        for (int i = 0; i < PIECES; i++)
            for (size_t b = 0; b < pieces[i].size; b++)
                assert_int_equal(pieces[i].data[b], i & 0xff);
        assert_int_equal(arena_bytes(&a), used);
        assert_true(atomic_load(&a.held_bytes) >= used);
        arena_deinit(&a);
    }
}

/* An arena that was never used holds nothing; a small one does not hold a whole chunk. */
static void small_arenas_are_small(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 2 << 20, NULL);
    assert_int_equal(atomic_load(&a.held_bytes), 0);
    assert_non_null(arena_alloc(&a, 100, 8));
    assert_true(atomic_load(&a.held_bytes) <= 64 << 10);
    arena_deinit(&a);
    arena_deinit(&a); /* empty again: harmless */
}

/* A large piece gets its own chunk, and small ones go on where they were. */
static void large_pieces_stand_alone(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 << 10, NULL);
    uint8_t *before = arena_alloc(&a, 16, 16);
    uint8_t *large = arena_alloc(&a, 3 << 20, 64);
    uint8_t *after = arena_alloc(&a, 16, 16);
    assert_non_null(large);
    memset(large, 1, 3 << 20);
    assert_ptr_equal(after, before + 16);
    arena_deinit(&a);
}

/* Sizes beyond the address space are refused; a failed allocation leaves the arena usable and its count right. */
static void out_of_memory_is_survived(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096, NULL);
    assert_null(arena_alloc(&a, SIZE_MAX, 8));
    assert_null(arena_alloc(&a, SIZE_MAX - 100, 64));
    mem_fail_after(0);
    assert_null(arena_alloc(&a, 10, 8));
    mem_fail_after(0);
    assert_null(arena_alloc(&a, 10000, 8));
    assert_int_equal(arena_bytes(&a), 0);
    assert_non_null(arena_alloc(&a, 10, 8));
    assert_int_equal(arena_bytes(&a), 10);
    arena_deinit(&a);
}

static void count_call(void *arg)
{
    ++*(int *)arg;
}

/* Grow until `chunks` of 2 MiB are held beside the small first ones. */
static void arena_grow(struct arena *a, struct arena_pool *pool, size_t chunks)
{
    size_t before = pool->held_bytes;
    while (pool->held_bytes < before + chunks * (2 << 20) && atomic_load(&a->held_bytes) < (chunks + 4) * (2 << 20))
        assert_non_null(arena_alloc(a, 64 << 10, 64));
}

/* What one arena gives back serves the next one, up to the limit; the rest goes, and all of it when it is trimmed. */
static void pooled_chunks_are_used_again(void **state)
{
    (void)state;
    struct arena_pool pool;
    struct arena a;
    arena_pool_init(&pool, 4 * (2 << 20), NULL, NULL);
    arena_init(&a, 2 << 20, &pool);
    arena_grow(&a, &pool, 6);
    assert_false(arena_pool_is_held(&pool));
    arena_deinit(&a);
    assert_int_equal(pool.ready_count, 4);
    assert_int_equal(pool.held_bytes, 4 * (2 << 20));
    arena_init(&a, 2 << 20, &pool);
    for (int i = 0; i < 60; i++)
        assert_non_null(arena_alloc(&a, 64 << 10, 64));
    assert_true(pool.ready_count < 4);
    assert_int_equal(pool.held_bytes, 4 * (2 << 20)); /* none is new */
    arena_deinit(&a);
    arena_pool_trim(&pool);
    assert_int_equal(pool.held_bytes, 0);
    assert_false(arena_pool_is_held(&pool));
    arena_pool_deinit(&pool);
}

/* An arena that takes chunks asks once for more; who comes touches a few, within the limit and as far as there is
 * memory. */
static void pools_are_filled(void **state)
{
    (void)state;
    int asked = 0;
    struct arena_pool pool;
    struct arena a;
    arena_pool_init(&pool, 5 * (2 << 20), count_call, &asked);
    arena_init(&a, 2 << 20, &pool);
    assert_non_null(arena_alloc(&a, 100, 8));
    assert_int_equal(asked, 0); /* small ones need none */
    arena_grow(&a, &pool, 2);
    assert_int_equal(asked, 1);
    mem_fail_after(1);
    arena_pool_fill(&pool);
    mem_fail_after(UINT64_MAX);
    assert_int_equal(pool.ready_count, 1);
    arena_pool_fill(&pool);
    assert_int_equal(pool.ready_count, 3); /* 5 in all */
    arena_pool_fill(&pool);
    assert_int_equal(pool.ready_count, 3);
    arena_grow(&a, &pool, 1); /* takes the ready ones first, and asks again */
    assert_int_equal(asked, 2);
    arena_deinit(&a);
    arena_pool_deinit(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pooled_chunks_are_used_again), cmocka_unit_test(pools_are_filled),
        cmocka_unit_test(pieces_do_not_overlap),        cmocka_unit_test(small_arenas_are_small),
        cmocka_unit_test(large_pieces_stand_alone),     cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
