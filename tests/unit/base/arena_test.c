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
        arena_init(&a, chunk_sizes[c]);
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
    arena_init(&a, 2 << 20);
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
    arena_init(&a, 64 << 10);
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
    arena_init(&a, 4096);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(small_arenas_are_small),
        cmocka_unit_test(large_pieces_stand_alone),
        cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
