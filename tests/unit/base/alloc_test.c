// SPDX-License-Identifier: Apache-2.0
/* The door to the heap: counting, failing the k-th allocation, aligned pieces, growing lists. */
#include "base/alloc.h"

#include "test.h"

/* Each way to allocate counts one and fails when its turn comes, once. */
static void kth_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t before = mem_alloc_count();
    mem_fail_after(2);
    void *a = mem_alloc(8), *b = mem_zalloc(8), *c = mem_alloc_aligned(64, 8), *d = mem_alloc(8);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    assert_int_equal(mem_alloc_count(), before + 4);
    mem_fail_after(0);
    assert_null(mem_zalloc(1));
    mem_fail_after(0);
    assert_null(mem_strdup("text"));
    mem_fail_after(0);
    assert_null(mem_realloc(a, 100)); /* and `a` is still ours */
    mem_fail_after(0);
    assert_null(mem_alloc(1));
    mem_fail_after(0);
    mem_fail_after(UINT64_MAX);
    void *e = mem_alloc(1);
    assert_non_null(e);
    mem_free(a);
    mem_free(b);
    mem_free(d);
    mem_free(e);
}

/* Nothing asked for is still something that can be freed; zeroed memory is zero. */
static void small_sizes(void **state)
{
    (void)state;
    void *a = mem_alloc(0), *b = mem_zalloc(0), *c = mem_alloc_aligned(64, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(NULL);
    uint8_t *z = mem_zalloc(1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(z[i], 0);
    mem_free(z);
}

/* Aligned pieces are aligned, also when the size is no multiple of the alignment. */
static void alignment_is_kept(void **state)
{
    (void)state;
    for (size_t align = 8; align <= 2 << 20; align *= 2) {
        uint8_t *p = mem_alloc_aligned(align, align + 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        p[align] = 1;
        mem_free(p);
    }
}

/* Whole pages are aligned to what was asked for, wherever the kernel puts them, zero, and gone when they are freed. */
static void pages_are_aligned(void **state)
{
    (void)state;
    enum { PIECES = 8 };
    uint8_t *pieces[PIECES];
    for (size_t align = 4096; align <= 64 << 20; align *= 4) {
        for (size_t i = 0; i < PIECES; i++) { /* the sizes move each one away from where the last one ended */
            size_t size = (i + 1) * 4096;
            pieces[i] = mem_alloc_pages(align, size);
            assert_non_null(pieces[i]);
            assert_int_equal((uintptr_t)pieces[i] % align, 0);
            assert_true(pieces[i][0] == 0 && pieces[i][size - 1] == 0);
            memset(pieces[i], 1, size);
        }
        for (size_t i = 0; i < PIECES; i++)
            mem_free_pages(pieces[i], (i + 1) * 4096);
    }
    mem_free_pages(NULL, 4096);
}

/* More pages than an address space has are refused, by the kernel or before it is asked; so is a planned failure. */
static void pages_are_refused(void **state)
{
    (void)state;
    assert_null(mem_alloc_pages(4096, 1ull << 60));
    assert_null(mem_alloc_pages(4096, SIZE_MAX - 4095));
    mem_fail_after(0);
    assert_null(mem_alloc_pages(4096, 4096));
    mem_fail_after(UINT64_MAX);
}

/* A list keeps its items when it grows, and itself when it cannot. */
static void lists_grow(void **state)
{
    (void)state;
    uint32_t *items = NULL;
    size_t capacity = 0;
    for (uint32_t n = 1; n <= 1000; n++) {
        OK(mem_grow(&items, &capacity, n, sizeof *items));
        assert_true(capacity >= n);
        items[n - 1] = n;
    }
    uint32_t *items_before = items;
    size_t capacity_before = capacity;
    mem_fail_after(0);
    FAILS(NO_MEMORY, mem_grow(&items, &capacity, capacity + 1, sizeof *items));
    mem_fail_after(UINT64_MAX);
    FAILS(NO_MEMORY, mem_grow(&items, &capacity, SIZE_MAX / 2, sizeof *items));
    FAILS(NO_MEMORY, mem_grow(&items, &capacity, SIZE_MAX, 1));
    assert_ptr_equal(items, items_before);
    assert_int_equal(capacity, capacity_before);
    for (uint32_t n = 1; n <= 1000; n++)
        assert_int_equal(items[n - 1], n);
    mem_free(items);
}

/* CLEANUP frees at the end of the scope; what TAKE handed out is left alone. */
static void cleanup_and_take(void **state)
{
    (void)state;
    void *taken;
    {
        void *freed CLEANUP(mem_free_ptr) = mem_alloc(16);
        void *kept CLEANUP(mem_free_ptr) = mem_strdup("kept");
        assert_non_null(freed);
        taken = TAKE(kept);
        assert_null(kept);
    }
    assert_string_equal(taken, "kept");
    mem_free(taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kth_allocation_fails_once), cmocka_unit_test(small_sizes),
        cmocka_unit_test(alignment_is_kept),         cmocka_unit_test(lists_grow),
        cmocka_unit_test(cleanup_and_take),          cmocka_unit_test(pages_are_aligned),
        cmocka_unit_test(pages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
